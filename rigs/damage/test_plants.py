"""The rig finds engines that leave out a check: each is one that it must not do without."""

from __future__ import annotations

import random

import pytest

from rigs.damage.explore import Task, sampled, try_all
from rigs.damage.plants import PLANTS, replaced
from rigs.damage.stores import class_of

# As many as it takes: which bytes lie uncompressed in a segment is another with each store made.
EACH = 400


def test_there_are_as_many_planted_bugs_as_are_told_of() -> None:
    assert len(PLANTS) >= 15


@pytest.mark.parametrize("name", PLANTS)
def test_an_engine_without_a_check_is_found(name: str, work: dict[str, Task]) -> None:
    plant = PLANTS[name]
    task = work[plant.sample]
    of = [damage for damage in task.damages if class_of(damage.name) in plant.classes]
    chosen = sampled(of, EACH, random.Random(1))
    random.Random(2).shuffle(chosen)
    with replaced(*plant.replacements()):
        found = next((p for d in chosen for p in try_all(task.judge, [d]).problems), None)
    print(f"{name}: {found}")
    assert found is not None, f"{len(chosen)} damages did not show {name}"
