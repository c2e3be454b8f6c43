"""Rotation: the WAL file that is written now, and how it is ended and followed by the next.

Owns which file that is, the engine's clock, whose steps back end a file, and the tail from which on
an append has more to do than to append. Only the writer uses it, in its turn. Every step may be
interrupted: the next call goes on from what there is.

    end frame written          recovery goes on in the next file only after one
    space cut off              so that the next file can use what was reserved beyond the end frame
    next file made             its header says which files before it may not be durable yet

None of this waits for a sync. Whatever is synced next makes the ended files durable first, in the
order of the log (`transit.log.syncs`). Only where `UNSYNCED_FILES_MAX` files would not be durable,
the oldest are synced before. `seal` waits at once: what it ends is durable before the next file is
made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from transit.config import Settings
from transit.log.catalog import Catalog
from transit.log.clock import EngineClock
from transit.log.syncs import Syncs
from transit.log.wal import Wal

UNSYNCED_FILES_MAX: Final = 3
"""So many files that are not durable there may be, the one that is written among them."""


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
        self._needs = 0 if catalog.keys is None else catalog.keys.wal_needs
        self.limit = 0
        # Bytes written to files before this one, which had so many when it was taken.
        self.grown: tuple[int, int, Wal | None] = (0, 0, None)
        self.clock = EngineClock()
        # It only sets a flag.
        self.on_ended: Callable[[], object] = _nothing

    def take(self, wal: Wal) -> Wal:
        """Write to `wal` from now on; `LockedError` if another process does that should not."""
        wal.file.hold(shared=self._shared)
        self._note_growth(wal)
        self.wal = wal
        if wal.next_lsn > wal.first_lsn:
            self.clock.last = wal.written
        else:
            self.clock.begin(self._catalog.written_before(wal))
        if wal.needs != self._needs:
            self._restate(wal)
        # In a file begun under another rule, each append asks for room.
        self.limit = self._seal_bytes if wal.needs == self._needs else 0
        return wal

    def _restate(self, wal: Wal) -> None:
        """Let a file without records say what is encrypted from now on."""
        if wal.next_lsn == wal.first_lsn and not self._shared:
            wal.state_needs(self._needs)

    def take_ended(self, wal: Wal) -> None:
        """Have no file to write to yet: the next append makes the one after `wal`."""
        self._note_growth(wal)
        self.wal, self.limit = wal, 0

    def _note_growth(self, wal: Wal) -> None:
        self.grown = (self.bytes, wal.tail, wal)

    @property
    def bytes(self) -> int:
        """Bytes of frames written since the first file was taken; grows alone."""
        before, begun, wal = self.grown
        return before if wal is None else before + wal.tail - begun

    def ensure(self) -> Wal:
        """The newest file, when it has not ended; else the next one, made now. It is durable."""
        wals = self._catalog.view.wals
        if wals and wals[-1].ended and wals[-1].durable < wals[-1].tail:
            # The writer of its end frame may have died or been interrupted before the sync, or is
            # another process, whose sync may have failed.
            self._syncs.secure(wals[-1])
        wal = self._newest()
        if not wal.durable:
            self._syncs.settle(wal)
        return wal

    def _newest(self) -> Wal:
        """The newest file, when it has not ended; else the next one, made now."""
        catalog = self._catalog
        wals = catalog.view.wals
        if wals and not wals[-1].ended:
            # An earlier call may have made it and been interrupted right then.
            return self.take(wals[-1])
        return self.take(
            catalog.create_wal(wals[-1].next_lsn if wals else catalog.commits.next_lsn)
        )

    def room(self) -> Wal:
        """A file with room for a frame."""
        wal = self.wal
        if wal.ended or wal.tail >= self._seal_bytes:
            return self.next()
        if wal.needs != self._needs and wal.next_lsn > wal.first_lsn:
            # Begun under another rule of what is encrypted.
            return self.next()
        return self._next_time() if self.clock.stepped else wal

    def _next_time(self) -> Wal:
        """Begin a time that is behind the last, in a file without records."""
        wal = self.wal
        if wal.next_lsn > wal.first_lsn:
            return self.next()
        self.clock.begin(self._catalog.written_before(wal))
        return wal

    def next(self) -> Wal:
        """End the file, and make the next one."""
        unsynced = self._catalog.view.unsynced
        if len(unsynced) >= UNSYNCED_FILES_MAX:
            self._syncs.now(unsynced[-UNSYNCED_FILES_MAX])
        self._end()
        wal = self._newest()
        self.on_ended()
        return wal

    def next_durable(self) -> Wal:
        """End the file, make that durable, and only then make the next one, durable too."""
        # An end frame after that says that all before it is durable.
        self._syncs.now(self.wal)
        self._end()
        self._syncs.now(self.wal)
        wal = self.ensure()
        self.on_ended()
        return wal

    def _end(self) -> None:
        wal = self.wal
        # An earlier call may have written the end frame and been interrupted right then.
        if not wal.ended:
            # From here on, until there is a next file, every append has to ask for room.
            self.limit = 0
            self._write_end(wal)
        wal.cut()


def _nothing() -> None:
    pass
