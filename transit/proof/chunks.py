"""The tree over the chunks of a segment: its root is `chunks` in the commit that names the segment.

Owns what is a leaf, so that a proof of one chunk needs that chunk and some hashes, and nothing of
other streams: not the block that several share, not the footer, not the index. Erasing one stream's
chunks leaves the leaves, and so every other proof.

A leaf is 52 bytes, numbers little-endian:

     0     8  stream id
     8     8  offset of the first record
    16     4  count of records
    20    32  BLAKE3 of the chunk, all its bytes from its header (`transit.format.record`) to its
              last payload, as they stand in the block when that is unfolded

Of the store's own two streams, `$lineage` and `$names`, each record is a leaf of its own, because
one chunk of theirs tells of many streams: offset of the record, count 1, and the BLAKE3 of

     0     8  timestamp, signed
     8     8  when it was written, signed
    16     4  size of the writer's name
    20     .  the writer's name, UTF-8; then the payload

They have no headers. Leaves are in the order of the segment: by (stream id, first offset). The root
is that of RFC 6962 over them (`transit.proof.tree`): SHA-256, hashed with 0x00 before a leaf and
0x01 before a node.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

from transit.errors import CorruptError
from transit.format.digest import digest
from transit.format.life import LIFE_BYTES_MIN, NAMES_ID
from transit.format.lineage import LINEAGE_ID
from transit.format.record import Chunk
from transit.format.segment import SegmentIndex
from transit.proof.tree import root_over

LEAF: Final = struct.Struct("<QQI32s")
RECORD: Final = struct.Struct("<qqI")
BY_RECORD: Final = frozenset((LINEAGE_ID, NAMES_ID))
"""The streams of which each record is a leaf."""
RECORD_BYTES_MIN: Final = LIFE_BYTES_MIN
"""None of their records is smaller."""


class ChunkTree:
    """Takes the chunks of one segment, in order; `root` is that of all so far."""

    __slots__ = ("_leaves",)

    def __init__(self) -> None:
        self._leaves: list[bytes] = []

    def add(self, stream: int, first: int, count: int, encoded: bytes, known: bytes = b"") -> None:
        """The chunk in `encoded`, which holds nothing else, is the next one.

        known: the BLAKE3 of `encoded`, if the caller has worked it out.
        """
        if stream in BY_RECORD:
            self._leaves += record_leaves(Chunk(encoded, 0, "chunk"))
        else:
            self._leaves.append(leaf_of_chunk(stream, first, count, encoded, known))

    def root(self) -> str:
        """The root, 64 hex digits."""
        return root_over(self._leaves).hex()


def leaf_of_chunk(stream: int, first: int, count: int, encoded: bytes, known: bytes = b"") -> bytes:
    """The leaf of the chunk in `encoded`, which holds nothing else; known: its BLAKE3."""
    return LEAF.pack(stream, first, count, known or digest(encoded))


def record_leaves(chunk: Chunk) -> Iterator[bytes]:
    """The leaves of a chunk of `$lineage` or `$names`, of a segment."""
    writer = chunk.writer.encode()
    rows = zip(chunk.payloads(), chunk.timestamps, chunk.written, strict=True)
    for offset, (payload, timestamp, written) in enumerate(rows, chunk.first):
        yield LEAF.pack(chunk.stream, offset, 1, digest(_said(timestamp, written, writer, payload)))


def said_of(chunk: Chunk, place: int) -> bytes:
    """What the leaf of record `place` of a chunk of `$lineage` or `$names` is the digest of."""
    (payload,) = chunk.payloads(place, place + 1)
    return _said(
        chunk.timestamps[place], chunk.written[place], chunk.writer.encode(), bytes(payload)
    )


def _said(timestamp: int, written: int, writer: bytes, payload: bytes) -> bytes:
    return RECORD.pack(timestamp, written, len(writer)) + writer + payload


class Said(NamedTuple):
    """A record of `$lineage` or `$names`. timestamp, written: UTC nanoseconds."""

    timestamp: int
    written: int
    writer: str
    payload: bytes


def decode_said(data: bytes, place: str) -> Said:
    """The record whose leaf has the digest of `data`; `CorruptError` when there can be none."""
    try:
        timestamp, written, size = RECORD.unpack_from(data)
        payload_at = RECORD.size + size
        writer = data[RECORD.size : payload_at].decode()
    except (struct.error, UnicodeDecodeError):
        payload_at, writer = len(data) + 1, ""
    if payload_at > len(data):
        raise CorruptError(place, expected="a record of the store's own", found="other bytes")
    return Said(timestamp, written, writer, data[payload_at:])


def leaves_of(index: SegmentIndex, digests: bytes) -> Iterator[bytes]:
    """The leaves of the chunks that an index lists, from the digests in them, 32 bytes each."""
    at = 0
    for row, stream in enumerate(index.streams):
        first, count = index.firsts[row], index.counts[row]
        leaves = count if stream in BY_RECORD else 1
        for offset in range(first, first + leaves):
            yield LEAF.pack(stream, offset, count // leaves, digests[at : at + 32])
            at += 32
