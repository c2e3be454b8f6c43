"""Power cuts on real ext4 and XFS: copies of a disk in use, mounted and held to what was promised.

TRANSIT_POWER_CUTS sets how many cuts there are on each kind, TRANSIT_SEED which choices are made.
"""

from __future__ import annotations

import os

import pytest

from rigs.kills.mounts import FILE_SYSTEMS, FileSystem
from rigs.kills.power_cuts import CUTS_EACH, play
from rigs.kills.yard import Yard

CUTS = int(os.environ.get("TRANSIT_POWER_CUTS", "10"))


@pytest.mark.parametrize("alone", [True, False], ids=["one process", "several processes"])
@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_a_power_cut_loses_nothing_acknowledged(
    kind: FileSystem, alone: bool, yard: Yard, seed: int
) -> None:
    cuts = CUTS // 2
    for turn, first in enumerate(range(0, cuts, CUTS_EACH)):
        tally = play(yard, kind, seed + turn, min(CUTS_EACH, cuts - first), alone)
        print(tally)
        assert tally.problems == []
        assert tally.cuts == min(CUTS_EACH, cuts - first)
        # Each copy is held to what was said up to then, and holds it.
        assert tally.lines > tally.cuts
        assert tally.records > tally.cuts


@pytest.mark.parametrize("plant", ["no_wal_sync", "acknowledge_before_sync", "segment_not_synced"])
def test_a_planted_bug_is_found(plant: str, yard: Yard, seed: int) -> None:
    for turn in range(3):
        if play(yard, "ext4", seed + turn, 15, alone=True, plant=plant).problems:
            return
    raise AssertionError(f"{plant} was not found in 45 cuts")
