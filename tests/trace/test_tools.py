"""Tool calls: one outcome each, however the block is left."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

import transit
from transit import trace
from transit.trace.ids import new_id


@pytest.fixture
def task(log: transit.Log) -> trace.Task:
    return trace.task(log, "t")


def outcome(task: trace.Task) -> Any:
    *_, record = trace.read(task.log, task.stream)
    return record.event


def test_a_block_without_an_outcome_succeeded(task: trace.Task) -> None:
    with task.tool("bash"):
        pass
    found = outcome(task)
    assert (found.tool_status, found.result, found.error) == ("success", None, None)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no"), "failure"),
        (TimeoutError("slow"), "timeout"),
        (KeyboardInterrupt(), "failure"),
        (asyncio.CancelledError(), "failure"),
    ],
    ids=repr,
)
def test_an_exception_is_the_outcome_and_goes_on(
    task: trace.Task, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)), task.tool("bash"):
        raise error
    found = outcome(task)
    assert found.tool_status == status
    assert found.error.type.endswith(type(error).__name__)


def test_a_timeout_of_an_await_is_a_timeout(task: trace.Task) -> None:
    async def agent() -> None:
        with task.tool("slow"):
            await asyncio.wait_for(asyncio.sleep(60), 0.001)

    with pytest.raises(TimeoutError):
        asyncio.run(agent())
    assert outcome(task).tool_status == "timeout"


@pytest.mark.parametrize(
    ("end", "status", "result", "message"),
    [
        (lambda call: call.result([1, None]), "success", [1, None], None),
        (lambda call: call.partial("half"), "partial", "half", None),
        (lambda call: call.failure("exit 1", {"code": 1}), "failure", {"code": 1}, "exit 1"),
        (lambda call: call.timeout("after 5 s", "so far"), "timeout", "so far", "after 5 s"),
        (lambda call: call.timeout(), "timeout", None, ""),
    ],
)
def test_each_outcome_is_recorded_as_it_was_given(
    task: trace.Task, end: Any, status: str, result: object, message: str | None
) -> None:
    with task.tool("bash", ["a"], tool_call_id="toolu_1") as call:
        assert end(call) == call.offset + 1 == 1
    found = outcome(task)
    assert (found.tool_call_id, found.tool_name) == ("toolu_1", "bash")
    assert (found.tool_status, found.result) == (status, result)
    assert (found.error and found.error.message) == message
    assert len(task.stream) == 2, "the end of the block adds nothing"


def test_a_call_has_one_outcome(task: trace.Task) -> None:
    call = task.tool("bash")
    call.result(1)
    with pytest.raises(transit.InvalidInputError, match="outcome"):
        call.failure("after all")
    assert len(task.stream) == 2


def test_any_result_ends_the_call(task: trace.Task) -> None:
    call = task.tool("bash")
    call.result(object())
    assert outcome(task).result == {"type": "object", "repr": "<object object>"}
    with pytest.raises(transit.InvalidInputError, match="has its outcome"):
        call.failure("again")


def test_an_artifact_as_result_is_named_not_repeated(task: trace.Task) -> None:
    artifact = task.artifact(b"x" * 100, kind="log")
    task.tool("bash").result(artifact)
    found = outcome(task)
    assert (found.artifact_id, found.result) == (artifact.artifact_id, None)


def test_a_duration_may_be_given(task: trace.Task) -> None:
    task.tool("bash").result("x", duration_ns=1_500_000_000)
    assert outcome(task).duration_ns == 1_500_000_000
    with pytest.raises(transit.InvalidInputError, match="duration_ns"):
        task.tool("bash").result("x", duration_ns=1.5)  # type: ignore[arg-type]


def test_open_calls_are_those_without_an_outcome(task: trace.Task) -> None:
    first, second = task.tool("a", {"n": 1}), task.tool("b")
    third = task.tool("a", tool_call_id="same id as a call")
    second.result()
    found = trace.read(task.log, "t").open_calls
    assert [record.offset for record in found] == [first.offset, third.offset]
    request = found[0].event
    assert isinstance(request, trace.ToolRequest)
    assert request.arguments == {"n": 1}
    retry = task.retry(at=second.offset)
    assert len(trace.read(task.log, retry.stream).open_calls) == 2
    first.result()
    third.partial()
    assert trace.read(task.log, "t").open_calls == ()


def test_a_forked_child_gives_ids_of_its_own() -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, new_id("call").encode())
        os._exit(0)
    ours = new_id("call")
    os.waitpid(child, 0)
    assert os.read(read, 100).decode() != ours
    assert new_id("call") != ours
    os.close(read)
    os.close(write)
