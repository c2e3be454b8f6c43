"""The WAL files that one store has open.

Owns that each of them is closed with its store, those too that a reader still goes through after
they were sealed. Leaves which of them are part of the log to `transit.log.catalog`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from weakref import WeakSet

from transit.disk import File, file_size, remove, sync_folder
from transit.errors import CorruptError, NotFoundError
from transit.format.frame import WAL_HEADER
from transit.format.names import Places, wal_name
from transit.keyring.envelopes import StoreKeys
from transit.log.blocks import BlockCache
from transit.log.recover import Cut, vouches
from transit.log.stated import pieces
from transit.log.wal import Wal


class WalFiles:
    """Opens, makes and closes WAL files, all read through one cache."""

    def __init__(
        self, places: Places, store_id: bytes, cache: BlockCache, keys: StoreKeys | None = None
    ) -> None:
        self._keys = keys
        self._folder = places.wal
        self._store_id = store_id
        self._cache = cache
        self._opened: WeakSet[Wal] = WeakSet()

    def open(self, first_lsn: int, *, write: bool) -> Wal | None:
        """As `Wal.open`."""
        wal = Wal.open(
            self._folder, self._store_id, first_lsn, self._cache, self._keys, write=write
        )
        if wal is not None:
            self._opened.add(wal)
        return wal

    def create(self, first_lsn: int, unsynced_from: int) -> Wal:
        """As `Wal.create`."""
        wal = Wal.create(
            self._folder, self._store_id, first_lsn, unsynced_from, self._cache, self._keys
        )
        self._opened.add(wal)
        return wal

    def check_torn(self, first_lsn: int, later: Sequence[int]) -> None:
        """`CorruptError` when the file from that LSN on, which is not there, was durable."""
        if vouching := self.vouching(first_lsn, later):
            raise CorruptError(
                self._path(first_lsn),
                expected=f"a WAL from LSN {first_lsn}, because {vouching} says that it was durable",
                found="none",
            )

    def vouching(self, first_lsn: int, later: Sequence[int]) -> str:
        """The path of a file of `later` that says that the one from that LSN on was durable, or "".

        `CorruptError` for one of them that is damaged itself.
        """
        for number in later:
            try:
                wal = Wal.open(self._folder, self._store_id, number, self._cache, write=False)
            except NotFoundError:
                # Sealed since it was listed.
                continue
            if wal is not None:
                with wal.file:
                    if vouches(wal, first_lsn):
                        return wal.path
        return ""

    def size(self, first_lsn: int) -> int:
        """Size of a file in bytes; 0 when it is not there any more."""
        return file_size(self._path(first_lsn)) or 0

    def remove(self, numbers: Sequence[int]) -> list[Cut]:
        """Remove files behind the end of the log, each of those with frames a cut; all synced.

        `LockedError`, and nothing is removed, when another process writes to one of them.
        """
        files = [File.open(self._path(number), write=True) for number in numbers]
        with ExitStack() as stack:
            for file in files:
                stack.enter_context(file).hold(shared=False)
            for file in reversed(files):
                remove(file.path)
            sync_folder(self._folder)
            return [Cut(file.path, 0, file.size) for file in files if _holds_frames(file)]

    def _path(self, first_lsn: int) -> str:
        return os.path.join(self._folder, wal_name(first_lsn))

    def close(self) -> None:
        """Close all: calls under way end as if before, later ones raise `ClosedError`."""
        for wal in list(self._opened):
            wal.file.close()


def _holds_frames(file: File) -> bool:
    """Whether there is anything behind the header of a WAL file but reserved zeros."""
    return any(any(data) for _, data in pieces(file, WAL_HEADER.size, file.size, 0))
