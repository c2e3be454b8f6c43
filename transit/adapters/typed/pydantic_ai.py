"""pydantic-ai's conversations as typed events.

    an entry whose message is a request     Message of the user
    one whose message is a response         Message of the assistant
    a record of the conversation            Custom

Tools called, and what they gave, are parts of these messages, as the model saw them.
"""

from __future__ import annotations

from typing import Any

from transit import Stream
from transit.adapters.typed.pieces import from_json, viewed
from transit.trace import Event, Message
from transit.trace.views import Take


def view(stream: Stream) -> Take:
    """Events of a conversation."""
    return viewed(stream, _entry)


def _entry(kind: str, value: Any) -> Event | None:
    message = value.get("message")
    if kind != "entry" or not isinstance(message, dict):
        return None
    is_request = message.get("kind") == "request"
    parts = [each for each in message.get("parts") or () if isinstance(each, dict)]
    content = [_part(each) for each in parts]
    said: dict[str, Any] = {"role": "user" if is_request else "assistant", "content": content}
    if parts and all(each.get("part_kind") == "system-prompt" for each in parts):
        said["role"] = "system"
    return Message(message=said | ({"model": message["model_name"]} if _has_model(message) else {}))


def _has_model(message: dict[str, Any]) -> bool:
    return isinstance(message.get("model_name"), str)


def _part(part: dict[str, Any]) -> dict[str, Any]:
    match part.get("part_kind"):
        case "tool-call":
            return {
                "type": "tool_use",
                "id": part.get("tool_call_id"),
                "name": part.get("tool_name"),
                "input": from_json(part.get("args")),
            }
        case "tool-return" | "retry-prompt":
            return {
                "type": "tool_result",
                "tool_use_id": part.get("tool_call_id"),
                "content": part.get("content"),
            }
        case "thinking":
            return {"type": "thinking", "thinking": part.get("content")}
    content = part.get("content")
    if isinstance(content, str):
        return {"type": "text", "text": content}
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], str):
        return {"type": "text", "text": content[0]}
    return {"type": str(part.get("part_kind", "")), "content": content}
