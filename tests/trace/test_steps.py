"""Steps: which outcome belongs to which request, and what is inside what."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import transit
from transit import Position, trace
from transit.trace import EventRecord, Step
from transit.trace.events import encode_json
from transit.trace.steps import DEPTH_MAX, StepReader

from .shared_files import shared_files

Outline = list[Any]


def outline(steps: list[Step]) -> Outline:
    """The names of steps, each followed by those inside it, if there are any."""
    found: Outline = []
    for step in steps:
        found.append(step.name or step.kind)
        if step.steps:
            found.append(outline(step.steps))
    return found


def steps_of(log: transit.Log, name: str) -> list[Step]:
    return trace.read(log, name).steps()


def test_what_is_done_while_one_tool_is_open_is_inside_it(log: transit.Log) -> None:
    with trace.task(log, "t") as task:
        with task.tool("agent") as call:
            task.model_call(model="m", request=[], response="")
            with task.tool("bash"):
                task.message("system", "from the shell")
            call.result("done")
        task.message("user", "thanks")
    assert outline(steps_of(log, "t")) == ["agent", ["m", "bash", ["system"]], "user", "end"]


def test_tools_that_a_model_asked_for_at_once_are_beside_each_other(log: transit.Log) -> None:
    with trace.task(log, "t") as task:
        one, two = task.tool("one"), task.tool("two")
        task.message("system", "of both or none")
        two.result("2")
        one.result("1")
    assert outline(steps_of(log, "t")) == ["one", "two", "system", "end"]


def test_tools_asked_for_at_once_inside_a_tool_are_beside_each_other_in_it(
    log: transit.Log,
) -> None:
    with trace.task(log, "t") as task:
        outer = task.tool("agent")
        task.model_call(model="m")
        one, two = task.tool("one"), task.tool("two")
        task.message("system", "between")
        one.result("1")
        task.message("system", "in two")
        two.result("2")
        outer.result("0")
    # The second message came while `two` alone was open.
    inside = ["m", "one", "two", ["system"], "system"]
    assert outline(steps_of(log, "t")) == ["agent", inside, "end"]


def test_what_a_recorded_function_records_is_inside_its_call(log: transit.Log) -> None:
    @trace.recorded("fetch")
    def fetch(url: str) -> str:
        found = trace.current()
        assert found is not None
        found.message("system", url)
        return url

    with trace.task(log, "t") as task:
        fetch("a")
        task.message("user", "not inside")
    assert outline(steps_of(log, "t")) == ["fetch", ["system"], "user", "end"]


def test_concurrent_calls_of_recorded_functions_hold_nothing_of_others(log: transit.Log) -> None:
    @trace.recorded("fetch")
    async def fetch(n: int) -> int:
        await asyncio.sleep(0)
        return n

    async def program() -> None:
        async with trace.task(log, "t") as task:
            calls = asyncio.gather(fetch(1), fetch(2))
            await asyncio.sleep(0)
            task.message("user", "meanwhile")
            await calls

    asyncio.run(program())
    assert outline(steps_of(log, "t")) == ["fetch", "fetch", "user", "end"]


def test_a_call_that_outlives_the_one_around_it_was_beside_it(log: transit.Log) -> None:
    with trace.task(log, "t") as task:
        outer = task.tool("outer")
        task.message("system", "inside")
        inner = task.tool("inner")
        outer.result("1")
        inner.result("2")
    assert outline(steps_of(log, "t")) == ["outer", ["system"], "inner", "end"]


def test_outcomes_go_to_the_request_they_name_though_the_id_is_the_same(log: transit.Log) -> None:
    with trace.task(log, "t") as task:
        one, two = (task.tool("bash", n, tool_call_id="call_0") for n in (1, 2))
        one.result("of one")
        two.failure("of two")
    one_step, two_step, _ = steps_of(log, "t")
    assert (one_step.input, one_step.output, one_step.status) == (1, "of one", "success")
    assert (two_step.input, two_step.status, two_step.failed) == (2, "failure", True)
    assert two_step.error is not None
    assert two_step.error.message == "of two"


def test_an_outcome_without_a_request_is_a_step(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.record(trace.ToolResult(tool_call_id="x", tool_name="bash", tool_status="success"))
    task.record(trace.ModelChunk(model_id="gone", data="a"))
    (result, chunk) = steps_of(log, "t")
    assert (result.kind, result.name, result.status) == ("tool", "bash", "success")
    assert result.last is result.first
    assert (chunk.kind, chunk.chunks) == ("model", [])


def test_a_call_whose_outcome_was_lost_holds_nothing_once_the_run_has_ended(
    log: transit.Log,
) -> None:
    with trace.task(log, "t") as task:
        task.tool("lost")
        task.message("user", "after it")
        with task.tool("bash"):
            pass
    steps = steps_of(log, "t")
    assert outline(steps) == ["lost", "user", "bash", "end"]
    assert (steps[0].status, steps[0].failed, steps[0].duration_ns) == ("open", False, None)


def test_a_run_that_was_killed_shows_in_which_call_it_was(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.tool("agent")
    task.model_call(model="m")
    task.tool("bash")
    assert outline(steps_of(log, "t")) == ["agent", ["m", "bash"]]


def test_what_a_resumed_run_does_is_in_no_call_of_before(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.tool("agent")
    task.message("user", "inside")
    with trace.resume(log, "t") as task:
        task.message("user", "go on")
    assert outline(steps_of(log, "t")) == ["agent", ["user"], "resume", "user", "end"]


def test_a_model_call_is_one_step_with_its_chunks(log: transit.Log) -> None:
    with trace.task(log, "t") as task:
        with task.model("m", {"messages": [{"role": "user", "content": "hi"}]}) as call:
            call.chunk("he")
            call.chunk("llo")
            call.response("hello", usage={"prompt_tokens": 3, "completion_tokens": 4})
        task.model_call(model="n", response="x", duration_ns=5, timestamp=1_000)
    first, second, _ = steps_of(log, "t")
    assert [chunk.event.data for chunk in first.chunks] == ["he", "llo"]
    assert first.input == {"messages": [{"role": "user", "content": "hi"}]}
    assert (first.output, first.tokens, first.status) == ("hello", (3, 4), "success")
    assert first.duration_ns is not None
    assert (second.begun_at, second.duration_ns, second.tokens) == (995, 5, (-1, -1))


def test_a_duration_that_was_not_told_is_that_between_the_records(log: transit.Log) -> None:
    task = trace.task(log, "t")
    request = trace.ToolRequest(tool_call_id="a", tool_name="bash")
    task.record(request, timestamp=1_000)
    result = trace.ToolResult(tool_call_id="a", tool_name="bash", tool_status="success")
    task.record(result, timestamp=4_000)
    (step,) = steps_of(log, "t")
    assert (step.begun_at, step.duration_ns) == (1_000, 3_000)


# Branches and child runs


def test_steps_that_a_branch_inherits_are_marked(log: transit.Log) -> None:
    with trace.task(log, "t") as task:
        task.message("user", "one")
        retry = task.retry()
    with retry:
        retry.message("user", "two")
    assert [step.inherited for step in steps_of(log, retry.name)] == [True, False, False]


def test_a_child_run_is_a_step_with_its_own_steps_and_its_outcome(log: transit.Log) -> None:
    with trace.task(log, "t"):
        kid = trace.task(log, "kid")
        kid.message("user", "look it up")
        kid.end(ValueError("no"))
    steps = steps_of(log, "t")
    assert outline(steps) == ["kid", ["user", "end"], "end"]
    assert (steps[0].kind, steps[0].status, steps[0].failed) == ("run", "failed", True)
    assert steps[0].steps[0].run == "kid"
    assert outline(trace.read(log, "t").steps(children=False)) == ["kid", "end"]


def test_a_run_gone_on_with_inside_another_has_the_steps_from_there(log: transit.Log) -> None:
    with trace.task(log, "kid") as kid:
        kid.message("user", "before")
    with trace.task(log, "t"), trace.resume(log, "kid") as kid:
        kid.message("assistant", "after")
    assert outline(steps_of(log, "t")) == ["kid", ["resume", "assistant", "end"], "end"]


def test_a_child_run_that_is_not_in_the_store_has_no_steps(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.record(trace.ChildRun(run="gone", uid="00" * 16))
    task.record(trace.ChildRun(run="none", uid="no uid"))
    assert outline(steps_of(log, "t")) == ["gone", "none"]


def test_runs_that_say_they_are_inside_each_other_are_read_once(log: transit.Log) -> None:
    one, two = trace.task(log, "one"), trace.task(log, "two")
    one.record(trace.ChildRun(run="two", uid=two.stream.uid))
    two.record(trace.ChildRun(run="one", uid=one.stream.uid))
    two.record(trace.ChildRun(run="two", uid=two.stream.uid))
    assert outline(steps_of(log, "one")) == ["two", ["one", ["two"], "two"]]


def test_runs_are_read_so_many_levels_deep(log: transit.Log) -> None:
    tasks = [trace.task(log, f"{n}") for n in range(DEPTH_MAX + 3)]
    for n, task in enumerate(tasks[:-1]):
        task.record(trace.ChildRun(run=f"{n + 1}", uid=tasks[n + 1].stream.uid))
    step, depth = steps_of(log, "0")[0], 1
    while step.steps:
        step, depth = step.steps[0], depth + 1
    assert depth == DEPTH_MAX + 1


# Anything


def made(offset: int, event: Any, *, in_call: bool) -> EventRecord:
    headers = {"in_call": "true"} if in_call else {}
    return EventRecord(offset, offset, Position("t", offset), event, encode_json(event), headers)


IDS = st.sampled_from(("a", "b"))
EVENTS = st.one_of(
    st.builds(trace.ToolRequest, tool_call_id=IDS, tool_name=IDS),
    st.builds(
        trace.ToolResult, tool_call_id=IDS, tool_name=IDS, tool_status=st.just("success"),
        request=st.integers(-1, 12),
    ),
    st.builds(
        trace.CallRequest, call_id=IDS, call_name=IDS, arguments=st.none(),
        arguments_digest=st.just(""),
    ),
    st.builds(trace.CallResult, call_id=IDS, call_name=IDS, call_status=st.just("failure")),
    st.builds(trace.CallChunk, call_id=IDS),
    st.builds(trace.ModelRequest, model_id=IDS, request_model=IDS),
    st.builds(trace.ModelChunk, model_id=IDS),
    st.builds(
        trace.ModelResponse, model_id=IDS, request_model=IDS, model_status=st.just("success"),
    ),
    st.builds(trace.Message, message=st.just({"role": "user"})),
    st.builds(trace.RunEnd, status=st.just("completed")),
    st.builds(
        trace.Checkpoint, checkpoint_kind=st.sampled_from(("resume", "final")),
        status=st.just("incomplete"),
    ),
    st.builds(trace.Unknown, event=IDS, data=st.none()),
)  # fmt: skip


@given(st.lists(st.tuples(EVENTS, st.booleans()), max_size=25))
def test_each_record_is_in_one_step_and_steps_come_in_order(
    events: list[tuple[Any, bool]],
) -> None:
    reader = StepReader("t", 0)
    records = [made(n, event, in_call=flag) for n, (event, flag) in enumerate(events)]
    for record in records:
        reader.add(record)
    steps = [each for step in reader.steps for each in step.walk()]
    found: list[int] = []
    for step in steps:
        found.append(step.offset)
        found += [chunk.offset for chunk in step.chunks]
        found += [step.last.offset] if step.last not in (None, step.first) else []
    assert sorted(found) == [record.offset for record in records]
    for around in [reader.steps, *(step.steps for step in steps)]:
        assert [step.offset for step in around] == sorted(step.offset for step in around)
    for step in steps:
        end = step.last.offset if step.last else len(records)
        assert all(step.offset < inner.offset < end for inner in step.steps)


@pytest.mark.parametrize(
    "folder",
    ["agent-trajectories", "atif", "claude-code", "codex", "inspect", "mini-swe-agent", "openhands",
     "otlp", "swe-agent-history"],
)  # fmt: skip
def test_real_runs_have_all_their_records_in_steps(tmp_path: Path, folder: str) -> None:
    for file in shared_files(folder):
        with transit.open(tmp_path / file.name, durability="os") as log:
            runs = trace.import_file(log, file, skip_bad=True).runs
            for run in runs:
                found = trace.read(log, run)
                steps = [each for step in found.steps(children=False) for each in step.walk()]
                assert sum(
                    1 + len(step.chunks) + (step.last not in (None, step.first)) for step in steps
                ) == len(found)


# As a table


def test_steps_are_a_table_with_types(log: transit.Log) -> None:
    pa: Any = pytest.importorskip("pyarrow")
    with trace.task(log, "t") as task:
        task.model_call(
            model="m", request=["q"], response="a \ud800",
            usage={"input_tokens": 1 << 70, "output_tokens": 2},
        )  # fmt: skip
        with trace.task(log, "kid") as kid:
            kid.tool("bash", {"cmd": "ls"}).failure(ValueError("no"))
            kid.tool("never")
    table = trace.read(log, "t").to_arrow()
    assert table.schema.field("begun_at").type == pa.timestamp("ns", tz="UTC")
    rows = table.drop_columns(["begun_at"]).to_pylist()
    assert [(row["run"], row["offset"], row["end_offset"], row["depth"]) for row in rows] == [
        ("t", 0, 0, 0), ("t", 1, 3, 0), ("kid", 0, 1, 1), ("kid", 2, None, 1), ("kid", 3, 3, 1),
        ("t", 2, 2, 0),
    ]  # fmt: skip
    assert (rows[0]["input"], rows[0]["output"]) == ('["q"]', '"a \\ud800"')
    assert (rows[0]["input_tokens"], rows[0]["output_tokens"]) == (None, 2)
    assert (rows[2]["failed"], rows[2]["error_type"], rows[2]["error_message"]) == (
        True, "ValueError", "no",
    )  # fmt: skip
    assert rows[3]["status"] == "open"
    assert len(trace.read(log, "t").to_arrow(children=False)) == 3
    assert len(trace.read(log, trace.task(log, "empty").stream).to_arrow()) == 0


def test_a_data_frame_says_what_it_needs(log: transit.Log, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    trace.task(log, "t").message("user", "x")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(transit.InvalidInputError, match="pip install pandas"):
        trace.read(log, "t").to_pandas()
