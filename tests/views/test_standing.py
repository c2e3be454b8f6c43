"""Whether a view stands, and where, follows from its records: not from when rows were written down,
how deep the caller's stack is, or what else lies in the store.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

import transit
from transit import views
from transit.views.pack import MAGIC
from transit.views.savepoints import Savepoint

from .meeting import save_first


class Row(msgspec.Struct, frozen=True):
    """A row whose value is given as it comes."""

    key: int
    value: str = ""


class Event(msgspec.Struct):
    """Anything."""

    value: Any


rows = views.table("rows", Row, key="key", index=["value"])


@views.reducer(rows, reads=Event, on_error="skip")
def last_value(rows: Any, event: Event, at: views.At) -> None:
    """Keep the last value."""
    rows.put(Row(1, event.value))


@views.reducer(rows, reads=Event, on_error="skip")
def offsets(rows: Any, event: Event, at: views.At) -> None:
    """Keep the offsets of events."""
    rows.put(Row(at.offset))


def filled(log: transit.Log, *values: object) -> transit.Stream:
    stream = log.create("s")
    for value in values:
        stream.append(msgspec.json.encode({"value": value}))
    return stream


@pytest.mark.parametrize("every", [1, 2, 100])
@pytest.mark.parametrize("wrong", [5, "x" * 70_000, "y" * 1_018])
def test_a_wrong_row_stops_the_view_also_where_a_later_record_overwrites_it(
    log: transit.Log, every: int, wrong: object
) -> None:
    stream = filled(log, "a", wrong, "b")
    view = views.open(log, last_value, persist="ephemeral", savepoint_records=every)
    with pytest.raises(views.ReducerError) as caught:
        view.of(stream)
    assert caught.value.offset == 1
    assert [row.value for row in view.of(stream, 1).rows] == ["a"]


def nested(levels: int) -> bytes:
    return b'{"value":' + b"[" * levels + b"]" * levels + b"}"


def at_depth(depth: int, work: Any) -> object:
    return at_depth(depth - 1, work) if depth else work()


@pytest.mark.parametrize("levels", [100, 700, 900, 5_000])
def test_how_deep_the_caller_is_decides_nothing(log: transit.Log, levels: int) -> None:
    stream = log.create("s")
    stream.append(nested(levels))

    def fold() -> object:
        try:
            return views.open(log, offsets, persist="ephemeral").of(stream).applied
        except views.EventError as error:
            return "stopped", error.offset

    found = [at_depth(depth, fold) for depth in (0, 200, 500)]
    assert found == [found[0]] * 3
    assert found[0] != 0


def test_a_time_to_come_is_refused(log: transit.Log) -> None:
    stream = filled(log, "a")
    view = views.open(log, last_value)
    with pytest.raises(transit.InvalidInputError, match="to come"):
        view.of(stream, time=time.time_ns() + 3_600 * 10**9)


def test_a_store_that_fails_in_a_reducers_read_is_no_fault_of_the_reducer(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = filled(log, "a")
    view = views.open(log, last_value, persist="ephemeral")

    def unavailable(self: object, key: object) -> None:
        raise transit.StoreUnavailableError("away")

    @views.reducer(rows, reads=Event, code="reads first")
    def reading(rows: Any, event: Event, at: views.At) -> None:
        rows.get(7)

    monkeypatch.setattr("transit.views.tables.TableState.get", unavailable)
    with pytest.raises(transit.StoreUnavailableError, match="away"):
        views.open(log, reading, persist="ephemeral").of(stream)
    monkeypatch.undo()
    assert view.of(stream).applied == 1


def test_a_savepoint_far_beyond_keeps_none_of_the_others_from_being_written(
    log: transit.Log,
) -> None:
    stream = filled(log, "a", "b")
    view = views.open(log, last_value)
    view.save(stream)
    false = Savepoint(10**9, "0" * 64, "", None, 5)
    log.stream(f"$views/{view.id}/roots/{stream.uid}").append(msgspec.json.encode(false))
    stream.append(b'{"value":"c"}')
    for again in (view, views.open(log, last_value)):
        assert again.save(stream).position == 3
        assert again.savepoints(stream) == (2, 3)


@pytest.mark.parametrize("stops", [[1], [3], [1, 2]], ids=["earlier", "the same", "twice earlier"])
def test_a_savepoint_that_another_writes_meanwhile_keeps_none_from_being_written(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch, stops: list[int]
) -> None:
    stream = filled(log, "a", "b", "c")
    view, beside = views.open(log, last_value), views.open(log, last_value, savepoint_records=1)
    save_first(monkeypatch, view, beside, stream, stops)
    saved = view.save(stream)
    assert saved.root == fold_again(log, stream)
    assert view.savepoints(stream)[-1] == len(stream) == saved.position
    cold = views.open(log, last_value)
    assert cold.savepoints(stream) == view.savepoints(stream)
    assert cold.verify(stream).ok


def test_a_savepoint_that_is_always_too_late_is_told(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = filled(log, "a")
    view = views.open(log, last_value)

    def taken(*given: Any) -> Any:
        raise transit.ConflictError("another is there")

    monkeypatch.setattr(view._keeper, "save", taken)
    with pytest.raises(transit.ConflictError, match="another is there"):
        view.save(stream)
    assert view.of(stream).position == 1


def test_a_pack_of_a_newer_version_is_folded_again(log: transit.Log) -> None:
    stream = filled(log, "a", "b")
    view = views.open(log, last_value)
    root = view.save(stream).root
    packs = log.stream(f"$views/{view.id}/packs/{stream.uid}")
    newer = packs.append(MAGIC + b"\x09" + packs[0].payload[5:])
    roots = log.stream(f"$views/{view.id}/roots/{stream.uid}")
    kept = msgspec.json.decode(roots[0].payload)
    kept["place"][1] = newer.offset
    stream.append(b'{"value":"c"}')
    # The same state under a place that nobody of this version can read.
    kept |= {"next": 3, "last": last(stream), "root": fold_again(log, stream), "applied": 3}
    roots.append(msgspec.json.encode(kept))
    cold = views.open(log, last_value)
    assert [row.value for row in cold.of(stream).rows] == ["c"]
    assert cold.of(stream, 2).root == root


def last(stream: transit.Stream) -> str:
    from transit.views.histories import last_digest

    return last_digest(stream, len(stream))


def fold_again(log: transit.Log, stream: transit.Stream) -> str:
    return views.open(log, last_value, persist="ephemeral").of(stream).root


def test_a_subscriber_of_another_history_hides_none_of_the_others(log: transit.Log) -> None:
    stream = filled(log, "a", "b")
    view = views.open(log, last_value)
    for name in ("first", "second"):
        for change in view.changes(stream, name):
            change.done()
    prefix = f"$views/{view.id}/subscribers/{stream.uid}/first"
    place = msgspec.json.decode(log.stream(prefix)[0].payload)
    log.stream(prefix).append(msgspec.json.encode(place | {"last": "0" * 64}))
    found = {each.name: each for each in view.subscribers(stream)}
    assert found["first"].is_lost
    assert not found["second"].is_lost
    assert found["second"].lag == 0
    with pytest.raises(views.HistoryDiffersError):
        list(view.changes(stream, "first"))


def test_savepoints_are_read_once_however_many_are_written(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = filled(log, *"abcdefghijklmnopqrst")
    read = 0
    real = msgspec.json.decode

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal read
        read += more.get("type") is Savepoint
        return real(*given, **more)

    monkeypatch.setattr("transit.views.savepoints.msgspec.json.decode", counted)
    view = views.open(log, last_value, savepoint_records=1)
    view.of(stream)
    assert view.savepoints(stream) == tuple(range(1, 21))
    assert read <= 20
