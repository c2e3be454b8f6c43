"""Whatever a crash leaves of a history, each durability keeps its promise and the store goes on.

Each history runs for real on a recording file system; then the states a crash may leave after each
change are judged by the real engine (`rigs.crash.judge`). `just soak` takes all states
of as many histories as there is time for.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.crash.explore import explore
from rigs.crash.histories import HISTORIES, SCRIPTED

# How many different states of each history are judged; a history has up to some 10,000. How many
# exactly depends on which thread or process is faster, so a few less are no failure.
QUOTAS = {
    ("modes", 0): 400,
    ("modes", 1): 400,
    ("lineage", 0): 600,
    ("sealing", 0): 1800,
    ("sealing", 1): 1800,
    ("sealing", 2): 1800,
    ("sealing", 3): 1800,
    ("deaths", 0): 500,
    ("deaths", 1): 500,
    ("deaths", 2): 500,
    ("echo", 0): 160,
    ("shared", 0): 1700,
    ("shared", 1): 1700,
    ("shared", 2): 1700,
    ("everything", 0): 1500,
    ("tiered", 0): 2000,
    ("erasing", 0): 400,
    ("erasing", 1): 400,
    ("snapshots", 0): 1000,
    ("checkpoints", 0): 400,
    ("checkpoints", 1): 600,
    ("unended", 0): 800,
    ("unended", 1): 800,
    ("shared_unended", 0): 800,
    ("shared_unended", 1): 800,
    ("anything", 1): 500,
    ("anything", 4): 500,
    ("anything", 5): 500,
}


ALMOST = 0.95


def test_20_000_states_are_judged_and_every_scripted_history_is_among_them() -> None:
    assert sum(QUOTAS.values()) * ALMOST >= 20_000
    assert set(SCRIPTED) <= {name for name, _ in QUOTAS}


@pytest.mark.parametrize(("name", "seed"), QUOTAS)
def test_no_crash_breaks_a_promise(name: str, seed: int, tmp_path: Path) -> None:
    outcome = explore(HISTORIES[name](seed), tmp_path, states_max=QUOTAS[name, seed])
    print(outcome)
    assert not outcome.violations, "\n".join(map(str, [outcome, *outcome.violations]))
    assert outcome.judged >= QUOTAS[name, seed] * ALMOST


def test_a_file_system_that_takes_writes_in_parts_breaks_no_promise(tmp_path: Path) -> None:
    outcome = explore(HISTORIES["everything"](2), tmp_path, states_max=300, write_bytes_max=100)
    assert not outcome.violations, "\n".join(map(str, [outcome, *outcome.violations]))
