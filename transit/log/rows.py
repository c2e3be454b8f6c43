"""Where one stream's chunks are in the segments that were looked at so far.

Owns lists that go together. A thread that adds to them holds the catalog's lock; a reader does not.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter, lt
from typing import Final
from weakref import ref

from transit.errors import CorruptError
from transit.format.lineage import LINEAGE_NAME
from transit.format.record import Chunk
from transit.log.segments import Segment

_START: Final = itemgetter(0)


class SealedRows:
    """Where a stream's chunks are in the segments looked at so far: one place a chunk.

    Decoded chunks are remembered for as long as the block cache keeps them.
    """

    __slots__ = ("_decoded", "_runs", "firsts", "seen")

    def __init__(self) -> None:
        self.seen = 0
        self.firsts = array("Q")
        # A segment's rows lie together: the place of the first, the segment, and which row it is.
        self._runs: list[tuple[int, Segment, int]] = []
        self._decoded: list[ref[Chunk] | None] = []

    def add(self, segment: Segment, stream_id: int) -> None:
        """Take up the stream's rows in the next segment; `CorruptError` when they have no order."""
        index = segment.index
        rows = index.rows(stream_id)
        firsts = array("Q", index.firsts[rows.start : rows.stop].tobytes())
        if not all(map(lt, firsts, memoryview(firsts)[1:])):
            raise CorruptError(
                f"{segment.path}, index",
                expected=f"chunks of stream {stream_id} in order",
                found="others",
            )
        known = len(self.firsts)
        # An interrupt may have left some of these without their first offsets.
        while self._runs and self._runs[-1][0] >= known:
            self._runs.pop()
        del self._decoded[known:]
        if rows:
            self._runs.append((known, segment, rows.start))
        self._decoded += [None] * len(rows)
        # Readers without a lock search the first offsets: the rest must be there by then.
        self.firsts += firsts
        self.seen += 1

    def runs(self, start: int, stop: int) -> Iterator[tuple[Segment, range]]:
        """Segments, and the rows of each, whose chunks hold offsets from `start` to `stop`."""
        low = max(bisect_right(self.firsts, start) - 1, 0)
        high = bisect_left(self.firsts, stop)
        runs = self._runs
        for at in range(max(bisect_right(runs, low, key=_START) - 1, 0), len(runs)):
            known, segment, row = runs[at]
            end = runs[at + 1][0] if at + 1 < len(runs) else high
            rows = range(row + max(low - known, 0), row + min(high, end) - known)
            if rows and segment.index.stop(rows[-1]) > start:
                yield segment, rows

    def chunk(self, place: int) -> Chunk:
        """The chunk at `place`."""
        known = self._decoded[place]
        chunk = known() if known is not None else None
        if chunk is None:
            start, segment, row = self._runs[bisect_right(self._runs, place, key=_START) - 1]
            chunk = segment.chunk(row + place - start)
            self._decoded[place] = ref(chunk)
        return chunk


def holding(chunk: Chunk, offset: int, path: str) -> Chunk:
    """`chunk`, once it proves to hold `offset`; `path` is where it was read."""
    if chunk.first <= offset < chunk.stop:
        return chunk
    raise CorruptError(
        path,
        expected=f"offset {offset} of stream {chunk.stream}",
        found=f"offsets {chunk.first} to {chunk.stop - 1}",
    )


def missing(root: str, stream_id: int, offset: int) -> CorruptError:
    """The error for a record that is in no file of the store in `root`."""
    return CorruptError(root, expected=f"offset {offset} of stream {stream_id}", found="no chunk")


def one_uid(uid: str, streams: Sequence[int]) -> CorruptError:
    """The error for a uid that several streams have."""
    return CorruptError(
        f"{LINEAGE_NAME}@{streams[-1]}",
        expected="a uid that no other stream has",
        found=f"that of stream {streams[0]}: {uid}",
    )
