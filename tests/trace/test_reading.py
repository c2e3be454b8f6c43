"""Reading: typed events in order, with how the stream came to be."""

from __future__ import annotations

import pytest

import transit
from transit import trace


def test_a_trace_says_what_was_recorded_of_its_stream(log: transit.Log) -> None:
    task = trace.task(log, "t", actor="planner", reason="asked")
    task.message("user", "x")
    task.critique(name="c", actor="critic", reason="doubts").message("user", "y")
    root, critique = trace.read(log, "t"), trace.read(log, log.stream("c"))
    assert repr(root) == "<transit.trace.Trace 't'>"
    assert (len(root), len(critique)) == (1, 2)
    assert root
    assert root.branches == ("c",)
    assert (critique.actor_id, critique.reason, critique.task_id) == ("critic", "doubts", "t")
    assert critique.trace_kind == "critique"
    assert critique.parents == (transit.Position("t", 0),)


def test_records_have_offset_time_and_origin(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.message("user", "x")
    branch = task.retry()
    branch.message("user", "y")
    plain = list(branch.stream)
    found = list(trace.read(log, branch.stream))
    for record, event in zip(plain, found, strict=True):
        assert (record.offset, record.timestamp) == (event.offset, event.timestamp)
        assert (record.origin, record.payload) == (event.origin, event.payload)
    assert [event.origin for event in found] == [("t", 0), (branch.name, 1)]


def test_a_trace_is_read_anew_each_time(log: transit.Log) -> None:
    task = trace.task(log, "t")
    found = trace.read(log, "t")
    assert list(found) == []
    assert bool(found)
    task.message("user", "x")
    reading = iter(found)
    task.message("user", "y")
    assert len(list(found)) == 2
    assert [record.offset for record in reading] in ([0], [0, 1])


def test_a_stream_that_is_no_trace_is_read_all_the_same(log: transit.Log) -> None:
    stream = log.create("plain", {"actor_id": 3, "created_at": "long ago", "trace_kind": ""})
    stream.append(b"bytes")
    stream.append(b'{"event":"message","message":{"value":{"role":"user","content":"hi"}}}')
    found = trace.read(log, "plain")
    assert (found.task_id, found.trace_kind, found.actor_id) == ("plain", "root", "")
    assert (found.reason, found.created_at, found.policy, found.ended) == ("", None, None, None)
    unknown, message = [record.event for record in found]
    assert unknown == trace.Unknown("", None)
    assert message == trace.Message(message={"role": "user", "content": "hi"})
    branch = stream.branch("b")
    assert trace.read(log, branch).trace_kind == "branch"
    merged = log.merge("m", [stream, branch], policy="append")
    assert trace.read(log, merged).trace_kind == "merge"
    assert trace.read(log, "m").policy == "append"


def test_a_message_that_is_no_object_has_no_role() -> None:
    for message in ("text", 5, None, ["role"]):
        event = trace.Message(message=message)
        assert (event.role, event.content) == ("", None)


def test_what_is_not_there_is_not_found(log: transit.Log) -> None:
    with pytest.raises(transit.NotFoundError):
        trace.read(log, "nobody")
    with pytest.raises(transit.InvalidInputError):
        trace.read(log, None)  # type: ignore[arg-type]


def test_another_process_follows_a_trace(log: transit.Log) -> None:
    task = trace.task(log, "t")
    with transit.open(log.path, mode="read") as reader:
        found = trace.read(reader, "t")
        for n in range(3):
            with task.tool("bash"):
                assert len(found.open_calls) == 1
            task.model_call(model="m", request=[{"role": "user", "content": "same"}] * (n + 1))
            *_, last = found
            assert isinstance(last.event, trace.ModelCall)
            assert last.event.request == [{"role": "user", "content": "same"}] * (n + 1)


def test_an_answer_without_its_request_is_no_open_call(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.stream.append(
        b'{"event":"tool_result","tool_call_id":"x","tool_name":"t","tool_status":"success"}'
    )
    assert trace.read(log, "t").open_calls == ()
