"""Chunks: columns in, the same columns out, and nothing but typed errors for other bytes."""

from __future__ import annotations

import json
import struct
from itertools import accumulate

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import transit.format.record as module
from transit.errors import CorruptError, InvalidInputError, TransitError
from transit.format.headers import HEADER_BYTES_MAX, encode_headers
from transit.format.record import (
    CHUNK,
    COUNT_MAX,
    Chunk,
    Columns,
    chunks_of,
    encode_chunk,
    measure,
)

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64_MAX = 2**64 - 1
HEADERS = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)
EXAMPLE = Columns(
    [b"", b"one", b"twenty-two" * 30],
    [0, 3, 300],
    [1_700_000_000_000_000_000, 1_700_000_000_000_000_500, 1_700_000_000_000_000_400],
    [b"{}", b'{"kind":"a"}', b'{"kind":"b"}'],
)
PLAIN = Columns([b"abcdefgh"] * 3, 8, -5, b'{"k":"v"}')


def encode(columns: Columns, stream: int = 7, first: int = 11) -> bytes:
    return b"".join(encode_chunk(stream, first, columns))


def columns_of(
    payloads: list[bytes], timestamps: int | list[int] = 0, headers: list[bytes] | None = None
) -> Columns:
    return Columns(payloads, measure(payloads), timestamps, headers)


def only(data: bytes) -> Chunk:
    (chunk,) = chunks_of(data, "here")
    chunk.check("here")
    return chunk


def values(chunk: Chunk) -> tuple[object, ...]:
    """Everything a chunk says."""
    return (
        chunk.stream,
        chunk.first,
        chunk.count,
        list(chunk.timestamps),
        chunk.payloads(),
        [dict(entry) for entry in chunk.headers()],
    )


@st.composite
def columns(draw: st.DrawFn) -> Columns:
    payloads = draw(st.lists(st.binary(max_size=40), min_size=1, max_size=20))
    count = len(payloads)
    timestamps = draw(INT64 | st.lists(INT64, min_size=count, max_size=count))
    some = st.lists(HEADERS, min_size=count, max_size=count)
    headers = draw(st.none() | HEADERS | some)
    encoded: bytes | list[bytes] | None
    if isinstance(headers, list):
        encoded = [encode_headers(entry) for entry in headers]
    else:
        encoded = encode_headers(headers) if headers else None
    return Columns(payloads, measure(payloads), timestamps, encoded)


# Round trips


@given(columns(), st.integers(0, UINT64_MAX), st.integers(0, UINT64_MAX))
@example(EXAMPLE, 7, 11)
@example(PLAIN, 0, UINT64_MAX)
def test_columns_come_back_as_they_were(given: Columns, stream: int, first: int) -> None:
    chunk = only(encode(given, stream, first))
    count = len(given.payloads)
    times = given.timestamps
    expected_times = [times] * count if isinstance(times, int) else list(times)
    headers = given.headers
    per_record = headers if isinstance(headers, list) else [headers or b"{}"] * count
    assert (chunk.stream, chunk.first, chunk.count, chunk.stop) == (
        stream, first, count, first + count,
    )  # fmt: skip
    assert list(chunk.timestamps) == expected_times
    assert chunk.last_timestamp == expected_times[-1]
    assert chunk.payloads() == list(given.payloads)
    sizes = list(map(len, given.payloads))
    assert list(chunk.sizes()) == sizes
    assert list(chunk.ends) == list(accumulate(sizes))
    assert given.payload_bytes == chunk.payload_bytes == sum(sizes)
    assert [dict(entry) for entry in chunk.headers()] == [json.loads(entry) for entry in per_record]


@given(columns(), st.data())
def test_any_part_of_a_chunk_is_the_same_as_that_part_of_the_whole(
    given: Columns, data: st.DataObject
) -> None:
    encoded = encode(given)
    whole = only(encoded)
    start = data.draw(st.integers(0, whole.count))
    stop = data.draw(st.integers(start, whole.count))
    chunk = only(encoded)
    assert chunk.payloads(start, stop) == whole.payloads()[start:stop]
    assert list(chunk.headers(start, stop)) == list(whole.headers())[start:stop]
    for place in range(start, stop):
        fresh = only(encoded)
        assert fresh.payload(place) == whole.payloads()[place]
        assert fresh.timestamp(place) == whole.timestamps[place]
        assert fresh.header(place) == list(whole.headers())[place]


@given(columns())
def test_a_chunk_encoded_again_from_what_it_says_is_the_same_chunk(given: Columns) -> None:
    chunk = only(encode(given))
    again = Columns(
        chunk.payloads(), measure(chunk.payloads()), list(chunk.timestamps), chunk.encoded_headers()
    )
    assert values(only(encode(again))) == values(chunk)


@pytest.mark.parametrize(
    ("deltas", "width"),
    [
        ([0, 0], 0),
        ([1, -1], 1),
        ([127, -128], 1),
        ([128], 2),
        ([-129], 2),
        ([32767, -32768], 2),
        ([32768], 4),
        ([-32769], 4),
        ([2**31 - 1, -(2**31)], 4),
        ([2**31], 8),
        ([-(2**31) - 1], 8),
    ],
)
def test_timestamps_take_the_narrowest_width_that_holds_their_differences(
    deltas: list[int], width: int
) -> None:
    times = list(accumulate(deltas, initial=5))
    data = encode(columns_of([b"x"] * len(times), times))
    assert data[20] == width
    assert list(only(data).timestamps) == times


@pytest.mark.parametrize(
    "times",
    [
        [-(2**63), 2**63 - 1],
        [2**63 - 1, -(2**63), 0],
        [-(2**63)] * 3,
        [2**63 - 1, 2**63 - 2],
        [-1, -2, -3],
    ],
)
def test_extreme_timestamps_come_back(times: list[int]) -> None:
    assert list(only(encode(columns_of([b"x"] * len(times), times))).timestamps) == times


@pytest.mark.parametrize(
    ("sizes", "width"),
    [
        ([5, 5], 0),
        ([0, 0], 0),
        ([0, 255], 1),
        ([0, 256], 2),
        ([1, 65535], 2),
        ([1, 65536], 4),
        ([70000, 0, 3], 4),
    ],
)
def test_payload_sizes_take_the_narrowest_width_that_holds_them(
    sizes: list[int], width: int
) -> None:
    payloads = [bytes([place + 1]) * size for place, size in enumerate(sizes)]
    data = encode(columns_of(payloads))
    assert data[21] == width
    chunk = only(data)
    assert chunk.payloads() == payloads
    assert [chunk.payload(place) for place in range(len(sizes))] == payloads


@pytest.mark.parametrize(("distinct", "width"), [(1, 0), (2, 1), (256, 1), (257, 2), (65537, 4)])
def test_header_entries_take_the_narrowest_width_that_counts_the_table(
    distinct: int, width: int
) -> None:
    headers = [b'{"n":"%d"}' % n for n in range(distinct)] * 2
    data = encode(columns_of([b"x"] * len(headers), 0, headers))
    assert data[22] == width
    chunk = only(data)
    assert [entry["n"] for entry in chunk.headers()] == [str(n) for n in range(distinct)] * 2


def test_equal_headers_are_stored_once() -> None:
    one, many = (encode(columns_of([b"x"] * n, 0, [b'{"a":"b"}'] * n)) for n in (1, 500))
    assert len(many) - len(one) == 499


def test_empty_headers_take_no_bytes() -> None:
    assert encode(columns_of([b"x"] * 9, 0, [b"{}"] * 9)) == encode(columns_of([b"x"] * 9))


def test_payloads_of_equal_size_come_back_from_chunks_of_any_count() -> None:
    for size, count in ((0, 5000), (1, 4099), (3, 8192), (7, 10_000)):
        payloads = [(b"%d" % n).ljust(size)[:size] for n in range(count)]
        chunk = only(encode(columns_of(payloads)))
        assert chunk.payloads() == payloads
        assert chunk.payloads(4095, 4099) == payloads[4095:4099]


def test_a_chunk_of_more_records_than_allowed_is_refused() -> None:
    def empty(count: int) -> bytes:
        return CHUNK.pack(1, 0, count, 0, 0, 0, 0, 0, 0, 0, 0)

    assert chunks_of(empty(COUNT_MAX), "here")[0].count == COUNT_MAX
    with pytest.raises(CorruptError):
        chunks_of(empty(COUNT_MAX + 1), "here")


def test_headers_read_are_read_only() -> None:
    chunk = only(encode(PLAIN))
    with pytest.raises(TypeError):
        chunk.header(0)["k"] = "other"


def test_chunks_back_to_back_are_all_found() -> None:
    data = encode(EXAMPLE) + encode(PLAIN, 8, 0) + encode(EXAMPLE, 9, 5)
    chunks = chunks_of(data, "here")
    assert [(chunk.stream, chunk.first, chunk.count) for chunk in chunks] == [
        (7, 11, 3), (8, 0, 3), (9, 5, 3),
    ]  # fmt: skip
    assert [chunk.end for chunk in chunks][-1] == len(data)


# Headers


@pytest.mark.parametrize(
    "headers",
    [
        None,
        [],
        "text",
        {1: "a"},
        {"a": 1},
        {"a": None},
        {"a": b"b"},
        {"\ud800": "a"},
        {"a": "\udfff"},
    ],
)
def test_headers_that_are_not_text_to_text_are_refused(headers: object) -> None:
    with pytest.raises(InvalidInputError):
        encode_headers(headers)


def test_headers_over_the_limit_are_refused() -> None:
    fits = "x" * (HEADER_BYTES_MAX - len('{"k":""}'))
    assert len(encode_headers({"k": fits})) == HEADER_BYTES_MAX
    with pytest.raises(InvalidInputError, match="limit"):
        encode_headers({"k": fits + "x"})


def test_equal_headers_have_equal_bytes_in_any_order() -> None:
    assert encode_headers({"a": "1", "b": "2"}) == encode_headers({"b": "2", "a": "1"})


# Damage. A chunk has no checksum of its own: the frame or block around it has.


@pytest.mark.parametrize("columns", [EXAMPLE, PLAIN], ids=["columns", "plain"])
def test_every_truncated_chunk_is_refused(columns, cuts) -> None:
    for data in cuts(encode(columns)):
        if data:
            with pytest.raises(CorruptError):
                only(data)


@pytest.mark.parametrize("columns", [EXAMPLE, PLAIN], ids=["columns", "plain"])
def test_every_flipped_bit_ends_in_a_typed_error_or_a_chunk(columns, flips) -> None:
    good = encode(columns)
    for _, data in flips(good):
        try:
            said = values(only(data))
        except TransitError:
            continue
        assert len(said[4]) == len(said[5]) == said[2]
        assert sum(map(len, said[4])) <= len(data)


def test_timestamps_beyond_64_bits_are_refused() -> None:
    data = bytearray(encode(columns_of([b"x"] * 3, [0, 100, 200])))
    data[24:32] = struct.pack("<q", 2**63 - 150)
    with pytest.raises(CorruptError):
        only(bytes(data))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (20, 3),
        (20, 5),
        (20, 255),
        (21, 3),
        (21, 8),
        (22, 3),
        (22, 8),
        (23, 3),
        (23, 8),
        (23, 135),
        (16, 0),
    ],
)
def test_unknown_widths_reserved_bits_and_empty_chunks_are_refused(place: int, value: int) -> None:
    data = bytearray(encode(columns_of([b"x"])))
    data[place] = value
    with pytest.raises(CorruptError):
        only(bytes(data))


@pytest.mark.parametrize(
    "table",
    [
        b"[]",
        b"{}",
        b"[{}",
        b"[1]",
        b'[{"a":1}]',
        b'[{"a":"\xff"}]',
        b"null",
        b'[{"a":"b"},{}]',
        b"[" * 100000,
    ],
)
def test_a_header_table_of_another_shape_is_refused(table: bytes) -> None:
    head = CHUNK.pack(1, 0, 1, 0, 0, 0, 0, 0, 1, len(table), 1)
    with pytest.raises(CorruptError):
        only(head + table + b"x")


def test_a_header_entry_beyond_the_table_is_refused() -> None:
    table = b'[{"a":"b"},{}]'
    head = CHUNK.pack(1, 0, 2, 0, 0, 1, 0, 0, 1, len(table), 2)
    assert only(head + b"\0\1" + table + b"xx").header(1) == {}
    with pytest.raises(CorruptError):
        only(head + b"\0\2" + table + b"xx")


def test_header_entries_without_a_table_are_refused() -> None:
    with pytest.raises(CorruptError):
        only(CHUNK.pack(1, 0, 2, 0, 0, 1, 0, 0, 1, 0, 2) + b"\0\0xx")


def test_payload_sizes_that_do_not_add_up_are_refused() -> None:
    data = bytearray(encode(columns_of([b"a", b"bc"])))
    data[CHUNK.size] = 2
    with pytest.raises(CorruptError):
        only(bytes(data))
    with pytest.raises(CorruptError):
        chunks_of(bytes(data), "here")[0].payloads()


ABSURD = {
    "payload bytes": CHUNK.pack(1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 2**64 - 1),
    "header table": CHUNK.pack(1, 0, 1, 0, 0, 0, 0, 0, 0, 2**32 - 1, 0),
    "count with columns": CHUNK.pack(1, 0, 2**32 - 1, 8, 4, 4, 0, 0, 0, 0, 0),
    "count of equal payloads": CHUNK.pack(1, 0, 2**32 - 1, 0, 0, 0, 0, 0, 2**32 - 1, 0, 1),
    "count of empty payloads": CHUNK.pack(1, 0, 2**32 - 1, 0, 0, 0, 0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("head", ABSURD.values(), ids=ABSURD)
def test_absurd_lengths_are_refused_before_memory_is_taken(head: bytes, poor) -> None:
    script = """
import sys
from transit.errors import CorruptError
from transit.format.record import chunks_of
try:
    for chunk in chunks_of(bytes.fromhex(sys.argv[1]), "here"):
        chunk.check("here")
        len(chunk.timestamps), len(chunk.ends), len(chunk.payloads())
except CorruptError:
    print("refused")
"""
    assert poor(script, (head + bytes(64)).hex()) == "refused"


def test_the_table_in_the_docstring_is_the_struct(tables, fields) -> None:
    (table,) = tables(module)
    assert table == fields(CHUNK)
    assert "\n        48     .  with flag 2" in (module.__doc__ or "")
    assert CHUNK.size == 48
