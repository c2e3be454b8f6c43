"""A connected store against the model, step by step; few examples, each step is requests.

TRANSIT_SERVER_EXAMPLES and TRANSIT_SERVER_STEPS say how many examples of how many steps.
"""

from __future__ import annotations

import os

import pytest

from rigs.machines.machines import explore, rules_of
from rigs.server.machine import Connected, ConnectedNames, Served

EXAMPLES = int(os.environ.get("TRANSIT_SERVER_EXAMPLES", "4"))
STEPS = int(os.environ.get("TRANSIT_SERVER_STEPS", "30"))


@pytest.mark.parametrize("machine", [Connected, ConnectedNames])
def test_a_connected_store_and_the_model_never_differ(machine: type[Served]) -> None:
    fired = explore(machine, EXAMPLES, STEPS, 1)
    print(f"{machine.__name__}: {EXAMPLES} examples, {fired.total()} steps")
    if EXAMPLES * STEPS >= 3000:
        assert rules_of(machine) - {"create_two"} - set(fired) == set()


def test_there_are_rules_enough() -> None:
    assert len(rules_of(Connected)) >= 30
