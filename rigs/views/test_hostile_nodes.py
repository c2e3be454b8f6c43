from __future__ import annotations

from collections.abc import Iterator

import pytest

from rigs.apart import MIB, Apart, Spent
from rigs.views import hostile_nodes

# Of `rigs.apart`, which says what a lap is: far less than a second.
LAPS_MAX = 10.0
MEMORY_MAX = 64 * MIB


@pytest.fixture(scope="module")
def apart() -> Iterator[Apart]:
    with Apart("rigs.views.hostile_nodes", LAPS_MAX) as process:
        yield process


def cheap(spent: Spent) -> object:
    assert spent.problem == ""
    assert spent.laps < LAPS_MAX
    assert spent.memory_bytes < MEMORY_MAX
    return spent.value


@pytest.mark.parametrize("name", hostile_nodes.CASES)
def test_a_hostile_node_costs_little_and_ends_as_it_should(apart: Apart, name: str) -> None:
    assert cheap(apart.call("decoded", name)) == hostile_nodes.CASES[name][1]


@pytest.mark.parametrize("name", hostile_nodes.TREES)
def test_a_hostile_tree_costs_little_and_ends_as_it_should(apart: Apart, name: str) -> None:
    ended = cheap(apart.call("tree", name))
    assert ended == [hostile_nodes.TREES[name][1]] * len(hostile_nodes.READS)


def test_there_are_many_hostile_nodes() -> None:
    assert sum(expected != "ok" for _, expected in hostile_nodes.CASES.values()) >= 30
