"""Verification of a local store: everything re-derived from its bytes.

    commits    chain, roots, tree states, no gap
    segments   see `transit.verify.segments`
    WAL files  every frame; the last file's tail judged as at opening
    streams    see `transit.verify.streams`

It reads files afresh, not through what an open store has in memory, and never writes. It stops at
nothing: what is damaged becomes a finding, and the rest is still read.
"""

from __future__ import annotations

import os

from transit.config import Settings
from transit.disk import list_folder
from transit.errors import StoreUnavailableError, TransitError
from transit.format.names import SEGMENT_DIR, WAL_DIR
from transit.log.catalog import Catalog
from transit.log.recover import judge_end, judge_live, scan
from transit.log.segments import Segment
from transit.log.wal import Wal
from transit.verify.findings import Ledger, Report
from transit.verify.segments import SegmentCheck, whole_file
from transit.verify.streams import RunPolicy, StreamCheck


def verify_store(known: Catalog, settings: Settings, run_policy: RunPolicy, reached: int) -> Report:
    """Check every byte of the store that `known` is open on, which reached LSN `reached`.

    Raises only when the store cannot be read at all.
    """
    fresh = Catalog(known.root, known.store_id, settings, known.elsewhere)
    return _Verifier(fresh).run(run_policy, reached)


class _Verifier:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._ledger = Ledger(catalog.root)
        self._streams = StreamCheck(self._ledger)

    def run(self, run_policy: RunPolicy, reached: int) -> Report:
        catalog, ledger = self._catalog, self._ledger
        with ledger.catching():
            catalog.load_commits()
        with ledger.catching():
            catalog.commits.check_no_gap()
        ledger.counts["commits"] = catalog.commits.count
        for segment in catalog.view.segments:
            self._segment(segment)
        named = {os.path.basename(segment.path) for segment in catalog.view.segments}
        on_disk = list_folder(os.path.join(catalog.root, SEGMENT_DIR))
        ledger.counts["unnamed_segments"] = sum(
            name.endswith(".seg") and name not in named for name in on_disk
        )
        found = self._wals()
        if found < reached:
            # What was written is not there any more: zeroed or cut off, it looks like an end.
            ledger.find(
                os.path.join(catalog.root, WAL_DIR), f"records to LSN {reached}", f"to {found}"
            )
        if self._streams.partial:
            # Lineage needs all lineage records; without a remote some are out of reach.
            ledger.counts["lineage_not_checked"] = 1
        else:
            self._streams.lineage(catalog, run_policy)
        return ledger.report("bodies", catalog.commits.root)

    # Segments

    def _segment(self, segment: Segment) -> None:
        self._ledger.counts["segments"] += 1
        try:
            self._out_of_reach(segment)
        except StoreUnavailableError:
            # Let go for a remote that is not attached: what its guide says must do.
            self._ledger.counts["segments_remote"] += 1
            return
        check = SegmentCheck(segment, self._ledger, self._streams.chunk)
        with self._ledger.catching():
            check.digest(whole_file(segment))
        check.contents()

    def _out_of_reach(self, segment: Segment) -> None:
        """`StoreUnavailableError`, its offsets noted, for a segment whose bytes cannot be had."""
        try:
            segment.read(0, 1)
        except StoreUnavailableError:
            self._streams.partial = True
            index = segment.index
            for row, stream in enumerate(index.streams):
                self._streams.reach(stream, index.stop(row))
            raise
        except TransitError:
            # Told where the whole file is read.
            return

    # WAL files

    def _wals(self) -> int:
        reached = self._catalog.commits.next_lsn
        with self._ledger.catching():
            self._catalog.follow(write=False)
        numbers = self._catalog.wal_numbers()
        for number in numbers:
            with self._ledger.catching():
                wal = self._catalog.open_wal(number, write=False)
                if wal is not None:
                    self._wal(wal, last=number == numbers[-1])
                    reached = wal.next_lsn
        return reached

    def _wal(self, wal: Wal, *, last: bool) -> None:
        self._ledger.counts["wal_files"] += 1
        self._frames(wal)
        if not last:
            judge_end(wal)
        cut = judge_live(wal, lambda: self._frames(wal))
        self._ledger.counts["bytes"] += wal.tail
        if cut is not None:
            # Never acknowledged as durable: the next writer cuts it. Counted, so that it is seen.
            self._ledger.counts["torn_bytes"] += cut.bytes

    def _frames(self, wal: Wal) -> None:
        for frame in scan(wal):
            self._ledger.counts["frames"] += 1
            for chunk in frame.chunks:
                self._streams.chunk(chunk, f"{wal.path}, byte {frame.header.position}")
