"""Which moments are chosen."""

from __future__ import annotations

import pytest

from rigs.seeds import run_seed


@pytest.fixture
def seed() -> int:
    """A seed, which pytest shows with the output of a test that fails."""
    chosen = run_seed()
    print(f"TRANSIT_SEED={chosen}")
    return chosen
