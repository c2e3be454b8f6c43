"""Where one stream's chunks are in the segments that were looked at so far.

Owns three lists that go together; who adds to them holds the catalog's lock, who reads does not.
"""

from __future__ import annotations

from weakref import ref

from transit.format.record import Chunk
from transit.log.segments import Segment


class SealedRows:
    """Where a stream's chunks are in the segments looked at so far: one entry a chunk.

    Decoded chunks are remembered for as long as the block cache keeps them.
    """

    __slots__ = ("_decoded", "_rows", "firsts", "seen")

    def __init__(self) -> None:
        self.seen = 0
        self.firsts: list[int] = []
        self._rows: list[tuple[Segment, int]] = []
        self._decoded: list[ref[Chunk] | None] = []

    def add(self, segment: Segment, stream_id: int) -> None:
        """Take up the stream's rows in the next segment."""
        index = segment.index
        rows = index.rows(stream_id)
        # An interrupt may have left some of these without their first offsets.
        known = len(self.firsts)
        del self._rows[known:], self._decoded[known:]
        self._rows += [(segment, row) for row in rows]
        self._decoded += [None] * len(rows)
        # Readers without a lock search the first offsets: the rest must be there by then.
        self.firsts += index.firsts[rows.start : rows.stop]
        self.seen += 1

    def chunk(self, place: int) -> Chunk:
        """The chunk at `place`."""
        known = self._decoded[place]
        chunk = known() if known is not None else None
        if chunk is None:
            segment, row = self._rows[place]
            chunk = segment.chunk(row)
            self._decoded[place] = ref(chunk)
        return chunk
