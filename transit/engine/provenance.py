"""Where a history comes from: its spans, how two differ, and how one record got where it is.

Owns the public values of these answers. Costs grow with spans and lineage records, never with the
records of a history; only the frame or block of the one record asked about is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from transit.disk import file_size
from transit.engine.plans import Head, recorded_plan
from transit.errors import CorruptError, RetentionGapError
from transit.format.commit import decode_commit, root_of
from transit.format.frame import frame_chunks
from transit.format.lineage import Branch, Kind, LineageRecord, Merge, Scalar, kind_of, triples
from transit.format.names import (
    COMMIT_DIR,
    REDACTED_DIR,
    SEGMENT_DIR,
    WAL_DIR,
    commit_name,
    segment_name,
    wal_name,
)
from transit.format.record import Chunk
from transit.handle.handle import Handle
from transit.lineage.spans import Coverage, Span, total
from transit.log.catalog import Catalog
from transit.log.segments import Segment
from transit.log.wal import Wal
from transit.replay import Position

_Times = tuple[int | None, int | None]
"""A record's timestamp and when it was written; None where the record is out of reach."""


class HistorySpan(msgspec.Struct, frozen=True):
    """`count` records of a history from offset `first` on: those appended at `origin` and on.

    uid: of the stream in `origin`, whose name may be another stream's by now.
    """

    first: int
    count: int
    origin: Position
    uid: str


class Difference(msgspec.Struct, frozen=True):
    """What two histories have and have not in common, by where records were appended.

    bases: their nearest common ancestors. left, right: the records that only the first, only the
    second has, with offsets as there. common: count of the records that both have.
    """

    bases: tuple[Position, ...]
    left: tuple[HistorySpan, ...]
    right: tuple[HistorySpan, ...]
    common: int


class MergeFacts(msgspec.Struct, frozen=True):
    """How a merged stream was made; `base` is None when the heads shared no record."""

    merge_id: str
    policy: str
    version: int
    params: Mapping[str, Scalar]
    base: Position | None
    parents: tuple[Position, ...]


class ProvenanceStep(msgspec.Struct, frozen=True):
    """A stream on a record's way, and the record's offset in it.

    fork_offset: a branch's last inherited offset, -1 when it inherits nothing; None for others.
    merge: how a merged stream was made; None for others.
    """

    stream: str
    offset: int
    kind: Kind
    metadata: Mapping[str, Scalar]
    fork_offset: int | None = None
    merge: MergeFacts | None = None


class RecordPlace(msgspec.Struct, frozen=True):
    """The file that holds a record.

    file: its path in the store. position: byte offset of the record's frame or block there.
    lsn: first and last log sequence number it may have; both are its own while it is in a WAL.
    digest, block: a segment's BLAKE3, 64 hex digits, and the number of the block; None for a WAL.
    Of a segment that chunks were erased from, file, position and block are of what is left.
    local: whether the file is in the store's folder; otherwise it is only in the remote.
    """

    kind: Literal["wal", "segment"]
    file: str
    position: int
    lsn: tuple[int, int]
    digest: str | None
    block: int | None
    local: bool


class CommitRef(msgspec.Struct, frozen=True):
    """A commit: its number, and its root, 64 hex digits."""

    number: int
    root: str


class Provenance(msgspec.Struct, frozen=True):
    """How the record at `position` got there.

    origin: where it was appended. timestamp, written: UTC nanoseconds; None when it is in a segment
    out of reach. path: from the stream asked for down to the origin's. commit: the one that names
    the record's segment; None while it is not sealed. published: whether that commit is in the
    remote; None without a remote.
    """

    position: Position
    origin: Position
    timestamp: int | None
    written: int | None
    path: tuple[ProvenanceStep, ...]
    place: RecordPlace
    commit: CommitRef | None
    published: bool | None


# Spans


def history_spans(catalog: Catalog, head: Head) -> tuple[HistorySpan, ...]:
    """Where the records up to and including `head` were appended, in order."""
    return _named(catalog, catalog.graph.history(head[0], head[1] + 1))


def difference(catalog: Catalog, left: Head, right: Head) -> Difference:
    """What the histories up to and including two heads have and have not in common."""
    graph = catalog.graph
    spans = [graph.history(stream, offset + 1) for stream, offset in (left, right)]
    only_left = _without(spans[0], spans[1])
    bases = graph.merge_bases([left, right])
    return Difference(
        bases=tuple(Position(catalog.record(i).name, offset) for i, offset in bases),
        left=_named(catalog, only_left),
        right=_named(catalog, _without(spans[1], spans[0])),
        common=total(spans[0]) - sum(span.count for span in only_left),
    )


def _without(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """The records of `spans` that are not among `others`, still at their offsets."""
    taken = Coverage()
    taken.take(others)
    return [
        Span(span.first + part.origin - span.origin, span.stream, part.origin, part.count)
        for span in spans
        for part in taken.take((span,))
    ]


def _named(catalog: Catalog, spans: Sequence[Span]) -> tuple[HistorySpan, ...]:
    records = {stream: catalog.record(stream) for stream in {span.stream for span in spans}}
    return tuple(history_span(records[span.stream], span) for span in spans)


def history_span(record: LineageRecord, span: Span) -> HistorySpan:
    """A span of a stream's records. record: of the stream that they were appended to."""
    return HistorySpan(span.first, span.count, Position(record.name, span.origin), record.uid)


# One record


def trace(handle: Handle, head: Head) -> Provenance:
    """How the record at `head`, which exists, got there."""
    catalog = handle.catalog
    stream, offset = catalog.graph.origin(*head)
    place, (timestamp, written), segment = _locate(catalog, stream, offset)
    return Provenance(
        position=Position(catalog.record(head[0]).name, head[1]),
        origin=Position(catalog.record(stream).name, offset),
        timestamp=timestamp,
        written=written,
        path=tuple(_steps(catalog, head, (stream, offset))),
        place=place,
        commit=None if segment is None else _commit_of(handle, segment),
        published=handle.is_published(None if segment is None else segment.commit),
    )


def _steps(catalog: Catalog, head: Head, origin: Head) -> Iterator[ProvenanceStep]:
    while True:
        stream, offset = head
        record = catalog.record(stream)
        yield ProvenanceStep(
            stream=record.name,
            offset=offset,
            kind=kind_of(record),
            metadata=dict(record.metadata),
            fork_offset=record.fork if isinstance(record, Branch) else None,
            merge=_merge_facts(catalog, record) if isinstance(record, Merge) else None,
        )
        if head == origin:
            return
        head = _above(catalog, record, offset, origin)


def _merge_facts(catalog: Catalog, record: Merge) -> MergeFacts:
    # Without its plan, which may be long and is of no use here.
    plan = recorded_plan(catalog, msgspec.structs.replace(record, plan=()))
    return MergeFacts(
        merge_id=record.merge_id,
        policy=plan.policy,
        version=plan.version,
        params=plan.params,
        base=plan.base,
        parents=tuple(Position(catalog.record(i).name, offset) for i, offset in record.parents),
    )


def _above(catalog: Catalog, record: LineageRecord, offset: int, origin: Head) -> Head:
    """Where the stream with this lineage record has its inherited record at `offset` from."""
    if isinstance(record, Branch):
        return record.parent, offset
    if isinstance(record, Merge):
        for parent, head in _givers(catalog, record):
            found = _offset_in(catalog, parent, head + 1, origin)
            if found is not None:
                return parent, found
    return origin


def _givers(catalog: Catalog, record: Merge) -> Iterator[Head]:
    """The heads a merge may have a record from, the one its policy took it from first."""
    if record.policy == "select":
        yield record.parents[int(record.params["selected"] or 0)]
    elif record.policy == "fast-forward":
        head = catalog.graph.containing(record.parents)
        if head is not None:
            yield head
    yield from record.parents
    # The base may be an ancestor of a head whose own history left the base's records out.
    if record.base is not None:
        yield record.base


def _offset_in(catalog: Catalog, stream: int, stop: int, origin: Head) -> int | None:
    """The offset before `stop` at which a stream has the record appended at `origin`."""
    while stop > 0:
        record = catalog.record(stream)
        start = record.start
        if stream == origin[0] and start <= origin[1] < stop:
            return origin[1]
        stop = min(stop, start)
        if isinstance(record, Branch):
            stream = record.parent
        elif isinstance(record, Merge):
            return _offset_in_plan(record.plan, stop, origin)
        else:
            return None
    return None


def _offset_in_plan(plan: tuple[int, ...], stop: int, origin: Head) -> int | None:
    offset = 0
    for stream, first, count in triples(plan):
        if offset >= stop:
            return None
        if stream == origin[0] and first <= origin[1] < first + count:
            found = offset + origin[1] - first
            return found if found < stop else None
        offset += count
    return None


# Files


def _locate(
    catalog: Catalog, stream: int, offset: int
) -> tuple[RecordPlace, _Times, Segment | None]:
    """The place of an own record of a stream, its times, and the segment when it is in one."""
    view = catalog.view
    for wal in reversed(view.wals):
        row = wal.row_of(stream, offset)
        if row >= 0:
            return *_in_wal(wal, stream, offset, row), None
    for segment in reversed(view.segments):
        rows = segment.index.rows(stream)
        if rows and segment.index.firsts[rows.start] <= offset:
            row = segment.index.row_of(rows, offset)
            return *_in_segment(segment, row, offset), segment
    raise CorruptError(catalog.root, expected=f"offset {offset} of stream {stream}", found="none")


def _in_wal(wal: Wal, stream: int, offset: int, row: int) -> tuple[RecordPlace, _Times]:
    position = wal.index[stream].positions[row]
    header, data = wal.frame_at(position)
    lsn = header.lsn
    for chunk in frame_chunks(header, data, 0, f"{wal.path}, frame at {position}", wal.keys):
        if chunk.stream == stream:
            break
        lsn += chunk.count
    lsn += offset - chunk.first
    file = f"{WAL_DIR}/{wal_name(wal.first_lsn)}"
    place = RecordPlace("wal", file, position, (lsn, lsn), None, None, local=True)
    return place, _times_of(chunk, offset)


def _times_of(chunk: Chunk, offset: int) -> _Times:
    return chunk.timestamp(offset - chunk.first), chunk.written_at(offset - chunk.first)


def _in_segment(segment: Segment, row: int, offset: int) -> tuple[RecordPlace, _Times]:
    times: _Times
    try:
        times = _times_of(segment.chunk(row), offset)
    except RetentionGapError:
        # The index alone says when a chunk's last record was written.
        last = segment.index.stop(row) - 1
        times = None, segment.index.last_written[row] if offset == last else None
    return _place_in_segment(segment, row), times


def _place_in_segment(segment: Segment, row: int) -> RecordPlace:
    left = segment.left
    if left is None:
        folder, path, number = SEGMENT_DIR, segment.path, segment.index.blocks[row]
        block = segment.footer.blocks[number]
    else:
        folder, path, number = REDACTED_DIR, segment.redacted_path, left.table.places[row]
        block = left.table.blocks[number]
    return RecordPlace(
        kind="segment",
        file=f"{folder}/{segment_name(bytes.fromhex(segment.ref.digest))}",
        position=block.position,
        lsn=segment.ref.lsn,
        digest=segment.ref.digest,
        block=number,
        local=file_size(path) is not None,
    )


def _commit_of(handle: Handle, segment: Segment) -> CommitRef:
    number = segment.commit
    place = f"{handle.root}/{COMMIT_DIR}/{commit_name(number)}"
    data = handle.commit_data(number)
    if data is None:
        handle.catalog.check_place()
        raise CorruptError(place, expected="a commit", found="no file")
    # It may come from a remote, of which the older commits were not read.
    if segment.ref not in decode_commit(data, place).segments:
        raise CorruptError(place, expected=f"segment {segment.ref.digest}", found="others")
    return CommitRef(number, root_of(data))
