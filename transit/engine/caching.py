"""Cache: a folder of whole files that a room above the engine can lose at any time.

Owns `rooms/<room>/` in the store's folder, one folder a room. A file there is made from what the
log holds, and can be made again: nothing in it is authority, and no part of the store but its room
reads it. Its name on disk has the BLAKE3 of its bytes in it:

    <name up to the last dot>.<BLAKE3, 64 hex digits>.<suffix>

A file is whole or not there, whatever dies while it is made. It is not synced: what a loss of power
leaves of it, and what the disk changes, does not have that digest, and is removed when it is asked
for the first time in a process. When it was used last is its time of change, so that processes that
share the folder let the same files go first.

Where the store's folder cannot be written to, or there is none, files go into a temporary folder
that ends with the process. So they do where the whole store is encrypted, and then that folder is
in memory, on systems that have such.
"""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from transit.disk import (
    NewFile,
    is_folder,
    list_folder,
    make_folder,
    make_temporary_folder,
    mark_used,
    read_file,
    remove,
    remove_tree,
    size_and_use,
)
from transit.errors import (
    InvalidInputError,
    NotFoundError,
    StorePermissionError,
    StoreUnavailableError,
    TransitError,
)
from transit.format.digest import digest
from transit.format.names import Places, check_layer
from transit.guards import leaf
from transit.handle.handle import Handle
from transit.opened import Opened
from transit.store.addresses import is_url

NAME_BYTES_MAX: Final = 128
# A file system in memory (tmpfs(5)).
MEMORY_FOLDER: Final = "/dev/shm"
_NAME: Final = re.compile(rf"(?=.{{1,{NAME_BYTES_MAX}}}\Z)[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9]+)?")
_STORED: Final = re.compile(r"([a-z0-9][a-z0-9_-]*)\.([0-9a-f]{64})(\.[a-z0-9]+)?")
# Files of one name that prove not to be whole, one after another, before it counts as not there.
_TRIES: Final = 4
# What a folder is refused with that cannot be made or written to; one that is full is another case.
_UNUSABLE: Final = (
    InvalidInputError, NotFoundError, StorePermissionError, StoreUnavailableError,
)  # fmt: skip


class _Stored(NamedTuple):
    """A file as it lies in one of the folders."""

    used: int
    size: int
    path: str
    name: str


class Cache(Opened):
    """Files of one room; made by `Log.cache`. Safe for threads, and beside other processes.

    A name is 1 to 128 of a-z, 0-9, `_` and `-`, with at most one dot and suffix. A path that was
    returned is of a file that is whole; it may be gone when it is opened, and stays readable for
    those who have it open.
    """

    def __init__(
        self,
        folder: str | None,
        bytes_max: int,
        check_place: Callable[[], None],
        *,
        in_memory: bool = False,
    ) -> None:
        self._in_memory = in_memory
        self._folders = [] if folder is None else [folder]
        self._own_folder = ""
        self._bytes_max = bytes_max
        self._check_place = check_place
        # By name the path where it was seen last, and the paths whose bytes were compared.
        self._paths: dict[str, str] = {}
        self._compared: set[str] = set()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<transit.Cache {', '.join(self._folders) or 'without a folder yet'}>"

    @property
    def bytes_max(self) -> int:
        """Up to how many bytes are kept after a `put`: `Settings.cache_files_bytes_max`."""
        return self._bytes_max

    def get(self, name: str) -> str | None:
        """The path of the file under `name`, which is whole; None when there is none.

        Its bytes are compared with its digest the first time in this process. It counts as used.
        """
        return leaf(self._lock, partial(self._get, _checked(name)))

    def read(self, name: str) -> bytes | None:
        """The bytes of the file under `name`; None when there is none. It counts as used."""
        path = self.get(name)
        found = None if path is None else size_and_use(path)
        if path is None or found is None:
            return None
        try:
            return read_file(path, found[0])
        except NotFoundError:
            # Another process let it go.
            return None

    def _get(self, name: str) -> str | None:
        for _ in range(_TRIES):
            path = self._path_of(name)
            if path is None:
                return None
            if path in self._compared or self._is_whole(path):
                self._compared.add(path)
                mark_used(path)
                return path
            self._drop(path)
        return None

    def _path_of(self, name: str) -> str | None:
        path = self._paths.get(name)
        if path is None or size_and_use(path) is None:
            # Another process may have made it, or let it go.
            self._paths = {each.name: each.path for each in self._stored()}
            path = self._paths.get(name)
        return path

    def _is_whole(self, path: str) -> bool:
        try:
            found = size_and_use(path)
            data = None if found is None else read_file(path, found[0])
        except TransitError:
            return False
        return data is not None and digest(data).hex() in os.path.basename(path)

    def put(self, name: str, data: bytes) -> str:
        """Keep `data` under `name`, in place of what is there, and return the file's path.

        Lets the files go that were used longest ago, so that no more than `bytes_max` are kept;
        this one stays, whatever its size. `StoreUnavailableError` where nothing can be written,
        not into a temporary folder either.
        """
        return leaf(self._lock, partial(self._put, _checked(name), data))

    def _put(self, name: str, data: bytes) -> str:
        stem, dot, suffix = name.partition(".")
        stored = f"{stem}.{digest(data).hex()}{dot}{suffix}"
        path = self._write(stored, data)
        for each in self._stored():
            if each.name == name and each.path != path:
                self._drop(each.path)
        self._paths[name] = path
        self._compared.add(path)
        self._evict(self._bytes_max, path)
        return path

    def _write(self, stored: str, data: bytes) -> str:
        refused: TransitError | None = None
        for folder in self._folders:
            try:
                return _write(folder, stored, data, self._check_place)
            except _UNUSABLE as error:
                if folder == self._own_folder:
                    raise
                refused = error
        try:
            folder = self._temporary()
        except TransitError as error:
            # Why the store's own folder was not good enough says more.
            raise refused or error from error
        return _write(folder, stored, data, _anywhere)

    def _temporary(self) -> str:
        """A folder that ends with the process, made when the store's own cannot be used."""
        if not self._own_folder:
            place = MEMORY_FOLDER if self._in_memory and is_folder(MEMORY_FOLDER) else None
            self._own_folder = make_temporary_folder("transit-cache-", place)
            weakref.finalize(self, _end, self._own_folder, os.getpid())
            self._folders.append(self._own_folder)
        return self._own_folder

    def names(self) -> list[str]:
        """What is there, sorted; whether it is whole is not looked at."""
        return sorted({each.name for each in leaf(self._lock, self._stored)})

    def remove(self, name: str) -> None:
        """Let the file under `name` go, if there is one."""
        leaf(self._lock, partial(self._remove, _checked(name)))

    def _remove(self, name: str) -> None:
        for each in self._stored():
            if each.name == name:
                self._drop(each.path)

    def evict(self, bytes_max: int | None = None) -> int:
        """Let files go, those used longest ago first, until they take `bytes_max`; bytes let go.

        bytes_max: None: the cache's own bound.
        """
        if bytes_max is not None and (type(bytes_max) is not int or bytes_max < 0):
            raise InvalidInputError(f"bytes_max must be a count of bytes, not {bytes_max!r}")
        limit = self._bytes_max if bytes_max is None else bytes_max
        return leaf(self._lock, partial(self._evict, limit, ""))

    def _evict(self, bytes_max: int, kept: str) -> int:
        found = sorted(self._stored())
        total = sum(each.size for each in found)
        gone = 0
        for each in found:
            if total - gone <= bytes_max:
                break
            if each.path != kept:
                self._drop(each.path)
                gone += each.size
        return gone

    def _stored(self) -> list[_Stored]:
        found: list[_Stored] = []
        for folder in self._folders:
            for stored in _listed(folder):
                match = _STORED.fullmatch(stored)
                path = os.path.join(folder, stored)
                # It may go at any time.
                seen = size_and_use(path) if match is not None else None
                if match is not None and seen is not None:
                    found.append(_Stored(seen[1], seen[0], path, match[1] + (match[3] or "")))
        return found

    def _drop(self, path: str) -> None:
        self._compared.discard(path)
        self._paths = {name: known for name, known in self._paths.items() if known != path}
        try:
            remove(path)
        except (StorePermissionError, StoreUnavailableError):
            # In a folder that is only read it stays; it is compared again when it is asked for.
            return


def cache_of(handle: Handle, room: str) -> Cache:
    """The cache of `room` in an open store."""
    name = check_layer(room)
    keys = handle.catalog.keys
    # Files are clear: of a store whose folder has nothing clear, they are not there either. A
    # reader does not know whose folder it is.
    apart = keys is not None and (keys.covers_wal or not keys.writes)
    folder = None if apart or is_url(handle.root) else Places(handle.root).room(name)
    limit = handle.settings.cache_files_bytes_max
    return Cache(folder, limit, handle.catalog.check_place, in_memory=apart)


def _checked(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"a cached file's name is 1 to {NAME_BYTES_MAX} of a-z, 0-9, '_' and '-', with at most"
            f" one suffix; not {name!r}"
        )
    return name


def _write(folder: str, stored: str, data: bytes, check_place: Callable[[], None]) -> str:
    make_folder(folder)
    file = NewFile(folder, check_place)
    try:
        file.write(data)
        file.put_in_place(stored)
    finally:
        file.discard()
    return os.path.join(folder, stored)


def _listed(folder: str) -> list[str]:
    try:
        return list_folder(folder)
    except TransitError:
        # Something else is there.
        return []


def _anywhere() -> None:
    """A temporary folder is where it was made."""


def _end(folder: str, process: int) -> None:
    if os.getpid() == process:
        remove_tree(folder)
