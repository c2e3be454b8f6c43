"""What reading, tailing and cursors promise."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit import Log, Position, Stream

from .histories import filled, payloads

# Reading

WAYS: dict[str, Callable[[Log, Stream], object]] = {
    "index": lambda log, stream: stream[-1],
    "slice": lambda log, stream: stream[:],
    "read": lambda log, stream: list(stream.read()),
    "batches": lambda log, stream: list(stream.batches()),
    "tail": lambda log, stream: list(stream.tail(0, timeout=0)),
    "merge": lambda log, stream: log.merge("m", [stream, log.stream("x")], policy="interleave"),
    "merge to a place": lambda log, stream: log.merge(
        "m", [("s", 2), ("x", 0)], policy="interleave"
    ),
    "why": lambda log, stream: log.lineage.why(Position("s", 2)),
}


@pytest.mark.parametrize("settled", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_what_another_thread_has_accepted_meanwhile_is_there_or_not_yet(
    log: Log, monkeypatch: pytest.MonkeyPatch, way: str, settled: int
) -> None:
    stream, _ = filled(log, "s", b"0", b"1"), filled(log, "x", b"0")
    look, times = log._handle._look, itertools.count(1)
    accepted: list[bytes] = []

    def look_and_accept() -> None:
        look()
        if next(times) == settled:
            stream.append(b"meanwhile", durability="memory")
            accepted.append(b"meanwhile")

    with monkeypatch.context() as patch, contextlib.suppress(transit.OffsetError):
        patch.setattr(log._handle, "_look", look_and_accept)
        WAYS[way](log, stream)
    assert accepted or settled > 1
    assert payloads(stream) == [b"0", b"1", *accepted]


def test_what_a_failed_write_took_back_meanwhile_is_not_read(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = filled(log, "s", b"0", b"1")
    stream.append(b"lost", durability="memory")
    with monkeypatch.context() as patch:
        fail = log._handle.writer.fail
        patch.setattr(log._handle, "_look", lambda: fail(OSError("no more")))
        read = [record.payload for record in stream.read()]
    assert read == [b"0", b"1"]
    with pytest.raises(transit.PoisonedError):
        log.close()


def test_indexing_takes_offsets_from_both_ends(log: Log) -> None:
    stream = filled(log, "s", *(b"%d" % number for number in range(20)))
    assert stream[17].payload == b"17"
    assert (stream[-1].offset, stream[-20].offset) == (19, 0)
    for outside in (20, -21, 2**40, -(2**40), 2**80):
        with pytest.raises(transit.OffsetError):
            stream[outside]
        with pytest.raises(IndexError):
            stream[outside]
    with pytest.raises(transit.OffsetError):
        log.create("empty")[-1]


def test_a_record_has_its_own_position_as_origin(log: Log) -> None:
    stream = filled(log, "s", b"0", b"1")
    assert stream[1].origin == Position("s", 1)
    assert isinstance(stream[1], transit.Record)


def test_read_takes_start_and_stop_and_ends_at_the_head_of_the_moment(log: Log) -> None:
    stream = filled(log, "s", *(b"%d" % number for number in range(10)))

    def offsets(*bounds: int | None) -> list[int]:
        return [record.offset for record in stream.read(*bounds)]

    assert offsets() == [record.offset for record in stream] == list(range(10))
    assert offsets(3) == list(range(3, 10))
    assert offsets(3, 5) == [3, 4]
    assert offsets(0, None) == list(range(10))
    assert offsets(8, 100) == [8, 9]
    assert offsets(10) == offsets(10, 20) == offsets(4, 4) == []
    reading = stream.read()
    first = next(reading)
    stream.append(b"late")
    assert [first.offset, *(record.offset for record in reading)] == list(range(10))


@pytest.mark.parametrize("bounds", [(11,), (11, 12), (-1,), (0, -1), (-3, -1), (2**80,)])
def test_a_range_that_starts_outside_the_stream_is_refused(
    log: Log, bounds: tuple[int, ...]
) -> None:
    stream = filled(log, "s", *[b""] * 10)
    with pytest.raises(transit.OffsetError):
        list(stream.read(*bounds))
    with pytest.raises(transit.OffsetError):
        list(stream.batches(*bounds))


def test_batches_give_columns_that_agree_with_the_records(log: Log) -> None:
    stream = filled(log, "s", *(b"%d" % number * 50 for number in range(300)))
    child = stream.branch("child", at=200)
    child.append_many([b"own"] * 100, headers={"k": "v"})
    log.seal()
    child.append(b"in the WAL")
    records = list(child.read(3, 290))
    batches = list(child.batches(3, 290))
    assert [o for batch in batches for o in batch.offsets] == list(range(3, 290))
    assert [t for batch in batches for t in batch.timestamps] == [r.timestamp for r in records]
    assert [p for batch in batches for p in batch.payloads] == [r.payload for r in records]
    for batch in batches:
        assert isinstance(batch, transit.Batch)
        starts = [0, *list(batch.ends)[:-1]]
        bounds = zip(starts, batch.ends, strict=True)
        assert [bytes(batch.data[a:b]) for a, b in bounds] == list(batch.payloads)


def test_a_batch_becomes_an_arrow_table(log: Log) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    stream = log.create("s")
    stream.append_many([b"a", b"", b"ccc"], timestamps=[1, 2, 3], headers={"k": "v"})
    table = pyarrow.Table.from_batches([batch.to_arrow() for batch in stream.batches()])
    assert table.num_rows == 3
    assert table.column("offset").to_pylist() == [0, 1, 2]
    assert table.column("payload").to_pylist() == [b"a", b"", b"ccc"]


def test_reading_and_sealing_at_the_same_time_gives_every_record_once(path: Path) -> None:
    settings = transit.Settings(seal_bytes=16384, block_bytes=4096)
    with transit.open(path, durability="os", settings=settings) as log:
        stream = log.create("s")
        done = threading.Event()

        def write() -> None:
            for number in range(3000):
                stream.append(b"%d" % number * 10)
            done.set()

        writer = threading.Thread(target=write)
        writer.start()
        while not done.is_set():
            bodies = payloads(stream)
            assert bodies == [b"%d" % number * 10 for number in range(len(bodies))]
        writer.join()
        assert len(payloads(stream)) == 3000


# Tailing


def test_tail_waits_for_records_another_thread_appends(log: Log) -> None:
    stream = filled(log, "s", b"before")

    def write() -> None:
        for number in range(20):
            time.sleep(0.002)
            stream.append(b"%d" % number)

    writer = threading.Thread(target=write)
    tail = stream.tail(timeout=10)
    writer.start()
    seen = [next(tail).payload for _ in range(20)]
    writer.join()
    assert seen == [b"%d" % number for number in range(20)]


def test_tail_from_a_start_gives_what_is_there_first(log: Log) -> None:
    stream = filled(log, "s", b"0", b"1", b"2")
    assert [record.offset for record in stream.tail(start=1, timeout=0.05)] == [1, 2]
    assert [record.offset for record in stream.tail(start=3, timeout=0.05)] == []


def test_tail_ends_after_the_timeout_without_a_record(log: Log) -> None:
    stream = filled(log, "s", b"0")
    began = time.monotonic()
    assert list(stream.tail(timeout=0.2)) == []
    assert time.monotonic() - began > 0.15


def test_tail_of_a_branch_gives_inherited_records_then_own_ones(log: Log) -> None:
    stream = filled(log, "s", b"0", b"1")
    child = stream.branch("child")
    tail = child.tail(start=0, timeout=10)
    assert [next(tail).payload for _ in range(2)] == [b"0", b"1"]
    child.append(b"2")
    assert next(tail).origin == Position("child", 2)


def test_tail_past_the_head_is_refused(log: Log) -> None:
    with pytest.raises(transit.OffsetError):
        next(filled(log, "s", b"0").tail(start=2, timeout=0.05))


def test_tail_of_a_reader_follows_the_writer_over_a_seal(log: Log, path: Path) -> None:
    stream = filled(log, "s", b"0")
    with transit.open(path, mode="read") as reader:
        tail = reader.stream("s").tail(start=0, timeout=10)
        assert next(tail).payload == b"0"
        stream.append(b"1")
        log.seal()
        stream.append(b"2")
        assert [next(tail).payload for _ in range(2)] == [b"1", b"2"]


def test_follow_is_tail_for_async_code_and_leaves_the_loop_free(log: Log) -> None:
    stream = filled(log, "s", b"0")

    async def main() -> list[bytes]:
        seen: list[bytes] = []

        async def read() -> None:
            async for record in stream.follow(start=0, timeout=1):
                seen.append(record.payload)
                if len(seen) == 6:
                    break

        reading = asyncio.create_task(read())
        for number in range(1, 6):
            await asyncio.sleep(0.005)
            stream.append(b"%d" % number)
        await asyncio.wait_for(reading, timeout=60)
        return seen

    assert asyncio.run(main()) == [b"0", b"1", b"2", b"3", b"4", b"5"]


def test_follow_ends_after_the_timeout_and_starts_at_the_head(log: Log) -> None:
    stream = filled(log, "s", b"0")

    async def main() -> list[int]:
        return [record.offset async for record in stream.follow(timeout=0.05)]

    assert asyncio.run(main()) == []


# Cursors


def test_a_cursor_starts_at_0_moves_forward_and_survives_reopening(path: Path) -> None:
    with transit.open(path) as log:
        stream = filled(log, "s", b"0", b"1", b"2")
        cursor = stream.cursor("indexer")
        assert cursor.position == 0
        cursor.advance(2)
        cursor.advance(2)
        assert cursor.position == stream.cursor("indexer").position == 2
        assert stream.cursor("other").position == 0
        for wrong in (1, 4, -1):
            with pytest.raises(transit.OffsetError):
                cursor.advance(wrong)
        assert cursor.position == 2
    with transit.open(path) as log:
        cursor = log.stream("s").cursor("indexer")
        assert cursor.position == 2
        cursor.advance(3)
        log.seal()
        assert cursor.position == 3
    with transit.open(path, mode="read") as reader:
        assert reader.stream("s").cursor("indexer").position == 3


def test_cursors_of_one_name_on_different_streams_are_different(log: Log) -> None:
    stream = filled(log, "s", b"0", b"1")
    child = stream.branch("child")
    stream.cursor("c").advance(2)
    assert child.cursor("c").position == 0
    child.cursor("c").advance(1)
    assert (stream.cursor("c").position, child.cursor("c").position) == (2, 1)


class Numbered:
    """A number of another library's, as a data frame gives them."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_numbers_of_other_libraries_are_offsets_as_of_a_list(log: transit.Log) -> None:
    stream = log.create("numbers")
    stream.append_many([b"0", b"1", b"2", b"3"])
    one, three, last = Numbered(1), Numbered(3), Numbered(-1)
    assert stream[one].payload == b"1"  # type: ignore[call-overload]
    assert stream[last].payload == b"3"  # type: ignore[call-overload]
    assert [record.payload for record in stream[one:three]] == [b"1", b"2"]
    read = list(stream.read(one, three))  # type: ignore[arg-type]
    assert [(record.offset, type(record.offset)) for record in read] == [(1, int), (2, int)]
    tail = stream.tail(three, timeout=60)  # type: ignore[arg-type]
    assert next(tail).payload == b"3"
