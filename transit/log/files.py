"""The WAL files that one store has open.

Owns that each of them is closed with its store, those too that a reader still goes through after
they were sealed. Leaves which of them are part of the log to `transit.log.catalog`.
"""

from __future__ import annotations

from weakref import WeakSet

from transit.format.names import Places
from transit.log.blocks import BlockCache
from transit.log.wal import Wal


class WalFiles:
    """Opens, makes and closes WAL files, all read through one cache."""

    def __init__(self, places: Places, store_id: bytes, cache: BlockCache) -> None:
        self._folder = places.wal
        self._store_id = store_id
        self._cache = cache
        self._opened: WeakSet[Wal] = WeakSet()

    def open(self, first_lsn: int, *, write: bool) -> Wal | None:
        """As `Wal.open`."""
        wal = Wal.open(self._folder, self._store_id, first_lsn, self._cache, write=write)
        if wal is not None:
            self._opened.add(wal)
        return wal

    def create(self, first_lsn: int) -> Wal:
        """As `Wal.create`."""
        wal = Wal.create(self._folder, self._store_id, first_lsn, self._cache)
        self._opened.add(wal)
        return wal

    def close(self) -> None:
        """Close all: calls under way end as if before, later ones raise `ClosedError`."""
        for wal in list(self._opened):
            wal.file.close()
