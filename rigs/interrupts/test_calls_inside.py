"""Calls made in the middle of other calls by a signal handler, at places all over them.

The rig is `rigs.interrupts.inside`. TRANSIT_INSIDE says how many pairs of calls are tried, 0 for
all, and TRANSIT_INSIDE_PLACES at how many places each, 0 for all of them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from rigs.interrupts.inside import Inside, pairs
from rigs.seeds import run_seed
from transit.log.accepted import Accepted, Taken
from transit.log.frames import Written
from transit.log.turns import Turn
from transit.log.writer import Writer

# A store that is broken on purpose is closed as a forgotten one.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
PAIRS = int(os.environ.get("TRANSIT_INSIDE", "24")) or None
PLACES = int(os.environ.get("TRANSIT_INSIDE_PLACES", "4")) or None
SEED = run_seed()


@pytest.mark.parametrize(("outer", "inner"), list(pairs(SEED))[:PAIRS])
def test_a_call_inside_another_works_or_is_refused(tmp_path: Path, outer: str, inner: str) -> None:
    print(f"TRANSIT_SEED={SEED}")
    rig = Inside(outer, inner, tmp_path)
    count = min(PLACES or rig.places, rig.places)
    for place in random.Random(SEED).sample(range(rig.places), count):
        rig.at(place)
    assert rig.broken == []


def let_through(turn: Turn, work: Callable[[], object]) -> object:
    """A turn whose re-entrant lock lets its own thread in once more."""
    with turn.lock:
        return work()


@pytest.mark.parametrize("bug", ["let through", "drained twice", "forgotten at close"])
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bug: str) -> None:
    outer, inner = {
        "let through": ("append_many", "append_many"),
        "drained twice": ("append", "submit"),
        "forgotten at close": ("append", "append memory"),
    }[bug]
    rig = Inside(outer, inner, tmp_path)
    if bug == "let through":
        monkeypatch.setattr(Turn, "run", let_through)
    elif bug == "drained twice":
        drop = Accepted.drop
        twice: set[int] = set()

        def late_again(accepted: Accepted, taken: Taken, written: Written) -> None:
            drop(accepted, taken, written)
            for late in taken.late:
                if id(late) not in twice:
                    twice.add(id(late))
                    accepted.late.append(late)

        monkeypatch.setattr(Accepted, "drop", late_again)
    else:
        monkeypatch.setattr(Writer, "_frame_late", lambda writer: None)
        monkeypatch.setattr(Accepted, "next", _without_late(Accepted.next))
    for place in random.Random(SEED).sample(range(rig.places), rig.places):
        rig.at(place)
        if rig.broken:
            break
    assert rig.broken != []


def _without_late(right: Callable[..., Taken | None]) -> Callable[..., Taken | None]:
    def wrong(accepted: Accepted, *arguments: object) -> Taken | None:
        accepted.late.clear()
        return right(accepted, *arguments)

    return wrong
