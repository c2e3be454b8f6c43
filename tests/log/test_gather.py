"""A run of frames of one record each, read at once: the same records, and every frame checked."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from transit.disk import File
from transit.format.record import Chunk, Columns, encode_chunk
from transit.log.blocks import BlockCache
from transit.log.gather import gather
from transit.log.wal import StreamChunks, Wal

STREAM, FIRST = 7, 3
ROWS = [
    (b"one", b""),
    (b"", b'{"k":"v"}'),
    (b"three" * 9, b""),
    (b"12345678", b'{"k":"w"}'),
    (b"another stream's", b""),
    (b"last", b""),
]


@pytest.fixture
def wal(tmp_path: Path) -> Iterator[Wal]:
    made = Wal.create(str(tmp_path), bytes(16), 0, 0, BlockCache(1024))
    offset = FIRST
    for payload, headers in ROWS:
        stream = STREAM + payload.startswith(b"another")
        columns = Columns([payload], len(payload), 1_000 + offset, headers)
        chunk = encode_chunk(stream, offset, columns)
        made.note(stream, offset, made.append(chunk, 1, 900 + offset))
        offset += stream == STREAM
    yield made
    made.file.close()


def run(wal: Wal) -> array[int]:
    """The positions of the stream's frames, and where they end."""
    return array("Q", [*wal.index[STREAM].positions, wal.tail])


def rows(chunk: Chunk) -> list[tuple[int, bytes, int, dict[str, str], int]]:
    headers = map(dict, chunk.headers())
    offsets, payloads = range(chunk.first, chunk.stop), chunk.payloads()
    return list(zip(offsets, payloads, chunk.timestamps, headers, chunk.written, strict=True))


def test_a_run_is_what_its_frames_are_one_by_one(wal: Wal) -> None:
    found = gather(wal.file, wal.seed, STREAM, FIRST, run(wal))
    assert found is not None
    single = [row for at in range(len(ROWS) - 1) for row in rows(wal.chunk(STREAM, at))]
    assert rows(found) == single
    assert [row[1] for row in single] == [p for p, _ in ROWS if not p.startswith(b"another")]


def test_every_flipped_bit_of_a_frame_of_the_run_is_noticed(wal: Wal) -> None:
    positions = run(wal)
    other = wal.index[STREAM + 1].positions[0]
    elsewhere = range(other, positions[-2])
    tried = 0
    for place in range(positions[0], wal.tail):
        if place in elsewhere:
            continue
        good = wal.file.read_at(place, 1)
        for bit in range(8):
            wal.file.write_at(place, bytes([good[0] ^ 1 << bit]))
            assert gather(wal.file, wal.seed, STREAM, FIRST, positions) is None, (place, bit)
            tried += 1
        wal.file.write_at(place, good)
    assert tried > 8 * 5 * 56
    assert gather(wal.file, wal.seed, STREAM, FIRST, positions) is not None


@pytest.mark.parametrize(
    ("stream", "first", "seed"),
    [(STREAM + 1, FIRST, 0), (STREAM, FIRST + 1, 0), (STREAM, FIRST, 1)],
)
def test_frames_of_another_stream_offset_or_file_are_not_taken(
    wal: Wal, stream: int, first: int, seed: int
) -> None:
    assert gather(wal.file, wal.seed + seed, stream, first, run(wal)) is None


def test_a_file_cut_within_the_run_is_not_taken(wal: Wal) -> None:
    positions = run(wal)
    for size in range(wal.tail - 1, positions[0], -1):
        wal.file.truncate(size)
        assert gather(wal.file, wal.seed, STREAM, FIRST, positions) is None, size


# Runs that were read are kept.


def grow(wal: Wal, offset: int, count: int) -> int:
    """Append so many records one by one; the next offset."""
    for number in range(offset, offset + count):
        payload = b"%d" % number * (number % 7)
        columns = Columns([payload], len(payload), 1_000 + number, None)
        chunk = encode_chunk(STREAM + 5, number, columns)
        wal.note(STREAM + 5, number, wal.append(chunk, 1, 900 + number))
    return offset + count


def frame_by_frame(wal: Wal) -> list[tuple[int, bytes, int, dict[str, str], int]]:
    positions = wal.index[STREAM + 5].positions
    return [row for at in range(len(positions)) for row in rows(wal.chunk(STREAM + 5, at))]


def read(wal: Wal, row: int = 0) -> list[tuple[int, bytes, int, dict[str, str], int]]:
    return [each for chunk in wal.chunks(STREAM + 5, row) for each in rows(chunk)]


def differ_while_it_grows(wal: Wal) -> bool:
    """Whether a reader sees anything but the frames, reading after each of many growths."""
    offset = 0
    for growth in (1, 1, 2, 5, 1, 1, 40, 1, 3, 100, 1):
        offset = grow(wal, offset, growth)
        every = frame_by_frame(wal)
        for row in {0, 1, offset // 2, offset - 1} & set(range(offset)):
            for _ in range(2):
                if read(wal, row) != every[row:]:
                    return True
    return False


@pytest.fixture
def cached(tmp_path: Path) -> Iterator[Wal]:
    made = Wal.create(str(tmp_path), bytes(16), 0, 0, BlockCache(1024 * 1024))
    yield made
    made.file.close()


def test_a_stream_that_grows_is_what_its_frames_are_at_every_read(cached: Wal) -> None:
    assert not differ_while_it_grows(cached)


def counting(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many frames each call of `gather` reads from now on."""
    gathered: list[int] = []

    def counted(
        file: File, seed: int, stream: int, first: int, positions: array[int]
    ) -> Chunk | None:
        gathered.append(len(positions) - 1)
        return gather(file, seed, stream, first, positions)

    monkeypatch.setattr("transit.log.wal.gather", counted)
    return gathered


def test_a_run_is_read_from_the_file_once(cached: Wal, monkeypatch: pytest.MonkeyPatch) -> None:
    gathered = counting(monkeypatch)
    grow(cached, 0, 500)
    for _ in range(5):
        assert len(read(cached)) == 500
    assert len(gathered) == 1


@pytest.mark.parametrize("count", [3, 4, 100, 101])
def test_a_run_comes_as_one_chunk_however_often_it_is_read(cached: Wal, count: int) -> None:
    grow(cached, 0, count)
    for _ in range(3):
        # The last row may be of more than one frame, as far as the index says.
        chunks = list(cached.chunks(STREAM + 5, 0))
        assert [chunk.count for chunk in chunks] == [count - 1, 1]


def test_a_stream_read_after_each_append_is_in_few_chunks_and_read_few_times(
    cached: Wal, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered = counting(monkeypatch)
    for number in range(600):
        grow(cached, number, 1)
        assert len(read(cached)) == number + 1
    assert len(list(cached.chunks(STREAM + 5, 0))) < 20
    # Read anew at each look, it would be 180,000.
    assert sum(gathered) < 600 * 20


def test_what_is_kept_is_within_the_cache(tmp_path: Path) -> None:
    cache = BlockCache(20_000)
    made = Wal.create(str(tmp_path), bytes(16), 0, 0, cache)
    for number in range(0, 900, 30):
        grow(made, number, 30)
        assert read(made) == frame_by_frame(made)
        for part in (cache._kept, cache._passing):
            assert part.bytes == sum(block.cost for block in part.blocks.values())
        assert cache._kept.bytes + cache._passing.bytes <= 20_000
    made.file.close()


PLANTS: dict[str, Callable[[int, int], tuple[int, int]]] = {
    "a run of another place is taken": lambda row, stop: (0, stop),
    "the first record is passed over": lambda row, stop: (row + (stop - row > 2), stop),
    "a run begins a record early": lambda row, stop: (max(row - 1, 0), stop),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_in_kept_runs_is_found(
    cached: Wal, monkeypatch: pytest.MonkeyPatch, plant: str
) -> None:
    real, wrong = Wal._run_chunk, PLANTS[plant]

    def planted(self: Wal, stream: int, index: StreamChunks, row: int, stop: int) -> Chunk | None:
        return real(self, stream, index, *wrong(row, stop))

    monkeypatch.setattr(Wal, "_run_chunk", planted)
    assert differ_while_it_grows(cached)
