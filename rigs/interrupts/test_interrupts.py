"""Calls that are interrupted: at chosen places, and by real signals at random moments.

The rig is `rigs.interrupts.calls`; what must hold afterwards, `interrupt_judge`.
TRANSIT_INTERRUPTS says at how many places each call is interrupted, 0 for all of them.
"""

from __future__ import annotations

import os
import textwrap
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from rigs.interrupts.calls import CALLS, Sweep, sweep
from rigs.interrupts.judge import is_whole
from rigs.interrupts.places import count_places, interrupt, within
from rigs.seeds import run_seed
from transit.disk import File
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
    seed = run_seed()
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


@pytest.mark.parametrize("call", ["hold", "close"])
def test_a_file_kept_from_others_is_let_go_wherever_a_call_was_interrupted(
    tmp_path: Path, call: str
) -> None:
    path = tmp_path / "file"
    path.touch()
    other = File.open(str(path), write=True)

    def interrupted(place: int | None) -> int:
        file = File.open(str(path), write=True)
        # As a call does that goes on meanwhile: the file is not closed by letting go of it.
        used = file._held
        if call == "close":
            file.hold(shared=False)
        work = partial(file.hold, shared=False) if call == "hold" else file.close
        places = 0
        if place is None:
            places = count_places(work)
        else:
            assert interrupt(work, place) != ""
        file.close()
        assert used.is_ours
        other.hold(shared=False)
        other.let_go()
        return places

    for place in range(interrupted(None)):
        interrupted(place)


@pytest.mark.parametrize(
    ("counts", "quiet", "live"),
    [
        ((0, 0, 0), True, True),
        ((1, 1, 1), True, True),
        ((0, 0, 1), False, True),
        ((1, 1, 0), False, False),
        ((0, 1, 1), False, False),
        ((2, 2, 2), False, False),
    ],
)
def test_a_group_is_whole_or_came_while_it_was_read(
    counts: tuple[int, int, int], quiet: bool, live: bool
) -> None:
    # Two records of one stream are read at once.
    group = (("a", b"1"), ("a", b"2"), ("b", b"3"))
    written = Counter(dict(zip(group, counts, strict=True)))
    assert is_whole(group, written, ["a", "b"], live=False) is quiet
    assert is_whole(group, written, ["a", "b"], live=True) is live


def test_a_witness_tells_who_holds_what_it_waits_for() -> None:
    lock = threading.Lock()
    with lock, pytest.raises(TimeoutError, match="no answer within"):
        within(0.05, lambda: lock.acquire(timeout=5))
