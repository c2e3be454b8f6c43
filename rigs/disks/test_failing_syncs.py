"""fsync(2) that fails, for real: ext4 and XFS whose blocks have nowhere to go, under real writers.

TRANSIT_BROKEN_DISKS sets how many disks of each kind are broken, TRANSIT_SEED the choices made.
"""

from __future__ import annotations

import os

import pytest

from rigs.faults.broken_disks import play
from rigs.kills.mounts import FILE_SYSTEMS, FileSystem
from rigs.kills.yard import Yard

DISKS = int(os.environ.get("TRANSIT_BROKEN_DISKS", "6"))


@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_nothing_is_acknowledged_after_a_failed_sync_and_reopening_goes_by_the_disk(
    kind: FileSystem, yard: Yard, seed: int
) -> None:
    for turn in range(DISKS):
        tally = play(yard, kind, seed + turn)
        print(turn, tally)
        assert tally.problems == []
        assert tally.refused > 0
        assert tally.records > 0


@pytest.mark.parametrize(
    "plant", ["retry_after_failed_sync", "failed_sync_forgotten", "doubt_not_named"]
)
def test_a_planted_bug_is_found(plant: str, yard: Yard, seed: int) -> None:
    for turn in range(12):
        if play(yard, FILE_SYSTEMS[turn % 2], seed + turn, plant).problems:
            return
    raise AssertionError(f"{plant} was not found on 12 disks")
