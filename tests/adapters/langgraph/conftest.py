"""Savers on stores of their own. `just adapters langgraph` runs these tests where the stack is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("langgraph.checkpoint.base", reason="`just adapters langgraph` runs it")

from transit.adapters.langgraph import TransitSaver


@pytest.fixture
def saver(tmp_path: Path) -> Iterator[TransitSaver]:
    """A saver with nothing in it."""
    with TransitSaver.open(tmp_path / "store", durability="os") as opened:
        yield opened
