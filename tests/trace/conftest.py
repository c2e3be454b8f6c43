"""Stores for the tests of traces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import transit


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    """An open store with nothing in it."""
    opened = transit.open(path, durability="os")
    yield opened
    opened.close()
