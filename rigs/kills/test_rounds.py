"""kill -9 in the middle of everything: four writers, a publisher and a reader, again and again.

TRANSIT_KILL_ROUNDS sets how many rounds there are, TRANSIT_SEED repeats a choice of moments; what
the machine makes of these moments is its own.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import transit
from rigs.kills.receipts import Judge, Line, Tag, parse, payload
from rigs.kills.rounds import play
from rigs.kills.yard import Yard

ROUNDS = int(os.environ.get("TRANSIT_KILL_ROUNDS", "200"))
STORES = 8


@pytest.mark.parametrize("store", range(STORES))
def test_nothing_is_lost_doubled_or_torn_when_processes_are_killed(
    store: int, yard: Yard, seed: int
) -> None:
    rounds = -(-ROUNDS // STORES)
    tally = play(yard, seed, rounds, alone=store % 4 == 3)
    print(tally)
    assert tally.problems == []
    assert (tally.rounds, tally.killed >= rounds) == (rounds, True)
    # Each round leaves records, but for the few whose writers died before their first.
    assert tally.lines > rounds


PLANTS = {
    # Only where one process writes is anything kept in memory.
    "acknowledge_before_write": True,
    "batch_in_two_frames": True,
    "one_wal_too_many_dropped": True,
    "append_lock_not_taken": False,
    "fates_not_written": False,
    "goes_on_by_the_path": False,
    "others_not_read": False,
    "tiered_without_publishing": False,
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_found(plant: str, yard: Yard, seed: int) -> None:
    for turn in range(20):
        tally = play(yard, seed + turn, 20, PLANTS[plant], plant)
        if tally.problems:
            return
    raise AssertionError(f"{plant} was not found in 400 rounds")


# The judge itself


@pytest.fixture
def log(tmp_path: Path) -> transit.Log:
    return transit.open(tmp_path / "store", durability="os")


def tag(number: int, part: int = 0, parts: int = 1) -> Tag:
    return Tag("w", 1, number, part, parts)


def told(*numbers: int, stream: str = "s") -> list[Line]:
    """What a writer says that has one record in each step, at the offset of its number."""
    return [Line("w", 1, number, 1, ((stream, number, 1),), "") for number in numbers]


def judged(log: transit.Log, payloads: list[bytes], lines: list[Line]) -> str:
    """What a judge says of a stream with these records."""
    with log:
        log.create("s").append_many(payloads)
        judge = Judge()
        judge.look(log)
        judge.hold(lines, 1)
    return "; ".join(judge.problems)


def test_a_record_proves_itself() -> None:
    for number in range(20):
        data = payload(tag(number))
        assert parse(data) == tag(number)
        for damaged in (data[:-1] + b"?", data + b"?", data[:-1]):
            with pytest.raises(ValueError, match=r"damaged|int"):
                parse(damaged)


def test_the_judge_finds_nothing_wrong_with_what_is_right(log: transit.Log) -> None:
    parts = [payload(tag(3, part, 3)) for part in range(3)]
    lines = [*told(0, 1, 2), Line("w", 1, 3, 1, (("s", 3, 3),), "")]
    assert judged(log, [payload(tag(number)) for number in range(3)] + parts, lines) == ""


@pytest.mark.parametrize(
    ("numbers", "said", "problem"),
    [
        ([0, 1], [0, 1, 2], "lost: s@2"),
        ([0, 1, 1], [0, 1], "twice"),
        ([0, 2], [0], "not in order"),
        ([1, 0], [], "after"),
        ([0, 1, 2, 3, 4, 5, 6], [0], "invented"),
    ],
)
def test_the_judge_finds_records_lost_doubled_swapped_or_invented(
    numbers: list[int], said: list[int], problem: str, log: transit.Log
) -> None:
    assert problem in judged(log, [payload(tag(number)) for number in numbers], told(*said))


def test_the_judge_finds_a_step_that_is_there_in_part(log: transit.Log) -> None:
    assert "torn" in judged(log, [payload(tag(0, part, 3)) for part in range(2)], [])


def test_the_judge_finds_another_record_where_one_was_acknowledged(log: transit.Log) -> None:
    lines = [Line("w", 1, 0, 1, (("s", 1, 1),), "")]
    assert "other bytes" in judged(log, [payload(tag(0)), payload(tag(1))], lines)
