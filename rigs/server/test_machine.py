"""A connected store against the model, step by step; few examples, each step is requests.

TRANSIT_SERVER_EXAMPLES and TRANSIT_SERVER_STEPS say how many examples of how many steps.
"""

from __future__ import annotations

import inspect
import os
import re

import pytest

from rigs.machines.machines import explore, rules_of
from rigs.server.machine import Connected, ConnectedNames, Served
from transit.client.absent import ABSENT

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


@pytest.mark.parametrize("machine", [Connected, ConnectedNames])
def test_no_rule_asks_for_what_a_connection_does_not_have(machine: type[Served]) -> None:
    """Few examples may not reach the rule that does: read them all."""
    asked = {
        (rule.function.__name__, name)
        for rule in machine.setup_state().rules
        for name in re.findall(
            r"self\.log\.(\w+)", inspect.getsource(inspect.unwrap(rule.function))
        )
    }
    assert {(rule, name) for rule, name in asked if name in ABSENT["Log"]} == set()
    assert asked
