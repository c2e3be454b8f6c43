"""What was reported of other systems that derive state from records, tried here.

Each test names the report.
"""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest

import transit
from transit import views


class Row(msgspec.Struct, frozen=True):
    """A row."""

    key: str
    total: float = 0.0
    mail: str | None = None


class Add(msgspec.Struct):
    """An event."""

    key: str
    count: float = 0.0
    mail: str | None = None
    gone: bool = False


rows = views.table("rows", Row, key="key", index=["total"], unique=["mail"])


@views.reducer(rows, reads=list[Add])
def tally(rows: Any, event: list[Add], at: views.At) -> None:
    """Add up by key."""
    for each in event:
        if each.gone:
            rows.delete(each.key)
        else:
            row = rows.get(each.key) or Row(each.key)
            rows.put(Row(each.key, row.total + each.count, each.mail))


def add(stream: transit.Stream, key: str, count: float = 1.0, **other: Any) -> None:
    """Append one event."""
    stream.append(json.dumps([{"key": key, "count": count, **other}]).encode())


def totals(
    view: views.View, stream: transit.Stream | str, at: int | None = None
) -> dict[str, float]:
    """What a view says."""
    return {row.key: row.total for row in view.of(stream, at).rows}


def test_a_fork_does_not_have_what_the_abandoned_side_wrote(log: transit.Log) -> None:
    """langchain-ai/langgraph#8443."""
    thread = log.create("thread")
    add(thread, "base")
    add(thread, "abandoned")
    view = views.open(log, tally, savepoint_records=1)
    view.save(thread)
    fork = thread.branch("fork", at=0)
    add(fork, "kept")
    view.save(fork)
    assert totals(views.open(log, tally), fork) == {"base": 1, "kept": 1}


def test_a_fork_writes_nothing_into_the_side_that_was_there(log: transit.Log) -> None:
    """langchain-ai/langgraph#8551."""
    thread = log.create("thread")
    add(thread, "base")
    add(thread, "old")
    view = views.open(log, tally, savepoint_records=1)
    fork = thread.branch("fork", at=0)
    add(fork, "new")
    view.save(fork)
    assert totals(view, thread) == {"base": 1, "old": 1}
    add(thread, "later")
    assert totals(views.open(log, tally), thread) == {"base": 1, "old": 1, "later": 1}


def test_two_forks_of_nothing_do_not_meet(log: transit.Log) -> None:
    """langchain-ai/langgraphjs#2738: both had the same place and the same version."""
    root = log.create("root")
    with log.batch() as batch:
        for name in ("one", "two"):
            batch.branch(root, name, empty=True)
    view = views.open(log, tally, savepoint_records=1)
    for name in ("one", "two"):
        add(log.stream(name), name)
        view.save(name)
    cold = views.open(log, tally)
    assert (totals(cold, "one"), totals(cold, "two")) == ({"one": 1}, {"two": 1})


def test_a_record_whose_reducer_failed_once_counts_once(log: transit.Log) -> None:
    """apache/kafka#3134 (KAFKA-5315): the store had what was done before the failure."""
    is_down = [True]

    @views.reducer(rows, reads=list[Add], code="x")
    def fragile(rows: Any, event: list[Add], at: views.At) -> None:
        tally(rows, event, at)
        if at.offset == 3 and is_down[0]:
            raise OSError("down")

    stream = log.create("s")
    for _ in range(5):
        add(stream, "a")
    view = views.open(log, fragile, savepoint_records=2)
    for _ in range(3):
        with pytest.raises(views.ReducerError):
            view.of(stream)
    assert totals(view, stream, 3) == {"a": 3}
    is_down[0] = False
    assert totals(view, stream) == {"a": 5}
    assert view.of(stream).applied == 5


def test_more_is_never_counted_than_there_is(log: transit.Log) -> None:
    """kurrent-io/KurrentDB#1128: 12 events processed where there were 10."""
    stream = log.create("s")
    view = views.open(log, tally, savepoint_records=3)
    for number in range(10):
        add(stream, "a")
        view.of(stream)
        view.of(stream, number // 2)
        views.open(log, tally, savepoint_records=2).save(stream)
    state = views.open(log, tally).of(stream)
    assert (state.applied, state.rows["a"].total) == (10, 10)


def test_after_a_restart_nothing_deleted_and_nothing_twice_is_there(log: transit.Log) -> None:
    """MaterializeInc/materialize#13452."""
    stream = log.create("s")
    for turn in range(4):
        for key in "abcd":
            add(stream, f"{key}{turn}")
            if turn:
                add(stream, f"{key}{turn - 1}", gone=True)
        views.open(log, tally, savepoint_records=5).save(stream)
    path = log.path
    log.close()
    with transit.open(path) as again:
        view = views.open(again, tally, savepoint_records=5)
        assert totals(view, "s") == dict.fromkeys(("a3", "b3", "c3", "d3"), 1)
        assert len(view.of("s").rows) == 4


def test_a_view_that_had_not_finished_goes_on_where_it_was(log: transit.Log) -> None:
    """risingwavelabs/risingwave#5755: a view whose first pass was cut short came out wrong."""
    is_cut = [True]

    @views.reducer(rows, reads=list[Add], code="y")
    def cut(rows: Any, event: list[Add], at: views.At) -> None:
        if at.offset == 57 and is_cut[0]:
            raise KeyboardInterrupt
        tally(rows, event, at)

    stream = log.create("s")
    for number in range(100):
        add(stream, "abc"[number % 3])
    with pytest.raises(KeyboardInterrupt):
        views.open(log, cut, savepoint_records=10).of(stream)
    is_cut[0] = False
    view = views.open(log, cut, savepoint_records=10)
    assert view.savepoints(stream) == (10, 20, 30, 40, 50)
    assert totals(view, stream) == {"a": 34, "b": 33, "c": 33}


def test_folding_again_meets_no_unique_row_of_the_time_before(log: transit.Log) -> None:
    """spatie/laravel-event-sourcing#387: a replay ran into the rows that were there."""
    stream = log.create("s")
    add(stream, "a", mail="x")
    add(stream, "a", gone=True)
    add(stream, "b", mail="x")
    view = views.open(log, tally, savepoint_records=1)
    view.save(stream)
    for other in (views.open(log, tally, persist="ephemeral"), views.open(log, tally)):
        assert [row.key for row in other.of(stream).rows.where(mail="x")] == ["b"]
    assert view.verify(stream).ok


def test_not_a_number_is_kept_and_found_as_any_other(log: transit.Log) -> None:
    """apache/paimon#736: rows with NaN came back wrong."""
    table = views.table("values", Row, key="key")

    @views.reducer(table, reads=bytes, code="z")
    def keep(values: Any, event: bytes, at: views.At) -> None:
        values.put(Row(f"{at.offset}", float(event)))

    stream = log.create("s")
    stream.append_many([b"nan", b"-nan", b"inf", b"-inf", b"-0.0"])
    roots = set()
    for every in (1, 100):
        state = views.open(log, keep, persist="ephemeral", savepoint_records=every).of(stream)
        assert [repr(row.total) for row in state.values] == ["nan", "nan", "inf", "-inf", "-0.0"]
        roots.add(state.root)
    assert len(roots) == 1
    assert math.isnan(state.values["1"].total)


def test_an_offset_that_is_not_there_yet_is_no_answer(log: transit.Log) -> None:
    """xtdb/xtdb#546: a later moment was answered, and later otherwise."""
    stream = log.create("s")
    add(stream, "a")
    view = views.open(log, tally)
    with pytest.raises(transit.OffsetError):
        view.of(stream, 2)
    add(stream, "b")
    assert totals(view, stream, 2) == {"a": 1, "b": 1}


def test_a_moment_between_two_records_is_that_of_the_first(log: transit.Log) -> None:
    """xtdb/xtdb#1732."""
    stream = log.create("s")
    for key in "abc":
        add(stream, key)
    moments = [record.timestamp for record in stream.read()]
    view = views.open(log, tally)
    for number, moment in enumerate(moments):
        assert view.of(stream, time=moment).position <= number
        assert view.of(stream, time=moment + 1).position <= number + 1
    with pytest.raises(transit.InvalidInputError, match="to come"):
        view.of(stream, time=moments[2] + 10**12)


def test_the_last_of_several_writes_of_one_record_stands(log: transit.Log) -> None:
    """xtdb/xtdb#4303: after a compaction the first one did."""
    stream = log.create("s")
    event = [{"key": "a", "count": 1}, {"key": "a", "gone": True}, {"key": "a", "count": 5}]
    stream.append(json.dumps(event).encode())
    for every in (1, 100):
        view = views.open(log, tally, savepoint_records=every)
        view.save(stream)
        state = views.open(log, tally).of(stream)
        assert [row.total for row in state.rows] == [5]
        assert [row.key for row in state.rows.where(total=1.0)] == []


def test_a_key_that_is_written_often_is_kept_once(log: transit.Log) -> None:
    """bytewax/bytewax#129: a snapshot of a key for each time that it was changed."""
    stream = log.create("s")
    event = json.dumps([{"key": "a", "count": 1}]).encode()
    stream.append_many([event] * 1_000)
    view = views.open(log, tally)
    view.save(stream)
    packs = log.layer("views").stream(f"{view.id}/packs/{stream.uid}")
    assert len(packs) == 1
    assert len(packs[0].payload) < 500
