"""Segments: immutable files of blocks, an index, a footer and a tail.

All numbers are little-endian. The parts of the file, in order:

    offset  size  field
         0     8  magic, "TRANSSEG"
         8     4  format version, 1
        12     4  reserved, 0
        16    16  store id
        32     .  blocks, back to back
         .     .  index, stored as one more block
         .     .  footer
       -48    48  tail

Chunks lie in order of (stream id, first offset), through all blocks. Each block is chunks
(`transit.format.record`), stored as they are or as one zstd frame that states its content size. A
block's entry in the footer, 64 bytes:

         0     8  position in the file
         8     4  stored size
        12     4  size of its chunks
        16     4  codec: 0 stored as it is, 1 zstd
        20     4  reserved, 0
        24     8  checksum of the stored bytes, seed 0, for reads
        32    32  BLAKE3 of the stored bytes, for proofs and audits

The footer is a head and then one entry a block, the index's entry last:

         0    16  store id
        16     8  LSN of the first record
        24     8  LSN of the last record
        32     8  count of records
        40     8  earliest timestamp, signed
        48     8  latest timestamp, signed
        56     4  count of streams
        60     4  count of entries

The tail is the file's last 48 bytes: BLAKE3 of the footer (32), footer size (4), format version
(4), magic "TRANSEND" (8). The file's name is the BLAKE3 of the whole file.

The index, sorted, says where chunks are and which names the segment introduces:

         0     4  count of extents, one a chunk
         4     4  count of keys
         8     .  extents by (stream, first offset), as columns: stream id 8, first offset 8,
                  last timestamp 8 (signed), count 4, block 4, position in the block's chunks 4
         .     .  keys by (key, stream id), as columns: key 8 (`transit.format.names`), stream id 8

Valid if and only if: the tail's digest fits the footer; every block lies between header and index
without a gap or an overlap; a block's chunks are at most 1 GiB, the footer 64 MiB; checksums and
digests fit; the decompressed size is the one stated; the index lists exactly the chunks of the
blocks and the keys of the lineage records in them. A reader refuses another format version.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from transit.errors import CorruptError, UnsupportedVersionError
from transit.format.checksum import checksum
from transit.format.compression import compress, decompress
from transit.format.digest import digest

FORMAT_VERSION: Final = 1
HEADER: Final = struct.Struct("<8sII16s")
HEADER_MAGIC: Final = b"TRANSSEG"
ENTRY: Final = struct.Struct("<QIIIIQ32s")
FOOTER: Final = struct.Struct("<16sQQQqqII")
TAIL: Final = struct.Struct("<32sII8s")
TAIL_MAGIC: Final = b"TRANSEND"
INDEX: Final = struct.Struct("<II")
STORED: Final = 0
ZSTD: Final = 1
# A block holds at least one record, and a record may be as large as settings ever allow.
BLOCK_BYTES_MAX: Final = 1024 * 1024 * 1024
FOOTER_BYTES_MAX: Final = 64 * 1024 * 1024

_Code = Literal["Q", "q", "I"]
_EXTENT_COLUMNS: Final[tuple[tuple[_Code, int], ...]] = (
    ("Q", 8), ("Q", 8), ("q", 8), ("I", 4), ("I", 4), ("I", 4),
)  # fmt: skip


class Block(msgspec.Struct, frozen=True, gc=False):
    """One entry of the footer; sizes and position in bytes."""

    position: int
    stored_bytes: int
    raw_bytes: int
    codec: int
    checksum: int
    digest: bytes


class Footer(msgspec.Struct, frozen=True):
    """What a segment holds; `blocks` ends with the index's entry."""

    store_id: bytes
    first_lsn: int
    last_lsn: int
    records: int
    time_first: int
    time_last: int
    streams: int
    blocks: tuple[Block, ...]


def encode_header(store_id: bytes) -> bytes:
    """The 32 bytes that open a segment."""
    return HEADER.pack(HEADER_MAGIC, FORMAT_VERSION, 0, store_id)


def check_header(data: bytes, store_id: bytes, place: str) -> None:
    """Refuse a segment of another kind, version or store."""
    if len(data) < HEADER.size:
        raise CorruptError(place, expected="a segment header", found=f"{len(data)} bytes")
    magic, version, zero, found = HEADER.unpack_from(data)
    if magic != HEADER_MAGIC or zero:
        raise CorruptError(f"{place}, byte 0", expected=repr(HEADER_MAGIC), found=repr(magic))
    if version != FORMAT_VERSION:
        raise UnsupportedVersionError(place, found=version, supported=FORMAT_VERSION)
    if found != store_id:
        raise CorruptError(
            f"{place}, byte 16", expected=f"store {store_id.hex()}", found=found.hex()
        )


def encode_block(raw: bytes, position: int, level: int | None) -> tuple[Block, bytes]:
    """A block's entry and stored bytes; `level` is the zstd level, None to store as it is."""
    stored, codec = raw, STORED
    if level is not None:
        packed = compress(raw, level)
        # A block that hardly shrinks is kept as it is: reading it then costs no decompression.
        if len(packed) < len(raw) - len(raw) // 16:
            stored, codec = packed, ZSTD
    entry = Block(position, len(stored), len(raw), codec, checksum(stored), digest(stored))
    return entry, stored


def decode_block(entry: Block, stored: bytes, place: str) -> bytes:
    """A block's chunks; `CorruptError` when the stored bytes are not those the entry names."""
    if len(stored) != entry.stored_bytes or checksum(stored) != entry.checksum:
        raise CorruptError(
            f"{place}, byte {entry.position}", expected="the block's checksum", found="another"
        )
    if entry.codec == STORED:
        return stored
    return decompress(stored, entry.raw_bytes, f"{place}, byte {entry.position}")


def encode_footer(footer: Footer) -> bytes:
    """Footer and tail, which end a segment."""
    head = FOOTER.pack(
        footer.store_id, footer.first_lsn, footer.last_lsn, footer.records, footer.time_first,
        footer.time_last, footer.streams, len(footer.blocks),
    )  # fmt: skip
    entries = (
        ENTRY.pack(
            block.position, block.stored_bytes, block.raw_bytes, block.codec, 0, block.checksum,
            block.digest,
        )
        for block in footer.blocks
    )  # fmt: skip
    data = b"".join((head, *entries))
    return data + TAIL.pack(digest(data), len(data), FORMAT_VERSION, TAIL_MAGIC)


def decode_tail(data: bytes, place: str) -> tuple[bytes, int]:
    """The footer's digest and size from a segment's last 48 bytes."""
    if len(data) != TAIL.size:
        raise CorruptError(place, expected="a segment tail", found=f"{len(data)} bytes")
    stated, size, version, magic = TAIL.unpack(data)
    if magic != TAIL_MAGIC:
        raise CorruptError(f"{place}, tail", expected=repr(TAIL_MAGIC), found=repr(magic))
    if version != FORMAT_VERSION:
        raise UnsupportedVersionError(f"{place}, tail", found=version, supported=FORMAT_VERSION)
    if not FOOTER.size + ENTRY.size <= size <= FOOTER_BYTES_MAX:
        raise CorruptError(f"{place}, tail", expected="a footer size", found=str(size))
    return stated, size


def decode_footer(data: bytes, expected: bytes, place: str) -> Footer:
    """The footer whose BLAKE3 is `expected`."""
    if digest(data) != expected:
        raise CorruptError(f"{place}, footer", expected=expected.hex(), found=digest(data).hex())
    if len(data) < FOOTER.size + ENTRY.size:
        raise CorruptError(f"{place}, footer", expected="an entry", found=f"{len(data)} bytes")
    store_id, first, last, records, early, late, streams, count = FOOTER.unpack_from(data)
    if len(data) != FOOTER.size + count * ENTRY.size:
        raise CorruptError(f"{place}, footer", expected=f"{count} entries", found="another size")
    position = HEADER.size
    blocks = []
    for place_in_footer in range(count):
        at, stored, raw, codec, zero, fast, strong = ENTRY.unpack_from(
            data, FOOTER.size + place_in_footer * ENTRY.size
        )
        fits = at == position and not zero and raw <= BLOCK_BYTES_MAX and raw
        if not fits or codec not in (STORED, ZSTD) or (codec == STORED and stored != raw):
            raise CorruptError(
                f"{place}, footer entry {place_in_footer}",
                expected=f"a block at byte {position} within limits",
                found=f"byte {at}, {stored} bytes stored, {raw} raw, codec {codec}",
            )
        blocks.append(Block(at, stored, raw, codec, fast, strong))
        position += stored
    return Footer(store_id, first, last, records, early, late, streams, tuple(blocks))


class Extent(msgspec.Struct, frozen=True, gc=False):
    """Where one chunk lies: `position` counts within the raw bytes of block number `block`."""

    stream: int
    first: int
    last_timestamp: int
    count: int
    block: int
    position: int


def encode_index(extents: Sequence[Extent], keys: Sequence[tuple[int, int]]) -> bytes:
    """The index of `extents`, sorted by (stream, first), and (key, stream id) pairs, sorted."""
    rows = list(zip(*map(msgspec.structs.astuple, extents), strict=True)) or [()] * 6
    columns = [
        array(code, column).tobytes()
        for (code, _), column in zip(_EXTENT_COLUMNS, rows, strict=True)
    ]
    pairs = [array("Q", [pair[side] for pair in keys]).tobytes() for side in (0, 1)]
    return b"".join((INDEX.pack(len(extents), len(keys)), *columns, *pairs))


class SegmentIndex:
    """A decoded index: binary search over columns that stay in the bytes they came in."""

    __slots__ = (
        "blocks", "counts", "firsts", "ids", "keys", "last_times", "positions", "raw", "streams",
    )  # fmt: skip

    def __init__(self, data: bytes, place: str) -> None:
        if len(data) < INDEX.size:
            raise CorruptError(place, expected="an index", found=f"{len(data)} bytes")
        extents, keys = INDEX.unpack_from(data)
        row_bytes = sum(width for _, width in _EXTENT_COLUMNS)
        if len(data) != INDEX.size + extents * row_bytes + keys * 16:
            raise CorruptError(place, expected=f"{extents} extents", found=f"{len(data)} bytes")
        self.raw = data
        view = memoryview(data)
        at = INDEX.size
        sized = [(code, width * extents) for code, width in _EXTENT_COLUMNS]
        columns: list[memoryview[int]] = []
        for code, size in (*sized, ("Q", 8 * keys), ("Q", 8 * keys)):
            columns.append(view[at : at + size].cast(code))
            at += size
        (
            self.streams, self.firsts, self.last_times, self.counts, self.blocks, self.positions,
            self.keys, self.ids,
        ) = columns  # fmt: skip

    def rows(self, stream: int) -> range:
        """The rows of `stream`, in order of first offset."""
        start = bisect_left(self.streams, stream)
        return range(start, bisect_right(self.streams, stream, start))

    def find(self, key: int) -> list[int]:
        """The stream ids under `key`."""
        start = bisect_left(self.keys, key)
        return list(self.ids[start : bisect_right(self.keys, key, start)])

    def row_of(self, rows: range, offset: int) -> int:
        """The row among `rows` whose chunk holds `offset`, or the one before it."""
        return bisect_right(self.firsts, offset, rows.start, rows.stop) - 1

    def stop(self, row: int) -> int:
        """One past the last offset of a row's chunk."""
        return self.firsts[row] + self.counts[row]
