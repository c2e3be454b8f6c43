"""The Claude Agent SDK's transcripts, and what its hooks were told, as typed events.

a line that is a message                Message
PreToolUse                              ToolRequest
PostToolUse, PostToolUseFailure         ToolResult
UserPromptSubmit                        Message
SubagentStart, SubagentStop             CallRequest, CallResult
all else                                Custom
"""

from __future__ import annotations

from typing import Any

from transit import Stream
from transit.adapters.typed.pieces import error_of, text_of, viewed
from transit.trace import CallRequest, CallResult, Event, Message, ToolRequest, ToolResult
from transit.trace.views import Take


def view(stream: Stream) -> Take:
    """Events of a transcript."""
    return viewed(stream, _line)


def view_of_hooks(stream: Stream) -> Take:
    """Events of what hooks were told."""
    return viewed(stream, _told)


def _line(kind: str, value: Any) -> Event | None:
    message = value.get("message")
    if kind == "entry" and isinstance(message, dict) and "role" in message:
        return Message(message=message)
    return None


def _told(kind: str, value: Any) -> Event | None:
    given = value.get("input")
    if not isinstance(given, dict):
        return None
    call, name = text_of(given.get("tool_use_id")), text_of(given.get("tool_name"))
    agent, of_kind = text_of(given.get("agent_id")), text_of(given.get("agent_type"))
    match kind:
        case "UserPromptSubmit":
            return Message(message={"role": "user", "content": given.get("prompt")})
        case "PreToolUse":
            return ToolRequest(tool_call_id=call, tool_name=name, arguments=given.get("tool_input"))
        case "PostToolUse" | "PostToolUseFailure":
            milliseconds = given.get("duration_ms")
            return ToolResult(
                tool_call_id=call,
                tool_name=name,
                tool_status="success" if kind == "PostToolUse" else "failure",
                result=given.get("tool_response"),
                error=error_of("ToolError", given.get("error")),
                duration_ns=milliseconds * 1_000_000 if type(milliseconds) is int else 0,
            )
        case "SubagentStart":
            return CallRequest(
                call_id=agent, call_name=f"agent:{of_kind}", arguments={}, arguments_digest=""
            )
        case "SubagentStop":
            said = given.get("last_assistant_message")
            return CallResult(
                call_id=agent, call_name=f"agent:{of_kind}", call_status="success", result=said
            )
    return None
