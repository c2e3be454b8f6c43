"""A run as a list of messages, in the shape of OpenAI's chat completions."""

from __future__ import annotations

from transit.trace.events import encode_json
from transit.trace.files.runs import plain_text
from transit.trace.files.source import JsonObject
from transit.trace.files.turns import Call, text_in, turns_of
from transit.trace.reading import Trace

_ROLES = frozenset(("system", "user", "assistant", "tool"))


def document(trace: Trace) -> list[JsonObject]:
    """The messages, each call's result after the message that makes it."""
    messages: list[JsonObject] = []
    for turn in turns_of(trace):
        # A result of no call can only be said by the user.
        known = turn.role in _ROLES and (turn.call_id or turn.role != "tool")
        role = turn.role if known else "user"
        message: JsonObject = {"role": role, "content": turn.content}
        if turn.content is not None and not isinstance(turn.content, str | list):
            message["content"] = plain_text(turn.content)
        if turn.name and role != "tool":
            message["name"] = turn.name
        if role == "tool":
            message |= {"tool_call_id": turn.call_id, "content": text_in(turn.content)}
        if turn.reasoning:
            message["reasoning_content"] = turn.reasoning
        if turn.calls:
            message["tool_calls"] = [_call(call) for call in turn.calls]
        if message["content"] is None and not turn.calls:
            message["content"] = ""
        messages.append(message)
        messages += [_result(call) for call in turn.calls if call.status]
    return messages


def _call(call: Call) -> JsonObject:
    arguments = call.arguments
    text = arguments if isinstance(arguments, str) else encode_json(arguments).decode()
    return {
        "id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": text},
    }  # fmt: skip


def _result(call: Call) -> JsonObject:
    content = text_in(call.result) if call.result is not None else call.error
    return {"role": "tool", "tool_call_id": call.call_id, "content": content}
