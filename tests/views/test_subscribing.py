"""Changes to subscribers: each of them, in order, once it is done never again."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

import transit
from rigs.views.programs import event, everything, refused
from transit import views
from transit.views.subscribing import FLUSH_RECORDS


class Row(msgspec.Struct, frozen=True):
    """A row."""

    key: int
    value: int = 0


rows = views.table("rows", Row, key="key")


@views.reducer(rows, reads=list[int])
def put_all(rows: Any, event: list[int], at: views.At) -> None:
    """Put a row for each number; take those below 0 away."""
    for number in event:
        if number < 0:
            rows.delete(-number)
        else:
            rows.put(Row(number, at.offset))


def fill(stream: transit.Stream, *events: list[int]) -> None:
    """Append events."""
    for each in events:
        stream.append(msgspec.json.encode(each))


def told(
    view: views.View, stream: transit.Stream, name: str = "sub"
) -> list[tuple[int, int, str, Any]]:
    """All changes there are for a subscriber, each of them done."""
    found = []
    for change in view.changes(stream, name):
        found.append((change.offset, change.number, change.table, change.key))
        change.done()
    return found


def test_changes_are_the_differences_of_one_state_and_the_next(
    log: transit.Log, chance: random.Random
) -> None:
    stream = log.create("s")
    stream.append_many([event(chance) for _ in range(150)])
    branch = stream.branch("b", at=99)
    branch.append_many([event(chance) for _ in range(30)])
    view = views.open(log, everything, savepoint_records=20)
    for each in (stream, branch):
        expected = [
            (offset, *change)
            for offset in range(len(each))
            for change in view.of(each, offset).diff(view.of(each, offset + 1))
        ]
        found = []
        for change in view.changes(each, "sub"):
            found.append((change.offset, change.table, change.key, change.before, change.after))
            change.done()
        assert found == expected


def test_what_was_done_is_not_delivered_again(log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, [1, 2, 3], [], [2, 4], [-9])
    view = views.open(log, put_all)
    seen = []
    for turn in range(5):
        delivered = view.changes(stream, "sub")
        change = next(delivered)
        seen.append(change.id)
        change.done()
        view = views.open(log, put_all)
        assert view.subscribers(stream)[0].position == (0, 0, 1, 2, 3)[turn]
    assert len({*seen}) == 5
    assert told(view, stream) == []
    fill(stream, [7])
    assert told(view, stream) == [(4, 0, "rows", 7)]


def test_what_was_not_done_is_delivered_again(log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, [1, 2])
    view = views.open(log, put_all)
    first = next(view.changes(stream, "sub"))
    again = next(view.changes(stream, "sub"))
    assert (first.id, again.is_repeated) == (again.id, False)
    again.done()
    assert [each[:2] for each in told(view, stream)] == [(0, 1)]


def test_the_next_change_comes_after_the_one_before_is_done(log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, [1, 2])
    delivered = views.open(log, put_all).changes(stream, "sub")
    next(delivered)
    with pytest.raises(transit.InvalidInputError, match=r"done\(\)"):
        next(delivered)


def test_records_that_come_while_others_are_dealt_with_are_not_passed_over(
    log: transit.Log,
) -> None:
    stream = log.create("s")
    fill(stream, [1], [2])
    view = views.open(log, put_all)
    found = []
    for change in view.changes(stream, "sub"):
        if len(stream) < 8:
            fill(stream, [len(stream) + 1], [])
        found.append(change.key)
        change.done()
    assert found == [1, 2, 3, 5, 7]


def test_changes_go_on_over_more_records_than_are_folded_at_once(log: transit.Log) -> None:
    stream = log.create("s")
    count = 2 * FLUSH_RECORDS + 10
    stream.append_many([msgspec.json.encode([number % 7]) for number in range(count)])
    view = views.open(log, put_all)
    found = []
    for change in view.changes(stream, "sub", start=10):
        found.append((change.offset, change.before))
        change.done(durability="memory")
    expected = [(at, Row(at % 7, at - 7)) for at in range(10, count)]
    assert found == expected


def _write(batch: transit.WriteBatch, results: transit.Stream, change: views.Change) -> None:
    batch.append(results, change.id.encode())
    change.done(batch)


def test_two_of_one_name_are_not_both_done(log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, [1, 2], [3])
    results = log.create("results")
    one, two = (views.open(log, put_all).changes(stream, "sub") for _ in range(2))
    first, second = next(one), next(two)
    assert first.id == second.id
    with log.batch() as batch:
        batch.append(results, first.id.encode())
        first.done(batch)
    with pytest.raises(transit.ConflictError):
        second.done()
    three = views.open(log, put_all).changes(stream, "sub")
    change, other = next(one), next(three)
    with log.batch() as batch:
        batch.append(results, change.id.encode())
        change.done(batch)
    batch = log.batch()
    with pytest.raises(transit.ConflictError), batch:
        _write(batch, results, other)
    assert [record.payload.decode() for record in results] == [first.id, change.id]


def test_two_of_one_name_whose_first_batches_meet_are_not_both_done(log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, [1, 2], [3])
    results = log.create("results")
    one, two = (views.open(log, put_all).changes(stream, "sub") for _ in range(2))
    first, second = next(one), next(two)

    def meet() -> None:
        with log.batch() as late:
            _write(late, results, second)
            with log.batch() as early:
                _write(early, results, first)

    with pytest.raises(transit.ConflictError):
        meet()
    assert [record.payload.decode() for record in results] == [first.id]
    assert next(views.open(log, put_all).changes(stream, "sub")).id != first.id


def test_a_first_batch_that_is_left_leaves_the_subscriber_where_it_was(log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, [1, 2])
    view = views.open(log, put_all)
    results = log.create("results")
    first = next(view.changes(stream, "sub"))

    def leave() -> None:
        with log.batch() as batch:
            _write(batch, results, first)
            raise OSError("unplugged")

    with pytest.raises(OSError, match="unplugged"):
        leave()
    assert not len(results)
    assert [each.position for each in view.subscribers(stream)] in ([], [0])
    again = next(view.changes(stream, "sub"))
    assert (again.id, again.is_repeated) == (first.id, False)


def test_an_effect_that_fails_is_repeated_under_the_same_id(log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, [1, 2])
    view = views.open(log, put_all)
    keys = []
    change = next(view.changes(stream, "sub"))
    effect = change.effect()
    keys.append(effect.__enter__())
    assert not effect.__exit__(OSError, OSError("unplugged"), None)
    assert view.subscribers(stream)[0].open == keys[0]
    for change in views.open(log, put_all).changes(stream, "sub"):
        assert change.is_repeated is (change.number == 0)
        with change.effect() as key:
            keys.append(key)
    assert keys[0] == keys[1] != keys[2]
    (status,) = view.subscribers(stream)
    assert (status.position, status.lag, status.open) == (1, 0, None)


def test_effects_are_announced_before_they_begin(log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, [1])
    view = views.open(log, put_all)
    change = next(view.changes(stream, "sub"))
    with change.effect() as key:
        assert views.open(log, put_all).subscribers(stream)[0].open == key


def test_subscribers_are_of_one_stream_and_one_view(log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, [1])
    branch = stream.branch("b")
    view = views.open(log, put_all)
    assert len(told(view, stream, "one")) == len(told(view, stream, "two/ü 2")) == 1
    assert len(told(view, branch, "one")) == 1
    assert [each.name for each in view.subscribers(stream)] == ["one", "two/ü 2"]
    assert [each.name for each in view.subscribers(branch)] == ["one"]


@pytest.mark.parametrize("name", ["", "x" * 129, "ü" * 65, None, 5])
def test_a_name_that_cannot_be_is_refused(name: Any, log: transit.Log) -> None:
    stream = log.create("s")
    with pytest.raises(transit.InvalidInputError):
        next(views.open(log, put_all).changes(stream, name), None)


@pytest.mark.parametrize("start", [-1, True, 1.0, "0", None])
def test_a_start_that_is_no_offset_is_refused(start: Any, log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, [1], [2])
    with pytest.raises(transit.InvalidInputError):
        next(views.open(log, put_all).changes(stream, "sub", start=start), None)


def place_of(view: views.View, stream: transit.Stream, name: str) -> transit.Stream:
    """Where a subscriber's steps are."""
    return view.log.layer("views").stream(f"{view.id}/subscribers/{stream.uid}/{name}")


def test_another_history_is_refused(log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, [1], [2])
    view = views.open(log, put_all)
    next(view.changes(stream, "sub")).done()
    steps = place_of(view, stream, "sub")
    for step in ({"last": "0" * 64}, {"offset": 100}, {"offset": 1}):
        place = {**msgspec.json.decode(steps[0].payload), **step}
        steps.append(msgspec.json.encode(place))
        with pytest.raises(views.HistoryDiffersError, match="another history"):
            next(view.changes(stream, "sub"))


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"[]", b"{}", b"nothing", b"\xff", b'{"a":' + b"[" * 100_000,
        b'{"offset":-2,"number":0,"step":"done","left":0,"last":""}',
        b'{"offset":0,"number":-1,"step":"other","left":-1,"last":"\xff"}',
    ],
    ids=range(8),
)  # fmt: skip
def test_a_step_that_is_none_is_a_typed_error(payload: bytes, log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, [1], [2])
    view = views.open(log, put_all)
    next(view.changes(stream, "sub")).done()
    place_of(view, stream, "sub").append(payload)
    with pytest.raises((transit.FormatError, views.HistoryDiffersError)):
        next(view.changes(stream, "sub"))


def test_changes_up_to_the_record_that_a_reducer_raises_at_are_delivered(
    log: transit.Log, chance: random.Random
) -> None:
    stream = log.create("s")
    stream.append(b'{"do":[{"name":"pair","values":["a",1,""]}]}')
    stream.append(refused(chance))
    delivered = views.open(log, everything).changes(stream, "sub")
    change = next(delivered)
    change.done()
    with pytest.raises(views.ReducerError) as raised:
        next(delivered)
    assert (change.offset, raised.value.offset) == (0, 1)


def test_a_row_that_the_view_refuses_is_not_delivered(log: transit.Log) -> None:
    @views.reducer(rows, reads=bytes, code="x")
    def wrong(table: Any, event: bytes, at: views.At) -> None:
        table.put(Row(1, "text"))  # type: ignore[arg-type]

    stream = log.create("s")
    stream.append(b"")
    with pytest.raises(views.ReducerError):
        next(views.open(log, wrong).changes(stream, "sub"))


def test_a_row_that_is_put_again_as_it_was_is_no_change(log: transit.Log) -> None:
    class Weighed(msgspec.Struct, frozen=True):
        key: int
        weight: float | None = None

    table = views.table("weighed", Weighed, key="key")

    @views.reducer(table, reads=bytes, code="x")
    def weigh(weighed: Any, event: bytes, at: views.At) -> None:
        weighed.put(Weighed(1, float(event)))

    stream = log.create("s")
    stream.append_many([b"nan", b"nan", b"0.0", b"-0.0", b"-0.0"])
    view = views.open(log, weigh)
    assert [each[0] for each in told(view, stream)] == [0, 2, 3]
    assert [len(list(view.of(stream, at).diff(view.of(stream, at + 1)))) for at in range(5)] == [
        1, 0, 1, 1, 0,
    ]  # fmt: skip


def test_waiting_ends_with_the_next_record_or_the_timeout(log: transit.Log) -> None:
    stream = log.create("s")
    fill(stream, [1])
    view = views.open(log, put_all)
    delivered = view.changes(stream, "sub", timeout=30)
    next(delivered).done()
    fill(stream, [2])
    change = next(delivered)
    assert change.key == 2
    change.done()
    assert told(view, stream) == []
