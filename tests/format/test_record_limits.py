"""Chunks at the edges: a byte too few, sizes that add up to less, the last timestamp there is."""

from __future__ import annotations

import pytest

from transit.errors import CorruptError, InvalidInputError
from transit.format.headers import encode_headers
from transit.format.record import CHUNK, Chunk, Columns, encode_chunk

TOP = 2**63 - 1
BOTTOM = -(2**63)


def said(data: bytes, position: int = 0, limit: int | None = None) -> tuple[str, str, str]:
    """What is said of a chunk that is refused: where, what was expected and what was found."""
    with pytest.raises(CorruptError) as caught:
        Chunk(data, position, "here", limit)
    return caught.value.place, caught.value.expected, caught.value.found


@pytest.mark.parametrize("before", [0, 5, 100])
def test_what_is_missing_of_a_chunk_is_said_in_bytes(before: int) -> None:
    chunk = b"".join(encode_chunk(1, 0, Columns([b"abc"], 3, 0, None)))
    data = bytes(before) + chunk
    place = f"here, byte {before}"
    for there in (0, 1, CHUNK.size - 1):
        wanted = (place, "a chunk header", f"{there} bytes")
        assert said(data[: before + there], before) == wanted
        assert said(data, before, before + there) == wanted
    for there in (CHUNK.size, CHUNK.size + 2):
        wanted = (place, f"{CHUNK.size + 3} bytes", f"{there}")
        assert said(data[: before + there], before) == wanted
    Chunk(data, before, "here").check("here")


@pytest.mark.parametrize("payload_bytes", [0, 1, 5, 7, 11])
def test_equal_sizes_must_add_up(payload_bytes: int) -> None:
    data = CHUNK.pack(1, 0, 2, 0, 0, 0, 0, 0, 3, 0, payload_bytes) + bytes(payload_bytes)
    assert said(data) == ("here, byte 0", "payload sizes that add up", "others")
    Chunk(CHUNK.pack(1, 0, 2, 0, 0, 0, 0, 0, 3, 0, 6) + bytes(6), 0, "here").check("here")


@pytest.mark.parametrize("sizes", [b"\1\1", b"\3\3", b"\1\2", b"\0\0", b"\xff\xff"])
def test_sizes_in_a_column_must_add_up(sizes: bytes) -> None:
    chunk = Chunk(CHUNK.pack(1, 0, 2, 0, 1, 0, 0, 0, 0, 0, 4) + sizes + b"abcd", 0, "here")
    for read in (lambda: chunk.check("there"), lambda: chunk.sizes("there")):
        with pytest.raises(CorruptError) as caught:
            read()
        assert caught.value.place == f"there, byte {CHUNK.size}"
        assert caught.value.expected == "payload sizes that add up"


def test_a_chunk_of_no_record_is_refused() -> None:
    data = CHUNK.pack(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    assert said(data) == ("here, byte 0", "known column widths and a count", "others")


WIDTHS = {"time": 3, "size": 4, "header": 5}


@pytest.mark.parametrize("at", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("width", [3, 5, 9, 255])
def test_a_column_of_unknown_width_is_refused_as_that(at: int, width: int) -> None:
    values = [1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 1]
    values[at] = width
    data = CHUNK.pack(*values) + bytes(300)
    assert said(data) == ("here, byte 0", "known column widths and a count", "others")


def test_one_timestamp_takes_no_column_however_it_is_given() -> None:
    for timestamps in (5, [5]):
        parts = encode_chunk(1, 0, Columns([b"x"], 1, timestamps, None))
        assert CHUNK.unpack(parts[0])[3] == 0
        assert list(Chunk(b"".join(parts), 0, "here").timestamps) == [5]


def test_one_large_header_entry_is_read() -> None:
    entry = b'{"k":"' + b"v" * 100_000 + b'"}'
    chunk = Chunk(b"".join(encode_chunk(1, 0, Columns([b"x"], 1, 0, entry))), 0, "here")
    chunk.check("here")
    assert chunk.header(0) == {"k": "v" * 100_000}


def test_header_entries_need_a_table() -> None:
    data = CHUNK.pack(1, 0, 2, 0, 0, 1, 0, 0, 1, 0, 2) + b"\0\0xx"
    assert said(data) == ("here, byte 0", "a header table", "none")


class Text(str):
    """Text that the encoder does not take as it is."""


def test_text_of_a_class_of_its_own_is_text_in_headers() -> None:
    assert encode_headers({"k": Text("v"), Text("a"): "b"}) == b'{"a":"b","k":"v"}'
    with pytest.raises(InvalidInputError, match="headers are not Unicode text"):
        encode_headers({"k": Text("\ud800")})


STEPS = {1: 2**7 - 1, 2: 2**15 - 1, 4: 2**31 - 1}


@pytest.mark.parametrize("width", STEPS)
@pytest.mark.parametrize("count", [2, 3, 50])
@pytest.mark.parametrize("sign", [1, -1])
def test_timestamps_may_reach_the_last_that_has_64_bits_and_no_further(
    width: int, count: int, sign: int
) -> None:
    step = sign * STEPS[width]
    edge = TOP if sign > 0 else BOTTOM
    times = [n * step for n in range(count)]
    head, *parts = encode_chunk(1, 0, Columns([b""] * count, 0, times, None))
    data = bytearray(b"".join([head, *parts]))
    assert (CHUNK.unpack(head)[3], len(data)) == (width, CHUNK.size + (count - 1) * width)
    first = edge - times[-1]
    data[24:32] = first.to_bytes(8, "little", signed=True)
    chunk = Chunk(bytes(data), 0, "here")
    chunk.check("here")
    assert list(chunk.timestamps) == [first + time for time in times]
    data[24:32] = (first + sign).to_bytes(8, "little", signed=True)
    with pytest.raises(CorruptError, match="timestamps of 64 bits"):
        Chunk(bytes(data), 0, "here").check("here")


@pytest.mark.parametrize(("count", "size", "kept"), [(50, 0, False), (1, 0, False), (60, 1, True)])
def test_columns_are_kept_for_who_reads_again_where_the_chunk_takes_as_many_bytes(
    count: int, size: int, kept: bool
) -> None:
    columns = Columns([bytes(size)] * count, size, 7, None)
    data = bytes(3) + b"".join(encode_chunk(1, 0, columns))
    chunk = Chunk(data, 3, "here")
    assert list(chunk.timestamps) == [7] * count
    assert list(chunk.sizes()) == [size] * count
    assert list(chunk.ends) == [size * (place + 1) for place in range(count)]
    assert (chunk.timestamps is chunk.timestamps) == kept
    assert (chunk.sizes() is chunk.sizes()) == kept
    assert (chunk.ends is chunk.ends) == kept
