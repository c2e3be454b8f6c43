"""A WAL file while it is being made: it is there, and then its header, and then its frames."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

import transit
from transit.disk import File
from transit.errors import CorruptError
from transit.format.checksum import wal_seed
from transit.format.frame import DATA, MARK, WAL_HEADER, encode_frame, encode_wal_header
from transit.format.names import wal_name
from transit.log.blocks import BlockCache
from transit.log.wal import StreamChunks, Wal

STORE = bytes(range(16))


def opened(folder: Path) -> Wal | None:
    return Wal.open(str(folder), STORE, 7, BlockCache(0), write=False)


@pytest.mark.parametrize("size", range(WAL_HEADER.size))
def test_a_file_without_a_whole_header_was_never_finished(tmp_path: Path, size: int) -> None:
    (tmp_path / wal_name(7)).write_bytes(encode_wal_header(STORE, 7)[:size])
    assert opened(tmp_path) is None


@pytest.mark.parametrize("size", [WAL_HEADER.size + 1, 1000])
def test_a_file_whose_header_never_reached_the_disk_was_never_finished(
    tmp_path: Path, size: int
) -> None:
    """Frames may be written before the header is durable, and reach the disk without it."""
    frame = encode_frame(b"body", 64, 7, 0, 1, DATA, 0, wal_seed(STORE, 7))
    for head in (b"", encode_wal_header(STORE, 7, 3)[:45]):
        for rest in (b"", frame):
            data = (head.ljust(64, b"\0") + rest).ljust(size, b"\0")
            (tmp_path / wal_name(7)).write_bytes(data)
            assert opened(tmp_path) is None


@pytest.mark.parametrize(("durable", "kind"), [(64, DATA), (0, MARK)])
def test_a_file_without_its_header_is_damaged_when_a_frame_says_that_it_was_durable(
    tmp_path: Path, durable: int, kind: int
) -> None:
    frame = encode_frame(b"", 64, 7, durable, 0, kind, 0, wal_seed(STORE, 7))
    (tmp_path / wal_name(7)).write_bytes(bytes(64) + frame)
    with pytest.raises(CorruptError, match=r"TrnstWAL"):
        opened(tmp_path)


@pytest.mark.parametrize("place", range(WAL_HEADER.size))
def test_a_whole_header_with_a_wrong_byte_is_damaged(tmp_path: Path, place: int) -> None:
    data = bytearray(encode_wal_header(STORE, 7, 3))
    assert data[-1]
    data[place] ^= 0x10
    assert data[-1]
    (tmp_path / wal_name(7)).write_bytes(bytes(data) + bytes(8))
    with pytest.raises(transit.FormatError):
        opened(tmp_path)


def test_a_header_that_says_what_it_must_not_is_damaged_whatever_its_checksum_ends_in(
    tmp_path: Path,
) -> None:
    heads = (encode_wal_header(STORE, 7, 8 + unsynced) for unsynced in count())
    head = next(head for head in heads if not head[-1])
    (tmp_path / wal_name(7)).write_bytes(head + bytes(8))
    with pytest.raises(CorruptError, match="a count up to 7"):
        opened(tmp_path)


def test_a_reader_that_comes_before_the_header_does_not_call_the_file_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, raced = tmp_path / "store", []
    # A sync in the background reserves space, which makes the file longer.
    settings = transit.Settings(flush_interval_ms=60_000)
    with transit.open(store, durability="os", settings=settings) as log:
        stream = log.create("s")
        log.seal()
        stream.append(b"written")
        wal = max((store / "wal").iterdir())
        whole = wal.read_bytes()
        wal.write_bytes(b"")
        read_at = File.read_at

        def and_then_it_is_written(file: File, position: int, size: int) -> bytes:
            data = read_at(file, position, size)
            if not raced and Path(file.path) == wal:
                raced.append(data)
                wal.write_bytes(whole)
            return data

        monkeypatch.setattr(File, "read_at", and_then_it_is_written)
        with transit.open(store, mode="read") as reader:
            assert raced == [b""]
            # Looked at again, it is there.
            assert [record.payload for record in reader.stream("s")] == [b"written"]


def test_a_stream_is_in_the_index_only_with_a_row(tmp_path: Path) -> None:
    """Readers ask without a lock where the last row is."""

    class Watched(dict[int, StreamChunks]):
        def __setitem__(self, stream: int, chunks: StreamChunks) -> None:
            assert (list(chunks.firsts), list(chunks.positions)) == ([0], [64])
            super().__setitem__(stream, chunks)

    wal = Wal.create(str(tmp_path), STORE, 7, 7, BlockCache(0))
    wal.index = Watched()
    wal.note(5, 0, 64)
    wal.note(5, 3, 128)
    chunks = wal.index[5]
    assert (list(chunks.firsts), list(chunks.positions)) == ([0, 3], [64, 128])


def test_a_file_with_a_number_that_no_record_has_is_damaged(tmp_path: Path) -> None:
    (tmp_path / f"{'9' * 20}.wal").write_bytes(encode_wal_header(STORE, 1))
    with pytest.raises(CorruptError, match="LSN"):
        Wal.open(str(tmp_path), STORE, 10**20 - 1, BlockCache(0), write=False)
