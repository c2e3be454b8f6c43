"""Index snapshots: the footers and indexes of many segments in one immutable file.

A snapshot covers a range of commits, up to the one right before the commit that names it, and lists
the older snapshots ("layers") that cover every commit before its range. So a store of thousands of
segments is opened without reading each of them. A snapshot holds nothing that the segments do not
hold: footers and stored indexes are copied as they are. The file's name is its BLAKE3.

All numbers are little-endian. The parts of the file, in order:

    offset  size  field
         0     8  magic, "TrnstIDX"
         8     4  format version, 1
        12     4  reserved, 0
        16    16  store id
        32     8  first commit covered
        40     8  last commit covered
        48     8  LSN of the first record
        56     8  LSN after the last record
        64     4  count of layers
        68     4  count of segments
        72     .  layers, oldest first
         .     .  segments, in order of LSN
         .     8  checksum of everything before it, seed 0
         .     .  for each segment: its footer, then its index as it is stored; back to back

A layer, 56 bytes:

         0    32  BLAKE3 of the snapshot
        32     8  its size
        40     8  first commit it covers
        48     8  last commit it covers

A segment, 184 bytes, is what a commit says of it (`transit.format.commit`), and two sizes:

         0     8  number of the commit that added it
         8    32  BLAKE3 of the segment
        40    32  BLAKE3 of its footer
        72    32  root of the tree over its chunks
       104     8  size of the segment
       112     8  count of records
       120     8  count of streams
       128     8  LSN of the first record
       136     8  LSN of the last record
       144     8  earliest timestamp, signed
       152     8  latest timestamp, signed
       160     8  when its first record was written, signed
       168     8  when its last record was written, signed
       176     4  size of its footer
       180     4  size of its index as it is stored

Valid if and only if: the file is at most 1 GiB and has exactly the size that its counts and sizes
add up to; the checksum fits; there are at most 64 layers, each within the same 1 GiB, and they
cover the commits from 0 up to the first covered here in order, without a gap or an overlap;
segments are in order of commit, each covered commit has at least one and no other has any; LSNs go
on without a gap from the first to the next, from 0 if and only if commit 0 is covered; numbers are
below 2^63; each footer has the stated digest and names the same store. `covered_by` then checks
what a footer and an index say, for one segment at a time, when it is needed. A reader refuses
another format version.

That segments and layers are those of the commits, and that the file is the one a commit names, is
for the caller to check: this module knows neither.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

import msgspec

from transit.errors import CorruptError, InvalidInputError, UnsupportedVersionError
from transit.format.checksum import checksum
from transit.format.commit import SegmentRef
from transit.format.digest import digest
from transit.format.preview import refuse_magic
from transit.format.segment import (
    ENTRY,
    FOOTER,
    FOOTER_BYTES_MAX,
    TAIL,
    Footer,
    SegmentIndex,
    decode_footer,
    decode_index,
)

FORMAT_VERSION: Final = 1
SNAPSHOT_BYTES_MAX: Final = 1024 * 1024 * 1024
LAYERS_MAX: Final = 64
HEADER: Final = struct.Struct("<8sII16sQQQQII")
MAGIC: Final = b"TrnstIDX"
LAYER: Final = struct.Struct("<32sQQQ")
SEGMENT: Final = struct.Struct("<Q32s32s32sQQQQQqqqqII")
CHECKSUM: Final = struct.Struct("<Q")

_NUMBERS: Final = 2**63
# A field called `bytes` hides the type of that name within its class.
_Digest: TypeAlias = bytes
_Row: TypeAlias = tuple[
    int, bytes, bytes, bytes, int, int, int, int, int, int, int, int, int, int, int
]  # fmt: skip


class Layer(msgspec.Struct, frozen=True):
    """An older snapshot: its BLAKE3, 32 bytes, its size, and the commits it covers, inclusive."""

    digest: _Digest
    bytes: int
    first: int
    last: int


class SnapshotSegment(msgspec.Struct, frozen=True):
    """A segment, the number of the commit that added it, its footer and its index as stored."""

    commit: int
    ref: SegmentRef
    footer: bytes
    index: bytes


class Snapshot(msgspec.Struct, frozen=True):
    """The segments of commits `first` to `last`, inclusive; `layers` cover all commits before."""

    store_id: bytes
    first: int
    last: int
    layers: tuple[Layer, ...]
    segments: tuple[SnapshotSegment, ...]


class _Header(NamedTuple):
    first: int
    last: int
    first_lsn: int
    next_lsn: int
    layers: int
    segments: int


def absorb(counts: Sequence[int], count: int) -> int:
    """How many of the last layers a new snapshot takes into itself.

    `counts` are the sizes of the layers, oldest first, and `count` is what is new, all in the same
    unit. Each layer that remains is more than twice as large as what comes after it, so there are
    few layers, and what is in one was written again only a few times.
    """
    taken = 0
    for older in reversed(counts):
        if older > 2 * count:
            break
        count += older
        taken += 1
    return taken


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The snapshot's file; `InvalidInputError` when it would be larger than a reader takes."""
    layers, segments = snapshot.layers, snapshot.segments
    tables = HEADER.size + len(layers) * LAYER.size + len(segments) * SEGMENT.size + CHECKSUM.size
    size = tables + sum(len(segment.footer) + len(segment.index) for segment in segments)
    if size > SNAPSHOT_BYTES_MAX or len(layers) > LAYERS_MAX:
        raise InvalidInputError(f"a snapshot of {size} bytes and {len(layers)} layers is too large")
    header = HEADER.pack(
        MAGIC, FORMAT_VERSION, 0, snapshot.store_id, snapshot.first, snapshot.last,
        segments[0].ref.lsn[0], segments[-1].ref.lsn[1] + 1, len(layers), len(segments),
    )  # fmt: skip
    older = (LAYER.pack(layer.digest, layer.bytes, layer.first, layer.last) for layer in layers)
    head = b"".join((header, *older, *map(_encode_row, segments)))
    parts = (part for segment in segments for part in (segment.footer, segment.index))
    return b"".join((head, CHECKSUM.pack(checksum(head)), *parts))


def _encode_row(segment: SnapshotSegment) -> bytes:
    ref = segment.ref
    return SEGMENT.pack(
        segment.commit, bytes.fromhex(ref.digest), bytes.fromhex(ref.footer),
        bytes.fromhex(ref.chunks), ref.bytes, ref.records, ref.streams, *ref.lsn, *ref.time,
        *ref.written, len(segment.footer), len(segment.index),
    )  # fmt: skip


def decode_snapshot(data: bytes, store_id: bytes, place: str) -> Snapshot:
    """The snapshot in `data`, of the store with this id, 16 bytes.

    Everything is checked but what footers and indexes say: that is for `covered_by`. Raises
    `CorruptError`, or `UnsupportedVersionError`.
    """
    header = _decode_header(data, store_id, place)
    rows_at = HEADER.size + header.layers * LAYER.size
    checksum_at = rows_at + header.segments * SEGMENT.size
    _check_checksum(data, checksum_at, place)
    layers = tuple(Layer(*row) for row in LAYER.iter_unpack(data[HEADER.size : rows_at]))
    _check_layers(layers, header, place)
    rows: list[_Row] = list(SEGMENT.iter_unpack(data[rows_at:checksum_at]))
    _check_rows(rows, header, place)
    segments = _decode_segments(data, checksum_at + CHECKSUM.size, rows, store_id, place)
    return Snapshot(store_id, header.first, header.last, layers, segments)


def _decode_header(data: bytes, store_id: bytes, place: str) -> _Header:
    if not HEADER.size <= len(data) <= SNAPSHOT_BYTES_MAX:
        raise CorruptError(place, expected="an index snapshot", found=f"{len(data)} bytes")
    magic, version, zero, found, *numbers = HEADER.unpack_from(data)
    refuse_magic(magic, place)
    if magic != MAGIC or zero:
        raise CorruptError(f"{place}, byte 0", expected=repr(MAGIC), found=repr(data[:16]))
    if version != FORMAT_VERSION:
        raise UnsupportedVersionError(place, found=version, supported=FORMAT_VERSION)
    if found != store_id:
        raise CorruptError(
            f"{place}, byte 16", expected=f"store {store_id.hex()}", found=found.hex()
        )
    header = _Header(*numbers)
    if not header.first <= header.last < _NUMBERS:
        found = f"{header.first} to {header.last}"
        raise CorruptError(f"{place}, byte 32", expected="a range of commits", found=found)
    if header.next_lsn > _NUMBERS or (header.first == 0) != (header.first_lsn == 0):
        found = f"{header.first_lsn} to {header.next_lsn}"
        raise CorruptError(f"{place}, byte 48", expected="a range of LSNs", found=found)
    if header.layers > LAYERS_MAX:
        expected = f"at most {LAYERS_MAX} layers"
        raise CorruptError(f"{place}, byte 64", expected=expected, found=str(header.layers))
    return header


def _check_checksum(data: bytes, position: int, place: str) -> None:
    if len(data) < position + CHECKSUM.size:
        expected = f"at least {position + CHECKSUM.size} bytes"
        raise CorruptError(place, expected=expected, found=str(len(data)))
    (stated,) = CHECKSUM.unpack_from(data, position)
    found = checksum(memoryview(data)[:position])
    if found != stated:
        raise CorruptError(
            f"{place}, byte {position}", expected=f"checksum {stated:016x}", found=f"{found:016x}"
        )


def _check_layers(layers: tuple[Layer, ...], header: _Header, place: str) -> None:
    start = 0
    for number, layer in enumerate(layers):
        fits = layer.first == start <= layer.last
        if not fits or not HEADER.size < layer.bytes <= SNAPSHOT_BYTES_MAX:
            raise CorruptError(
                f"{place}, layer {number}",
                expected=f"a snapshot of commit {start} and on",
                found=f"{layer.bytes} bytes, {layer.first} to {layer.last}",
            )
        start = layer.last + 1
    if start != header.first:
        expected = f"layers up to commit {header.first}"
        raise CorruptError(f"{place}, layers", expected=expected, found=f"up to {start}")


def _check_rows(rows: list[_Row], header: _Header, place: str) -> None:
    commit, lsn = header.first - 1, header.first_lsn
    for number, row in enumerate(rows):
        # Only the first segment must begin a commit; each other may go on with the one before.
        follows = row[0] == commit + 1 or (row[0] == commit and number > 0)
        if not follows:
            expected = f"commit {commit + 1} or the one before"
            raise CorruptError(f"{place}, segment {number}", expected=expected, found=str(row[0]))
        records, first, last = row[5], row[7], row[8]
        if first != lsn or not records or records != last - first + 1:
            raise CorruptError(
                f"{place}, segment {number}",
                expected=f"records from LSN {lsn}",
                found=f"{records} records, {first} to {last}",
            )
        if max(row[4], row[6]) >= _NUMBERS:
            raise CorruptError(
                f"{place}, segment {number}",
                expected="numbers below 2^63",
                found=f"{row[4]} bytes, {row[6]} streams",
            )
        commit, lsn = row[0], last + 1
    if (commit, lsn) != (header.last, header.next_lsn):
        raise CorruptError(
            f"{place}, segments",
            expected=f"segments up to commit {header.last}, LSN {header.next_lsn}",
            found=f"up to commit {commit}, LSN {lsn}",
        )


def _decode_segments(
    data: bytes, position: int, rows: list[_Row], store_id: bytes, place: str
) -> tuple[SnapshotSegment, ...]:
    size = position + sum(row[-2] + row[-1] for row in rows)
    if size != len(data):
        raise CorruptError(place, expected=f"{size} bytes", found=str(len(data)))
    segments = []
    for number, row in enumerate(rows):
        index_at = position + row[-2]
        footer = data[position:index_at]
        _check_footer(footer, row[2], store_id, f"{place}, footer {number}, byte {position}")
        position = index_at + row[-1]
        segments.append(SnapshotSegment(row[0], _ref_of(row), footer, data[index_at:position]))
    return tuple(segments)


def _check_footer(footer: bytes, stated: bytes, store_id: bytes, place: str) -> None:
    if not FOOTER.size + ENTRY.size <= len(footer) <= FOOTER_BYTES_MAX:
        raise CorruptError(place, expected="a footer", found=f"{len(footer)} bytes")
    if digest(footer) != stated:
        raise CorruptError(place, expected=stated.hex(), found=digest(footer).hex())
    if footer[:16] != store_id:
        raise CorruptError(place, expected=f"store {store_id.hex()}", found=footer[:16].hex())


def _ref_of(row: _Row) -> SegmentRef:
    (
        _, name, footer, chunks, size, records, streams, first, last, early, late, begun, ended, *_,
    ) = row  # fmt: skip
    return SegmentRef(
        digest=name.hex(),
        footer=footer.hex(),
        chunks=chunks.hex(),
        bytes=size,
        records=records,
        streams=streams,
        lsn=(first, last),
        time=(early, late),
        written=(begun, ended),
    )


def covered_by(segment: SnapshotSegment, place: str) -> tuple[Footer, SegmentIndex]:
    """A segment's footer and index, checked against its `ref`; `CorruptError` when they differ.

    The footer is checked against the digest in `ref`, the index against the digest in the footer,
    and all that both `ref` and the footer say must be the same. The index names blocks that the
    footer has.
    """
    ref = segment.ref
    footer = decode_footer(segment.footer, bytes.fromhex(ref.footer), place)
    entry = footer.blocks[-1]
    size = entry.position + entry.stored_bytes + len(segment.footer) + TAIL.size
    lsns, times = (footer.first_lsn, footer.last_lsn), (footer.time_first, footer.time_last)
    written = (footer.written_first, footer.written_last)
    found = (size, footer.records, footer.streams, lsns, times, written)
    stated = (ref.bytes, ref.records, ref.streams, ref.lsn, ref.time, ref.written)
    if found != stated:
        raise CorruptError(f"{place}, footer", expected=str(stated), found=str(found))
    if digest(segment.index) != entry.digest:
        raise CorruptError(
            f"{place}, index", expected=entry.digest.hex(), found=digest(segment.index).hex()
        )
    index = decode_index(footer, segment.index, place)
    if max(index.blocks, default=-1) >= len(footer.blocks) - 1:
        raise CorruptError(
            f"{place}, index", expected=f"{len(footer.blocks) - 1} blocks", found="rows of others"
        )
    return footer, index
