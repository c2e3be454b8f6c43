"""Each field of a segment's header, tail, footer and index, on both sides of its limit."""

from __future__ import annotations

import struct

import pytest

from transit.errors import CorruptError, FormatError, UnsupportedVersionError
from transit.format.checksum import checksum
from transit.format.compression import compress
from transit.format.digest import digest
from transit.format.segment import (
    BLOCK_BYTES_MAX,
    ENTRY,
    FOOTER,
    FOOTER_BYTES_MAX,
    HEADER,
    HEADER_MAGIC,
    STORED,
    TAIL,
    TAIL_MAGIC,
    ZSTD,
    Block,
    Extent,
    SegmentIndex,
    check_header,
    decode_block,
    decode_footer,
    decode_tail,
    encode_block,
    encode_header,
    encode_index,
)

STORE = bytes(range(16))


def said(error: pytest.ExceptionInfo[CorruptError]) -> tuple[str, str, str]:
    return error.value.place, error.value.expected, error.value.found


# Header and tail


@pytest.mark.parametrize("magic", [b"TRANSSEF", b"TRANSSEH", bytes(8), b"\xff" * 8])
def test_another_magic_is_refused_in_header_and_tail(magic: bytes) -> None:
    with pytest.raises(CorruptError) as caught:
        check_header(HEADER.pack(magic, 1, 0, STORE), STORE, "here")
    assert said(caught) == ("here, byte 0", repr(HEADER_MAGIC), repr(magic))
    with pytest.raises(CorruptError) as caught:
        decode_tail(TAIL.pack(bytes(32), 500, 1, magic), "here")
    assert said(caught) == ("here, tail", repr(TAIL_MAGIC), repr(magic))


def test_reserved_bytes_of_the_header_are_zero() -> None:
    for zero in (1, 2**31):
        with pytest.raises(CorruptError, match="byte 0"):
            check_header(HEADER.pack(HEADER_MAGIC, 1, zero, STORE), STORE, "here")


@pytest.mark.parametrize("store", [bytes(16), b"\xff" * 16])
def test_a_header_of_another_store_is_refused_and_both_named(store: bytes) -> None:
    check_header(encode_header(STORE), STORE, "here")
    with pytest.raises(CorruptError) as caught:
        check_header(encode_header(store), STORE, "here")
    assert said(caught) == ("here, byte 16", f"store {STORE.hex()}", store.hex())


def test_a_header_may_be_followed_by_the_rest_of_the_file_and_not_cut_short() -> None:
    data = encode_header(STORE)
    check_header(data + b"more", STORE, "here")
    with pytest.raises(CorruptError, match=f"found {HEADER.size - 1} bytes"):
        check_header(data[:-1], STORE, "here")


@pytest.mark.parametrize("version", [0, 2])
def test_another_version_is_named(version: int) -> None:
    for decode in (
        lambda: check_header(HEADER.pack(HEADER_MAGIC, version, 0, STORE), STORE, "here"),
        lambda: decode_tail(TAIL.pack(bytes(32), 500, version, TAIL_MAGIC), "here"),
    ):
        with pytest.raises(UnsupportedVersionError) as caught:
            decode()
        assert caught.value.found == version


def test_a_footer_has_room_for_its_head_and_one_entry_and_is_no_larger_than_64_mib() -> None:
    least, most = FOOTER.size + ENTRY.size, FOOTER_BYTES_MAX
    for size in (least, least + 1, most):
        stated = digest(b"%d" % size)
        assert decode_tail(TAIL.pack(stated, size, 1, TAIL_MAGIC), "here") == (stated, size)
    for size in (least - 1, most + 1):
        with pytest.raises(CorruptError) as caught:
            decode_tail(TAIL.pack(bytes(32), size, 1, TAIL_MAGIC), "here")
        assert said(caught) == ("here, tail", "a footer size", str(size))


@pytest.mark.parametrize("size", [0, TAIL.size - 1, TAIL.size + 1])
def test_a_tail_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(CorruptError, match=f"expected a segment tail, found {size} bytes"):
        decode_tail(bytes(size), "here")


# Blocks


@pytest.mark.parametrize("codec", [STORED, ZSTD])
@pytest.mark.parametrize("more", [-1, 1, 1000])
def test_a_block_of_another_size_than_its_entry_states_is_refused(codec: int, more: int) -> None:
    good, stored = encode_block(b"payload" * 50, 32, None if codec == STORED else 3)
    assert good.codec == codec
    entry = Block(
        32, good.stored_bytes + more, good.raw_bytes, codec, checksum(stored), digest(stored)
    )
    with pytest.raises(CorruptError) as caught:
        decode_block(entry, stored, "here")
    assert said(caught) == ("here, byte 32", "the block's checksum", "another")


@pytest.mark.parametrize("other", [-1, 1])
def test_a_block_of_another_checksum_is_refused(other: int) -> None:
    good, stored = encode_block(b"payload", 32, None)
    entry = Block(32, len(stored), len(stored), STORED, good.checksum + other, good.digest)
    with pytest.raises(CorruptError, match="the block's checksum"):
        decode_block(entry, stored, "here")


def test_a_damaged_zstd_block_says_where_it_lies() -> None:
    stored = b"no frame"
    entry = Block(77, len(stored), 9, ZSTD, checksum(stored), digest(stored))
    with pytest.raises(CorruptError) as caught:
        decode_block(entry, stored, "here")
    assert caught.value.place == "here, byte 77"


def test_a_block_is_compressed_when_that_saves_more_than_a_sixteenth() -> None:
    noise = b"".join(digest(bytes([n])) for n in range(64))
    seen = set()
    for zeros in range(100, 200):
        raw = noise + bytes(zeros)
        packed = compress(raw, 3)
        limit = len(raw) - len(raw) // 16
        entry, stored = encode_block(raw, 0, 3)
        saved = (len(packed) > limit) - (len(packed) < limit)
        seen.add(saved)
        assert (entry.codec, stored) == ((ZSTD, packed) if saved < 0 else (STORED, raw))
    # More, less, and exactly as much.
    assert seen == {-1, 0, 1}


# Footers


def footer_of(*entries: tuple[int, int, int, int]) -> bytes:
    """A footer of (position, stored, raw, codec) entries, whatever they are."""
    packed = b"".join(ENTRY.pack(*entry, 0, 5, bytes(32)) for entry in entries)
    return FOOTER.pack(STORE, 0, 9, 10, -3, 4, 5, 6, 2, len(entries)) + packed


def test_a_footer_says_what_was_put_into_it() -> None:
    data = footer_of((32, 48, 48, STORED), (80, 1, BLOCK_BYTES_MAX, ZSTD), (81, 8, 8, STORED))
    footer = decode_footer(data, digest(data), "here")
    assert (footer.store_id, footer.first_lsn, footer.last_lsn, footer.records) == (STORE, 0, 9, 10)
    assert (footer.time_first, footer.time_last, footer.streams) == (-3, 4, 2)
    blocks = [
        Block(32, 48, 48, STORED, 5, bytes(32)),
        Block(80, 1, BLOCK_BYTES_MAX, ZSTD, 5, bytes(32)),
        Block(81, 8, 8, STORED, 5, bytes(32)),
    ]
    assert list(footer.blocks) == blocks
    assert len(footer.blocks) == 3
    assert footer.blocks[-1] == blocks[-1]
    assert footer.blocks[1:] == blocks[1:]
    with pytest.raises(IndexError):
        footer.blocks[3]


def test_a_footer_has_no_more_blocks_than_records() -> None:
    entries = [(32 + 48 * n, 48, 48, STORED) for n in range(12)]
    data = footer_of(*entries[:11])
    assert len(decode_footer(data, digest(data), "here").blocks) == 11
    data = footer_of(*entries)
    with pytest.raises(CorruptError) as caught:
        decode_footer(data, digest(data), "here")
    assert said(caught) == ("here, footer", "10 blocks", "11")


@pytest.mark.parametrize(
    ("entries", "number"),
    [
        ([(31, 8, 8, STORED)], 0),
        ([(33, 8, 8, STORED)], 0),
        ([(32, 8, 9, STORED)], 0),
        ([(32, 9, 8, STORED)], 0),
        ([(32, 7, 7, STORED)], 0),
        ([(32, 8, 0, ZSTD)], 0),
        ([(32, 0, 8, ZSTD)], 0),
        ([(32, 8, 7, ZSTD)], 0),
        ([(32, 8, BLOCK_BYTES_MAX + 1, ZSTD)], 0),
        ([(32, 8, 8, 2)], 0),
        ([(32, 8, 47, ZSTD), (40, 8, 8, STORED)], 0),
        ([(32, 48, 48, STORED), (79, 8, 8, STORED)], 1),
        ([(32, 48, 48, STORED), (80, 48, 48, STORED), (129, 8, 8, STORED)], 2),
    ],
)
def test_the_first_entry_that_does_not_fit_is_named(
    entries: list[tuple[int, int, int, int]], number: int
) -> None:
    data = footer_of(*entries)
    with pytest.raises(CorruptError) as caught:
        decode_footer(data, digest(data), "here")
    at, stored, raw, codec = entries[number]
    wanted = 32 + sum(size for _, size, _, _ in entries[:number])
    assert said(caught) == (
        f"here, footer entry {number}",
        f"a block at byte {wanted} within limits",
        f"byte {at}, {stored} bytes stored, {raw} raw, codec {codec}",
    )


@pytest.mark.parametrize("expected", [bytes(32), b"\xff" * 32])
def test_a_footer_of_another_digest_is_refused_and_both_named(expected: bytes) -> None:
    data = footer_of((32, 8, 8, STORED))
    with pytest.raises(CorruptError) as caught:
        decode_footer(data, expected, "here")
    assert said(caught) == ("here, footer", expected.hex(), digest(data).hex())


@pytest.mark.parametrize("count", [0, 2, 3])
def test_a_footer_has_as_many_entries_as_it_states(count: int) -> None:
    data = bytearray(footer_of((32, 8, 8, STORED)))
    data[76:80] = struct.pack("<I", count)
    with pytest.raises(CorruptError, match=f"{count} entries"):
        decode_footer(bytes(data), digest(bytes(data)), "here")


@pytest.mark.parametrize("size", [0, FOOTER.size, FOOTER.size + ENTRY.size - 1])
def test_a_footer_without_room_for_an_entry_is_refused(size: int) -> None:
    data = footer_of((32, 8, 8, STORED))[:size]
    with pytest.raises(CorruptError, match=f"expected an entry, found {size} bytes"):
        decode_footer(data, digest(data), "here")


# Indexes


EXTENTS = [Extent(2, 0, -5, 2, 0, 0), Extent(5, 3, 9, 3, 1, 0), Extent(5, 6, 9, 1, 1, 80)]
KEYS = [(3, 1), (7, 4), (7, 9), (2**64 - 1, 1)]


def test_an_index_finds_every_stream_under_a_key() -> None:
    index = SegmentIndex(encode_index(EXTENTS, KEYS), "here")
    assert [index.find(key) for key in (0, 3, 4, 7, 8, 2**64 - 1)] == [[], [1], [], [4, 9], [], [1]]


def test_an_index_finds_the_rows_of_a_stream_and_no_others() -> None:
    index = SegmentIndex(encode_index(EXTENTS, []), "here")
    assert [list(index.rows(stream)) for stream in range(7)] == [[], [], [0], [], [], [1, 2], []]
    rows = index.rows(5)
    # Before the first of them comes the row before, which is another stream's.
    assert [index.row_of(rows, offset) for offset in (0, 2, 3, 5, 6, 100)] == [0, 0, 1, 1, 2, 2]
    assert [index.stop(row) for row in range(3)] == [2, 6, 7]
    assert list(index.last_written) == [-5, 9, 9]


def test_an_index_of_nothing_is_an_index() -> None:
    index = SegmentIndex(encode_index([], []), "here")
    assert (list(index.streams), list(index.keys), index.find(0)) == ([], [], [])
    assert list(index.rows(0)) == []


@pytest.mark.parametrize("size", [0, 7])
def test_an_index_without_its_head_is_refused(size: int) -> None:
    with pytest.raises(CorruptError, match=f"expected an index, found {size} bytes"):
        SegmentIndex(bytes(size), "here")


def test_an_index_of_another_size_than_its_counts_is_refused_and_they_are_told() -> None:
    data = encode_index(EXTENTS, KEYS)
    for other in (data[:-1], data + b"\0", data[:8]):
        with pytest.raises(FormatError, match=f"3 extents and 4 keys, found {len(other)} bytes"):
            SegmentIndex(other, "here")
