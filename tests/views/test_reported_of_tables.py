"""More of what was reported of other systems that keep derived state: tables, indexes, restarts.

Each test names the report.
"""

from __future__ import annotations

import enum
import json
import threading
from typing import Any

import msgspec
import pytest

import transit
from transit import views


class Row(msgspec.Struct, frozen=True):
    """A row."""

    key: str
    team: str | None = None
    rank: int | None = None
    weight: float = 0.0


class Step(msgspec.Struct):
    """What is done to a row."""

    key: str
    team: str | None = None
    rank: int | None = None
    weight: float = 0.0
    gone: bool = False


rows = views.table("rows", Row, key="key", index=["team", ("team", "rank"), "weight"])
weights = views.table("weights", Row, key="key", unique=["weight"])


@views.reducer(rows, reads=list[Step])
def steps(rows: Any, event: list[Step], at: views.At) -> None:
    """Do them in order."""
    for each in event:
        if each.gone:
            rows.delete(each.key)
        else:
            rows.put(Row(each.key, each.team, each.rank, each.weight))


@views.reducer(rows, reads=list[Step], where={"kind": "step"}, name="chosen")
def chosen(rows: Any, event: list[Step], at: views.At) -> None:
    """The same, of some records."""
    for each in event:
        rows.put(Row(each.key))


def do(stream: transit.Stream, *given: dict[str, Any]) -> None:
    """One record."""
    stream.append(json.dumps(given).encode(), headers={"kind": "step"})


def plain(stream: transit.Stream, stop: int | None = None) -> dict[str, Row]:
    """What a loop comes to."""
    found: dict[str, Row] = {}
    for record in stream.read(0, len(stream) if stop is None else stop):
        for each in msgspec.json.decode(record.payload, type=list[Step]):
            found.pop(each.key, None)
            if not each.gone:
                found[each.key] = Row(each.key, each.team, each.rank, each.weight)
    return found


def check(log: transit.Log, stream: transit.Stream) -> None:
    """All rows, by key, by scan and by each index, however the records were cut up."""
    roots = set()
    for every in (1, 2, 3, 1_000):
        state = views.open(log, steps, persist="ephemeral", savepoint_records=every).of(stream)
        expected = plain(stream)
        assert {row.key: row for row in state.rows} == expected
        assert len(state.rows) == len(expected)
        for row in expected.values():
            for fields in (("team",), ("team", "rank"), ("weight",)):
                equal = {field: getattr(row, field) for field in fields}
                wanted = [
                    other for _, other in sorted(expected.items())
                    if all(getattr(other, field) == equal[field] for field in fields)
                ]  # fmt: skip
                assert sorted(state.rows.where(**equal), key=lambda r: r.key) == wanted
        roots.add(state.root)
    assert len(roots) == 1


def test_a_row_that_went_and_came_again_in_one_record_is_there(log: transit.Log) -> None:
    """tursodatabase/turso#3601: groups were gone after a delete and an insert of the same key."""
    stream = log.create("s")
    do(stream, {"key": "a", "team": "x", "rank": 1}, {"key": "b", "team": "x"})
    do(stream, {"key": "a", "gone": True}, {"key": "a", "team": "x", "rank": 1})
    do(stream, {"key": "b", "gone": True}, {"key": "b", "team": "y"}, {"key": "b", "team": "x"})
    check(log, stream)


def test_a_row_that_is_written_as_it_was_stays_and_is_no_change(log: transit.Log) -> None:
    """tursodatabase/turso#8463: replaced by an equal one, it was gone from the view."""
    stream = log.create("s")
    for _ in range(3):
        do(stream, {"key": "a", "team": "x"})
    check(log, stream)
    view = views.open(log, steps)
    assert [change.offset for change in done(view, "s")] == [0]
    assert list(view.diff(view.of("s", 1), view.of("s"))) == []


def done(view: views.View, stream: str) -> list[Any]:
    """All changes to a subscriber, each of them done."""
    found = []
    for change in view.changes(stream, "reader"):
        change.done()
        found.append(change)
    return found


def test_a_delete_and_an_insert_in_one_frame_leave_view_and_index_alike(log: transit.Log) -> None:
    """scylladb/scylladb#4321: the view had a row that the table did not."""
    stream = log.create("s")
    with log.batch() as batch:
        for given in (
            {"key": "kw", "gone": True}, {"key": "kw", "rank": 2, "team": "100"},
            {"key": "kw", "gone": True}, {"key": "kw2", "rank": 2, "team": "100"},
        ):  # fmt: skip
            batch.append(stream, json.dumps([given]).encode())
    check(log, stream)
    assert set(plain(stream)) == {"kw2"}


def test_updates_and_then_deletes_in_one_go_take_away_those_alone(log: transit.Log) -> None:
    """CDLSoftware/pg-mv-fast-refresh#45: updates before deletes were deletes too."""
    stream = log.create("s")
    do(stream, *({"key": key, "team": "x", "rank": 1} for key in "abcd"))
    do(
        stream, *({"key": key, "team": "y", "rank": 2} for key in "abc"),
        {"key": "d", "gone": True},
    )  # fmt: skip
    check(log, stream)
    assert set(plain(stream)) == {"a", "b", "c"}


def test_an_indexed_field_that_becomes_none_is_found_as_that(log: transit.Log) -> None:
    """matrixorigin/matrixone#27622: set to null, the row had no entry in the index any more."""
    stream = log.create("s")
    do(stream, {"key": "a", "team": "x", "rank": 1}, {"key": "b", "team": "x"})
    do(stream, {"key": "a", "team": None, "rank": 1})
    do(stream, {"key": "b", "team": None, "rank": None})
    check(log, stream)
    state = views.open(log, steps).of(stream)
    assert [row.key for row in state.rows.where(team=None)] == ["a", "b"]
    assert [row.key for row in state.rows.where(team=None, rank=None)] == ["b"]
    assert list(state.rows.where(team="x")) == []


def test_a_row_of_nothing_but_none_can_be_deleted(log: transit.Log) -> None:
    """greenlion/swanhart-tools#157: nulls are not equal, so such rows were never taken away."""
    stream = log.create("s")
    do(stream, {"key": "a"}, {"key": "b"})
    do(stream, {"key": "a", "gone": True})
    check(log, stream)
    assert [row.key for row in views.open(log, steps).of(stream).rows.where(team=None)] == ["b"]


def test_the_two_zeros_are_one_value_to_an_index_and_two_rows_to_nobody(log: transit.Log) -> None:
    """dolthub/doltlite#2223, MaterializeInc/materialize#37482: -0.0 was another key than 0.0."""
    stream = log.create("s")
    do(stream, {"key": "a", "weight": 0.0}, {"key": "b", "weight": -0.0}, {"key": "c", "weight": 1})
    check(log, stream)
    do(stream, {"key": "a", "weight": -0.0}, {"key": "b", "weight": 0.0})
    check(log, stream)
    state = views.open(log, steps).of(stream)
    for zero in (0.0, -0.0):
        assert [row.key for row in state.rows.where(weight=zero)] == ["a", "b"]

    @views.reducer(weights, reads=list[Step])
    def weigh(weights: Any, event: list[Step], at: views.At) -> None:
        for each in event:
            weights.put(Row(each.key, weight=each.weight))

    for every in (1, 1_000):
        with pytest.raises(views.ReducerError, match="has the same weight"):
            views.open(log, weigh, savepoint_records=every).of(stream)


def test_a_savepoint_of_a_state_that_did_not_change_has_it(log: transit.Log) -> None:
    """kurrent-io/KurrentDB#1517: a checkpoint without a change was one without a state."""
    stream = log.create("s")
    do(stream, {"key": "a", "team": "x"})
    view = views.open(log, steps)
    first = view.save(stream)
    for _ in range(3):
        do(stream, {"key": "a", "team": "x"})
        assert view.save(stream).root == first.root
    log.seal()
    cold = views.open(log, steps)
    assert cold.savepoints(stream) == (1, 2, 3, 4)
    assert [row.team for row in cold.of(stream).rows] == ["x"]
    assert cold.of(stream).applied == 4


def test_a_view_that_reads_none_of_many_records_is_at_the_end_of_them(log: transit.Log) -> None:
    """apache/kafka#23298 (KAFKA-14302): restored from nothing, it was said to lag for ever."""
    stream = log.create("s")
    stream.append_many([b"[]"] * 50)
    view = views.open(log, chosen, savepoint_records=20)
    assert (view.save(stream).position, view.save(stream).applied) == (50, 0)
    assert view.savepoints(stream) == (20, 40, 50)
    assert view.of(stream).root == ""
    cold = views.open(log, chosen, savepoint_records=20)
    assert (cold.of(stream).position, cold.savepoints(stream)) == (50, (20, 40, 50))
    assert done(cold, "s") == []
    do(stream, {"key": "a"})
    assert [row.key for row in cold.of(stream).rows] == ["a"]
    assert [change.offset for change in done(cold, "s")] == [50]


def test_records_that_come_while_a_view_is_restored_are_in_it_once_or_not_yet(
    log: transit.Log,
) -> None:
    """apache/kafka#4300 (KAFKA-6269): a topic that grew meanwhile ended the restoring."""
    stream = log.create("s")
    do(stream, *({"key": str(number)} for number in range(50)))
    stop, failed = threading.Event(), []

    def append() -> None:
        number = 0
        while not stop.is_set() and number < 200:
            do(stream, {"key": f"n{number}"})
            number += 1

    appending = threading.Thread(target=append)
    appending.start()
    try:
        for _ in range(10):
            state = views.open(log, steps, savepoint_records=7).of(stream)
            keys = {row.key for row in state.rows}
            if keys != set(plain(stream, state.position)) or state.applied != state.position:
                failed.append(state.position)
    finally:
        stop.set()
        appending.join()
    assert failed == []
    assert {row.key for row in views.open(log, steps).of(stream).rows} == set(plain(stream))


def test_an_enum_whose_members_mean_something_else_is_another_view() -> None:
    """apache/flink#4142 (FLINK-6948): values came back as others after members were moved."""

    def view_of(members: list[tuple[str, Any]]) -> str:
        kind = enum.Enum("Kind", members)  # type: ignore[misc]
        row = msgspec.defstruct("Kinds", [("key", str), ("kind", kind)], frozen=True)
        table = views.table("kinds", row, key="key")

        @views.reducer(table, reads=list[Step], name="kinds", code="the same")
        def reduced(kinds: Any, event: list[Step], at: views.At) -> None:
            """Nothing."""

        return reduced.spec.id

    first = view_of([("A", 0), ("B", 1)])
    assert view_of([("A", 0), ("B", 1)]) == first
    for others in ([("A", 1), ("B", 0)], [("B", 0), ("A", 1)], [("A", "0"), ("B", "1")]):
        assert view_of(others) != first
    assert view_of([("A", 0), ("B", 1), ("C", 2)]) != first


def test_what_is_written_into_savepoints_from_outside_stops_nothing(log: transit.Log) -> None:
    """kurrent-io/KurrentDB#2187: another event in the checkpoint stream, and it began for ever."""
    stream = log.create("s")
    view = views.open(log, steps)
    for turn in range(4):
        do(stream, {"key": str(turn)})
        view.save(stream)
        roots = log.layer("views").stream(f"{view.id}/roots/{stream.uid}")
        roots.append(b'{"another": "event"}' if turn % 2 else b"none at all")
        do(stream, {"key": f"{turn}+"})
        cold = views.open(log, steps)
        assert {row.key for row in cold.save(stream).rows} == set(plain(stream))
        assert {row.key for row in view.of(stream).rows} == set(plain(stream))
    assert views.open(log, steps).savepoints(stream)[-1] == len(stream)
