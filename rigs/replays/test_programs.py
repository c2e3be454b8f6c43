"""Random programs, replayed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.replays.compare import check
from rigs.replays.loops import here

SEEDS = 36
GROUPS = 12
# Of the programs of a group.
LOOPS = ("asyncio", "trio", "asyncio")


@pytest.mark.parametrize("group", range(GROUPS))
def test_what_the_recording_did_is_what_the_replay_does(tmp_path: Path, group: int) -> None:
    for seed, loop in zip(range(group, SEEDS, GROUPS), LOOPS, strict=True):
        check(tmp_path, seed, loop_name=loop if here(loop) else "asyncio")
