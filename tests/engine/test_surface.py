"""One test for each promise of the public surface."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit
from transit import Log, Position, Stream, errors

SECOND = 1_000_000_000
Contents = Callable[[Log], object]


def payloads(stream: Stream) -> list[bytes]:
    return [record.payload for record in stream.read()]


def origins(stream: Stream) -> list[tuple[str, int]]:
    return [(record.origin.stream, record.origin.offset) for record in stream.read()]


def parents(stream: Stream) -> list[tuple[str, int]]:
    return [(parent.stream, parent.offset) for parent in stream.parents]


def filled(log: Log, name: str, *bodies: bytes, first_timestamp: int = 0) -> Stream:
    """A new root stream with these records, one nanosecond apart."""
    stream = log.create(name)
    times = range(first_timestamp, first_timestamp + len(bodies))
    if bodies:
        stream.append_many(bodies, timestamps=list(times))
    return stream


@pytest.fixture
def forked(log: Log) -> tuple[Stream, Stream]:
    """`main` with m0 to m3, and `side`, forked at 1, with s2 and s3; all at different times."""
    main = filled(log, "main", b"m0", b"m1")
    side = main.branch("side")
    for time_, stream, body in (
        (20, main, b"m2"),
        (30, side, b"s2"),
        (40, main, b"m3"),
        (50, side, b"s3"),
    ):
        stream.append(body, timestamp=time_)
    return main, side


# Opening and closing


def test_open_creates_a_store_that_opens_again_with_what_was_written(path: Path) -> None:
    with transit.open(path) as log:
        log.create("s").append(b"kept")
        store_id = log.store_id
    with transit.open(str(path)) as log:
        assert log.store_id == store_id
        assert payloads(log.stream("s")) == [b"kept"]


def test_a_log_shows_how_it_was_opened(path: Path) -> None:
    settings = transit.Settings(block_bytes=8192)
    with transit.open(path, durability="os", mode="shared", settings=settings) as log:
        assert Path(log.path) == path
        assert (log.mode, log.durability, log.settings) == ("shared", "os", settings)
        assert len(bytes.fromhex(log.store_id)) == 16
    with transit.open(path) as log:
        assert (log.mode, log.durability, log.settings) == (
            "exclusive",
            "local",
            transit.Settings(),
        )


def test_settings_have_the_documented_defaults() -> None:
    settings = transit.Settings()
    assert settings.record_bytes_max == 16 << 20
    assert settings.frame_bytes_max == 64 << 20
    assert settings.seal_bytes == 32 << 20
    assert settings.seal_interval_s is None
    assert settings.flush_interval_ms == 50
    assert settings.block_bytes == 256 << 10
    assert (settings.compression, settings.compression_level) == ("zstd", 3)
    assert settings.cache_bytes_max == 64 << 20
    assert settings.lock_timeout_s == 10.0


def test_close_may_be_called_twice_and_leaving_the_block_closes(path: Path) -> None:
    with transit.open(path) as log:
        assert not log.closed
    assert log.closed
    log.close()
    log.close()


def test_a_store_closed_well_had_nothing_cut_when_it_opens(path: Path) -> None:
    with transit.open(path) as log:
        log.create("s").append(b"x")
    with transit.open(path) as log:
        assert not log.recovery


def test_mode_read_does_not_create_a_store(path: Path) -> None:
    with pytest.raises(transit.NotFoundError):
        transit.open(path, mode="read")
    assert not path.exists()


def test_mode_read_sees_what_is_written_after_it_opened_and_writes_nothing(
    log: Log, path: Path
) -> None:
    stream = filled(log, "s", b"0")
    with transit.open(path, mode="read") as reader:
        seen = reader.stream("s")
        assert payloads(seen) == [b"0"]
        stream.append(b"1")
        log.create("later").append(b"2")
        assert payloads(seen) == [b"0", b"1"]
        assert payloads(reader.stream("later")) == [b"2"]
        log.seal()
        assert payloads(seen) == [b"0", b"1"]
        writes: list[Callable[[], object]] = [
            lambda: reader.create("new"),
            lambda: seen.append(b"x"),
            lambda: seen.append_many([b"x"]),
            lambda: seen.submit(b"x").result(timeout=10),
            lambda: seen.branch("new"),
            lambda: reader.merge("new", [seen, reader.stream("later")], policy="append"),
            lambda: seen.cursor("c").advance(1),
        ]
        for write in writes:
            with pytest.raises(transit.ReadOnlyError):
                write()
        with pytest.raises(transit.ReadOnlyError), reader.batch() as batch:
            batch.append(seen, b"x")
    assert payloads(stream) == [b"0", b"1"]
    assert [s.name for s in log.streams()] == ["s", "later"]


@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_an_exclusive_store_is_locked_to_writers_and_open_to_readers(path: Path, mode: str) -> None:
    settings = transit.Settings(lock_timeout_s=0.2)
    with transit.open(path) as log:
        filled(log, "s", b"0")
        if mode == "read":
            with transit.open(path, mode=mode) as reader:
                assert payloads(reader.stream("s")) == [b"0"]
        else:
            with pytest.raises(transit.LockedError):
                transit.open(path, mode=mode, settings=settings)
    with transit.open(path, mode=mode) as log:
        assert payloads(log.stream("s")) == [b"0"]


def test_two_shared_handles_see_each_others_streams_and_records(path: Path) -> None:
    with transit.open(path, mode="shared") as one, transit.open(path, mode="shared") as two:
        ours = one.create("s")
        theirs = two.stream("s")
        for number in range(10):
            assert ours.append(b"one").offset == 2 * number
            assert theirs.append(b"two").offset == 2 * number + 1
        assert payloads(ours) == payloads(theirs) == [b"one", b"two"] * 10
        with pytest.raises(transit.AlreadyExistsError):
            two.create("s")


# Streams


def test_a_created_stream_is_found_by_name_and_listed_in_order_of_creation(log: Log) -> None:
    for name in ("b", "a", "a/1", "ä", "A"):
        assert log.create(name).name == name
    assert [stream.name for stream in log.streams()] == ["b", "a", "a/1", "ä", "A"]
    assert [stream.name for stream in log.streams(prefix="a")] == ["a", "a/1"]
    assert list(log.streams(prefix="z")) == []
    assert "a" in log
    assert "c" not in log
    assert log.stream("a/1").id == [s.id for s in log.streams()][2]
    with pytest.raises(transit.NotFoundError):
        log.stream("c")
    with pytest.raises(transit.AlreadyExistsError):
        log.create("a")


def test_the_stores_own_streams_are_not_listed(log: Log) -> None:
    filled(log, "s", b"0").cursor("c").advance(1)
    assert [stream.name for stream in log.streams()] == ["s"]
    assert [stream.name for stream in log.streams(prefix="$")] == []


def test_a_new_root_is_empty(log: Log) -> None:
    stream = log.create("s")
    assert (stream.kind, stream.parents, stream.fork_offset) == ("root", (), None)
    assert (stream.next_offset, stream.last_offset, len(stream)) == (0, None, 0)
    assert list(stream) == list(stream.read()) == list(stream.batches()) == []
    assert (dict(stream.metadata), stream.codec) == ({}, None)


def test_metadata_of_every_kind_of_stream_survives_reopening(path: Path) -> None:
    metadata = {"text": "ü", "int": -(2**63), "float": 0.1, "yes": True, "none": None, "": 0}
    with transit.open(path) as log:
        root = log.create("root", metadata)
        branch = root.branch("branch", metadata=metadata)
        log.merge("merge", [root, branch], policy="base", metadata=metadata)
        with log.batch() as batch:
            staged = batch.create("batch", metadata)
            batch.branch(staged, "batch branch", metadata=metadata)
        with contextlib.suppress(TypeError):
            root.metadata["text"] = "other"  # type: ignore[index]
        assert root.metadata["text"] == "ü"
        metadata_then = dict(metadata)
        metadata["text"] = "changed by the caller later"
    with transit.open(path) as log:
        for stream in log.streams():
            assert dict(stream.metadata) == metadata_then
            assert stream.metadata["yes"] is True


def test_names_up_to_512_bytes_and_of_any_script_are_taken(log: Log) -> None:
    names = ["x" * 512, "é" * 256, "a b", "../../etc/passwd", "a\\b", ".", "名前", "🎈", "a$"]
    for name in names:
        log.create(name).append(name.encode())
    for name in names:
        assert payloads(log.stream(name)) == [name.encode()]


# Appending


@pytest.mark.parametrize("durability", ["memory", "os", "local"])
def test_a_receipt_names_stream_offset_timestamp_and_durability(
    path: Path, durability: str
) -> None:
    reached = {"memory": ("memory", "os", "local"), "os": ("os", "local"), "local": ("local",)}
    with transit.open(path, durability=durability) as log:
        stream = log.create("s")
        one = stream.append(b"0", timestamp=5)
        many = stream.append_many([b"1", b"2"], timestamps=[6, 7])
        later = stream.submit(b"3", timestamp=8).result(timeout=10)
        with log.batch() as batch:
            batch.append(stream, b"4", timestamp=9)
        for receipt in (one, many, later, *batch.receipts):
            assert receipt.stream == "s"
            assert receipt.durability in reached[durability]
        assert (one.offset, one.first, one.last, one.count, one.timestamp) == (0, 0, 0, 1, 5)
        assert (many.offset, many.first, many.last, many.count, many.timestamp) == (1, 1, 2, 2, 7)
        assert (later.offset, later.timestamp) == (3, 8)
        assert [(r.offset, r.timestamp) for r in batch.receipts] == [(4, 9)]
    with transit.open(path) as log:
        assert payloads(log.stream("s")) == [b"0", b"1", b"2", b"3", b"4"]


def test_durability_of_one_call_goes_before_that_of_the_handle(path: Path) -> None:
    with transit.open(path, durability="memory") as log:
        stream = log.create("s", durability="local")
        assert stream.append(b"", durability="local").durability == "local"
        assert stream.append_many([b""], durability="local").durability == "local"
        assert stream.submit(b"", durability="local").result(timeout=10).durability == "local"
        with log.batch(durability="local") as batch:
            batch.append(stream, b"")
        assert [receipt.durability for receipt in batch.receipts] == ["local"]
        assert stream.branch("b", durability="local").next_offset == 4
        merged = log.merge("m", [stream, log.stream("b")], policy="append", durability="local")
        assert merged.next_offset == 4
        stream.cursor("c").advance(4, durability="local")


@pytest.mark.parametrize("durability", ["memory", "os", "local"])
def test_sync_returns_when_all_is_written_and_it_is_there_for_others(
    path: Path, durability: str
) -> None:
    with transit.open(path, durability=durability) as log:
        stream = log.create("s")
        for number in range(100):
            stream.append(b"%d" % number)
        log.sync()
        with transit.open(path, mode="read") as reader:
            assert payloads(reader.stream("s")) == [b"%d" % number for number in range(100)]


def test_memory_records_are_read_at_once_by_their_own_process(path: Path) -> None:
    with transit.open(path, durability="memory") as log:
        stream = log.create("s")
        for number in range(50):
            stream.append(b"%d" % number)
            assert stream[-1].payload == b"%d" % number
            assert len(stream) == number + 1


def test_the_flusher_writes_memory_records_without_being_asked(path: Path) -> None:
    settings = transit.Settings(flush_interval_ms=10)
    with transit.open(path, durability="memory", settings=settings) as log:
        log.create("s").append(b"x")
        deadline = time.monotonic() + 10
        with transit.open(path, mode="read") as reader:
            while "s" not in reader or len(reader.stream("s")) == 0:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert payloads(reader.stream("s")) == [b"x"]


@pytest.mark.parametrize(
    "body", [b"", b"\0", bytes(range(256)), b"x" * 1_000_000], ids=["empty", "nul", "all", "1 MB"]
)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like_payload_comes_back_as_bytes(
    log: Log, kind: Callable[[bytes], bytes], body: bytes
) -> None:
    stream = log.create("s")
    stream.append(kind(body))
    stream.append_many([kind(body), kind(body)])
    stream.submit(kind(body)).result(timeout=10)
    with log.batch() as batch:
        batch.append(stream, kind(body))
    assert payloads(stream) == [body] * 5
    assert all(type(record.payload) is bytes for record in stream)
    log.seal()
    assert payloads(stream) == [body] * 5


def test_views_of_any_shape_are_stored_as_the_bytes_they_show(log: Log) -> None:
    stream = log.create("s")
    stream.append(memoryview(b"abcdef")[::2])
    stream.append(memoryview(b"abcdefgh").cast("I"))
    stream.append(memoryview(b"abcdef").cast("B", (2, 3)))
    assert payloads(stream) == [b"ace", b"abcdefgh", b"abcdef"]


def test_changing_a_buffer_after_the_append_does_not_change_the_record(path: Path) -> None:
    with transit.open(path, durability="memory") as log:
        stream = log.create("s")
        buffer = bytearray(b"before")
        stream.append(buffer)
        stream.append_many([buffer])
        future = stream.submit(buffer)
        with log.batch() as batch:
            batch.append(stream, buffer)
            buffer[:] = b"after!"
        future.result(timeout=10)
        assert payloads(stream) == [b"before"] * 4


def test_append_many_takes_any_iterable_and_writes_all_or_nothing(log: Log) -> None:
    stream = log.create("s")
    stream.append_many(b"%d" % number for number in range(3))
    stream.append_many({b"3": None})

    def fails() -> Iterator[bytes]:
        yield b"never"
        raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="own"):
        stream.append_many(fails())
    assert payloads(stream) == [b"0", b"1", b"2", b"3"]


def test_append_many_splits_nothing_and_keeps_order_over_many_records(log: Log) -> None:
    stream = log.create("s")
    bodies = [b"%d" % number * (number % 7) for number in range(20_000)]
    receipt = stream.append_many(bodies)
    assert (receipt.first, receipt.last, receipt.count) == (0, 19_999, 20_000)
    assert payloads(stream) == bodies


def test_submitted_records_keep_the_order_of_submission(log: Log) -> None:
    stream = log.create("s")
    futures = [
        stream.submit(b"%d" % number, headers={"n": str(number)}, timestamp=number)
        for number in range(500)
    ]
    assert [future.result(timeout=10).offset for future in futures] == list(range(500))
    assert payloads(stream) == [b"%d" % number for number in range(500)]
    assert stream[7].headers == {"n": "7"}


def test_expect_writes_when_it_is_the_next_offset_and_nothing_otherwise(log: Log) -> None:
    stream = log.create("s")
    assert stream.append(b"0", expect=0).offset == 0
    assert stream.append_many([b"1", b"2"], expect=1).last == 2
    for wrong in (0, 2, 4):
        with pytest.raises(transit.ConflictError) as caught:
            stream.append(b"x", expect=wrong)
        assert (caught.value.stream, caught.value.expected, caught.value.found) == ("s", wrong, 3)
        with pytest.raises(transit.ConflictError):
            stream.append_many([b"x", b"y"], expect=wrong)
        with pytest.raises(transit.ConflictError), log.batch() as batch:
            batch.append(stream, b"x", expect=wrong)
    assert payloads(stream) == [b"0", b"1", b"2"]


def test_expect_counts_what_a_stream_inherits(log: Log) -> None:
    child = filled(log, "s", b"0", b"1").branch("child")
    assert child.append(b"2", expect=2).offset == 2


def test_headers_come_back_read_only_and_empty_when_there_were_none(log: Log) -> None:
    stream = log.create("s")
    given = {"kind": "tool-call", "ключ": "", "": "\x00\n🎈"}
    stream.append(b"", headers=given)
    stream.append(b"")
    stream.append(b"", headers={})
    assert stream[0].headers == given
    assert stream[1].headers == stream[2].headers == {}
    with pytest.raises(TypeError):
        stream[0].headers["kind"] = "other"  # type: ignore[index]
    given["kind"] = "changed by the caller later"
    assert stream[0].headers["kind"] == "tool-call"


def test_append_many_takes_one_mapping_for_all_or_one_for_each(log: Log) -> None:
    stream = log.create("s")
    stream.append_many([b"", b""], headers={"k": "all"})
    stream.append_many([b"", b"", b""], headers=[{"k": "first"}, None, {}])
    kinds = [dict(record.headers) for record in stream]
    assert kinds == [{"k": "all"}, {"k": "all"}, {"k": "first"}, {}, {}]
    batched = [dict(h or {}) for batch in stream.batches() for h in batch.headers]
    assert batched == kinds


def test_timestamps_are_the_callers_in_any_order_and_to_64_bits(log: Log) -> None:
    stream = log.create("s")
    times = [5, -(2**63), 2**63 - 1, 0, 0]
    for time_ in times[:3]:
        assert stream.append(b"", timestamp=time_).timestamp == time_
    assert stream.append_many([b"", b""], timestamps=times[3:]).timestamp == 0
    assert [record.timestamp for record in stream] == times


def test_timestamps_of_the_engine_are_the_time_now(log: Log) -> None:
    before = time.time_ns()
    receipt = log.create("s").append(b"")
    assert before - SECOND <= receipt.timestamp <= time.time_ns() + SECOND


def test_timestamps_of_the_engine_do_not_fall_behind_what_was_inherited(log: Log) -> None:
    stream = log.create("s")
    future = time.time_ns() + 3600 * SECOND
    stream.append(b"", timestamp=future)
    assert stream.append(b"").timestamp == future
    branch = stream.branch("branch")
    assert branch.append(b"").timestamp == future
    merged = log.merge("merge", [stream, branch], policy="append")
    assert merged.append_many([b"", b""]).timestamp == future
    early = stream.branch("early", at=0)
    with log.batch() as batch:
        batch.append(early, b"")
    assert early[-1].timestamp == future


def test_timestamps_of_the_engine_do_not_decrease_after_reopening(path: Path) -> None:
    future = time.time_ns() + 3600 * SECOND
    with transit.open(path) as log:
        log.create("s").append(b"", timestamp=future)
    with transit.open(path) as log:
        assert log.stream("s").append(b"").timestamp == future
        log.seal()
    with transit.open(path) as log:
        assert log.stream("s").append(b"").timestamp == future


# Batches


def test_a_batch_is_seen_whole_after_the_block_and_not_at_all_inside(log: Log) -> None:
    stream = filled(log, "s", b"0")
    with log.batch() as batch:
        batch.append(stream, b"1", headers={"k": "v"}, timestamp=7)
        staged = batch.create("new", {"why": "batch"})
        batch.append(staged, b"n0")
        child = batch.branch(stream, "child", metadata={"of": "s"})
        batch.append(child, b"c2")
        batch.append(stream, b"2")
        grandchild = batch.branch(child, "grandchild", at=0)
        assert payloads(stream) == [b"0"]
        assert [s.name for s in log.streams()] == ["s"]
        assert "new" not in log
    receipts = [(receipt.stream, receipt.offset) for receipt in batch.receipts]
    assert receipts == [("s", 1), ("new", 0), ("child", 2), ("s", 2)]
    assert payloads(stream) == [b"0", b"1", b"2"]
    assert (stream[1].headers, stream[1].timestamp) == ({"k": "v"}, 7)
    assert staged.stream.name == "new"
    assert dict(staged.stream.metadata) == {"why": "batch"}
    assert payloads(child.stream) == [b"0", b"1", b"c2"]
    assert origins(child.stream) == [("s", 0), ("s", 1), ("child", 2)]
    assert payloads(grandchild.stream) == [b"0"]
    assert parents(grandchild.stream) == [("child", 0)]


def test_a_batch_that_raises_writes_nothing(log: Log, contents: Contents) -> None:
    stream = filled(log, "s", b"0")
    before = contents(log)

    def abandon() -> None:
        with log.batch() as batch:
            batch.append(stream, b"1")
            batch.append(batch.create("new"), b"n0")
            raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError, match="own"):
        abandon()
    assert contents(log) == before
    assert log.create("new").append(b"n0").offset == 0


def test_an_empty_batch_writes_nothing(log: Log, path: Path) -> None:
    filled(log, "s", b"0")
    log.sync()
    before = {file: file.stat().st_size for file in path.rglob("*") if file.is_file()}
    with log.batch() as batch:
        pass
    assert batch.receipts == []
    assert {file: file.stat().st_size for file in path.rglob("*") if file.is_file()} == before


def test_expect_inside_a_batch_counts_what_the_batch_appended_before(log: Log) -> None:
    stream = filled(log, "s", b"0")
    with log.batch() as batch:
        batch.append(stream, b"1", expect=1)
        batch.append(stream, b"2", expect=2)
        batch.append(batch.create("new"), b"n0", expect=0)
    assert payloads(stream) == [b"0", b"1", b"2"]


def test_a_batch_over_many_streams_survives_reopening_whole(path: Path) -> None:
    with transit.open(path) as log, log.batch() as batch:
        for number in range(200):
            staged = batch.create(f"s{number}")
            batch.append(staged, b"%d" % number)
            batch.append(staged, b"again")
    with transit.open(path) as log:
        assert len(list(log.streams())) == 200
        for number, stream in enumerate(log.streams()):
            assert payloads(stream) == [b"%d" % number, b"again"]


# Reading


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
    assert 0.15 < time.monotonic() - began < 5


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
        await asyncio.wait_for(reading, timeout=10)
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


# Branches


def test_a_branch_shares_history_up_to_the_fork_and_then_goes_its_own_way(
    forked: tuple[Stream, Stream],
) -> None:
    main, side = forked
    assert payloads(main) == [b"m0", b"m1", b"m2", b"m3"]
    assert payloads(side) == [b"m0", b"m1", b"s2", b"s3"]
    assert origins(side) == [("main", 0), ("main", 1), ("side", 2), ("side", 3)]
    assert (side.kind, side.fork_offset, parents(side)) == ("branch", 1, [("main", 1)])


def test_a_branch_can_be_taken_at_any_offset(log: Log) -> None:
    stream = filled(log, "s", *(b"%d" % number for number in range(10)))
    for at in range(10):
        child = stream.branch(f"at {at}", at=at)
        assert payloads(child) == [b"%d" % number for number in range(at + 1)]
        assert child.append(b"own").offset == at + 1
    with pytest.raises(transit.OffsetError):
        stream.branch("past the head", at=10)
    assert "past the head" not in log
    assert len(stream) == 10


def test_branches_of_branches_trace_every_record_to_where_it_was_appended(log: Log) -> None:
    a = filled(log, "a", b"a0", b"a1")
    b = a.branch("b")
    b.append(b"b2")
    c = b.branch("c")
    c.append(b"c3")
    inherited = c.branch("d", at=0)
    assert origins(c) == [("a", 0), ("a", 1), ("b", 2), ("c", 3)]
    assert origins(inherited) == [("a", 0)]
    assert parents(inherited) == [("c", 0)]


def test_an_empty_stream_can_be_branched_at_its_head_only(log: Log) -> None:
    empty = log.create("empty")
    child = empty.branch("child")
    assert (child.kind, len(child), parents(child)) == ("branch", 0, [("empty", -1)])
    empty.append(b"later")
    assert payloads(child) == []
    assert child.append(b"own").offset == 0
    for at in (0, -1):
        with pytest.raises(transit.OffsetError):
            log.create(f"empty {at}").branch(f"child {at}", at=at)


def test_a_branch_of_a_merge_keeps_the_merged_order(
    forked: tuple[Stream, Stream], log: Log
) -> None:
    merged = log.merge("merged", list(forked), policy="interleave")
    merged.append(b"own")
    for at in range(7):
        child = merged.branch(f"at {at}", at=at)
        assert payloads(child) == payloads(merged)[: at + 1]
        assert origins(child) == origins(merged)[: at + 1]


def test_branching_does_not_read_or_copy_the_history(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        stream = log.create("s")
        stream.append_many([b"x" * 1000] * 2000)
        log.sync()
        before = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        for number in range(100):
            stream.branch(f"b{number}")
        log.sync()
        after = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    # Files may be allocated ahead in large steps, but 100 copies would be 200 MB.
    assert after - before < 70_000_000


# Merges


@pytest.mark.parametrize(
    ("policy", "params", "expected"),
    [
        ("select", {"selected": "main"}, [b"m0", b"m1", b"m2", b"m3"]),
        ("select", {"selected": "side"}, [b"m0", b"m1", b"s2", b"s3"]),
        ("append", None, [b"m0", b"m1", b"m2", b"m3", b"s2", b"s3"]),
        ("interleave", None, [b"m0", b"m1", b"m2", b"s2", b"m3", b"s3"]),
        ("base", None, [b"m0", b"m1"]),
        ("custom:surface-last-first", None, [b"m0", b"m1", b"s3", b"s2", b"m3", b"m2"]),
        ("custom:surface-every", {"step": 2}, [b"m0", b"m1", b"m2", b"s2"]),
    ],
)
def test_every_policy_makes_its_history_and_plan_shows_it_first(
    log: Log,
    forked: tuple[Stream, Stream],
    policy: str,
    params: dict[str, str | int] | None,
    expected: list[bytes],
) -> None:
    plan = log.plan(list(forked), policy=policy, params=params)
    assert [stream.name for stream in log.streams()] == ["main", "side"]
    merged = log.merge("merged", list(forked), policy=policy, params=params)
    assert payloads(merged) == expected
    assert (merged.kind, parents(merged)) == ("merge", [("main", 3), ("side", 3)])
    assert plan.base == Position("main", 1)
    assert (plan.policy, plan.version, plan.count) == (policy, 1, len(expected))
    assert [(p.stream, p.offset + i) for p, n in plan.spans for i in range(n)] == origins(merged)
    assert merged.append(b"own").offset == len(expected)
    assert merged[-1].origin == Position("merged", len(expected))
    assert len(forked[0]) == len(forked[1]) == 4


transit.register_policy(
    "surface-last-first",
    lambda suffixes, params: [r for suffix in suffixes[::-1] for r in suffix[::-1]],
)
transit.register_policy(
    "surface-every",
    lambda suffixes, params: (r for suffix in suffixes for r in suffix[:: params["step"]]),
)


def test_a_custom_policy_is_called_with_the_suffixes_as_records_and_the_params(
    log: Log, forked: tuple[Stream, Stream]
) -> None:
    calls: list[tuple[object, object]] = []

    def order(suffixes: object, params: object) -> list[transit.Record]:
        calls.append((suffixes, params))
        return []

    transit.register_policy("surface-records", order, version=3)
    plan = log.plan(list(forked), policy="custom:surface-records", params={"k": 1})
    assert plan.version == 3
    (suffixes, params) = calls[0]
    assert [[record.payload for record in suffix] for suffix in suffixes] == [  # type: ignore[attr-defined]
        [b"m2", b"m3"],
        [b"s2", b"s3"],
    ]
    assert dict(params) == {"k": 1}  # type: ignore[call-overload]
    assert all(isinstance(r, transit.Record) for suffix in suffixes for r in suffix)  # type: ignore[attr-defined]


def test_interleave_never_changes_the_order_of_one_parent(log: Log) -> None:
    one, two = log.create("one"), log.create("two")
    for time_ in (10, 1, 2, 11):
        one.append(b"one %d" % time_, timestamp=time_)
    for time_ in (5, 10, 11):
        two.append(b"two %d" % time_, timestamp=time_)
    merged = log.merge("merged", [one, two], policy="interleave")
    expected = [b"two 5", b"one 10", b"one 1", b"one 2", b"two 10", b"one 11", b"two 11"]
    assert payloads(merged) == expected


def test_fast_forward_takes_the_head_that_contains_the_others(log: Log) -> None:
    main = filled(log, "main", b"m0", b"m1")
    side = main.branch("side")
    side.append(b"s2")
    for order in ([main, side], [side, main]):
        name = "+".join(stream.name for stream in order)
        assert payloads(log.merge(name, order, policy="fast-forward")) == [b"m0", b"m1", b"s2"]
    main.append(b"m2")
    with pytest.raises(transit.NotFastForwardError):
        log.merge("diverged", [main, side], policy="fast-forward")
    assert "diverged" not in log
    position = Position("main", 1)
    assert payloads(log.merge("earlier", [position, side], policy="fast-forward")) == [
        b"m0",
        b"m1",
        b"s2",
    ]


def test_a_merge_contains_its_parents(log: Log, forked: tuple[Stream, Stream]) -> None:
    merged = log.merge("merged", list(forked), policy="select", params={"selected": "side"})
    for parent in forked:
        again = log.merge(f"{parent.name} on", [parent, merged], policy="fast-forward")
        assert payloads(again) == payloads(merged)


def test_parents_may_be_positions_before_the_head(log: Log, forked: tuple[Stream, Stream]) -> None:
    _, side = forked
    merged = log.merge("merged", [Position("main", 2), side], policy="append")
    assert payloads(merged) == [b"m0", b"m1", b"m2", b"s2", b"s3"]
    assert parents(merged) == [("main", 2), ("side", 3)]


def test_a_merge_of_three_without_a_common_record_takes_each_record_once(log: Log) -> None:
    one = filled(log, "one", b"a0", b"a1")
    two = filled(log, "two", b"b0", first_timestamp=1)
    three = one.branch("three", at=0)
    three.append(b"c1", timestamp=9)
    merged = log.merge("merged", [three, two, one], policy="append")
    assert payloads(merged) == [b"a0", b"c1", b"b0", b"a1"]
    assert log.plan([three, two, one], policy="append").base is None


def test_empty_streams_merge(log: Log) -> None:
    one, two = log.create("one"), log.create("two")
    full = filled(log, "full", b"0")
    for policy in ("append", "interleave", "base"):
        merged = log.merge(policy, [one, two], policy=policy)
        assert (payloads(merged), parents(merged)) == ([], [("one", -1), ("two", -1)])
        assert merged.append(b"own").offset == 0
    assert payloads(log.merge("mixed", [one, full, two], policy="append")) == [b"0"]


def test_a_base_may_be_given_and_a_wrong_one_is_refused(
    log: Log, forked: tuple[Stream, Stream], contents: Contents
) -> None:
    base = Position("main", 0)
    merged = log.merge("merged", list(forked), policy="append", base=base)
    assert payloads(merged) == [b"m0", b"m1", b"m2", b"m3", b"s2", b"s3"]
    assert payloads(log.merge("base", list(forked), policy="base", base=base)) == [b"m0"]
    same_record = Position("side", 1)
    assert log.plan(list(forked), policy="base", base=same_record).base == Position("main", 1)
    before = contents(log)
    for wrong in (Position("main", 2), Position("side", 2), Position("merged", 5)):
        for call in (log.plan, lambda *a, **k: log.merge("refused", *a, **k)):
            with pytest.raises(transit.MergeBaseError):
                call(list(forked), policy="append", base=wrong)
    assert contents(log) == before


def test_merging_again_with_the_same_id_returns_the_stream_and_writes_nothing(
    path: Path, contents: Contents
) -> None:
    with transit.open(path) as log:
        main = filled(log, "main", b"m0")
        side = main.branch("side")
        heads = [Position("main", 0), Position("side", 0)]
        first = log.merge("by default", [main, side], policy="append")
        given = log.merge("given", [main, side], policy="append", merge_id="merge-1")
        main.append(b"m1")
        before = contents(log)
        assert log.merge("by default", heads, policy="append").id == first.id
        again = log.merge("given", [main, side], policy="append", merge_id="merge-1")
        assert again.id == given.id
        assert contents(log) == before
        log.seal()
    with transit.open(path) as log:
        sealed = [log.stream("main"), log.stream("side")]
        assert log.merge("by default", heads, policy="append").id == first.id
        assert log.merge("given", sealed, policy="append", merge_id="merge-1").id == given.id
        assert contents(log) == before


def test_a_merge_under_a_taken_name_is_refused(log: Log, forked: tuple[Stream, Stream]) -> None:
    log.merge("merged", list(forked), policy="append")
    for name, policy in (("main", "append"), ("merged", "interleave")):
        with pytest.raises(transit.AlreadyExistsError):
            log.merge(name, list(forked), policy=policy)
    assert len(list(log.streams())) == 3


def test_a_merge_id_never_names_a_second_stream(
    log: Log, forked: tuple[Stream, Stream], contents: Contents
) -> None:
    log.merge("merged", list(forked), policy="append", merge_id="merge-1")
    before = contents(log)
    with pytest.raises(transit.AlreadyExistsError):
        log.merge("other", list(forked), policy="append", merge_id="merge-1")
    assert contents(log) == before


def test_provenance_is_kept_through_three_levels_of_merges(path: Path) -> None:
    with transit.open(path) as log:
        a = filled(log, "a", b"a0", first_timestamp=0)
        b = filled(log, "b", b"b0", first_timestamp=1)
        ab = log.merge("ab", [a, b], policy="append")
        ab.append(b"ab2", timestamp=2)
        c = filled(log, "c", b"c0", first_timestamp=3)
        abc = log.merge("abc", [c, ab], policy="append")
        abc.append(b"abc4", timestamp=4)
        child = abc.branch("child", at=3)
        child.append(b"child4", timestamp=5)
        last = log.merge("last", [child, abc], policy="interleave")
        before = origins(last)
        log.seal()
    expected = [("c", 0), ("a", 0), ("b", 0), ("ab", 2), ("abc", 4), ("child", 4)]
    assert before == expected
    with transit.open(path) as log:
        last = log.stream("last")
        assert origins(last) == expected
        for record in last:
            source = log.stream(record.origin.stream)[record.origin.offset]
            assert (source.payload, source.timestamp) == (record.payload, record.timestamp)
            assert source.origin == record.origin


# Lineage


def test_lineage_answers_over_a_criss_cross(log: Log) -> None:
    a = filled(log, "a", b"a0")
    b = a.branch("b")
    a.append(b"a1")
    b.append(b"b1")
    left = log.merge("left", [a, b], policy="append")
    right = log.merge("right", [b, a], policy="append")
    lineage = log.lineage
    assert [stream.name for stream in lineage.ancestors(b)] == ["a"]
    assert {stream.name for stream in lineage.ancestors(left)} == {"a", "b"}
    assert [stream.name for stream in lineage.children(a)] == ["b", "left", "right"]
    assert [stream.name for stream in lineage.parents(right)] == ["b", "a"]
    assert lineage.merge_base(a, b) == Position("a", 0)
    assert lineage.merge_bases(left, right) == (Position("b", 1), Position("a", 1))
    assert lineage.merge_base(left, right) == Position("b", 1)
    assert lineage.is_ancestor(Position("a", 0), b)
    assert lineage.is_ancestor(Position("b", 0), a)
    assert not lineage.is_ancestor(a, b)
    assert lineage.is_ancestor(a, left)
    assert lineage.is_ancestor(b, right)
    assert not lineage.is_ancestor(left, a)
    assert lineage.merge_base(a, filled(log, "stranger", b"x")) is None


def test_ancestors_come_nearest_first(log: Log) -> None:
    stream = filled(log, "0", b"")
    for number in range(1, 5):
        stream = stream.branch(str(number))
        stream.append(b"")
    assert [s.name for s in log.lineage.ancestors(stream)] == ["3", "2", "1", "0"]


def test_no_merge_base_is_an_ancestor_of_another(log: Log) -> None:
    a, b = filled(log, "a", b"a0"), filled(log, "b", b"b0")
    selected = log.merge("selected", [a, b], policy="select", params={"selected": "a"})
    a.append(b"a1")
    left = log.merge("left", [selected, a], policy="append")
    right = log.merge("right", [a, selected], policy="append")
    assert log.lineage.merge_bases(left, right) == (Position("a", 1),)


def test_ancestors_of_a_place_inside_a_merge_are_those_of_the_records_before_it(log: Log) -> None:
    a, b = filled(log, "a", b"a0"), filled(log, "b", b"b0")
    merged = log.merge("merged", [a.branch("child"), b], policy="append")
    inside, whole = Position("merged", 0), merged
    assert {stream.name for stream in log.lineage.ancestors(inside)} == {"a"}
    assert {stream.name for stream in log.lineage.ancestors(whole)} == {"a", "b", "child"}


def test_the_graph_has_every_stream_and_every_parent(
    log: Log, forked: tuple[Stream, Stream]
) -> None:
    log.merge("merged", list(forked), policy="append")
    graph = log.lineage.graph()
    assert len(graph.nodes) == 3
    assert len(graph.edges) == 3


# Typed values


def test_a_json_stream_appends_and_returns_values(path: Path) -> None:
    values = [None, True, 1, -0.5, "ü", [1, [2]], {"b": 1, "a": {"c": None}}]
    with transit.open(path) as log:
        stream = log.create("s", codec="json")
        for number, value in enumerate(values):
            assert stream.append_value(value).offset == number
        assert stream.codec == "json"
        assert list(stream.values()) == values
        with log.batch() as batch:
            staged = batch.create("batched", codec="json")
            batch.append(staged, b'{"a":1}')
    with transit.open(path) as log:
        stream = log.stream("s")
        assert stream.codec == "json"
        assert list(stream.values()) == values
        assert [stream.value(i) for i in range(len(values))] == values
        assert stream.value(-1) == values[-1]
        assert log.stream("batched").value(0) == {"a": 1}
        child = stream.branch("child")
        child.append_value("own")
        assert list(child.values()) == [*values, "own"]


# State of the store


def test_seal_moves_records_to_segments_and_nothing_changes_for_readers(
    log: Log, path: Path, forked: tuple[Stream, Stream], contents: Contents
) -> None:
    before = contents(log)
    log.seal()
    assert list((path / "segments").iterdir())
    assert list((path / "commits").iterdir())
    assert contents(log) == before
    forked[0].append(b"after")
    assert forked[0][-1].payload == b"after"
    log.seal()
    log.seal()
    with transit.open(path, mode="read") as reader:
        assert contents(reader) == contents(log)


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_sealed_records_are_read_whatever_the_compression(path: Path, compression: str) -> None:
    settings = transit.Settings(compression=compression, block_bytes=4096)
    bodies = [bytes([number % 256]) * (number % 97) for number in range(3000)]
    with transit.open(path, durability="os", settings=settings) as log:
        log.create("s").append_many(bodies)
        log.seal()
    with transit.open(path) as log:
        assert payloads(log.stream("s")) == bodies


def test_verify_of_a_healthy_store_is_ok_and_counts(
    log: Log, forked: tuple[Stream, Stream]
) -> None:
    log.merge("merged", list(forked), policy="interleave")
    assert log.verify().ok
    log.seal()
    forked[0].append(b"in the WAL")
    report = log.verify()
    assert report.ok
    assert list(report.findings) == []
    assert report.counts
    assert report.level


def test_verify_works_on_a_reader_and_on_an_empty_store(log: Log, path: Path) -> None:
    assert log.verify().ok
    with transit.open(path, mode="read") as reader:
        assert reader.verify().ok


def test_status_is_frozen_and_tells_of_the_store(log: Log, forked: tuple[Stream, Stream]) -> None:
    status = log.status()
    with pytest.raises(AttributeError):
        status.anything = 1  # type: ignore[attr-defined]
    assert repr(status)


def test_the_package_exports_the_surface_and_every_error() -> None:
    names = {"open", "Log", "Stream", "Record", "Batch", "Receipt", "Position", "Cursor"}
    for name in names | {"Settings", "register_policy", *errors.__all__}:
        assert hasattr(transit, name), name
        assert name in transit.__all__, name
