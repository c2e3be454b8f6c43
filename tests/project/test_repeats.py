"""Failed tests are repeated where that is asked for, and pass only if every repeat does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# It counts its runs in a file, and fails in those that the folder's name has digits for.
TEST = """
from pathlib import Path
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_it(number):
    runs = Path(__file__).with_name(f"runs-{{number}}")
    runs.write_text(runs.read_text() + "x" if runs.exists() else "x")
    assert str(len(runs.read_text())) not in {fails!r}
"""
ALL = "123456789"


def _run(folder: Path, fails: str, *, repeats: str | None = "3", count: int = 1) -> tuple[int, str]:
    shutil.copy(ROOT / "conftest.py", folder)
    (folder / "pyproject.toml").write_text("[tool.pytest.ini_options]\nmarkers = ['slow']\n")
    (folder / "test_it.py").write_text(TEST.format(count=count, fails=fails))
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # Other plugins only take time.
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    env.pop("TRANSIT_REPEATS", None)
    if repeats is not None:
        env["TRANSIT_REPEATS"] = repeats
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ran = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def _runs(folder: Path) -> int:
    return len((folder / "runs-0").read_text())


def test_what_failed_once_is_repeated_and_told(tmp_path: Path) -> None:
    code, said = _run(tmp_path, "1")
    assert (code, _runs(tmp_path)) == (0, 4), said
    assert "test_it.py::test_it[0] passed 3 times alone" in said


@pytest.mark.parametrize(("fails", "runs"), [("12", 2), ("13", 3), ("14", 4), (ALL, 2)])
def test_each_repeat_has_to_pass(tmp_path: Path, fails: str, runs: int) -> None:
    code, said = _run(tmp_path, fails)
    assert (code, _runs(tmp_path)) == (1, runs), said
    assert "failed, too" in said


@pytest.mark.parametrize("repeats", [None, "0"])
def test_nothing_is_repeated_unasked(tmp_path: Path, repeats: str | None) -> None:
    code, said = _run(tmp_path, "1", repeats=repeats)
    assert (code, _runs(tmp_path)) == (1, 1), said


def test_many_failures_are_not_repeated(tmp_path: Path) -> None:
    code, said = _run(tmp_path, "1", count=6)
    assert (code, _runs(tmp_path)) == (1, 1), said


def test_a_file_that_cannot_be_collected_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text("import nothing_of_this_name\n")
    code, said = _run(tmp_path, "")
    assert code == 2, said
