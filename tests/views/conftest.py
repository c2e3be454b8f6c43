"""Stores for the tests of views, and the ways in which views keep their states."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from rigs.seeds import run_seed

# "stateful" needs a folder of files that may be thrown away.
PERSIST = ["logged", "ephemeral", *(["stateful"] if hasattr(transit.Log, "cache") else [])]


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    """An open store with nothing in it."""
    opened = transit.open(path, durability="os")
    yield opened
    opened.close()


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
