"""What a store hands out keeps it open: a program that did not close it meets no `ClosedError`.

Every public method that gives something lazily is called, everything else is dropped and collected,
and what it gave is used; on folders, with a remote, and on a bucket alone.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import re
import shutil
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import replay, trace
from transit.guards import TURN
from transit.store import open_store
from transit.testing.doors import FaultDoor

SMALL = transit.Settings(block_bytes=4096, cache_bytes_max=0, refresh_interval_s=0.05)
PLACES = ["folder", "shared", "exclusive", "evicted", "bucket", "lazy"]
COUNT = 200


def fill(log: transit.Log) -> None:
    """Segments of many blocks, a branch, a merge, a cursor, and a WAL at the end."""
    stream = log.create("s", codec="json")
    for number in range(4):
        stream.append_many([b'"%d%s"' % (number, b"x" * 900)] * (COUNT // 4), headers={"k": "v"})
        log.seal()
    child = stream.branch("s/child", at=COUNT // 2)
    child.append_many([b'"%d"' % n for n in range(20)])
    log.merge("m", [stream, child], policy="append")
    stream.cursor("c").advance(7)
    log.layer("l").create("s").append(b"kept by a room")
    with trace.task(log, "run", actor="a") as task:
        task.message("user", "hello")
    log.seal()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a store in every kind of place, made once: the tests only read them."""
    path = tmp_path_factory.mktemp("forgotten")
    remote = path / "remote"
    with transit.open(path / "store", remote=remote, settings=SMALL) as log:
        fill(log)
        log.publish()
    shutil.copytree(path / "store", path / "evicted")
    with transit.open(path / "evicted", remote=remote, settings=SMALL) as log:
        log.evict(bytes_max=0)
    transit.restore(remote, path / "lazy", lazy=True)
    # What the other tests left is not looked at again by each collection here.
    gc.collect()
    gc.freeze()
    yield path
    gc.unfreeze()


def opening(path: Path, place: str) -> Callable[[], transit.Log]:
    """A function that opens the store of this kind."""
    remote = path / "remote"
    mode = place if place in ("shared", "exclusive") else "read"
    address: dict[str, Any] = {
        "evicted": {"path": path / "evicted", "remote": remote},
        "bucket": {"path": remote.as_uri()},
        "lazy": {"path": path / "lazy", "remote": remote},
    }.get(place, {"path": path / "store"})
    return lambda: transit.open(**address, mode=mode, settings=SMALL)


async def first(records: AsyncIterator[transit.Record], count: int) -> list[transit.Record]:
    found = []
    async for record in records:
        found.append(record)
        if len(found) == count:
            break
    return found


def plain(thing: Any) -> Any:
    """What a lazily given thing says, once everything it has is asked for."""
    if isinstance(thing, transit.Stream):
        return thing.name, len(thing), [record.payload for record in thing]
    if isinstance(thing, transit.Batch):
        return thing.payloads, list(thing.timestamps), list(thing.records()), bytes(thing.data)
    if isinstance(thing, transit.SealedSegment):
        return thing.digest, [(stream, batch.payloads) for stream, batch in thing.batches()]
    if isinstance(thing, transit.Cursor):
        return thing.position
    return _plain_more(thing)


def _plain_more(thing: Any) -> Any:
    if isinstance(thing, transit.Lineage):
        return thing.graph()
    if isinstance(thing, AsyncIterator):
        return asyncio.run(first(thing, COUNT))
    if isinstance(thing, trace.Trace):
        return [event.event for event in thing]
    if isinstance(thing, Iterator | tuple):
        return [plain(each) for each in thing]
    return thing


def position() -> transit.Position:
    return transit.Position("s", 3)


# By public name: what is called, on a log that is referred to nowhere else.
LAZY: dict[str, Callable[[transit.Log], object]] = {
    "Log.stream": lambda log: log.stream("m"),
    "Log.streams": lambda log: log.streams(),
    "Log.layer": lambda log: log.layer("l").streams(),
    "Layer.stream": lambda log: log.layer("l").stream("s"),
    "Layer.streams": lambda log: log.layer("l").streams("s"),
    "Log.hidden": lambda log: log.hidden(),
    "Log.lineage": lambda log: log.lineage,
    "Stream.__getitem__": lambda log: log.stream("m")[3],
    "Stream.__iter__": lambda log: iter(log.stream("m")),
    "Stream.read": lambda log: log.stream("m").read(5),
    "Stream.batches": lambda log: log.stream("m").batches(5),
    "Stream.read by headers": lambda log: log.stream("m").read(5, where={"k": "v"}),
    "Stream.values": lambda log: log.stream("s").values(),
    "Stream.tail": lambda log: islice(log.stream("s").tail(0), COUNT),
    "Stream.follow": lambda log: log.stream("s").follow(0),
    "Stream.pieces": lambda log: log.stream("m").pieces(5),
    "Log.pieces": lambda log: log.pieces(),
    "Log.segments": lambda log: iter(log.segments()),
    "Sealed.segments": lambda log: log.sealed().segments(),
    "Sealed.streams": lambda log: log.sealed().streams(),
    "Stream.spans": lambda log: tuple(log.stream("m").spans(0, 5)),
    "Stream.cursors": lambda log: log.stream("s").cursors(),
    "Log.cursors": lambda log: log.cursors(),
    "Stream.cursor": lambda log: log.stream("s").cursor("c"),
    "Stream.merge_plan": lambda log: log.stream("m").merge_plan,
    "Lineage.parents": lambda log: log.lineage.parents(log.stream("m")),
    "Lineage.children": lambda log: log.lineage.children(log.stream("s")),
    "Lineage.ancestors": lambda log: log.lineage.ancestors(log.stream("m")),
    "Lineage.graph": lambda log: log.lineage.graph(),
    "Lineage.spans": lambda log: log.lineage.spans(log.stream("m")),
    "Lineage.why": lambda log: log.lineage.why(position()),
    "Batch.records": lambda log: next(log.stream("s").batches()).records(),
    "trace.read": lambda log: trace.read(log, "run"),
    "trace.Trace.__iter__": lambda log: iter(trace.read(log, "run")),
    # Begun, and gone on with afterwards.
    "a first record": lambda log: begun(log.stream("m").read()),
    "a first batch": lambda log: begun(log.stream("m").batches()),
    "a first stream": lambda log: begun(log.streams()),
    "a batch of many": lambda log: next(log.stream("s").batches()),
}
WRITING: dict[str, Callable[[transit.Log], object]] = {
    "Log.create": lambda log: log.create("new"),
    "Log.batch": lambda log: log.batch(),
    "Layer.create": lambda log: log.layer("l").create("new"),
    "Layer.branch": lambda log: log.layer("l").branch(log.stream("s"), "new"),
    "Log.merge": lambda log: log.merge(
        "new", [log.stream("s"), log.stream("s/child")], policy="append"
    ),
    "Log.plan": lambda log: log.plan([log.stream("s"), log.stream("s/child")], policy="append"),
    "Stream.branch": lambda log: log.stream("s").branch("new"),
    "Stream.submit": lambda log: log.stream("s").submit(b"1"),
    "WriteBatch.create": lambda log: staged(log, lambda batch: batch.create("new")),
    "WriteBatch.branch": lambda log: staged(
        log, lambda batch: batch.branch(log.stream("s"), "new")
    ),
    "WriteBatch.merge": lambda log: staged(
        log, lambda batch: batch.merge("new", ["s", "s/child"], policy="append")
    ),
    "Layer.merge": lambda log: log.layer("l").merge("new", ["s", "s/child"], policy="append"),
    "StagedStream.stream": lambda log: staged(log, lambda batch: batch.create("new")).stream,
}
HELD = re.compile(
    r"Iterator|Stream|Layer|Cursor|Lineage\b|WriteBatch|StagedStream|Batch|Future|Provenance|MergePlan"
)
# Gives the log itself, the batch, columns in memory, or a value: covered by everything else.
THEMSELVES = {"Log.__enter__", "WriteBatch.__enter__", "Batch.to_arrow", "Cursor.status"}


def begun(given: Iterator[Any]) -> Iterator[Any]:
    next(given)
    return given


def staged(log: transit.Log, make: Callable[[transit.WriteBatch], Any]) -> Any:
    with log.batch() as batch:
        return make(batch)


def collect() -> None:
    gc.collect()


def gives(kind: type, name: str) -> str:
    member = inspect.getattr_static(kind, name)
    function = member.fget if isinstance(member, property) else member
    return str(getattr(function, "__annotations__", {}).get("return", ""))


def test_every_method_that_gives_something_lazily_is_known_here() -> None:
    """A new one fails here until it is called below."""
    kinds = (
        transit.Log, transit.Stream, transit.Lineage, transit.Cursor, transit.WriteBatch,
        transit.StagedStream, transit.Batch, transit.Layer,
    )  # fmt: skip
    found = {
        f"{kind.__name__}.{name}"
        for kind in kinds
        for name in dir(kind)
        if (not name.startswith("_") or name in ("__iter__", "__enter__"))
        and HELD.search(gives(kind, name))
    }
    assert found - set(LAZY) - set(WRITING) - THEMSELVES == set()


@pytest.mark.filterwarnings("ignore:store .* was not closed:ResourceWarning")
@pytest.mark.parametrize("place", PLACES)
def test_what_was_given_works_when_nobody_holds_the_store(stores: Path, place: str) -> None:
    opened = opening(stores, place)
    with opened() as log:
        expected = {name: plain(give(log)) for name, give in LAZY.items()}
    for name, give in LAZY.items():
        given = give(opened())
        collect()
        assert plain(given) == expected[name], name
        del given
        collect()


@pytest.mark.filterwarnings("ignore:store .* was not closed:ResourceWarning")
@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_what_was_given_writes_when_nobody_holds_the_store(
    stores: Path, path: Path, mode: str
) -> None:
    for name, give in WRITING.items():
        place = path / name
        shutil.copytree(stores / "store", place)
        given: Any = give(transit.open(place, mode=mode))
        collect()
        use(given)
        del given
        collect()
        with transit.open(place, mode="read") as log:
            made = "new" in log or "new" in log.layer("l")
            assert made == (name not in ("Stream.submit", "Log.plan")), name


def use(given: Any) -> None:
    if isinstance(given, transit.WriteBatch):
        with given:
            given.create("new")
    elif isinstance(given, transit.StagedStream):
        given.stream.append(b"more")
    elif isinstance(given, transit.Stream):
        given.append(b"more")
    elif isinstance(given, transit.MergePlan):
        assert given.count
    else:
        assert given.result(60).offset == COUNT


@pytest.mark.filterwarnings("ignore:store .* was not closed:ResourceWarning")
def test_a_store_that_nobody_holds_is_let_go_once_its_last_iterator_is(stores: Path) -> None:
    path = stores / "store"
    given = transit.open(path).stream("s").read()
    next(given)
    collect()
    with pytest.raises(transit.LockedError):
        transit.open(path)
    del given
    collect()
    transit.open(path).close()


@pytest.mark.filterwarnings("ignore:store .* was not closed:ResourceWarning")
@pytest.mark.parametrize("held", [True, False])
def test_a_tiered_promise_is_kept_by_a_store_that_nobody_holds(path: Path, held: bool) -> None:
    assert promise_is_kept(path, held)


def promise_is_kept(path: Path, held: bool) -> bool:
    """Whether a record submitted as "tiered" gets there, the remote being slow to take it."""
    go_on = threading.Event()
    remote = open_store(path / "remote")
    door = FaultDoor(remote)
    log = transit.open(path / "store", remote=door)
    door.rule = lambda number, kind, key: None if go_on.wait(60) else "lost_before"
    future = log.create("s").submit(b"1", durability="tiered")
    done = threading.Event()
    future.add_done_callback(lambda _: done.set())
    failed = future.exception if held else lambda timeout: None
    del log, future
    collect()
    go_on.set()
    assert done.wait(60)
    error = failed(60)
    del failed
    collect()
    wait_until_let_go(path / "store")
    return error is None and any(key.startswith("commits/") for key, _ in remote.list("commits/"))


def wait_until_let_go(path: Path) -> None:
    """Return once the store is not open any more: the last to hold it may be its own thread."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return transit.open(path).close()
        except transit.LockedError:
            assert time.monotonic() < deadline
            collect()
            time.sleep(0.01)


@pytest.mark.parametrize("place", PLACES)
def test_a_store_that_was_closed_says_so(stores: Path, place: str) -> None:
    log = opening(stores, place)()
    log.close()
    with pytest.raises(transit.ClosedError):
        log.stream("s")


# The same checks, with a bug put in.


def forgetful(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda catalog, state, start, stop, owner=None: function(catalog, state, start, stop)


@pytest.mark.parametrize("name", ["records", "batches"])
def test_an_iterator_that_does_not_hold_its_store_is_found(
    stores: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(f"transit.engine.reading.{name}", forgetful(getattr(replay, name)))
    opened = opening(stores, "bucket")().stream("m")
    given = opened.read() if name == "records" else opened.batches()
    del opened
    collect()
    with pytest.raises(transit.ClosedError):
        plain(given)


def test_a_promise_that_does_not_hold_its_store_is_found(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = transit.handle.tiering.Tiering.submit
    monkeypatch.setattr(
        transit.handle.tiering.Tiering,
        "submit",
        lambda self, lsn, result, future, owner, **how: submit(
            self, lsn, result, future, None, **how
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert not promise_is_kept(path, True)


# A store that is collected in the middle of a call on another one.


def test_a_store_collected_in_a_call_on_a_later_one_is_closed_whole(path: Path) -> None:
    older = transit.open(path / "older")
    older.create("s").append(b"waits", durability="memory")
    with (
        transit.open(path / "later") as later,
        warnings.catch_warnings(record=True) as told,
    ):
        warnings.simplefilter("always", ResourceWarning)
        held = [older]
        del older

        def collected() -> None:
            held.clear()
            collect()

        later._handle.catalog.order.during(TURN, collected)
        # It is closed by a thread of its own.
        deadline = time.monotonic() + 60
        while not told and time.monotonic() < deadline:
            time.sleep(0.01)
    assert "was not closed" in str(told[0].message)
    with transit.open(path / "older") as log:
        assert log.stream("s")[0].payload == b"waits"
