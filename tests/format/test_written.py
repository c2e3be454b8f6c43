"""When the records of a chunk were written, and by whom: every width, every cut, every lie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import CorruptError, InvalidInputError
from transit.format.record import CHUNK, Chunk, Columns, chunks_of, encode_chunk
from transit.format.written import OWN, SAME, WRITER, WRITER_BYTES_MAX

INT64 = st.integers(-(2**63), 2**63 - 1)


def encode(written: int | list[int] | None, times: int | list[int] = 5, writer: str = "") -> bytes:
    count = max(len(each) for each in (written, times, [0]) if isinstance(each, list))
    columns = Columns([b"x"] * count, 1, times, None, written, writer)
    return b"".join(encode_chunk(1, 0, columns))


def only(data: bytes) -> Chunk:
    (chunk,) = chunks_of(data, "here")
    chunk.check("here")
    return chunk


@given(st.lists(st.tuples(INT64, INT64), min_size=1), st.text(max_size=20))
def test_times_of_writing_and_the_writer_come_back(
    pairs: list[tuple[int, int]], writer: str
) -> None:
    written = sorted(pair[0] for pair in pairs)
    times = [pair[1] for pair in pairs]
    chunk = only(encode(written, times, writer))
    assert list(chunk.written) == written == [chunk.written_at(n) for n in range(len(pairs))]
    assert list(chunk.timestamps) == times
    assert (chunk.last_written, chunk.writer, chunk.dated) == (written[-1], writer, True)


@pytest.mark.parametrize("step", [0, 1, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**62])
def test_a_column_is_as_narrow_as_its_steps_allow(step: int) -> None:
    data = encode([7, 7 + step, 7 + step], [1, 2, 3])
    width = next(w for w in (0, 1, 2, 4, 8) if step < 1 << 8 * w)
    assert data[23] == OWN
    assert len(data) == CHUNK.size + 2 + 9 + 2 * width + 3
    assert list(only(data).written) == [7, 7 + step, 7 + step]


@pytest.mark.parametrize("times", [9, [9, 10, 400], [9, 2**40, 2**62]])
def test_times_of_writing_that_are_the_timestamps_take_no_byte(times: int | list[int]) -> None:
    assert len(encode(times, times)) == len(encode(None, times))
    assert encode(times, times)[23] == SAME
    assert list(only(encode(times, times)).written) == ([9] if times == 9 else times)


def test_a_chunk_of_a_frame_takes_its_time_from_the_frame_and_no_other_does() -> None:
    chunk = only(encode(None, [1, 2]))
    assert not chunk.dated
    chunk.date(77, "here")
    assert (list(chunk.written), chunk.last_written) == ([77, 77], 77)
    for data in (encode([1, 2], [1, 2]), encode(3, [1, 2])):
        with pytest.raises(CorruptError, match="expected a chunk of a frame"):
            only(data).date(77, "here")


@pytest.mark.parametrize("times", [[5, 5, 5], [5, 5, 6], [5, 5, 2**40], [5, 2**40, 2**40]])
def test_times_of_writing_may_be_equal(times: list[int]) -> None:
    assert list(only(encode(times, times)).written) == times


@pytest.mark.parametrize(("written", "writer"), [(3, ""), (None, "w"), (3, "w" * 255)])
def test_a_chunk_may_end_with_when_it_was_written_and_by_whom(
    written: int | None, writer: str
) -> None:
    data = b"".join(encode_chunk(1, 0, Columns([b""], 0, 5, None, written, writer)))
    assert len(data) == CHUNK.size + 9 * (written is not None) + (len(writer) + 1) * bool(writer)
    chunk = only(data)
    if written is None:
        chunk.date(3, "here")
    assert (chunk.written_at(0), chunk.writer) == (3, writer)


WIDE_AND_BACK = [[5, 2**40, 2**39], [5, -(2**62), 9], [5, 4, 2**40]]


@pytest.mark.parametrize(
    "times", [[5, 4], [5, 4 - 2**9], [5, -(2**20)], [5, -(2**62)], [5, 9, 8], *WIDE_AND_BACK]
)
def test_timestamps_that_go_back_are_no_times_of_writing(times: list[int]) -> None:
    data = bytearray(encode(None, times))
    data[23] = SAME
    with pytest.raises(CorruptError, match="times of writing that go on"):
        only(bytes(data))


def test_times_of_writing_have_64_bits() -> None:
    data = bytearray(encode([5, 6], [1, 2]))
    data[CHUNK.size : CHUNK.size + 8] = (2**63 - 1).to_bytes(8, "little")
    with pytest.raises(CorruptError, match="times of writing that go on"):
        only(bytes(data))


@pytest.mark.parametrize("flags", [3, 7, 8, 16, 32, 64, 128, 255])
def test_flags_that_are_not_known_are_refused(flags: int) -> None:
    data = bytearray(encode(None, [1, 2]) + bytes(300))
    data[23] = flags
    with pytest.raises(CorruptError):
        Chunk(bytes(data), 0, "here")


@pytest.mark.parametrize("width", [3, 5, 9, 255])
def test_an_unknown_width_is_refused(width: int) -> None:
    data = bytearray(encode([5, 6], [1, 2]) + bytes(600))
    data[CHUNK.size + 8] = width
    with pytest.raises(CorruptError):
        Chunk(bytes(data), 0, "here")


def test_every_truncation_is_refused(cuts) -> None:
    for data in filter(None, cuts(encode([5, 6], [1, 2], "tökken"))):
        with pytest.raises(CorruptError):
            only(data)


def test_a_writers_name_has_1_to_255_bytes_of_text() -> None:
    name = "é" * 127 + "e"
    assert only(encode(None, [1], name)).writer == name
    assert encode(None, [1], "w")[23] == WRITER
    for wrong in ("w" * (WRITER_BYTES_MAX + 1), "\ud800"):
        with pytest.raises(InvalidInputError, match="a writer's name"):
            encode(None, [1], wrong)
    data = bytearray(encode(None, [1], "ab"))
    for place, value in ((CHUNK.size, 0), (CHUNK.size + 1, 0xFF)):
        bad = bytearray(data)
        bad[place] = value
        with pytest.raises(CorruptError, match="and by whom"):
            Chunk(bytes(bad), 0, "here")
