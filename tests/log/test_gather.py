"""A run of frames of one record each, read at once: the same records, and every frame checked."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from transit.format.record import Chunk, encode_one
from transit.log.blocks import BlockCache
from transit.log.gather import gather
from transit.log.wal import Wal

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
    made = Wal.create(str(tmp_path), bytes(16), 0, BlockCache(1024))
    offset = FIRST
    for payload, headers in ROWS:
        stream = STREAM + payload.startswith(b"another")
        head = encode_one(stream, offset, len(payload), 1_000 + offset, headers)
        made.note(stream, offset, made.append_one(head, payload, 900 + offset))
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
