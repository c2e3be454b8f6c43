"""One WAL file by itself: what is appended is found by row, by offset and by position."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit.disk import File
from transit.errors import CorruptError
from transit.format.frame import DATA, END, MARK, WAL_HEADER, encode_wal_header
from transit.format.names import wal_name
from transit.format.record import Chunk, Columns, encode_chunk, measure
from transit.log import wal as module
from transit.log.blocks import BlockCache
from transit.log.wal import ALLOCATE_BYTES, CACHED_CHUNKS, READ_BYTES, SLAB_BYTES, Wal

STORE = bytes(range(1, 17))
Part = tuple[int, int, list[bytes]]
"""Some records of a stream in one frame: the stream, the first offset, the payloads."""

ONE, TWO, MANY = 11, 12, 100


def small(stream: int, first: int, count: int = 1) -> Part:
    return stream, first, [b"%d/%d" % (stream, offset) for offset in range(first, first + count)]


def large(stream: int, first: int, size: int) -> Part:
    return stream, first, [bytes([first + 1]) * size]


# Frames of one record in a row, of several, of more bytes than are read at first, and of more
# streams than are taken up once.
FRAMES: list[list[Part]] = [
    [small(ONE, 0)],
    [small(ONE, 1)],
    [small(TWO, 5)],
    [small(ONE, 2)],
    [small(ONE, 3, 3)],
    [small(ONE, 6)],
    [small(ONE, 7), small(TWO, 6)],
    [small(ONE, 8)],
    [large(ONE, 9, READ_BYTES + 1000)],
    [small(ONE, 10)],
    [large(ONE, 11, SLAB_BYTES + 1000)],
    [small(ONE, 12)],
    [small(stream, 0) for stream in range(MANY, MANY + CACHED_CHUNKS + 3)],
    [small(ONE, 13)],
    [small(ONE, 14)],
    [small(TWO, 7)],
]


def append(wal: Wal, parts: list[Part], written: int = 0) -> int:
    """One frame of these parts; where it is."""
    encoded: list[bytes] = []
    for stream, first, payloads in parts:
        columns = Columns(payloads, measure(payloads), 5, None)
        encoded += encode_chunk(stream, first, columns)
    position = wal.append(encoded, sum(len(payloads) for _, _, payloads in parts), written)
    wal.note_all([(stream, first) for stream, first, _ in parts], position)
    return position


def made(folder: Path, cache_bytes: int = 0) -> Wal:
    return Wal.create(str(folder), STORE, 7, 7, BlockCache(cache_bytes))


@pytest.fixture(params=[0, 64 * 1024 * 1024], ids=["without a cache", "cached"])
def wal(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Wal]:
    found = made(tmp_path, request.param)
    for parts in FRAMES:
        append(found, parts)
    yield found
    found.file.close()


def parts_of(stream: int) -> list[Part]:
    return [part for parts in FRAMES for part in parts if part[0] == stream]


def part_of(chunk: Chunk) -> Part:
    return chunk.stream, chunk.first, list(chunk.payloads())


STREAMS = sorted({stream for parts in FRAMES for stream, _, _ in parts})


# Reading


def test_each_row_is_what_was_appended(wal: Wal) -> None:
    for _ in range(2):
        for stream in STREAMS:
            found = [part_of(wal.chunk(stream, row)) for row in range(len(parts_of(stream)))]
            assert found == parts_of(stream)


def test_reading_on_from_any_row_gives_all_that_follows_once(wal: Wal) -> None:
    for stream in STREAMS:
        parts = parts_of(stream)
        for row, (_, first, _) in enumerate(parts):
            wanted = [payload for part in parts[row:] for payload in part[2]]
            for _ in range(2):
                found: list[bytes] = []
                for chunk in wal.chunks(stream, row):
                    assert (chunk.stream, chunk.first) == (stream, first + len(found))
                    found += chunk.payloads()
                assert found == wanted


def test_every_offset_is_found_in_the_row_that_holds_it(wal: Wal) -> None:
    for stream in STREAMS:
        parts = parts_of(stream)
        for row, (_, first, payloads) in enumerate(parts):
            for offset in range(first, first + len(payloads)):
                assert wal.row_of(stream, offset) == row
        assert wal.row_of(stream, parts[0][1] - 1) == -1
    assert wal.row_of(ONE + 1000, 0) == -1


def test_a_frame_is_read_whole_however_large_it_is(wal: Wal) -> None:
    for position in wal.index[ONE].positions:
        header, data = wal.frame_at(position)
        assert header.position == position
        assert len(data) >= header.stop - position


def test_a_frame_at_a_place_where_none_begins_is_told_by_its_place(wal: Wal) -> None:
    position = wal.index[ONE].positions[1]
    with pytest.raises(CorruptError) as caught:
        wal.frame_at(position + 8)
    assert caught.value.place == f"{wal.path}, byte {position + 8}"


@pytest.mark.parametrize("row", [0, 3, 8])
def test_damage_in_a_frame_is_told_by_its_place_when_the_frame_is_read(wal: Wal, row: int) -> None:
    position = wal.index[ONE].positions[row]
    header, data = wal.frame_at(position)
    last = header.stop - position - 16
    wal.file.write_at(position + last, bytes([data[last] ^ 1]))
    for read in (lambda: wal.frame_at(position), lambda: list(wal.chunks(ONE, row))):
        with pytest.raises(CorruptError) as caught:
            read()
        assert caught.value.place == f"{wal.path}, byte {position}"


def test_a_frame_cut_off_by_the_end_of_the_file_is_told(wal: Wal) -> None:
    position = wal.index[TWO].positions[-1]
    wal.file.truncate(wal.tail - 8)
    with pytest.raises(CorruptError) as caught:
        wal.chunk(TWO, 2)
    assert caught.value.place == f"{wal.path}, byte {position}"


def test_a_row_of_a_stream_that_its_frame_does_not_hold_is_told(wal: Wal) -> None:
    position = wal.index[TWO].positions[0]
    wal.note(77, 0, position)
    with pytest.raises(CorruptError) as caught:
        wal.chunk(77, 0)
    assert caught.value.place == f"{wal.path}, frame at {position}"
    assert caught.value.expected == "records of stream 77"


def reads(wal: Wal, patch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What is read of the file from now on: position and size."""
    real, seen = File.read_at, []

    def noted(file: File, position: int, size: int) -> bytes:
        seen.append((position, size))
        return real(file, position, size)

    patch.setattr(File, "read_at", noted)
    return seen


def test_a_frame_of_many_streams_or_many_bytes_is_read_once_for_all_that_look_into_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = made(tmp_path, 64 * 1024 * 1024)
    for parts in FRAMES:
        append(found, parts)
    seen = reads(found, monkeypatch)
    for stream in range(MANY, MANY + CACHED_CHUNKS + 3):
        assert part_of(found.chunk(stream, 0)) == small(stream, 0)
        assert part_of(*found.chunks(stream, 0)) == small(stream, 0)
    assert len(seen) == 1
    row = found.row_of(ONE, 9)
    for _ in range(3):
        assert found.chunk(ONE, row).first == 9
    # Its first bytes, and then all of them.
    assert len(seen) == 3


# What a file knows of its records


def test_a_file_knows_when_its_first_and_its_last_record_were_written(tmp_path: Path) -> None:
    wal = made(tmp_path)
    for written, kind in ((5, DATA), (9, DATA), (20, MARK)):
        if kind == DATA:
            append(wal, [small(ONE, written)], written)
        else:
            wal.append([], 0, written, kind)
    assert (wal.begun, wal.written) == (5, 9)
    assert (wal.first_lsn, wal.next_lsn) == (7, 9)
    assert (wal.marked, wal.ended) == (True, False)
    append(wal, [small(ONE, 10, 4)], 30)
    assert (wal.begun, wal.written, wal.next_lsn) == (5, 30, 13)
    assert (wal.marked, wal.ended) == (False, False)
    wal.append([], 0, 40, END)
    assert (wal.marked, wal.ended) == (True, True)


def test_a_frame_taken_back_is_in_no_row_and_the_next_takes_its_place(tmp_path: Path) -> None:
    wal = made(tmp_path)
    append(wal, [small(ONE, 0)])
    append(wal, [small(ONE, 1, 2), small(TWO, 0)])
    position = append(wal, [small(ONE, 3), small(TWO + 1, 0)])
    header, _ = wal.frame_at(position)
    wal.retreat(header)
    assert (wal.tail, wal.next_lsn, wal.loose) == (position, 7 + 4, True)
    wal.drop_loose()
    assert not wal.loose
    rows = {stream: list(chunks.firsts) for stream, chunks in wal.index.items()}
    assert rows == {ONE: [0, 1], TWO: [0]}
    assert [len(chunks.positions) for chunks in wal.index.values()] == [2, 1]
    assert append(wal, [(ONE, 3, [b"another"])]) == position
    assert list(wal.chunk(ONE, 2).payloads()) == [b"another"]


def test_a_file_is_durable_up_to_where_it_was_when_the_sync_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wal = made(tmp_path)
    append(wal, [small(ONE, 0)])
    stop, synced = wal.tail, []
    real = File.sync_data

    def sync_data(file: File) -> None:
        real(file)
        synced.append(file.path)
        append(wal, [small(ONE, wal.next_lsn)])

    monkeypatch.setattr(File, "sync_data", sync_data)
    monkeypatch.setattr(module, "sync_folder", synced.append)
    wal.sync()
    assert wal.durable == stop
    # Its name as well, the first time.
    assert synced == [wal.path, str(tmp_path)]
    stop = wal.tail
    wal.sync()
    assert wal.durable == stop
    assert synced == [wal.path, str(tmp_path), wal.path]


# Whose file it is


@pytest.mark.parametrize(
    ("store", "lsn"),
    [(bytes(16), 7), (b"\xff" * 16, 7), (STORE, 6), (STORE, 8), (bytes(16), 8), (b"\xff" * 16, 6)],
)
def test_the_file_of_another_store_or_of_another_place_is_damaged(
    tmp_path: Path, store: bytes, lsn: int
) -> None:
    path = tmp_path / wal_name(7)
    path.write_bytes(encode_wal_header(store, lsn) + bytes(8))
    with pytest.raises(CorruptError) as caught:
        Wal.open(str(tmp_path), STORE, 7, BlockCache(0), write=False)
    assert caught.value.place == str(path)
    assert caught.value.expected == f"store {STORE.hex()}, LSN 7"
    assert caught.value.found == f"store {store.hex()}, LSN {lsn}"


@pytest.mark.parametrize("unsynced_from", [0, 3, 6, 7])
def test_a_file_opened_again_says_what_before_it_was_not_durable(
    tmp_path: Path, unsynced_from: int
) -> None:
    Wal.create(str(tmp_path), STORE, 7, unsynced_from, BlockCache(0)).file.close()
    wal = Wal.open(str(tmp_path), STORE, 7, BlockCache(0), write=False)
    assert wal is not None
    assert wal.unsynced_from == unsynced_from
    assert wal.vouches == wal.marked == (unsynced_from == 7)


def test_the_last_number_of_all_is_one_that_a_file_may_have(tmp_path: Path) -> None:
    lsn = 2**64 - 1
    Wal.create(str(tmp_path), STORE, lsn, lsn, BlockCache(0)).file.close()
    assert Wal.open(str(tmp_path), STORE, lsn, BlockCache(0), write=False) is not None
    with pytest.raises(CorruptError) as caught:
        Wal.open(str(tmp_path), STORE, lsn + 1, BlockCache(0), write=False)
    assert caught.value.found == str(lsn + 1)


def test_a_file_that_cannot_be_taken_up_is_closed_and_one_that_can_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that keeps the error, and with it the call's frames, would keep it open."""
    files: list[File] = []
    initialize = File.__init__

    def noted(file: File, *arguments: Any, **options: Any) -> None:
        files.append(file)
        initialize(file, *arguments, **options)

    def full(file: File, position: int, data: bytes) -> None:
        raise transit.StorageFullError(file.path)

    monkeypatch.setattr(File, "__init__", noted)
    path = tmp_path / wal_name(7)
    path.write_bytes(b"")
    assert Wal.open(str(tmp_path), STORE, 7, BlockCache(0), write=False) is None
    path.write_bytes(encode_wal_header(bytes(16), 7))
    with pytest.raises(CorruptError):
        Wal.open(str(tmp_path), STORE, 7, BlockCache(0), write=False)
    path.unlink()
    with monkeypatch.context() as patch:
        patch.setattr(File, "write_at", full)
        with pytest.raises(transit.StorageFullError):
            made(tmp_path)
    assert len(files) == 3
    for file in files:
        with pytest.raises(transit.ClosedError):
            file.read_at(0, 1)
    path.unlink()
    wal = made(tmp_path)
    assert wal.file is files[-1]
    assert wal.file.read_at(0, 8) == b"TrnstWAL"


# Space


@pytest.mark.skipif(sys.platform != "linux", reason="space is reserved on Linux only")
def test_space_is_reserved_ahead_of_the_tail_and_the_next_of_it_in_time(tmp_path: Path) -> None:
    """So a sync need not write the file's size: there is always some left when it comes."""
    wal = made(tmp_path)
    offset, extended = 0, 0
    while extended < 3:
        if wal.wants_space:
            size = wal.file.size
            wal.allocate()
            extended += 1
            assert wal.file.size == max(size, wal.tail) + ALLOCATE_BYTES
            assert not wal.wants_space
        append(wal, [large(ONE, offset % 100, 100_000)])
        assert wal.file.size > wal.tail
        offset += 1
    assert wal.file.size - wal.tail < 2 * ALLOCATE_BYTES
    # What was reserved and not used is given back.
    wal.cut()
    assert wal.file.size == wal.tail
    assert wal.wants_space


def test_a_file_that_has_ended_wants_no_space(tmp_path: Path) -> None:
    wal = made(tmp_path)
    wal.append([], 0, 0, END)
    assert not wal.wants_space


def test_where_no_space_can_be_reserved_it_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wal = made(tmp_path)
    monkeypatch.setattr(File, "allocate", lambda file, position, size: False)
    assert wal.wants_space
    wal.allocate()
    assert not wal.wants_space
    append(wal, [large(ONE, 0, 2 * ALLOCATE_BYTES)])
    assert not wal.wants_space
    assert wal.file.size == wal.tail


def test_a_new_file_has_its_header_and_nothing_more(tmp_path: Path) -> None:
    wal = made(tmp_path)
    assert (wal.tail, wal.durable) == (WAL_HEADER.size, 0)
    assert Path(wal.path).read_bytes() == encode_wal_header(STORE, 7)
    assert Path(wal.path).name == wal_name(7)
