"""Segments: immutable files of blocks, an index, a footer and a tail.

All numbers are little-endian. The parts of the file, in order:

    offset  size  field
         0     8  magic, "TrnstSEG"
         8     4  format version, 1
        12     4  what a reader must know to go on: 2, envelopes; others 0
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
        56     8  when the first record was written, signed (`transit.log.clock`)
        64     8  when the last record was written, signed
        72     4  count of streams
        76     4  count of entries

The tail is the file's last 48 bytes: BLAKE3 of the footer (32), footer size (4), format version
(4), magic "TrnstEND" (8). The file's name is the BLAKE3 of the whole file.

The index, sorted, says where chunks are and which names the segment introduces:

         0     4  count of extents, one a chunk
         4     4  count of keys
         8     .  extents by (stream, first offset), as columns: stream id 8, first offset 8, when
                  its last record was written 8 (signed), count 4, block 4, position in the block's
                  chunks 4
         .     .  keys by (key, stream id), as columns: key 8 (`transit.format.names`, `uid` and
                  `life`), stream id 8

Valid if and only if: the tail's digest fits the footer; every block lies between header and index
without a gap or an overlap; a block's chunks are at most 1 GiB, the footer 64 MiB; there are no
more blocks, and no more extents, than records, and no more than three keys a record; a block whose
chunks are more than 8 MiB is one record; checksums and digests fit; the decompressed size is the
one stated; each chunk says when its records were written; the index lists exactly the chunks of the
blocks and the keys of the lineage records in them. A reader refuses another format version.

In an encrypted segment an envelope (`transit.format.envelope`) stands for each chunk, wherever a
chunk is spoken of here; its blocks are stored as they are, and `key` in the index is a keyed hash
of the key. The bit keeps readers out that know no envelopes.

Reserved, and refused until a reader knows them: codec 2; the other bits of the four bytes at 12 of
the header.

Sizes are judged before memory is taken for what they stand for: of a large block and a large index
the first bytes are looked at alone.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final, Literal, overload

import msgspec

from transit.errors import CorruptError, UnsupportedVersionError
from transit.format.checksum import checksum
from transit.format.compression import beginning, compress, decompress
from transit.format.digest import digest
from transit.format.envelope import count_and_end, is_envelope
from transit.format.headers import HEADER_BYTES_MAX
from transit.format.preview import refuse_magic
from transit.format.record import CHUNK, Chunk
from transit.format.written import MORE_BYTES_MAX

FORMAT_VERSION: Final = 1
HEADER: Final = struct.Struct("<8sII16s")
HEADER_MAGIC: Final = b"TrnstSEG"
ENVELOPES: Final = 2
ENTRY: Final = struct.Struct("<QIIIIQ32s")
FOOTER: Final = struct.Struct("<16sQQQqqqqII")
TAIL: Final = struct.Struct("<32sII8s")
TAIL_MAGIC: Final = b"TrnstEND"
INDEX: Final = struct.Struct("<II")
STORED: Final = 0
ZSTD: Final = 1
# A block holds at least one record, and a record may be as large as settings ever allow.
BLOCK_BYTES_MAX: Final = 1024 * 1024 * 1024
# The largest a block's target may be, and the columns of as many records as a writer puts into one.
SHARED_BYTES_MAX: Final = 8 * 1024 * 1024
FOOTER_BYTES_MAX: Final = 64 * 1024 * 1024

_SIZES: Final = struct.Struct("<QIIII40x")
_Code = Literal["Q", "q", "I"]
_EXTENT_COLUMNS: Final[tuple[tuple[_Code, int], ...]] = (
    ("Q", 8), ("Q", 8), ("q", 8), ("I", 4), ("I", 4), ("I", 4),
)  # fmt: skip
_ROW_BYTES: Final = sum(width for _, width in _EXTENT_COLUMNS)
_KEY_BYTES: Final = 16
# A merge has three: its name, its uid and its id.
_KEYS_A_RECORD: Final = 3


class Block(msgspec.Struct, frozen=True, gc=False):
    """One entry of the footer; sizes and position in bytes."""

    position: int
    stored_bytes: int
    raw_bytes: int
    codec: int
    checksum: int
    digest: bytes


class Blocks(Sequence[Block]):
    """The entries of an encoded footer, each decoded when it is asked for."""

    __slots__ = ("_footer",)

    def __init__(self, footer: bytes) -> None:
        self._footer = footer

    def __len__(self) -> int:
        return (len(self._footer) - FOOTER.size) // ENTRY.size

    @overload
    def __getitem__(self, number: int) -> Block: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Block]: ...
    def __getitem__(self, number: int | slice) -> Block | Sequence[Block]:
        """The entry of block `number`, or of several."""
        numbers = range(len(self))[number]
        if isinstance(numbers, range):
            return [self[each] for each in numbers]
        return decode_entry(self._footer, FOOTER.size + numbers * ENTRY.size)


class Footer(msgspec.Struct, frozen=True):
    """What a segment holds; `blocks` ends with the index's entry."""

    store_id: bytes
    first_lsn: int
    last_lsn: int
    records: int
    time_first: int
    time_last: int
    written_first: int
    written_last: int
    streams: int
    blocks: Sequence[Block]


def encode_header(store_id: bytes, *, encrypted: bool = False) -> bytes:
    """The 32 bytes that open a segment."""
    return HEADER.pack(HEADER_MAGIC, FORMAT_VERSION, ENVELOPES * encrypted, store_id)


def check_header(data: bytes, store_id: bytes, place: str) -> bool:
    """Whether a segment is encrypted; refuses one of another kind, version or store."""
    if len(data) < HEADER.size:
        raise CorruptError(place, expected="a segment header", found=f"{len(data)} bytes")
    magic, version, needs, found = HEADER.unpack_from(data)
    refuse_magic(magic, place)
    if magic != HEADER_MAGIC or needs not in (0, ENVELOPES):
        raise CorruptError(f"{place}, byte 0", expected=repr(HEADER_MAGIC), found=repr(magic))
    if version != FORMAT_VERSION:
        raise UnsupportedVersionError(place, found=version, supported=FORMAT_VERSION)
    if found != store_id:
        raise CorruptError(
            f"{place}, byte 16", expected=f"store {store_id.hex()}", found=found.hex()
        )
    return bool(needs)


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
    place = f"{place}, byte {entry.position}"
    _check_stored(entry, stored, place)
    if entry.raw_bytes > SHARED_BYTES_MAX:
        size = CHUNK.size + MORE_BYTES_MAX
        _check_alone(_beginning(entry, stored, size, place), entry.raw_bytes, place)
    return _unfolded(entry, stored, place)


def _check_stored(entry: Block, stored: bytes, place: str) -> None:
    if len(stored) != entry.stored_bytes or checksum(stored) != entry.checksum:
        raise CorruptError(place, expected="the block's checksum", found="another")


def _unfolded(entry: Block, stored: bytes, place: str) -> bytes:
    return stored if entry.codec == STORED else decompress(stored, entry.raw_bytes, place)


def _beginning(entry: Block, stored: bytes, size: int, place: str) -> bytes:
    if entry.codec == STORED:
        return stored[:size]
    return beginning(stored, size, entry.raw_bytes, place)


def _check_alone(header: bytes, raw_bytes: int, place: str) -> None:
    """Refuse a block of `raw_bytes` whose first chunk is not one record of that size."""
    if is_envelope(header, 0):
        # How large the chunk in it is, is seen when it is opened.
        count, end = count_and_end(header, place, raw_bytes)
        if count != 1 or end != raw_bytes:
            raise CorruptError(
                place, expected=f"one record in {raw_bytes} bytes", found=f"{count} in {end}"
            )
        return
    chunk = Chunk(header, 0, place, raw_bytes)
    room = chunk.payloads_at - CHUNK.size
    # Headers of a record are one entry of a JSON array; before them may be its size and its entry,
    # when it was written, and by which writer.
    room_max = HEADER_BYTES_MAX + 2 + 8 + MORE_BYTES_MAX
    if chunk.count != 1 or chunk.end != raw_bytes or room > room_max:
        raise CorruptError(
            place,
            expected=f"one record of {raw_bytes} bytes",
            found=f"{chunk.count} of {chunk.end} bytes, {room} before the payload",
        )


def encode_entry(block: Block) -> bytes:
    """A block's entry in the footer."""
    return ENTRY.pack(
        block.position, block.stored_bytes, block.raw_bytes, block.codec, 0, block.checksum,
        block.digest,
    )  # fmt: skip


def decode_entry(data: bytes, position: int) -> Block:
    """The entry at `position` of encoded entries, unchecked."""
    at, stored, raw, codec, _, fast, strong = ENTRY.unpack_from(data, position)
    return Block(at, stored, raw, codec, fast, strong)


def encode_footer(footer: Footer) -> bytes:
    """Footer and tail, which end a segment."""
    head = FOOTER.pack(
        footer.store_id, footer.first_lsn, footer.last_lsn, footer.records, footer.time_first,
        footer.time_last, footer.written_first, footer.written_last, footer.streams,
        len(footer.blocks),
    )  # fmt: skip
    data = b"".join((head, *map(encode_entry, footer.blocks)))
    return data + TAIL.pack(digest(data), len(data), FORMAT_VERSION, TAIL_MAGIC)


def decode_tail(data: bytes, place: str) -> tuple[bytes, int]:
    """The footer's digest and size from a segment's last 48 bytes."""
    if len(data) != TAIL.size:
        raise CorruptError(place, expected="a segment tail", found=f"{len(data)} bytes")
    stated, size, version, magic = TAIL.unpack(data)
    refuse_magic(magic, f"{place}, tail")
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
    (
        store_id, first, last, records, early, late, begun, ended, streams, count,
    ) = FOOTER.unpack_from(data)  # fmt: skip
    if len(data) != FOOTER.size + count * ENTRY.size:
        raise CorruptError(f"{place}, footer", expected=f"{count} entries", found="another size")
    if count - 1 > records:
        raise CorruptError(f"{place}, footer", expected=f"{records} blocks", found=str(count - 1))
    _check_entries(data, count, place)
    return Footer(store_id, first, last, records, early, late, begun, ended, streams, Blocks(data))


def _check_entries(footer: bytes, count: int, place: str) -> None:
    position, least = HEADER.size, CHUNK.size
    for number, entry in enumerate(_SIZES.iter_unpack(memoryview(footer)[FOOTER.size :])):
        if number == count - 1:
            least = INDEX.size
        at, stored, raw, codec, zero = entry
        fits = at == position and not zero and stored and least <= raw <= BLOCK_BYTES_MAX
        if not fits or codec not in (STORED, ZSTD) or (codec == STORED and stored != raw):
            raise CorruptError(
                f"{place}, footer entry {number}",
                expected=f"a block at byte {position} within limits",
                found=f"byte {at}, {stored} bytes stored, {raw} raw, codec {codec}",
            )
        position += stored


class Extent(msgspec.Struct, frozen=True, gc=False):
    """Where one chunk lies: `position` counts within the raw bytes of block number `block`."""

    stream: int
    first: int
    last_written: int
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


def decode_index(footer: Footer, stored: bytes, place: str) -> SegmentIndex:
    """The index in the stored bytes of a footer's last block; `CorruptError` when it is none."""
    entry = footer.blocks[-1]
    at, place = f"{place}, byte {entry.position}", f"{place}, index"
    _check_stored(entry, stored, at)
    most = INDEX.size + footer.records * (_ROW_BYTES + _KEYS_A_RECORD * _KEY_BYTES)
    if entry.raw_bytes > most:
        raise CorruptError(place, expected=f"at most {most} bytes", found=str(entry.raw_bytes))
    if entry.raw_bytes > SHARED_BYTES_MAX:
        _check_index(_beginning(entry, stored, INDEX.size, at), entry.raw_bytes, place)
    index = SegmentIndex(_unfolded(entry, stored, at), place)
    extents, keys = len(index.streams), len(index.keys)
    if extents > footer.records or keys > _KEYS_A_RECORD * footer.records:
        raise CorruptError(
            place,
            expected=f"extents and keys of {footer.records} records",
            found=f"{extents} and {keys}",
        )
    return index


def _check_index(head: bytes, size: int, place: str) -> tuple[int, int]:
    """The counts of extents and keys of an index of `size` bytes, which they must add up to."""
    if len(head) < INDEX.size:
        raise CorruptError(place, expected="an index", found=f"{len(head)} bytes")
    extents, keys = INDEX.unpack_from(head)
    if size != INDEX.size + extents * _ROW_BYTES + keys * _KEY_BYTES:
        raise CorruptError(
            place, expected=f"{extents} extents and {keys} keys", found=f"{size} bytes"
        )
    return extents, keys


class SegmentIndex:
    """A decoded index: binary search over columns that stay in the bytes they came in."""

    __slots__ = (
        "blocks", "counts", "firsts", "ids", "keys", "last_written", "positions", "raw", "streams",
    )  # fmt: skip

    def __init__(self, data: bytes, place: str) -> None:
        extents, keys = _check_index(data, len(data), place)
        self.raw = data
        view = memoryview(data)
        at = INDEX.size
        sized = [(code, width * extents) for code, width in _EXTENT_COLUMNS]
        columns: list[memoryview[int]] = []
        for code, size in (*sized, ("Q", 8 * keys), ("Q", 8 * keys)):
            columns.append(view[at : at + size].cast(code))
            at += size
        (
            self.streams, self.firsts, self.last_written, self.counts, self.blocks, self.positions,
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
