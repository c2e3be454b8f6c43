"""What the frames behind a place in a WAL file say of what was durable, wherever pieces meet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from transit.disk import File
from transit.format.frame import DATA, END, FRAME_BYTES, FRAME_MAGIC, MARK, encode_frame
from transit.log import stated
from transit.log.stated import pieces, stated_beyond

SEED = 77
PIECE = 256


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[File]:
    """An empty file that is read by small pieces."""
    monkeypatch.setattr(stated, "PIECE_BYTES", PIECE)
    with File.create(str(tmp_path / "file")) as made:
        yield made


def put(file: File, position: int, durable: int, kind: int = DATA, at: int | None = None) -> None:
    """A frame's header that says to be at `position`."""
    frame = encode_frame(b"", position, 1, durable, 0, kind, 0, SEED)
    file.write_at(position if at is None else at, frame)


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 9])
@pytest.mark.parametrize("overlap", [0, 1, FRAME_BYTES])
@pytest.mark.parametrize("start", [0, 5])
def test_pieces_are_all_the_bytes_and_each_begins_with_the_end_of_the_last(
    file: File, size: int, overlap: int, start: int
) -> None:
    data = bytes(number % 251 for number in range(size))
    file.write_at(0, data)
    found = list(pieces(file, start, size, overlap))
    assert [at for at, _ in found] == list(range(start, size, PIECE))
    assert all(piece == data[at : at + PIECE + overlap] for at, piece in found)


def test_pieces_end_where_they_are_told_to_and_where_the_file_does(file: File) -> None:
    file.write_at(0, bytes(PIECE))
    assert [len(piece) for _, piece in pieces(file, 0, PIECE - 6, 0)] == [PIECE - 6]
    assert [len(piece) for _, piece in pieces(file, 0, 100 * PIECE, 0)] == [PIECE]


@pytest.mark.parametrize("place", range(0, 3 * PIECE, 8))
def test_a_frame_is_found_wherever_it_lies(file: File, place: int) -> None:
    file.write_at(3 * PIECE + FRAME_BYTES, b"\1")
    put(file, place, 8)
    found = stated_beyond(file, SEED, 0)
    # What is at the place itself is not behind it.
    assert found == (place or None)


@pytest.mark.parametrize("position", [0, 64, 128, PIECE, PIECE + 64])
def test_only_a_frame_that_says_more_than_the_place_was_durable_counts(
    file: File, position: int
) -> None:
    for durable, kind, counts in (
        (0, DATA, False), (position, DATA, False), (position + 1, DATA, True),
        (position + 8, DATA, True), (0, MARK, True), (0, END, False), (position, END, False),
        (position + 8, END, True),
    ):  # fmt: skip
        file.truncate(0)
        put(file, position + 64, durable, kind)
        assert stated_beyond(file, SEED, position) == (position + 64 if counts else None)


def test_the_first_of_several_is_named_and_those_that_say_nothing_are_passed_over(
    file: File,
) -> None:
    put(file, 64, 8, MARK)
    put(file, 128, 0)
    put(file, 3 * PIECE, 100)
    put(file, 4 * PIECE, 200)
    assert stated_beyond(file, SEED, 64) == 3 * PIECE
    assert stated_beyond(file, SEED, 150) == 4 * PIECE
    assert stated_beyond(file, SEED, 4 * PIECE) is None


def test_what_only_looks_like_a_frame_says_nothing(file: File) -> None:
    # Where no frame can be, of another file, of another place, damaged, and the magic alone.
    put(file, 100, 50, MARK)
    put(file, 192, 50, MARK, at=256)
    frame = bytearray(encode_frame(b"", 384, 1, 50, 0, MARK, 0, SEED))
    frame[20] ^= 1
    file.write_at(384, bytes(frame))
    file.write_at(512, encode_frame(b"", 512, 1, 50, 0, MARK, 0, SEED + 1))
    file.write_at(640, FRAME_MAGIC * 40)
    assert stated_beyond(file, SEED, 0) is None
    # And hides none that is right behind it.
    put(file, 640 + 16, 50, MARK)
    assert stated_beyond(file, SEED, 0) == 640 + 16
