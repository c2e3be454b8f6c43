"""A keyring's file as one process has it: read, unlocked, and shared with threads and processes.

Owns when what was read is read again, what is durable, and the unwrapped secrets.

- Whatever changes the file reads it again under its lock first. What is in memory changes last.
- A key that was destroyed is dropped at the next call, whichever process destroyed it.
- After a failed write or sync it is not known which file is there: the next call that makes
  something durable writes it once more.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Lock as ThreadLock
from threading import get_ident
from typing import Final, TypeVar
from weakref import WeakSet

from msgspec.structs import replace

from transit.errors import CorruptError, InvalidInputError, KeyringError, NotFoundError
from transit.guards import leaf, reentrant
from transit.keyring import files
from transit.keyring.document import (
    BYTES_MAX,
    Document,
    Entry,
    authenticate,
    check_value,
    decode,
    encode,
    name_of,
)
from transit.keyring.masters import Master, Way
from transit.locks import Lock, Version

T = TypeVar("T")
Change = Callable[[Document], Document | None]

_WAYS: Final = {
    "passphrase": "a passphrase",
    "key-file": "a key file",
    "service": "a key service",
}


class State:
    """The file as it was read: what tells when it is another, and its keys by id and by owner."""

    def __init__(self, seen: Version, document: Document, *, is_durable: bool) -> None:
        self.seen = seen
        self.document = document
        self.is_durable = is_durable
        self.entries: Mapping[bytes, Entry] = {
            bytes.fromhex(entry.id): entry for entry in document.keys
        }
        self.current: Mapping[str, bytes] = {
            entry.owner: key_id
            for key_id, entry in self.entries.items()
            if entry.state == "current"
        }


class SharedFile:
    """A keyring's file, open. `state` is what was read last, `master` the master secret.

    `in_doubt`: a write failed, and which file is there is not known.

    path: as messages name it. real: where the file is.
    """

    def __init__(self, path: str, real: str, master: Master, state: State) -> None:
        self.path, self.real = path, real
        self.master = master
        self.state = state
        self._secrets: dict[bytes, bytes] = {}
        self.in_doubt = False
        self._held: Lock | None = None
        self.forget()
        _open.add(self)

    def forget(self) -> None:
        """In a child made by fork: locks of the parent are not ours, nor are its threads."""
        self._lock = ThreadLock()
        self._inside: set[int] = set()
        if self._held is not None:
            self._held.close()
        self._held = None

    def run(self, step: Callable[[], T]) -> T:
        """Do `step` as the only thread; what it returns. No signal handler waits for its thread."""
        me = get_ident()
        if me in self._inside:
            raise reentrant()
        try:
            self._inside.add(me)
            return leaf(self._lock, step)
        finally:
            self._inside.discard(me)

    # Without a lock

    def cached(self, key_id: bytes) -> bytes | None:
        """The secret of a key, if it is at hand and the file is still the one that was read."""
        secret = self._secrets.get(key_id)
        return secret if secret is not None and self.state.seen.is_there() else None

    def cached_current(self, owner: str) -> tuple[bytes, bytes] | None:
        """Id and secret of an owner's current key, if they are at hand, and durable."""
        state = self.state
        key_id = state.current.get(owner)
        if key_id is None or not state.is_durable or self.in_doubt:
            return None
        secret = self._secrets.get(key_id)
        if secret is None or not state.seen.is_there():
            return None
        return key_id, secret

    # One thread at a time: as steps of `run`

    def refreshed(self) -> State:
        """The file as it is now."""
        if not self.state.seen.is_there():
            try:
                self._adopt(_read_again(self.path, self.real, self.master, self.state.document))
            except NotFoundError:
                raise KeyringError(f"{self.path}: the keyring is not there any more") from None
        return self.state

    def secret(self, key_id: bytes) -> bytes:
        """The secret of a key that the file has, wrapped."""
        secret = self._secrets.get(key_id)
        if secret is None:
            entry = self.state.entries[key_id]
            secret = self._secrets[key_id] = self.unwrapped(key_id, entry.owner, entry.wrapped)
        return secret

    def keep(self, key_id: bytes, secret: bytes) -> None:
        """Have the secret at hand, if the file has its key."""
        if key_id in self.state.entries:
            self._secrets[key_id] = secret

    def unwrapped(self, key_id: bytes, owner: str, wrapped: bytes | None) -> bytes:
        """What is wrapped for this id and owner; `CorruptError` when that is something else."""
        secret = None if wrapped is None else self.master.unwrap(key_id, owner, wrapped)
        if secret is None:
            raise CorruptError(
                f"{self.path}: key {key_id.hex()}",
                expected="a key wrapped for this keyring, id and owner",
                found="something else",
            )
        return secret

    def change(self, change: Change) -> None:
        """Put what `change` makes of the document in its place, durably; None changes nothing."""
        with self.locked():
            changed = change(self.refreshed().document)
            if changed is None:
                self._make_sure()
            else:
                self.write(changed, self.master)

    def make_sure(self) -> None:
        """Have the file as it was read survive a loss of power."""
        if self.in_doubt:
            with self.locked():
                self.refreshed()
                self._make_sure()
        else:
            self._make_sure()

    def _make_sure(self) -> None:
        if self.in_doubt:
            self.write(self.state.document, self.master)
        elif not self.state.is_durable:
            # Another process may have died between giving it its name and syncing that.
            files.make_durable(self.real)
            self.state.is_durable = True

    def write(self, document: Document, master: Master) -> None:
        """Put the document in the file's place, durably; only for who holds its lock."""
        document = replace(document, generation=document.generation + 1)
        data = encode(document, master.mac_key)
        if len(data) > BYTES_MAX:
            raise InvalidInputError(
                f"{self.path}: the keyring is full: {len(document.keys)} keys, {len(data)} bytes"
            )
        self.in_doubt = True
        files.replace(self.real, data)
        seen = Version(self.real)
        self.master = master
        self._adopt(State(seen, document, is_durable=True))
        self.in_doubt = False

    def _adopt(self, state: State) -> None:
        """Take `state` for what is there, and drop the secrets it has no more."""
        self.state = state
        for key_id in list(self._secrets):
            entry = state.entries.get(key_id)
            if entry is None or entry.state == "destroyed":
                del self._secrets[key_id]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from changing the file, for a block."""
        with files.locked(self.real, self._note):
            yield

    def _note(self, held: Lock | None) -> None:
        self._held = held


def unlock(path: str, way: Way) -> SharedFile:
    """Open the keyring at `path`. `KeyringError` for the wrong master secret, before all else."""
    real = files.real_path(path)
    seen, data = files.read(real, BYTES_MAX)
    document = decode(data, path)
    by = name_of(document.unlock)
    try:
        master = way.unlock(bytes.fromhex(document.id), document.unlock)
    except KeyringError as error:
        raise KeyringError(f"{path}: {error}") from error.__cause__
    if master is None:
        raise KeyringError(f"{path}: it is unlocked by {_WAYS[by]}, not by {_WAYS[way.by]}")
    expected = check_value(master.mac_key, document.id, document.unlock)
    if not hmac.compare_digest(expected, document.check):
        raise KeyringError(f"{path}: not unlocked: {_WAYS[by]} is not the one it was wrapped with")
    authenticate(document, master.mac_key, path)
    return SharedFile(path, real, master, State(seen, document, is_durable=False))


def make(path: str, document: Document, master: Master) -> SharedFile:
    """Make the file of a new keyring, durably; `AlreadyExistsError`."""
    real = files.real_path(path)
    with files.locked(real, lambda _: None):
        files.put_new(real, encode(document, master.mac_key))
        state = State(Version(real), document, is_durable=True)
    return SharedFile(path, real, master, state)


def _read_again(path: str, real: str, master: Master, before: Document) -> State:
    """The file, which must be the keyring that was read before, as it was then or later."""
    seen, data = files.read(real, BYTES_MAX)
    document = decode(data, path)
    if document.id != before.id:
        raise KeyringError(f"{path}: another keyring is there now: open it again")
    if (document.unlock, document.check) != (before.unlock, before.check):
        raise KeyringError(f"{path}: it was wrapped anew, or changed, meanwhile: open it again")
    authenticate(document, master.mac_key, path)
    if document.generation < before.generation:
        raise CorruptError(
            path,
            expected=f"generation {before.generation} of the keyring, or a later one",
            found=f"an older copy, of generation {document.generation}",
        )
    return State(seen, document, is_durable=False)


_open: Final[WeakSet[SharedFile]] = WeakSet()


def _forget_all() -> None:
    for each in list(_open):
        each.forget()


os.register_at_fork(after_in_child=_forget_all)
