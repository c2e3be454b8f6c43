"""Events as records: every kind there and back, what is refused, what is not known."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, get_args

import pytest

import transit
from transit import trace
from transit.trace.events import (
    CallStatus,
    CheckpointKind,
    CheckpointStatus,
    EndStatus,
    ToolStatus,
    Unknown,
    decode_event,
    encode_json,
)

ERROR = trace.ErrorInfo(
    type="ValueError",
    message="no",
    traceback="…",
    args=("no", 1, None),
    state={"a": 1},
    bases=("m.C",),
    lost=("b: object",),
    cause=trace.ErrorInfo(type="KeyboardInterrupt", is_exit=True),
)

EVENTS: list[Any] = [
    trace.Message(message=3),
    trace.ChildRun(run="r/child", uid="0" * 32),
    trace.ModelCall(
        request_model="m",
        operation="chat",
        provider="p",
        response_model="m-1",
        response_id="r",
        finish_reasons=("stop", "length"),
        input_tokens=0,
        output_tokens=7,
        usage={"cached": 3},
        request={"part": 0, "fields": {"messages": [[1, 2]]}},
        response=4,
    ),
    trace.ToolRequest(tool_call_id="1", tool_name="t", arguments={"a": [1, None, "x"]}),
    *[
        trace.ToolResult(tool_call_id="1", tool_name="t", tool_status=status)
        for status in get_args(ToolStatus)
    ],
    trace.ToolResult(
        tool_call_id="1",
        tool_name="t",
        tool_status="failure",
        result={"code": 1},
        artifact_id="a",
        error=ERROR,
        duration_ns=5,
    ),
    trace.CallRequest(call_id="c", call_name="n", arguments=[1], arguments_digest="d"),
    *[
        trace.CallResult(call_id="c", call_name="n", call_status=status)
        for status in get_args(CallStatus)
    ],
    trace.CallResult(call_id="c", call_name="n", call_status="failure", error=ERROR),
    trace.CallChunk(call_id="c", value={"$type": "tuple", "value": []}, not_replayable="x"),
    trace.ModelRequest(model_id="i", request_model="m", provider="p", request=1),
    trace.ModelChunk(model_id="i", data=2),
    trace.ModelResponse(
        model_id="i",
        model_status="success",
        request_model="m",
        response_model="m-1",
        finish_reasons=("stop",),
        input_tokens=1,
        output_tokens=2,
        usage={"cached": 1},
        response=3,
        duration_ns=7,
    ),
    trace.ModelResponse(model_id="i", model_status="failure", request_model="m", error=ERROR),
    trace.ChildRun(run="r", uid="u", start=3, lane="a1"),
    trace.Manifest(data={"python": "3.11"}),
    trace.Evaluation(
        evaluator_id="e", subject_ref="s@1", decision="selected", score=0.5, reason="r"
    ),
    *[
        trace.Checkpoint(checkpoint_kind=kind, status=status, reason="r")
        for kind in get_args(CheckpointKind)
        for status in get_args(CheckpointStatus)
    ],
    trace.Artifact(
        artifact_id="a",
        kind="k",
        ref="artifact/d",
        content_type="text/plain",
        byte_length=3,
        digest="d",
        producer_id="p",
        subject_ref="s@1",
    ),
    *[trace.RunEnd(status=status, error=ERROR) for status in get_args(EndStatus)],
    trace.Custom(name="mine", data={"value": 1}),
    trace.Note(name="correct", score=True, label="yes", author="ada", at=3, noted_at=7),
]


def test_the_statuses_are_those_of_the_contract() -> None:
    assert set(get_args(ToolStatus)) == {"success", "failure", "timeout", "partial"}
    assert set(get_args(CheckpointKind)) == {"final", "intermediate", "handoff", "resume"}
    assert set(get_args(CheckpointStatus)) == {"success", "incomplete", "failed", "superseded"}


def test_every_kind_is_here() -> None:
    kinds = get_args(trace.Event)
    assert {type(event) for event in EVENTS} == set(kinds)


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_comes_back_from_its_record(event: Any) -> None:
    payload = encode_json(event)
    assert decode_event(payload) == event
    assert json.loads(payload)["event"] == event.__struct_config__.tag


def test_models_have_the_names_of_the_conventions() -> None:
    members = json.loads(encode_json(EVENTS[2]))
    assert "gen_ai.operation.name" not in members, "it is at its default"
    assert {
        "gen_ai.request.model": "m",
        "gen_ai.provider.name": "p",
        "gen_ai.response.model": "m-1",
        "gen_ai.response.id": "r",
        "gen_ai.response.finish_reasons": ["stop", "length"],
        "gen_ai.usage.input_tokens": 0,
        "gen_ai.usage.output_tokens": 7,
    }.items() <= members.items()


# Through a task and back


def record_all(task: trace.Task) -> list[Any]:
    """One event of each way to record; what reading should give."""
    task.message("user", [{"type": "text", "text": "hello"}], name="ada")
    task.model_call(
        model="m",
        request={"messages": [{"role": "user", "content": "x" * 40}], "n": 1},
        response={"role": "assistant", "content": "y", "model": "m-1"},
        usage={"input_tokens": 3, "output_tokens": 0, "cached": 1},
        operation="text_completion",
        provider="p",
        response_id="r",
        finish_reasons=["stop"],
    )
    task.evaluate("judge", decision="rejected", score=-1.5, reason="why", subject="elsewhere@4")
    task.checkpoint("handoff", status="incomplete", reason="tired")
    artifact = task.artifact(
        b"data", kind="patch", content_type="text/x-diff", artifact_id="a", producer_id="p"
    )
    task.custom("mine", {"deep": {"er": [1, 2.5, None, True, "x" * 50]}})
    return [
        trace.Message(
            message={
                "role": "user", "content": [{"type": "text", "text": "hello"}], "name": "ada"
            }
        ),
        trace.ModelCall(
            request_model="m",
            operation="text_completion",
            provider="p",
            response_model="m-1",
            response_id="r",
            finish_reasons=("stop",),
            input_tokens=3,
            output_tokens=0,
            usage={"cached": 1},
            request={"messages": [{"role": "user", "content": "x" * 40}], "n": 1},
            response={"role": "assistant", "content": "y", "model": "m-1"},
        ),
        trace.Evaluation(
            evaluator_id="judge",
            subject_ref="elsewhere@4",
            decision="rejected",
            score=-1.5,
            reason="why",
        ),
        trace.Checkpoint(checkpoint_kind="handoff", status="incomplete", reason="tired"),
        artifact,
        trace.Custom(name="mine", data={"deep": {"er": [1, 2.5, None, True, "x" * 50]}}),
    ]  # fmt: skip


def test_what_is_recorded_is_read_back_in_order(log: transit.Log) -> None:
    task = trace.task(log, "t")
    expected = record_all(task)
    found = list(trace.read(log, "t"))
    assert [record.event for record in found] == expected
    assert [record.offset for record in found] == list(range(len(expected)))
    message = found[0].event
    assert isinstance(message, trace.Message)
    assert (message.role, message.content) == ("user", [{"type": "text", "text": "hello"}])


def test_every_record_of_a_task_is_json_that_says_its_kind(log: transit.Log) -> None:
    task = trace.task(log, "t")
    record_all(task)
    assert log.stream("t").codec == "json"
    kinds = [json.loads(record.payload)["event"] for record in log.stream("t")]
    assert kinds == ["message", "model_call", "evaluation", "checkpoint", "artifact", "custom"]


# Refused

HALF = "\ud83d"
BAD: list[Any] = [float("nan"), float("inf"), object(), {"deep": [{1, object()}]}, 1j]

Record = Callable[[trace.Task, Any], object]
# Each puts a value into another field.
RECORDERS: dict[str, Record] = {
    "message content": lambda task, value: task.message("user", value),
    "message field": lambda task, value: task.message("user", "", extra=value),
    "request": lambda task, value: task.model_call(model="m", request=value),
    "request member": lambda task, value: task.model_call(model="m", request={"a": value}),
    "request item": lambda task, value: task.model_call(
        model="m", request={"messages": [{"role": "user", "content": value}]}
    ),
    "response": lambda task, value: task.model_call(model="m", response=[{"a": value}]),
    "usage": lambda task, value: task.model_call(model="m", usage={"a": value}),
    "tool arguments": lambda task, value: task.tool("t", {"a": value}),
    "tool result": lambda task, value: task.tool("t").result(value),
    "call arguments": lambda task, value: task.call("n", [value], lambda value: None),
    "call result": lambda task, value: task.call("n", [], lambda: value),
    "custom": lambda task, value: task.custom("c", value),
}


@pytest.mark.parametrize("value", BAD, ids=["nan", "inf", "object", "deep", "complex"])
@pytest.mark.parametrize("place", RECORDERS)
def test_what_is_not_json_is_recorded_as_it_says_of_itself(
    log: transit.Log, place: str, value: Any
) -> None:
    task = trace.task(log, "t")
    RECORDERS[place](task, value)
    before = list(log.stream("t"))
    assert before
    assert not any(b"null" in record.payload for record in before)
    task.message("user", "still here")
    *_, last = trace.read(log, "t")
    assert isinstance(last.event, trace.Message)
    assert not any(isinstance(record.event, Unknown) for record in trace.read(log, "t"))


@pytest.mark.parametrize(
    "value",
    [f"broken {HALF}", {"k" + HALF: [HALF]}, 2**70, -(2**90), "null", [None, "null"], "é😀\0"],
    ids=ascii,
)
@pytest.mark.parametrize("place", RECORDERS)
def test_odd_values_are_recorded_and_references_stay_right(
    log: transit.Log, place: str, value: Any
) -> None:
    task = trace.task(log, "t")
    RECORDERS[place](task, value)
    RECORDERS[place](task, value)
    request = {"messages": [{"role": "user", "content": value}, {"role": "user", "content": "b"}]}
    task.model_call(model="m", request=request)
    *_, last = trace.read(log, "t")
    assert isinstance(last.event, trace.ModelCall)
    assert last.event.request == request
    # A task that did not write it reads the same parts.
    again = trace.resume(log, "t")
    again.model_call(model="m", request=request)
    *_, last = trace.read(log, "t")
    assert isinstance(last.event, trace.ModelCall)
    assert last.event.request == request
    assert b'"parts":[]' in last.payload
    assert ascii(value) in ascii([record.event for record in trace.read(log, "t")])


REFUSED: dict[str, Callable[[trace.Task], object]] = {
    "role": lambda task: task.message("", "x"),
    "role type": lambda task: task.message(1, "x"),  # type: ignore[arg-type]
    "model": lambda task: task.model_call(model=""),
    "provider": lambda task: task.model_call(model="m", provider=1),  # type: ignore[arg-type]
    "operation": lambda task: task.model_call(model="m", operation=None),  # type: ignore[arg-type]
    "response id": lambda task: task.model_call(model="m", response_id=1),  # type: ignore[arg-type]
    "one reason": lambda task: task.model_call(model="m", finish_reasons="stop"),
    "reasons": lambda task: task.model_call(model="m", finish_reasons=[1]),  # type: ignore[list-item]
    "usage": lambda task: task.model_call(model="m", usage=[1]),  # type: ignore[arg-type]
    "tool": lambda task: task.tool(""),
    "tool call id": lambda task: task.tool("t", tool_call_id=""),
    "failure text": lambda task: task.tool("t").failure(1),  # type: ignore[arg-type]
    "timeout text": lambda task: task.tool("t").timeout(None),  # type: ignore[arg-type]
    "duration": lambda task: task.tool("t").result(1, duration_ns=-1),
    "evaluator": lambda task: task.evaluate("", decision="x"),
    "decision": lambda task: task.evaluate("e", decision=""),
    "score": lambda task: task.evaluate("e", decision="x", score="high"),  # type: ignore[arg-type]
    "score of truth": lambda task: task.evaluate("e", decision="x", score=True),
    "score nan": lambda task: task.evaluate("e", decision="x", score=float("nan")),
    "subject": lambda task: task.evaluate("e", decision="x", subject=1),  # type: ignore[arg-type]
    "kind": lambda task: task.checkpoint("done", status="success"),
    "no kind": lambda task: task.checkpoint("", status="success"),
    "kind type": lambda task: task.checkpoint(["final"], status="success"),  # type: ignore[arg-type]
    "status": lambda task: task.checkpoint("final", status="ok"),
    "reason": lambda task: task.checkpoint("final", status="success", reason=1),  # type: ignore[arg-type]
    "artifact text": lambda task: task.artifact("text", kind="k"),  # type: ignore[arg-type]
    "artifact kind": lambda task: task.artifact(b"", kind=""),
    "artifact id": lambda task: task.artifact(b"", kind="k", artifact_id=""),
    "content type": lambda task: task.artifact(b"", kind="k", content_type=1),  # type: ignore[arg-type]
    "custom name": lambda task: task.custom(""),
    "call name": lambda task: task.call("", [], print),
    "call arguments": lambda task: task.call("n", "text", print),
    "more arguments": lambda task: task.call("n", 5, print),  # type: ignore[arg-type]
    "branch reason": lambda task: task.retry(reason=1),  # type: ignore[arg-type]
    "branch actor": lambda task: task.critique(actor=1),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_record_could_not_say_again_is_refused(log: transit.Log, case: str) -> None:
    task = trace.task(log, "t")
    task.message("user", "x")
    with pytest.raises(transit.InvalidInputError):
        REFUSED[case](task)
    assert not any(isinstance(record.event, Unknown) for record in trace.read(log, "t"))
    assert [stream.name for stream in log.streams()] == ["t"]


# Not known

FOREIGN: list[tuple[bytes, str, Any]] = [
    (b"", "", None),
    (b"\xff\xfe", "", None),
    (b"not json", "", None),
    (b"[" * 100_000, "", None),
    (b"7", "", 7),
    (b'"message"', "", "message"),
    (b'["event"]', "", ["event"]),
    (b"{}", "", {}),
    (b'{"event":3}', "", {"event": 3}),
    (b'{"event":"reflection","depth":2}', "reflection", {"event": "reflection", "depth": 2}),
    (b'{"event":"message"}', "message", {"event": "message"}),
    (b'{"event":"message","message":"hi"}', "message", {"event": "message", "message": "hi"}),
    (b'{"event":"message","message":-1}', "message", {"event": "message", "message": -1}),
    (b'{"event":"message","message":true}', "message", {"event": "message", "message": True}),
    (b'{"event":"custom","name":"a","data":{"x":1}}', "custom",
     {"event": "custom", "name": "a", "data": {"x": 1}}),
    (b'{"event":"custom","name":"a","data":{}}', "custom",
     {"event": "custom", "name": "a", "data": {}}),
    (b'{"event":"custom","name":"a","data":[[0,0]]}', "custom",
     {"event": "custom", "name": "a", "data": [[0, 0]]}),
    (b'{"event":"checkpoint","checkpoint_kind":"pause","status":"success"}', "checkpoint",
     {"event": "checkpoint", "checkpoint_kind": "pause", "status": "success"}),
    (b'{"event":"tool_result","tool_call_id":"1","tool_name":"t","tool_status":"lost"}',
     "tool_result",
     {"event": "tool_result", "tool_call_id": "1", "tool_name": "t", "tool_status": "lost"}),
    (b'{"event":"run_end","status":"paused"}', "run_end", {"event": "run_end", "status": "paused"}),
]  # fmt: skip


@pytest.mark.parametrize(("payload", "kind", "data"), FOREIGN)
def test_what_is_not_known_is_kept_whole(
    log: transit.Log, payload: bytes, kind: str, data: Any
) -> None:
    task = trace.task(log, "t")
    task.message("user", "before" * 9)
    task.stream.append(payload)
    task.model_call(model="m", request=[{"role": "user", "content": "before" * 9}])
    _, foreign, after = trace.read(log, "t")
    assert foreign.event == Unknown(kind, data)
    assert foreign.payload == payload
    assert isinstance(after.event, trace.ModelCall)
    assert after.event.request == [{"role": "user", "content": "before" * 9}]


def test_a_newer_member_of_a_known_kind_is_in_the_payload(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.stream.append(b'{"event":"run_end","status":"failed","mood":"bad"}')
    (record,) = trace.read(log, "t")
    assert record.event == trace.RunEnd(status="failed")
    assert b'"mood":"bad"' in record.payload
