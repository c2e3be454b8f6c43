"""Encrypted stores against the model: what holds for clear ones holds for them."""

from __future__ import annotations

import os

import pytest

from rigs.machines.encrypted import encrypting
from rigs.machines.machine import World
from rigs.machines.machines import Alone, Followed, Going, Named, Shared, Tiered, Viewed, explore

EXAMPLES = int(os.environ.get("TRANSIT_MODEL_EXAMPLES", "500")) // 25
STEPS = int(os.environ.get("TRANSIT_MODEL_STEPS", "50"))


@pytest.mark.parametrize("encrypt", ["remote", "all"])
@pytest.mark.parametrize("machine", [Alone, Followed, Going, Named, Shared, Tiered, Viewed])
def test_an_encrypted_store_is_what_the_model_says(machine: type[World], encrypt: str) -> None:
    with encrypting(encrypt):
        fired = explore(machine, max(2, EXAMPLES), STEPS, 7)
    assert sum(fired.values()) > STEPS
