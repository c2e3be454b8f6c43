"""What an opening is told of a store that this process, another or a dead one has open already."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit.locks import Lock

Start = Callable[..., "subprocess.Popen[str]"]

HASTY = transit.Settings(open_timeout_s=0, lock_timeout_s=0.001)
PATIENT = transit.Settings(open_timeout_s=600)

HOLD = """
import sys, transit
log = transit.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
log.close()
"""
# The lock is left to a child that knows nothing of transit, and its taker ends.
LEAVE = """
import ctypes, os, sys, transit
log = transit.open(sys.argv[1])
if ctypes.CDLL(None).fork():
    print(os.getpid(), flush=True)
    os._exit(0)
sys.stdin.readline()
os._exit(0)
"""


def read_line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def hold(start: Start, path: Path) -> subprocess.Popen[str]:
    holder = start(HOLD, path)
    assert read_line(holder) == "ready"
    return holder


def end(holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    holder.stdin.write("\n")
    holder.stdin.flush()


def refused(path: Path, mode: str = "exclusive") -> transit.LockedError:
    with pytest.raises(transit.LockedError) as caught:
        transit.open(path, mode=mode, settings=HASTY).close()
    return caught.value


@pytest.mark.parametrize(
    ("held", "asked"),
    [("exclusive", "exclusive"), ("exclusive", "shared"), ("shared", "exclusive")],
)
def test_a_second_opening_in_one_process_is_told_so_at_once_and_what_to_do(
    path: Path, held: str, asked: str
) -> None:
    with transit.open(path, mode=held):
        # However long others would be waited for.
        with pytest.raises(transit.LockedError) as caught:
            transit.open(path, mode=asked, settings=PATIENT).close()
        assert caught.value.pid == os.getpid()
        for words in ("this process has it open already", 'mode="shared"', 'mode="read"'):
            assert words in str(caught.value)
    transit.open(path, mode=asked, settings=HASTY).close()


def test_of_two_threads_that_open_at_once_one_is_told_that_the_other_has_it(path: Path) -> None:
    transit.open(path).close()
    both = threading.Barrier(2)
    found: list[object] = []

    def open_it() -> None:
        both.wait(timeout=60)
        try:
            found.append(transit.open(path, settings=HASTY))
        except transit.LockedError as error:
            found.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    logs = [each for each in found if isinstance(each, transit.Log)]
    assert len(found) == 2
    assert len(logs) == 1
    logs[0].close()


def forget(path: Path) -> None:
    """Forget an open store in a way that only the garbage collector finds; what is said of it."""
    cycle: list[object] = [transit.open(path)]
    cycle.append(cycle)
    gc.disable()
    try:
        del cycle
        assert "forgotten" in str(refused(path))
    finally:
        gc.enable()


def test_a_store_that_was_forgotten_and_not_collected_is_told_as_this_process_s(path: Path) -> None:
    # In a function of its own: nothing that it looked at is left afterwards.
    forget(path)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        # It may be collected in the middle of something else, and is closed by another thread then.
        deadline = time.monotonic() + 60
        while not warned and time.monotonic() < deadline:
            gc.collect()
            time.sleep(0.01)
    assert [each.category for each in warned] == [ResourceWarning]
    transit.open(path, settings=HASTY).close()


def test_another_process_is_named_with_what_to_do_and_lock_is_not_to_be_removed(
    start: Start, path: Path
) -> None:
    holder = hold(start, path)
    error = refused(path)
    assert error.pid == holder.pid
    assert f"held by process {holder.pid}:" in str(error)
    assert "Removing LOCK helps nobody" in str(error)
    assert "this process" not in str(error)


def test_an_opening_waits_for_another_process_a_moment(start: Start, path: Path) -> None:
    holder = hold(start, path)
    threading.Timer(0.2, end, [holder]).start()
    transit.open(path, settings=PATIENT).close()


def test_a_holder_that_is_gone_and_left_the_lock_to_a_child_is_told_so(
    start: Start, path: Path
) -> None:
    holder = start(LEAVE, path)
    pid = int(read_line(holder))
    holder.wait(timeout=60)
    assert "or a child of it" in str(refused(path))
    assert refused(path).pid == pid
    end(holder)


def test_a_holder_in_another_container_is_told_so(start: Start, path: Path) -> None:
    holder = hold(start, path)
    (path / "LOCK").write_text(f"{os.getpid()} pid:[1]\n")
    assert "of another container" in str(refused(path))
    # As versions before wrote it.
    (path / "LOCK").write_text(f"{holder.pid}\n")
    assert f"held by process {holder.pid}:" in str(refused(path))


def test_a_child_is_told_that_its_parent_holds_the_store(path: Path) -> None:
    with transit.open(path):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            said = b""
            try:
                transit.open(path, settings=HASTY)
            except transit.LockedError as error:
                said = str(error).encode()
            finally:
                os.write(writing, said)
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            assert "the parent of this one" in pipe.read()
        os.waitpid(child, 0)


@pytest.mark.parametrize("attribute", ["is_held_with", "is_open"])
def test_a_planted_opening_that_does_not_know_its_own_handles_is_found(
    path: Path, monkeypatch: pytest.MonkeyPatch, attribute: str
) -> None:
    # Not for as long as the test itself would wait.
    monkeypatch.setattr(sys.modules[__name__], "PATIENT", HASTY)
    nothing = property(lambda lock: False) if attribute == "is_open" else lambda lock, other: False
    monkeypatch.setattr(Lock, attribute, nothing)
    with pytest.raises(AssertionError):
        test_a_second_opening_in_one_process_is_told_so_at_once_and_what_to_do(
            path, "exclusive", "exclusive"
        )


def test_a_planted_reading_that_does_not_tell_containers_apart_is_found(
    start: Start, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = Lock._signature
    monkeypatch.setattr(Lock, "_signature", lambda lock: (right(lock)[0], ""))
    with pytest.raises(AssertionError):
        test_a_holder_in_another_container_is_told_so(start, path)
