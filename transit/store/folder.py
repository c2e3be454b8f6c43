"""Objects as files of one folder, for a remote on a mounted disk and for tests.

Owns nothing but names: files are made, synced, linked and replaced by `transit.disk`. An object is
there, whole and synced, when `put` or `create` returns; link(2) lets one of several creators win.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from transit import disk
from transit.errors import (
    AlreadyExistsError,
    ClosedError,
    NotFoundError,
    StoreUnavailableError,
)
from transit.opened import Opened
from transit.store.addresses import absolute
from transit.store.objects import (
    TEMPORARY,
    Traffic,
    check_key,
    check_prefix,
    check_range,
    too_large,
)


class FolderStore(Opened):
    """An `ObjectStore` in the folder `path`, which is made by the first write."""

    def __init__(self, path: str) -> None:
        self._path = absolute(path)
        self._closed = False
        self._made: set[str] = set()
        self.traffic = Traffic()

    @property
    def url(self) -> str:
        """The folder as a file:// URL."""
        # Loaded here: only a store with a remote needs it.
        from pathlib import Path

        return Path(self._path).as_uri()

    @property
    def folder(self) -> str:
        """The folder, for callers that must know whether two stores are in one place."""
        return self._path

    @property
    def refuses_damage(self) -> bool:
        """True: there is no way on which bytes are damaged and not noticed by the kernel."""
        return True

    def __repr__(self) -> str:
        return f"FolderStore({self.url!r})"

    def get(self, key: str, bytes_max: int) -> bytes | None:
        """See `ObjectStore.get`."""
        path = self._file(key)
        self.traffic.sent("get")
        if disk.leads_to_folder(path):
            return None
        data = disk.read_file(path, bytes_max)
        if data is None:
            return None
        self.traffic.received(len(data))
        if len(data) > bytes_max:
            raise too_large(f"{self.url}/{key}", bytes_max, disk.file_size(path))
        return data

    def get_range(self, key: str, position: int, size: int) -> bytes:
        """See `ObjectStore.get_range`."""
        check_range(position, size)
        path = self._file(key)
        self.traffic.sent("get")
        if disk.leads_to_folder(path):
            raise NotFoundError(f"{self.url}/{key}: no such object")
        with disk.File.open(path) as file:
            data = file.read_at(position, size)
        self.traffic.received(len(data))
        return data

    def size(self, key: str) -> int | None:
        """See `ObjectStore.size`."""
        path = self._file(key)
        self.traffic.sent("size")
        return None if disk.leads_to_folder(path) else disk.file_size(path)

    def put(self, key: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        folder, name = self._place(key)
        self.traffic.sent("put", len(data))
        disk.put(folder, name, data)

    def create(self, key: str, data: bytes) -> None:
        """See `ObjectStore.create`."""
        folder, name = self._place(key)
        self.traffic.sent("create", len(data))
        if not disk.put_if_absent(folder, name, data):
            raise AlreadyExistsError(f"{self.url}/{key}: exists")

    def delete(self, key: str) -> None:
        """See `ObjectStore.delete`."""
        path = self._file(key)
        self.traffic.sent("delete")
        if disk.file_size(path) is not None:
            disk.remove(path)
            disk.sync_folder(os.path.dirname(path))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """See `ObjectStore.list`; a folder is read at a time, in order of the keys."""
        self._check_open()
        walk = self._walk(check_prefix(prefix))
        self.traffic.sent("list")
        return walk

    def close(self) -> None:
        """See `ObjectStore.close`."""
        self._closed = True

    def _walk(self, prefix: str) -> Iterator[tuple[str, int]]:
        folder = os.path.join(self._path, prefix)
        names = disk.list_folder(folder)
        folders = {name + "/" for name in names if disk.leads_to_folder(os.path.join(folder, name))}
        for name in sorted([name for name in names if name + "/" not in folders] + [*folders]):
            if name in folders:
                yield from self._walk(prefix + name)
                continue
            size = disk.file_size(os.path.join(folder, name))
            if size is not None and not name.endswith(TEMPORARY):
                yield prefix + name, size

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"{self.url}: closed")

    def _file(self, key: str) -> str:
        self._check_open()
        return os.path.join(self._path, check_key(key))

    def _place(self, key: str) -> tuple[str, str]:
        """Folder and name of the file for `key`; the folder is made."""
        path = self._file(key)
        if disk.leads_to_folder(path):
            raise StoreUnavailableError(f"{self.url}/{key}: is a folder")
        folder, name = os.path.split(path)
        if folder not in self._made:
            self._make(folder)
        return folder, name

    def _make(self, folder: str) -> None:
        """Make a folder of objects whose name, and the names above it, survive a loss of power."""
        disk.make_folder(folder)
        above = folder
        while len(above) >= len(self._path):
            # Another process may have made it just now, and not synced its name yet.
            above = os.path.dirname(above)
            disk.sync_folder(above)
        self._made.add(folder)
