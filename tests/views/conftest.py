"""Stores for the tests of views, the ways in which views keep their states, and a clock."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from rigs.seeds import run_seed
from transit.views.loops.due import ManualClock

PERSIST = ["logged", "stateful", "ephemeral"]


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    """An open store with nothing in it."""
    with transit.open(path, durability="os") as opened:
        yield opened


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still."""
    return ManualClock("2026-01-01T00:00Z")


@pytest.fixture
def chance() -> random.Random:
    """Numbers drawn with a seed that a test that fails shows."""
    seed = run_seed()
    print(f"TRANSIT_SEED={seed}")
    return random.Random(seed)


@pytest.fixture(params=PERSIST)
def persist(request: pytest.FixtureRequest) -> str:
    """Each way of keeping states."""
    return str(request.param)
