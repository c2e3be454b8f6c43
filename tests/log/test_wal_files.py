"""A WAL file while it is being made: it is there, and then its header, and then its frames."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from transit.disk import File
from transit.errors import CorruptError
from transit.format.frame import WAL_HEADER, encode_wal_header
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
def test_a_file_that_holds_more_than_a_header_that_is_none_is_damaged(
    tmp_path: Path, size: int
) -> None:
    (tmp_path / wal_name(7)).write_bytes(bytes(size))
    with pytest.raises(CorruptError, match=r"WAL"):
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

    wal = Wal.create(str(tmp_path), STORE, 7, BlockCache(0))
    wal.index = Watched()
    wal.note(5, 0, 64)
    wal.note(5, 3, 128)
    chunks = wal.index[5]
    assert (list(chunks.firsts), list(chunks.positions)) == ([0, 3], [64, 128])
