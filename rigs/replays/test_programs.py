"""Random programs, replayed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.replays.compare import check

SEEDS = 36
GROUPS = 12


@pytest.mark.parametrize("group", range(GROUPS))
def test_what_the_recording_did_is_what_the_replay_does(tmp_path: Path, group: int) -> None:
    for seed in range(group, SEEDS, GROUPS):
        check(tmp_path, seed)
