"""What appending and batches promise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit
from transit import Log

from .histories import SECOND, Contents, filled, origins, parents, payloads

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
        later = stream.submit(b"3", timestamp=8).result(timeout=60)
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
        assert stream.submit(b"", durability="local").result(timeout=60).durability == "local"
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
    stream.submit(kind(body)).result(timeout=60)
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
        future.result(timeout=60)
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
    assert [future.result(timeout=60).offset for future in futures] == list(range(500))
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


def test_timestamps_of_the_engine_go_by_none_that_a_user_gave(path: Path) -> None:
    future = time.time_ns() + 3600 * SECOND
    with transit.open(path) as log:
        stream = log.create("s")
        stream.append(b"", timestamp=future)
        given = [stream.append(b"").timestamp]
        branch = stream.branch("branch", at=0)
        given.append(branch.append(b"").timestamp)
        merged = log.merge("merge", [stream, branch], policy="append")
        given.append(merged.append_many([b"", b""]).timestamp)
        with log.batch() as batch:
            batch.append(branch, b"", timestamp=future)
            batch.append(branch, b"")
        given.append(branch[-1].timestamp)
        given.append(stream.append(b"", durability="memory").timestamp)
    with transit.open(path) as log:
        given.append(log.stream("s").append(b"").timestamp)
        log.seal()
    with transit.open(path) as log:
        given.append(log.stream("s").append(b"").timestamp)
    assert given == sorted(given)
    assert given[-1] < future - 1800 * SECOND


def test_when_a_record_was_written_is_kept_apart_from_its_timestamp(path: Path) -> None:
    began = time.time_ns()
    with transit.open(path) as log:
        stream = log.create("s")
        stream.append(b"own", timestamp=5)
        stream.append_many([b"a", b"b"], timestamps=[7, 6])
        stream.append(b"engine's")
        times = [record.written for record in stream]
        assert times[1] == times[2] == stream[2].written
        assert began <= times[0] <= times[1] <= times[3] == stream[3].timestamp <= time.time_ns()
        log.seal()
        assert [record.written for record in stream] == times
        (batch,) = stream.batches()
        assert (list(batch.written), batch.writer, stream[0].writer) == (times, "", "")
        assert log.lineage.why(stream[1].origin).written == times[1]


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


def test_records_at_once_in_a_batch_are_what_they_are_one_by_one(log: Log) -> None:
    payloads_given = [b"1", bytearray(b"2"), b"", memoryview(b"4")]
    maps = [{"k": "v"}, None, {}, {"k": "w"}]
    found = []
    for name in ("single", "many"):
        stream = filled(log, name, b"0")
        with log.batch(durability="os") as batch:
            staged = batch.create(f"{name}/new")
            batch.append(stream, b"before", timestamp=3)
            if name == "single":
                for place, payload in enumerate(payloads_given):
                    batch.append(
                        stream, payload, headers=maps[place], timestamp=9 - place,
                        expect=None if place else 2,
                    )  # fmt: skip
                for payload in payloads_given:
                    batch.append(staged, payload, headers={"of": "all"})
            else:
                batch.append_many(
                    stream, iter(payloads_given), headers=maps, timestamps=[9, 8, 7, 6], expect=2
                )
                batch.append_many(staged, payloads_given, headers={"of": "all"})
            batch.append_many(stream, [], expect=99)
            batch.append(stream, b"after", expect=6)
        receipts = [(r.stream.removeprefix(name), r.offset, r.count) for r in batch.receipts]
        times = [r.timestamp for r in batch.receipts if r.stream == name][:-1]
        records = [
            (record.offset, record.payload, dict(record.headers))
            for each in (stream, staged.stream)
            for record in each
        ]
        assert [record.timestamp for record in stream][1:-1] == times
        assert {r.timestamp for r in batch.receipts if r.stream != name} == {
            record.timestamp for record in staged.stream
        }
        found.append((receipts, times, records))
    assert found[0] == found[1]
    assert [offset for _, offset, _ in found[0][0]] == [1, 2, 3, 4, 5, 0, 1, 2, 3, 6]


def test_records_at_once_in_a_batch_are_refused_as_one_by_one(log: Log, contents: Contents) -> None:
    stream, closed = filled(log, "s", b"0"), filled(log, "closed")
    closed.finish()
    before = contents(log)

    def written(stage: Callable[[transit.WriteBatch], None]) -> str:
        with pytest.raises(transit.TransitError) as caught, log.batch() as batch:
            stage(batch)
        assert contents(log) == before
        return f"{type(caught.value).__name__}: {caught.value}"

    large = b"x" * (log.settings.record_bytes_max + 1)
    for target, payloads_given, options in (
        (stream, [b"1", large], {}),
        (stream, [b"1", 2], {}),
        (stream, [b"1"], {"expect": 7}),
        (stream, [b"1"], {"expect": -1}),
        (stream, [b"1"], {"headers": {"k": 1}}),
        (closed, [b"1"], {}),
        ("absent", [b"1"], {}),
    ):
        many = written(lambda b: b.append_many(target, payloads_given, **options))  # type: ignore[arg-type] # noqa: B023

        def one_by_one(batch: transit.WriteBatch) -> None:
            for payload in payloads_given:  # noqa: B023
                batch.append(target, payload, **options)  # type: ignore[arg-type] # noqa: B023

        assert many == written(one_by_one)
    for wrong in (
        {"headers": [None]}, {"timestamps": [1]}, {"timestamps": [1, "2"]}, {"headers": "k"},
    ):  # fmt: skip
        text = written(lambda b: b.append_many(stream, [b"1", b"2"], **wrong))  # type: ignore[arg-type] # noqa: B023
        assert text.startswith("InvalidInputError")
    assert "must be several" in written(lambda b: b.append_many(stream, b"12"))  # type: ignore[arg-type]
    # Nothing of a call that was refused is staged: the block may go on.
    with log.batch() as batch:
        with pytest.raises(transit.InvalidInputError):
            batch.append_many(stream, [b"1", large])
        batch.append(stream, b"2")
    assert payloads(stream) == [b"0", b"2"]


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
