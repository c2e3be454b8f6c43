"""What crashes and kills leave of views: every savepoint is what its records come to, once."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

import transit
from rigs.crash import recording_fs
from rigs.seeds import run_seed
from rigs.views.crashing import crashed
from rigs.views.delivering import delivered, wrong
from rigs.views.killing import killed
from rigs.views.programs import event
from rigs.views.roots import judge

pytestmark = pytest.mark.slow


@pytest.fixture
def seed() -> int:
    """A seed, which pytest shows with the output of a test that fails."""
    chosen = run_seed()
    print(f"TRANSIT_SEED={chosen}")
    return chosen


@pytest.fixture
def _can_record() -> None:
    reason = recording_fs.why_unavailable()
    if reason and "CI" in os.environ:
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.mark.usefixtures("_can_record")
@pytest.mark.parametrize("number", range(3))
def test_no_crash_leaves_a_savepoint_that_is_wrong(number: int, seed: int, tmp_path: Path) -> None:
    judged, problems = crashed(tmp_path, 300, seed + number)
    assert problems == []
    assert judged >= 100


def test_processes_that_are_killed_leave_none_either(seed: int, tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    assert killed(path, 10, seed) == 30
    with transit.open(path) as log:
        assert judge(log) == ""


def test_a_subscriber_that_is_killed_misses_nothing_and_repeats_nothing_of_its_own(
    seed: int, tmp_path: Path
) -> None:
    path, outside = str(tmp_path / "store"), str(tmp_path / "outside")
    Path(outside).touch()
    chance = random.Random(seed)
    with transit.open(path, durability="os") as log:
        log.create("results")
        log.create("s").append_many([event(chance) for _ in range(3_000)])
    delivered(path, outside, 10, seed)
    with transit.open(path) as log:
        assert wrong(log, outside) == ""
