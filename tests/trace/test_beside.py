"""Two runs beside each other: what is the same is aligned, and the first difference is found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import transit
from transit import Position, trace
from transit.trace import EventRecord, Step
from transit.trace.beside import Row, beside, first_difference

from .shared_files import shared_files


def program(log: transit.Log, name: str, commands: Sequence[str], answer: str = "ok") -> list[Step]:
    """The steps of a run that calls these commands, each after a model was asked."""
    messages = [{"role": "user", "content": "go"}]
    with trace.task(log, name) as task:
        for command in commands:
            call = {"id": f"{name}-{command}", "name": "bash", "input": {"cmd": command}}
            said = {"role": "assistant", "content": command, "tool_calls": [call]}
            task.model_call(model="m", request={"messages": messages}, response=said)
            messages = [*messages, said]
            with task.tool("bash", {"cmd": command}) as tool:
                tool.result(answer)
        with trace.task(log) as kid:
            kid.message("user", commands[-1])
    return trace.read(log, name).steps()


def kinds(rows: Sequence[Row]) -> list[tuple[str, str, bool]]:
    return [
        (row.left.kind if row.left else "", row.right.kind if row.right else "", row.same)
        for row in rows
    ]


def test_runs_of_one_program_are_the_same_whatever_their_ids_times_and_names(
    log: transit.Log,
) -> None:
    rows = beside(program(log, "a", "xyz"), program(log, "b", "xyz"))
    assert all(row.same for row in rows)
    assert first_difference(rows) is None
    assert [row.depth for row in rows] == [0] * 7 + [1, 1] + [0]


def test_the_first_difference_is_the_step_that_went_another_way(log: transit.Log) -> None:
    rows = beside(program(log, "a", "xyz"), program(log, "b", "xwz"))
    place = first_difference(rows)
    assert place == 2
    row = rows[place]
    assert row.left is not None
    assert row.right is not None
    assert (row.left.offset, row.right.offset) == (row.left.offset, row.left.offset)
    assert (row.left.kind, row.right.kind) == ("model", "model")


def test_a_step_more_in_one_run_stands_beside_nothing(log: transit.Log) -> None:
    left, right = trace.task(log, "a"), trace.task(log, "b")
    for task in (left, right):
        task.message("user", "1")
    right.message("user", "more")
    for task in (left, right):
        task.message("user", "2")
    rows = beside(trace.read(log, "a").steps(), trace.read(log, "b").steps())
    assert kinds(rows) == [
        ("message", "message", True), ("message", "message", True), ("", "message", False),
    ] or kinds(rows) == [
        ("message", "message", True), ("", "message", False), ("message", "message", True),
    ]  # fmt: skip
    assert [row.right.offset for row in rows if row.right and not row.same] == [1]


def test_a_difference_inside_a_child_run_is_found_though_the_calls_around_it_agree(
    log: transit.Log,
) -> None:
    for name, said in (("a", "x"), ("b", "y")):
        with trace.task(log, name), trace.task(log) as kid:
            kid.message("user", said)
    rows = beside(trace.read(log, "a").steps(), trace.read(log, "b").steps())
    assert kinds(rows) == [
        ("run", "run", True), ("message", "message", False), ("end", "end", True),
        ("end", "end", True),
    ]  # fmt: skip


def test_another_result_or_error_is_a_difference(log: transit.Log) -> None:
    for name, error in (("a", "no file"), ("b", "no space"), ("c", "no file")):
        with trace.task(log, name) as task:
            task.tool("bash", "ls").failure(error)
    a, b, c = (trace.read(log, name).steps() for name in "abc")
    assert first_difference(beside(a, b)) == 0
    assert first_difference(beside(a, c)) is None


def test_the_same_message_changed_in_one_member_is_a_difference(log: transit.Log) -> None:
    for name, cached in (("a", False), ("b", True)):
        with trace.task(log, name) as task:
            message = {"role": "user", "content": "x" * 100, "cached": cached}
            task.model_call(model="m", request=[message] * 3, response="y")
    rows = beside(trace.read(log, "a").steps(), trace.read(log, "b").steps())
    assert first_difference(rows) == 0


def test_five_attempts_at_one_task_stand_beside_each_other(tmp_path: Path) -> None:
    files = [
        file for file in shared_files("agent-trajectories") if file.name.startswith("marshmallow")
    ]
    assert len(files) == 5
    with transit.open(tmp_path / "store", durability="os") as log:
        runs = [trace.import_file(log, file).runs[0] for file in files]
        steps = [trace.read(log, run).steps() for run in runs]
    for other in steps[1:]:
        rows = beside(steps[0], other)
        every(rows, steps[0], other)
        # None of them went like another, and some commands gave the same.
        assert first_difference(rows) is not None
        assert any(row.same for row in rows)


def every(rows: Sequence[Row], left: Sequence[Step], right: Sequence[Step]) -> None:
    """Each step of both runs stands in one row, in order."""
    ours = [id(each) for step in left for each in step.walk()]
    theirs = [id(each) for step in right for each in step.walk()]
    assert [id(row.left) for row in rows if row.left is not None] == ours
    assert [id(row.right) for row in rows if row.right is not None] == theirs


def tree(words: list[str]) -> list[Step]:
    """Steps that say these words; each second one is inside the one before."""
    steps: list[Step] = []
    for n, word in enumerate(words):
        event = trace.Message(message={"role": "user", "content": word})
        record = EventRecord(n, n, Position("t", n), event, b"", {})
        step = Step(kind="message", name="user", run="t", first=record, last=record)
        (steps[-1].steps if n % 2 else steps).append(step)
    return steps


@given(*[st.lists(st.sampled_from("abc"), max_size=12)] * 2)
def test_whatever_differs_each_step_stands_in_one_row(left: list[str], right: list[str]) -> None:
    ours, theirs = tree(left), tree(right)
    rows = beside(ours, theirs)
    every(rows, ours, theirs)
    assert (first_difference(rows) is None) == (left == right)
    for row in rows:
        if row.same:
            assert row.left is not None
            assert row.right is not None
            assert row.left.output == row.right.output


@pytest.mark.parametrize("count", [3_000])
def test_long_runs_that_repeat_themselves_are_aligned(count: int) -> None:
    left = tree([str(n % 3) for n in range(count)])
    right = tree([str(n % 3) for n in range(1, count)])
    every(beside(left, right), left, right)
