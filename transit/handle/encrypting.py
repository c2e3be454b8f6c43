"""What users say about encryption, checked, and the keys of one open store.

Owns which stores are encrypted: those that were opened with a keyring once stay so.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Final, NamedTuple

from transit.config import Settings
from transit.disk import list_folder, read_file
from transit.errors import FormatError, InvalidInputError, SealedError
from transit.format.frame import ENVELOPES, WAL_HEADER, decode_wal_header
from transit.format.names import Places, parse_wal_name
from transit.keyring import Keyring
from transit.keyring.envelopes import StoreKeys
from transit.log.catalog import Catalog
from transit.store import ObjectStore, folder_of_store
from transit.store.addresses import is_url

ENCRYPTED: Final = ("remote", "all")


class Encryption(NamedTuple):
    """A keyring, and what it encrypts: "remote", "all", or None for what the store says."""

    keyring: Keyring
    what: str | None


def check_encryption(encrypt: object, keyring: object) -> Encryption | None:
    """What was asked for; None without a keyring. `InvalidInputError` for what makes no sense."""
    if encrypt is not None and encrypt not in ENCRYPTED:
        raise InvalidInputError(f"encrypt must be one of {', '.join(ENCRYPTED)}, not {encrypt!r}")
    if keyring is None:
        if encrypt is not None:
            raise InvalidInputError(f'encrypt="{encrypt}" needs keyring=')
        return None
    if not isinstance(keyring, Keyring):
        raise InvalidInputError(f"keyring must be a transit.Keyring, not {type(keyring).__name__}")
    return Encryption(keyring, None if encrypt is None else str(encrypt))


def keys_of(
    encryption: Encryption | None,
    store_id: bytes,
    root: str,
    stores: Iterable[ObjectStore],
    settings: Settings,
    *,
    write: bool,
) -> StoreKeys | None:
    """The keys of a store that is being opened. Raises `KeyringError`, `InvalidInputError`.

    stores: its remotes, in which no keyring may be.
    """
    if encryption is None:
        if write and _newest_needs(root):
            raise SealedError(f"{root}: the store is encrypted; open it with keyring=")
        return None
    found = [root, *map(folder_of_store, stores)]
    places = [place for place in found if place is not None and not is_url(place)]
    encryption.keyring.attach(store_id, *places)
    level = settings.compression_level if settings.compression == "zstd" else None
    what = (encryption.what or _as_before(root)) if write else None
    return StoreKeys(encryption.keyring, store_id, what, level)


def reading_keys(keyring: object) -> StoreKeys:
    """The keys of the store that a keyring was attached to, to read with.

    `InvalidInputError` for what is no keyring, or is not attached to any store yet.
    """
    if not isinstance(keyring, Keyring):
        raise InvalidInputError(f"keyring must be a transit.Keyring, not {type(keyring).__name__}")
    store_id = keyring.store_id
    if store_id is None:
        raise InvalidInputError(f"{keyring.path}: belongs to no store yet")
    return StoreKeys(keyring, store_id, None, None)


def _as_before(root: str) -> str:
    """What is encrypted as before; "remote" where nothing was."""
    return "all" if _newest_needs(root) & ENVELOPES else "remote"


def _newest_needs(root: str) -> int:
    """What the newest WAL file says a reader must know; 0 where there is none."""
    places = Places(root)
    numbers = [lsn for lsn in map(parse_wal_name, list_folder(places.wal)) if lsn is not None]
    if numbers:
        path = places.wal_file(max(numbers))
        head = (read_file(path, WAL_HEADER.size) or b"")[: WAL_HEADER.size]
        # One that is torn, or damaged, is judged when it is taken up.
        with suppress(FormatError):
            return decode_wal_header(head, path).needs
    return 0


def check_keys(catalog: Catalog) -> None:
    """`SealedError` where an encrypted store was opened for writing without its keyring."""
    if catalog.keys is not None and catalog.keys.writes:
        return
    if catalog.commits.encrypted or any(wal.needs for wal in catalog.view.wals):
        raise SealedError(f"{catalog.root}: the store is encrypted; open it with keyring=")
