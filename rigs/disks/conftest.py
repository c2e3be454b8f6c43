"""Real file systems for tests that need root, mount(8) and mkfs; in CI they must be there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.kills.mounts import why_unavailable
from rigs.kills.rounds import scratch
from rigs.kills.yard import Yard
from rigs.seeds import run_seed


@pytest.fixture(scope="session")
def _can_mount() -> None:
    reason = why_unavailable()
    if reason and "CI" in os.environ:
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture
def room(_can_mount: None) -> Iterator[Path]:
    """A folder, in memory where possible, below which file systems may be mounted."""
    folder = scratch()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def yard(_can_mount: None) -> Iterator[Yard]:
    with Yard() as made:
        yield made


@pytest.fixture
def seed() -> int:
    """A seed, which pytest shows with the output of a test that fails."""
    chosen = run_seed()
    print(f"TRANSIT_SEED={chosen}")
    return chosen
