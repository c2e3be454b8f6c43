"""Redacted segments: what is left of a segment that some chunks were erased from.

A redacted file has the name of the segment it stands for, in a folder of its own
(`redacted/<BLAKE3 of the original, 64 hex digits>.seg`). All numbers are little-endian. The parts
of the file, in order:

    offset  size  field
         0     8  magic, "TrnstSEG"
         8     4  format version, 1
        12     4  what a reader must know: 1, chunks were erased; 2, envelopes; the others 0
        16    16  store id
        32     .  blocks of its own, back to back: the chunks that stay, in their order
         .     .  the original's index, as it was stored
         .     .  table
         .    40  tail of the table: BLAKE3 of the table (32), its size (4), reserved, 0 (4)
         .     .  the original's footer
       -48    48  the original's tail

The table:

         0     4  count of blocks
         4     4  count of rows: chunks of the original, as its index has them
         8     4  count of digests
        12     4  reserved, 0
        16     .  entries of the blocks, 64 bytes each, as in a footer (`transit.format.segment`)
         .     .  rows, as columns: block 4, position in the block's chunks 4; both 0xFFFFFFFF where
                  the chunk was erased
         .     .  digests, 32 bytes each, in the order of the rows: what the leaves of the
                  original's tree over its chunks have beside stream, offset and count, which the
                  index has (`transit.proof.chunks`): one a row, and one a record of `$lineage` and
                  `$names`

Valid if and only if: the original's tail and footer are those that a commit names, and the index
is the footer's; the table's digest fits; there are as many rows as the index has, and as many
digests as that makes leaves; the leaves of index and digests lead to the root over the chunks in
that commit; every block lies between header and index without a gap or an overlap, within the
limits of a segment's; the rows that stay fill the blocks in their order; no row of `$lineage` and
`$names` was erased. Then a chunk in a block is the original's if and only if its BLAKE3 is the one
in the table. A reader refuses another format version, and other bits.

So neither a block nor a digest can be another than it was without being found by whoever reads it.
The blocks' entries need no digest of their own: what they say wrong leads to another chunk.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

import msgspec

from transit.errors import CorruptError, UnsupportedVersionError
from transit.format.digest import digest
from transit.format.record import CHUNK
from transit.format.segment import (
    BLOCK_BYTES_MAX,
    ENTRY,
    ENVELOPES,
    FORMAT_VERSION,
    HEADER,
    HEADER_MAGIC,
    STORED,
    ZSTD,
    Block,
    SegmentIndex,
    decode_entry,
    encode_entry,
)

REDACTED: Final = 1
TABLE_TAIL: Final = struct.Struct("<32sII")
GONE: Final = 0xFFFFFFFF
TABLE_BYTES_MAX: Final = 1024 * 1024 * 1024
_TABLE: Final = struct.Struct("<IIII")
_DIGEST_BYTES: Final = 32


class Table(msgspec.Struct, frozen=True):
    """Where the chunks of a redacted segment are, and what its leaves were made of.

    blocks: of the file, those of chunks. places: of each row its block, `GONE` where it was
    erased; positions: in that block's chunks. digests: back to back.
    """

    blocks: tuple[Block, ...]
    places: Sequence[int]
    positions: Sequence[int]
    digests: bytes


def encode_header(store_id: bytes, *, encrypted: bool = False) -> bytes:
    """The 32 bytes that open a redacted segment."""
    bits = REDACTED | ENVELOPES * encrypted
    return HEADER.pack(HEADER_MAGIC, FORMAT_VERSION, bits, store_id)


def check_header(data: bytes, store_id: bytes, place: str) -> bool:
    """Whether a redacted segment is encrypted; refuses what does not begin as one of this store."""
    if len(data) < HEADER.size:
        raise CorruptError(place, expected="a segment header", found=f"{len(data)} bytes")
    magic, version, bits, found = HEADER.unpack_from(data)
    if magic != HEADER_MAGIC or not bits & REDACTED:
        raise CorruptError(
            f"{place}, byte 0", expected="a redacted segment", found=f"{magic!r}, bits {bits}"
        )
    if version != FORMAT_VERSION or bits & ~(REDACTED | ENVELOPES):
        raise UnsupportedVersionError(place, found=version, supported=FORMAT_VERSION)
    if found != store_id:
        raise CorruptError(
            f"{place}, byte 16", expected=f"store {store_id.hex()}", found=found.hex()
        )
    return bool(bits & ENVELOPES)


def encode_table(table: Table) -> bytes:
    """The table and its tail."""
    count = len(table.digests) // _DIGEST_BYTES
    data = b"".join(
        (
            _TABLE.pack(len(table.blocks), len(table.places), count, 0),
            *map(encode_entry, table.blocks),
            array("I", table.places).tobytes(),
            array("I", table.positions).tobytes(),
            table.digests,
        )
    )
    return data + TABLE_TAIL.pack(digest(data), len(data), 0)


def decode_table_tail(data: bytes, place: str) -> tuple[bytes, int]:
    """The table's digest and size, from the 40 bytes before the footer."""
    stated, size, zero = TABLE_TAIL.unpack(data)
    if zero or not _TABLE.size <= size <= TABLE_BYTES_MAX:
        raise CorruptError(f"{place}, table", expected="a table's size", found=str(size))
    return stated, size


def decode_table(data: bytes, stated: bytes, end: int, place: str) -> Table:
    """The table whose BLAKE3 is `stated`; its blocks must end at byte `end` of the file."""
    place = f"{place}, table"
    if digest(data) != stated:
        raise CorruptError(place, expected=stated.hex(), found=digest(data).hex())
    blocks, rows, digests, zero = _TABLE.unpack_from(data)
    if (
        zero
        or len(data) != (_TABLE.size + blocks * ENTRY.size + rows * 8 + digests * _DIGEST_BYTES)
        or blocks > rows
    ):
        raise CorruptError(
            place, expected=f"{blocks} blocks, {rows} rows, {digests} digests", found="another size"
        )
    entries = tuple(decode_entry(data, _TABLE.size + n * ENTRY.size) for n in range(blocks))
    _check_blocks(entries, end, place)
    at = _TABLE.size + blocks * ENTRY.size
    if b"".join(map(encode_entry, entries)) != data[_TABLE.size : at]:
        raise CorruptError(place, expected="zeros where nothing is said", found="others")
    columns = memoryview(data)[at : at + 8 * rows].cast("I")
    table = Table(entries, columns[:rows], columns[rows:], data[at + 8 * rows :])
    _check_rows(table, place)
    return table


def _check_blocks(blocks: Sequence[Block], end: int, place: str) -> None:
    position = HEADER.size
    for number, block in enumerate(blocks):
        fits = block.position == position and CHUNK.size <= block.raw_bytes <= BLOCK_BYTES_MAX
        known = block.codec in (STORED, ZSTD) and block.stored_bytes
        if (
            not fits
            or not known
            or (block.codec == STORED and block.stored_bytes != block.raw_bytes)
        ):
            raise CorruptError(
                f"{place}, block {number}",
                expected=f"a block at byte {position} within limits",
                found=f"byte {block.position}, {block.stored_bytes} bytes stored, "
                f"{block.raw_bytes} raw, codec {block.codec}",
            )
        position += block.stored_bytes
    if position != end:
        raise CorruptError(place, expected=f"blocks up to byte {end}", found=f"byte {position}")


def _check_rows(table: Table, place: str) -> None:
    block, position = -1, 0
    for row, (there, at) in enumerate(zip(table.places, table.positions, strict=True)):
        if there == at == GONE:
            continue
        new = there == block + 1 and at == 0
        inside = there == block and at >= position + CHUNK.size
        if (
            not (new or inside)
            or there >= len(table.blocks)
            or (at + CHUNK.size > table.blocks[there].raw_bytes)
        ):
            raise CorruptError(
                f"{place}, row {row}",
                expected=f"a chunk after byte {position} of block {block}",
                found=f"byte {at} of block {there}",
            )
        block, position = there, at
    if block != len(table.blocks) - 1:
        raise CorruptError(place, expected=f"{len(table.blocks)} blocks", found=f"{block + 1}")


def leaf_starts(index: SegmentIndex, by_record: frozenset[int]) -> Sequence[int]:
    """For each row of the original's index where its first digest is, and last how many there are.

    by_record: the streams of which each record is a leaf.
    """
    counts = (
        count if stream in by_record else 1
        for stream, count in zip(index.streams, index.counts, strict=True)
    )
    return array("Q", accumulate(counts, initial=0))
