"""What unlocks a keyring: a passphrase, a key file, or a key service that is given as callables.

Owns how a master secret is had and what it wraps keys with. `Way` is what the caller gave, `Master`
what was made of it for one keyring.

From a passphrase (scrypt) or a key file comes a secret of 32 bytes, and from that, by HMAC-SHA256
over a label and the keyring's id, the key that wraps and the key of the MACs. A wrapped key is

    offset  size  field
         0    12  nonce, random
        12    32  the key, encrypted by AES-256-GCM
        44    16  tag

with keyring id (16 bytes), key id (8) and owner (UTF-8) as its context: no entry opens in another's
place. A service wraps 104 bytes, which must come back as they were given:

         0    16  label: "transit keyring" and a zero byte
        16    16  keyring id
        32     8  key id
        40    32  SHA-256 of the owner
        72    32  the key

and the key of the MACs is wrapped so, too. No secret is in a message or a `repr`.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import unicodedata
from collections.abc import Callable
from secrets import token_bytes
from types import ModuleType
from typing import Final, Protocol

from transit.errors import InvalidInputError, KeyringError
from transit.keyring.document import (
    KEY_ID_BYTES,
    SECRET_BYTES,
    ByKeyFile,
    ByPassphrase,
    ByService,
    Unlock,
)
from transit.keyring.files import read_key_file

Wrapper = Callable[[bytes], bytes]

SALT_BYTES: Final = 16
NO_KEY: Final = bytes(KEY_ID_BYTES)
"""The key id of what is wrapped and is no data key."""
_COST: Final = (2**15, 8, 1)
# What a file may ask for: its cost is the reader's.
_N_MAX, _R_MAX, _P_MAX = 2**20, 32, 16
_MEMORY_MAX: Final = 1024**3
_NONCE_BYTES: Final = 12
_WRAPPED_BYTES_MAX: Final = 64 * 1024
_LABEL: Final = b"transit keyring\0"
_MACS: Final = "macs"


class Master(Protocol):
    """Wraps and unwraps the keys of one keyring; `mac_key` is the key of its MACs."""

    mac_key: bytes

    def wrap(self, key_id: bytes, owner: str, secret: bytes) -> bytes:
        """The 32 bytes of a key, as they are kept."""

    def unwrap(self, key_id: bytes, owner: str, wrapped: bytes) -> bytes | None:
        """The 32 bytes of a key; None when `wrapped` is not what `wrap` made for it."""


class Way(Protocol):
    """A way of unlocking keyrings. `by` is its name, `file` the key file's path or ""."""

    by: str
    file: str

    def new(self, keyring: bytes) -> tuple[Unlock, Master]:
        """For a new keyring: what its file says of the way, and the master secret."""

    def unlock(self, keyring: bytes, unlock: Unlock) -> Master | None:
        """The master secret of a keyring; None when its file says that it takes another way.

        Whether it is the right one is for the caller to check. Raises `KeyringError`.
        """


class _Local:
    """A master secret that is here."""

    __slots__ = ("_keyring", "_wrapping", "mac_key")

    def __init__(self, keyring: bytes, secret: bytes) -> None:
        self._keyring = keyring
        self._wrapping = hmac.digest(secret, _LABEL + b"wrap" + keyring, "sha256")
        self.mac_key = hmac.digest(secret, _LABEL + b"mac" + keyring, "sha256")

    def wrap(self, key_id: bytes, owner: str, secret: bytes) -> bytes:
        nonce = token_bytes(_NONCE_BYTES)
        context = self._keyring + key_id + owner.encode()
        sealed: bytes = ciphers().seal(self._wrapping, nonce, secret, context)
        return nonce + sealed

    def unwrap(self, key_id: bytes, owner: str, wrapped: bytes) -> bytes | None:
        if len(wrapped) != _NONCE_BYTES + SECRET_BYTES + 16:
            return None
        nonce, sealed = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        context = self._keyring + key_id + owner.encode()
        found: bytes | None = ciphers().unseal(self._wrapping, nonce, sealed, context)
        return found


class Passphrase:
    """A passphrase: NFC-normalised text, or bytes as they are."""

    __slots__ = ("_passphrase", "by", "file")

    def __init__(self, passphrase: str | bytes) -> None:
        self.by, self.file = "passphrase", ""
        if isinstance(passphrase, str):
            try:
                passphrase = unicodedata.normalize("NFC", passphrase).encode()
            except UnicodeEncodeError:
                # The error would show the passphrase.
                raise InvalidInputError("the passphrase is not Unicode text") from None
        if not isinstance(passphrase, bytes) or not passphrase:
            raise InvalidInputError("a passphrase is text or bytes, and not empty")
        self._passphrase = passphrase

    def new(self, keyring: bytes) -> tuple[Unlock, Master]:
        """As `Way.new`."""
        n, r, p = _COST
        unlock = ByPassphrase(salt=token_bytes(SALT_BYTES), n=n, r=r, p=p)
        return unlock, self._derive(keyring, unlock)

    def unlock(self, keyring: bytes, unlock: Unlock) -> Master | None:
        """As `Way.unlock`."""
        return self._derive(keyring, unlock) if isinstance(unlock, ByPassphrase) else None

    def _derive(self, keyring: bytes, unlock: ByPassphrase) -> Master:
        n, r, p, salt = unlock.n, unlock.r, unlock.p, unlock.salt
        memory = 128 * r * (n + p + 2)
        if (
            not 2 <= n <= _N_MAX
            or n & (n - 1)
            or not 1 <= r <= _R_MAX
            or not 1 <= p <= _P_MAX
            or 128 * r * n > _MEMORY_MAX
            or len(salt) != SALT_BYTES
        ):
            raise KeyringError(
                f"its passphrase is hashed by scrypt with n={n}, r={r}, p={p} and {len(salt)} "
                f"bytes of salt; at most n={_N_MAX} (a power of two), r={_R_MAX}, p={_P_MAX}, "
                f"1 GiB in all, and {SALT_BYTES} bytes are possible"
            )
        try:
            secret = hashlib.scrypt(
                self._passphrase, salt=salt, n=n, r=r, p=p, maxmem=memory + 1024**2, dklen=32
            )
        except (ValueError, MemoryError) as error:
            raise KeyringError(
                f"scrypt with n={n}, r={r}, p={p} cannot be computed here: {error}"
            ) from None
        return _Local(keyring, secret)


class KeyFile:
    """A file of 32 random bytes that nobody else may read."""

    __slots__ = ("by", "file")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.by, self.file = "key-file", os.path.abspath(os.fspath(path))

    def new(self, keyring: bytes) -> tuple[Unlock, Master]:
        """As `Way.new`."""
        return ByKeyFile(), self._read(keyring)

    def unlock(self, keyring: bytes, unlock: Unlock) -> Master | None:
        """As `Way.unlock`."""
        return self._read(keyring) if isinstance(unlock, ByKeyFile) else None

    def _read(self, keyring: bytes) -> Master:
        return _Local(keyring, read_key_file(self.file))


class _Remote:
    """A master secret that is in a service, which wraps and unwraps."""

    __slots__ = ("_keyring", "_unwrap", "_wrap", "mac_key")

    def __init__(self, keyring: bytes, wrap: Wrapper, unwrap: Wrapper) -> None:
        self._keyring, self._wrap, self._unwrap = keyring, wrap, unwrap
        self.mac_key = b""

    def wrap(self, key_id: bytes, owner: str, secret: bytes) -> bytes:
        wrapped = _ask("wrap", self._wrap, self._framed(key_id, owner) + secret)
        if not wrapped:
            raise KeyringError("the key service's wrap gave no bytes")
        return wrapped

    def unwrap(self, key_id: bytes, owner: str, wrapped: bytes) -> bytes | None:
        found = _ask("unwrap", self._unwrap, wrapped)
        before = self._framed(key_id, owner)
        if len(found) != len(before) + SECRET_BYTES:
            return None
        if not hmac.compare_digest(found[: len(before)], before):
            return None
        return found[len(before) :]

    def _framed(self, key_id: bytes, owner: str) -> bytes:
        return _LABEL + self._keyring + key_id + hashlib.sha256(owner.encode()).digest()


class Service:
    """A key service: `wrap` encrypts a few bytes, `unwrap` gives them back."""

    __slots__ = ("_unwrap", "_wrap", "by", "file")

    def __init__(self, wrap: Wrapper, unwrap: Wrapper) -> None:
        self.by, self.file = "service", ""
        if not callable(wrap) or not callable(unwrap):
            raise InvalidInputError("wrap and unwrap are callables that take and give bytes")
        self._wrap, self._unwrap = wrap, unwrap

    def new(self, keyring: bytes) -> tuple[Unlock, Master]:
        """As `Way.new`."""
        master = _Remote(keyring, self._wrap, self._unwrap)
        master.mac_key = token_bytes(SECRET_BYTES)
        return ByService(wrapped=master.wrap(NO_KEY, _MACS, master.mac_key)), master

    def unlock(self, keyring: bytes, unlock: Unlock) -> Master | None:
        """As `Way.unlock`."""
        if not isinstance(unlock, ByService):
            return None
        master = _Remote(keyring, self._wrap, self._unwrap)
        found = master.unwrap(NO_KEY, _MACS, unlock.wrapped)
        if found is None:
            raise KeyringError("the key service did not give back what was wrapped")
        master.mac_key = found
        return master


def way_of(
    passphrase: str | bytes | None,
    key_file: str | os.PathLike[str] | None,
    wrap: Wrapper | None,
    unwrap: Wrapper | None,
) -> Way:
    """The one way of unlocking that was given; `InvalidInputError` for none, two or a half."""
    is_service = wrap is not None or unwrap is not None
    if [passphrase is not None, key_file is not None, is_service].count(True) != 1:
        raise InvalidInputError(
            "a keyring is unlocked in one way: give passphrase=, key_file=, or wrap= and unwrap="
        )
    if passphrase is not None:
        return Passphrase(passphrase)
    if key_file is not None:
        return KeyFile(key_file)
    if wrap is None or unwrap is None:
        raise InvalidInputError("a key service needs both: wrap= and unwrap=")
    return Service(wrap, unwrap)


def _ask(name: str, call: Wrapper, data: bytes) -> bytes:
    try:
        found = call(data)
    except Exception as error:
        raise KeyringError(
            f"the key service's {name} raised {type(error).__name__}: see its cause"
        ) from error
    if not isinstance(found, bytes) or len(found) > _WRAPPED_BYTES_MAX:
        raise KeyringError(
            f"the key service's {name} gives at most {_WRAPPED_BYTES_MAX} bytes; "
            f"this was {type(found).__name__}"
        )
    return found


def ciphers() -> ModuleType:
    """`transit.keyring.ciphers`; `InvalidInputError` says what is to be installed for it."""
    try:
        # Loaded here: it loads `cryptography`, which is an extra.
        from transit.keyring import ciphers as loaded
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "cryptography":
            raise
        raise InvalidInputError(
            "encryption needs cryptography: pip install 'transit[encryption]'"
        ) from None
    return loaded
