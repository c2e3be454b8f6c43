"""Small stores in memory, to be damaged in every way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.damage.explore import Task, fast_folder, make_samples, tasks


@pytest.fixture(scope="session")
def work() -> Iterator[dict[str, Task]]:
    """Every damage of every sample, by the sample's name."""
    with fast_folder() as folder:
        (Path(folder) / "samples").mkdir()
        samples = make_samples(Path(folder) / "samples")
        yield {task.name: task for task in tasks(samples, Path(folder))}
