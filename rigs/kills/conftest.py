"""What the kill -9 tests share: the process that makes processes, and a seed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from rigs.kills.yard import Yard


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with Yard() as made:
        yield made


@pytest.fixture
def seed() -> int:
    """A seed, which pytest shows with the output of a test that fails."""
    chosen = int(os.environ.get("TRANSIT_SEED") or random.randrange(2**32))
    print(f"TRANSIT_SEED={chosen}")
    return chosen
