"""What the kill -9 tests share: the process that makes processes, and a seed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rigs.kills.yard import Yard
from rigs.seeds import run_seed


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with Yard() as made:
        yield made


@pytest.fixture
def seed() -> int:
    """A seed, which pytest shows with the output of a test that fails."""
    chosen = run_seed()
    print(f"TRANSIT_SEED={chosen}")
    return chosen
