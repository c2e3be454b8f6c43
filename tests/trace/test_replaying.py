"""Replays: the program runs again on what was recorded, and nothing else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from blake3 import blake3

import transit
from transit import trace

reached: list[str] = []


@pytest.fixture(autouse=True)
def nothing_reached() -> None:
    reached.clear()


@trace.recorded("get")
def get(url: str, n: int = 1) -> dict[str, object]:
    reached.append(url)
    if url.startswith("bad"):
        raise ValueError(f"no {url}")
    return {"url": url, "n": n}


@trace.recorded("fetch")
async def fetch(url: str, rounds: int = 1) -> str:
    reached.append(url)
    for _ in range(rounds):
        await asyncio.sleep(0)
    return url * 2


def here() -> trace.Task:
    task = trace.current()
    assert task is not None
    return task


def agent() -> list[object]:
    """A run with every kind of event around its calls; what it came to."""
    task = here()
    found: list[object] = [task.message("user", "go"), task.last]
    found.append(get("a"))
    with task.tool("bash", {"cmd": "ls"}) as call:
        found.append(get(url="b", n=2))
        call.result("listed")
    try:
        get("bad")
    except ValueError as error:
        found.append(str(error))
    found.append(task.model_call(model="m", request=[{"role": "user", "content": "go"}]))
    found.append(task.artifact(b"data", kind="k").ref)
    found.append(task.custom("mine", {"x": 1}))
    found.append(asyncio.run(fetch("q")))
    found.append(task.evaluate("judge", decision="fine"))
    found.append(task.checkpoint("final", status="success"))
    return found


def record(log: transit.Log, program: Callable[[], object], name: str = "t") -> Any:
    with trace.task(log, name):
        found = program()
    reached.clear()
    return found


def kinds(log: transit.Log, name: str) -> list[str]:
    return [type(record.event).__name__ for record in trace.read(log, name)]


def comparable(log: transit.Log, name: str) -> list[Any]:
    """The events of a stream without what differs from run to run."""
    found = []
    for each in trace.read(log, name):
        event: Any = each.event
        left = {key: getattr(event, key) for key in event.__struct_fields__}
        for key in (
            "call_id",
            "tool_call_id",
            "artifact_id",
            "subject_ref",
            "duration_ns",
            "request",
            "totals",
        ):
            left.pop(key, None)
        if isinstance(left.get("error"), trace.ErrorInfo):
            left["error"] = (left["error"].type, left["error"].message)
        found.append((type(event).__name__, left))
    return found


# From the recording alone


def test_a_replay_gives_what_was_recorded_reaches_nothing_and_writes_nothing(
    log: transit.Log,
) -> None:
    first = record(log, agent)
    before = log.status().records
    with trace.replay(log, "t") as replay:
        assert trace.current() is replay
        assert (replay.steps, replay.last, replay.live) == (0, None, False)
        assert agent() == first
    assert (replay.steps, replay.live, replay.name) == (4, False, "t")
    assert reached == []
    assert log.status().records == before
    assert trace.current() is None


def test_a_replay_works_on_a_store_opened_to_read(log: transit.Log) -> None:
    first = record(log, agent)
    log.seal()
    with transit.open(log.path, mode="read") as reader, trace.replay(reader, "t"):
        assert agent() == first


def test_a_replay_by_the_stream_or_of_a_branch_is_the_same(log: transit.Log) -> None:
    first = record(log, agent)
    branch = log.stream("t").branch("b")
    for stream in (log.stream("t"), branch, "b"):
        with trace.replay(log, stream):
            assert agent() == first
    with pytest.raises(transit.NotFoundError):
        trace.replay(log, "nobody")
    with pytest.raises(transit.InvalidInputError):
        trace.replay(log, 5)  # type: ignore[arg-type]


def test_a_replay_of_an_exception_ends_as_the_run_did(log: transit.Log) -> None:
    def program() -> None:
        get("a")
        get("bad")

    for run in (lambda: trace.task(log, "t"), lambda: trace.replay(log, "t")):
        with pytest.raises(ValueError, match="no bad"), run():
            program()
    assert reached == ["a", "bad"]


# Divergence

PROGRAMS: list[tuple[str, Callable[[], object], int, str, str]] = [
    ("another name", lambda: (get("a"), here().call("put", {"url": "b", "n": 1}, print)), 2,
     'get({"url":"b","n":1})', 'put({"url":"b","n":1})'),
    ("another argument", lambda: (get("a"), get("c")), 2,
     'get({"url":"b","n":1})', 'get({"url":"c","n":1})'),
    ("another default", lambda: (get("a"), get("b", 2)), 2,
     'get({"url":"b","n":1})', 'get({"url":"b","n":2})'),
    ("another order", lambda: (get("b"), get("a")), 0,
     'get({"url":"a","n":1})', 'get({"url":"b","n":1})'),
    ("one left out", lambda: (get("b"), get("bad")), 0,
     'get({"url":"a","n":1})', 'get({"url":"b","n":1})'),
    ("too many", lambda: (get("a"), get("b"), try_bad(), get("d")), 7,
     "no further call", 'get({"url":"d","n":1})'),
    ("too few", lambda: (get("a"), get("b")), 4,
     'get({"url":"bad","n":1})', "the end of the program"),
    ("none", lambda: None, 0, 'get({"url":"a","n":1})', "the end of the program"),
    ("much longer", lambda: get("x" * 1000), 0,
     'get({"url":"a","n":1})', 'get({"url":"' + "x" * 192 + "…)"),
    ("awaited", lambda: (get("a"), asyncio.run(fetch("b"))), 2,
     'get({"url":"b","n":1})', 'fetch({"url":"b","rounds":1})'),
]  # fmt: skip


def try_bad() -> None:
    with pytest.raises(ValueError, match="no bad"):
        get("bad")


@pytest.mark.parametrize("live_from", [None, 3])
@pytest.mark.parametrize("case", PROGRAMS, ids=lambda case: case[0])
def test_the_first_difference_is_named(log: transit.Log, case: Any, live_from: int | None) -> None:
    name, program, offset, expected, actual = case
    record(log, lambda: (get("a"), get("b"), try_bad()))
    if name == "too many":
        # Otherwise the fourth call would be made.
        live_from = None
    with (
        pytest.raises(trace.ReplayDivergenceError) as caught,
        trace.replay(log, "t", live_from=live_from),
    ):
        program()
    found = caught.value
    assert (found.stream, found.offset) == ("t", offset)
    assert (found.expected, found.actual) == (expected, actual)
    assert str(found) == f"t@{offset}: expected {expected}, got {actual}"
    assert found.exit_code == 10
    assert reached == []
    assert [stream.name for stream in log.streams()] == ["t"]


def test_the_program_s_own_exception_is_not_hidden_by_what_it_left_out(log: transit.Log) -> None:
    record(log, lambda: (get("a"), get("b")))
    with pytest.raises(KeyError), trace.replay(log, "t"):
        raise KeyError(get("a")["url"])


def test_a_recording_that_was_cut_short_ends_where_it_was_cut(log: transit.Log) -> None:
    task = trace.task(log, "t")
    with task:
        get("a")
    task.stream.append(b'{"event":"call_request","call_id":"c","call_name":"get",'
                       b'"arguments":{"url":"b","n":1},"arguments_digest":"%s"}'
                       % digest_of("b"))  # fmt: skip
    reached.clear()

    def program() -> list[object]:
        return [get("a"), get("b")]

    with (
        pytest.raises(trace.ReplayDivergenceError, match="cut short") as caught,
        trace.replay(log, "t"),
    ):
        program()
    assert caught.value.offset == 3
    assert reached == []
    with trace.replay(log, "t", live_from=1) as replay:
        assert program() == [{"url": "a", "n": 1}, {"url": "b", "n": 1}]
    assert reached == ["b"]
    assert trace.read(log, replay.stream).open_calls == ()


def digest_of(url: str) -> bytes:
    data = json.dumps({"n": 1, "url": url}, separators=(",", ":")).encode()
    return blake3(data).hexdigest(16).encode()


# Live


@pytest.mark.parametrize("live_from", [0, 1, 2, 3, 4])
def test_live_from_a_call_on_calls_are_made_and_recorded_on_a_branch(
    log: transit.Log, live_from: int
) -> None:
    first = record(log, agent)
    whole, original = kinds(log, "t"), comparable(log, "t")
    cuts = [i for i, kind in enumerate(whole) if kind == "CallRequest"]
    with trace.replay(log, "t", live_from=live_from) as replay:
        found = agent()
    assert found == first, "offsets too"
    assert reached == ["a", "b", "bad", "q"][live_from:]
    assert kinds(log, "t") == whole, "what is recorded stays"
    assert replay.live == (live_from < 4)
    if live_from == 4:
        assert [stream.name for stream in log.streams("t/")] == []
        return
    branch = trace.read(log, "t/retry-1")
    assert (branch.fork_offset, branch.trace_kind) == (cuts[live_from] - 1, "retry")
    assert branch.reason == f"live from call {live_from}"
    assert comparable(log, "t/retry-1") == original
    assert (replay.name, replay.last) == ("t/retry-1", len(whole) - 1)
    assert branch.open_calls == ()
    # The branch is a recording as any other.
    reached.clear()
    with trace.replay(log, "t/retry-1"):
        assert agent() == first
    assert reached == []


@pytest.mark.parametrize("live_from", [-1, 5, True, "1", 1.0])
def test_live_from_what_is_not_recorded_is_refused(log: transit.Log, live_from: Any) -> None:
    record(log, agent)
    with pytest.raises(transit.InvalidInputError, match="live_from must be 0 to 4"):
        trace.replay(log, "t", live_from=live_from)


def test_nothing_to_branch_off_is_said_before_anything_runs(log: transit.Log) -> None:
    record(log, lambda: get("a"))
    trace.task(log, "empty")
    for name in ("t", "empty"):
        with pytest.raises(transit.InvalidInputError, match="nothing is recorded before call 0"):
            trace.replay(log, name, live_from=0)


def test_a_branch_that_is_live_has_the_name_it_was_given(log: transit.Log) -> None:
    record(log, agent)
    with trace.replay(log, "t", live_from=1, name="again"):
        agent()
    with trace.replay(log, "again", live_from=2):
        agent()
    assert trace.read(log, "t/retry-1").parents[0].stream == "again"
    with pytest.raises(transit.AlreadyExistsError), trace.replay(log, "t", live_from=1, name="t"):
        agent()


def test_a_program_that_goes_on_after_the_recording_is_recorded(log: transit.Log) -> None:
    record(log, agent)

    def more() -> None:
        agent()
        here().message("user", "and another thing")
        get("late")

    with trace.replay(log, "t", live_from=4) as replay:
        more()
    assert reached == ["late"]
    assert replay.name == "t/retry-1"
    assert kinds(log, replay.name) == [
        *kinds(log, "t"), "Message", "CallRequest", "CallResult", "RunEnd"
    ]  # fmt: skip


def test_a_program_that_died_between_calls_goes_on_from_there(log: transit.Log) -> None:
    task = trace.task(log, "t")

    def program() -> None:
        get("a")
        for n in range(3):
            here().message("user", f"message {n}")
        get("b")

    def died() -> None:
        get("a")
        task.message("user", "message 0")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), task:
        died()
    with trace.replay(log, "t", live_from=1) as replay:
        program()
    said = [
        record.event.content
        for record in trace.read(log, replay.stream)
        if isinstance(record.event, trace.Message)
    ]
    assert said == ["message 0", "message 1", "message 2"]
    assert reached == ["a", "b"]


def test_a_changed_program_may_say_more_right_before_it_is_live(log: transit.Log) -> None:
    def program(more: bool) -> None:
        get("a")
        here().message("user", "as then")
        if more:
            here().message("user", "new")
        get("b")
        here().message("user", "last")

    record(log, lambda: program(False))
    with trace.replay(log, "t", live_from=1) as replay:
        program(True)
    said = [
        record.event.content
        for record in trace.read(log, replay.stream)
        if isinstance(record.event, trace.Message)
    ]
    assert said == ["as then", "new", "last"]


def test_a_tool_whose_call_is_live_has_request_and_result_under_one_id(log: transit.Log) -> None:
    def program() -> None:
        for n in range(3):
            with here().tool("bash", n) as call:
                call.result(get(f"{n}"))

    record(log, program)
    with trace.replay(log, "t", live_from=1) as replay:
        program()
    found = trace.read(log, replay.stream)
    assert found.open_calls == ()
    ids = [r.event.tool_call_id for r in found if isinstance(r.event, trace.ToolRequest)]
    results = [r.event.tool_call_id for r in found if isinstance(r.event, trace.ToolResult)]
    assert ids == results
    assert len(set(ids)) == 3
    old = [r.event.tool_call_id for r in trace.read(log, "t")
           if isinstance(r.event, trace.ToolRequest)]  # fmt: skip
    assert ids[:2] == old[:2]
    assert ids[2] != old[2]


def test_model_calls_after_going_live_refer_to_what_the_branch_holds(log: transit.Log) -> None:
    def program() -> list[Any]:
        said: list[Any] = []
        for n in range(6):
            said.append({"role": "user", "content": f"{n}" * 40})
            answer = get(f"{n}")
            here().model_call(model="m", request=list(said), response=answer)
            said.append({"role": "assistant", "content": str(answer)})
        return said

    said = record(log, program)
    for live_from in range(1, 6):
        with trace.replay(log, "t", live_from=live_from) as replay:
            assert program() == said
        events = [record.event for record in trace.read(log, replay.stream)]
        found = [event.request for event in events if isinstance(event, trace.ModelCall)]
        assert found == [said[: 2 * n + 1] for n in range(6)]


# Branches and merges in a program


def branching() -> list[object]:
    task = here()
    task.message("user", "plan")
    found: list[object] = [get("a")]
    one = task.retry(reason="first")
    with one:
        found.append(get("in one"))
        one.message("assistant", "one")
    other = task.retry(at=0)
    with other:
        found += [get("in other"), asyncio.run(fetch("there"))]
    with task.critique(name="t/said"):
        found.append(get("said"))
    found.append(get("b"))
    one.evaluate("judge", decision="selected")
    final = trace.merge(task.log, [task, one], policy="select", reason="one is better")
    with final:
        found.append(get("in final"))
        final.checkpoint("final", status="success")
    again = trace.merge(task.log, [task, one], policy="append")
    return [*found, one.name, other.name, final.name, again.name]


def test_branches_and_merges_in_a_replay_are_those_of_then(log: transit.Log) -> None:
    first = record(log, branching)
    before = log.status()
    with trace.replay(log, "t"):
        assert branching() == first
    assert reached == []
    assert (log.status().records, log.status().streams) == (before.records, before.streams)


@pytest.mark.parametrize(
    "change",
    [
        lambda: here().retry(),
        lambda: here().critique(),
        lambda: here().alternate(),
        lambda: here().critique(name="t/other"),
        lambda: trace.merge(here().log, [here()], policy="append"),
    ],
)
def test_a_branch_or_merge_that_was_not_made_then_is_a_difference(
    log: transit.Log, change: Any
) -> None:
    record(log, branching)
    with pytest.raises(trace.ReplayDivergenceError, match="no further"), trace.replay(log, "t"):
        print(branching(), change())


def test_a_branch_a_replay_made_is_none_of_the_program_s(log: transit.Log) -> None:
    first = record(log, lambda: (here().message("user", "x"), get("a")))
    with trace.replay(log, "t", live_from=0):
        here().message("user", "x")
        get("a")
    assert "t/retry-1" in log
    with (
        pytest.raises(trace.ReplayDivergenceError, match="no further retry"),
        trace.replay(log, "t"),
    ):
        here().retry()
    assert first


def test_a_branch_that_leaves_a_call_out_is_a_difference(log: transit.Log) -> None:
    def program() -> None:
        here().message("user", "plan")
        get("a")
        with pytest.raises(trace.ReplayDivergenceError) as caught, here().retry():
            pass
        assert caught.value.stream == "t/retry-1"
        raise ValueError("whatever the program does then")

    record(log, branching)
    with pytest.raises(trace.ReplayDivergenceError, match="t/retry-1"), trace.replay(log, "t"):
        program()


def test_once_live_branches_and_merges_are_made(log: transit.Log) -> None:
    first = record(log, branching)
    streams = log.status().streams
    with trace.replay(log, "t", live_from=1) as replay:
        found = branching()
    # The retries before the point were answered, and so were their calls; the merges are new.
    assert reached == ["b", "in final"]
    assert found[:6] == first[:6]
    assert replay.name == "t/retry-3"
    assert log.status().streams == streams + 3
    merged = trace.read(log, str(found[-2]))
    assert [parent.stream for parent in merged.parents] == ["t/retry-3", "t/retry-1"]
    assert log.verify().ok


# Several at once


async def worker(name: str, rounds: list[int]) -> list[str]:
    found = []
    for n, round_ in enumerate(rounds):
        found.append(await fetch(f"{name}{n}", round_))
        here().message("assistant", f"{name}{n}")
    return found


def gathering() -> Any:
    async def main() -> Any:
        here().message("user", "go")
        # Of different speeds, and two that ask for the same.
        return await asyncio.gather(
            worker("a", [5, 1, 1]), worker("b", [1, 1, 6]), worker("b", [2, 2, 2])
        )

    return asyncio.run(main())


def said(log: transit.Log, name: str) -> list[object]:
    events = [record.event for record in trace.read(log, name)]
    return [event.content for event in events if isinstance(event, trace.Message)]


def test_gathered_coroutines_get_their_own_outcomes_in_the_order_of_then(log: transit.Log) -> None:
    first = record(log, gathering)
    with trace.replay(log, "t") as replay:
        assert gathering() == first
    assert replay.steps == 9
    assert reached == []


@pytest.mark.parametrize("live_from", range(10))
def test_gathered_coroutines_go_live_at_any_call(log: transit.Log, live_from: int) -> None:
    first = record(log, gathering)
    with trace.replay(log, "t", live_from=live_from) as replay:
        assert gathering() == first
    assert len(reached) == 9 - live_from
    if live_from == 9:
        return
    branch = trace.read(log, replay.stream)
    found = [record.event for record in branch]
    assert len([event for event in found if isinstance(event, trace.CallRequest)]) == 9
    assert len([event for event in found if isinstance(event, trace.CallResult)]) == 9
    assert branch.open_calls == ()
    assert sorted(map(str, said(log, replay.name))) == sorted(map(str, said(log, "t")))
    requested = {e.call_id: e.arguments for e in found if isinstance(e, trace.CallRequest)}
    for event in found:
        if isinstance(event, trace.CallResult):
            assert event.result == requested[event.call_id]["url"] * 2


def test_outcomes_come_in_the_order_of_then(log: transit.Log) -> None:
    def program() -> list[str]:
        ended = []

        async def one(name: str, rounds: int) -> None:
            await fetch(name, rounds)
            ended.append(name)

        async def main() -> None:
            here().message("user", "go")
            await asyncio.gather(one("slow", 9), one("middle", 5), one("quick", 1))
            await fetch("last")

        asyncio.run(main())
        return ended

    first = record(log, program)
    assert first == ["quick", "middle", "slow"]
    with trace.replay(log, "t"):
        assert program() == first
    with trace.replay(log, "t", live_from=2) as replay:
        program()
    found = [record.event for record in trace.read(log, replay.stream)]
    names = {e.call_id: e.arguments["url"] for e in found if isinstance(e, trace.CallRequest)}
    results = [names[e.call_id] for e in found if isinstance(e, trace.CallResult)]
    assert results[:2] == ["middle", "slow"], "those brought along, as they came then"


def test_an_outcome_that_was_recorded_after_the_fork_is_brought_along(log: transit.Log) -> None:
    def program() -> Any:
        async def main() -> Any:
            here().message("user", "go")
            return await asyncio.gather(fetch("slow", 9), fetch("quick", 1))

        return asyncio.run(main())

    first = record(log, program)
    assert kinds(log, "t")[1:5] == ["CallRequest", "CallRequest", "CallResult", "CallResult"]
    with trace.replay(log, "t", live_from=1) as replay:
        assert program() == first
    assert reached == ["quick"]
    assert kinds(log, replay.name)[:2] == ["Message", "CallRequest"]
    assert trace.read(log, replay.stream).fork_offset == 1
    assert trace.read(log, replay.stream).open_calls == ()
    original = [r.event for r in trace.read(log, "t") if isinstance(r.event, trace.CallResult)]
    brought = trace.read(log, replay.stream)
    results = [record.event for record in brought if isinstance(record.event, trace.CallResult)]
    assert next(event for event in original if event.result == "slowslow") in results


def test_a_gathered_program_that_differs_is_found_out(log: transit.Log) -> None:
    def program(names: str) -> None:
        async def main() -> None:
            await asyncio.gather(*(worker(name, [1, 1]) for name in names))

        asyncio.run(main())

    record(log, lambda: program("ab"))
    for names, actual in (("ac", "c0"), ("a", "the end"), ("abc", "c0")):
        with (
            pytest.raises(trace.ReplayDivergenceError, match=f"got .*{actual}"),
            trace.replay(log, "t"),
        ):
            program(names)
    with trace.replay(log, "t"):
        # The same calls, begun in another order.
        program("ba")
    assert reached == []


def test_a_wait_the_program_cut_short_is_cut_short_again(log: transit.Log) -> None:
    @trace.recorded("forever")
    async def forever() -> None:
        reached.append("forever")
        await asyncio.sleep(600)

    async def main() -> list[str]:
        found = []
        for _ in range(2):
            try:
                await asyncio.wait_for(forever(), 0.01)
            except TimeoutError:
                found.append("timed out")
            found.append(await fetch("next"))
        return found

    first = record(log, lambda: asyncio.run(main()))
    assert first == ["timed out", "nextnext"] * 2
    with trace.replay(log, "t"):
        assert asyncio.run(main()) == first
    assert reached == []


def test_a_program_that_was_cancelled_in_a_call_does_not_wait_for_ever(log: transit.Log) -> None:
    @trace.recorded("forever")
    async def forever() -> None:
        await asyncio.sleep(600)

    async def cancelled() -> None:
        with trace.task(log, "t"):
            await forever()

    async def main() -> None:
        running = asyncio.create_task(cancelled())
        await asyncio.sleep(0)
        running.cancel()
        await running

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(main())
    with pytest.raises(asyncio.CancelledError), trace.replay(log, "t"):
        asyncio.run(forever())


def test_calls_in_threads_one_after_another_are_replayed(log: transit.Log) -> None:
    async def main() -> list[object]:
        return [await asyncio.to_thread(get, "a"), await fetch("b"), get("c")]

    first = record(log, lambda: asyncio.run(main()))
    for live_from in (None, 3):
        with trace.replay(log, "t", live_from=live_from):
            assert asyncio.run(main()) == first
    assert reached == []
