"""Segments: header, blocks, index, footer and tail, together and one by one."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import transit.format.segment as module
from transit.errors import CorruptError, FormatError, TransitError, UnsupportedVersionError
from transit.format.checksum import checksum
from transit.format.digest import digest
from transit.format.record import Columns, chunks_of, encode_chunk
from transit.format.segment import (
    BLOCK_BYTES_MAX,
    ENTRY,
    FOOTER,
    FOOTER_BYTES_MAX,
    HEADER,
    INDEX,
    STORED,
    TAIL,
    TAIL_MAGIC,
    ZSTD,
    Block,
    Extent,
    Footer,
    SegmentIndex,
    check_header,
    decode_block,
    decode_footer,
    decode_tail,
    encode_block,
    encode_footer,
    encode_header,
    encode_index,
)

STORE = bytes(range(16))
UINT64 = st.integers(0, 2**64 - 1)
UINT32 = st.integers(0, 2**32 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
EXTENTS = [Extent(0, 0, 5, 2, 0, 0), Extent(1, 0, 9, 3, 1, 0), Extent(1, 3, 9, 1, 1, 80)]
KEYS = [(3, 0), (2**64 - 1, 1)]


def raw_block(stream: int, count: int) -> bytes:
    columns = Columns([b"payload"] * count, [7] * count, 5, None)
    return b"".join(encode_chunk(stream, 0, columns))


def segment(level: int | None) -> bytes:
    """A whole segment of two blocks."""
    data = encode_header(STORE)
    blocks = []
    for raw in (raw_block(0, 2), raw_block(1, 60), encode_index(EXTENTS[:2], KEYS)):
        block, stored = encode_block(raw, len(data), level)
        blocks.append(block)
        data += stored
    return data + encode_footer(Footer(STORE, 0, 61, 62, 5, 5, 6, 7, 2, tuple(blocks)))


def read(data: bytes) -> tuple[object, ...]:
    """Everything a segment says, each part read as its reader reads it."""
    encrypted = check_header(data, STORE, "here")
    tail_at = max(len(data) - TAIL.size, 0)
    stated, size = decode_tail(data[tail_at:], "here")
    footer = decode_footer(data[max(tail_at - size, 0) : tail_at], stated, "here")
    if footer.store_id != STORE:
        raise CorruptError("here", expected="one store", found="two")
    raws = [
        decode_block(entry, data[entry.position : entry.position + entry.stored_bytes], "here")
        for entry in footer.blocks
    ]
    chunks = [chunk.payloads() for raw in raws[:-1] for chunk in chunks_of(raw, "here")]
    if encrypted:
        raise CorruptError("here", expected="envelopes", found="chunks")
    return footer, chunks, SegmentIndex(raws[-1], "here").raw


@pytest.mark.parametrize("level", [None, 3], ids=["stored", "zstd"])
def test_a_segment_comes_back(level: int | None) -> None:
    data = segment(level)
    footer, chunks, index = read(data)
    assert isinstance(footer, Footer)
    assert [block.codec for block in footer.blocks][1] == (STORED if level is None else ZSTD)
    assert chunks == [[b"payload"] * 2, [b"payload"] * 60]
    assert index == encode_index(EXTENTS[:2], KEYS)


@pytest.mark.parametrize("level", [None, 3], ids=["stored", "zstd"])
def test_every_truncated_segment_is_refused(level, cuts) -> None:
    for data in cuts(segment(level)):
        with pytest.raises(FormatError):
            read(data)


@pytest.mark.parametrize("level", [None, 3], ids=["stored", "zstd"])
def test_every_flipped_bit_of_a_segment_is_refused(level, flips) -> None:
    for _, data in flips(segment(level)):
        with pytest.raises(FormatError):
            read(data)


# Header and tail


@pytest.mark.parametrize("version", [0, 2, 2**32 - 1])
def test_a_segment_of_another_version_is_refused_by_that_name(version: int) -> None:
    head, good = bytearray(encode_header(STORE)), segment(None)
    head[8:12] = struct.pack("<I", version)
    with pytest.raises(UnsupportedVersionError):
        check_header(bytes(head), STORE, "here")
    tail = good[-TAIL.size : -12] + struct.pack("<I", version) + TAIL_MAGIC
    with pytest.raises(UnsupportedVersionError):
        decode_tail(tail, "here")


def test_a_segment_of_another_store_is_refused() -> None:
    with pytest.raises(CorruptError, match="store"):
        check_header(encode_header(STORE[::-1]), STORE, "here")


@pytest.mark.parametrize("size", [0, FOOTER.size, FOOTER_BYTES_MAX + 1, 2**32 - 1])
def test_an_absurd_footer_size_is_refused_before_it_is_read(size: int) -> None:
    tail = TAIL.pack(bytes(32), size, 1, TAIL_MAGIC)
    with pytest.raises(CorruptError, match="footer size"):
        decode_tail(tail, "here")


# Blocks


@given(st.binary(min_size=1, max_size=5000), st.sampled_from([None, 1, 3, 19]), UINT32)
def test_a_block_comes_back(raw: bytes, level: int | None, position: int) -> None:
    entry, stored = encode_block(raw, position, level)
    assert (entry.position, entry.stored_bytes, entry.raw_bytes) == (
        position, len(stored), len(raw),
    )  # fmt: skip
    assert (entry.checksum, entry.digest) == (checksum(stored), digest(stored))
    assert decode_block(entry, stored, "here") == raw


def test_a_block_that_hardly_shrinks_is_stored_as_it_is() -> None:
    entry, stored = encode_block(digest(b"random") * 3, 0, 3)
    assert entry.codec == ZSTD
    noise = b"".join(digest(bytes([n])) for n in range(64))
    entry, stored = encode_block(noise, 0, 19)
    assert (entry.codec, stored) == (STORED, noise)


@pytest.mark.parametrize("level", [None, 3], ids=["stored", "zstd"])
def test_every_flipped_bit_of_a_block_is_refused(level, flips) -> None:
    entry, stored = encode_block(b"payload" * 50, 32, level)
    for _, data in flips(stored):
        with pytest.raises(CorruptError):
            decode_block(entry, data, "here")


def test_a_block_that_states_another_size_than_its_entry_is_refused() -> None:
    good, stored = encode_block(b"payload" * 50, 32, 3)
    for raw_bytes in (1, 349, 351, BLOCK_BYTES_MAX):
        entry = Block(32, good.stored_bytes, raw_bytes, ZSTD, good.checksum, good.digest)
        with pytest.raises(CorruptError):
            decode_block(entry, stored, "here")


# Footers


BLOCKS = st.lists(
    st.tuples(st.integers(1, 2**32 - 1), st.integers(48, BLOCK_BYTES_MAX)), min_size=1
)


@given(
    BLOCKS,
    st.tuples(UINT64, UINT64, st.integers(2**20, 2**64 - 1)),
    st.tuples(INT64, INT64),
    UINT32,
)
def test_a_footer_comes_back(
    sizes: list[tuple[int, int]],
    numbers: tuple[int, int, int],
    times: tuple[int, int],
    streams: int,
) -> None:
    blocks, position = [], HEADER.size
    for stored, raw in sizes:
        blocks.append(Block(position, stored, raw, ZSTD, stored, digest(b"x")))
        position += stored
    footer = Footer(STORE, *numbers, *times, *reversed(times), streams, tuple(blocks))
    data = encode_footer(footer)
    stated, size = decode_tail(data[-TAIL.size :], "here")
    assert size == len(data) - TAIL.size
    decoded = decode_footer(data[:size], stated, "here")
    assert tuple(decoded.blocks) == footer.blocks
    assert msgspec.structs.replace(decoded, blocks=footer.blocks) == footer


def footer_of(*entries: tuple[int, int, int, int, int], count: int | None = None) -> bytes:
    """A footer of (position, stored, raw, codec, reserved) entries, whatever they are."""
    count = len(entries) if count is None else count
    packed = b"".join(ENTRY.pack(*entry, 0, bytes(32)) for entry in entries)
    return FOOTER.pack(STORE, 0, 0, 1, 0, 0, 0, 0, 1, count) + packed


@pytest.mark.parametrize(
    "data",
    [
        footer_of((31, 8, 8, STORED, 0)),
        footer_of((33, 8, 8, STORED, 0)),
        footer_of((32, 8, 8, STORED, 0), (39, 8, 8, STORED, 0)),
        footer_of((32, 8, 8, STORED, 0), (41, 8, 8, STORED, 0)),
        footer_of((32, 8, 9, STORED, 0)),
        footer_of((32, 8, 8, 2, 0)),
        footer_of((32, 8, 8, STORED, 1)),
        footer_of((32, 8, BLOCK_BYTES_MAX + 1, ZSTD, 0)),
        footer_of((32, 8, 2**32 - 1, ZSTD, 0)),
        footer_of((32, 8, 0, ZSTD, 0)),
        footer_of((32, 0, 0, STORED, 0)),
        footer_of((32, 8, 8, STORED, 0), count=2),
        footer_of((32, 8, 8, STORED, 0), count=0),
        footer_of((32, 8, 8, STORED, 0), count=2**32 - 1),
        footer_of(),
        b"",
        bytes(FOOTER.size - 1),
    ],
    ids=[
        "starts before the header's end",
        "starts with a gap",
        "overlap",
        "gap",
        "stored size is not raw size",
        "unknown codec",
        "reserved bytes",
        "block over the limit",
        "absurd block",
        "empty zstd block",
        "empty block",
        "entry missing",
        "entry too many",
        "absurd count",
        "no index",
        "nothing",
        "head cut short",
    ],
)
def test_a_footer_with_a_fitting_digest_and_wrong_contents_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptError):
        decode_footer(data, digest(data), "here")


# Indexes. An index has no checksum of its own: its block has.


@given(
    st.lists(st.builds(Extent, UINT64, UINT64, INT64, UINT32, UINT32, UINT32)),
    st.lists(st.tuples(UINT64, UINT64)),
)
def test_an_index_comes_back(extents: list[Extent], keys: list[tuple[int, int]]) -> None:
    extents.sort(key=lambda extent: (extent.stream, extent.first))
    keys.sort()
    index = SegmentIndex(encode_index(extents, keys), "here")
    assert list(index.streams) == [extent.stream for extent in extents]
    assert list(index.firsts) == [extent.first for extent in extents]
    assert list(index.last_written) == [extent.last_written for extent in extents]
    assert list(index.counts) == [extent.count for extent in extents]
    assert list(index.blocks) == [extent.block for extent in extents]
    assert list(index.positions) == [extent.position for extent in extents]
    assert list(zip(index.keys, index.ids, strict=True)) == keys
    for extent in extents:
        assert [index.streams[row] for row in index.rows(extent.stream)] == [extent.stream] * sum(
            other.stream == extent.stream for other in extents
        )


def test_an_index_finds_the_chunk_that_holds_an_offset() -> None:
    index = SegmentIndex(encode_index(EXTENTS, KEYS), "here")
    rows = index.rows(1)
    assert list(rows) == [1, 2]
    assert [index.row_of(rows, offset) for offset in (0, 2, 3, 99)] == [1, 1, 2, 2]
    assert index.stop(1) == 3
    assert list(index.rows(2)) == []


def test_every_truncated_index_is_refused(cuts) -> None:
    good = encode_index(EXTENTS, KEYS)
    for data in (*cuts(good), good + b"\0"):
        with pytest.raises(CorruptError):
            SegmentIndex(data, "here")


def test_every_flipped_bit_of_an_index_ends_in_a_typed_error_or_an_index(flips) -> None:
    for place, data in flips(encode_index(EXTENTS, KEYS)):
        try:
            index = SegmentIndex(data, "here")
        except TransitError:
            assert place < INDEX.size
            continue
        assert place >= INDEX.size
        for stream in (0, 1, 7):
            rows = index.rows(stream)
            assert rows.start <= rows.stop <= len(EXTENTS)


@pytest.mark.parametrize(("extents", "keys"), [(2**32 - 1, 0), (0, 2**32 - 1), (2**31, 2**31)])
def test_absurd_index_counts_are_refused_before_memory_is_taken(
    extents: int, keys: int, poor
) -> None:
    script = """
import sys
from transit.errors import CorruptError
from transit.format.segment import SegmentIndex
try:
    SegmentIndex(bytes.fromhex(sys.argv[1]), "here")
except CorruptError:
    print("refused")
"""
    assert poor(script, (INDEX.pack(extents, keys) + bytes(64)).hex()) == "refused"


def test_the_tables_in_the_docstring_are_the_structs(tables, fields) -> None:
    header, entry, footer, index = tables(module)
    assert header == fields(HEADER)
    assert entry == fields(ENTRY)
    assert footer == fields(FOOTER)
    assert index == fields(INDEX)
    text = module.__doc__ or ""
    assert f"\n       -{TAIL.size}    {TAIL.size}  tail" in text
    assert "BLAKE3 of the footer (32), footer size (4), format version\n(4), magic" in text
    assert [size for _, size in fields(TAIL)] == [32, 4, 4, 8]
    assert [width for _, width in module._EXTENT_COLUMNS] == [8, 8, 8, 4, 4, 4]
