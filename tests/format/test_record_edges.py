"""Chunks before the first read and after it, and header tables that are large."""

from __future__ import annotations

import pytest

from transit.errors import CorruptError
from transit.format.record import (
    CHUNK,
    COLUMN_PARTS,
    Chunk,
    Columns,
    chunks_of,
    encode_chunk,
)

ENTRIES = [b"{}", b'{"kind":"a"}']


def chunk_of(table: bytes, width: int = 0, count: int = 1) -> Chunk:
    """A chunk of `count` records of one byte under this header table, whatever it is."""
    head = CHUNK.pack(1, 0, count, 0, 0, width, 0, 0, 1, len(table), count)
    return Chunk(head + bytes(width * count) + table + b"x" * count, 0, "here")


def test_a_chunk_is_as_valid_once_its_headers_were_read() -> None:
    data = b"".join(encode_chunk(1, 0, Columns([b"x"] * 2, 1, 0, ENTRIES)))
    chunk = Chunk(data, 0, "here")
    assert [dict(entry) for entry in chunk.headers()] == [{}, {"kind": "a"}]
    chunk.check("here")
    assert chunk.header(1) == {"kind": "a"}


def test_an_entry_beyond_a_table_that_was_read_is_refused_still() -> None:
    chunk = chunk_of(b'[{"k":"v"}]', 1, 2)
    chunk.data = chunk.data.replace(b"\0\0[", b"\0\1[")
    assert chunk.header(0) == {"k": "v"}
    with pytest.raises(CorruptError, match="header entries of the table"):
        chunk.check("here")


@pytest.mark.parametrize("table", [b"[]", b" [ ] ", b"[1]", b"{}", b'[{"k":"\xff"}]'])
def test_a_table_of_another_shape_is_refused_by_who_reads_it_unchecked(table: bytes) -> None:
    for read in (Chunk.header, Chunk.headers):
        with pytest.raises(CorruptError, match="a header table"):
            read(chunk_of(table), 0)


def large(entry: bytes) -> bytes:
    """A table of more than 64 KiB of one entry, and this one last."""
    return b"[" + b'{"k":"v"},' * 10_000 + entry + b"]"


LARGE = 10_001


def checked(table: bytes) -> None:
    chunk_of(table, 2, LARGE).check("here")


@pytest.mark.parametrize(
    "entry",
    [
        b"{}",
        b" { } ",
        b'{"a":"b","c":"d"}',
        b'\t{ "a" : "b" ,\n"c":"d" }\r',
        b'{"a":"\\u00e9\\n\\"\\\\\\/\\b\\f\\r\\t"}',
        b'{"a":"\\ud83d\\ude00\\uD83D\\uDE00"}',
        '{"é":"\U0001f600"}'.encode(),
        b'{"a":"]},{["}',
    ],
)
def test_a_large_table_is_taken_as_a_small_one_is(entry: bytes) -> None:
    checked(b"[" + entry + b"]")
    checked(large(entry))
    last = chunk_of(large(entry), 2, LARGE).headers()
    assert next(iter(last)) == {"k": "v"}


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"{",
        b"{}}",
        b"{},",
        b"1",
        b"[]",
        b"null",
        b'{"a"}',
        b'{"a":1}',
        b'{"a":null}',
        b'{"a":"b",}',
        b'{"a":"b" "c":"d"}',
        b'{a:"b"}',
        b'{"a":"b}',
        b'{"a":"\n"}',
        b'{"a":"\\x41"}',
        b'{"a":"\\u12"}',
        b'{"a":"\\ud83d"}',
        b'{"a":"\\ude00\\ud83d"}',
        b'{"a":"\\ud83d\\ud83d"}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":{"b":"c"}}',
        b"{}\0",
    ],
)
def test_a_large_table_is_refused_as_a_small_one_is(entry: bytes) -> None:
    for table in (b"[" + entry + b"]", large(entry)):
        with pytest.raises(CorruptError):
            checked(table)


@pytest.mark.parametrize("count", [LARGE - 1, LARGE, LARGE + 1])
def test_a_table_has_no_more_entries_than_there_are_records(count: int) -> None:
    chunk = chunk_of(large(b"{}"), 2, count)
    if count >= LARGE:
        chunk.check("here")
    else:
        with pytest.raises(CorruptError, match="a header entry a record at most"):
            chunk.check("here")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_small_table_has_no_more_entries_than_there_are_records(count: int) -> None:
    chunk = chunk_of(b'[{},{"k":"v"}]', 1, count)
    if count >= 2:
        chunk.check("here")
    else:
        with pytest.raises(CorruptError, match=r"a header entry a record at most.*2 or more"):
            chunk.check("here")


@pytest.mark.parametrize(
    ("table", "width", "count", "entries_max"),
    [
        (large(b"{}"), 2, LARGE - 1, LARGE - 1),
        (large(b"{}"), 0, LARGE, 1),
        (large(b"1"), 2, LARGE, LARGE),
    ],
)
def test_a_large_table_of_too_much_is_refused_before_it_is_decoded(
    table: bytes, width: int, count: int, entries_max: int
) -> None:
    for read in (Chunk.header, Chunk.headers):
        with pytest.raises(CorruptError) as caught:
            read(chunk_of(table, width, count), 0)
        error = caught.value
        assert (error.place, error.expected, error.found) == (
            "chunk",
            f"a table of {entries_max} entries",
            f"{len(table)} bytes that are none, or of more",
        )


MANY = 65_536


@pytest.mark.parametrize("count", [MANY, MANY + 1])
def test_timestamps_of_many_records_are_those_of_few(count: int) -> None:
    times = [1_700_000_000_000_000_000 + (n * n) % 1000 for n in range(count)]
    chunk = Chunk(b"".join(encode_chunk(1, 0, Columns([b""] * count, 0, times, None))), 0, "here")
    chunk.check("here")
    assert list(chunk.timestamps) == times
    assert chunk.last_timestamp == times[-1]


@pytest.mark.parametrize("count", [MANY, MANY + 1])
@pytest.mark.parametrize("step", [100, -100])
def test_many_timestamps_beyond_64_bits_are_refused(count: int, step: int) -> None:
    times = [0] * (count - 2) + [step, 2 * step]
    data = bytearray(b"".join(encode_chunk(1, 0, Columns([b""] * count, 0, times, None))))
    edge = 2**63 - 1 if step > 0 else -(2**63)
    data[24:32] = (edge - step).to_bytes(8, "little", signed=True)
    chunk = Chunk(bytes(data), 0, "here")
    with pytest.raises(CorruptError, match="timestamps of 64 bits"):
        chunk.check("here")
    data[24:32] = (edge - 2 * step).to_bytes(8, "little", signed=True)
    good = Chunk(bytes(data), 0, "here")
    good.check("here")
    assert good.last_timestamp == edge


def test_many_timestamps_beyond_64_bits_are_refused_by_who_reads_them_unchecked() -> None:
    times = [0] * MANY + [100]
    columns = Columns([b""] * len(times), 0, times, None)
    data = bytearray(b"".join(encode_chunk(1, 0, columns)))
    data[24:32] = (2**63 - 50).to_bytes(8, "little", signed=True)
    with pytest.raises(CorruptError, match="timestamps of 64 bits") as caught:
        _ = Chunk(bytes(data), 0, "here").timestamps
    assert caught.value.place == "chunk, byte 0"


def test_entries_are_held_to_a_large_table_as_well() -> None:
    chunk = chunk_of(large(b"{}"), 2, LARGE)
    at = CHUNK.size
    for entry, good in ((LARGE - 1, True), (LARGE, False)):
        data = bytearray(chunk.data)
        data[at : at + 2] = entry.to_bytes(2, "little")
        again = Chunk(bytes(data), 0, "here")
        if good:
            again.check("here")
            assert again.header(0) == {}
        else:
            with pytest.raises(CorruptError, match="header entries of the table"):
                again.check("here")


# What is asked of a chunk that was asked nothing before


@pytest.mark.parametrize("step", [0, 100, 20_000, 2**30, 2**40])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_last_time_is_the_same_whether_or_not_the_others_were_asked_for(
    step: int, count: int
) -> None:
    times = [7 + step * number for number in range(count)]
    later = [time + 1 + number for number, time in enumerate(times)]
    payloads = [b"x" * (1 + number % 2) for number in range(count)]
    columns = Columns(payloads, [len(each) for each in payloads], times, None, later)
    data = b"".join(encode_chunk(1, 0, columns))
    assert Chunk(data, 0, "here").last_timestamp == times[-1]
    assert Chunk(data, 0, "here").last_written == later[-1]
    assert Chunk(data, 0, "here").payloads() == payloads
    asked = Chunk(data, 0, "here")
    assert (list(asked.timestamps), list(asked.written)) == (times, later)
    assert (asked.last_timestamp, asked.last_written) == (times[-1], later[-1])


@pytest.mark.parametrize("written", [None, 3])
def test_records_that_take_no_byte_have_all_their_values(written: int | None) -> None:
    data = b"".join(encode_chunk(1, 0, Columns([b""] * 50, 0, 9, None, written)))
    chunk = Chunk(data, 0, "here")
    chunk.check("here")
    if written is None:
        chunk.date(3, "here")
    for _ in range(2):
        assert list(chunk.timestamps) == [9] * 50
        assert list(chunk.written) == [3] * 50
        assert list(chunk.sizes()) == list(chunk.ends) == [0] * 50
        assert chunk.payloads() == [b""] * 50


# Parts, and what is said of a column that does not fit


def test_all_parts_but_the_payloads_come_first() -> None:
    for columns in (
        Columns([b"one", b"three"], [3, 5], [1, 2], ENTRIES),
        Columns([b"one"], 3, 1, None),
    ):
        parts = encode_chunk(7, 0, columns)
        assert parts[COLUMN_PARTS:] == columns.payloads
        (chunk,) = chunks_of(b"".join(parts), "here")
        assert sum(map(len, parts[:COLUMN_PARTS])) == chunk.payloads_at


@pytest.mark.parametrize("edge", [2**63 - 1, -(2**63)])
def test_equal_timestamps_at_the_edge_are_valid_however_they_are_written(edge: int) -> None:
    head = CHUNK.pack(1, 0, 3, 1, 0, 0, 0, edge, 1, 0, 3)
    chunk = Chunk(head + b"\0\0" + b"xyz", 0, "here")
    chunk.check("here")
    assert list(chunk.timestamps) == [edge] * 3
    beyond = b"\1" if edge > 0 else b"\xff"
    with pytest.raises(CorruptError) as caught:
        Chunk(head + b"\0" + beyond + b"xyz", 0, "here").check("here")
    error = caught.value
    assert (error.place, error.expected, error.found) == (
        "here, byte 0", "timestamps of 64 bits", "larger ones",
    )  # fmt: skip


def test_what_does_not_fit_is_said_with_its_chunks_place() -> None:
    entries = chunk_of(b'[{"k":"v"}]', 1, 2)
    entries.data = entries.data.replace(b"\0\0[", b"\0\1[")
    said = {
        entries: ("here, byte 0", "header entries of the table"),
        chunk_of(b"[{},{}]"): ("here, byte 0", "a header entry a record at most"),
        chunk_of(b"[]"): ("here", "a header table"),
    }
    for chunk, (place, expected) in said.items():
        with pytest.raises(CorruptError) as caught:
            chunk.check("here")
        assert (caught.value.place, caught.value.expected) == (place, expected)
