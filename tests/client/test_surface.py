"""What the embedded classes have, the connected ones have too, or say why not."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest

import transit
from transit.client.absent import ABSENT
from transit.client.batch import ConnectedBatch
from transit.client.cursor import ConnectedCursor
from transit.client.layer import ConnectedLayer
from transit.client.lineage import ConnectedLineage
from transit.client.log import ConnectedLog
from transit.client.stream import ConnectedStream
from transit.client.watching import ConnectedWatch

KINDS: dict[type, type] = {
    transit.Log: ConnectedLog,
    transit.Stream: ConnectedStream,
    transit.Layer: ConnectedLayer,
    transit.WriteBatch: ConnectedBatch,
    transit.StagedStream: transit.StagedStream,
    transit.Cursor: ConnectedCursor,
    transit.Lineage: ConnectedLineage,
    transit.Watch: ConnectedWatch,
}
# What embedded handles are made of, and connected ones have not.
PARTS = {"_handle", "_state", "_source", "_writer", "_plain", "_quick", "_hub", "_record_bytes_max"}
SPECIAL = {
    "__contains__", "__enter__", "__eq__", "__exit__", "__getitem__", "__hash__", "__iter__",
    "__len__", "__repr__", "__bool__",
}  # fmt: skip


def functions(kind: type) -> Iterator[tuple[str, object]]:
    """The methods and properties that calls of users reach, by name."""
    for name in dir(kind):
        if name.startswith("__") and name not in SPECIAL:
            continue
        value = inspect.getattr_static(kind, name)
        found = value.fget if isinstance(value, property) else value
        if inspect.isfunction(found):
            yield name, found


def parts_used(function: object) -> set[str]:
    """Which parts of an embedded handle a function reads."""
    return PARTS & set(function.__code__.co_names)  # type: ignore[attr-defined]


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def reached(kind: type) -> set[str]:
    """The members that calls of users reach, directly or by others."""
    found = dict(functions(kind))
    waiting = [name for name in found if not is_private(name)]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += set(found) & set(found[name].__code__.co_names)  # type: ignore[attr-defined]
    return seen


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_that_can_be_called_needs_an_embedded_handle(kind: type) -> None:
    if KINDS[kind] is kind:
        return
    found = dict(functions(KINDS[kind]))
    needing = {name: parts_used(found[name]) for name in reached(KINDS[kind])}
    assert {name: parts for name, parts in needing.items() if parts} == {}


def test_a_method_that_was_forgotten_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("finish", "_slice"):
        with monkeypatch.context() as patch:
            patch.delattr(ConnectedStream, name)
            with pytest.raises(AssertionError, match=name):
                test_nothing_that_can_be_called_needs_an_embedded_handle(transit.Stream)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_method_takes_what_the_embedded_one_takes(kind: type) -> None:
    own = dict(functions(KINDS[kind]))
    for name, function in functions(kind):
        if is_private(name) or name in ABSENT[kind.__name__] or name in SPECIAL | {"is_of"}:
            continue
        wanted = [
            (each.name, each.kind, each.default)
            for each in inspect.signature(function).parameters.values()  # type: ignore[arg-type]
        ]
        found = [
            (each.name, each.kind, each.default)
            for each in inspect.signature(own[name]).parameters.values()  # type: ignore[arg-type]
        ]
        assert found == wanted, f"{kind.__name__}.{name}"


def test_what_is_absent_is_public_and_says_why(log: transit.Log) -> None:
    kinds = {kind.__name__: kind for kind in KINDS}
    assert set(ABSENT) == set(kinds)
    stream = log.create("a")
    batch = log.batch()
    things: dict[str, object] = {
        "Log": log, "Stream": stream, "WriteBatch": batch, "Watch": log.watch(print, [stream]),
    }  # fmt: skip
    for kind, names in ABSENT.items():
        for name, reason in names.items():
            assert hasattr(kinds[kind], name)
            with pytest.raises(transit.InvalidInputError, match=re.escape(reason)):
                getattr(things[kind], name)()


def test_everything_is_the_embedded_kind_by_type(log: transit.Log) -> None:
    stream = log.create("a")
    assert isinstance(log, transit.Log)
    assert isinstance(stream, transit.Stream)
    assert isinstance(log.lineage, transit.Lineage)
    assert isinstance(log.layer("room"), transit.Layer)
    assert isinstance(stream.cursor("c"), transit.Cursor)
    with log.batch() as batch:
        assert isinstance(batch, transit.WriteBatch)
        assert isinstance(batch.create("b"), transit.StagedStream)
    with log.watch(print, ["a"]) as watch:
        assert isinstance(watch, transit.Watch)


def test_a_stream_of_another_store_is_refused_both_ways(
    log: transit.Log, opened: transit.Log
) -> None:
    connected, embedded = log.create("a"), opened.create("b")
    for there, stream in ((log, embedded), (opened, connected)):
        with pytest.raises(transit.InvalidInputError, match="another open store"):
            there.hide(stream)
        with pytest.raises(transit.InvalidInputError, match="another open store"):
            there.lineage.parents(stream)
