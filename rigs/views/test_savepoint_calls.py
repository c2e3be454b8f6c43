"""Any call of a savepoint may be the last, or find the disk full: nothing is lost or wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rigs.faults.syscalls import why_unavailable
from rigs.views.savepoint_calls import KINDS, Fault, Rig

pytestmark = pytest.mark.slow

BY_KILLS = ("root_before_packs", "last_node_not_packed")
BY_FULL_DISKS = ("full_disk_not_told", "full_disk_taken_for_a_savepoint")


@pytest.fixture(autouse=True)
def _can_trace() -> None:
    reason = why_unavailable()
    if reason and "CI" in os.environ:
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def problems(rig: Rig, faults: list[Fault]) -> dict[str, str]:
    found = {str(fault): rig.run(fault) for fault in faults}
    # A process may make a few calls more or less, so that one of them may not come.
    assert rig.came * 2 > len(faults)
    return {fault: problem for fault, problem in found.items() if problem}


@pytest.mark.parametrize("kind", KINDS)
def test_a_kill_at_any_call_of_a_savepoint_leaves_what_its_records_come_to(
    kind: str, tmp_path: Path
) -> None:
    rig = Rig(tmp_path, kind)
    faults = rig.kills()
    assert len(faults) > 1
    assert problems(rig, faults) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_at_any_call_of_a_savepoint_is_told_and_loses_nothing(
    kind: str, tmp_path: Path
) -> None:
    rig = Rig(tmp_path, kind)
    faults = rig.fulls()
    assert len(faults) > 1
    assert problems(rig, faults) == {}


@pytest.mark.parametrize("planted", BY_KILLS)
def test_kills_find_a_planted_bug(planted: str, tmp_path: Path) -> None:
    rig = Rig(tmp_path, "logged", planted)
    assert problems(rig, rig.kills()) != {}


@pytest.mark.parametrize("planted", BY_FULL_DISKS)
def test_full_disks_find_a_planted_bug(planted: str, tmp_path: Path) -> None:
    rig = Rig(tmp_path, "logged", planted)
    assert problems(rig, rig.fulls()) != {}
