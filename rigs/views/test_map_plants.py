"""The rig finds every planted bug of a map: a rig that has caught none proves nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import transit
from rigs.plants.maps import MAPS
from rigs.seeds import run_seed
from rigs.views import histories

SOURCE = str(Path(transit.__file__).parents[1])
SEEDS = 20
# A bug that no longer fits the code it is planted in fails too, and shows nothing.
MISFITS = ("AttributeError:", "TypeError:", "NameError:", "ImportError:", "ValueError:")
PROGRAM = f"""
import sys
from rigs.plants.maps import MAPS
MAPS[sys.argv[1]]()
from rigs.views.histories import broken
print(broken(range({SEEDS})))
"""


@pytest.mark.parametrize("name", MAPS)
def test_histories_of_a_map_show_the_bug(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name],
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = done.stdout.strip()
    print(found)
    assert found
    assert not any(misfit in found for misfit in MISFITS)


def test_histories_of_a_map_show_nothing_without_one() -> None:
    seed = run_seed()
    print("seed", seed)
    assert histories.broken([*range(SEEDS), *range(seed, seed + SEEDS)]) == ""


def test_there_are_many_planted_bugs() -> None:
    assert len(MAPS) >= 20


def test_histories_change_many_keys() -> None:
    assert sum(map(histories.history, range(SEEDS))) >= 10_000
