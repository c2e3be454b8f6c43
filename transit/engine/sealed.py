"""SealedSegment: a sealed segment for those who read all of it, each block once.

Owns what a room above may see of a segment: which records it holds, and these, stream by stream.
What one stream has, wherever it lies, is read by `Stream.batches` and `Stream.pieces`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from transit.errors import InvalidInputError
from transit.format.commit import SegmentRef
from transit.format.names import layer_of
from transit.guards import VIEW
from transit.handle.handle import Handle
from transit.log.segments import Segment
from transit.opened import Opened
from transit.replay import Batch, Source

_NONE = range(0)


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

    def offsets(self, stream_id: int) -> range:
        """The offsets of a stream's own records that are in it; an empty range when none is.

        May have to fetch the segment's index: `RetentionGapError`, `RemoteUnavailableError`.
        """
        index = self._segment.index
        rows = index.rows(stream_id)
        return range(index.firsts[rows[0]], index.stop(rows[-1])) if rows else _NONE

    def batches(self) -> Iterator[tuple[int, Batch]]:
        """All records with the ids of their streams, in order of id and offset, one batch a chunk.

        `Batch.offsets` are those of the stream that they were appended to. The store's own streams
        (lineage, names, cursors), and records that were deleted or trimmed, are left out.
        """
        catalog = self._handle.catalog
        catalog.order.check(VIEW)
        stream_id, source, lives = -1, Source("", 0), catalog.known_lives().notable
        for row, found in enumerate(self._segment.index.streams):
            if found != stream_id:
                stream_id, source = found, Source(catalog.record(found).name, 0)
            if source.stream.startswith("$") and layer_of(source.stream) is None:
                continue
            gone = lives[found].gone if found in lives else 0
            if self._segment.index.stop(row) <= gone:
                continue
            chunk = self._segment.chunk(row)
            low = max(gone - chunk.first, 0)
            by = source if chunk.writer == source.writer else Source(source.stream, 0, chunk.writer)
            yield stream_id, Batch(chunk, low, chunk.count, chunk.first + low, by)
            # The next chunk may be asked for in the middle of another call.
            catalog.order.check(VIEW)


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
