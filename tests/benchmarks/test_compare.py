"""A tree is measured beside another revision of it, which leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compare import Difference
from benchmarks.runner import summary

ROOT = Path(__file__).resolve().parents[2]
WHO = ("-c", "user.name=test", "-c", "user.email=test@example.org")
SLOW = """
import time

from transit.engine.stream import Stream

_append = Stream.append


def _append_slowly(*given, **more):
    time.sleep(0.00005)
    return _append(*given, **more)


Stream.append = _append_slowly
"""


def git(tree: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *WHO, *arguments], cwd=tree, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy with a history of its own; what is changed in it afterwards differs from its HEAD."""
    tree = tmp_path / "checkout"
    for part in ("transit", "benchmarks"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    git(tree, "init", "--quiet")
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "--message", "all of it")
    return tree


def compare(tree: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.compare", "--path", str(folder), *arguments],
        cwd=tree, capture_output=True, text=True, check=False, timeout=240, env=environment,
    )  # fmt: skip


def worktrees(tree: Path) -> int:
    return len(git(tree, "worktree", "list").splitlines())


@pytest.mark.slow
def test_tree_made_slower_than_its_revision_is_called_slower(
    checkout: Path, tmp_path: Path
) -> None:
    with open(checkout / "transit" / "__init__.py", "a", encoding="utf-8") as file:
        file.write(SLOW)
    target = tmp_path / "compared.json"
    done = compare(
        checkout, tmp_path, "--to", "HEAD", "--quick", "--runs", "2", "--json", str(target),
        "append-os", "random-read-wal",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(target.read_bytes())
    rows = {row["name"]: row for row in report["differences"]}
    assert list(rows) == ["append-os", "random-read-wal"]
    assert rows["append-os"]["ratio"]["high"] < 0.3
    assert next(line for line in done.stdout.splitlines() if line.startswith("append-os")).endswith(
        "slower"
    )
    assert worktrees(checkout) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkout", "compared.json"]


@pytest.mark.slow
def test_workload_that_the_revision_cannot_run_is_left_out_with_the_reason(
    checkout: Path, tmp_path: Path
) -> None:
    (checkout / "transit" / "engine" / "stream.py").rename(checkout / "kept.py")
    git(checkout, "commit", "--quiet", "--all", "--message", "less of it")
    (checkout / "kept.py").rename(checkout / "transit" / "engine" / "stream.py")
    done = compare(checkout, tmp_path, "--to", "HEAD", "--quick", "--runs", "1", "append-os")
    assert done.returncode == 0, done.stderr
    assert "append-os: left out: ModuleNotFoundError" in done.stdout
    assert worktrees(checkout) == 1


def test_revision_that_is_none_fails_and_leaves_nothing(checkout: Path, tmp_path: Path) -> None:
    done = compare(checkout, tmp_path, "--to", "no-such-revision", "append-os")
    assert done.returncode != 0
    assert "no-such-revision" in done.stderr
    assert worktrees(checkout) == 1


@pytest.mark.parametrize(
    ("better", "ratio", "verdict"),
    [
        ("more", 2.0, "faster"), ("more", 0.5, "slower"), ("more", 1.1, ""), ("more", 0.9, ""),
        ("less", 2.0, "more"), ("less", 0.5, "less"), ("less", 1.1, ""), ("less", 0.9, ""),
    ],
)  # fmt: skip
def test_ratio_is_judged_by_which_side_is_better(better: str, ratio: float, verdict: str) -> None:
    figures = summary([1.0])
    row = Difference("name", "unit", better, figures, figures, summary([ratio]))  # type: ignore[arg-type]
    assert row.verdict == verdict
