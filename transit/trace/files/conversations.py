"""Chat messages in the shapes of OpenAI and Anthropic, as events: each message once.

A message is a `Message` event, and the calls of tools in it, and their results, are events besides.
"""

from __future__ import annotations

from transit.trace.events import Message, ToolStatus
from transit.trace.files.runs import Events, list_of, object_of, objects_of
from transit.trace.files.source import JsonObject


def add_message(events: Events, message: JsonObject) -> None:
    """A message, the calls it makes and the results it holds."""
    results = results_in(message)
    if message.get("role") in ("tool", "function") and not results:
        name = message.get("name") or message.get("function")
        call = message.get("tool_call_id")
        if call is None and events.tools:
            # Functions of old have no ids: the last call is meant.
            call = next(reversed(events.tools))
        error = object_of(message.get("error"))
        status: ToolStatus = "failure" if error else "success"
        events.tool_result(
            call, message.get("content"), status=status, name=name,
            error=str(error.get("message") or "") if error else "",
        )  # fmt: skip
        return
    for result in results:
        add_result(events, result)
    if not results or len(results) < len(list_of(message.get("content"))):
        said = message
        if results:
            left = [each for each in list_of(message["content"]) if each not in results]
            said = {**message, "content": left}
        events.add(Message(message=said))
    add_calls(events, message)


def results_in(message: JsonObject) -> list[JsonObject]:
    """The blocks of a message that are results of calls."""
    blocks = objects_of(message.get("content"))
    return [each for each in blocks if each.get("type") == "tool_result"]


def add_result(events: Events, block: JsonObject) -> None:
    """A block that is the result of a call."""
    status: ToolStatus = "failure" if block.get("is_error") is True else "success"
    events.tool_result(block.get("tool_use_id"), block.get("content"), status=status)


def add_calls(events: Events, message: JsonObject) -> int:
    """The calls of tools in a message; how many."""
    before = len(events.all)
    for block in objects_of(message.get("content")):
        if block.get("type") in ("tool_use", "server_tool_use", "mcp_tool_use"):
            events.tool_request(block.get("id"), block.get("name"), block.get("input"))
    for call in objects_of(message.get("tool_calls")):
        # The shape of OpenAI, and that of Inspect and others that leave out a level.
        inner = call.get("function")
        whole = inner if isinstance(inner, dict) else {**call, "name": inner or call.get("name")}
        events.tool_request(call.get("id"), whole.get("name"), whole.get("arguments"))
    if isinstance(old := message.get("function_call"), dict):
        events.tool_request(None, old.get("name"), old.get("arguments"))
    return len(events.all) - before
