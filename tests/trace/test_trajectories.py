"""Trajectory documents in, and the same documents out."""

from __future__ import annotations

import json
from typing import Any

import pytest

import transit
from transit import trace


def step(n: int, **more: object) -> dict[str, Any]:
    return {
        "action": f"ls {n}", "observation": f"file {n} " * 9, "response": f"Let me look {n} " * 9,
        "thought": f"Let me look {n} " * 9, "state": {"open_file": None}, **more,
    }  # fmt: skip


def document(steps: int, **more: object) -> dict[str, Any]:
    history = [
        {"role": "system", "content": "You program. " * 9},
        {"role": "user", "content": "A demonstration. " * 9, "is_demo": True},
        {"message_type": "observation", "role": "user", "content": "Fix it. " * 9},
        *({"role": "assistant", "content": f"Let me look {n} " * 9} for n in range(steps)),
    ]
    return {
        "environment": "swe_main",
        "trajectory": [step(n, execution_time=0.5 + n) for n in range(steps)],
        "history": history,
        "info": {"exit_status": "submitted", "submission": "diff", "model_stats": {"calls": 3}},
        **more,
    }


def changed(path: tuple[str | int, ...], value: object = None) -> dict[str, Any]:
    """A document with something else at a place, or without it."""
    whole = document(2)
    inner: Any = whole
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return whole


def test_a_document_becomes_the_events_of_its_run(log: transit.Log) -> None:
    model = {"agent": {"model": {"name": "gpt-4o"}}}
    (task,) = trace.import_trajectories(log, "fix", [document(2, replay_config=model)])
    events: list[Any] = [record.event for record in trace.read(log, "fix")]
    assert [type(event).__name__ for event in events] == [
        "Message",
        *["ModelCall", "ToolRequest", "ToolResult", "Custom"] * 2,
        "Custom",
        "Custom",
        "Checkpoint",
    ]
    assert (events[0].role, events[0].content) == ("user", "Fix it. " * 9)
    assert events[1].request_model == "gpt-4o"
    assert (events[1].request, events[1].response) == (None, "Let me look 0 " * 9)
    assert events[2].arguments == "ls 0"
    assert events[2].tool_call_id == events[3].tool_call_id
    assert (events[3].result, events[3].duration_ns) == ("file 0 " * 9, 500_000_000)
    assert events[4].data["rest"]["thought"] == "Let me look 0 " * 9
    assert events[-1] == trace.Checkpoint(
        checkpoint_kind="final", status="success", reason="submitted"
    )
    assert trace.read(log, "fix").open_calls == ()
    assert (task.name, trace.read(log, "fix").reason) == ("fix", "imported")


def test_later_documents_are_retries_after_the_statement(log: transit.Log) -> None:
    other = document(1)
    other["history"][2]["content"] = "Fix it, please."
    documents = [document(3), document(1), other]
    tasks = trace.import_trajectories(log, "fix", documents)
    assert [task.name for task in tasks] == ["fix", "fix/retry-1", "fix/retry-2"]
    for task, whole in zip(tasks, documents, strict=True):
        found = trace.export_trajectory(log, task.stream)
        assert json.dumps(found) == json.dumps(whole), "the order of keys too"
        if task is not tasks[0]:
            traced = trace.read(log, task.name)
            assert (traced.fork_offset, traced.trace_kind) == (0, "retry")
    said = [r.event.content for r in trace.read(log, "fix/retry-2")
            if isinstance(r.event, trace.Message)]  # fmt: skip
    assert said == ["Fix it. " * 9, "Fix it, please."], "its own only where it is another"
    assert len(list(trace.read(log, "fix/retry-1"))) == 1 + 4 + 3


def test_requests_refer_to_the_messages_of_the_history(log: transit.Log) -> None:
    whole = document(30)
    messages = whole["history"]
    for n, each in enumerate(whole["trajectory"]):
        each["messages"] = messages[: 3 + n]
    (task,) = trace.import_trajectories(log, "fix", [whole])
    assert trace.export_trajectory(log, "fix") == whole
    stored = sum(len(record.payload) for record in task.stream)
    once = len(json.dumps({**whole, "trajectory": [step(n) for n in range(30)]}))
    assert stored < 2 * once
    assert len(json.dumps(whole)) > 5 * once


@pytest.mark.parametrize(
    "whole",
    [
        document(0),
        document(1, info={}),
        document(1, info={"exit_status": None}),
        changed(("info", "exit_status"), "exit_cost"),
        changed(("trajectory", 0, "response")),
        changed(("trajectory", 0, "execution_time"), -1),
        changed(("trajectory", 0, "execution_time"), "slow"),
        changed(("trajectory", 1, "action"), {"tool": "bash", "args": [1, 2.5]}),
        changed(("trajectory", 1, "observation"), "half \ud800"),
        changed(("trajectory", 1, "messages"), []),
        changed(("trajectory", 1, "order"), ["rest", "order"]),
        changed(("history", 2, "self"), "a member of this name"),
        changed(("rest",), {"order": 1}),
    ],
    ids=range(13),
)
def test_odd_documents_come_back_whole(log: transit.Log, whole: dict[str, Any]) -> None:
    whole["trajectory"] += [{"action": None, "observation": None, "messages": None}]
    trace.import_trajectories(log, "fix", [whole, whole])
    for name in ("fix", "fix/retry-1"):
        assert json.dumps(trace.export_trajectory(log, name)) == json.dumps(whole)
    log.seal()
    assert trace.export_trajectory(log, log.stream("fix")) == whole


@pytest.mark.parametrize(
    ("exit_status", "status"),
    [("submitted", "success"), ("exit_cost", "failed"), ("", "incomplete"), (None, "incomplete")],
)
def test_the_exit_status_is_the_last_checkpoint(
    log: transit.Log, exit_status: str | None, status: str
) -> None:
    trace.import_trajectories(log, "fix", [document(1, info={"exit_status": exit_status})])
    *_, last = trace.read(log, "fix")
    assert isinstance(last.event, trace.Checkpoint)
    assert (last.event.status, last.event.reason) == (status, exit_status or "")


def test_what_is_recorded_afterwards_does_no_harm(log: transit.Log) -> None:
    (task,) = trace.import_trajectories(log, "fix", [document(2)])
    task.evaluate("judge", decision="selected")
    with task.tool("bash") as call:
        call.result("x")
    critique = task.critique()
    critique.message("user", "well")
    for name in ("fix", critique.name):
        assert trace.export_trajectory(log, name) == document(2)


@pytest.mark.parametrize(
    ("bad", "missing"),
    [
        ({}, "trajectory"),
        (changed(("trajectory",)), "trajectory"),
        (changed(("trajectory",), {"0": 1}), "trajectory"),
        (changed(("history",)), "history"),
        (changed(("history",), ["text"]), "history"),
        (changed(("history", 2)), "no task statement"),
        (changed(("info",)), "info"),
        (changed(("info",), [1]), "info"),
        (changed(("trajectory", 1), "text"), "trajectory"),
        (changed(("trajectory", 1, "action")), "action.*trajectory"),
        (changed(("trajectory", 1, "observation")), "observation.*trajectory"),
        (changed(("environment",), float("nan")), "JSON"),
        (changed(("environment",), object()), "JSON"),
        ([], "object"),
        ("text", "object"),
    ],
)
def test_what_is_no_trajectory_is_refused_before_anything_is_written(
    log: transit.Log, bad: Any, missing: str
) -> None:
    with pytest.raises(transit.InvalidInputError, match=rf"document 1: .*{missing}"):
        trace.import_trajectories(log, "fix", [document(1), bad])
    assert list(log.streams()) == []


@pytest.mark.parametrize("documents", [[], {}, "text", None, document(1)])
def test_documents_must_be_several_in_order(log: transit.Log, documents: Any) -> None:
    with pytest.raises(transit.InvalidInputError, match="documents"):
        trace.import_trajectories(log, "fix", documents)


def test_exporting_what_was_not_imported_is_refused(log: transit.Log) -> None:
    with pytest.raises(transit.NotFoundError):
        trace.export_trajectory(log, "nobody")
    task = trace.task(log, "t")
    task.message("user", "x")
    with pytest.raises(transit.NotFoundError, match="no imported trajectory"):
        trace.export_trajectory(log, "t")
    task.custom("sweagent.step", {"order": ["action"], "rest": {}})
    with pytest.raises(transit.InvalidInputError, match="imported"):
        trace.export_trajectory(log, "t")
    other = trace.task(log, "u")
    other.custom("sweagent.rest", "text")
    with pytest.raises(transit.InvalidInputError, match="imported"):
        trace.export_trajectory(log, "u")
