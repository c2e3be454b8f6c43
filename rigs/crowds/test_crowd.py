"""Threads that do all that can be done with a store, all at once."""

from __future__ import annotations

import pytest

from rigs.crowds.crowd import End, crowd, soak
from rigs.machines.plants import planted


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_nobody_in_a_crowd_disturbs_anybody(mode: str) -> None:
    tally = crowd(mode, 1, seconds=4, appends=200)
    print(tally.done)
    assert tally.problems == []
    assert set(tally.done) == {
        "append", "branch", "evict", "keep", "look", "open", "publish", "read", "restore", "retire",
        "seal", "verify", "watch",
    }  # fmt: skip
    assert tally.done["append"] >= 200


@pytest.mark.parametrize("end", ["closed", "moved"])
@pytest.mark.parametrize("seed", range(12))
def test_a_store_that_ends_while_all_are_busy_has_what_was_acknowledged(
    seed: int, end: End
) -> None:
    tally = crowd(("exclusive", "shared")[seed % 2], seed, seconds=seed * 0.02, end=end)
    assert tally.problems == []


@pytest.mark.parametrize("plant", ["snapshot_of_two_moments", "condition_looked_at_apart"])
def test_planted_bug_is_found(plant: str) -> None:
    with planted(plant):
        # Again, with another seed, when no two calls met at the wrong moment.
        assert any(crowd("shared", seed, seconds=6).problems for seed in range(20))


def test_soak_counts_problems() -> None:
    said: list[str] = []
    assert soak(0.5, 4, said.append) == 0
    assert said[0].startswith("crowd, exclusive, idle, seed 4: ")
    with planted("condition_looked_at_apart"):
        assert soak(60, 5, said.append) > 0
