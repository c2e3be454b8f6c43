"""Verification of a local store: everything re-derived from its bytes.

    commits    chain, roots, tree states, no gap
    segments   see `transit.verify.segments`
    WAL files  every frame; the last file's tail judged as at opening
    streams    see `transit.verify.streams`

It reads files afresh, not through what an open store has in memory, and never writes. It stops at
nothing: what is damaged becomes a finding, and the rest is still read. Everything is read in the
order of its LSNs: a WAL file that is sealed meanwhile is read once, as the WAL file or the segment.
"""

from __future__ import annotations

import contextlib
import os

from transit.config import Settings
from transit.disk import file_size, list_folder
from transit.errors import NotFoundError, StoreUnavailableError, TransitError
from transit.format.names import checkpoint_name
from transit.log.catalog import Catalog
from transit.log.recover import judge_end, judge_live, scan
from transit.log.redactions import Redacted
from transit.log.segments import Segment
from transit.log.signed import SignedNotes
from transit.log.wal import Wal
from transit.proof.policy import Policy
from transit.verify.findings import Ledger, Report
from transit.verify.notes import NoteCheck
from transit.verify.redacted import check_redacted
from transit.verify.segments import SegmentCheck, whole_file
from transit.verify.stages import CHECKSUM, TREE, highest
from transit.verify.streams import RunPolicy, StreamCheck


def verify_store(
    known: Catalog,
    settings: Settings,
    run_policy: RunPolicy,
    reached: int,
    trusted: Policy | None = None,
) -> Report:
    """Check every byte of the store that `known` is open on, which reached LSN `reached`.

    trusted: whose signatures its checkpoints must have; None: signatures are not judged.

    Raises only when the store cannot be read at all.
    """
    fresh = Catalog(known.root, known.store_id, settings, known.elsewhere, keys=known.keys)
    return _Verifier(fresh, trusted).run(run_policy, reached)


class _Verifier:
    def __init__(self, catalog: Catalog, trusted: Policy | None) -> None:
        self._catalog = catalog
        self._trusted = trusted
        self._ledger = Ledger(catalog.root)
        self._streams = StreamCheck(self._ledger, here=True)

    def run(self, run_policy: RunPolicy, reached: int) -> Report:
        catalog, ledger = self._catalog, self._ledger
        with ledger.catching():
            catalog.load_commits()
        with ledger.catching():
            catalog.commits.check_no_gap()
        stage = self._checkpoints()
        found = self._segments(0)
        with ledger.catching():
            # Says which file is missing or cannot be opened.
            catalog.follow(write=False)
        found = self._wals(found)
        ledger.counts["commits"] = catalog.commits.count
        self._count_unnamed()
        if found < reached:
            # What was written is not there any more: zeroed or cut off, it looks like an end.
            ledger.find(catalog.places.wal, f"records to LSN {reached}", f"to {found}")
        if self._streams.partial:
            # Lineage needs all lineage records; without a remote some are out of reach.
            ledger.counts["lineage_not_checked"] = 1
        else:
            # Merges are run again on what the catalog has: as much as was read, or was told above.
            with contextlib.suppress(TransitError):
                catalog.follow(write=False)
            self._streams.lineage(catalog, run_policy)
        return ledger.report("bodies", catalog.commits.root, stage)

    def _checkpoints(self) -> str:
        """Hold the folder's checkpoints against its commits; how far all of it is bound."""
        catalog, ledger = self._catalog, self._ledger
        # Commits that could not be taken up are findings already.
        whole = not ledger.counts["findings"]
        notes = SignedNotes(catalog.root, catalog.check_place)
        check = NoteCheck(ledger, self._trusted)
        with ledger.catching():
            notes.last()
        sizes = notes.sizes()
        for size in sizes:
            with ledger.catching():
                note = notes.read(size)
                if note is not None:
                    place = f"{catalog.places.checkpoints}/{checkpoint_name(size)}"
                    check.take(place, note, size=size, newest=size == sizes[-1])
        commits = catalog.commits
        good = check.compare(
            catalog.store_id, commits.count, lambda size: commits.tree_at(size).root(), whole=whole
        )
        return highest(TREE if commits.count else CHECKSUM, *(known.stage for known in good))

    # Segments

    def _segments(self, reached: int) -> int:
        """Check the segments from LSN `reached` on; the LSN after the last of them."""
        for segment in self._catalog.view.segments:
            first, last = segment.ref.lsn
            if first >= reached:
                self._segment(segment)
                reached = last + 1
        return reached

    def _count_unnamed(self) -> None:
        named = {os.path.basename(segment.path) for segment in self._catalog.view.segments}
        on_disk = list_folder(self._catalog.places.segments)
        self._ledger.counts["unnamed_segments"] = sum(
            name.endswith(".seg") and name not in named for name in on_disk
        )

    def _segment(self, segment: Segment) -> None:
        self._ledger.counts["segments"] += 1
        try:
            self._out_of_reach(segment)
        except StoreUnavailableError:
            # Let go for a remote that is not attached: what its guide says must do.
            self._ledger.counts["segments_remote"] += 1
            return
        self._streams.erasures.commit = segment.commit
        left: Redacted | None = None
        with self._ledger.catching():
            left = segment.redacted()
        if left is not None:
            on_chunk, on_erased = self._streams.chunk, self._streams.erased
            on_sealed = self._streams.sealed
            if not check_redacted(left, self._ledger, on_chunk, on_erased, on_sealed=on_sealed):
                self._streams.holes = True
            return
        check = SegmentCheck(
            segment,
            self._ledger,
            self._streams.chunk,
            on_erased=self._streams.erased,
            on_sealed=self._streams.sealed,
        )
        with self._ledger.catching():
            check.digest(whole_file(segment))
        check.contents()

    def _out_of_reach(self, segment: Segment) -> None:
        """`StoreUnavailableError`, its offsets noted, for a segment whose bytes cannot be had."""
        try:
            if file_size(segment.redacted_path) is None:
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

    def _wals(self, reached: int) -> int:
        """Check what is after LSN `reached`; the LSN after the last record."""
        while True:
            listed = self._catalog.wal_numbers()
            # Only now: what is not listed any more is in a commit by then. What is wrong with
            # commits was told when they were read first.
            with contextlib.suppress(TransitError):
                self._catalog.load_commits()
            reached = self._segments(reached)
            numbers = [number for number in listed if number >= reached]
            follows = True
            for place, number in enumerate(numbers, 1):
                with self._ledger.catching():
                    if (
                        follows
                        and number > reached
                        and self._are_torn(reached, numbers[place - 1 :])
                    ):
                        return reached
                    follows = False
                    try:
                        wal = self._catalog.files.open(number, write=False)
                    except NotFoundError:
                        if self._sealed(number):
                            break
                        raise
                    if wal is not None:
                        self._wal(wal)
                        reached = wal.next_lsn
                    if wal is None or not wal.ended:
                        if self._are_torn(number, numbers[place:]):
                            return reached
                        if wal is not None:
                            judge_end(wal, self._catalog.places.wal_file(numbers[place]))
                    follows = True
            else:
                return reached

    def _are_torn(self, first_lsn: int, later: list[int]) -> bool:
        """Whether no file of `later` says that the one from that LSN on was durable; all counted.

        The log has ended before them, and the next writer removes them.
        """
        files = self._catalog.files
        if files.vouching(first_lsn, later):
            return False
        self._ledger.counts["torn_bytes"] += sum(map(files.size, later))
        return True

    def _sealed(self, first_lsn: int) -> bool:
        """Whether the WAL file with this number was sealed and dropped since it was listed."""
        self._catalog.load_commits()
        return self._catalog.commits.next_lsn > first_lsn

    def _wal(self, wal: Wal) -> None:
        self._streams.erasures.commit = -1
        self._ledger.counts["wal_files"] += 1
        self._frames(wal)
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
