from __future__ import annotations

from collections.abc import Iterator

import pytest

from rigs.apart import MIB, Apart
from rigs.views import hostile_modules

# Of `rigs.apart`, which says what a lap is: about a second. Only half a megabyte of nested blocks
# takes so long to compile; 50 million units of fuel take a tenth of it.
LAPS_MAX = 70.0
MEMORY_MAX = 192 * MIB


@pytest.fixture(scope="module")
def apart() -> Iterator[Apart]:
    with Apart("rigs.views.hostile_modules", LAPS_MAX) as process:
        yield process


@pytest.mark.parametrize("how", ["tried_anew", "tried_in_kept"])
@pytest.mark.parametrize("name", hostile_modules.CASES)
def test_a_hostile_module_costs_little_and_ends_as_it_should(
    apart: Apart, name: str, how: str
) -> None:
    spent = apart.call(how, name)
    assert spent.problem == ""
    assert spent.value == hostile_modules.CASES[name][1]
    assert spent.laps < LAPS_MAX
    assert spent.memory_bytes < MEMORY_MAX


def test_there_are_many_hostile_modules() -> None:
    assert len(hostile_modules.CASES) >= 40
