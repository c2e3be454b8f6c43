"""Any system call of a real session may fail, lie or kill, and everything acknowledged is kept.

The session (`rigs.crash.histories.everything`) appends in every mode, seals, publishes,
evicts and restores. Here a part of all (call, number, fate) is tried, evenly chosen, of each call,
another one in every run: TRANSIT_SEED repeats one. `just soak` tries all of them.
"""

from __future__ import annotations

import os
import random

import pytest

from rigs.faults.syscalls import Fault, Rig, all_faults, why_unavailable
from rigs.seeds import run_seed

# How many faults of each call are tried. The engine makes no other of these calls.
SAMPLES = {
    "pwrite64": 30,
    "fsync": 14,
    "fdatasync": 14,
    "openat": 24,
    "link": 10,
    "unlink": 12,
    "mkdir": 8,
    "rename": 4,
    "ftruncate": 6,
    "fallocate": 6,
}


@pytest.fixture
def seed() -> int:
    """A seed, which pytest shows with the output of a test that fails."""
    chosen = run_seed()
    print(f"TRANSIT_SEED={chosen}")
    return chosen


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    reason = why_unavailable()
    if reason and "CI" in os.environ:
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    return Rig(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def counts(rig: Rig) -> dict[str, list[int]]:
    return rig.count()


def test_the_session_makes_every_call_that_is_sampled_and_no_other(
    counts: dict[str, list[int]],
) -> None:
    """So write(2), writev(2), the ...at(2) calls and renameat2(2) need no faults of their own."""
    assert set(counts) == set(SAMPLES)


@pytest.mark.parametrize("call", SAMPLES)
def test_nothing_acknowledged_is_lost_whichever_call_fails(
    call: str, rig: Rig, counts: dict[str, list[int]], seed: int
) -> None:
    faults = [fault for fault in all_faults(counts) if fault.call == call]
    step = max(len(faults) / SAMPLES[call], 1)
    start = random.Random(seed).random() * step
    places = range(min(SAMPLES[call], len(faults)))
    chosen = [faults[int(start + place * step) % len(faults)] for place in places]
    problems = {str(fault): problem for fault in chosen if (problem := rig.run(fault))}
    assert not problems


def test_a_kill_ends_the_session(rig: Rig, counts: dict[str, list[int]]) -> None:
    before = rig.killed
    assert rig.run(Fault("pwrite64", "signal=KILL", counts["pwrite64"][0])) == ""
    assert rig.killed == before + 1


@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_nothing_is_appended_after_a_sync_of_the_wal_failed(
    call: str, rig: Rig, counts: dict[str, list[int]], seed: int
) -> None:
    """`Rig.run` judges the handle: no receipts any more, and what is on disk was named in doubt."""
    numbers = counts[call]
    step = max(len(numbers) // 8, 1)
    chosen = numbers[seed % step :: step]
    problems = {when: rig.run(Fault(call, "error=EIO", when)) for when in chosen}
    assert not any(problems.values()), problems
