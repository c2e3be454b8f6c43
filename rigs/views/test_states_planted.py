"""The rigs of views find every planted bug, and nothing where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import transit
from rigs.crash import recording_fs
from rigs.machines.test_viewed import FOUND_BY
from rigs.views.crashing import crashed
from rigs.views.finding import CHECKS
from rigs.views.killing import killed
from rigs.views.roots import judge
from rigs.views.states_planted import PLANTS
from rigs.views.test_savepoint_calls import BY_FULL_DISKS

pytestmark = pytest.mark.slow

BY_CRASHES = ("root_before_packs", "position_too_far", "last_node_not_packed", "applied_twice")
BY_KILLS = ("without_expect",)
# By other rigs: a machine of views, kills and full disks at the calls of a savepoint.
BY_OTHERS = (*FOUND_BY, *BY_FULL_DISKS)
BY_CHECKS = {
    "fork_not_seen": "forest",
    "old_index_entry_stays": "forest",
    "written_not_seen": "forest",
    "raised_is_kept": "raising",
    "branch_before_merge": "merges",
    "about_anything": "histories",
    "conflict_ignored": "delivering",
    "done_is_forgotten": "delivering",
    "no_intent": "delivering",
}
MISFITS = ("AttributeError:", "TypeError:", "NameError:", "ImportError:", "KeyError:")


def found(check: str, folder: Path, planted: str) -> str:
    """What a check says."""
    done = subprocess.run(
        [sys.executable, "-m", "rigs.views.finding", check, str(folder / check), planted],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    # A bug that no longer fits the code it is planted in ends a run too, and shows nothing.
    assert not any(misfit in done.stderr for misfit in MISFITS), done.stderr
    return done.stdout + done.stderr


def test_every_plant_has_a_way_to_be_found() -> None:
    assert {*BY_CRASHES, *BY_KILLS, *BY_CHECKS, *BY_OTHERS} == {*PLANTS}


@pytest.mark.parametrize("check", CHECKS)
def test_without_a_bug_nothing_is_found(check: str, tmp_path: Path) -> None:
    assert found(check, tmp_path, "") == ""


@pytest.mark.parametrize("name", BY_CHECKS)
def test_a_check_finds_the_bug(name: str, tmp_path: Path) -> None:
    assert found(BY_CHECKS[name], tmp_path, name)


@pytest.mark.parametrize("name", BY_CRASHES)
def test_what_crashes_leave_shows_the_bug(name: str, tmp_path: Path) -> None:
    reason = recording_fs.why_unavailable()
    if reason:
        pytest.skip(reason)
    _, problems = crashed(tmp_path, 60, 1, name)
    assert problems


@pytest.mark.parametrize("name", BY_KILLS)
def test_what_kills_leave_shows_the_bug(name: str, tmp_path: Path) -> None:
    problems = []
    for seed in range(4):
        path = str(tmp_path / f"store-{seed}")
        killed(path, 4, seed, name)
        with transit.open(path) as log:
            problems.append(judge(log))
        if problems[-1]:
            break
    assert problems[-1]
