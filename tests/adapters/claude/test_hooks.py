"""TransitHooks: what hooks are told is written down, and nothing is decided."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import transit
from tests.adapters.conftest import EncryptedPlace
from transit import trace

sdk = pytest.importorskip("claude_agent_sdk")

from transit.adapters.claude import TransitHooks  # noqa: E402

BASE = {"session_id": "s-1", "transcript_path": "/home/me/t.jsonl", "cwd": "/srv"}
TOLD: dict[str, dict[str, Any]] = {
    "UserPromptSubmit": {"prompt": "hello"},
    "PreToolUse": {"tool_name": "Bash", "tool_input": {"command": "ls"}, "tool_use_id": "t1"},
    "PermissionRequest": {"tool_name": "Bash", "tool_input": {"command": "ls"}},
    "PostToolUse": {
        "tool_name": "Bash", "tool_input": {}, "tool_response": {"stdout": "a"}, "tool_use_id": "t1"
    },
    "PostToolUseFailure": {
        "tool_name": "Bash", "tool_input": {}, "tool_use_id": "t2", "error": "exit 1"
    },
    "SubagentStart": {"agent_id": "a1", "agent_type": "explore"},
    "SubagentStop": {"agent_id": "a1", "agent_type": "explore", "stop_hook_active": False},
    "PreCompact": {"trigger": "auto", "custom_instructions": None},
    "Notification": {"message": "waiting", "notification_type": "idle"},
    "Stop": {"stop_hook_active": False, "last_assistant_message": "done"},
}  # fmt: skip


CANARY = "canary-51c0"


async def tell(hooks: TransitHooks, told: dict[str, dict[str, Any]], base: dict[str, Any]) -> None:
    options = sdk.ClaudeAgentOptions(hooks=hooks.matchers())
    for event, more in told.items():
        (matcher,) = options.hooks[event]
        given = {**base, "hook_event_name": event, **more}
        assert await matcher.hooks[0](given, more.get("tool_use_id"), {"signal": None}) == {}


def test_every_event_is_there_whole_and_in_order(log: transit.Log) -> None:
    asyncio.run(tell(TransitHooks(log), TOLD, BASE))
    (stream,) = log.streams("claude-hooks/")
    assert stream.name == "claude-hooks/s-1"
    assert stream.metadata["cwd"] == "/srv"
    found = [(each.headers["kind"], json.loads(each.payload)) for each in stream]
    assert [kind for kind, _ in found] == list(TOLD)
    for kind, told in found:
        assert told["input"] == {**BASE, "hook_event_name": kind, **TOLD[kind]}
        assert told["tool_use_id"] == TOLD[kind].get("tool_use_id")


def test_all_events_that_the_sdk_has_are_asked_for(path: Path) -> None:
    from typing import get_args

    from claude_agent_sdk.types import HookEvent

    events = {name for each in get_args(HookEvent) for name in get_args(each) or (each,)}

    async def own(*_: object) -> dict[str, Any]:
        return {"decision": "block"}

    with TransitHooks.open(path) as hooks:
        assert events <= set(hooks.matchers())
        more = hooks.matchers({"Stop": [sdk.HookMatcher(hooks=[own])], "Later": []})
        assert len(more["Stop"]) == 2
        assert more["Later"] == []


def test_a_store_that_is_gone_is_not_the_agents_affair(path: Path) -> None:
    log = transit.open(path)
    hooks = TransitHooks(log)
    log.close()
    trace.dropped.reset()
    with pytest.warns(trace.TraceWarning, match="is not recorded"):
        asyncio.run(tell(hooks, TOLD, BASE))
    assert trace.dropped.count == len(TOLD)


def test_what_must_not_be_recorded_is_nowhere(path: Path, everything: Callable[[], str]) -> None:
    policy = trace.Redaction([r"CANARY\w*"])
    base = {"session_id": "CANARY1", "transcript_path": "/CANARY2", "cwd": "/CANARY3"}
    told = {
        "PostToolUseFailure": {"tool_name": "CANARY4", "error": "CANARY5", "tool_use_id": "CANARY6"}
    }
    with TransitHooks.open(path, redact=policy) as hooks:
        asyncio.run(tell(hooks, told, base))
        given: Any = {**base, "hook_event_name": "CANARY7"}
        asyncio.run(hooks.record(given, None, None))
    assert "CANARY" not in everything()


def test_in_an_encrypted_store_a_canary_is_in_no_file(encrypted: EncryptedPlace) -> None:
    told = {"UserPromptSubmit": {"prompt": CANARY}}
    with TransitHooks.open(encrypted.store, **encrypted.how) as hooks:
        asyncio.run(tell(hooks, told, {**BASE, "session_id": CANARY}))
        assert not encrypted.clear(CANARY)
    assert not encrypted.clear(CANARY)
    assert encrypted.says(CANARY)
