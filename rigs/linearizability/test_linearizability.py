"""Concurrent calls have an order in which every result is right, stream by stream."""

from __future__ import annotations

import itertools
import os

import pytest

from rigs.linearizability.checker import (
    CONFLICT,
    NONE,
    Call,
    Contents,
    Result,
    apply,
    check,
    check_prefixes,
)
from rigs.linearizability.runs import by_processes, by_threads, soak
from rigs.machines.plants import planted

HISTORIES = int(os.environ.get("TRANSIT_HISTORIES", "300"))


def append(text: str, called: int, returned: int | None, result: Result = None) -> Call:
    return Call(0, "append", called, returned, result, (text,))


def conditional(text: str, expect: int, called: int, returned: int, result: Result) -> Call:
    return Call(0, "append", called, returned, result, (text,), expect)


def read(called: int, returned: int, *result: str) -> Call:
    return Call(1, "read", called, returned, result, at=0)


def length(called: int, returned: int, result: int) -> Call:
    return Call(1, "length", called, returned, result)


RIGHT = {
    "one after another": [append("a", 0, 1, 0), read(2, 3, "a"), append("b", 4, 5, 1)],
    "at once, and the second came first": [append("a", 0, 9, 1), append("b", 1, 8, 0)],
    "a read that began before sees it": [append("a", 1, 5, 0), read(0, 4, "a")],
    "a read that began before does not": [append("a", 1, 5, 0), read(0, 6)],
    "two reads at once see it differently": [
        append("a", 0, 9, 0), length(1, 5, 1), length(2, 4, 0),
    ],
    "a condition lost a race": [
        append("a", 0, 9, 0), conditional("b", 0, 1, 8, CONFLICT), read(10, 11, "a"),
    ],
    "an append that never returned is there": [append("a", 0, None), read(5, 6, "a")],
    "an append that never returned is not there": [append("a", 0, None), read(5, 6)],
    "an append that never returned comes late": [
        append("a", 0, None), read(5, 6), append("b", 7, 8, 1), read(9, 10, "a", "b"),
    ],
    "a branch at the head": [append("a", 0, 5, 0), Call(1, "fork", 1, 4, ("a",))],
    "a branch of what is not there yet": [
        append("a", 0, 5, 0), Call(1, "fork", 1, 4, NONE, at=0), Call(1, "last", 6, 7, "a"),
    ],
}  # fmt: skip
WRONG = {
    "read your writes": [append("a", 0, 1, 0), read(2, 3)],
    "two got one offset": [append("a", 0, 9, 0), append("b", 1, 8, 0)],
    "an offset is left out": [append("a", 0, 1, 0), append("b", 2, 3, 2)],
    "an order that time forbids": [append("a", 0, 1, 1), append("b", 2, 3, 0)],
    "reads go back": [append("a", 0, 9, 0), length(1, 2, 1), length(3, 4, 0)],
    "read what nobody wrote": [append("a", 0, 1, 0), read(2, 3, "b")],
    "two conditions hold at once": [
        conditional("a", 0, 0, 9, 0), conditional("b", 0, 1, 8, 0),
    ],
    "a condition refused without a cause": [conditional("a", 0, 0, 1, CONFLICT)],
    "an acknowledged record is lost": [
        append("a", 0, 1, 0), append("b", 2, 3, 0), read(4, 5, "b"),
    ],
    "readers disagree on the order": [
        append("a", 0, 20, 0), append("b", 0, 20, 1), read(1, 2, "a"), read(3, 4, "b"),
    ],
    "a branch lacks what was acknowledged": [append("a", 0, 1, 0), Call(1, "fork", 2, 3, ())],
    "an append that never returned is there and gone": [
        append("a", 0, None), read(5, 6, "a"), read(7, 8),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_history_with_an_order_is_linearizable(name: str) -> None:
    verdict = check(RIGHT[name])
    assert verdict
    assert verdict.stuck == ()


@pytest.mark.parametrize("name", WRONG)
def test_history_without_an_order_is_not(name: str) -> None:
    verdict = check(WRONG[name])
    assert not verdict
    assert verdict.stuck


def in_some_order(calls: list[Call], contents: Contents = ()) -> bool:
    """The same question, answered by trying every order there is."""
    for order in itertools.permutations(calls):
        held: Contents | None = contents
        latest = -1
        for call in order:
            # Each takes effect as early as it can after the one before.
            latest = max(latest, call.called)
            held = apply(held, call) if held is not None else None
            if held is None or (call.returned is not None and latest > call.returned):
                break
        else:
            return True
    return False


def test_search_agrees_with_trying_every_order() -> None:
    moments = [(0, 3), (1, 2), (2, 5), (4, 6)]
    results: list[list[Result]] = [[0, 1], [0, 1], [1, 2], [2, 3]]
    tried = linearizable = 0
    for chosen in itertools.product(*results):
        for lengths in itertools.product([1, 2, 3], repeat=2):
            calls = [
                Call(n, "append", *moment, result, (str(n),))
                for n, (moment, result) in enumerate(zip(moments, chosen, strict=True))
            ]
            calls += [length(1, 4, lengths[0]), length(3, 6, lengths[1])]
            found = bool(check(calls))
            assert found == in_some_order(calls), calls
            tried += 1
            linearizable += found
    assert 0 < linearizable < tried == 16 * 9


def test_handle_that_follows_may_be_behind_and_never_goes_back() -> None:
    final = ("a", "b", "c")
    assert check_prefixes([read(0, 1), read(2, 3, "a", "b"), length(4, 5, 3)], final) == []
    assert len(check_prefixes([length(0, 1, 2), read(2, 3, "a")], final)) == 1
    assert len(check_prefixes([read(0, 1, "b")], final)) == 1
    assert len(check_prefixes([length(0, 1, 4)], final)) == 1


@pytest.mark.parametrize(
    ("durability", "mode"), [("memory", "exclusive"), ("os", "exclusive"), ("os", "shared")]
)
def test_calls_of_threads_are_linearizable(durability: str, mode: str) -> None:
    judged = by_threads(HISTORIES, 1, durability, mode)
    print(f"{durability}, {mode}: {judged.histories} histories, {judged.calls} calls")
    assert not judged.violations, "\n".join(judged.violations)
    assert judged.histories == HISTORIES
    assert judged.calls > 30 * HISTORIES


def test_calls_of_processes_are_linearizable_and_readers_see_a_first_part() -> None:
    judged = by_processes(HISTORIES // 5, 1)
    print(f"processes: {judged.histories} histories, {judged.calls} calls")
    assert not judged.violations, "\n".join(judged.violations)
    assert judged.histories == HISTORIES // 5
    assert judged.calls > 30 * (HISTORIES // 5)


@pytest.mark.parametrize(
    ("name", "durability", "mode"),
    [
        ("acknowledged_before_visible", "os", "exclusive"),
        ("condition_looked_at_apart", "os", "exclusive"),
        ("condition_looked_at_apart", "memory", "exclusive"),
        ("stale_length", "os", "exclusive"),
        ("stale_length", "memory", "exclusive"),
        ("shared_look_skipped", "os", "shared"),
        ("made_known_late", "os", "exclusive"),
        ("made_known_late", "memory", "exclusive"),
        ("merge_without_what_is_staged", "os", "exclusive"),
        ("cursor_without_conditions", "os", "exclusive"),
        ("cursor_moves_before_its_batch", "os", "shared"),
    ],
)
def test_planted_bug_is_found(name: str, durability: str, mode: str) -> None:
    with planted(name):
        judged = by_threads(2000, 1, durability, mode)
    assert judged.violations
    assert judged.histories < 2000


def test_soak_counts_violations() -> None:
    said: list[str] = []
    assert soak(0.01, 3, said.append) == 0
    assert "0 violations" in said[-1]
    with planted("stale_length"):
        assert soak(0.01, 3, said.append) > 0
    assert "none of" in said[-2]
