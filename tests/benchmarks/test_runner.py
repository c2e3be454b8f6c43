"""The benchmarks run and report; no test asserts how fast anything is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.prices import Prices
from benchmarks.remote import Rig, server_of
from benchmarks.runner import summary
from benchmarks.workload import Aim
from benchmarks.workloads import chosen, chosen_remote, names

ROOT = Path(__file__).resolve().parents[2]
FAST = ["append-os", "random-read-wal"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.slow
def test_quick_run_of_two_workloads_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    done = run(*FAST, "--quick", "--json", str(target), "--path", str(tmp_path))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == FAST
    assert {line.split()[-1] for line in lines[-2:]} <= {"yes", "NO"}
    assert sorted(tmp_path.iterdir()) == [target], "working folders are left behind"

    report = json.loads(target.read_bytes())
    assert set(report) == {"machine", "quick", "runs", "results", "left_out"}
    assert report["quick"] is True
    assert report["runs"] == 3
    machine = report["machine"]
    assert {"system", "cores", "file_system", "python", "transit", "revision"} <= set(machine)
    assert {"msgspec", "blake3", "xxhash"} <= set(machine["dependencies"])
    assert [result["facts"]["name"] for result in report["results"]] == FAST
    for result in report["results"]:
        assert result["records"] == result["facts"]["records"] // 10
        assert set(result["figures"]) == {"raw", "transit"}
        assert isinstance(result["reached"], bool)
        for figures in [*result["figures"].values(), result["ratio"]]:
            assert len(figures["runs"]) == 3
            assert figures["low"] <= figures["median"] <= figures["high"]


def test_names_are_unique_and_chosen_by_their_start() -> None:
    assert len(set(names())) == len(names())
    makers = [*chosen([]), *chosen_remote([], Rig(server_of({}), Prices()))]
    assert [make().facts.name for make in makers] == names()
    replays = [make().facts.name for make in chosen(["replay-payloads"])]
    wheres = ["sealed", "sealed-uncompressed", "wal"]
    assert replays == [f"replay-payloads-{where}" for where in wheres]


def test_unknown_name_lists_the_known_ones() -> None:
    done = run("no-such-workload")
    assert done.returncode == 2
    assert done.stdout.split() == names()


@pytest.mark.parametrize(("figure", "more", "less"), [(0.9, False, True), (1.1, True, False)])
def test_aim_is_reached_on_its_better_side(figure: float, more: bool, less: bool) -> None:
    assert Aim("ratio", 1.0).reached(figure, "more") is more
    assert Aim("ratio", 1.0).reached(figure, "less") is less
    assert Aim("ratio", figure).reached(figure, "more")
    assert Aim("ratio", figure).reached(figure, "less")


def test_summary_names_the_middle_and_both_ends() -> None:
    figures = summary([3.0, 1.0, 2.0])
    assert (figures.median, figures.low, figures.high) == (2.0, 1.0, 3.0)
