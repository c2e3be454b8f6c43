"""What a segment says of its sizes is judged before memory is taken for it."""

from __future__ import annotations

import tracemalloc
from array import array
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from transit.errors import CorruptError
from transit.format.checksum import checksum
from transit.format.compression import compress
from transit.format.digest import digest
from transit.format.headers import encode_headers
from transit.format.record import CHUNK, Columns, encode_chunk
from transit.format.segment import (
    HEADER,
    INDEX,
    STORED,
    ZSTD,
    Block,
    Extent,
    Footer,
    decode_block,
    decode_index,
    encode_block,
    encode_index,
)
from transit.format.written import MORE_BYTES_MAX

STORE = bytes(range(16))
MIB = 1024 * 1024
SHARED_BYTES_MAX = 8 * MIB
LARGE = SHARED_BYTES_MAX + 1
LEVELS = [None, 1]


@contextmanager
def little_memory() -> Iterator[None]:
    """At most as much as one step of decompression takes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 5 * MIB
    finally:
        tracemalloc.stop()


def refused(entry: Block, stored: bytes) -> CorruptError:
    with little_memory(), pytest.raises(CorruptError) as caught:
        decode_block(entry, stored, "here")
    return caught.value


def one_record(payload: bytes, *headers: bytes) -> bytes:
    columns = Columns([payload], len(payload), 5, list(headers) or None)
    return b"".join(encode_chunk(3, 0, columns))


# Blocks


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("more", [0, 1, 5 * MIB])
def test_a_block_of_one_large_record_comes_back(level: int | None, more: int) -> None:
    for headers in ((), (encode_headers({"k": "x" * 65_000}),)):
        raw = one_record(bytes(LARGE + more), *headers)
        entry, stored = encode_block(raw, 32, level)
        assert entry.codec == (STORED if level is None else ZSTD)
        assert decode_block(entry, stored, "here") == raw


@pytest.mark.parametrize("level", LEVELS)
def test_a_block_of_several_records_is_as_large_as_the_limit_and_no_larger(
    level: int | None,
) -> None:
    half = one_record(bytes(SHARED_BYTES_MAX // 2 - CHUNK.size))
    assert len(2 * half) == SHARED_BYTES_MAX
    entry, stored = encode_block(2 * half, 32, level)
    assert decode_block(entry, stored, "here") == 2 * half
    for raw in (half + one_record(bytes(SHARED_BYTES_MAX // 2)), 2 * half + half):
        entry, stored = encode_block(raw, 32, level)
        error = refused(entry, stored)
        assert error.place == "here, byte 32"
        assert error.expected == f"one record of {len(raw)} bytes"
        assert error.found == f"1 of {len(half)} bytes, 0 before the payload"


@pytest.mark.parametrize("level", LEVELS)
def test_a_large_block_of_two_records_in_one_chunk_is_refused(level: int | None) -> None:
    columns = Columns([bytes(LARGE // 2 + 1)] * 2, LARGE // 2 + 1, 5, None)
    raw = b"".join(encode_chunk(3, 0, columns))
    entry, stored = encode_block(raw, 32, level)
    assert refused(entry, stored).found == f"2 of {len(raw)} bytes, 0 before the payload"


@pytest.mark.parametrize("level", LEVELS)
def test_a_large_block_of_headers_is_refused(level: int | None) -> None:
    # An object of 64 KiB in an array, columns of four bytes for its size and its entry, the time of
    # writing and the writer.
    most = 65_536 + 2 + 8 + MORE_BYTES_MAX
    for room in (most, most + 1):
        table = room - 8
        payload = LARGE - CHUNK.size - room
        raw = CHUNK.pack(3, 0, 1, 0, 4, 4, 0, 5, 0, table, payload) + bytes(room + payload)
        assert len(raw) == LARGE
        entry, stored = encode_block(raw, 32, level)
        if room == most:
            assert decode_block(entry, stored, "here") == raw
        else:
            found = f"1 of {LARGE} bytes, {room} before the payload"
            assert refused(entry, stored).found == found


@pytest.mark.parametrize("level", LEVELS)
def test_a_large_block_of_nothing_but_headers_is_refused(level: int | None) -> None:
    room = LARGE - CHUNK.size
    raw = CHUNK.pack(3, 0, 1, 0, 0, 0, 0, 5, 0, room, 0) + bytes(room)
    entry, stored = encode_block(raw, 32, level)
    assert refused(entry, stored).found == f"1 of {LARGE} bytes, {room} before the payload"


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("filling", [b"\0", b"\xff"])
def test_a_large_block_that_is_no_chunk_is_refused(level: int | None, filling: bytes) -> None:
    entry, stored = encode_block(filling * (64 * MIB), 32, level)
    assert refused(entry, stored).place == "here, byte 32, byte 0"


def test_a_large_block_whose_frame_is_cut_is_refused() -> None:
    raw = one_record(bytes(range(256)) * (LARGE // 256 + 1))
    whole = compress(raw, 1)
    for size in (9, 12, len(whole) // 2, len(whole) - 1):
        stored = whole[:size]
        entry = Block(32, size, len(raw), ZSTD, checksum(stored), digest(stored))
        with pytest.raises(CorruptError, match="here, byte 32"):
            decode_block(entry, stored, "here")


def blocks_of(frame: bytes) -> list[int]:
    """Where the blocks of a zstd frame with a window and a size of four bytes begin (RFC 8878)."""
    places, place, last = [], 10, 0
    while not last:
        places.append(place)
        header = int.from_bytes(frame[place : place + 3], "little")
        last, kind = header & 1, header >> 1 & 3
        place += 3 + (1 if kind == 1 else header >> 3)
    return places


def test_a_large_block_whose_frame_is_damaged_is_refused() -> None:
    raw = one_record(bytes(range(256)) * (LARGE // 256 + 1))
    whole = compress(raw, 1)
    places = blocks_of(whole)
    assert len(places) > 60
    for place in (places[0], places[1], places[40], places[-1]):
        # A block of a kind that is reserved.
        stored = whole[:place] + b"\xff" * (len(whole) - place)
        entry = Block(32, len(stored), len(raw), ZSTD, checksum(stored), digest(stored))
        with pytest.raises(CorruptError, match="here, byte 32: expected a zstd frame"):
            decode_block(entry, stored, "here")


# Indexes


def footer_of(index: bytes, records: int, level: int | None = 1) -> tuple[Footer, bytes]:
    entry, stored = encode_block(index, HEADER.size, level)
    return Footer(STORE, 0, 0, records, 0, 0, 0, 0, 1, (entry,)), stored


def rows(count: int) -> list[Extent]:
    return [Extent(1, n, 5, 1, 0, 48 * n) for n in range(count)]


@pytest.mark.parametrize("level", LEVELS)
def test_an_index_has_at_most_a_row_and_three_keys_a_record(level: int | None) -> None:
    keys = [(n, n) for n in range(30)]
    whole = encode_index(rows(10), keys)
    footer, stored = footer_of(whole, 10, level)
    assert decode_index(footer, stored, "here").raw == whole
    footer, stored = footer_of(whole, 9, level)
    with pytest.raises(CorruptError) as caught:
        decode_index(footer, stored, "here")
    assert caught.value.place == "here, index"
    assert (caught.value.expected, caught.value.found) == ("at most 764 bytes", "848")
    for extents, names, found in ((10, 0, "10 and 0"), (0, 28, "0 and 28")):
        footer, stored = footer_of(encode_index(rows(extents), keys[:names]), 9, level)
        with pytest.raises(CorruptError) as caught:
            decode_index(footer, stored, "here")
        assert (caught.value.expected, caught.value.found) == (
            "extents and keys of 9 records", found,
        )  # fmt: skip


@pytest.mark.parametrize("level", LEVELS)
def test_a_large_index_comes_back(level: int | None) -> None:
    count = SHARED_BYTES_MAX // 36 + 1
    footer, stored = footer_of(encode_index(rows(count), []), count, level)
    index = decode_index(footer, stored, "here")
    assert len(index.raw) > SHARED_BYTES_MAX
    assert index.firsts == memoryview(array("Q", range(count)))


@pytest.mark.parametrize("level", LEVELS)
def test_a_large_index_that_does_not_add_up_is_refused(level: int | None) -> None:
    for counts in ((0, 0), (2**32 - 1, 2**32 - 1), (1, 64 * MIB // 16)):
        footer, stored = footer_of(INDEX.pack(*counts) + bytes(64 * MIB - 8), 2**40, level)
        with little_memory(), pytest.raises(CorruptError) as caught:
            decode_index(footer, stored, "here")
        assert caught.value.place == "here, index"
        assert caught.value.expected == f"{counts[0]} extents and {counts[1]} keys"
        assert caught.value.found == f"{64 * MIB} bytes"


def test_an_index_of_other_bytes_is_refused() -> None:
    footer, stored = footer_of(encode_index(rows(3), []), 3)
    with pytest.raises(CorruptError, match="here, byte 32: expected the block's checksum"):
        decode_index(footer, stored[:-1] + b"!", "here")
