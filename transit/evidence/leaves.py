"""The leaves of one segment, and the one that a position of a stream belongs to.

Owns the leaves in memory: 52 bytes each (`transit.proof.chunks`), in the order of the segment. What
a leaf is about is read from the segment when it is asked for.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property

from transit.errors import CorruptError
from transit.format.record import Chunk
from transit.log.segments import Segment
from transit.proof.chunks import BY_RECORD, LEAF, leaf_of_chunk, record_leaves, said_of
from transit.proof.chunks import leaves_of as leaves_in
from transit.proof.paths import LeafHashes, inclusion_path
from transit.proof.tree import leaf_hash


def leaves_of(segment: Segment) -> bytes:
    """All leaves of a segment one after another, from its blocks; `CorruptError` for damage.

    They were checked when they lead to the root that the commit states.
    """
    return b"".join(_leaves(segment))


def _leaves(segment: Segment) -> Iterator[bytes]:
    index = segment.index
    # The first look tells whether chunks were erased; of these the leaves are kept.
    with suppress(CorruptError):
        segment.stored_chunk(0)
    if (left := segment.left) is not None:
        yield from leaves_in(index, left.table.digests)
        return
    for row, stream in enumerate(index.streams):
        if stream in BY_RECORD:
            yield from record_leaves(segment.chunk(row))
        else:
            stored = segment.stored_chunk(row)
            yield leaf_of_chunk(stream, index.firsts[row], index.counts[row], stored)


class SegmentLeaves:
    """The leaves of one segment. `packed`: `leaves_of` it, maybe from a cache.

    `CorruptError` when they do not lead to the root in the commit.
    """

    def __init__(self, segment: Segment, packed: bytes) -> None:
        self.segment = segment
        self._leaves = list(LEAF.iter_unpack(packed)) if len(packed) % LEAF.size == 0 else []
        hashes = [leaf_hash(packed[at : at + LEAF.size]) for at in range(0, len(packed), LEAF.size)]
        self._hashes = LeafHashes(hashes)
        if not hashes or self._hashes.root().hex() != segment.ref.chunks:
            raise CorruptError(
                f"{segment.path}, leaves", expected=segment.ref.chunks, found="another root"
            )

    def __len__(self) -> int:
        return len(self._leaves)

    def leaf(self, index: int) -> tuple[int, int, int, str]:
        """Stream, first offset, count and digest (64 hex digits) of a leaf."""
        stream, first, count, digest = self._leaves[index]
        return stream, first, count, digest.hex()

    def path(self, index: int) -> list[bytes]:
        """The hashes from a leaf to the root."""
        return inclusion_path(index, len(self._leaves), self._hashes.hash_at)

    @cached_property
    def _keys(self) -> list[tuple[int, int]]:
        return [(stream, first) for stream, first, _, _ in self._leaves]

    def before(self, stream: int, offset: int) -> int:
        """The index of the last leaf that begins at or before a position; -1 for none."""
        return bisect_right(self._keys, (stream, offset)) - 1

    def about(self, index: int) -> bytes:
        """The bytes that a leaf is about: a chunk, or what is said of one record."""
        stream, first, _, _ = self._leaves[index]
        row = self.segment.index.row_of(self.segment.index.rows(stream), first)
        if stream not in BY_RECORD:
            return self.segment.stored_chunk(row)
        chunk: Chunk = self.segment.chunk(row)
        return said_of(chunk, first - chunk.first)
