"""Rotation: the WAL file that is written now, and how it is ended and followed by the next.

Owns which file that is, the engine's clock, whose steps back end a file, and the tail from which on
an append has more to do than to append. Only the writer uses it, in its turn. Every step may be
interrupted: the next call goes on from what there is.

    all of the file synced     because an end frame says that all before it is durable
    end frame written, synced  because recovery goes on in the next file only after one
    space cut off              so that the next file can use what was reserved beyond the end frame
    next file made             header and name are synced
"""

from __future__ import annotations

from collections.abc import Callable

from transit.config import Settings
from transit.errors import SyncFailedError
from transit.log.catalog import Catalog
from transit.log.clock import EngineClock
from transit.log.syncs import Syncs
from transit.log.wal import Wal


class Rotation:
    """The WAL file that is written now, `wal`; an append up to `limit` need not ask for room.

    write_end: writes the end frame. shared: whether other processes may write to the file too.
    """

    wal: Wal

    def __init__(
        self,
        catalog: Catalog,
        settings: Settings,
        syncs: Syncs,
        write_end: Callable[[Wal], None],
        *,
        shared: bool,
    ) -> None:
        self._shared = shared
        self._catalog = catalog
        self._seal_bytes = settings.seal_bytes
        self._syncs = syncs
        self._write_end = write_end
        self.limit = 0
        self.clock = EngineClock()
        # They only set flags.
        self.on_nearly_full: Callable[[], object] = _nothing
        self.on_ended: Callable[[], object] = _nothing

    def take(self, wal: Wal) -> Wal:
        """Write to `wal` from now on; `LockedError` if another process does that should not."""
        wal.file.hold(shared=self._shared)
        self.wal = wal
        if wal.next_lsn > wal.first_lsn:
            self.clock.last = wal.written
        else:
            self.clock.begin(self._catalog.written_before(wal))
        self.limit = self._seal_bytes - self._seal_bytes // 8
        return wal

    def take_ended(self, wal: Wal) -> None:
        """Have no file to write to yet: the next append makes the one after `wal`."""
        self.wal, self.limit = wal, 0

    def ensure(self) -> Wal:
        """The newest file, when it has not ended; else the next one, made now."""
        catalog = self._catalog
        wals = catalog.view.wals
        if wals and not wals[-1].ended:
            return self.take(wals[-1])
        first_lsn = wals[-1].next_lsn if wals else catalog.commits.next_lsn
        if wals and wals[-1].durable < wals[-1].tail:
            # The writer of its end frame may have died or been interrupted before the sync, or is
            # another process, whose sync may have failed.
            self._syncs.secure(wals[-1])
        with self._syncs.poisoning(SyncFailedError):
            return self.take(catalog.create_wal(first_lsn))

    def room(self) -> Wal:
        """A file with room for a frame."""
        wal = self.wal
        if wal.ended or wal.tail >= self._seal_bytes:
            return self.next()
        if self.clock.stepped:
            return self._next_time()
        if wal.tail >= self.limit:
            # Nearly full: synced now, beside the appends, it can soon be ended without a long wait.
            self.limit = self._seal_bytes
            self.on_nearly_full()
        return wal

    def _next_time(self) -> Wal:
        """Begin a time that is behind the last, in a file without records."""
        wal = self.wal
        if wal.next_lsn > wal.first_lsn:
            return self.next()
        self.clock.begin(self._catalog.written_before(wal))
        return wal

    def next(self) -> Wal:
        """End the file, and make the next one."""
        wal = self.wal
        if not wal.ended:
            self._syncs.now(wal)
            # From here on, until there is a next file, every append has to ask for room.
            self.limit = 0
            self._write_end(wal)
        # Also when an earlier call wrote the end frame and was interrupted right then.
        self._syncs.now(wal)
        wal.cut()
        wal = self.ensure()
        self.on_ended()
        return wal


def _nothing() -> None:
    pass
