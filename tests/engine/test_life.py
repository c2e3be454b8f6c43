"""What becomes of streams: finished, hidden, shown, their names bound again; in one frame, after
sealing, in other processes' eyes, and verified."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

import transit
from transit import Position
from transit.engine.staging import Staging
from transit.format.life import NAMES_ID, Life, encode_life
from transit.format.record import Columns
from transit.log import assign as assigning
from transit.log.frames import Group
from transit.log.segments import Segment

SMALL = transit.Settings(seal_bytes=64 * 1024)


def names(streams: Iterator[transit.Stream]) -> list[str]:
    return [stream.name for stream in streams]


APPENDS: dict[str, Callable[[transit.Log, transit.Stream], object]] = {
    "append": lambda log, s: s.append(b"x"),
    "append, expecting": lambda log, s: s.append(b"x", expect=s.next_offset),
    "append in memory": lambda log, s: s.append(b"x", durability="memory"),
    "append durably": lambda log, s: s.append(b"x", durability="local"),
    "append at a time": lambda log, s: s.append(b"x", timestamp=1),
    "append many": lambda log, s: s.append_many([b"x", b"y"]),
    "submit": lambda log, s: s.submit(b"x"),
    "submit durably": lambda log, s: s.submit(b"x", durability="local"),
    "append a value": lambda log, s: s.append_value({"x": 1}),
    "batch": lambda log, s: in_batch(log, lambda batch: batch.append(s, b"x")),
    "batch of many": lambda log, s: in_batch(log, lambda batch: batch.append_many(s, [b"x"])),
}


def in_batch(log: transit.Log, work: Callable[[transit.WriteBatch], object]) -> None:
    with log.batch() as batch:
        work(batch)


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("append", APPENDS)
def test_a_finished_stream_takes_no_record_by_any_call(
    log: transit.Log, append: str, sealed: bool
) -> None:
    stream = log.create("s", codec="json")
    stream.append_value(1)
    stream.append(b"2", durability="memory")
    stream.finish(reason="done")
    if sealed:
        log.seal()
    records = log.status().records
    with pytest.raises(transit.StreamFinishedError) as caught:
        APPENDS[append](log, stream)
    assert (caught.value.stream, caught.value.next_offset) == ("s", 2)
    assert log.status().records == records
    assert [record.payload for record in log.stream("s")] == [b"1", b"2"]
    assert stream.finished
    assert log.verify().ok


def test_finishing_again_writes_nothing_and_a_condition_is_looked_at_first(
    log: transit.Log,
) -> None:
    stream = log.create("s")
    stream.append(b"x")
    with pytest.raises(transit.ConflictError):
        stream.finish(expect=0)
    assert not stream.finished
    stream.finish(expect=1)
    records = log.status().records
    stream.finish(durability="local")
    stream.finish(expect=1, reason="again")
    with pytest.raises(transit.ConflictError):
        stream.finish(expect=2)
    assert log.status().records == records


def test_branches_and_merges_of_a_finished_stream_go_on(log: transit.Log) -> None:
    stream, other = log.create("s"), log.create("o")
    stream.append_many([b"0", b"1"])
    other.append(b"o")
    stream.finish()
    branch = stream.branch("b", at=0)
    branch.append(b"after")
    whole = stream.branch("w")
    whole.append(b"2")
    merged = log.merge("m", [stream, other], policy="append")
    merged.append(b"end")
    assert [r.payload for r in merged] == [b"0", b"1", b"o", b"end"]
    assert [s.finished for s in (branch, whole, merged)] == [False] * 3
    assert log.verify().ok


def test_the_last_records_and_the_end_are_one_frame(log: transit.Log) -> None:
    stream = log.create("s")
    with log.batch() as batch:
        batch.append(stream, b"last")
        batch.finish(stream, expect=1)
        made = batch.create("whole")
        batch.append(made, b"all of it")
        batch.finish(made)
    assert stream.finished
    assert made.stream.finished
    for target in (stream, made.stream):
        with pytest.raises(transit.StreamFinishedError), log.batch() as batch:
            batch.append(target, b"more")
    fresh = log.create("fresh")

    def appends_after_the_end(batch: transit.WriteBatch) -> None:
        batch.append(fresh, b"1")
        batch.finish(fresh)
        batch.append(fresh, b"2")

    with pytest.raises(transit.StreamFinishedError):
        in_batch(log, appends_after_the_end)
    assert not fresh.finished
    assert len(fresh) == 0
    with pytest.raises(transit.ConflictError), log.batch() as batch:
        batch.finish(fresh, expect=5)
    assert log.verify().ok


def test_what_waits_for_more_ends_where_a_stream_is_finished(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        stream = log.create("s")
        stream.append(b"0")
        with transit.open(path, mode="read") as other:
            begun = threading.Barrier(3)

            def read(stream: transit.Stream) -> None:
                found = stream.tail(0)
                seen.append(next(found).payload)
                begun.wait()
                seen.extend(record.payload for record in found)

            seen: list[bytes] = []
            threads = [
                threading.Thread(target=read, args=(each,), daemon=True)
                for each in (stream, other.stream("s"))
            ]
            for thread in threads:
                thread.start()
            begun.wait(60)
            stream.append(b"1")
            stream.finish()
            for thread in threads:
                thread.join(120)
                assert not thread.is_alive()
            assert sorted(seen) == [b"0", b"0", b"1", b"1"]
            assert other.stream("s").finished

            async def follow() -> list[bytes]:
                return [r.payload async for r in other.stream("s").follow(0)]

            assert asyncio.run(asyncio.wait_for(follow(), 120)) == [b"0", b"1"]


def test_a_hidden_stream_is_in_no_listing_and_no_lookup(log: transit.Log) -> None:
    kept = log.create("kept")
    stream = log.create("s", {"k": "v"})
    stream.append(b"0")
    child = stream.branch("child")
    log.hide("s", reason="mistaken")
    assert names(log.streams()) == ["kept", "child"]
    assert names(log.hidden()) == ["s"]
    assert names(log.hidden("x")) == []
    assert "s" not in log
    assert stream.hidden
    assert not child.hidden
    assert log.status().streams == 2
    for ask in (log.stream, lambda name: log.lineage.parents(Position(name, 0)), log.hide):
        with pytest.raises(transit.NotFoundError):
            ask("s")  # type: ignore[operator]
    # What holds it, and what inherits from it, goes on.
    stream.append(b"1")
    assert [r.payload for r in stream] == [b"0", b"1"]
    assert [r.payload for r in child] == [b"0"]
    assert child.parents == (Position("s", 0),)
    assert names(iter(log.lineage.parents(child))) == ["s"]
    assert log.lineage.children(kept) == ()
    graph = {node.name: node.hidden for node in log.lineage.graph().nodes}
    assert graph == {"kept": False, "s": True, "child": False}
    log.hide(child)
    assert log.lineage.children(stream) == ()
    assert [node.name for node in log.lineage.graph().nodes] == ["kept"]
    log.show(stream)
    log.show(stream)
    assert names(log.streams()) == ["kept", "s"]
    assert log.stream("s") == stream
    assert log.status().streams == 2
    assert log.verify().ok


@pytest.mark.parametrize("sealed", [False, True])
def test_a_name_is_bound_again_and_the_first_stream_comes_back_when_it_is_free(
    log: transit.Log, sealed: bool
) -> None:
    streams = []
    for number in range(4):
        stream = log.create("s", {"number": number})
        stream.append(b"%d" % number)
        streams.append(stream)
        with pytest.raises(transit.AlreadyExistsError):
            log.create("s")
        assert log.stream("s") == stream
        log.hide(stream)
        if sealed:
            log.seal()
    assert names(log.hidden()) == ["s"] * 4
    log.show(streams[1])
    assert log.stream("s") == streams[1]
    assert log.stream("s")[0].payload == b"1"
    for other in (streams[0], streams[3]):
        with pytest.raises(transit.AlreadyExistsError):
            log.show(other)
    log.seal()
    assert log.stream("s").metadata == {"number": 1}
    log.hide("s")
    again = log.create("s")
    assert again not in streams
    assert log.stream("s") == again
    assert log.verify().ok


def test_a_stream_is_replaced_under_its_name_in_one_frame(log: transit.Log) -> None:
    old = log.create("s")
    old.append(b"old")
    with log.batch() as batch:
        batch.finish(old)
        batch.hide(old, expect=1, reason="replaced")
        made = batch.create("s")
        batch.append(made, b"new")
    assert log.stream("s")[0].payload == b"new"
    assert old.hidden
    assert old.finished
    with pytest.raises(transit.AlreadyExistsError), log.batch() as batch:
        batch.show(old)
    with log.batch() as batch:
        batch.hide(made.stream)
        batch.show(old)
    assert log.stream("s") == old

    def creates_before_it_hides(batch: transit.WriteBatch) -> None:
        batch.create("s")
        batch.hide(old)

    with pytest.raises(transit.AlreadyExistsError):
        in_batch(log, creates_before_it_hides)
    with pytest.raises(transit.ConflictError), log.batch() as batch:
        batch.hide(old, expect=7)
    assert log.verify().ok


def test_a_stream_is_finished_and_hidden_each_by_itself(path: Path) -> None:
    with transit.open(path, durability="os", settings=SMALL) as log:
        both = log.create("both")
        both.append(b"0")
        log.hide(both)
        both.finish()
        log.seal()
        log.show(both)
        assert both.finished
        log.hide(both)
        log.create("finished").finish()
    for sealed in (False, True):
        with transit.open(path, durability="os") as log:
            (found,) = log.hidden()
            assert (found.name, found.finished, found.hidden) == ("both", True, True)
            finished = log.stream("finished")
            assert (finished.finished, finished.hidden) == (True, False)
            with pytest.raises(transit.StreamFinishedError):
                found.append(b"x")
            assert log.verify().ok
            if not sealed:
                log.seal()


def test_every_process_of_a_shared_store_sees_what_becomes_of_streams(path: Path) -> None:
    with (
        transit.open(path, mode="shared", durability="os") as one,
        transit.open(path, mode="shared", durability="os") as other,
        transit.open(path, mode="read") as reader,
    ):
        stream = one.create("s")
        seen, read = other.stream("s"), reader.stream("s")
        seen.append(b"0")
        stream.finish(expect=1)
        with pytest.raises(transit.StreamFinishedError):
            seen.append(b"1")
        assert read.finished
        one.hide("s")
        one.seal()
        assert "s" not in other
        made = other.create("s")
        assert reader.stream("s").id == made.id != stream.id
        other.seal()
        one.hide("s")
        assert "s" not in reader
        assert names(reader.hidden()) == ["s", "s"]
        with pytest.raises(transit.ReadOnlyError):
            read.finish()
        with pytest.raises(transit.ReadOnlyError):
            reader.show(read)
        assert one.verify().ok


@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_opening_looks_into_no_segment(
    path: Path, mode: transit.Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a store opens as fast with many as with few, and though one is damaged."""
    with transit.open(path, durability="os") as log:
        for name in "abc":
            log.create(name).append(b"x")
            log.seal()
        log.stream("a").append(b"x")
    looked: list[str] = []
    load = Segment.load

    def noted(segment: Segment) -> object:
        looked.append(segment.path)
        return load(segment)

    monkeypatch.setattr(Segment, "load", noted)
    with transit.open(path, mode=mode) as log:
        at_opening = list(looked)
        assert [r.payload for r in log.stream("b").read()] == [b"x"]
    assert len(set(looked)) == 3
    # A writer looks for the store's own first record, which is in one of them.
    assert len(at_opening) <= (mode != "read")


def test_opening_and_appending_look_at_no_finished_stream(path: Path) -> None:
    """Of many finished streams only those that are asked for are looked up."""
    with transit.open(path, durability="os", settings=SMALL) as log:
        for start in range(0, 2000, 200):
            with log.batch() as batch:
                for number in range(start, start + 200):
                    batch.finish(batch.create(f"s{number}"))
        log.seal()
    with transit.open(path, durability="os") as log:
        log.create("fresh").append(b"x")
        catalog = log._handle.catalog
        assert len(catalog._states) < 10
        assert log.stream("s1234").finished
        assert not log.stream("fresh").finished
        assert len(catalog._states) < 10


@pytest.mark.parametrize("reason", [5, None, "x" * 1025, "\ud800"])
def test_a_reason_that_is_none_is_refused_before_anything_is_written(
    log: transit.Log, reason: str
) -> None:
    stream = log.create("s")
    records = log.status().records
    for call in (stream.finish, lambda **given: log.hide(stream, **given)):
        with pytest.raises(transit.InvalidInputError):
            call(reason=reason)  # type: ignore[operator]
    with log.batch() as batch, pytest.raises(transit.InvalidInputError):
        batch.finish(stream, reason=reason)
    for bad in (-1, "1", True):
        with pytest.raises(transit.InvalidInputError):
            stream.finish(expect=bad)  # type: ignore[arg-type]
        with pytest.raises(transit.InvalidInputError):
            log.hide(stream, expect=bad)  # type: ignore[arg-type]
    assert log.status().records == records
    log.hide(stream, reason="é" * 512)


def test_merges_by_name_refuse_two_streams_of_one_name(log: transit.Log) -> None:
    old = log.create("s")
    old.append(b"0")
    log.hide(old)
    new = log.create("s")
    new.append(b"1")
    with pytest.raises(transit.InvalidInputError, match="two streams are named 's'"):
        log.merge("m", [old, new], policy="select", params={"selected": "s"})
    merged = log.merge("m", [old, new], policy="append")
    assert [r.payload for r in merged] == [b"0", b"1"]
    assert log.verify().ok


# What a verifier finds


def write(log: transit.Log, *lives: Life) -> None:
    """Records of `$names` that no call would write."""
    writer, state = log._handle.writer, log._handle.catalog.names_state()
    payloads = [encode_life(life) for life in lives]
    sizes = len(payloads[0]) if len(set(map(len, payloads))) == 1 else list(map(len, payloads))
    columns = Columns(payloads, sizes, 1, None)
    writer.frame(lambda: writer.commit([Group(state, columns)], (), lives))


def wrong(stream: int = 1, streams: int = 3, **rest: object) -> Life:
    return Life(stream=stream, streams=streams, **rest)  # type: ignore[arg-type]


WRONG = {
    "a stream that is not there": [wrong(7, 9, hidden=True)],
    "a stream that is made later": [wrong(2, 3, hidden=True), wrong(1, 2, hidden=True)],
    "finished with more than it has": [wrong(finished=3)],
    "finished with less than it has": [wrong(finished=1)],
    "not finished any more": [wrong(finished=2), wrong()],
    "finished twice": [wrong(finished=1), wrong(finished=2)],
    "deleted, then not": [
        wrong(finished=2, hidden=True, deleted=True),
        wrong(finished=2, hidden=True),
    ],
}


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("case", WRONG)
def test_records_that_cannot_be_are_findings(path: Path, case: str, sealed: bool) -> None:
    with transit.open(path / "s", durability="os", remote=path / "r") as log:
        log.create("one").append_many([b"0", b"1"])
        log.create("two")
        assert log.verify().ok
        write(log, *WRONG[case])
        if sealed:
            log.seal()
        report = log.verify()
        assert not report.ok
        assert all("$names" in finding.place for finding in report.findings), report.findings
        log.publish()
    audited = transit.audit(path / "r")
    assert not audited.ok
    assert all("$names" in finding.place for finding in audited.findings), audited.findings


# Planted bugs that the verifier must find


def appends_after_the_end(monkeypatch: pytest.MonkeyPatch, log: transit.Log) -> None:
    stream = log.create("s")
    stream.append(b"0")
    stream.finish()
    stream._state.finished = False
    stream.append(b"1")


def two_streams_of_one_name(monkeypatch: pytest.MonkeyPatch, log: transit.Log) -> None:
    monkeypatch.setattr(Staging, "_find", lambda staging, name: None)
    log.create("s")
    log.create("s")


def shown_over_another(monkeypatch: pytest.MonkeyPatch, log: transit.Log) -> None:
    old = log.create("s")
    log.hide(old)
    log.create("s")
    monkeypatch.setattr(Staging, "_find", lambda staging, name: None)
    log.show(old)


def finished_without_its_last_records(monkeypatch: pytest.MonkeyPatch, log: transit.Log) -> None:
    stream = log.create("s")
    right = Staging.change

    def wrong(staging: Staging, state: object, reason: str, **changes: int) -> None:
        if "finished" in changes:
            changes["finished"] = state.next_offset  # type: ignore[attr-defined]
        right(staging, state, reason, **changes)  # type: ignore[arg-type]

    monkeypatch.setattr(Staging, "change", wrong)
    with log.batch() as batch:
        batch.append(stream, b"last")
        batch.finish(stream)


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize(
    "plant",
    [
        appends_after_the_end,
        two_streams_of_one_name,
        shown_over_another,
        finished_without_its_last_records,
    ],
)
def test_a_planted_bug_is_found(
    log: transit.Log,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch, transit.Log], None],
    sealed: bool,
) -> None:
    plant(monkeypatch, log)
    if sealed:
        log.seal()
    assert not log.verify().ok


def test_the_condition_of_an_append_to_a_finished_stream_is_not_what_is_told(
    log: transit.Log,
) -> None:
    stream = log.create("s")
    stream.finish()
    with pytest.raises(transit.StreamFinishedError):
        stream.append(b"x", expect=9)
    tail = msgspec.structs.replace(Life(stream=1, streams=2))
    assert tail.finished is None
    assert assigning.finished(stream._state).next_offset == 0
    assert NAMES_ID > 2**62
