"""Stores and child processes for the tests of traces."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit

# Children run with the transit under test, wherever it was imported from.
SOURCE = str(Path(transit.__file__).parents[1])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store may be made."""
    return tmp_path / "store"


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    """An open store with nothing in it."""
    opened = transit.open(path, durability="os")
    yield opened
    opened.close()


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """A function that starts a script with arguments; what still runs at the end is killed."""
    children = []

    def start_script(script: str, *arguments: object) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": SOURCE},
        )
        children.append(child)
        return child

    yield start_script
    for child in children:
        child.kill()
        child.communicate()
