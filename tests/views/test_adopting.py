"""Changed code takes over what older code kept, where a sample comes to the same."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

import transit
from transit import views

from .meeting import save_first


class Row(msgspec.Struct, frozen=True):
    """A row."""

    key: str
    count: int = 0


class Event(msgspec.Struct):
    """An event."""

    key: str


rows = views.table("rows", Row, key="key")
others = views.table("rows", Row, key="key", index=["count"])


@views.reducer(rows, reads=Event, name="count")
def first(rows: Any, event: Event, at: views.At) -> None:
    """Count keys."""
    row = rows.get(event.key) or Row(event.key)
    rows.put(Row(event.key, row.count + 1))


@views.reducer(rows, reads=Event, name="count")
def same(rows: Any, event: Event, at: views.At) -> None:
    """The same in other words."""
    old = rows.get(event.key)
    count = 1 if old is None else 1 + old.count
    rows.put(Row(event.key, count))


@views.reducer(rows, reads=Event, name="count")
def other_at_last(rows: Any, event: Event, at: views.At) -> None:
    """Another result from offset 45 on."""
    row = rows.get(event.key) or Row(event.key)
    rows.put(Row(event.key, row.count + (1 if at.offset < 45 else 2)))


@views.reducer(rows, reads=Event, name="count")
def raises(rows: Any, event: Event, at: views.At) -> None:
    """No result."""
    raise ValueError("never")


@views.reducer(others, reads=Event, name="count")
def indexed(rows: Any, event: Event, at: views.At) -> None:
    """Other tables."""


def filled(log: transit.Log) -> transit.Stream:
    """A stream with 50 events."""
    stream = log.create("s")
    stream.append_many([json.dumps({"key": "abcdefg"[n % 7]}).encode() for n in range(50)])
    return stream


def test_equal_code_takes_over_and_goes_on(persist: str, log: transit.Log) -> None:
    if persist == "ephemeral":
        pytest.skip("it keeps nothing")
    stream = filled(log)
    old = views.open(log, first, persist=persist, savepoint_records=10)
    old.of(stream)
    new = views.open(log, same, persist=persist, savepoint_records=10)
    assert old.id != new.id
    adopted = views.adopt(old, new, stream, sample=1.0)
    assert adopted == views.Adopted("s", (10, 20, 30, 40, 50), 5)
    assert new.savepoints(stream) == old.savepoints(stream)
    assert new.of(stream, 33).root == old.of(stream, 33).root
    stream.append_many([b'{"key":"z"}'] * 12)
    assert new.of(stream).rows["z"].count == 12
    assert new.verify(stream).ok
    cold = views.open(log, same, persist=persist)
    assert cold.of(stream).root == new.of(stream).root


def test_two_processes_that_take_over_at_once_have_each_savepoint_once(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = filled(log)
    old = views.open(log, first, savepoint_records=10)
    old.of(stream)
    new, beside = views.open(log, same), views.open(log, same, savepoint_records=10)
    save_first(monkeypatch, new, beside, stream, [20, 40])
    assert views.adopt(old, new, stream).positions == (50,)
    for view in (new, views.open(log, same)):
        assert view.savepoints(stream) == (10, 20, 30, 40, 50)
        assert view.verify(stream).ok


@pytest.mark.parametrize("program", [other_at_last, raises])
def test_other_code_takes_nothing_over(program: views.Reducer, log: transit.Log) -> None:
    stream = filled(log)
    old = views.open(log, first, savepoint_records=10)
    old.of(stream)
    new = views.open(log, program, savepoint_records=10)
    with pytest.raises(views.ViewError):
        # The last interval is always in the sample.
        views.adopt(old, new, stream, sample=0.01)
    assert new.savepoints(stream) == ()


def test_what_cannot_be_taken_over_is_refused(log: transit.Log, tmp_path: Any) -> None:
    stream = filled(log)
    old = views.open(log, first, savepoint_records=10)
    old.of(stream)
    new = views.open(log, same)
    for program, persist in ((indexed, "logged"), (same, "ephemeral")):
        with pytest.raises(transit.InvalidInputError):
            views.adopt(old, views.open(log, program, persist=persist), stream)
    with transit.open(tmp_path / "other") as other, pytest.raises(transit.InvalidInputError):
        views.adopt(old, views.open(other, same), stream)
    for sample in (0, -1, 2):
        with pytest.raises(transit.InvalidInputError):
            views.adopt(old, new, stream, sample=sample)
    assert new.savepoints(stream) == ()
    views.adopt(old, new, stream)
    with pytest.raises(transit.InvalidInputError, match="already"):
        views.adopt(old, new, stream)
