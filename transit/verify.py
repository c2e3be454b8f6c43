"""Verification of a local store: everything re-derived from its bytes.

    commits    chain, roots, tree states, no gap
    segments   the name is the BLAKE3 of the file; footer, blocks and their digests; every chunk;
               the index lists exactly what the blocks hold
    WAL files  every frame; the last file's tail judged as at opening
    streams    offsets contiguous from each stream's start, in the order of the log
    lineage    records canonical; names and merge ids unique; forks and heads exist; every merge run
               again gives the plan that was recorded

Owns the report. It reads files afresh, not through what an open store has in memory, and never
writes. It stops at nothing: what is damaged becomes a finding, and the rest is still read.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from transit.config import Settings
from transit.disk import File, list_folder
from transit.errors import (
    ConflictError,
    CorruptError,
    FormatError,
    InvalidInputError,
    NotFoundError,
    TransitError,
)
from transit.format.commit import SegmentRef
from transit.format.digest import Digester, digest
from transit.format.lineage import (
    LINEAGE_ID,
    Branch,
    LineageRecord,
    Merge,
    decode_lineage,
    triples,
)
from transit.format.names import SEGMENT_DIR, WAL_DIR, merge_key, name_key
from transit.format.record import Chunk, chunks_of
from transit.format.segment import Extent, Footer, decode_block, encode_index
from transit.lineage.policy import Request
from transit.lineage.spans import Span, to_plan
from transit.log.catalog import Catalog
from transit.log.recover import judge_end, judge_live, scan
from transit.log.segments import Segment
from transit.log.wal import Wal

READ_BYTES: Final = 1024 * 1024
FINDINGS_MAX: Final = 1000

RunPolicy = Callable[[Catalog, Request], tuple[Span, ...]]


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it should be: where, what was expected, what was found."""

    place: str
    expected: str
    found: str


class Report(msgspec.Struct, frozen=True):
    """What was checked (`counts`, by kind) and what was found wrong; `ok` when nothing was.

    Findings past the first 1,000 are counted, not listed.
    """

    level: str
    counts: Mapping[str, int]
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.findings


def verify_store(known: Catalog, settings: Settings, run_policy: RunPolicy, reached: int) -> Report:
    """Check every byte of the store that `known` is open on, which reached LSN `reached`.

    Raises only when the store cannot be read at all.
    """
    verifier = _Verifier(Catalog(known.root, known.store_id, settings), run_policy)
    return verifier.run(reached)


class _Verifier:
    def __init__(self, catalog: Catalog, run_policy: RunPolicy) -> None:
        self._root = catalog.root
        self._catalog = catalog
        self._run_policy = run_policy
        self._counts: Counter[str] = Counter()
        self._findings: list[Finding] = []
        self._next: dict[int, int] = {}
        self._records: dict[int, LineageRecord] = {}
        self._names: set[str] = set()
        self._merge_ids: set[str] = set()

    def run(self, reached: int) -> Report:
        with self._finding():
            self._catalog.load_commits()
        with self._finding():
            self._catalog.commits.check_no_gap()
        self._counts["commits"] = self._catalog.commits.count
        for segment in self._catalog.view.segments:
            self._segment(segment)
        named = {os.path.basename(segment.path) for segment in self._catalog.view.segments}
        on_disk = list_folder(os.path.join(self._root, SEGMENT_DIR))
        self._counts["unnamed_segments"] = sum(
            name.endswith(".seg") and name not in named for name in on_disk
        )
        found = self._wals()
        if found < reached:
            # What was written is not there any more: zeroed or cut off, it looks like an end.
            self._find(
                os.path.join(self._root, WAL_DIR), f"records to LSN {reached}", f"to {found}"
            )
        self._lineage()
        return Report("bodies", dict(self._counts), tuple(self._findings))

    @contextlib.contextmanager
    def _finding(self) -> Iterator[None]:
        try:
            yield
        except CorruptError as error:
            self._find(error.place, error.expected, error.found)
        except FormatError as error:
            self._find(self._root, "a format this transit reads", str(error))
        except TransitError as error:
            self._find(self._root, "a readable file", str(error))

    def _find(self, place: str, expected: str, found: str) -> None:
        self._counts["findings"] += 1
        if len(self._findings) < FINDINGS_MAX:
            self._findings.append(Finding(place, expected, found))

    # Segments

    def _segment(self, segment: Segment) -> None:
        self._counts["segments"] += 1
        with self._finding():
            self._whole_file(segment)
        with self._finding():
            footer = segment.footer
            index = segment.index
            extents, keys = [], []
            for number in range(len(footer.blocks) - 1):
                for chunk, position in self._block(segment, number):
                    extents.append(_extent(chunk, number, position))
                    keys += self._chunk(chunk, f"{segment.path}, block {number}")
            if encode_index(extents, sorted(keys)) != index.raw:
                raise CorruptError(
                    f"{segment.path}, index", expected="what the blocks hold", found="another index"
                )
            self._totals(segment.ref, footer, extents, segment.path)

    def _whole_file(self, segment: Segment) -> None:
        segment.check_present()
        file = File.open(segment.path)
        digester = Digester()
        for position in range(0, segment.ref.bytes, READ_BYTES):
            digester.update(file.read_at(position, READ_BYTES))
        if digester.digest().hex() != segment.ref.digest:
            raise CorruptError(
                segment.path, expected=segment.ref.digest, found=digester.digest().hex()
            )
        self._counts["bytes"] += segment.ref.bytes

    def _block(self, segment: Segment, number: int) -> list[tuple[Chunk, int]]:
        entry = segment.footer.blocks[number]
        place = f"{segment.path}, byte {entry.position}"
        found: list[tuple[Chunk, int]] = []
        with self._finding():
            stored = segment.read_stored(number)
            if digest(stored) != entry.digest:
                raise CorruptError(place, expected=entry.digest.hex(), found=digest(stored).hex())
            raw = decode_block(entry, stored, segment.path)
            position = 0
            for chunk in chunks_of(raw, place):
                chunk.check(place)
                found.append((chunk, position))
                position = chunk.end
            self._counts["blocks"] += 1
        return found

    def _totals(self, ref: SegmentRef, footer: Footer, extents: list[Extent], path: str) -> None:
        records = sum(extent.count for extent in extents)
        streams = len({extent.stream for extent in extents})
        derived = (records, streams, ref.lsn, ref.time)
        in_footer = (
            footer.records, footer.streams, (footer.first_lsn, footer.last_lsn),
            (footer.time_first, footer.time_last),
        )  # fmt: skip
        in_commit = (ref.records, ref.streams, ref.lsn, ref.time)
        if not derived == in_footer == in_commit:
            raise CorruptError(
                f"{path}, footer", expected=f"{derived}", found=f"{in_footer}, {in_commit}"
            )

    # Records, in the order of the log

    def _chunk(self, chunk: Chunk, place: str) -> list[tuple[int, int]]:
        """Check that a chunk goes on where its stream was; the index keys it introduces."""
        self._counts["chunks"] += 1
        self._counts["records"] += chunk.count
        keys = []
        if chunk.stream == LINEAGE_ID:
            keys = self._lineage_chunk(chunk)
        expected = self._next.get(chunk.stream)
        if expected is None:
            record = self._records.get(chunk.stream)
            expected = record.start if record is not None else -1
        if chunk.first != expected:
            self._find(
                place,
                f"offset {expected} of stream {chunk.stream}"
                if expected >= 0
                else "a known stream",
                f"offset {chunk.first} of stream {chunk.stream}",
            )
        self._next[chunk.stream] = chunk.stop
        return keys

    def _lineage_chunk(self, chunk: Chunk) -> list[tuple[int, int]]:
        keys = []
        for stream_id, payload in enumerate(chunk.payloads(), chunk.first):
            with self._finding():
                record = decode_lineage(payload, stream_id)
                self._counts["streams"] += 1
                self._records[stream_id] = record
                self._unique(stream_id, record)
                keys.append((name_key(record.name), stream_id))
                if isinstance(record, Merge):
                    keys.append((merge_key(record.merge_id), stream_id))
        return keys

    def _unique(self, stream_id: int, record: LineageRecord) -> None:
        if record.name in self._names:
            self._find(f"$lineage@{stream_id}", "a new name", repr(record.name))
        self._names.add(record.name)
        if isinstance(record, Merge):
            if record.merge_id in self._merge_ids:
                self._find(f"$lineage@{stream_id}", "a new merge id", record.merge_id)
            self._merge_ids.add(record.merge_id)

    # WAL files

    def _wals(self) -> int:
        reached = self._catalog.commits.next_lsn
        with self._finding():
            self._catalog.follow(write=False)
        numbers = self._catalog.wal_numbers()
        for number in numbers:
            with self._finding():
                wal = self._catalog.open_wal(number, write=False)
                if wal is not None:
                    self._wal(wal, last=number == numbers[-1])
                    reached = wal.next_lsn
        return reached

    def _wal(self, wal: Wal, *, last: bool) -> None:
        self._counts["wal_files"] += 1
        self._frames(wal)
        if not last:
            judge_end(wal)
        cut = judge_live(wal, lambda: self._frames(wal))
        self._counts["bytes"] += wal.tail
        if cut is not None:
            # Never acknowledged as durable: the next writer cuts it. Counted, so that it is seen.
            self._counts["torn_bytes"] += cut.bytes

    def _frames(self, wal: Wal) -> None:
        for frame in scan(wal):
            self._counts["frames"] += 1
            for chunk in frame.chunks:
                self._chunk(chunk, f"{wal.path}, byte {frame.header.position}")

    # Lineage

    def _lineage(self) -> None:
        for stream_id, record in self._records.items():
            place = f"$lineage@{stream_id} ({record.name!r})"
            with self._finding():
                if isinstance(record, Branch):
                    self._head(place, record.parent, record.fork)
                elif isinstance(record, Merge):
                    self._merge(place, record)

    def _head(self, place: str, stream_id: int, offset: int) -> None:
        record = self._records.get(stream_id)
        start = record.start if record is not None else 0
        if offset >= max(self._next.get(stream_id, 0), start):
            raise CorruptError(
                place, expected=f"offset {offset} of stream {stream_id}", found="none"
            )

    def _merge(self, place: str, record: Merge) -> None:
        for parent, head in record.parents:
            self._head(place, parent, head)
        for stream_id, first, count in triples(record.plan):
            self._head(place, stream_id, first + count - 1)
            if first < self._records[stream_id].start:
                raise CorruptError(
                    place, expected=f"own records of stream {stream_id}", found=f"offset {first}"
                )
        self._counts["merges"] += 1
        request = Request(
            policy=record.policy, heads=record.parents, base=record.base, params=record.params
        )
        try:
            spans = self._run_policy(self._catalog, request)
        except NotFoundError:
            # A custom policy this process does not know: its plan is all there is.
            self._counts["merges_not_rerun"] += 1
            return
        except (InvalidInputError, ConflictError) as error:
            raise CorruptError(
                place, expected=f"a merge by {record.policy}", found=str(error)
            ) from None
        if to_plan(spans) != record.plan:
            raise CorruptError(place, expected=f"the plan of {record.policy}", found="another plan")


def _extent(chunk: Chunk, number: int, position: int) -> Extent:
    return Extent(chunk.stream, chunk.first, chunk.last_timestamp, chunk.count, number, position)
