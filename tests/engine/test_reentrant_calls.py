"""Calls made in the middle of another call of the same thread, as signal handlers and `__del__` do.

Here they are made where bytes go to a file or are synced; `rigs.interrupts` has every other place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import transit
from transit import trace
from transit.disk import File, NewFile
from transit.store.filesystem import FilesystemStore

Inner = Callable[[transit.Log], object]
MOMENTS = {"turn": (File, "write_at"), "sync": (File, "sync_data"), "seal": (NewFile, "write")}
OUTER: dict[str, Callable[[transit.Log], object]] = {
    "turn": lambda log: log.stream("s").append(b"outer", durability="os"),
    "sync": lambda log: log.stream("s").append(b"outer", durability="local"),
    "seal": lambda log: log.seal(),
}


@contextmanager
def calling(moment: str, inner: Callable[[], object]) -> Iterator[None]:
    """A block in whose first such moment `inner` is called, in the middle of what goes on."""
    owner, name = MOMENTS[moment]
    right = getattr(owner, name)

    def wrong(file: File, *arguments: object) -> object:
        done = right(file, *arguments)
        if moment == "seal" or file.path.endswith(".wal"):
            patch.undo()
            inner()
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, wrong)
        yield


@pytest.fixture(params=["exclusive", "shared"])
def log(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[transit.Log]:
    settings = transit.Settings(flush_interval_ms=60_000, lock_timeout_s=2)
    with transit.open(tmp_path / "s", mode=request.param, settings=settings) as opened:
        opened.create("s").append(b"first")
        opened.create("t").append(b"first")
        yield opened


def _batch(log: transit.Log) -> None:
    with log.batch() as batch:
        batch.append(log.stream("t"), b"inner")


def _merge_in_a_batch(log: transit.Log) -> None:
    with log.batch() as batch:
        batch.append("t", b"inner")
        batch.merge("inner", ["s", "t"], policy="interleave")
        batch.advance(log.stream("t").cursor("c"), 1)


CALLS: dict[str, Inner] = {
    "append os": lambda log: log.stream("t").append(b"inner", durability="os"),
    "append local": lambda log: log.stream("t").append(b"inner"),
    "append_many": lambda log: log.stream("t").append_many([b"inner"]),
    "batch": _batch,
    "create": lambda log: log.create("inner"),
    "branch": lambda log: log.stream("t").branch("inner"),
    "cursor": lambda log: log.stream("t").cursor("c").advance(1),
    "batch with a merge": _merge_in_a_batch,
    "sync": lambda log: log.sync(),
    "seal": lambda log: log.seal(),
    "verify": lambda log: log.verify(),
    "close": lambda log: log.close(),
    "read": lambda log: list(log.stream("t")),
    "status": lambda log: log.status(),
}
SAID = ("outer", "inner", "handler")
WORK = {
    "seal": {"append os", "append local", "append_many", "batch", "create", "branch", "cursor",
             "batch with a merge",             "sync", "read", "status"},
    "turn": {"read", "status"},
    "sync": {"read", "status"},
}  # fmt: skip


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("name", CALLS)
def test_a_call_in_the_middle_of_another_works_or_is_refused(
    log: transit.Log, name: str, moment: str
) -> None:
    answers: list[str] = []

    def inner() -> None:
        try:
            CALLS[name](log)
            answers.append("worked")
        except transit.TransitError as error:
            answers.append(type(error).__name__)

    with calling(moment, inner):
        OUTER[moment](log)
    works = WORK[moment] if log.mode == "exclusive" or moment == "seal" else set()
    assert answers == ["worked" if name in works else "ReentrantCallError"]
    assert [record.payload for record in log.stream("s")] == [b"first"] + (
        [] if moment == "seal" else [b"outer"]
    )
    appends = answers == ["worked"] and name.startswith(("append", "batch"))
    assert [record.payload for record in log.stream("t")] == [b"first"] + [b"inner"] * appends
    log.stream("t").append(b"goes on")
    log.seal()
    assert log.verify().ok


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_is_submitted_in_the_middle_of_another_call_is_written_after_it(
    log: transit.Log, moment: str
) -> None:
    futures = []
    s, t = log.stream("s"), log.stream("t")

    def inner() -> None:
        futures.append(s.submit(b"inner", headers={"by": "handler"}))
        futures.append(t.submit(b"inner", durability="os"))

    with calling(moment, inner):
        OUTER[moment](log)
    log.sync()
    receipts = [future.result(60) for future in futures]
    for receipt, name in zip(receipts, "st", strict=True):
        stream = log.stream(name)
        assert stream[receipt.offset].payload == b"inner"
        assert stream[receipt.offset].timestamp == receipt.timestamp
        assert [record.payload for record in stream].count(b"inner") == 1


@pytest.mark.parametrize("moment", ["turn", "sync"])
def test_a_memory_record_in_the_middle_of_another_call_has_no_offset_yet(
    log: transit.Log, moment: str
) -> None:
    receipts = []
    s = log.stream("s")

    def inner() -> None:
        receipts.append(s.append(b"inner", durability="memory"))

    with calling(moment, inner):
        outer = OUTER[moment](log)
    assert [(each.offset, each.durability) for each in receipts] == [(-1, "memory")]
    assert isinstance(outer, transit.Receipt)
    assert [record.payload for record in log.stream("s")] == [b"first", b"outer", b"inner"]
    assert outer.offset == 1


def test_a_condition_in_the_middle_of_another_call_is_refused(log: transit.Log) -> None:
    s = log.stream("s")

    def inner() -> None:
        with pytest.raises(transit.ReentrantCallError):
            s.append(b"inner", durability="memory", expect=2)

    with calling("turn", inner):
        OUTER["turn"](log)
    assert len(log.stream("s")) == 2


def test_records_taken_up_are_written_when_the_store_closes(tmp_path: Path) -> None:
    settings = transit.Settings(flush_interval_ms=60_000)
    log = transit.open(tmp_path / "s", settings=settings)
    s = log.create("s")

    def inner() -> None:
        s.append(b"inner", durability="memory")
        raise KeyboardInterrupt

    with calling("turn", inner), pytest.raises(KeyboardInterrupt):
        s.append(b"outer", durability="os")
    log.close()
    with transit.open(tmp_path / "s") as log:
        assert [record.payload for record in log.stream("s")] == [b"outer", b"inner"]


@pytest.mark.parametrize("moment", MOMENTS)
def test_another_store_is_opened_used_and_closed_in_the_middle(
    log: transit.Log, tmp_path: Path, moment: str
) -> None:
    def inner() -> None:
        with transit.open(tmp_path / "other") as other:
            other.create("s").append(b"inner")
            other.seal()
            assert other.verify().ok

    with calling(moment, inner):
        OUTER[moment](log)
    assert log.verify().ok


def test_events_of_a_trace_in_the_middle_of_another_call_are_written_after_it(
    log: transit.Log,
) -> None:
    with trace.task(log, "run") as task:
        with calling("turn", lambda: task.message("user", "inner")):
            task.message("user", "outer")
        with calling("turn", lambda: task.message("user", "handler")):
            log.stream("s").append(b"outer", durability="os")
    said = [str(each.event) for each in trace.read(log, "run")]
    order = [next(n for n, text in enumerate(said) if each in text) for each in SAID]
    assert order == sorted(order)


def test_a_finalizer_publishes_to_memory_while_another_store_is_written_to_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that the collector calls on the thread of an upload."""
    one, other = (
        transit.open(tmp_path / name, remote=f"memory://{uuid4().hex}") for name in ("one", "other")
    )
    call, published = FilesystemStore._call, []

    def calling_back(store: FilesystemStore, method: str, *given: object, **options: Any) -> object:
        if method == "pipe_file" and not published:
            published.append(True)
            other.publish()
        return call(store, method, *given, **options)

    with one, other:
        for log in (one, other):
            log.create("s").append(b"1")
        monkeypatch.setattr(FilesystemStore, "_call", calling_back)
        # Where it hangs, the test fails and does not.
        publishing = threading.Thread(target=one.publish, daemon=True)
        publishing.start()
        publishing.join(60)
        assert not publishing.is_alive()
        assert (one.status().published, other.status().published) == (1, 1)
