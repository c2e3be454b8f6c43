"""Any bytes, given to any decoder, end in a value or in an error its callers know.

What is tried here is a sample that is the same each time; `python rigs/fuzz/fuzz.py 600` looks for
more, and keeps every input that ever failed in `found/`, from where it is tried here for ever.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pytest

from rigs.fuzz.make_seeds import all_seeds
from rigs.fuzz.targets import TARGETS, Target, inputs, violation

HERE = Path(__file__).parent
# Inputs for each decoder; those that work on files cost more.
COUNT = int(os.environ.get("TRANSIT_FUZZ_INPUTS", "3000"))
SEED = int(os.environ.get("TRANSIT_FUZZ_SEED", "1"))
SLOW = {"store": 10, "inspected": 5, "wal": 2, "configured": 4}
SLOW |= {f"chat_{name}": 10 for name in ("decisions", "discord", "irc", "matrix", "mbox", "slack")}


def kept(kind: str, name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((HERE / kind / name).glob("*"))]


def decodes(target: Target, data: bytes) -> bool:
    try:
        target.run(data)
    except target.expected:
        return False
    return True


def test_every_decoder_has_the_seeds_that_are_made_for_it() -> None:
    made = all_seeds()
    assert made.keys() == TARGETS.keys()
    for name, seeds in made.items():
        assert kept("seeds", name) == seeds, f"{name}: python -m rigs.fuzz.make_seeds"


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_decode(name: str) -> None:
    target = TARGETS[name]
    for data in kept("seeds", name):
        assert violation(target, data) == ""
        for reseal in target.reseals:
            assert violation(target, reseal(data)) == ""
    assert any(decodes(target, data) for data in kept("seeds", name))


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_once_failed_fail_no_more(name: str) -> None:
    assert [violation(TARGETS[name], data) for data in kept("found", name)] == [""] * len(
        kept("found", name)
    )


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_bytes_are_values_or_known_errors(name: str) -> None:
    target, seeds = TARGETS[name], kept("seeds", name)
    for data in islice(inputs(target, seeds, f"{SEED} {name}"), COUNT // SLOW.get(name, 1)):
        assert violation(target, data) == "", data


@pytest.mark.parametrize("name", [name for name in TARGETS if TARGETS[name].reseals])
def test_resealed_bytes_get_behind_the_checksums(name: str) -> None:
    """Without this the whole would only try checksums."""
    target, seeds = TARGETS[name], kept("seeds", name)
    changed = 0
    for data in islice(inputs(target, seeds, f"{SEED} {name}"), 400):
        changed += data not in seeds and decodes(target, data)
    assert changed >= 5
