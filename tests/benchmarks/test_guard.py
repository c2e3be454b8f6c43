"""The guard catches what became three times as slow, and nothing that noise can do."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from benchmarks.guard import FILE, Expected, better_of, failures, shown, updated
from benchmarks.runner import Result, judged
from benchmarks.workload import Aim, Better, Facts
from benchmarks.workloads import workload

RATIO = 0.2
SEEDS = range(300)
Noise = Callable[[random.Random], float]


def steady(rng: random.Random) -> float:
    """Either side is up to 12 % off, so a ratio up to a quarter."""
    return rng.uniform(0.88, 1.12)


def with_outliers(rng: random.Random) -> float:
    """One run in eight meets a neighbour that takes the machine away for most of it."""
    return steady(rng) * (rng.choice([0.1, 10.0]) if rng.random() < 1 / 8 else 1.0)


def result(better: Better, slower: float, noise: Noise, seed: int, runs: int = 3) -> Result:
    """Figures without work: transit's are RATIO of the baseline's, `slower` times worse."""
    rng = random.Random(seed)
    facts = Facts(
        name="made-up", work="", raw="", unit="", better=better, aim=Aim("ratio", 1.0),
        records=1, payload_bytes=0,
    )  # fmt: skip
    cost = slower if better == "less" else 1 / slower
    raw = [1_000 * noise(rng) for _ in range(runs)]
    return judged(facts, 1, raw, [1_000 * RATIO * cost * noise(rng) for _ in range(runs)], "")


def caught(better: Better, slower: float, noise: Noise) -> int:
    expected = Expected(2.0, {"made-up": RATIO})
    return sum(
        failures([result(better, slower, noise, seed)], expected) == ["made-up"] for seed in SEEDS
    )


@pytest.mark.parametrize("better", ["more", "less"])
def test_made_up_slowdown_of_three_is_caught_every_time(better: Better) -> None:
    assert caught(better, 3.0, steady) == len(SEEDS)


@pytest.mark.parametrize("better", ["more", "less"])
@pytest.mark.parametrize("slower", [0.3, 1.0, 1.5])
def test_made_up_slowdown_of_one_and_a_half_is_never_caught(better: Better, slower: float) -> None:
    assert caught(better, slower, steady) == 0


@pytest.mark.parametrize("better", ["more", "less"])
def test_runs_that_met_a_neighbour_fail_nothing_unless_all_three_did(better: Better) -> None:
    assert caught(better, 1.0, with_outliers) <= len(SEEDS) / 50


def test_table_says_which_is_too_slow() -> None:
    expected = Expected(2.0, {"made-up": RATIO})
    fast, slow = (shown([result("more", n, steady, 1)], expected) for n in (1.0, 3.0))
    assert "TOO SLOW" not in fast
    assert slow.splitlines()[-1].endswith("TOO SLOW")


def test_second_measurement_counts_only_where_it_is_better() -> None:
    expected = Expected(2.0, {"made-up": RATIO})
    slow, fast = (result("more", slower, steady, 1) for slower in (3.0, 1.0))
    assert better_of([slow], [fast], expected) == [fast]
    assert better_of([fast], [slow], expected) == [fast]
    assert better_of([slow], [slow], expected) == [slow]
    assert better_of([slow], [], expected) == [slow]


def test_update_takes_the_best_of_each_three_runs_and_their_median() -> None:
    found = result("more", 1.0, steady, 1, runs=15)
    written = updated([found], 2.0)
    assert written.margin == 2.0
    threes = sorted(max(found.ratio.runs[at : at + 3]) for at in range(0, 15, 3))
    assert written.ratios["made-up"] == pytest.approx(threes[2], abs=1e-4)


def test_checked_in_file_names_five_workloads_and_a_wide_margin() -> None:
    expected = msgspec.json.decode(Path(FILE).read_bytes(), type=Expected)
    assert expected.margin == 2.0
    assert len(expected.ratios) == 5
    for name, ratio in expected.ratios.items():
        assert workload(name).facts.name == name
        assert ratio > 0
