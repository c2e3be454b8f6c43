"""Long tails are judged by pieces: nothing is missed where one ends and the next begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from transit.format.frame import (
    BODY_BYTES_MAX,
    DATA,
    FRAME_BYTES,
    FRAME_MAGIC,
    MARK,
    encode_frame,
)
from transit.log import recover
from transit.log.recover import REST_BYTES_MAX, SCAN_BYTES, SECTOR_BYTES, judge_tail
from transit.log.wal import Wal

from .frames import SEED, START, Made, with_tail

DURABLE = "frames that were durable once"
WHOLE = "a whole frame or a torn one"


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


# Zeros


@pytest.mark.parametrize("size", [SCAN_BYTES, SCAN_BYTES + 1, 2 * SCAN_BYTES, 3 * SCAN_BYTES + 5])
def test_zeros_of_several_pieces_are_clean(made: Made, size: int) -> None:
    assert made.frame().raw(bytes(size)).judged() is None


@pytest.mark.parametrize(
    "place", [SCAN_BYTES - 1, SCAN_BYTES, SCAN_BYTES + 1, 2 * SCAN_BYTES - 1, 2 * SCAN_BYTES]
)
def test_one_byte_in_any_piece_makes_a_tail_torn(made: Made, place: int) -> None:
    torn = len(made.frame().data)
    made.raw(bytes(place) + b"\1" + bytes(2 * SCAN_BYTES + 100 - place)).is_cut_at(torn)


# Later frames


GAPS = [0, 8, 16, 24, 32, 48, FRAME_BYTES, FRAME_BYTES + 8, -8, -16]


@pytest.mark.parametrize("pieces", [1, 2])
@pytest.mark.parametrize("gap", GAPS)
def test_a_later_frame_is_found_wherever_pieces_meet(made: Made, gap: int, pieces: int) -> None:
    torn = len(made.frame().data)
    made.raw(b"\0" * 7 + b"\1" + bytes(pieces * SCAN_BYTES - gap - 8)).frame(kind=MARK)
    found = torn + pieces * SCAN_BYTES - gap
    assert made.positions[-1] == found
    made.is_corrupt(torn, DURABLE, f"damage before byte {found}")
    # Also when the file goes on for pieces after it.
    made.raw(bytes(SCAN_BYTES)).is_corrupt(torn, DURABLE, f"damage before byte {found}")


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_frame_at_the_start_of_a_later_piece_is_judged_as_one_elsewhere(
    made: Made, pieces: int
) -> None:
    torn = len(made.frame().data)
    data = b"\0" * 7 + b"\1" + bytes(pieces * SCAN_BYTES - 8)
    position = torn + len(data)
    for durable, found in ((torn, False), (torn + 1, True), (torn + 8, True)):
        frame = encode_frame(b"", position, 1, durable, 0, DATA, 0, SEED)
        other = with_tail(made, data + frame)
        if found:
            other.is_corrupt(torn, DURABLE, f"damage before byte {position}")
        else:
            other.is_cut_at(torn)


@pytest.mark.parametrize("place", [SCAN_BYTES, SCAN_BYTES + 8, 2 * SCAN_BYTES])
def test_a_magic_that_begins_no_frame_hides_none_behind_it(made: Made, place: int) -> None:
    torn = len(made.frame().data)
    made.raw(b"\0" * 7 + b"\1" + bytes(place - 8) + FRAME_MAGIC + bytes(4) + bytes(800))
    made.frame(kind=MARK)
    made.is_corrupt(torn, DURABLE, f"damage before byte {made.positions[-1]}")


def test_a_magic_right_at_the_tail_is_not_a_later_frame(made: Made) -> None:
    torn = len(made.frame().data)
    made.frame(kind=MARK).flipped(len(made.data) - 1)
    # The mark itself lost its padding: it is the frame in question, and vouches for nothing.
    made.is_cut_at(torn)


# Holes


def large(made: Made, sectors: int) -> int:
    """A last frame from byte 1024 on, which fills this many sectors and a part of one."""
    made.to(1024).frame(bytes([9]) * (sectors * SECTOR_BYTES))
    return 1024


PER_PIECE = SCAN_BYTES // SECTOR_BYTES


@pytest.mark.parametrize(
    "sector", [1, PER_PIECE - 1, PER_PIECE, PER_PIECE + 1, 2 * PER_PIECE - 1, 2 * PER_PIECE + 3]
)
def test_a_missing_sector_is_seen_in_any_piece(made: Made, sector: int) -> None:
    at = large(made, 2 * PER_PIECE + 10)
    made.damaged(at + sector * SECTOR_BYTES, bytes(SECTOR_BYTES)).is_cut_at(at)


@pytest.mark.parametrize("sector", [PER_PIECE - 1, PER_PIECE, 2 * PER_PIECE])
def test_zeros_across_two_sectors_in_any_piece_are_damage(made: Made, sector: int) -> None:
    at = large(made, 2 * PER_PIECE + 10)
    middle = at + sector * SECTOR_BYTES - SECTOR_BYTES // 2
    made.damaged(middle, bytes(SECTOR_BYTES)).is_corrupt(at, WHOLE, "a damaged frame body")


# Limits


def test_a_tail_may_be_as_long_as_the_largest_frame() -> None:
    assert REST_BYTES_MAX > FRAME_BYTES + BODY_BYTES_MAX + 8
    assert REST_BYTES_MAX == 5 * 1024**3


@pytest.mark.parametrize(("size", "fits"), [(4096, True), (4097, False)])
def test_a_longer_tail_is_corrupt_before_it_is_read(
    made: Made, monkeypatch: pytest.MonkeyPatch, size: int, fits: bool
) -> None:
    # Reading 5 GiB takes too long for a test.
    monkeypatch.setattr(recover, "REST_BYTES_MAX", 4096)
    torn = len(made.frame().data)
    made.raw(bytes(size))
    if fits:
        assert made.judged() is None
    else:
        made.is_corrupt(torn, "the rest of one frame at most", f"{size} bytes")


class Shrunk:
    """A file that was cut by another process after its size was asked for."""

    def __init__(self, wal: Wal, more: int) -> None:
        self._file = wal.file
        self.path = wal.file.path
        self.size = wal.file.size + more
        self.reads = 0

    def read_at(self, position: int, size: int) -> bytes:
        """As `File`."""
        self.reads += 1
        assert self.reads < 100
        return self._file.read_at(position, size)


@pytest.mark.parametrize("rest", [b"", bytes(100)])
def test_a_file_that_was_cut_meanwhile_is_read_to_its_end(made: Made, rest: bytes) -> None:
    wal = made.frame().raw(rest).scanned()
    door = Shrunk(wal, 10 * SCAN_BYTES)
    wal.file = door  # type: ignore[assignment]
    assert judge_tail(wal) is None
    assert wal.tail == made.positions[0] + (len(made.data) - len(rest) - START)
