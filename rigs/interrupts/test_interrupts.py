"""Calls that are interrupted: at chosen places, and by real signals at random moments.

The rig is `rigs.interrupts.calls`; what must hold afterwards, `interrupt_judge`.
TRANSIT_INTERRUPTS says at how many places each call is interrupted, 0 for all of them.
"""

from __future__ import annotations

import os
import random
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rigs.interrupts.calls import CALLS, Sweep, sweep
from rigs.interrupts.places import count_places, interrupt, within
from transit.handle.handle import Handle
from transit.log.syncs import GroupSync
from transit.log.wal import Wal

# An interrupt in a destructor is reported by CPython and goes no further; a store whose opening or
# closing was interrupted may be closed as a forgotten one.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
COUNT = int(os.environ.get("TRANSIT_INTERRUPTS", "10")) or None
Run = Callable[..., str]


@pytest.mark.parametrize("name", CALLS)
def test_an_interrupted_call_is_whole_or_not_there_and_leaves_no_lock_taken(
    tmp_path: Path, name: str
) -> None:
    rig = sweep(name, tmp_path, COUNT)
    assert rig.places > 10
    assert rig.broken == []


STORM = """
import sys, time
from pathlib import Path
from rigs.interrupts.calls import storm
folder, seed, mode, count = sys.argv[1:]
rig = storm(Path(folder), int(seed), mode, int(count))
print(*rig.broken, sep="\\n")
"""


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_signals_at_random_moments_break_no_promise(run: Run, tmp_path: Path, mode: str) -> None:
    seed = int(os.environ.get("TRANSIT_SEED") or random.randrange(2**32))
    print(f"TRANSIT_SEED={seed}")
    assert run(STORM, tmp_path, seed, mode, 500).strip() == ""


def test_a_place_is_interrupted_where_a_signal_handler_would_run() -> None:
    met: list[str] = []
    lock = threading.Lock()

    def call() -> None:
        met.append("begun")
        with lock:
            met.append("inside")
        met.append("done")

    for place in range(count_places(call)):
        met.clear()
        assert interrupt(call, place) != ""
        assert not lock.locked()
    assert interrupt(call, count_places(call)) == ""


def test_generators_and_loops_are_interrupted_and_what_is_spared_is_not() -> None:
    def counting() -> Iterator[int]:
        yield 1
        yield 2

    def call() -> None:
        for _ in counting():
            pass
        textwrap.dedent("text")

    met = {interrupt(call, place).rpartition(" ")[2] for place in range(count_places(call))}
    assert any(name.endswith("counting") for name in met)
    assert "dedent" in met
    spared = ("textwrap.py", "re/__init__.py")
    places = range(count_places(call, spared))
    less = [interrupt(call, place, spared) for place in places]
    assert 0 < len(less) < count_places(call)
    assert not any(where.endswith("dedent") for where in less)


def late_flag(handle: Handle) -> None:
    """A close that says it is done before it is, so that what is interrupted stays open."""
    with handle._closing:
        if handle._let_go:
            return
        handle._let_go = True
        handle._close()


def on_a_condition(syncs: GroupSync, wal: Wal, stop: int) -> None:
    """A group commit whose leader and waiters share a condition, as one would write it first."""
    turn = syncs.__dict__.setdefault("_turn", threading.Condition())
    with turn:
        syncs._lead(wal)
        turn.notify_all()


@pytest.mark.parametrize(
    ("owner", "name", "planted", "call"),
    [
        (Handle, "close", late_flag, "close"),
        (GroupSync, "reach", on_a_condition, "sync"),
    ],
    ids=["a close that is done too soon", "a group commit on a condition"],
)
def test_a_planted_bug_is_found(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    owner: type[object],
    name: str,
    planted: Callable[..., None],
    call: str,
) -> None:
    monkeypatch.setattr("rigs.interrupts.judge.ANSWER_S", 2.0)
    rig = Sweep(call, tmp_path)
    monkeypatch.setattr(owner, name, planted)
    # What is planted makes more calls than what it takes the place of.
    for place in range(2 * rig.places + 20):
        rig.at(place)
        if rig.broken:
            break
    assert rig.broken != []


def test_a_witness_tells_who_holds_what_it_waits_for() -> None:
    lock = threading.Lock()
    with lock, pytest.raises(TimeoutError, match="no answer within"):
        within(0.05, lambda: lock.acquire(timeout=5))
