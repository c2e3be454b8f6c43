"""What is sealed, for those who read all of it, each block once.

Owns what a room above may see of a segment: its blocks, which records it holds, and these, stream
by stream. What one stream has, wherever it lies, is read by `Stream.batches` and `Stream.pieces`.

A `Head` says where what is sealed ends. `Sealed` shows what is sealed as of one, whatever was added
since: the same segments, streams and counts of records, in every process that opens the store, and
the same streams hidden. Records that were deleted since are gone all the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Final

import msgspec

from transit.engine.stream import Stream
from transit.errors import CorruptError, InvalidInputError, NotFoundError
from transit.format.commit import SegmentRef, root_of
from transit.format.life import NAMES_ID
from transit.format.lineage import LINEAGE_ID
from transit.format.names import layer_of
from transit.guards import VIEW
from transit.handle.handle import Handle
from transit.log.lives import LivesRead
from transit.log.segments import Segment
from transit.opened import Opened
from transit.replay import Batch, Source

_NONE = range(0)
_EVERY: Final = 2**63 - 1
Wanted = Callable[[int, str], bool]


class Head(msgspec.Struct, frozen=True):
    """Where what is sealed of a store ended at some moment. It can be kept, and sent.

    commits: how many there were. root: of the last, 64 hex digits, "" before the first: it stands
    for all that was sealed.
    """

    commits: int
    root: str


class SealedBlock(msgspec.Struct, frozen=True, gc=False):
    """A block of a segment: its bytes as they are stored, and how many records are in it."""

    stored_bytes: int
    records: int


class SealedSegment(Opened):
    """A sealed segment of an open store; made by `Log.segments`. It never changes.

    It holds records of all streams, of hidden ones and of layers too; each where it was appended.
    """

    __slots__ = ("_handle", "_segment")

    def __init__(self, handle: Handle, segment: Segment) -> None:
        self._handle = handle
        self._segment = segment

    def __repr__(self) -> str:
        return f"<transit.SealedSegment {self.digest[:12]} of commit {self.commit}>"

    @property
    def digest(self) -> str:
        """BLAKE3 of the segment's file, 64 hex digits."""
        return self._ref.digest

    @property
    def commit(self) -> int:
        """The number of the commit that added it."""
        return self._segment.commit

    @property
    def stored_bytes(self) -> int:
        """The size of the segment's file."""
        return self._ref.bytes

    @property
    def _ref(self) -> SegmentRef:
        return self._segment.ref

    def __len__(self) -> int:
        """Count of records, the store's own among them."""
        first, last = self._ref.lsn
        return last + 1 - first

    @property
    def written(self) -> tuple[int, int]:
        """When its first and its last record were written, UTC nanoseconds."""
        return self._ref.written

    def blocks(self) -> tuple[SealedBlock, ...]:
        """Its blocks, in order; they are read together, or by many readers side by side.

        May have to fetch the segment's index: `RetentionGapError`, `RemoteUnavailableError`.
        """
        index, counts = self._segment.index, Counter[int]()
        for number, count in zip(index.blocks, index.counts, strict=True):
            counts[number] += count
        # The last one is the index itself.
        stored = (block.stored_bytes for block in self._segment.footer.blocks)
        return tuple(
            SealedBlock(size, counts[number])
            for number, size in enumerate(islice(stored, len(self._segment.footer.blocks) - 1))
        )

    def offsets(self, stream_id: int) -> range:
        """The offsets of a stream's own records that are in it; an empty range when none is.

        May have to fetch the segment's index: `RetentionGapError`, `RemoteUnavailableError`.
        """
        index = self._segment.index
        rows = index.rows(stream_id)
        return range(index.firsts[rows[0]], index.stop(rows[-1])) if rows else _NONE

    def batches(
        self, blocks: range | None = None, wanted: Wanted | None = None
    ) -> Iterator[tuple[int, Batch]]:
        """All records with the ids of their streams, in order of id and offset, one batch a chunk.

        `Batch.offsets` are those of the stream that they were appended to. The store's own streams
        (lineage, names, cursors), and records that were deleted or trimmed, are left out.
        blocks: those of these blocks alone, numbers that follow one another. wanted: whether to
        read a stream's, by its id and name; what is not wanted is not fetched.
        """
        order = self._handle.catalog.order
        order.check(VIEW)
        for row, stream_id, source, first in self._chosen(blocks, wanted):
            chunk = self._segment.chunk(row)
            low = first - chunk.first
            by = source if chunk.writer == source.writer else Source(source.stream, 0, chunk.writer)
            yield stream_id, Batch(chunk, low, chunk.count, first, by)
            # The next chunk may be asked for in the middle of another call.
            order.check(VIEW)

    def runs(
        self, blocks: range | None = None, wanted: Wanted | None = None
    ) -> Iterator[tuple[int, range]]:
        """Which records `batches` gives: ids of streams and offsets there, one range a chunk.

        Of the segment's index, no block is fetched.
        """
        self._handle.catalog.order.check(VIEW)
        for row, stream_id, _, first in self._chosen(blocks, wanted):
            yield stream_id, range(first, self._segment.index.stop(row))

    def _chosen(
        self, blocks: range | None, wanted: Wanted | None
    ) -> Iterator[tuple[int, int, Source, int]]:
        """The rows of the index that have records to give: the stream's id, and its name as a
        source without a writer, and the first offset.
        """
        catalog, index = self._handle.catalog, self._segment.index
        stream_id, source, is_wanted = -1, Source("", 0), False
        lives = catalog.known_lives().notable
        for row in self._rows(blocks):
            found = index.streams[row]
            if found != stream_id:
                stream_id, source = found, Source(catalog.record(found).name, 0)
                name = source.stream
                is_wanted = not name.startswith("$") or layer_of(name) is not None
                is_wanted = is_wanted and (wanted is None or wanted(found, name))
            gone = lives[found].gone if found in lives else 0
            if is_wanted and index.stop(row) > gone:
                yield row, found, source, max(gone, index.firsts[row])

    def _rows(self, blocks: range | None) -> range:
        """The rows of the index whose chunks are in these blocks; rows are in order of blocks."""
        numbers = self._segment.index.blocks
        if blocks is None:
            return range(len(numbers))
        count = len(self._segment.footer.blocks) - 1
        if type(blocks) is not range or blocks.step != 1 or not 0 <= blocks.start <= count:
            raise InvalidInputError(f"{self!r} has {count} blocks, not {blocks!r}")
        low = bisect_left(numbers, blocks.start)
        return range(low, bisect_left(numbers, blocks.stop, low))


class Sealed(Opened):
    """What was sealed of an open store as of a head; made by `Log.sealed`."""

    def __init__(self, handle: Handle, head: Head) -> None:
        self._handle = handle
        self.head = head
        self._counts: dict[int, int] = {}

    def __repr__(self) -> str:
        return f"<transit.Sealed of {self._handle.root}: {self.head.commits} commits>"

    def segments(self) -> Iterator[SealedSegment]:
        """The segments, in the order of the log."""
        for segment in self._handle.catalog.view.segments:
            if segment.commit >= self.head.commits:
                return
            yield SealedSegment(self._handle, segment)

    @property
    def names(self) -> int:
        """How many records said what became of streams: more where any is hidden or deleted."""
        return self._count(NAMES_ID)

    def hidden(self) -> frozenset[int]:
        """The ids of the streams that were hidden."""
        catalog = self._handle.catalog
        return LivesRead().up_to(self.names, partial(catalog.chunks, NAMES_ID)).hidden

    def streams(self, ids: range | None = None, *, hidden: bool = False) -> Iterator[Stream]:
        """The user's streams, in order of creation. ids: those with these ids. hidden: those too
        that were hidden.
        """
        handle, left_out = self._handle, frozenset() if hidden else self.hidden()
        count = self._count(LINEAGE_ID)
        for stream_id in range(LINEAGE_ID + 1, count) if ids is None else ids:
            if stream_id in left_out or not LINEAGE_ID < stream_id < count:
                continue
            record = handle.catalog.record(stream_id)
            if not record.name.startswith("$"):
                yield Stream(handle, handle.catalog.state(stream_id, record))

    def count(self, stream: Stream) -> int:
        """How many records a stream had, those that it inherits too."""
        if not stream.is_of(self._handle) or stream.id >= self._count(LINEAGE_ID):
            raise NotFoundError(f"{self!r} has no stream {stream.name!r}")
        return max(self._own_stop(stream.id), stream.own_start)

    def _count(self, own: int) -> int:
        """How many records one of the store's own streams had."""
        if own not in self._counts:
            self._counts[own] = self._own_stop(own)
        return self._counts[own]

    def _own_stop(self, stream_id: int) -> int:
        """One past the last own offset of a stream; 0 without one."""
        stop = 0
        for segment, rows in self._handle.catalog.sealed_rows(stream_id, 0, _EVERY):
            if segment.commit >= self.head.commits:
                break
            stop = segment.index.stop(rows[-1])
        return stop


def sealed_at(handle: Handle, head: Head | None) -> Sealed:
    """What is sealed; as of a head, which the store must have had.

    `NotFoundError` where it has fewer commits, `CorruptError` where it has others.
    """
    handle.refresh()
    catalog = handle.catalog
    if head is None:
        _, commits, _ = catalog.committed()
        return Sealed(handle, Head(commits, _root_of(handle, commits)))
    if not isinstance(head, Head):
        raise InvalidInputError(f"not a head of a store: {head!r}")
    if head.commits > catalog.commits.count:
        raise NotFoundError(
            f"{handle.root} has {catalog.commits.count} commits, and not {head.commits}"
        )
    found = _root_of(handle, head.commits)
    if found != head.root:
        place = f"commit {head.commits - 1} of {handle.root}"
        raise CorruptError(place, expected=f"root {head.root}", found=found)
    return Sealed(handle, head)


def _root_of(handle: Handle, commits: int) -> str:
    """The root of the last of so many commits."""
    chain = handle.catalog.commits
    if commits == chain.count:
        return chain.root
    if not commits:
        return ""
    data = handle.commit_data(commits - 1)
    if data is None:
        raise CorruptError(f"commit {commits - 1} of {handle.root}", expected="it", found="nothing")
    return root_of(data)


def sealed_segments(handle: Handle, since: int) -> Iterator[SealedSegment]:
    """The segments that commits after number `since` added, in their order."""
    if type(since) is not int:
        raise InvalidInputError(f"since must be a commit's number, not {type(since).__name__}")
    handle.refresh()
    segments = handle.catalog.view.segments
    # Commits are numbered without gaps, and most of them have one segment: look from the end.
    low = len(segments)
    while low and segments[low - 1].commit > since:
        low -= 1
    return (SealedSegment(handle, segment) for segment in islice(segments, low, None))
