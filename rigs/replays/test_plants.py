"""Every planted mistake of replay is found by some random program, under each loop it is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.replays.compare import check
from rigs.replays.loops import here
from rigs.replays.plants import OF_LOOPS, PLANTS, Plant

SEEDS = 120


CASES = [(plant, "asyncio") for plant in PLANTS] + [(plant, "trio") for plant in OF_LOOPS]


@pytest.mark.parametrize(("plant", "loop"), CASES, ids=lambda each: getattr(each, "__name__", each))
def test_a_planted_mistake_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plant: Plant, loop: str
) -> None:
    if not here(loop):
        pytest.skip(f"programs under {loop} need {loop}")
    plant(monkeypatch)
    for seed in range(SEEDS):
        try:
            check(tmp_path, seed, replays=1, loop_name=loop)
        except Exception:
            return
    pytest.fail(f"not found by {SEEDS} programs")
