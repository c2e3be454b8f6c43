"""Taking up what is on disk: when a store is opened, and what other processes wrote meanwhile.

Owns the order in which files are read, judged, cut and made durable. Leaves judging bytes to
`transit.log.recover`. Only the writer uses it, in its turn.
"""

from __future__ import annotations

from contextlib import suppress

from transit.errors import StorageFullError
from transit.log.catalog import Catalog
from transit.log.recover import Cut, judge_end, judge_tail
from transit.log.rotation import Rotation
from transit.log.syncs import Syncs, secure
from transit.log.wal import Wal


class TakingUp:
    """What a writer finds on disk; `cuts` are the torn tails that were cut off.

    shared: whether other processes may write to the store too.
    """

    def __init__(self, catalog: Catalog, rotation: Rotation, syncs: Syncs, *, shared: bool) -> None:
        self._shared = shared
        self._catalog = catalog
        self._rotation = rotation
        self._syncs = syncs
        self.cuts: list[Cut] = []

    def recover(self) -> None:
        """Take up the WAL files on disk, cut a torn tail, and have a file to write to."""
        wal = self._catalog.hold(shared=self._shared)
        self._remove_torn_files(wal)
        # What a killed process left in the page cache is read as history: make it durable.
        for older in self._catalog.view.wals:
            secure(older)
        if wal is not None and wal.ended:
            self._have_next(wal)
            return
        if wal is not None:
            self._cut_torn_tail(wal)
        self._rotation.ensure()

    def _have_next(self, ended: Wal) -> None:
        """Have a file to write to after `ended`, if there is room for one.

        On a full disk an append tries again; what reads or syncs needs none.
        """
        self._rotation.take_ended(ended)
        with suppress(StorageFullError):
            self._rotation.ensure()

    def _remove_torn_files(self, wal: Wal | None) -> None:
        """Remove the files behind the end of the log, `wal`, which a loss of power has torn.

        Durably, before anything is written to the end: else a later opening could take up one of
        them behind it.
        """
        catalog = self._catalog
        later = self._later(wal)
        if not later:
            return
        if wal is not None and not wal.ended:
            judge_tail(wal)
            judge_end(wal, catalog.files.vouching(wal.first_lsn, later))
        catalog.check_place()
        self.cuts += catalog.files.remove(later)

    def _later(self, wal: Wal | None) -> list[int]:
        """The numbers of the files after `wal` that were not taken up."""
        numbers = self._catalog.wal_numbers()
        return [number for number in numbers if wal is None or number > wal.first_lsn]

    def catch_up(self, *, write: bool) -> None:
        """Take up what other processes wrote; to `write`, have a file for it if there is room."""
        wal = self._catalog.follow(write=True)
        self._rotation.clock.reach(self._rotation.wal.written)
        if not write:
            return
        if wal is None or wal.ended:
            # None is left when the last is sealed.
            self._have_next(wal or self._rotation.wal)
            return
        if wal is not self._rotation.wal:
            self._syncs.secure(self._rotation.take(wal))
        if wal.stopped:
            # Its writer died within a write: the next to have the turn settles it.
            if later := self._later(wal):
                # Processes that live have lost no power: nothing here may be torn.
                judge_end(wal, self._catalog.places.wal_file(later[0]))
            self._cut_torn_tail(wal)

    def _cut_torn_tail(self, wal: Wal) -> None:
        cut = judge_tail(wal)
        if cut is not None:
            self.cuts.append(cut)
            wal.cut()
        self._syncs.settle(wal)
