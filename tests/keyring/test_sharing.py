"""One file, several threads and processes: one current key, whole files, no waiting for oneself."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.test_forks import in_child
from transit import (
    Keyring,
    LockedError,
    ReentrantCallError,
    StorageFullError,
    StoreUnavailableError,
    SyncFailedError,
)
from transit.keyring import files
from transit.locks import Lock

from .conftest import STORE_ID, STREAM, KeyService, told

WAIT_S = 60
# Makes the same keys as the others do, when it is told to, and says what it got.
MAKES = """
import sys, transit
path, key_file, *owners = sys.argv[1:]
ring = transit.Keyring.open(path, key_file=key_file)
print("ready", flush=True)
sys.stdin.readline()
for owner in owners:
    key = ring.current(owner)
    print(key.id.hex(), key.secret.hex(), flush=True)
"""
OWNERS = ["store", *(f"subject:{number}" for number in range(20))]


def test_processes_that_make_keys_at_once_get_the_same(
    ring: Keyring, file: Path, key_file: str, start: Callable[..., object]
) -> None:
    children = [start(MAKES, file, key_file, *OWNERS) for _ in range(3)]
    for child in children:
        assert child.stdout.readline() == "ready\n"  # type: ignore[attr-defined]
    for child in children:
        child.stdin.write("\n")  # type: ignore[attr-defined]
        child.stdin.flush()  # type: ignore[attr-defined]
    mine = [ring.current(owner) for owner in OWNERS]
    expected = "".join(f"{key.id.hex()} {key.secret.hex()}\n" for key in mine)
    for child in children:
        out, said = child.communicate(timeout=WAIT_S)  # type: ignore[attr-defined]
        assert (out, said) == (expected, "")
    assert [info.owner for info in told(ring)].count("store") == 1
    assert len(ring.keys()) == len(OWNERS)


def test_threads_that_make_keys_at_once_get_the_same(ring: Keyring) -> None:
    barrier = threading.Barrier(8)

    def make(_: int) -> list[object]:
        barrier.wait(WAIT_S)
        return [ring.current(owner) for owner in OWNERS]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(make, range(8)))
    assert all(each == found[0] for each in found)
    assert len(ring.keys()) == len(OWNERS)


def test_a_key_that_another_process_destroyed_is_used_no_more(
    ring: Keyring, file: Path, key_file: str
) -> None:
    key = ring.current(STREAM)

    def destroy() -> None:
        assert Keyring.open(file, key_file=key_file).destroy(STREAM) == 1

    in_child(destroy)
    assert ring.find(key.id) is None
    assert ring.destroyed(key.id)
    assert ring.current(STREAM).id != key.id


def test_a_child_goes_on_with_its_parents_keyring(ring: Keyring) -> None:
    before = ring.current("store")

    def use() -> None:
        assert ring.current("store") == before
        ring.current(STREAM)
        ring.destroy("subject:x")

    in_child(use)
    assert {info.owner: info.state for info in told(ring)} == dict.fromkeys(
        ("store", STREAM), "current"
    )


def test_a_fork_in_the_middle_of_a_write_leaves_the_child_nothing_to_wait_for(
    file: Path, service: KeyService
) -> None:
    """Another thread has the lock, of threads and of the file, when the child is made."""
    inside, go_on = threading.Event(), threading.Event()
    slow = False

    def wrap(data: bytes) -> bytes:
        if slow and threading.current_thread() is not threading.main_thread():
            inside.set()
            assert go_on.wait(WAIT_S)
        return service.wrap(data)

    ring = Keyring.create(file, wrap=wrap, unwrap=service.unwrap)
    ring.current("store")
    slow = True
    # It wraps while it holds the lock of the file.
    thread = threading.Thread(target=ring.rewrap, kwargs={"wrap": wrap, "unwrap": service.unwrap})
    thread.start()
    try:
        assert inside.wait(WAIT_S)

        def use() -> None:
            ring.keys()
            assert ring._file._held is None
            held = [os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")
                    if os.path.islink(f"/proc/self/fd/{n}")]  # fmt: skip
            assert not any(name.endswith(".lock") for name in held)

        in_child(use)
    finally:
        go_on.set()
        thread.join(WAIT_S)
    assert ring.current("store")


def test_a_signal_handler_in_the_middle_of_a_call_is_refused(
    file: Path, service: KeyService
) -> None:
    refused: list[str] = []

    def handle(*_: object) -> None:
        for call in (ring.keys, lambda: ring.current(STREAM), lambda: ring.destroy(STREAM)):
            try:
                call()
            except ReentrantCallError as error:
                refused.append(type(error).__name__)

    def wrap(data: bytes) -> bytes:
        signal.raise_signal(signal.SIGUSR1)
        return service.wrap(data)

    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        ring = Keyring.create(file, wrap=wrap, unwrap=service.unwrap)
        signal.signal(signal.SIGUSR1, handle)
        ring.current("store")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert refused == ["ReentrantCallError"] * 3
    assert len(ring.keys()) == 1


def test_who_waits_too_long_is_told_who_holds_the_file(
    ring: Keyring, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCK_TIMEOUT_S", 0.01)
    key = ring.current("store")
    lock = Lock(f"{file}.lock")
    lock.acquire()
    try:
        with pytest.raises(LockedError):
            ring.current(STREAM)
        # Reading waits for nobody.
        assert ring.current("store") == ring.find(key.id) == key
    finally:
        lock.close()
    assert ring.current(STREAM)


# Crashes and faults

WRITES: dict[str, Callable[[Keyring], object]] = {
    "current": lambda ring: ring.current("subject:new"),
    "attach": lambda ring: ring.attach(STORE_ID),
    "rotate": lambda ring: ring.rotate(STREAM),
    "destroy": lambda ring: ring.destroy(STREAM, "gone"),
}
CALLS = ["open", "pwrite", "fdatasync", "replace", "fsync", "unlink", "stat", "link"]
KILLED = -signal.SIGKILL


def dying(at: int, work: Callable[[], object]) -> bool:
    """Do `work` in a child that is killed before the system call of this number; if it was."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def counted(call: Callable[..., object]) -> Callable[..., object]:
            def step(*given: object, **named: object) -> object:
                nonlocal count
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                count += 1
                return call(*given, **named)

            return step

        try:
            for name in CALLS:
                setattr(os, name, counted(getattr(os, name)))
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, KILLED)
    return status == KILLED


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_killed_at_any_call_the_old_or_the_new_file_is_there(
    ring: Keyring, file: Path, key_file: str, write: Callable[[Keyring], object]
) -> None:
    ring.current_all([STREAM, "store"])
    before = file.read_bytes()
    seen = set()
    at = 0
    while dying(at, lambda: write(Keyring.open(file, key_file=key_file))):
        opened = Keyring.open(file, key_file=key_file)
        assert opened.current("store") == ring.current("store")
        seen.add(json.loads(file.read_bytes())["generation"])
        # What is left of the write is in nobody's way.
        Keyring.open(file, key_file=key_file).current(f"subject:{at}")
        assert {path.name for path in file.parent.iterdir()} == {"ring.json", "ring.json.lock"}
        file.write_bytes(before)
        ring = Keyring.open(file, key_file=key_file)
        at += 1
        assert at < 200
    generation = json.loads(before)["generation"]
    assert seen == {generation, generation + 1}
    # Opening it alone is several calls, and each step of the write was met.
    assert at > 10


def test_killed_while_it_is_made_there_is_none_or_a_whole_one(file: Path, key_file: str) -> None:
    at = 0
    seen = set()
    while dying(at, lambda: Keyring.create(file, key_file=key_file)):
        seen.add(file.exists())
        if file.exists():
            Keyring.open(file, key_file=key_file).current("store")
            file.unlink()
        at += 1
        assert at < 200
    assert seen == {False, True}


def failing_once(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> list[str]:
    """Have the next call of this name fail with this error."""
    call, failed = getattr(os, name), []

    def step(*given: object) -> object:
        if not failed:
            failed.append(name)
            raise OSError(number, os.strerror(number))
        return call(*given)

    monkeypatch.setattr(os, name, step)
    return failed


@pytest.mark.parametrize(
    ("name", "number", "kind"),
    [
        ("pwrite", errno.ENOSPC, StorageFullError),
        ("fdatasync", errno.EIO, SyncFailedError),
        ("replace", errno.EIO, StoreUnavailableError),
        ("fsync", errno.EIO, SyncFailedError),
    ],
)
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_after_a_failed_write_the_next_one_makes_all_durable(
    ring: Keyring,
    file: Path,
    key_file: str,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Keyring], object],
    name: str,
    number: int,
    kind: type[Exception],
) -> None:
    kept = ring.current_all([STREAM, "store"])
    with monkeypatch.context() as patch:
        assert failing_once(patch, name, number) == []
        with pytest.raises(kind):
            write(ring)
    assert not list(file.parent.glob("*.temporary"))
    replaced: list[object] = []
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda *given: replaced.append(given) or replace(*given))
    # It may have been done, or not: done again, it is written, though nothing may be left to do.
    write(ring)
    assert replaced
    replaced.clear()
    assert ring.current("store") == kept["store"]
    assert not replaced
    again = Keyring.open(file, key_file=key_file)
    assert again.keys() == ring.keys()


def test_a_key_that_another_wrote_is_made_durable_before_it_is_used(
    ring: Keyring, file: Path, key_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other may have died before it synced the folder."""
    key = ring.current("store")
    other = Keyring.open(file, key_file=key_file)
    with monkeypatch.context() as patch:
        failed = failing_once(patch, "fsync", errno.EIO)
        assert other.find(key.id) == key
        assert not failed
        with pytest.raises(SyncFailedError):
            other.current("store")
    assert other.current("store") == key


def test_a_keyring_that_cannot_be_written_is_read(
    ring: Keyring, file: Path, key_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring.attach(STORE_ID)
    key = ring.current("store")

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files, "locked", refuse)
    other = Keyring.open(file, key_file=key_file)
    other.attach(STORE_ID)
    assert other.find(key.id) == other.current("store") == key
    assert other.index_key == ring.index_key
