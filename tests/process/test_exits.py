"""The interpreter ends, or a store is forgotten, with the store open and threads at work.

However a process ends, what it acknowledged is there, and the next one gets the lock.
"""

from __future__ import annotations

import _thread
import gc
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from rigs.resources import open_files
from transit.handle import background
from transit.handle.background import Worker
from transit.handle.launching import Launches

Run = Callable[..., str]
QUICK = transit.Settings(lock_timeout_s=5.0, flush_interval_ms=5)

START = """
import asyncio, atexit, os, signal, sys, threading, time, transit
settings = transit.Settings(flush_interval_ms=5, seal_interval_s=0.02, seal_bytes=4096)
log = transit.open(sys.argv[1], durability="os", settings=settings)
s = log.create("s")

def append(count=50):
    for n in range(count):
        # Not print(): a daemon thread within it at the end makes CPython abort.
        os.write(1, b"%d\\n" % s.append(b"%d" % n).offset)
"""

ENDS = {
    "falls off the end": ("append()", 0),
    "calls sys.exit": ("append(); sys.exit(3)", 3),
    "raises": ("append(); raise RuntimeError('nobody catches this')", 1),
    "calls os._exit": ("append(); os._exit(4)", 4),
    "is killed": ("append(); os.kill(os.getpid(), signal.SIGKILL)", -9),
    "is told to end": ("append(); os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -15),
    "is interrupted": (
        # Again and again: Python only prints an interrupt that falls into a `__del__`, and goes on.
        "append(); signal.signal(signal.SIGALRM, signal.default_int_handler)\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)\n"
        "try:\n"
        "    while True: s.append(b'more')\n"
        "finally: signal.setitimer(signal.ITIMER_REAL, 0)",
        -2,
    ),
    "ends in a thread": (
        "thread = threading.Thread(target=lambda: (append(), sys.exit(5)))\n"
        "thread.start(); thread.join()",
        0,
    ),
    "has daemon threads that append": (
        "for _ in range(3): threading.Thread(target=append, args=(10**9,), daemon=True).start()\n"
        "time.sleep(0.1)",
        0,
    ),
    "has other threads that append on": (
        "threading.Thread(target=append, args=(300,)).start()",
        0,
    ),
    "closes at exit": ("atexit.register(log.close); append()", 0),
    "appends at exit, before the store closes": ("atexit.register(append)", 0),
    "ends within asyncio.run": (
        "async def main():\n"
        "    task = asyncio.create_task(follow())\n"
        "    append()\n"
        "    await asyncio.sleep(0.05)\n"
        "async def follow():\n"
        "    async for record in s.follow(start=0): pass\n"
        "asyncio.run(main())",
        0,
    ),
    "leaves asyncio.run by sys.exit": (
        "async def main():\n    append()\n    sys.exit(6)\nasyncio.run(main())",
        6,
    ),
    "has a batch open": ("append()\nbatch = log.batch().__enter__()\nbatch.append(s, b'never')", 0),
    "has a tail open": ("append()\ntail = s.tail(start=0)\nnext(tail)", 0),
    "holds futures": ("futures = [s.submit(b'later', durability='local') for _ in range(9)]", 0),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_process_that_ends_with_an_open_store_loses_nothing_acknowledged(
    run: Run, path: Path, end: str
) -> None:
    work, code = ENDS[end]
    printed = run(START + work, path, code=code)
    lines = printed.split("\n")
    # The last line may be cut where the process ended in the middle of it.
    acknowledged = [int(line) for line in lines[:-1] if line.strip().isdigit()]
    with transit.open(path, settings=QUICK) as log:
        stream = log.stream("s")
        assert [record.offset for record in stream] == list(range(len(stream)))
        if acknowledged:
            assert max(acknowledged) < len(stream)
        assert b"never" not in [record.payload for record in stream]
        stream.append(b"on and on")
        assert log.verify().ok


def test_a_store_left_open_is_closed_at_exit_with_a_warning_and_all_it_accepted(
    run: Run, path: Path
) -> None:
    script = """
import sys, warnings, transit
warnings.simplefilter("always")
log = transit.open(sys.argv[1], durability="memory")
stream = log.create("s")
for n in range(1000):
    stream.append(b"%d" % n)
"""
    printed = run(script, path, complaint=True)
    assert "ResourceWarning" in printed
    assert str(path) in printed
    with transit.open(path) as log:
        assert log.recovery == ()
        assert len(log.stream("s")) == 1000


def forgotten(path: Path, mode: str, make: Callable[[transit.Log], object]) -> object:
    """Open a store, do something with it, and keep only what `make` returns."""
    log = transit.open(path, mode=mode, durability="os", settings=QUICK)
    return make(log)


def collect() -> None:
    """Collect what is forgotten, and then what that let go of."""
    for _ in range(3):
        gc.collect()


def drop(holder: list[object]) -> None:
    """Forget what a list holds."""
    holder.clear()
    collect()


def in_use() -> set[object]:
    """The files and the threads that this process has, once what was forgotten is gone."""
    collect()
    return {*open_files(), *threading.enumerate()}


def _use(log: transit.Log) -> None:
    stream = log.create("s")
    stream.append(b"x")
    stream.submit(b"y", durability="local").result(60)
    log.seal()


def _cycle(log: transit.Log) -> None:
    ring: list[object] = [log]
    ring.append(ring)
    _use(log)


@pytest.mark.slow
@pytest.mark.parametrize("make", [_use, _cycle], ids=["dropped", "in a cycle"])
@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_a_forgotten_store_is_closed_with_a_warning_and_leaves_no_lock_thread_or_file(
    path: Path, mode: str, make: Callable[[transit.Log], object]
) -> None:
    before = in_use()
    with pytest.warns(ResourceWarning, match="was not closed"):
        drop([forgotten(path, mode, make)])
    assert in_use() - before == set()
    with transit.open(path, settings=QUICK) as log:
        assert [record.payload for record in log.stream("s")] == [b"x", b"y"]


@pytest.mark.slow
def test_a_stream_keeps_its_store_open_and_lets_it_go_at_last(path: Path) -> None:
    held = [forgotten(path, "exclusive", lambda log: log.create("s"))]
    collect()
    assert isinstance(held[0], transit.Stream)
    assert held[0].append(b"x").offset == 0
    with pytest.raises(transit.LockedError):
        transit.open(path, settings=QUICK)
    with pytest.warns(ResourceWarning, match="was not closed"):
        drop(held)
    transit.open(path, settings=QUICK).close()


@pytest.mark.slow
def test_a_forgotten_reader_is_let_go_without_a_word(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        log.create("s").append(b"x")
    before = in_use()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        held = [forgotten(path, "read", lambda log: (log, log.stream("s"), log.stream("s").tail()))]
        assert in_use() - before
        drop(held)
    assert in_use() - before == set()


@pytest.mark.slow
def test_a_store_forgotten_by_a_thread_that_ended_is_closed(path: Path) -> None:
    worker = threading.Thread(target=lambda: drop([forgotten(path, "exclusive", _use)]))
    with pytest.warns(ResourceWarning, match="was not closed"):
        _run(worker)
    with transit.open(path, settings=QUICK) as log:
        assert len(log.stream("s")) == 2


def _run(thread: threading.Thread) -> None:
    thread.start()
    thread.join(60)
    collect()


def test_closing_from_several_threads_at_once_closes_once_and_refuses_the_rest(path: Path) -> None:
    with transit.open(path, durability="os", settings=QUICK) as log:
        stream = log.create("s")
        started = threading.Barrier(5)
        outcomes: list[str] = []

        def append() -> None:
            started.wait(60)
            try:
                while True:
                    stream.append(b"x")
            except transit.ClosedError:
                outcomes.append("refused")

        def close() -> None:
            started.wait(60)
            log.close()
            outcomes.append("closed")

        workers = [threading.Thread(target=work) for work in (append, append, close, close, close)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(60)
    assert sorted(outcomes) == ["closed"] * 3 + ["refused"] * 2
    with transit.open(path, settings=QUICK) as again:
        assert again.verify().ok


def test_closing_does_not_wait_for_a_pause_after_failed_work() -> None:
    failed = threading.Event()

    def work() -> None:
        failed.set()
        raise transit.StorageFullError("no room")

    # Woken at once, so that only the pause after the work is long.
    worker = Worker("test-worker", work, print, delay_s=600)
    worker.wake_now()
    assert failed.wait(60)
    worker.stop(30)
    assert worker._ended


def test_the_end_waits_for_threads_on_their_way_and_lets_none_start_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CPython 3.11 crashes when it ends while a thread is on its way."""
    launches = Launches()
    monkeypatch.setattr(background, "launches", launches)
    may_run, ran = threading.Event(), threading.Event()

    def start_late(work: Callable[[], None], arguments: tuple[()]) -> int:
        def late() -> None:
            may_run.wait(60)
            work(*arguments)

        return _thread.start_new_thread(late, ())

    monkeypatch.setattr(background, "start_new_thread", start_late)
    worker = Worker("late", ran.set, lambda _: None)
    assert worker.wake()
    launches.end(0.05)
    assert not ran.is_set()
    ending = threading.Thread(target=launches.end, args=(60,))
    ending.start()
    ending.join(0.1)
    assert ending.is_alive()
    may_run.set()
    ending.join(60)
    assert not ending.is_alive()
    assert ran.wait(60)
    worker.stop()
    # From then on the caller is told that there is no thread, as where there can be none.
    another = Worker("another", ran.clear, lambda _: None)
    assert not another.wake()
    assert not another.has_begun
    another.stop()
    launches.forget()
    launches.end(60)


def test_a_thread_that_cannot_be_started_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    launches = Launches()
    monkeypatch.setattr(background, "launches", launches)

    def refuse(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(background, "start_new_thread", refuse)
    worker = Worker("none", lambda: None, lambda _: None)
    assert not worker.wake()
    assert not launches._starting
    # The first of two threads starts, and the second cannot: the first does the work.
    monkeypatch.setattr(background, "start_new_thread", _thread.start_new_thread)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    ran = threading.Event()
    worker = Worker("first", ran.set, lambda _: None)
    assert worker.wake()
    assert ran.wait(60)
    assert not launches._starting
    worker.stop()
