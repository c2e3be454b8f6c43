"""Users' code that runs inside the engine: it may call the store, and its errors are its own."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import transit
from transit.handle import background, callbacks
from transit.handle.callbacks import Promise
from transit.handle.promises import Callbacks
from transit.handle.write_side import Writing
from transit.store import ObjectStore, open_store
from transit.tier.pools import Pool
from transit.tier.progress import Meter

QUICK = transit.Settings(flush_interval_ms=5, remote_timeout_s=1.0)
# Against hanging only.
DEADLINE_S = 60
OTHER_S = 0.2


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return tmp_path / "remote"


def ends(call: Callable[[], object]) -> Any:
    """What `call` returns, made in a thread of its own, which must end."""
    result: list[Any] = []

    def work() -> None:
        try:
            result.append(call())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert not thread.is_alive(), "hangs"
    if isinstance(result[0], BaseException):
        raise result[0]
    return result[0]


def submit(log: transit.Log, name: str, call: Callable[[Any], object]) -> None:
    """Submit a record, and have `call` called by another thread: it is not done before that."""
    assert isinstance(log._handle._side, Writing)
    with log._handle._side._flushing:
        log.stream(name).submit(b"x").add_done_callback(call)


def every_call(log: transit.Log) -> dict[str, Callable[[], object]]:
    s, other = log.stream("s"), log.stream("other")
    return {
        "append": lambda: s.append(b"local"),
        "append tiered": lambda: s.append(b"tiered", durability="tiered"),
        "append memory": lambda: s.append(b"memory", durability="memory"),
        "append many": lambda: s.append_many([b"many"]),
        "submit": lambda: s.submit(b"submitted").add_done_callback(lambda future: None),
        "create": lambda: log.create(f"new-{log.status().streams}"),
        "merge": lambda: log.merge(f"merged-{log.status().streams}", [s, other], policy="append"),
        "read": lambda: list(s.read()),
        "tail": lambda: list(s.tail(start=0, timeout=0)),
        "sync": log.sync,
        "sync tiered": lambda: log.sync("tiered"),
        "seal": log.seal,
        "status": log.status,
        "evict": lambda: log.evict(bytes_max=10**12),
        "verify": log.verify,
        "publish": log.publish,
        "close": log.close,
    }


def say_all(log: transit.Log) -> dict[str, str]:
    """What each call says: "" when it works."""
    said = {}
    for name, call in every_call(log).items():
        try:
            call()
            said[name] = ""
        except transit.TransitError as error:
            said[name] = type(error).__name__
    return said


@pytest.mark.parametrize("durability", ["local", "tiered"])
def test_a_callback_may_make_every_call_and_close_the_store(
    path: Path, remote: Path, durability: str
) -> None:
    log = transit.open(path, remote=remote, settings=QUICK)
    said: list[dict[str, str]] = []
    called = threading.Event()

    def callback(future: object) -> None:
        said.append(say_all(log))
        called.set()

    log.create("other")
    log.create("s").submit(b"x", durability=durability).add_done_callback(callback)
    try:
        assert called.wait(DEADLINE_S)
        assert set(said[0].values()) == {""}
    finally:
        ends(log.close)
    with transit.open(path, settings=QUICK) as again:
        payloads = [record.payload for record in again.stream("s")]
        assert payloads == [b"x", b"local", b"tiered", b"memory", b"many", b"submitted"]


REFUSED = ("append tiered", "sync tiered", "publish", "close")


def check_inside(said: list[dict[str, str]]) -> None:
    assert said
    for each in said:
        refused = {name: answer for name, answer in each.items() if answer}
        assert refused == dict.fromkeys(REFUSED, "ReentrantCallError")


def test_the_progress_of_publish_may_make_every_call_that_does_not_wait_for_it(
    path: Path, remote: Path
) -> None:
    said: list[dict[str, str]] = []
    with transit.open(path, remote=remote, settings=QUICK) as log:
        log.create("other")
        log.create("s").append(b"x")
        ends(lambda: log.publish(lambda progress: said.append(say_all(log))))
        check_inside(said)
        log.publish()
        assert log.verify().ok


class Calling:
    """An object store that makes calls of the log that publishes to it."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.call: Callable[[], object] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, key: str, data: bytes) -> None:
        call, self.call = self.call, None
        if call is not None:
            call()
        self._store.put(key, data)


def test_an_object_store_may_make_every_call_that_does_not_wait_for_it(
    path: Path, remote: Path
) -> None:
    store = Calling(open_store(remote))
    said: list[dict[str, str]] = []
    with transit.open(path, remote=store, settings=QUICK) as log:
        log.create("other")
        log.create("s").append(b"x")
        store.call = lambda: said.append(say_all(log))
        ends(log.publish)
        check_inside(said)


def test_a_policy_may_append_while_it_merges(path: Path) -> None:
    with transit.open(path, settings=QUICK) as log:
        s, other = log.create("s"), log.create("other")
        s.append(b"x")

        def policy(suffixes: Any, params: Any) -> Any:
            s.append(b"from the policy")
            return [entry for suffix in suffixes for entry in suffix]

        transit.register_policy("appends-while-merging", policy)
        merged = ends(lambda: log.merge("m", [s, other], policy="custom:appends-while-merging"))
        assert [record.payload for record in merged] == [b"x"]
        assert len(s) == 2


def test_progress_of_restore_and_audit_may_open_stores_and_audit(
    path: Path, remote: Path, tmp_path: Path
) -> None:
    with transit.open(path, remote=remote, settings=QUICK) as log:
        log.create("s").append(b"x")
        log.publish()
    said = []

    def progress(step: transit.Progress) -> None:
        said.append(transit.audit(remote).ok)
        with transit.open(path, mode="read") as other:
            said.append(len(other.stream("s")) == 1)
        with pytest.raises(transit.TransitError):
            transit.restore(remote, tmp_path / "restored")

    ends(lambda: transit.restore(remote, tmp_path / "restored", progress=progress))
    assert ends(lambda: transit.audit(remote, progress=lambda step: said.append(True))).ok
    assert said
    assert all(said)


# What they raise

RAISED = [
    ValueError,
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    asyncio.CancelledError,
    transit.PoisonedError,
]


@pytest.mark.parametrize("durability", ["local", "tiered"])
@pytest.mark.parametrize("kind", RAISED)
def test_what_a_callback_raises_is_reported_and_hurts_nothing(
    path: Path,
    remote: Path,
    kind: type[BaseException],
    durability: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    called: list[object] = []
    raised = 0

    def callback(future: object) -> None:
        raise kind("the callback's own")

    with transit.open(path, remote=remote, settings=QUICK) as log:
        s = log.create("s")
        futures = [s.submit(b"%d" % n, durability=durability) for n in range(9)]
        for future in futures:
            try:
                future.add_done_callback(callback)
            except kind:
                # It was done already: this thread called it, and what is no Exception comes here.
                raised += 1
            future.add_done_callback(called.append)
        done, waiting = concurrent.futures.wait(futures, DEADLINE_S)
        assert (len(done), len(waiting)) == (9, 0)
        assert [future.result().offset for future in futures] == list(range(9))
        s.append(b"goes on", durability=durability)
    assert called == futures
    told = sum("exception calling callback" in record.message for record in caplog.records)
    assert told + raised == 9


class Raising(logging.Handler):
    """Raises for every record."""

    def emit(self, record: logging.LogRecord) -> None:
        raise SystemExit(record.getMessage())


def test_a_logging_handler_that_raises_hurts_nothing(path: Path) -> None:
    logger = logging.getLogger("concurrent.futures")
    handler = Raising()
    logger.addHandler(handler)
    called: list[object] = []

    def callback(future: object) -> None:
        raise ValueError

    try:
        with transit.open(path, settings=QUICK) as log:
            s = log.create("s")
            futures = [s.submit(b"x") for _ in range(5)]
            for future in futures:
                # This thread calls it where the future is done already.
                with contextlib.suppress(SystemExit):
                    future.add_done_callback(callback)
                future.add_done_callback(called.append)
            s.append(b"y")
        assert called == futures
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("kind", [ValueError, SystemExit, asyncio.CancelledError])
def test_what_progress_raises_ends_that_publish_and_the_next_goes_on(
    path: Path, remote: Path, tmp_path: Path, kind: type[BaseException]
) -> None:
    calls: list[object] = []

    def progress(step: transit.Progress) -> None:
        calls.append(step)
        raise kind("progress")

    with transit.open(path, remote=remote, settings=QUICK) as log:
        s = log.create("s")
        for n in range(5):
            s.append(b"%d" % n)
            log.seal()
        with pytest.raises(kind, match="progress"):
            log.publish(progress)
        assert len(calls) == 1
        s.append(b"tiered", durability="tiered")
        with pytest.raises(kind, match="progress"):
            transit.restore(remote, tmp_path / "restored", progress=progress)
        with pytest.raises(kind, match="progress"):
            transit.audit(remote, progress=progress)
    assert len(calls) == 3
    assert transit.restore(remote, tmp_path / "restored").records


# When they run


def test_callbacks_are_called_before_close_returns_and_once(path: Path) -> None:
    called: list[object] = []
    log = transit.open(path, settings=transit.Settings(flush_interval_ms=60_000))
    s = log.create("s")
    futures = []
    for n in range(50):
        futures.append(s.submit(b"%d" % n))
        futures[-1].add_done_callback(called.append)
    log.close()
    assert called == futures
    futures[0].add_done_callback(called.append)
    assert called == [*futures, futures[0]]


def test_closing_ends_beside_a_callback_that_closes_too(path: Path) -> None:
    log = transit.open(path, settings=QUICK)
    inside, go_on = threading.Event(), threading.Event()

    def callback(future: object) -> None:
        inside.set()
        go_on.wait(DEADLINE_S)
        log.close()

    log.create("s")
    submit(log, "s", callback)
    assert inside.wait(DEADLINE_S)
    closing = threading.Thread(target=log.close, daemon=True)
    closing.start()
    closing.join(OTHER_S)
    go_on.set()
    closing.join(DEADLINE_S)
    assert not closing.is_alive()
    transit.open(path, settings=QUICK).close()


def test_a_callback_that_never_ends_keeps_neither_close_nor_other_callbacks(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transit.handle.promises._JOIN_S", OTHER_S)
    inside, never = threading.Event(), threading.Event()

    def callback(future: object) -> None:
        inside.set()
        never.wait(DEADLINE_S)

    called: list[object] = []
    log = transit.open(path, settings=QUICK)
    s = log.create("s")
    submit(log, "s", callback)
    assert inside.wait(DEADLINE_S)
    s.submit(b"y").result(DEADLINE_S)
    s.submit(b"z").add_done_callback(called.append)
    # Records are made durable all the same.
    s.append(b"local")
    ends(log.close)
    assert len(called) == 1
    never.set()


def test_a_cancelled_future_calls_back_at_once_and_its_record_stays(path: Path) -> None:
    called: list[object] = []
    with transit.open(path, settings=transit.Settings(flush_interval_ms=60_000)) as log:
        s = log.create("s")
        future: Promise[int] = Promise()
        future.add_done_callback(called.append)
        assert future.cancel()
        assert called == [future]
        submitted = s.submit(b"x")
        submitted.cancel()
        assert len(s) == 1
    assert submitted.done()


def test_asyncio_waits_for_submitted_appends(path: Path) -> None:
    async def main() -> list[int]:
        with transit.open(path, settings=QUICK) as log:
            s = log.create("s")
            waits = [asyncio.wrap_future(s.submit(b"%d" % n)) for n in range(20)]
            return [receipt.offset for receipt in await asyncio.gather(*waits)]

    assert asyncio.run(main()) == list(range(20))


# Without threads


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> int:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    def shut(*arguments: object) -> object:
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    monkeypatch.setattr(background, "start_new_thread", refuse)
    monkeypatch.setattr(concurrent.futures.ThreadPoolExecutor, "submit", shut)


@pytest.mark.usefixtures("no_threads")
def test_where_there_can_be_no_thread_everything_works(
    path: Path, remote: Path, tmp_path: Path
) -> None:
    called: list[object] = []
    with transit.open(path, remote=remote, settings=QUICK) as log:
        s = log.create("s")
        for durability in ("memory", "os", "local", "tiered"):
            s.append(durability.encode(), durability=durability)
        for durability in ("os", "local", "tiered"):
            future = s.submit(durability.encode(), durability=durability)
            future.add_done_callback(called.append)
            assert future.result(DEADLINE_S).durability == durability
        assert len(called) == 3
        log.seal()
        for n in range(3):
            s.append(b"%d" % n)
            log.seal()
        steps: list[object] = []
        assert log.publish(steps.append).commits
        assert steps
        assert log.evict(bytes_max=0).segments
        assert len(list(s.read())) == 10
    assert transit.restore(remote, tmp_path / "restored").records
    assert transit.audit(remote).ok
    with transit.open(f"file://{remote}", mode="read") as reader:
        assert len(list(reader.stream("s").tail(start=0, timeout=0))) == 10


AT_EXIT = """
import atexit, asyncio, os, sys, transit
path, remote = sys.argv[1:3]
log = transit.open(path, remote=remote)
s = log.create("s")
for n in range(3):
    s.append(b"%d" % n)
    log.seal()

async def follow():
    return len([record async for record in s.follow(start=0, timeout=0.05)])

def read():
    with transit.open(remote, mode="read") as reader:
        return len(reader.stream("s"))

def at_exit(name, call):
    def run():
        try:
            call()
            os.write(1, f"{name}: ok\\n".encode())
        except transit.TransitError as error:
            os.write(1, f"{name}: TransitError {error}\\n".encode())
        except BaseException as error:
            os.write(1, f"{name}: {error!r}\\n".encode())
    atexit.register(run)

calls = {
    "publish": log.publish,
    "tiered": lambda: s.append(b"t", durability="tiered"),
    "submit": lambda: s.submit(b"s").result(60),
    "submit tiered": lambda: s.submit(b"s", durability="tiered").result(60),
    "callback": lambda: s.submit(b"c").add_done_callback(lambda future: None),
    "seal": log.seal,
    "evict": lambda: log.evict(bytes_max=0),
    "read": lambda: list(s),
    "follow": lambda: asyncio.run(follow()),
    "restore": lambda: transit.restore(remote, path + ".restored"),
    "audit": lambda: transit.audit(remote),
    "bucket": lambda: transit.open(remote, mode="read").close(),
    "another": lambda: transit.open(path + ".other").create("o").append(b"x"),
    "close": log.close,
}
for name, call in reversed(calls.items()):
    at_exit(name, call)
print(len(calls))
"""


@pytest.mark.slow
def test_every_call_works_in_an_exit_handler(
    run: Callable[..., str], path: Path, remote: Path
) -> None:
    count, *said = run(AT_EXIT, path, f"file://{remote}").splitlines()
    assert [line for line in said if not line.endswith(": ok")] == []
    assert len(said) == int(count)
    with transit.open(path, remote=remote) as log:
        assert len(log.stream("s")) == 7


# Forgotten by its own thread


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_store_collected_by_a_thread_of_its_own_is_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gc

    flushed = threading.Event()
    flush = Writing._flush

    def collecting(self: Writing) -> None:
        flush(self)
        if go.is_set():
            gc.collect()
            flushed.set()

    go = threading.Event()
    monkeypatch.setattr(Writing, "_flush", collecting)
    gc.disable()
    try:
        ring: list[object] = [transit.open(path, settings=QUICK)]
        ring.append(ring)
        ring[0].create("s").append(b"x", durability="os")  # type: ignore[attr-defined]
        go.set()
        del ring
        assert flushed.wait(DEADLINE_S)
    finally:
        gc.enable()
    with opened_when_closed(path) as log:
        assert len(log.stream("s")) == 1


def opened_when_closed(path: Path) -> transit.Log:
    """The store, once another thread of this process has closed it."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            return transit.open(path, settings=QUICK)
        except transit.LockedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


# Bugs on purpose, each found by a test above


def called_by_the_flusher(patch: pytest.MonkeyPatch) -> None:
    """Futures are called back where they end, with the flusher's lock held."""
    patch.setattr(Callbacks, "add", lambda self, future: future._call())


def exits_pass(patch: pytest.MonkeyPatch) -> None:
    """What a callback raises goes through the thread that calls it."""
    patch.setattr(callbacks.Promise, "call_all", callbacks.Promise._call)


def told_with_the_lock(patch: pytest.MonkeyPatch) -> None:
    """Progress is told until the end though the callback raised."""

    def tell(self: Meter) -> None:
        while self._untold:
            progress = self._untold.popleft()
            if self._report is not None:
                self._report(progress)

    patch.setattr(Meter, "_tell", tell)


def no_task_here(patch: pytest.MonkeyPatch) -> None:
    """A pool that gets no thread says so to the caller."""
    patch.setattr(Pool, "submit", lambda self, call: self._executor.submit(call))


def test_a_callback_called_by_the_flusher_is_found(
    path: Path, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called_by_the_flusher(monkeypatch)
    with pytest.raises(AssertionError, match="ReentrantCallError"):
        test_a_callback_may_make_every_call_and_close_the_store(path, remote, "local")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_exit_that_passes_is_found(
    path: Path, remote: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    exits_pass(monkeypatch)
    with pytest.raises((AssertionError, SystemExit)):
        test_what_a_callback_raises_is_reported_and_hurts_nothing(
            path, remote, SystemExit, "local", caplog
        )


def test_progress_told_on_after_it_raised_is_found(
    path: Path, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_with_the_lock(monkeypatch)
    with pytest.raises(AssertionError):
        test_what_progress_raises_ends_that_publish_and_the_next_goes_on(
            path, remote, tmp_path, ValueError
        )


def test_a_pool_that_gives_up_without_threads_is_found(
    path: Path, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_threads: None
) -> None:
    no_task_here(monkeypatch)
    with pytest.raises(RuntimeError, match="interpreter shutdown"):
        test_where_there_can_be_no_thread_everything_works(path, remote, tmp_path)
