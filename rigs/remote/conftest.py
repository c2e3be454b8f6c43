"""Places for stores, and remotes that fail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.faults.remote import Rig, memory_folder


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Runs jobs under faults, in memory."""
    with memory_folder() as folder:
        yield Rig(Path(folder))


def seed() -> int:
    """The seed of all that is drawn at random: `TRANSIT_SEED`, or always the same."""
    return int(os.environ.get("TRANSIT_SEED", "7"))
