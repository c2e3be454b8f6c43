"""The data keys of one store: which one is current, found or destroyed.

Leaves the file to `transit.keyring.shared`, and wrapping to `transit.keyring.masters`.

A key is given out to encrypt with only when the file that has it is durable, whichever process
wrote it, and only while it is current: each call looks (one stat) whether the file was replaced.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from secrets import token_bytes
from typing import Final, NamedTuple, NoReturn

from msgspec.structs import replace

from transit.disk import is_within
from transit.errors import AlreadyExistsError, InvalidInputError, KeyringError, UnpicklableError
from transit.keyring import files
from transit.keyring.document import (
    INDEX,
    KEY_ID_BYTES,
    REASON_BYTES_MAX,
    SECRET_BYTES,
    STORE,
    Document,
    Entry,
    KeyInfo,
    check_owner,
    check_value,
    name_of,
    new_document,
)
from transit.keyring.masters import NO_KEY, Master, Way, Wrapper, way_of
from transit.keyring.shared import SharedFile, make, unlock
from transit.opened import Opened

_ID_BYTES: Final = 16


class Key(NamedTuple):
    """A data key: its id, 8 bytes, and the key, 32 bytes. Never shown, pickled or copied."""

    id: bytes
    secret: bytes

    def __repr__(self) -> str:
        return f"Key({self.id.hex()})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UnpicklableError(f"{self!r} is secret, and is neither pickled nor copied")


class Keyring(Opened):
    """The keys of one encrypted store, wrapped, in a file of their own.

    May be used by threads, and by a child made by fork; other processes open the same file. Errors
    of every call: `KeyringError` when the file was wrapped anew meanwhile, `CorruptError`, those of
    the file system, `ReentrantCallError`; of calls that write, `LockedError` too.
    """

    __slots__ = ("__weakref__", "_file", "_index_key", "_key_file", "_places")

    def __init__(self, file: SharedFile, way: Way) -> None:
        self._file = file
        self._key_file = way.file
        self._index_key = b""
        self._places: tuple[str, ...] = ()

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        passphrase: str | bytes | None = None,
        key_file: str | os.PathLike[str] | None = None,
        wrap: Wrapper | None = None,
        unwrap: Wrapper | None = None,
    ) -> Keyring:
        """Make a keyring without keys, a file that only its owner reads.

        Exactly one of: passphrase; key_file, 32 bytes or 64 hex digits, see `new_key_file`; wrap
        and unwrap, which take some hundred bytes to a key service and back. Raises
        `AlreadyExistsError`, `KeyringError` for a key file that others may read or a service that
        fails, and `InvalidInputError`.
        """
        way = way_of(passphrase, key_file, wrap, unwrap)
        place = os.path.abspath(os.fspath(path))
        if os.path.lexists(files.real_path(place)):
            raise AlreadyExistsError(f"{place}: it is there already, and stays as it is")
        name = token_bytes(_ID_BYTES)
        said, master = way.new(name)
        index = master.wrap(NO_KEY, INDEX, token_bytes(SECRET_BYTES))
        return cls(make(place, new_document(name, said, master.mac_key, index), master), way)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        passphrase: str | bytes | None = None,
        key_file: str | os.PathLike[str] | None = None,
        wrap: Wrapper | None = None,
        unwrap: Wrapper | None = None,
    ) -> Keyring:
        """Open a keyring, unlocked as it was made or last wrapped: see `create`.

        Raises `KeyringError` for the wrong passphrase, key file or service, before anything else
        of the file is believed; `NotFoundError`, `CorruptError`, `UnsupportedVersionError`,
        `InvalidInputError`.
        """
        way = way_of(passphrase, key_file, wrap, unwrap)
        return cls(unlock(os.path.abspath(os.fspath(path)), way), way)

    @staticmethod
    def new_key_file(path: str | os.PathLike[str]) -> str:
        """Make a file of 32 random bytes, as 64 hex digits, that only its owner reads; its path.

        `AlreadyExistsError` when something is there.
        """
        return files.new_key_file(path)

    @property
    def path(self) -> str:
        """The file, as an absolute path."""
        return self._file.path

    @property
    def id(self) -> str:
        """Tells the keyring from all others, whatever its path: 32 hex digits."""
        return self._file.state.document.id

    @property
    def by(self) -> str:
        """What unlocks it: "passphrase", "key-file" or "service"."""
        return name_of(self._file.state.document.unlock)

    @property
    def store_id(self) -> bytes | None:
        """Id of the store that it is for, 16 bytes; None until it is attached to one."""
        store = self._file.run(self._file.refreshed).document.store
        return None if store is None else bytes.fromhex(store)

    @property
    def index_key(self) -> bytes:
        """The key of name indexes, 32 bytes; made with the keyring, never another."""
        return self._index_key or self._file.run(self._unwrap_index)

    def attach(self, store_id: bytes, *places: str) -> None:
        """Bind the keyring to a store, durably, at first use.

        store_id: 16 bytes. places: folders that have what is encrypted (the store's, and the
        remote's where that is a folder), in which neither the keyring nor its key file may lie.
        Raises `KeyringError` when it is another store's, `InvalidInputError`.
        """
        if not isinstance(store_id, bytes) or len(store_id) != _ID_BYTES:
            raise InvalidInputError(f"a store id has {_ID_BYTES} bytes")
        for path in (self._file.real, self._key_file):
            _check_apart(path, places)
        name = store_id.hex()

        def bind(document: Document) -> Document | None:
            if document.store not in (None, name):
                raise KeyringError(
                    f"{self.path}: this keyring is for the store {document.store}, not for {name}"
                )
            return replace(document, store=name) if document.store is None else None

        def step() -> None:
            # Once it is bound, a keyring that cannot be written to is good for reading.
            unbound = bind(self._file.refreshed().document) is not None
            if unbound or self._file.in_doubt:
                self._file.change(bind)
            self._places = places

        self._file.run(step)

    def current(self, owner: str) -> Key:
        """The key that encrypts what is new of `owner`; made, durably, where there is none.

        owner: "store", "stream:" and a uid of 32 hex digits, or "subject:" and a text.
        """
        found = self._file.cached_current(check_owner(owner))
        return self.current_all((owner,))[owner] if found is None else Key(*found)

    def current_all(self, owners: Iterable[str]) -> dict[str, Key]:
        """As `current`, for many owners: those without a key get theirs in one durable write."""
        wanted = [check_owner(owner) for owner in dict.fromkeys(owners)]
        return self._file.run(lambda: self._current_all(wanted))

    def find(self, key_id: bytes) -> Key | None:
        """The key with this id, current or old; None when it is not here or is destroyed."""
        secret = self._file.cached(_check_id(key_id))
        if secret is not None:
            return Key(key_id, secret)
        return self._file.run(lambda: self._find(key_id))

    def destroyed(self, key_id: bytes) -> bool:
        """Whether the key with this id was here, and was destroyed."""
        _check_id(key_id)
        entry = self._file.run(self._file.refreshed).entries.get(key_id)
        return entry is not None and entry.state == "destroyed"

    def destroy(self, owner: str, reason: str = "") -> int:
        """Destroy all keys of an owner, durably: what they encrypted is gone. How many there were.

        What is left says when and why. Copies of the file made before still have the keys.
        `InvalidInputError` for "store".
        """
        if check_owner(owner) == STORE:
            raise InvalidInputError("the store's own key is not destroyed: all would be gone")
        _check_reason(reason)
        now = time.time_ns()
        return self._each_key(
            lambda entry: entry.owner == owner and entry.state != "destroyed",
            lambda entry: replace(
                entry, state="destroyed", wrapped=None, destroyed=now, reason=reason
            ),
        )

    def rotate(self, owner: str | None = None) -> int:
        """Have new data keys from the next use on, of one owner or of all. How many that concerns.

        Old keys stay, for what they encrypted.
        """
        if owner is not None:
            check_owner(owner)
        return self._each_key(
            lambda entry: entry.state == "current" and owner in (None, entry.owner),
            lambda entry: replace(entry, state="old"),
        )

    def rewrap(
        self,
        *,
        passphrase: str | bytes | None = None,
        key_file: str | os.PathLike[str] | None = None,
        wrap: Wrapper | None = None,
        unwrap: Wrapper | None = None,
    ) -> None:
        """Wrap all keys anew, under another master secret, given as to `create`; durable.

        Other processes that have the keyring open must open it again. Copies of the file made
        before are still unlocked as they were.
        """
        way = way_of(passphrase, key_file, wrap, unwrap)
        _check_apart(way.file, self._places)
        self._file.run(lambda: self._rewrap(way))

    def keys(self) -> tuple[KeyInfo, ...]:
        """What may be known of all data keys, oldest first."""
        return tuple(entry.info for entry in self._file.run(self._file.refreshed).document.keys)

    def __repr__(self) -> str:
        return f"Keyring({self.path!r}, by={self.by!r}, keys={len(self._file.state.entries)})"

    # Steps: one thread at a time

    def _current_all(self, owners: list[str]) -> dict[str, Key]:
        file = self._file
        file.refreshed()
        file.make_sure()
        # Another process may destroy one while others are made.
        while new := [owner for owner in owners if owner not in file.state.current]:
            self._make(new)
        ids = file.state.current
        return {owner: Key(ids[owner], file.secret(ids[owner])) for owner in owners}

    def _make(self, owners: list[str]) -> None:
        """A current key for each owner that has none by then; durable."""
        file = self._file
        secrets: dict[bytes, bytes] = {}
        entries: list[Entry] = []
        for owner in owners:
            key_id, secret = self._new_id(), token_bytes(SECRET_BYTES)
            secrets[key_id] = secret
            # A service takes its time: not while other processes wait.
            entries.append(_new_entry(key_id, owner, file.master.wrap(key_id, owner, secret)))

        def add(document: Document) -> Document | None:
            new = tuple(entry for entry in entries if entry.owner not in file.state.current)
            return replace(document, keys=document.keys + new) if new else None

        file.change(add)
        for key_id, secret in secrets.items():
            file.keep(key_id, secret)

    def _new_id(self) -> bytes:
        while True:
            key_id = token_bytes(KEY_ID_BYTES)
            if key_id != NO_KEY and key_id not in self._file.state.entries:
                return key_id

    def _find(self, key_id: bytes) -> Key | None:
        entry = self._file.refreshed().entries.get(key_id)
        if entry is None or entry.state == "destroyed":
            return None
        return Key(key_id, self._file.secret(key_id))

    def _unwrap_index(self) -> bytes:
        index = self._file.state.document.index
        self._index_key = self._file.unwrapped(NO_KEY, INDEX, index)
        return self._index_key

    def _each_key(
        self, concerns: Callable[[Entry], bool], changed: Callable[[Entry], Entry]
    ) -> int:
        """Change the keys that this concerns, durably; how many there were."""
        count = 0

        def change(document: Document) -> Document | None:
            nonlocal count
            count = sum(map(concerns, document.keys))
            if not count:
                return None
            keys = tuple(changed(each) if concerns(each) else each for each in document.keys)
            return replace(document, keys=keys)

        self._file.run(lambda: self._file.change(change))
        return count

    def _rewrap(self, way: Way) -> None:
        file = self._file
        with file.locked():
            document = file.refreshed().document
            said, master = way.new(bytes.fromhex(document.id))
            index_key = self._index_key or self._unwrap_index()
            anew = replace(
                document,
                unlock=said,
                check=check_value(master.mac_key, document.id, said),
                index=master.wrap(NO_KEY, INDEX, index_key),
                keys=tuple(self._wrapped_anew(entry, master) for entry in document.keys),
            )
            file.write(anew, master)
            self._key_file = way.file

    def _wrapped_anew(self, entry: Entry, master: Master) -> Entry:
        if entry.wrapped is None:
            return entry
        key_id = bytes.fromhex(entry.id)
        wrapped = master.wrap(key_id, entry.owner, self._file.secret(key_id))
        return replace(entry, wrapped=wrapped)


def _check_apart(path: str, places: Iterable[str]) -> None:
    for place in places:
        if path and is_within(path, place):
            raise InvalidInputError(
                f"{path}: lies in {place}, beside what it decrypts: keep it elsewhere"
            )


def _check_id(key_id: object) -> bytes:
    if not isinstance(key_id, bytes) or len(key_id) != KEY_ID_BYTES:
        raise InvalidInputError(f"a key id has {KEY_ID_BYTES} bytes")
    return key_id


def _check_reason(reason: object) -> None:
    try:
        fits = isinstance(reason, str) and len(reason.encode()) <= REASON_BYTES_MAX
    except UnicodeEncodeError:
        fits = False
    if not fits:
        raise InvalidInputError(f"a reason is text of at most {REASON_BYTES_MAX} bytes")


def _new_entry(key_id: bytes, owner: str, wrapped: bytes) -> Entry:
    return Entry(
        id=key_id.hex(),
        owner=owner,
        made=time.time_ns(),
        state="current",
        wrapped=wrapped,
        destroyed=None,
        reason="",
    )
