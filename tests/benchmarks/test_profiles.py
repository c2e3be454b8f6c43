"""The function that a sample of py-spy is counted for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import transit
from benchmarks import profiles
from benchmarks.profiles import Place

ROOT = os.path.dirname(transit.__file__)


@pytest.mark.parametrize(
    ("stack", "place"),
    [
        (["main (bench.py:3)", "start (x.py:1)"], None),
        (["main (bench.py:3)", f"append ({ROOT}/log/wal.py:9)"], Place("log.wal.append", "")),
        (
            ["main (b.py:3)", "a (transit/engine/log.py:1)", "b (transit/log/wal.py:9)", "write"],
            Place("log.wal.b", "write"),
        ),
        (
            [f"a ({ROOT}/log/wal.py:9)", "dump (json/__init__.py:7)", "encode (_json.so)"],
            Place("log.wal.a", "encode"),
        ),
        (
            [f"a ({ROOT}/log/wal.py:9)", "call (libpython.so)", f"b ({ROOT}/disk.py:2)"],
            Place("disk.b", ""),
        ),
    ],
)
def test_a_sample_counts_for_the_innermost_function_of_transit(
    stack: list[str], place: Place | None
) -> None:
    assert profiles.place_of(stack) == place


def test_calls_and_threads_beside_them_are_counted_apart_and_shares_add_up() -> None:
    run = "Append.ours (benchmarks/workloads/append.py:1)"
    profile = profiles.read(
        [
            f"{run};a (transit/disk.py:1);pwrite64 (libc.so) 30",
            f"{run};a (transit/disk.py:1) 10",
            "Append.setup (benchmarks/workloads/append.py:1);a (transit/disk.py:1) 4",
            f"{run};json (json.py:1) 7",
            f"{run};<module> (transit/disk.py:1);compile (python) 2",
            "run (threading.py:1);Worker._next (transit/handle/background.py:1) 5",
            "run (threading.py:1);seal (transit/log/seal.py:1) 3",
        ],
        waiting=False,
    )
    assert profile.calls == {Place("disk.a", "pwrite64"): 30, Place("disk.a", ""): 10}
    assert profile.beside == {Place("log.seal.seal", ""): 3}
    assert profile.outside == 18
    table = profiles.shown("x", profile)
    assert "40 samples of the calls, 18 elsewhere" in table
    assert table.count("100.0%") == 2
    assert "pwrite64 75%, Python 25%" in table


@pytest.mark.slow
def test_a_workload_is_sampled_in_its_own_process(tmp_path: Path) -> None:
    if profiles.profiler() is None:
        pytest.skip("py-spy is not installed")
    profile = profiles.sampled("branch-batch", str(tmp_path), waiting=False)
    assert profile.calls.total() > 0
    assert any(place.ours.startswith("engine.") for place in profile.calls)
