"""Runners that are killed with SIGKILL, or stopped and continued: each tick once, none left out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rigs.seeds import run_seed
from rigs.views.judging import Judged, judge
from rigs.views.plants import PLANTS

DEADLINE_S = 600
KILLS = 60
KILLS_LONG = 1_000
KILLS_PLANTED = 40
# A planted mistake is looked for in so many rounds.
ROUNDS = 6


@pytest.fixture
def seed() -> int:
    chosen = run_seed()
    print(f"TRANSIT_SEED={chosen}")
    return chosen


def disturbed(folder: Path, seed: int, kills: int, planted: str = "") -> Judged:
    folder.mkdir()
    subprocess.run(
        [sys.executable, "-m", "rigs.views.foreman", str(folder), str(seed), str(kills), planted],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        timeout=DEADLINE_S, check=True,
    )  # fmt: skip
    found = judge(folder)
    print(f"{kills} kills and stops: {found.ticks} ticks by {found.runners} runners, "
          f"{found.fired} fired, {found.in_vain} bodies in vain")  # fmt: skip
    return found


def check(found: Judged) -> None:
    assert found.wrong == []
    # What this is about has happened.
    assert found.ticks > 5
    assert found.fired > 5
    assert found.runners > 1


def test_killed_and_stopped_runners_make_each_tick_once(tmp_path: Path, seed: int) -> None:
    check(disturbed(tmp_path / "run", seed, KILLS))


@pytest.mark.slow
def test_after_a_thousand_kills_no_tick_is_double_lost_or_left_out(
    tmp_path: Path, seed: int
) -> None:
    found = disturbed(tmp_path / "run", seed, KILLS_LONG)
    check(found)
    # Bodies ended in vain: runners that were stopped lost what they had begun.
    assert found.in_vain > 10


@pytest.mark.parametrize("planted", sorted(PLANTS))
def test_a_planted_mistake_is_found(tmp_path: Path, seed: int, planted: str) -> None:
    for number in range(ROUNDS):
        found = disturbed(tmp_path / str(number), seed + number, KILLS_PLANTED, planted)
        if found.wrong:
            print(found.wrong[:3])
            return
    pytest.fail(f"{planted}: not found in {ROUNDS} rounds")
