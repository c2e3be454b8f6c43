"""Every planted mistake of replay is found by some random program."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.replays.compare import check
from rigs.replays.plants import PLANTS, Plant

SEEDS = 120


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Plant
) -> None:
    plant(monkeypatch)
    for seed in range(SEEDS):
        try:
            check(tmp_path, seed, replays=1)
        except Exception:
            return
    pytest.fail(f"not found by {SEEDS} programs")
