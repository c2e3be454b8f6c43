"""Reducers: what can be one, what is in the id of its view, and what becomes of bad records."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import transit
from rigs.views.programs import everything
from transit import views
from transit.views.folding import ERRORS_MAX


class Row(msgspec.Struct, frozen=True):
    """A row."""

    key: int
    value: str = ""


class Event(msgspec.Struct):
    """An event."""

    value: str


rows = views.table("rows", Row, key="key")
more = views.table("more", Row, key="key")


@views.reducer(rows, reads=Event, on_error="skip")
def skipping(rows: Any, event: Event, at: views.At) -> None:
    """Keep the value at its offset."""
    rows.put(Row(at.offset, event.value))


def put(rows: Any, event: Event, at: views.At) -> None:
    """The same, not declared."""
    rows.put(Row(at.offset, event.value))


async def asynchronous(rows: Any, event: Event, at: views.At) -> None:
    """No plain function."""


def generating(rows: Any, event: Event, at: views.At) -> Any:
    """No plain function either."""
    yield


WRONG: dict[str, Callable[[], Any]] = {
    "no table": lambda: views.reducer(reads=Event)(put),
    "no tables": lambda: views.reducer(Row, reads=Event)(put),  # type: ignore[arg-type]
    "one table twice": lambda: views.reducer(rows, rows, reads=Event)(put),
    "too many tables": lambda: views.reducer(
        *(views.table(f"t{n}", Row, key="key") for n in range(17)), reads=Event
    ),
    "a codec": lambda: views.reducer(rows, reads=Event, codec="xml")(put),
    "what to do about errors": lambda: views.reducer(rows, reads=Event, on_error="ignore")(put),
    "how to merge": lambda: views.reducer(rows, reads=Event, merge="mine")(put),
    "a merge of no table": lambda: views.reducer(rows, reads=Event, merge="three-way")(put),
    "too few arguments": lambda: views.reducer(rows, reads=Event)(lambda rows, event: None),
    "too many arguments": lambda: views.reducer(rows, more, reads=Event)(put),
    "asynchronous": lambda: views.reducer(rows, reads=Event)(asynchronous),  # type: ignore[arg-type]
    "generating": lambda: views.reducer(rows, reads=Event)(generating),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_a_reducer_is_refused(what: str) -> None:
    with pytest.raises(transit.InvalidInputError):
        WRONG[what]()


OPTIONS = [{"persist": "disk"}, *({"savepoint_records": count} for count in (0, True, 1.5, "7"))]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_view_that_cannot_be_opened_is_refused(options: dict[str, Any], log: transit.Log) -> None:
    with pytest.raises(transit.InvalidInputError):
        views.open(log, skipping, **options)


def test_what_is_no_store_and_no_reducer_is_refused(log: transit.Log) -> None:
    with pytest.raises(transit.InvalidInputError):
        views.open("path", skipping)  # type: ignore[arg-type]
    with pytest.raises(transit.InvalidInputError):
        views.open(log, put)  # type: ignore[arg-type]


def test_all_that_decides_a_result_is_in_the_id() -> None:
    base: dict[str, Any] = {"reads": Event}
    given: list[dict[str, Any]] = [
        {}, {"version": 2}, {"name": "other"}, {"codec": "msgpack"}, {"where": {"kind": "a"}},
        {"where": {"kind": ["a", "b"]}}, {"where": {"other": "a"}}, {"on_error": "skip"},
        {"code": "x"}, {"reads": Row}, {"reads": bytes},
    ]  # fmt: skip
    ids = {views.reducer(rows, **{**base, **each})(put).spec.id for each in given}
    assert len(ids) == len(given)
    tables = [
        rows, more,
        views.table("rows", Row, key="value"), views.table("rows", Row, key=("key", "value")),
        views.table("rows", Row, key="key", index=["value"]),
        views.table("rows", Row, key="key", unique=["value"]),
    ]  # fmt: skip
    assert len({views.reducer(each, **base)(put).spec.id for each in tables}) == len(tables)
    orders = [["a", "b"], ["b", "a"], ("a", "b")]
    assert (
        len({views.reducer(rows, **base, where={"k": each})(put).spec.id for each in orders}) == 1
    )


def test_the_id_is_the_same_for_ever() -> None:
    """Another one would fold everything again."""
    assert (
        views.reducer(rows, reads=Event, code="x")(put).spec.id
        == "aa2fe0538b023149882678bfc3100e73"
    )


def test_a_reducer_is_called_as_the_function_is_and_found_again_by_its_name() -> None:
    seen: list[Row] = []
    event = Event("v")

    class Table:
        put = seen.append

    skipping(Table, event, type("At", (), {"offset": 3}))
    assert seen == [Row(3, "v")]
    assert pickle.loads(pickle.dumps(everything)) is everything


BAD = [
    b"",
    b"{",
    b"5",
    b'{"value":5}',
    b'{"other":"a"}',
    b"\xff",
    b'{"value":"\xff"}',
    b"[" * 100_000,
]


def test_records_that_are_no_events_are_skipped_and_named(persist: str, log: transit.Log) -> None:
    stream = log.create("s")
    good = b'{"value":"v","more":[1]}'
    for each in BAD:
        stream.append_many([each, good])
    count = len(stream)
    branch = stream.branch("b", at=4)
    branch.append_many([b"bad", good])
    for every in (3, 10_000):
        view = views.open(log, skipping, persist=persist, savepoint_records=every)
        state = view.of(stream)
        assert [row.key for row in state.rows] == list(range(1, count, 2))
        assert (state.position, state.applied) == (count, len(BAD))
        skipped = list(view.skipped(stream))
        assert [offset for offset, _ in skipped] == list(range(0, count, 2))
        assert all(reason and len(reason) <= 200 for _, reason in skipped)
        assert [offset for offset, _ in view.skipped(stream, 5)] == [0, 2, 4]
        assert [offset for offset, _ in view.skipped(branch)] == [0, 2, 4, 5]
        view.save(stream)
    cold = views.open(log, skipping, persist=persist)
    assert [offset for offset, _ in cold.skipped("s")] == list(range(0, count, 2))
    assert cold.verify(stream).ok


def test_however_many_are_skipped_the_state_depends_on_no_savepoint(log: transit.Log) -> None:
    stream = log.create("s")
    stream.append_many([b"no event"] * (2 * ERRORS_MAX))
    stream.append(b'{"value":"v"}')
    at_once = views.open(log, skipping, persist="ephemeral")
    by_steps = views.open(log, skipping, persist="ephemeral", savepoint_records=100)
    kept = views.open(log, skipping)
    for at in range(0, len(stream), 150):
        kept.of(stream, at)
    assert at_once.of(stream) == by_steps.of(stream) == kept.of(stream)
    assert at_once.of(stream).applied == by_steps.of(stream).applied == kept.of(stream).applied == 1
    assert len(list(by_steps.skipped(stream))) == 2 * ERRORS_MAX
    assert len(list(at_once.skipped(stream))) == len(list(kept.skipped(stream))) == ERRORS_MAX


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_a_record_that_is_no_event_stops_a_view_before_it(bad: bytes, log: transit.Log) -> None:
    stream = log.create("s")
    stream.append_many([b'{"value":"v"}', bad, b'{"value":"v"}'])
    view = views.open(log, views.reducer(rows, reads=Event)(put))
    with pytest.raises(views.EventError) as raised:
        view.of(stream)
    assert (raised.value.stream, raised.value.offset) == ("s", 1)
    assert len(view.of(stream, 1).rows) == 1
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.offset) == (str(raised.value), 1)


def test_only_records_with_the_headers_are_read(persist: str, log: transit.Log) -> None:
    stream = log.create("s")
    for number in range(60):
        headers = {"kind": "abc"[number % 3]} if number % 4 else None
        stream.append(b'{"value":"v"}' if headers else b"no event", headers=headers)
    chosen = views.reducer(rows, reads=Event, where={"kind": ["a", "b"]})(put)
    view = views.open(log, chosen, persist=persist, savepoint_records=7)
    expected = [n for n in range(60) if n % 4 and n % 3 != 2]
    for at in (60, 0, 31, 7, 59):
        state = view.of(stream, at)
        assert [row.key for row in state.rows] == [n for n in expected if n < at]
        assert (state.position, state.applied) == (at, len([n for n in expected if n < at]))
    assert view.save(stream).position == 60


def test_a_reducer_is_told_where_the_record_is_from(log: transit.Log) -> None:
    told: list[tuple[Any, ...]] = []

    @views.reducer(rows, reads=bytes, code="x")
    def tell(rows: Any, event: bytes, at: views.At) -> None:
        told.append(
            (at.offset, at.stream, tuple(at.origin), at.time, dict(at.headers), at.random.random())
        )

    one = log.create("one")
    one.append(b"a", headers={"h": "1"}, timestamp=5)
    two = one.branch("two")
    two.append(b"b", timestamp=3)
    one.append(b"c", timestamp=4)
    both = log.merge("both", [one, two], policy="interleave")
    views.open(log, tell, persist="ephemeral").of(both)
    assert [each[:5] for each in told] == [
        (0, "one", ("one", 0), 5, {"h": "1"}),
        (1, "two", ("two", 1), 3, {}),
        (2, "one", ("one", 1), 4, {}),
    ]
    first = [each[5] for each in told]
    told.clear()
    views.open(log, tell, persist="ephemeral", savepoint_records=1).of(both)
    assert [each[5] for each in told] == first
    assert len({*first}) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_a_program_goes_through_and_changes_nothing(
    error: type[BaseException], log: transit.Log
) -> None:
    is_on = [True]

    @views.reducer(rows, reads=bytes, code="x")
    def interrupted(rows: Any, event: bytes, at: views.At) -> None:
        rows.put(Row(at.offset))
        if at.offset == 2 and is_on[0]:
            raise error

    stream = log.create("s")
    stream.append_many([b""] * 5)
    view = views.open(log, interrupted, savepoint_records=2)
    with pytest.raises(error):
        view.of(stream)
    is_on.clear()
    is_on.append(False)
    assert len(view.of(stream).rows) == 5


@pytest.mark.parametrize(
    "error", [MemoryError, RecursionError, StopIteration, transit.NotFoundError]
)
def test_what_a_reducer_raises_is_the_cause(error: type[Exception], log: transit.Log) -> None:
    @views.reducer(rows, reads=bytes, code="x")
    def raising(rows: Any, event: bytes, at: views.At) -> None:
        raise error("why")

    log.create("s").append(b"")
    with pytest.raises(views.ReducerError, match=error.__name__) as raised:
        views.open(log, raising).of("s")
    assert isinstance(raised.value.__cause__, error)
