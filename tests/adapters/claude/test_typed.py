"""Transcripts and hooks, read as typed events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import transit
from transit import trace

pytest.importorskip("claude_agent_sdk")

from transit.adapters.claude import TransitHooks, TransitSessionStore


def test_a_transcript_is_read_as_messages(log: transit.Log) -> None:
    lines: list[Any] = [
        {"type": "user", "uuid": "1", "message": {"role": "user", "content": "hello"}},
        {"type": "assistant", "uuid": "2", "message": {"role": "assistant", "content": "hi"}},
        {"type": "custom-title", "customTitle": "greeting"},
    ]

    async def work() -> None:
        await TransitSessionStore(log).append({"project_key": "p", "session_id": "s"}, lines)

    asyncio.run(work())
    events = [each.event for each in trace.read(log, "claude/p/s")]
    assert events[0] == trace.Message(message=lines[0]["message"])
    assert events[1] == trace.Message(message=lines[1]["message"])
    assert events[2] == trace.Custom(name="entry", data=lines[2])
    assert isinstance(events[3], trace.Custom)
    assert events[3].name == "summary"
    (run,) = trace.runs(log)
    assert run.task_id == "s"


def _told(event: str, **more: Any) -> dict[str, Any]:
    return {"hook_event_name": event, **more}


def test_hooks_are_read_as_calls_of_tools(log: transit.Log) -> None:
    bash = {"tool_name": "Bash", "tool_input": {"c": "ls"}}
    explorer = {"agent_id": "a", "agent_type": "explore"}
    told: list[dict[str, Any]] = [
        _told("UserPromptSubmit", prompt="hello"),
        _told("PreToolUse", **bash, tool_use_id="t"),
        _told("PostToolUse", **bash, tool_response="a", tool_use_id="t", duration_ms=5),
        _told("PreToolUse", **bash, tool_use_id="u"),
        _told("PostToolUseFailure", **bash, tool_use_id="u", error="no"),
        _told("SubagentStart", **explorer),
        _told("SubagentStop", **explorer, last_assistant_message="done"),
        _told("Stop"),
    ]

    async def work() -> None:
        hooks = TransitHooks(log)
        for each in told:
            given = {"session_id": "s", "cwd": "/", "transcript_path": "/t", **each}
            await hooks.record(given, each.get("tool_use_id"), None)

    asyncio.run(work())
    run = trace.read(log, "claude-hooks/s")
    assert [(each.name, each.status) for each in run.steps() if each.kind == "tool"] == [
        ("Bash", "success"), ("Bash", "failure")
    ]  # fmt: skip
    events = [each.event for each in run]
    assert events[0] == trace.Message(message={"role": "user", "content": "hello"})
    result = events[2]
    assert isinstance(result, trace.ToolResult)
    assert (result.result, result.duration_ns) == ("a", 5_000_000)
    assert isinstance(events[6], trace.CallResult)
    assert events[6].result == "done"
    assert isinstance(events[7], trace.Custom)
