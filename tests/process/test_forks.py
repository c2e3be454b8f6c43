"""Forks and the ways of multiprocessing, with a store open in the parent.

A child may do what it likes with the handles it was given, and end however it likes: the parent
goes on, keeps its lock, and nothing is written twice.
"""

from __future__ import annotations

import multiprocessing.connection
import os
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

import transit

QUICK = transit.Settings(lock_timeout_s=0.2, flush_interval_ms=5)
DEADLINE_S = 60


def in_child(work: Callable[[], object], end: Callable[[int], object] = os._exit) -> None:
    """Run `work` in a child made by fork(), which must end well within the deadline."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        end(code)
    watcher = multiprocessing.connection.wait([os.pidfd_open(pid)], DEADLINE_S)
    if not watcher:
        os.kill(pid, 9)
    assert os.waitpid(pid, 0)[1] == 0, "hangs" if not watcher else "failed"


def open_store(path: Path, mode: str, remote: bool) -> transit.Log:
    """A store with one record in `s`, opened in `mode`."""
    attached = path.with_name("remote") if remote else None
    with transit.open(path, durability="os", remote=attached) as log:
        log.create("s").append(b"0")
        if remote:
            log.publish()
    return transit.open(path, mode=mode, durability="os", settings=QUICK, remote=attached)


def use(log: transit.Log) -> None:
    """Every way a child may try; each is refused."""
    for call in (
        lambda: log.stream("s"),
        lambda: log.create("new"),
        log.seal,
        log.status,
        log.publish,
        lambda: list(log.streams()),
    ):
        with pytest.raises(transit.ForkedError):
            call()


def leave(log: transit.Log) -> None:
    """A child that closes what is not its own, and forgets it."""
    log.close()
    log.__exit__(None, None, None)


def open_again(log: transit.Log) -> None:
    """A child that opens the store itself: to read always, to write only where that is shared."""
    with transit.open(log.path, mode="read") as own:
        assert own.stream("s")[0].payload == b"0"
    if log.mode == "shared":
        with transit.open(log.path, mode="shared", durability="os") as own:
            own.stream("s").append(b"child")
    elif log.mode == "exclusive":
        with pytest.raises(transit.LockedError):
            transit.open(log.path, settings=QUICK)


CHILDREN = [use, leave, open_again]


@pytest.mark.parametrize("remote", [False, True], ids=["alone", "remote"])
@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
@pytest.mark.parametrize("child", CHILDREN, ids=["uses", "closes", "opens"])
def test_the_parent_goes_on_whatever_its_child_does(
    path: Path, child: Callable[[transit.Log], None], mode: str, remote: bool
) -> None:
    log = open_store(path, mode, remote)
    stream = log.stream("s")
    in_child(lambda: child(log))
    expected = [b"0"]
    if child is open_again and mode == "shared":
        expected.append(b"child")
    if mode != "read":
        stream.append(b"parent")
        stream.submit(b"later", durability="local").result(DEADLINE_S)
        expected += [b"parent", b"later"]
    if mode == "exclusive":
        with pytest.raises(transit.LockedError):
            transit.open(path, settings=QUICK)
    if remote and mode != "read":
        assert log.publish().commits >= 1
    assert [record.payload for record in stream] == expected
    log.close()
    with transit.open(path) as again:
        assert [record.payload for record in again.stream("s")] == expected
        assert again.verify().ok


@pytest.mark.parametrize("end", [os._exit, pytest.param(lambda code: os.kill(os.getpid(), 9))])
def test_records_accepted_in_memory_before_a_fork_are_written_once_by_the_parent(
    path: Path, end: Callable[[int], object]
) -> None:
    with transit.open(path, durability="memory") as log:
        stream = log.create("s")
        for n in range(10):
            stream.append(b"%d" % n)
        pid = os.fork()
        if pid == 0:
            end(0)
        os.waitpid(pid, 0)
        stream.append(b"10")
    with transit.open(path) as log:
        assert [int(record.payload) for record in log.stream("s")] == list(range(11))


def test_a_child_that_ends_as_python_ends_writes_nothing_of_its_parents(
    run: Callable[..., str], path: Path
) -> None:
    script = """
import os, sys, transit
log = transit.open(sys.argv[1], durability="memory")
stream = log.create("s")
stream.append(b"before")
pid = os.fork()
if pid == 0:
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
stream.append(b"after")
log.close()
with transit.open(sys.argv[1]) as log:
    print(*(record.payload.decode() for record in log.stream("s")))
"""
    assert run(script, path).split() == ["before", "after"]


def test_forks_while_threads_append_leave_no_lock_taken(path: Path) -> None:
    stop: list[bool] = []
    with transit.open(path, mode="shared", durability="os") as log:
        stream = log.create("s")

        def append() -> None:
            while not stop:
                stream.append(b"thread")
                # A process that never pauses keeps the others out: flock(2) has no queue.
                time.sleep(0.002)

        workers = [_thread(append) for _ in range(2)]
        for n in range(6):
            in_child(lambda n=n: _append_as_another(path, n))
        stop.append(True)
        for worker in workers:
            worker.join(DEADLINE_S)
            assert not worker.is_alive()
        payloads = [record.payload for record in stream]
    assert [p for p in payloads if p != b"thread"] == [b"child %d" % n for n in range(6)]
    with transit.open(path) as log:
        assert [record.payload for record in log.stream("s")] == payloads
        assert log.verify().ok


def _append_as_another(path: Path, number: int) -> None:
    with transit.open(path, mode="shared", durability="os") as own:
        own.stream("s").append(b"child %d" % number)


def _thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_processes_of_a_pool_write_beside_a_parent_that_has_the_store_open(
    run: Callable[..., str], path: Path, method: str
) -> None:
    module = path.with_name("pooled.py")
    module.write_text(POOL)
    answer = run(
        f"import runpy; runpy.run_path({str(module)!r}, run_name='__main__')", path, method
    )
    assert answer.split() == ["12", "True"]


POOL = """
import multiprocessing, sys, transit

def work(path, number):
    with transit.open(path, mode="shared", durability="os") as log:
        return log.stream("s").append(b"%d" % number).offset

if __name__ == "__main__":
    path, method = sys.argv[1:]
    multiprocessing.set_start_method(method)
    with transit.open(path, mode="shared", durability="os") as log:
        stream = log.create("s")
        with multiprocessing.Pool(3) as pool:
            offsets = pool.starmap(work, [(path, n) for n in range(12)])
        print(len(set(offsets)))
        print(sorted(int(record.payload) for record in stream) == list(range(12)))
"""


@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_a_remote_of_fsspec_survives_the_fork_of_its_user(
    run: Callable[..., str], path: Path, kind: str
) -> None:
    script = """
import os, sys, transit
path, kind = sys.argv[1:]
remote = "memory://bucket/store" if kind == "memory" else "file://" + path + "-remote"
log = transit.open(path, remote=remote)
stream = log.create("s")
stream.append(b"0", durability="tiered")
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        try:
            stream.append(b"child")
        except transit.ForkedError:
            pass
        log.close()
        # The child has a file system of its own to use.
        with transit.open(remote, mode="read") as reader:
            assert reader.stream("s")[0].payload == b"0"
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    stream.append(b"1", durability="tiered")
log.evict(bytes_max=0)
print(len(list(stream.read())), log.status().remote_error or "no error")
log.close()
"""
    assert run(script, path, kind) == "4 no error\n"
