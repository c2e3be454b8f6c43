"""A store, a clock that stands still, and bodies that say what they were given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from transit.views.due import ManualClock


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    with transit.open(path, durability="os") as opened:
        yield opened


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock("2026-01-01T00:00Z")
