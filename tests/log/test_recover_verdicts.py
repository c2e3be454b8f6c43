"""What is made of the bytes after a WAL's last frame: each row of the table of verdicts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from transit.errors import CorruptError
from transit.format.frame import DATA, END, FRAME_BYTES, FRAME_MAGIC, MARK, encode_frame
from transit.format.names import wal_name
from transit.format.record import CHUNK
from transit.log.blocks import BlockCache
from transit.log.recover import (
    LOOK_AGAIN_S,
    REST_BYTES_MAX,
    SCAN_BYTES,
    SECTOR_BYTES,
    Cut,
    judge_end,
    judge_live,
    scan,
    vouches,
)
from transit.log.wal import Wal

from .frames import SEED, START, Made, with_tail


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


# Clean, torn


@pytest.mark.parametrize("rest", [b"", bytes(1), bytes(8), bytes(5000)])
def test_zeros_after_the_last_frame_are_clean(made: Made, rest: bytes) -> None:
    assert with_tail(made.frame(), rest).judged() is None
    assert with_tail(made.frame(kind=END), rest).judged() is None


@pytest.mark.parametrize("zeros", [0, 1, 8, 4000])
def test_bytes_that_are_no_frame_are_cut_from_the_last_frame_on(made: Made, zeros: int) -> None:
    made.frame().raw(bytes(zeros) + b"garbage\1")
    made.is_cut_at(made.data.rindex(b"\0garbage") - zeros + 1 if zeros else len(made.data) - 8)


def test_what_was_cut_cannot_be_changed_afterwards(made: Made) -> None:
    cut = made.frame().raw(b"torn").judged()
    assert cut is not None
    with pytest.raises(AttributeError):
        cut.bytes = 0  # type: ignore[misc]


def test_bytes_after_an_end_frame_are_corrupt(made: Made) -> None:
    stop = len(made.frame().frame(kind=END).data)
    made.raw(bytes(8) + b"\1" * 100).is_corrupt(stop, "nothing after the end frame", "more bytes")


# A later frame that says that the place was durable


DURABLE = "frames that were durable once"


def test_damage_before_a_frame_that_says_it_was_durable_is_corrupt(made: Made) -> None:
    made.frame().frame(b"damaged")
    made.frame(durable=made.positions[1] + 8)
    made.damaged(made.positions[1], bytes(4))
    made.is_corrupt(made.positions[1], DURABLE, f"damage before byte {made.positions[2]}")


def test_damage_where_a_later_frame_says_only_that_what_is_before_was_durable_is_cut(
    made: Made,
) -> None:
    made.frame().frame(b"damaged")
    made.frame(durable=made.positions[1])
    made.damaged(made.positions[1], bytes(16)).is_cut_at(made.positions[1])


def test_damage_before_a_mark_is_corrupt_whatever_that_says(made: Made) -> None:
    made.frame().frame(b"damaged").frame(kind=MARK, durable=START)
    made.damaged(made.positions[1], bytes(16))
    made.is_corrupt(made.positions[1], DURABLE, f"damage before byte {made.positions[2]}")


def test_missing_bytes_before_an_end_are_damage_only_if_that_says_that_they_were_durable(
    made: Made,
) -> None:
    made.frame().frame(b"missing").frame(kind=END, durable=made.positions[1])
    made.damaged(made.positions[1], bytes(16))
    made.is_cut_at(made.positions[1])
    made.frame(kind=END, durable=made.positions[2])
    made.is_corrupt(made.positions[1], DURABLE, f"damage before byte {made.positions[3]}")


def test_the_first_later_frame_that_says_so_is_named(made: Made) -> None:
    made.frame().frame(b"damaged").frame(b"knows nothing")
    made.frame(durable=made.positions[2]).frame(kind=MARK)
    made.damaged(made.positions[1], bytes(16))
    made.is_corrupt(made.positions[1], DURABLE, f"damage before byte {made.positions[3]}")


def test_a_later_frame_is_found_behind_magics_that_begin_none(made: Made) -> None:
    made.frame().frame(FRAME_MAGIC * 40).raw(FRAME_MAGIC * 2).raw(FRAME_MAGIC * 2)
    made.frame(kind=MARK).damaged(made.positions[1], bytes(16))
    made.is_corrupt(made.positions[1], DURABLE, f"damage before byte {made.positions[2]}")


def test_a_copy_of_a_frame_in_another_place_vouches_for_nothing(made: Made) -> None:
    made.frame()
    mark = encode_frame(b"", len(made.data) + 800, 1, START, 0, MARK, 0, SEED)
    torn = len(made.data)
    made.raw(bytes(16) + mark + bytes(40)).is_cut_at(torn)


def test_a_frame_at_no_multiple_of_8_vouches_for_nothing(made: Made) -> None:
    torn = len(made.frame().data)
    for place in range(1, 8):
        data = bytes(16 + place)
        mark = encode_frame(b"", torn + len(data), 1, START, 0, MARK, 0, SEED)
        with_tail(made, data + mark).is_cut_at(torn)


def test_a_frame_one_step_after_the_place_vouches_for_it(made: Made) -> None:
    torn = len(made.frame().data)
    made.raw(b"\0\1\0\0\0\0\0\0").frame(kind=MARK)
    made.is_corrupt(torn, DURABLE, f"damage before byte {torn + 8}")


# Rotten: whole once, and damaged


WHOLE = "a whole frame or a torn one"


def last_frame(made: Made, size: int = 40, at: int = 1024) -> int:
    """A last frame at byte `at` of the file with a payload of `size` bytes; where it starts."""
    made.to(at).frame(bytes([9]) * size)
    return at


@pytest.mark.parametrize("place", [*range(4), *range(16, 55)])
def test_a_flipped_bit_of_the_last_header_is_corrupt(made: Made, place: int) -> None:
    at = last_frame(made)
    made.flipped(at + place).is_corrupt(at, WHOLE, "a damaged frame header")


@pytest.mark.parametrize("place", range(8, 16))
def test_a_flipped_bit_of_the_last_position_is_corrupt_by_its_magic(made: Made, place: int) -> None:
    at = last_frame(made)
    made.flipped(at + place).is_corrupt(at, WHOLE, "a damaged frame header")


def test_a_header_with_neither_its_magic_nor_its_position_is_torn(made: Made) -> None:
    at = last_frame(made)
    made.flipped(at).flipped(at + 8).is_cut_at(at)


@pytest.mark.parametrize("byte", [b"\x01", b"\x80", b"\xff"])
def test_bytes_that_never_were_a_header_are_torn(made: Made, byte: bytes) -> None:
    at = last_frame(made)
    made.damaged(at, byte * FRAME_BYTES).is_cut_at(at)


def test_a_header_whose_last_byte_is_zero_is_torn(made: Made) -> None:
    at = last_frame(made)
    made.flipped(at + 20).damaged(at + FRAME_BYTES - 1, b"\0").is_cut_at(at)


@pytest.mark.parametrize("size", [1, FRAME_BYTES - 1])
def test_a_file_that_ends_in_a_header_is_torn(made: Made, size: int) -> None:
    at = last_frame(made)
    made.data = made.data[: at + size]
    made.is_cut_at(at)


def test_a_file_that_ends_with_a_header_is_judged_by_it(made: Made) -> None:
    at = last_frame(made)
    made.data = made.data[: at + FRAME_BYTES]
    made.is_cut_at(at)
    made.damaged(at + FRAME_BYTES - 1, b"\1").flipped(at + 20)
    made.is_corrupt(at, WHOLE, "a damaged frame header")


@pytest.mark.parametrize("gap", [8, 16, 24, 48])
def test_a_header_of_which_the_first_sectors_part_is_missing_is_torn(made: Made, gap: int) -> None:
    at = last_frame(made, at=1024 - gap)
    made.damaged(at, bytes(gap)).is_cut_at(at)


@pytest.mark.parametrize("gap", [16, 24, 48])
def test_a_header_in_two_sectors_with_something_in_the_first_is_corrupt(
    made: Made, gap: int
) -> None:
    at = last_frame(made, at=1024 - gap)
    made.damaged(at, bytes(8)).is_corrupt(at, WHOLE, "a damaged frame header")


def test_a_header_at_the_start_of_a_sector_lies_in_one(made: Made) -> None:
    at = last_frame(made, at=1024)
    made.damaged(at, bytes(8)).is_corrupt(at, WHOLE, "a damaged frame header")


@pytest.mark.parametrize("place", [0, 20, 47, 60])
def test_a_flipped_bit_of_the_last_body_is_corrupt(made: Made, place: int) -> None:
    at = last_frame(made)
    made.flipped(at + FRAME_BYTES + place).is_corrupt(at, WHOLE, "a damaged frame body")


@pytest.mark.parametrize("size", [0, 1, 5, 7])
def test_damaged_padding_is_torn(made: Made, size: int) -> None:
    at = last_frame(made, size)
    assert made.data.endswith(b"\xa5")
    for byte in (b"\0", b"\xa4", b"\xa6"):
        with_tail(made, b"").damaged(len(made.data) - 1, byte).is_cut_at(at)


def test_a_body_the_file_ends_in_is_torn(made: Made) -> None:
    at = last_frame(made)
    made.data = made.data[:-1]
    made.is_cut_at(at)


@pytest.mark.parametrize("rest", [b"\1" * 600, bytes(8), bytes(600), bytes(SCAN_BYTES + 5000)])
def test_a_damaged_body_before_more_bytes_is_corrupt(made: Made, rest: bytes) -> None:
    # Zeros are the space that was reserved for later frames: no part of this one is missing.
    at = last_frame(made)
    made.flipped(at + FRAME_BYTES).raw(rest).is_corrupt(at, WHOLE, "a damaged frame body")


@pytest.mark.parametrize("sector", range(3))
@pytest.mark.parametrize("at", [1024, 1032, 1064, 1528])
def test_a_body_without_one_whole_sector_is_torn(made: Made, at: int, sector: int) -> None:
    last_frame(made, 2500, at)
    # The first whole sector behind the header, whatever part of a sector that begins with.
    first = -(-(at + FRAME_BYTES) // SECTOR_BYTES) * SECTOR_BYTES
    made.damaged(first + sector * SECTOR_BYTES, bytes(SECTOR_BYTES)).is_cut_at(at)


@pytest.mark.parametrize("at", [1024, 1064])
def test_zeros_that_are_no_whole_sector_are_damage(made: Made, at: int) -> None:
    last_frame(made, 2500, at)
    # As long as a sector and one byte beside it; nearly a whole one; the rest behind the last.
    sector = 2048
    for start, size in ((sector + 1, SECTOR_BYTES), (sector, SECTOR_BYTES - 1)):
        other = with_tail(made, b"").damaged(start, bytes(size))
        other.is_corrupt(at, WHOLE, "a damaged frame body")


def test_the_last_whole_sector_of_a_frame_may_be_missing(made: Made) -> None:
    at = 1024
    # Its last byte is the last of a sector, so that the padding is missing with it or not at all.
    size = 4 * SECTOR_BYTES - FRAME_BYTES - CHUNK.size - 1
    last_frame(made, size, at)
    assert len(made.data) == at + 4 * SECTOR_BYTES
    made.damaged(at + 2 * SECTOR_BYTES, bytes(SECTOR_BYTES)).is_cut_at(at)


def test_a_part_of_a_sector_at_a_frames_end_is_no_whole_one(made: Made) -> None:
    at = 1024
    size = 2 * SECTOR_BYTES + 100 - FRAME_BYTES - CHUNK.size
    last_frame(made, size, at)
    made.damaged(at + 2 * SECTOR_BYTES, bytes(100)).is_corrupt(at, WHOLE, "a damaged frame body")


# Beside a living writer


class Looks:
    """What a reader finds when it reads on: each time the next of some steps."""

    def __init__(self, wal: Wal, *steps: Callable[[Wal], object]) -> None:
        self.wal = wal
        self.steps = list(steps)
        self.count = 0

    def __call__(self) -> None:
        self.count += 1
        if self.steps:
            self.steps.pop(0)(self.wal)


def rotten(made: Made) -> Wal:
    at = last_frame(made)
    made.flipped(at + FRAME_BYTES)
    return made.scanned()


def nothing(wal: Wal) -> None:
    """Nothing has changed."""


def test_what_stays_as_it_is_is_judged_after_several_looks(made: Made) -> None:
    looks = Looks(rotten(made))
    with pytest.raises(CorruptError, match="a damaged frame body"):
        judge_live(looks.wal, looks)
    assert looks.count == len(LOOK_AGAIN_S)


def test_what_is_clean_or_torn_is_said_at_once(made: Made) -> None:
    looks = Looks(made.frame().scanned())
    assert judge_live(looks.wal, looks) is None
    at = len(made.data)
    looks = Looks(made.raw(b"torn").scanned())
    assert judge_live(looks.wal, looks) == Cut(looks.wal.path, at, 4)
    assert looks.count == 0


@pytest.mark.parametrize("looks_before", [0, 2])
def test_a_frame_that_is_whole_at_another_look_is_no_damage(made: Made, looks_before: int) -> None:
    wal = rotten(made)

    def finish(wal: Wal) -> None:
        (made.path / wal_name(0)).write_bytes(made.flipped(made.positions[-1] + FRAME_BYTES).data)
        list(scan(wal))

    looks = Looks(wal, *[nothing] * looks_before, finish)
    assert judge_live(wal, looks) is None
    assert looks.count == looks_before + 1
    assert wal.tail == len(made.data)


def test_bytes_after_the_end_of_a_file_are_damage_after_several_looks_too(made: Made) -> None:
    looks = Looks(made.frame(kind=END).raw(b"more").scanned())
    with pytest.raises(CorruptError, match="nothing after the end frame"):
        judge_live(looks.wal, looks)
    assert looks.count == len(LOOK_AGAIN_S)


def test_a_tail_that_turns_out_to_be_torn_is_said_to_be(made: Made) -> None:
    wal = rotten(made)
    at = wal.tail

    def tear(wal: Wal) -> None:
        (made.path / wal_name(0)).write_bytes(made.data[:-1])

    looks = Looks(wal, nothing, tear)
    assert judge_live(wal, looks) == Cut(wal.path, at, len(made.data) - 1 - at)
    assert looks.count == 2


def test_looks_are_further_and_further_apart(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    wal = rotten(made)
    with pytest.raises(CorruptError):
        judge_live(wal, lambda: None)
    assert slept == list(LOOK_AGAIN_S)
    assert all(4 * before == after for before, after in pairwise(slept))


# A file that is not the last one


def test_a_file_that_did_not_end_is_corrupt_only_if_a_later_one_says_that_it_was_durable(
    made: Made,
) -> None:
    wal = made.frame().scanned()
    judge_end(wal, "")
    with pytest.raises(CorruptError, match=r"because later\.wal says that all were") as caught:
        judge_end(wal, "later.wal")
    assert caught.value.place == f"{made.path / wal_name(0)}, byte {len(made.data)}"
    assert caught.value.found == "bytes that are no valid frame"
    judge_end(made.frame(kind=END).scanned(), "later.wal")


def test_a_later_file_vouches_by_its_header_for_the_files_that_were_durable_when_it_was_made(
    tmp_path: Path,
) -> None:
    wal = Wal.create(str(tmp_path), bytes(16), 9, 5, BlockCache(0))
    assert [vouches(wal, first_lsn) for first_lsn in (0, 4, 5, 8)] == [True, True, False, False]


@pytest.mark.parametrize(
    ("durable", "kind", "said"),
    [(0, DATA, False), (0, END, False), (64, DATA, True), (0, MARK, True)],
)
def test_a_later_file_vouches_for_all_before_it_by_a_frame_that_says_that_it_is_durable(
    tmp_path: Path, durable: int, kind: int, said: bool
) -> None:
    wal = Wal.create(str(tmp_path), bytes(16), 9, 5, BlockCache(0))
    # Also behind bytes that are no frame: what it says was true when it was written.
    wal.file.write_at(1024, encode_frame(b"", 1024, 9, durable, 0, kind, 0, wal.seed))
    assert vouches(wal, 8) == said


def test_a_later_file_that_is_too_large_to_be_searched_is_corrupt(tmp_path: Path) -> None:
    wal = Wal.create(str(tmp_path), bytes(16), 9, 5, BlockCache(0))
    wal.file.truncate(REST_BYTES_MAX + 1)
    with pytest.raises(CorruptError, match=f"one of {REST_BYTES_MAX + 1} bytes"):
        vouches(wal, 8)
