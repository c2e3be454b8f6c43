"""Tasks: how runs begin and end, branches, and several that record at once."""

from __future__ import annotations

import asyncio
import contextvars
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest

import transit
from tests.trace.conftest import lose
from transit import trace


def events(log: transit.Log, name: str) -> list[Any]:
    return [record.event for record in trace.read(log, name)]


def requests(log: transit.Log, name: str) -> list[Any]:
    found = events(log, name)
    return [event.request for event in found if isinstance(event, trace.ModelCall)]


def fail(error: BaseException, *closed: transit.Log) -> NoReturn:
    """Raise `error`, after the stores were closed."""
    for log in closed:
        log.close()
    raise error


# The contract


def test_the_example_of_the_contract(log: transit.Log) -> None:
    output = "setup.py"
    with trace.task(log, "fix-1867", actor="agent", reason="initial-request") as task:
        with task.tool("bash", {"cmd": "ls"}) as call:
            call.result(output)
        task.model_call(
            model="m", request=[{"role": "user", "content": "q"}], response="a", usage={"n": 1}
        )
        retry = task.retry(at=task.last, reason="timeout")
        retry.evaluate("judge-1", decision="selected", score=0.9)
        final = trace.merge(log, [task, retry], policy="select", reason="the judge chose")
        final.checkpoint("final", status="success")

    root = trace.read(log, "fix-1867")
    assert (root.name, root.task_id, root.trace_kind) == ("fix-1867", "fix-1867", "task")
    assert (root.actor_id, root.reason) == ("agent", "initial-request")
    assert root.created_at is not None
    assert abs(root.created_at - time.time_ns()) < 60e9
    assert (root.parents, root.fork_offset, root.policy) == ((), None, None)
    assert root.branches == ("fix-1867/retry-1", "fix-1867/merge-1")
    request, result, model, end = events(log, "fix-1867")
    assert request.tool_call_id == result.tool_call_id != ""
    assert (request.tool_phase, result.tool_phase) == ("request", "result")
    assert (request.tool_name, request.arguments) == ("bash", {"cmd": "ls"})
    assert (result.tool_status, result.result) == ("success", output)
    assert result.duration_ns > 0
    assert (model.request, model.response) == ([{"role": "user", "content": "q"}], "a")
    assert end == root.ended
    totals = trace.Totals(
        events=4, model_calls=1, tool_calls=1, tokens={"m": (-1, -1)}, untold={"m": 1},
        tools={"bash": (1, 0)},
    )  # fmt: skip
    assert (end.status, end.error, end.totals) == ("completed", None, totals)

    branch = trace.read(log, "fix-1867/retry-1")
    assert (branch.task_id, branch.trace_kind, branch.reason) == ("fix-1867", "retry", "timeout")
    assert branch.parents == (transit.Position("fix-1867", 2),)
    assert branch.fork_offset == 2
    assert [record.origin.stream for record in branch] == ["fix-1867"] * 3 + [branch.name]
    *_, evaluation = branch
    assert evaluation.event == trace.Evaluation(
        evaluator_id="judge-1", subject_ref="fix-1867/retry-1@2", decision="selected", score=0.9
    )

    merged = trace.read(log, "fix-1867/merge-1")
    assert (merged.task_id, merged.trace_kind) == ("fix-1867", "merge")
    assert (merged.policy, merged.reason) == ("select", "the judge chose")
    assert [parent.stream for parent in merged.parents] == ["fix-1867", "fix-1867/retry-1"]
    assert [record.event for record in merged][:4] == [record.event for record in branch]
    assert events(log, merged.name)[-1] == trace.Checkpoint(
        checkpoint_kind="final", status="success"
    )
    assert log.verify().ok


def test_a_task_has_its_metadata_and_the_actor(log: transit.Log) -> None:
    task = trace.task(log, "t", actor="a", trace_kind="evaluation", metadata={"tries": 3})
    assert task.stream.metadata["tries"] == 3
    assert trace.read(log, "t").trace_kind == "evaluation"
    assert (task.last, task.name, task.task_id) == (None, "t", "t")
    assert task.message("user", "x") == task.last == 0


def test_a_name_that_is_taken_or_none_is_refused(log: transit.Log) -> None:
    trace.task(log, "t")
    with pytest.raises(transit.AlreadyExistsError):
        trace.task(log, "t")
    for bad in ("", "a\0b"):
        with pytest.raises(transit.InvalidInputError):
            trace.task(log, bad)
    with pytest.raises(transit.InvalidInputError, match="reason"):
        trace.task(log, "u", metadata={"reason": "hidden"})
    with pytest.raises(transit.InvalidInputError):
        trace.task(log, "u", trace_kind="")
    assert "u" not in log


# How a block is left


class WeirdError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "status", "kind", "message", "args"),
    [
        (ValueError("bad", 3), "failed", "ValueError", "('bad', 3)", ("bad", 3)),
        (KeyError("k"), "failed", "KeyError", "'k'", ("k",)),
        (FileNotFoundError(2, "gone", "x.py"), "failed", "FileNotFoundError",
         "[Errno 2] gone: 'x.py'", (2, "gone", "x.py")),
        (ValueError(float("nan")), "failed", "ValueError", "nan",
         ({"$type": "float", "value": "nan"},)),
        (ValueError(object), "failed", "ValueError", "<class 'object'>",
         ({"type": "type", "repr": "<class 'object'>"},)),
        (ValueError("half \ud800"), "failed", "ValueError", "half \ud800", ("half \ud800",)),
        (transit.NotFoundError("x"), "failed", "transit.errors.NotFoundError", "x", ("x",)),
        (WeirdError("x"), "failed", f"{__name__}.WeirdError", "its text could not be made", ("x",)),
        (KeyboardInterrupt(), "cancelled", "KeyboardInterrupt", "", ()),
        (SystemExit(3), "failed", "SystemExit", "3", (3,)),
        (SystemExit(0), "completed", "SystemExit", "0", (0,)),
        (asyncio.CancelledError(), "cancelled", "asyncio.exceptions.CancelledError", "", ()),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)  # fmt: skip
def test_an_exception_that_leaves_the_block_is_recorded_and_goes_on(
    log: transit.Log, error: BaseException, status: str, kind: str, message: str, args: Any
) -> None:
    with pytest.raises(type(error)) as caught, trace.task(log, "t"):
        raise error
    assert caught.value is error
    assert not getattr(error, "__notes__", [])
    end = trace.read(log, "t").ended
    assert end is not None
    assert end.error is not None
    assert end.status == status
    assert (end.error.type, end.error.message, end.error.args) == (kind, message, args)
    assert "test_an_exception_that_leaves" in end.error.traceback


def test_an_exception_is_not_hidden_by_a_store_that_was_closed(path: Path) -> None:
    log = transit.open(path, durability="os")
    error = ValueError("the agent's own")
    with pytest.raises(ValueError, match="the agent's own"), trace.task(log, "t"):
        fail(error, log)
    lose(1)
    with transit.open(path) as again:
        assert trace.read(again, "t").ended is None
        assert len(trace.read(again, "t")) == 0


def test_a_block_that_ends_after_its_store_is_the_programs_affair_only_where_it_says_so(
    path: Path,
) -> None:
    log = transit.open(path, durability="os")
    with trace.task(log, "t") as task:
        log.close()
        assert task.message("user", "x") == -1
    lose(2)
    log = transit.open(path, durability="os")
    with pytest.raises(transit.ClosedError), trace.task(log, "u", strict=True):
        log.close()


def test_a_tool_left_open_by_an_exception_has_both_recorded(path: Path) -> None:
    log = transit.open(path, durability="os")
    error = ValueError("x")
    with pytest.raises(ValueError, match="x"), trace.task(log, "t") as task, task.tool("bash"):
        fail(error, log)
    lose(2)
    with transit.open(path) as again:
        (waiting,) = trace.read(again, "t").open_calls
        assert isinstance(waiting.event, trace.ToolRequest)


def test_an_interrupted_await_ends_the_run_as_cancelled(log: transit.Log) -> None:
    async def agent() -> None:
        with trace.task(log, "t") as task, task.tool("wait"):
            await asyncio.sleep(60)

    async def main() -> None:
        running = asyncio.create_task(agent())
        await asyncio.sleep(0)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    _, result, end = events(log, "t")
    assert (result.tool_status, end.status) == ("failure", "cancelled")
    assert result.error.type == end.error.type == "asyncio.exceptions.CancelledError"


def test_a_resumed_task_is_open_until_it_ends_again(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.message("user", "before" * 9)
    with pytest.raises(ValueError, match="x"), task:
        fail(ValueError("x"))
    resumed = trace.resume(log, "t", reason="try on")
    assert trace.read(log, "t").ended is None
    with resumed:
        resumed.message("user", "before" * 9)
    end = trace.read(log, task.stream).ended
    assert end is not None
    assert end.status == "completed"
    assert end.totals.events == 5, "of both parts"
    found = list(trace.read(log, "t"))
    assert found[2].event == trace.Checkpoint(
        checkpoint_kind="resume", status="incomplete", reason="try on"
    )
    assert found[0].event == found[3].event
    assert b'"parts":[]' in found[3].payload
    with pytest.raises(transit.NotFoundError):
        trace.resume(log, "nobody")


# The current task


def test_the_current_task_is_that_of_the_innermost_block(log: transit.Log) -> None:
    assert trace.current() is None
    with trace.task(log, "outer") as outer:
        assert trace.current() is outer
        with trace.task(log, "inner") as inner:
            assert trace.current() is inner
            with outer:
                assert trace.current() is outer
            assert trace.current() is inner
        with pytest.raises(ValueError, match="outer/retry-1"), outer.retry(reason="r"):
            fail(ValueError(trace.current()))
        assert trace.current() is outer
    assert trace.current() is None


def test_one_task_entered_by_two_coroutines_leaves_each_its_own(log: transit.Log) -> None:
    shared = trace.task(log, "shared")

    async def work(own: trace.Task, steps: list[int]) -> None:
        with own:
            for _ in range(steps[0]):
                await asyncio.sleep(0)
            with shared:
                for _ in range(steps[1]):
                    assert trace.current() is shared
                    await asyncio.sleep(0)
            assert trace.current() is own

    async def main() -> None:
        await asyncio.gather(work(trace.task(log, "a"), [1, 6]), work(trace.task(log, "b"), [3, 2]))
        assert trace.current() is None

    asyncio.run(main())


def test_a_plain_thread_begins_without_a_task_and_to_thread_with_it(log: transit.Log) -> None:
    seen: dict[str, object] = {}

    async def main() -> None:
        with trace.task(log, "t") as task:
            plain = threading.Thread(target=lambda: seen.update(plain=trace.current()))
            plain.start()
            plain.join()
            seen["to_thread"] = await asyncio.to_thread(trace.current)
            seen["created"] = await asyncio.create_task(current())
            seen["task"] = task

    async def current() -> trace.Task | None:
        await asyncio.sleep(0)
        return trace.current()

    asyncio.run(main())
    assert seen["plain"] is None
    assert seen["to_thread"] is seen["created"] is seen["task"]


def generated(log: transit.Log, name: str) -> Iterator[trace.Task | None]:
    with trace.task(log, name):
        yield trace.current()


def test_a_generator_that_ends_out_of_order_takes_itself_away(log: transit.Log) -> None:
    generator = generated(log, "generated")
    assert next(generator) is trace.current() is not None
    with trace.task(log, "mine") as mine:
        generator.close()  # type: ignore[attr-defined]
        assert trace.current() is mine
    assert trace.current() is None
    end = trace.read(log, "generated").ended
    assert end is not None
    assert end.status == "cancelled"


def test_a_generator_that_ends_elsewhere_leaves_that_place_alone(log: transit.Log) -> None:
    generator = contextvars.copy_context().run(next, source := generated(log, "generated"))
    assert generator is not None
    with trace.task(log, "mine") as mine:
        source.close()  # type: ignore[attr-defined]
        assert trace.current() is mine
    assert trace.current() is None


# Several at once


def converse(task: trace.Task, name: str, count: int) -> list[list[dict[str, str]]]:
    """Model calls that each repeat what was said; their requests."""
    said: list[dict[str, str]] = []
    asked = []
    for n in range(count):
        said.append({"role": "user", "content": f"{name} asks {n} " + "." * 20})
        answer = {"role": "assistant", "content": f"{name} hears {n} " + "." * 20}
        task.model_call(model="m", request=list(said), response=answer)
        asked.append(list(said))
        said.append(answer)
    return asked


def by_speaker(found: list[Any], name: str) -> list[Any]:
    return [request for request in found if request[0]["content"].startswith(f"{name} ")]


def test_eight_threads_record_into_one_task(log: transit.Log) -> None:
    task = trace.task(log, "t")

    def work(name: str) -> list[Any]:
        asked = converse(task, name, 25)
        for n in range(25):
            with task.tool("bash", {"name": name, "n": n}, tool_call_id=f"{name}-{n}") as call:
                call.result(n)
            task.message("user", f"{name} says {n}")
        return asked

    with ThreadPoolExecutor(8) as threads:
        asked = list(threads.map(work, "abcdefgh"))
    found = requests(log, "t")
    assert [by_speaker(found, name) for name in "abcdefgh"] == asked
    assert len(task.stream) == 8 * 25 * 4
    assert trace.read(log, "t").open_calls == ()
    said = [event.content for event in events(log, "t") if isinstance(event, trace.Message)]
    assert sorted(said) == sorted(f"{name} says {n}" for name in "abcdefgh" for n in range(25))


def test_gathered_coroutines_record_into_one_task(log: transit.Log) -> None:
    async def work(name: str) -> list[Any]:
        task = trace.current()
        assert task is not None
        asked = []
        for n in range(5):
            asked += converse(task, f"{name}{n}", 2)
            await asyncio.sleep(0)
        return asked + await asyncio.to_thread(converse, task, f"{name}9", 3)

    async def main() -> list[list[Any]]:
        with trace.task(log, "t"):
            return await asyncio.gather(*map(work, "abc"))

    asked = asyncio.run(main())
    found = requests(log, "t")
    for each in asked:
        for request in each:
            assert request in found
    assert len(found) == 3 * 13


def test_two_handles_on_one_stream_take_turns(log: transit.Log) -> None:
    one = trace.task(log, "t")
    other = trace.resume(log, "t")
    expected = []
    said: list[dict[str, str]] = []
    chance = random.Random(1867)
    for n in range(60):
        said.append({"role": "user", "content": f"question {n} " + "." * 30})
        chance.choice((one, other)).model_call(model="m", request=list(said))
        expected.append(list(said))
    assert requests(log, "t") == expected
    stored = sum(len(record.payload) for record in log.stream("t"))
    assert stored < 60 * 300, "what the other handle wrote is referred to"


def test_a_handle_that_loses_every_race_still_refers_to_the_right_parts(log: transit.Log) -> None:
    one = trace.task(log, "t")
    other = trace.resume(log, "t")
    with ThreadPoolExecutor(2) as threads:
        asked = list(threads.map(converse, (one, other), "ab", (100, 100)))
    found = requests(log, "t")
    assert [by_speaker(found, name) for name in "ab"] == asked


# Branches


def test_branches_of_branches_at_any_offset_go_their_own_ways(log: transit.Log) -> None:
    chance = random.Random(7)
    tasks = [trace.task(log, "t")]
    expected: dict[str, list[Any]] = {"t": []}
    for n in range(40):
        task = chance.choice(tasks)
        own = expected[task.name]
        request = [
            {"role": "user", "content": f"{k} " + "." * 30} for k in range(n % 7, n % 11 + 8)
        ]
        assert task.model_call(model="m", request=request) == len(own)
        own.append(request)
        if n % 3 == 0:
            at = chance.choice([None, *range(len(own))])
            make = chance.choice((task.retry, task.critique, task.alternate))
            branch = make(at)
            expected[branch.name] = own[: len(own) if at is None else at + 1]
            tasks.append(branch)
    assert {task.name: requests(log, task.name) for task in tasks} == expected
    for task in tasks:
        trace.resume(log, task.name).model_call(model="m", request=expected["t"][0])
        assert requests(log, task.name)[-1] == expected["t"][0]


@pytest.mark.parametrize("kind", ["retry", "critique", "alternate-plan"])
def test_branches_have_their_kind_their_number_or_their_name(log: transit.Log, kind: str) -> None:
    task = trace.task(log, "t", actor="agent")
    task.message("user", "x")
    make = {"retry": task.retry, "critique": task.critique, "alternate-plan": task.alternate}[kind]
    one, two = make(0, reason="r", actor="critic"), make()
    named = make(name="mine/own")
    assert [one.name, two.name, named.name] == [f"t/{kind}-1", f"t/{kind}-2", "mine/own"]
    found = trace.read(log, one.stream)
    assert (found.trace_kind, found.reason, found.actor_id) == (kind, "r", "critic")
    assert (found.fork_offset, found.task_id) == (0, "t")
    with pytest.raises(transit.AlreadyExistsError):
        make(name="mine/own")
    with pytest.raises(transit.OffsetError):
        make(1)


def test_the_next_free_number_is_found_among_many(log: transit.Log) -> None:
    task = trace.task(log, "t")
    names = [task.retry().name for _ in range(21)]
    assert names == [f"t/retry-{n}" for n in range(1, 22)]
    assert task.retry().retry().name == "t/retry-23"


def test_threads_that_branch_at_once_get_a_branch_each(log: transit.Log) -> None:
    task = trace.task(log, "t")
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: task.retry().name, range(40)))
    assert len(set(made)) == 40
    assert all(name in log for name in made)


def test_a_branch_of_an_empty_task_inherits_nothing(log: transit.Log) -> None:
    branch = trace.task(log, "t").retry()
    branch.model_call(model="m", request=[{"role": "user", "content": "x"}])
    found = trace.read(log, branch.stream)
    assert (found.fork_offset, found.ended) == (None, None)
    assert requests(log, branch.name) == [[{"role": "user", "content": "x"}]]


def test_the_end_of_a_parent_is_not_the_end_of_its_branch(log: transit.Log) -> None:
    with trace.task(log, "t") as task:
        pass
    branch = task.retry()
    assert trace.read(log, branch.stream).ended is None
    with branch:
        pass
    assert (end := trace.read(log, branch.stream).ended) is not None
    assert (end.status, end.totals.events) == ("completed", 1)
    assert len(branch.stream) == 2


# Events made elsewhere


def test_a_trace_recorded_event_by_event_is_the_same(log: transit.Log) -> None:
    history = [{"role": "user", "content": "q"}]
    with trace.task(log, "first") as task:
        task.message("user", "q", name="n")
        for number in range(3):
            task.model_call(model="m", request=list(history), response={"n": number})
            history.append({"role": "assistant", "content": f"a{number}"})
        with task.tool("bash", {"cmd": "ls"}) as call:
            call.result("setup.py")
        task.call("f", {"x": 1}, lambda x: x)
        task.evaluate("judge", decision="selected", score=1.0)
        task.custom("own", {"data": [None, 1.5]})
        task.artifact(b"bytes", kind="patch")
        task.checkpoint("final", status="success")
    again = trace.task(log, "again")
    first = list(trace.read(log, "first"))
    for number, record in enumerate(first):
        assert isinstance(record.event, trace.Event)
        assert again.record(record.event, timestamp=number) == number
    second = list(trace.read(log, "again"))
    assert [record.event for record in second] == [record.event for record in first]
    assert [record.timestamp for record in second] == list(range(len(first)))
    # Parts of the history are written once there too.
    sizes = [sum(len(record.payload) for record in found) for found in (first, second)]
    assert sizes[1] == sizes[0]


@pytest.mark.parametrize(
    ("event", "timestamp"),
    [("text", None), (trace.Unknown("x", {}), None), (trace.RunEnd(status="completed"), "now")],
)
def test_what_is_no_event_or_time_is_not_recorded(
    log: transit.Log, event: Any, timestamp: Any
) -> None:
    task = trace.task(log, "t")
    with pytest.raises(transit.InvalidInputError):
        task.record(event, timestamp=timestamp)
    assert len(task.stream) == 0


class Chatty:
    """An object that records a message when it is asked what it is made of."""

    def __init__(self, task: trace.Task) -> None:
        self._task = task

    def to_dict(self) -> dict[str, object]:
        self._task.message("user", "from the middle of another event")
        return {"a": 1}


def test_an_event_made_in_the_middle_of_another_is_counted(log: transit.Log) -> None:
    with trace.task(log, "t") as task:
        task.custom("outer", Chatty(task))
    ended = trace.read(log, "t").ended
    assert ended is not None
    assert ended.totals.events == len(log.stream("t")) == 3
