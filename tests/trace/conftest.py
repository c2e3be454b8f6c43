"""Stores for the tests of traces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from transit import trace


@pytest.fixture(autouse=True)
def _nothing_is_dropped() -> Iterator[None]:
    """Every event is recorded, unless a test says otherwise."""
    trace.dropped.reset()
    yield
    errors = list(trace.dropped.errors)
    trace.dropped.reset()
    assert not errors


def lose(count: int) -> None:
    """Take note that so many events could not be recorded."""
    assert trace.dropped.count == count
    trace.dropped.reset()


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    """An open store with nothing in it."""
    opened = transit.open(path, durability="os")
    yield opened
    opened.close()
