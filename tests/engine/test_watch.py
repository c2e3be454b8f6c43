"""`Log.watch`: what its function is called with, in which thread, how often; what it may do."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pickle
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import transit
from transit.engine.watching import Watch
from transit.guards import VIEW
from transit.handle.hub import Hub
from transit.handle.promises import Callbacks
from transit.handle.waiting import Alone

TIMEOUT_S = 120.0
Run = Callable[..., str]
QUICK = transit.Settings(refresh_interval_s=0.01)


def come_true(condition: Callable[[], object]) -> bool:
    """Whether it does, in time."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True


def others() -> set[threading.Thread]:
    """All threads but the one that an append starts."""
    return {thread for thread in threading.enumerate() if thread.name != "transit-flusher"}


class Calls(list[tuple[str, ...]]):
    """A function to be called: the names of the streams of each call."""

    def __call__(self, changed: tuple[transit.Stream, ...]) -> None:
        self.append(tuple(stream.name for stream in changed))

    @property
    def names(self) -> set[str]:
        return {name for call in self for name in call}


def test_named_streams_are_told_at_first_and_then_when_they_change(path: Path) -> None:
    calls = Calls()
    with transit.open(path) as log:
        a, b = log.create("a"), log.create("b")
        other = log.create("other")
        with log.watch(calls, [a, "b"]) as watch:
            assert come_true(lambda: calls.names == {"a", "b"})
            calls.clear()
            other.append(b"x")
            b.append(b"x")
            assert come_true(lambda: calls)
            a.finish()
            assert come_true(lambda: len(calls) == 2)
            assert calls == [("b",), ("a",)]
            assert not watch.closed
        b.append(b"y")
        assert watch.closed
        assert watch.error is None
        log.hide("a")
    assert calls == [("b",), ("a",)]


def test_all_streams_of_the_user_are_told_also_those_made_later(path: Path) -> None:
    calls = Calls()
    with transit.open(path) as log:
        old = log.create("old")
        with log.watch(calls):
            new = log.create("new")
            assert come_true(lambda: calls.names == {"new"})
            with log.batch() as batch:
                batch.append(old, b"1")
                batch.append(batch.create("newer"), b"2")
            assert come_true(lambda: calls.names == {"new", "old", "newer"})
            calls.clear()
            new.append_many([b"1", b"2"])
            assert come_true(lambda: calls == [("new",)])
            old.cursor("place").advance(1)
            log.layer("room").create("kept").append(b"x")
            log.hide("newer")
            assert come_true(lambda: "newer" in calls.names)
            assert calls.names == {"new", "newer"}


def test_a_stream_of_a_layer_is_told_to_those_who_named_it(path: Path) -> None:
    calls = Calls()
    with transit.open(path) as log:
        kept = log.layer("room").create("kept")
        log.watch(calls, [kept])
        assert come_true(lambda: calls == [("$room/kept",)])
        kept.append(b"x")
        assert come_true(lambda: len(calls) == 2)


def test_what_changes_while_the_function_runs_is_told_in_one_call(path: Path) -> None:
    calls = Calls()
    began, go_on = threading.Event(), threading.Event()

    def slow(changed: tuple[transit.Stream, ...]) -> None:
        calls(changed)
        began.set()
        assert go_on.wait(TIMEOUT_S)

    with transit.open(path, durability="os") as log:
        streams = [log.create(f"s{n}") for n in range(10)]
        log.watch(slow)
        streams[0].append(b"x")
        assert began.wait(TIMEOUT_S)
        for _ in range(20):
            for stream in streams:
                stream.append(b"x")
        # Told to the watch, whose function still runs.
        hub = log._handle.hub
        assert come_true(lambda: not hub._changed)
        watch = next(iter(hub._everything))
        assert isinstance(watch, Watch)
        assert come_true(lambda: len(watch._pending) == 10)
        go_on.set()
        assert come_true(lambda: len(calls) == 2)
        assert calls == [("s0",), tuple(f"s{n}" for n in range(10))]


@pytest.mark.parametrize("durability", ["memory", "os", "local"])
def test_the_records_can_be_read_when_the_function_is_called(path: Path, durability: str) -> None:
    seen: list[bytes] = []

    def read(changed: tuple[transit.Stream, ...]) -> None:
        for stream in changed:
            seen.extend(record.payload for record in stream.read(len(seen)))

    with transit.open(path) as log:
        stream = log.create("s")
        log.watch(read, ["s"])
        for n in range(100):
            stream.append(b"%d" % n, durability=durability)
        assert come_true(lambda: len(seen) == 100)
    assert seen == [b"%d" % n for n in range(100)]


MODES: dict[str, Callable[[Path], transit.Log]] = {
    "shared": lambda path: transit.open(path, mode="shared"),
    "read": lambda path: transit.open(path, mode="read"),
    "bucket": lambda path: transit.open(
        f"file://{path.parent / 'remote'}", mode="read", settings=QUICK
    ),
    "read with a remote": lambda path: transit.open(
        path, mode="read", remote=path.parent / "remote", settings=QUICK
    ),
}


@pytest.mark.parametrize("named", [True, False], ids=["named", "all"])
@pytest.mark.parametrize("mode", MODES)
def test_what_others_write_is_told(path: Path, mode: str, named: bool) -> None:
    calls = Calls()
    with transit.open(path, mode="shared", remote=path.parent / "remote") as writer:
        a, b = writer.create("a"), writer.create("b")
        a.append(b"x")
        writer.publish()
        with MODES[mode](path) as log:
            # Changes of streams that the reader does not use are told too.
            log.watch(calls, ["b"] if named else None)
            b.append(b"1")
            writer.publish()
            assert come_true(lambda: "b" in calls.names)
            calls.clear()
            if not named:
                writer.create("c").append(b"1")
            a.append(b"2")
            b.finish()
            writer.publish()
            wanted = {"b"} if named else {"a", "b", "c"}
            assert come_true(lambda: calls.names >= wanted)
            assert not named or calls.names == {"b"}


@pytest.mark.parametrize(
    "kind", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError]
)
def test_what_the_function_raises_is_reported_and_the_watch_goes_on(
    path: Path, kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    calls = Calls()

    def fail(changed: tuple[transit.Stream, ...]) -> None:
        calls(changed)
        raise kind("of the user's")

    async def main(log: transit.Log) -> int:
        stream = log.stream("s")
        log.watch(fail, [stream])
        assert await asyncio.to_thread(come_true, lambda: len(calls) == 1)
        count = 0
        async for _ in stream.follow(0, timeout=TIMEOUT_S):
            count += 1
            if count == 3:
                return count
            before = len(calls)
            await asyncio.to_thread(stream.append, b"x")
            assert await asyncio.to_thread(come_true, lambda n=before: len(calls) > n)
        return count

    with transit.open(path) as log, caplog.at_level(logging.ERROR):
        log.create("s").append(b"x")
        assert asyncio.run(main(log)) == 3
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[0] is kind


def test_the_function_may_use_the_store_and_its_watch(path: Path) -> None:
    outcomes: list[object] = []

    def use(changed: tuple[transit.Stream, ...]) -> None:
        if len(outcomes) < 3:
            outcomes.append(len(changed[0]))
            log.stream("out").append(b"x", durability="local")
            log.stream("out").submit(b"y", durability="local").result(TIMEOUT_S)
            log.seal()
            outcomes.append(log.verify().ok)
            outcomes.append(len(list(log.stream("out").tail(0, timeout=0))))
            watch.close()

    with transit.open(path) as log:
        stream = log.create("in")
        log.create("out")
        watch = log.watch(use, ["in"])
        stream.append(b"x")
        assert come_true(lambda: watch.closed)
    assert outcomes[1:] == [True, 2]


def test_the_function_may_close_the_store(path: Path) -> None:
    log = transit.open(path)
    stream = log.create("s")
    calls = Calls()

    def close(changed: tuple[transit.Stream, ...]) -> None:
        calls(changed)
        log.close()

    watch = log.watch(close)
    stream.append(b"x")
    assert come_true(lambda: calls == [("s",), ()])
    assert isinstance(watch.error, transit.ClosedError)
    transit.open(path).close()


@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
def test_a_store_that_closes_says_so_last_and_has_no_thread_left(path: Path, mode: str) -> None:
    transit.open(path).close()
    before = set(threading.enumerate())
    calls = Calls()
    log = transit.open(path, mode=mode)
    watch = log.watch(calls)
    if mode != "read":
        log.create("s")
    log.close()
    assert set(threading.enumerate()) == before
    assert calls[-1:] == [()]
    assert calls.count(()) == 1
    assert isinstance(watch.error, transit.ClosedError)
    assert watch.closed
    watch.close()
    with pytest.raises(transit.ClosedError):
        log.watch(calls)


def test_closing_waits_for_a_thread_that_was_about_to_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_ending, may_end = threading.Event(), threading.Event()

    def close(source: Alone) -> None:
        is_ending.set()
        assert may_end.wait(TIMEOUT_S)

    with transit.open(path) as log:
        calls = Calls()
        monkeypatch.setattr(Alone, "close", close)
        watch = log.watch(calls)
        log.create("s")
        assert come_true(lambda: calls)
        watch.close()
        assert is_ending.wait(TIMEOUT_S)
        # Another one came and went meanwhile.
        log.watch(Calls()).close()
        before = threading.Timer(0.2, may_end.set)
        before.start()
    assert may_end.is_set()
    assert all(thread.name != "transit-hub" for thread in threading.enumerate())


def test_a_watch_does_not_keep_its_store_open(path: Path) -> None:
    calls = Calls()
    log = transit.open(path)
    watch = log.watch(calls)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del log
        gc.collect()
    assert come_true(lambda: watch.closed)
    assert calls[-1:] == [()]
    transit.open(path).close()


def test_a_watch_of_a_folder_that_went_ends_and_says_why(path: Path) -> None:
    calls = Calls()
    transit.open(path).close()
    with transit.open(path, mode="read") as log:
        watch = log.watch(calls)
        path.rename(path.with_name("moved"))
        assert come_true(lambda: calls == [()])
        assert isinstance(watch.error, transit.StoreMovedError)
        assert watch.closed


def test_many_watches_of_one_store_have_two_threads(path: Path) -> None:
    with transit.open(path) as log:
        stream = log.create("s")
        stream.append(b"x")
        before = others()
        every = [Calls() for _ in range(100)]
        watches = [log.watch(calls, ["s"]) for calls in every]
        stream.append(b"y")
        assert come_true(lambda: all(every))
        assert len(others() - before) <= 2
        for watch in watches:
            watch.close()
        assert come_true(
            lambda: all(thread.name != "transit-hub" for thread in threading.enumerate())
        )


def test_a_slow_function_keeps_no_follower_waiting(path: Path) -> None:
    go_on = threading.Event()

    async def main(log: transit.Log) -> list[int]:
        stream = log.stream("s")
        seen: list[int] = []
        async for record in stream.follow(0, timeout=TIMEOUT_S):
            seen.append(record.offset)
            if len(seen) == 3:
                break
            await asyncio.to_thread(stream.append, b"x")
        return seen

    with transit.open(path) as log:
        log.create("s").append(b"x")
        log.watch(lambda changed: go_on.wait(8 * TIMEOUT_S), ["s"])
        try:
            assert asyncio.run(main(log)) == [0, 1, 2]
        finally:
            go_on.set()


FORKED = """
import os, sys, time, transit
calls = []
log = transit.open(sys.argv[1], durability="os")
s = log.create("s")
watch = log.watch(calls.append)
s.append(b"x")
while not calls:
    time.sleep(0.001)
if (pid := os.fork()) == 0:
    mine = len(calls)
    try:
        log.watch(print)
        code = 1
    except transit.ForkedError:
        code = 0
    watch.close()
    os._exit(code + (len(calls) != mine))
assert os.waitpid(pid, 0)[1] == 0
before = len(calls)
s.append(b"y")
while len(calls) == before:
    time.sleep(0.001)
log.close()
print("went on")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_leaves_the_watch_to_the_parent(run: Run, path: Path) -> None:
    assert run(FORKED, path).strip() == "went on"


@pytest.mark.parametrize(
    "arguments",
    [(3,), (print, "s"), (print, 3), (print, [3]), (print, b"s")],
)
def test_what_cannot_be_watched_is_refused(path: Path, arguments: tuple[Any, ...]) -> None:
    with transit.open(path) as log:
        log.create("s")
        with pytest.raises(transit.InvalidInputError):
            log.watch(*arguments)
        with pytest.raises(transit.NotFoundError):
            log.watch(print, ["absent"])
        with transit.open(path.with_name("other")) as other:
            stream = other.create("s")
            with pytest.raises(transit.InvalidInputError):
                log.watch(print, [stream])


def test_a_watch_stays_in_its_process(path: Path) -> None:
    with transit.open(path) as log, log.watch(print) as watch:
        with pytest.raises(transit.UnpicklableError):
            pickle.dumps(watch)
        assert "Watch of" in repr(watch)


def test_a_call_in_the_middle_of_a_change_of_the_view_is_refused(
    path: Path,
) -> None:
    with transit.open(path) as log:
        log.create("s")
        with pytest.raises(transit.ReentrantCallError):
            log._handle.catalog.order.during(VIEW, lambda: log.watch(print))
        assert not log._handle.hub._following


def errors_end_the_thread(patch: pytest.MonkeyPatch) -> None:
    """What a function raises passes through the thread that calls."""
    patch.setattr(Watch, "_call", lambda watch, changed: watch._callback(changed))


def functions_run_in_the_hub(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Callbacks, "wake", Callbacks._call)


def the_end_is_not_said(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Watch, "end", lambda watch, error: None)


def what_comes_meanwhile_is_dropped(patch: pytest.MonkeyPatch) -> None:
    right = Watch._changed

    def changed(watch: Watch) -> tuple[transit.Stream, ...]:
        found = right(watch)
        watch._is_due = True
        return found

    patch.setattr(Watch, "_changed", changed)


def sealed_elsewhere_is_not_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Hub, "_note_segments", lambda hub, segments: None)


Plant = Callable[[pytest.MonkeyPatch], None]
FOUND: list[tuple[Plant, Callable[..., None], tuple[object, ...]]] = [
    (the_end_is_not_said, test_a_store_that_closes_says_so_last_and_has_no_thread_left, ("read",)),
    (
        what_comes_meanwhile_is_dropped,
        test_what_changes_while_the_function_runs_is_told_in_one_call,
        (),
    ),
    (sealed_elsewhere_is_not_told, test_what_others_write_is_told, ("bucket", False)),
    (functions_run_in_the_hub, test_a_slow_function_keeps_no_follower_waiting, ()),
]


@pytest.mark.parametrize(
    ("plant", "test", "more"), FOUND, ids=lambda each: getattr(each, "__name__", "")
)
def test_a_planted_mistake_is_found(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plant: Plant,
    test: Callable[..., None],
    more: tuple[object, ...],
) -> None:
    monkeypatch.setitem(globals(), "TIMEOUT_S", 0.5)
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        test(path, *more)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_planted_errors_that_end_the_thread_are_found(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(globals(), "TIMEOUT_S", 0.5)
    errors_end_the_thread(monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        test_what_the_function_raises_is_reported_and_the_watch_goes_on(path, ValueError, caplog)
