"""What a scan of a WAL takes, what it leaves, and how it reads."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from transit.errors import CorruptError
from transit.format.checksum import checksum
from transit.format.frame import (
    CHECKSUM,
    DATA,
    END,
    FRAME,
    FRAME_BYTES,
    FRAME_MAGIC,
    MARK,
    encode_frame,
)
from transit.format.names import wal_name
from transit.format.record import Columns, encode_chunk
from transit.log import recover
from transit.log.recover import SCAN_BYTES, look_ahead, scan
from transit.log.wal import READ_BYTES, Wal

from .frames import SEED, START, Made


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


# Scanning


def test_a_scan_gives_each_frame_and_moves_past_it(made: Made) -> None:
    made.frame(b"one").frame(b"two" * 400).frame(kind=MARK).frame(b"three").frame(kind=END)
    wal = made.open()
    seen = []
    for frame in scan(wal):
        seen.append(frame.header.position)
        assert wal.tail == frame.header.stop
        assert wal.recent == (frame.header.position, frame.chunks)
        assert wal.ended == (frame.header.kind == END)
    assert seen == made.positions
    assert (wal.next_lsn, wal.tail, wal.ended) == (3, len(made.data), True)


@pytest.mark.parametrize("kind", [DATA, END])
def test_a_scan_that_is_interrupted_before_it_gives_a_frame_has_not_moved(
    made: Made, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    made.frame(b"one").frame(kind=kind)
    wal = made.open()
    frames = scan(wal)
    next(frames)
    before = (wal.tail, wal.next_lsn, wal.ended)
    right = recover.ScannedFrame

    def interrupted(*values: object) -> None:
        right(*values)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(recover, "ScannedFrame", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(frames)
    assert (wal.tail, wal.next_lsn, wal.ended) == before
    assert [frame.header.kind for frame in scan(wal)] == [kind]


def test_a_scan_goes_on_where_the_last_one_stopped(made: Made) -> None:
    made.frame(b"one")
    wal = made.open()
    assert len(list(scan(wal))) == 1
    made.frame(b"two").frame(b"three")
    (made.path / wal_name(0)).write_bytes(made.data)
    assert [frame.chunks[0].payloads() for frame in scan(wal)] == [[b"two"], [b"three"]]
    assert list(scan(wal)) == []


@pytest.mark.parametrize("payload", [b"one", b"one" * READ_BYTES])
def test_a_scan_goes_on_from_bytes_that_were_read_ahead(made: Made, payload: bytes) -> None:
    made.frame(payload).frame(b"two").frame(kind=END)
    wal = made.open()
    ahead = look_ahead(wal)
    assert ahead == made.data[START : START + READ_BYTES]
    found = [each.payloads() for frame in scan(wal, ahead) for each in frame.chunks]
    assert found == [[payload], [b"two"]]
    assert look_ahead(wal) == b""


def test_a_file_that_ends_at_its_tail_did_not_stop_a_scan(made: Made) -> None:
    wal = made.frame(b"one").raw(b"torn").scanned()
    assert wal.stopped
    assert look_ahead(wal) == b"torn"
    # Another process cuts it.
    os.truncate(wal.path, wal.tail)
    assert look_ahead(wal) == b""
    assert not wal.stopped


def test_nothing_is_read_after_an_end_frame(made: Made) -> None:
    made.frame(kind=END).frame(b"after")
    wal = made.scanned()
    assert (wal.tail, wal.next_lsn, wal.ended) == (made.positions[1], 0, True)


@pytest.mark.parametrize(
    ("tail", "stopped"),
    [(b"", False), (bytes(100), False), (b"\1", True), (bytes(7) + b"\1", True),
     (bytes(8) + b"\1", False)],
)  # fmt: skip
def test_a_scan_says_whether_it_stopped_at_bytes_that_are_not_zeros(
    made: Made, tail: bytes, stopped: bool
) -> None:
    assert made.frame().raw(tail).scanned().stopped == stopped


def test_what_is_durable_is_what_frames_say_but_never_more_than_what_is_before_them(
    made: Made,
) -> None:
    wal = made.frame().frame(durable=2**63).open()
    assert wal.durable == 0
    list(scan(wal))
    assert wal.durable == made.positions[1]
    # A later frame that knows less takes nothing back.
    made.frame(durable=START)
    assert made.scanned().durable == made.positions[1]
    made.frame(durable=made.positions[2])
    assert made.scanned().durable == made.positions[2]


def test_a_mark_says_that_all_before_it_is_durable(made: Made) -> None:
    assert made.frame().frame(kind=MARK).scanned().durable == made.positions[1]


@pytest.mark.parametrize("durable", [0, START])
def test_an_end_says_no_more_than_its_durable(made: Made, durable: int) -> None:
    made.frame(durable=0).frame(kind=END, durable=durable)
    assert made.scanned().durable == durable


def test_an_end_that_was_written_after_a_sync_says_that_all_before_it_is_durable(
    made: Made,
) -> None:
    made.frame()
    assert made.frame(kind=END, durable=len(made.data)).scanned().durable == made.positions[1]


@pytest.mark.parametrize("lsn", [0, 2])
def test_a_frame_that_repeats_or_skips_a_number_is_corrupt(made: Made, lsn: int) -> None:
    made.frame().frame(lsn=lsn)
    with pytest.raises(CorruptError, match=f"expected LSN 1, found {lsn}") as caught:
        made.scanned()
    assert caught.value.place.endswith(f"frame at {made.positions[1]}")


def test_a_frame_whose_columns_are_impossible_is_corrupt_though_its_checksums_fit(
    made: Made,
) -> None:
    columns = Columns([b"a", b"b"], 1, [0, 100], None)
    body = bytearray(b"".join(encode_chunk(7, 0, columns)))
    body[24:32] = struct.pack("<q", 2**63 - 50)
    data = encode_frame(bytes(body), START, 0, START, 2, DATA, 0, SEED)
    with pytest.raises(CorruptError, match="timestamps") as caught:
        made.raw(data).scanned()
    assert f"frame at {START}" in caught.value.place


# How it reads


class Reads:
    """A door in front of a WAL's file that counts what is read through it."""

    def __init__(self, wal: Wal) -> None:
        self._file = wal.file
        self.asked: list[tuple[int, int]] = []
        self.path = wal.file.path

    @property
    def size(self) -> int:
        """As `File`."""
        return self._file.size

    def read_at(self, position: int, size: int) -> bytes:
        """As `File`."""
        self.asked.append((position, size))
        return self._file.read_at(position, size)


def reads_of(wal: Wal) -> list[tuple[int, int]]:
    door = Reads(wal)
    wal.file = door  # type: ignore[assignment]
    list(scan(wal))
    return door.asked


def test_little_is_read_where_there_is_nothing_new(made: Made) -> None:
    assert reads_of(made.open()) == [(START, READ_BYTES)]


def test_a_stretch_takes_little_memory_and_holds_many_frames() -> None:
    assert (READ_BYTES, SCAN_BYTES) == (4 * 1024, 1024 * 1024)


def test_many_small_frames_are_read_in_large_stretches(made: Made) -> None:
    for _ in range(400):
        made.frame()
    asked = reads_of(made.open())
    assert asked[0] == (START, READ_BYTES)
    # Then from the first frame that does not lie in those bytes, and once more at the end.
    second, last = asked[1:]
    assert second[0] in made.positions
    assert START < second[0] <= START + READ_BYTES < second[0] + 136
    assert second[1] == SCAN_BYTES
    assert last == (len(made.data), SCAN_BYTES)


def test_a_frame_larger_than_a_stretch_is_read_as_a_whole_once(made: Made) -> None:
    made.frame(b"x" * (SCAN_BYTES + 100_000)).frame(b"next")
    asked = reads_of(made.open())
    stop = made.positions[1]
    assert asked == [
        (START, READ_BYTES),
        (START, stop - START),
        (stop, SCAN_BYTES),
        (len(made.data), SCAN_BYTES),
    ]


def test_a_frame_that_ends_with_the_bytes_read_is_not_read_again(made: Made) -> None:
    made.to(START + READ_BYTES)
    assert len(made.data) == START + READ_BYTES
    assert reads_of(made.open()) == [(START, READ_BYTES), (START + READ_BYTES, SCAN_BYTES)]


def test_a_header_that_ends_with_the_bytes_read_is_not_read_again(made: Made) -> None:
    made.to(START + READ_BYTES - FRAME_BYTES).frame(kind=MARK)
    asked = reads_of(made.open())
    # The mark's padding is beyond them, so that the mark is read again, but not before that.
    assert asked[1] == (made.positions[1], SCAN_BYTES)
    assert len(asked) == 3
    assert made.scanned().tail == len(made.data)


def test_a_size_beyond_the_file_is_not_believed(made: Made) -> None:
    head = FRAME.pack(FRAME_MAGIC, 2**32 - 16, START, 0, START, 1, DATA, 0, 0)
    made.raw(head + CHECKSUM.pack(checksum(head, SEED)) + b"some")
    asked = reads_of(made.open())
    assert asked == [(START, READ_BYTES)]
    assert made.scanned().tail == START


@pytest.mark.parametrize("missing", [1, 8, 9])
def test_a_frame_that_lacks_its_last_bytes_is_none(made: Made, missing: int) -> None:
    made.frame().frame(b"x" * 30_000)
    made.data = made.data[:-missing]
    wal = made.scanned()
    assert (wal.tail, wal.stopped) == (made.positions[1], True)


def test_a_time_that_goes_back_within_a_file_is_corrupt(made: Made) -> None:
    made.frame(b"one", written=70).frame(b"two", written=70).frame(b"three", written=69)
    frames = scan(made.open())
    assert [next(frames).header.written for _ in range(2)] == [70, 70]
    with pytest.raises(CorruptError, match="a time from 70 on, found 69"):
        next(frames)
