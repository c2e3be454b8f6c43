"""mini-swe-agent's trajectories, formats 1 and 1.1, and its bare lists of messages.

An assistant's message is a model call and the commands in it are calls of the tool `bash`: those of
`tool_calls`, those of `extra.actions`, or the one block of code in its text. The message after it
is their result; a command that ended with a code other than 0 is a failed call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from transit.trace.events import Message, ToolStatus
from transit.trace.files.runs import (
    Events,
    ImportedEvent,
    ImportedRun,
    Names,
    list_of,
    member,
    object_of,
    objects_of,
    plain_text,
    read_time,
    scalars,
    text_of,
)
from transit.trace.files.source import JsonObject, Source

NAME: Final = "mini-swe-agent"
_TOOL: Final = "bash"
_BLOCK: Final = re.compile(r"```(?:bash|mswea_bash_command|sh)\s*\n(.*?)\n?```", re.DOTALL)
_CODE: Final = re.compile(r"<returncode>\s*(-?\d+)\s*</returncode>")
_CONTENT_LOOKED_AT: Final = 100_000


def detect(source: Source) -> bool:
    """Whether the document says so, or is a list whose messages tell exit codes."""
    whole = source.whole
    if isinstance(whole, dict):
        if text_of(whole.get("trajectory_format")).startswith("mini-swe-agent"):
            return True
        info = object_of(whole.get("info"))
        return "messages" in whole and ("mini_version" in info or "model_stats" in info)
    said = [each for each in objects_of(whole) if each.get("role") == "user"]
    return any(_CODE.match(_text(each)) for each in said[:5])


def runs(source: Source) -> Iterator[ImportedRun]:
    """The one run in it."""
    whole = source.document
    head = object_of(whole)
    info = object_of(head.get("info"))
    metadata = scalars({**info, **head}, ("mini_version", "exit_status", "trajectory_format"))
    given = whole if isinstance(whole, list) else head.get("messages")
    if not isinstance(given, list):
        raise source.refuse("no list of messages")
    yield ImportedRun(
        name=Names().give(source.stem), events=_events(source, head, info, given), metadata=metadata
    )


def _events(
    source: Source, head: JsonObject, info: JsonObject, given: list[object]
) -> Iterator[ImportedEvent]:
    events, waiting = Events(NAME), list[str]()
    model = text_of(member(info, "config", "model", "model_name"))
    last = len(given) - 1
    for number, each in enumerate(given):
        source.tally.records += 1
        place = f"message {number}"
        message = _with_role(object_of(each))
        if not isinstance(message.get("role"), str):
            source.bad(place, "not a message")
            continue
        extra = object_of(message.get("extra"))
        events.at(place, read_time(extra.get("timestamp")))
        if message["role"] == "assistant":
            waiting = _turn(events, message, extra, model)
        elif waiting and _is_result(message, extra, number == last, info):
            _result(events, message, extra, waiting)
        else:
            events.add(Message(message=message))
        yield from events.take()
    yield from _ending(events, head, info, given)


def _with_role(message: JsonObject) -> JsonObject:
    """A message as chats have it; models asked by OpenAI's Responses give and take others."""
    if message.get("type") == "function_call_output":
        return {
            "role": "tool", "tool_call_id": message.get("call_id"),
            "content": message.get("output"), "extra": message.get("extra"),
        }  # fmt: skip
    if "role" in message or not isinstance(message.get("output"), list):
        return message
    items = objects_of(message["output"])
    calls = [
        {"id": item.get("call_id") or item.get("id"), "type": "function", "function": item}
        for item in items
        if item.get("type") == "function_call"
    ]
    parts = [part for item in items for part in list_of(item.get("content"))]
    about = {key: value for key, value in message.items() if key not in ("output", "extra")}
    said: JsonObject = {"role": "assistant", "content": parts or None}
    reasoning = [item for item in items if item.get("type") == "reasoning"]
    if reasoning:
        said["reasoning"] = reasoning
    if calls:
        said["tool_calls"] = calls
    return said | {"extra": {"response": about, **object_of(message.get("extra"))}}


def _turn(events: Events, message: JsonObject, extra: JsonObject, model: str) -> list[str]:
    """The model call of an assistant's message and the commands in it; ids of these."""
    response = object_of(extra.get("response"))
    choice = next(iter(objects_of(response.get("choices"))), {})
    said = {key: value for key, value in message.items() if key != "extra"}
    events.model_call(
        model=model or text_of(response.get("model")),
        response=said | ({"model": response["model"]} if response.get("model") else {}),
        usage=response.get("usage"),
        finish_reason=choice.get("finish_reason"),
        response_id=response.get("id"),
        time=events.time
        if events.time is not None
        else read_time(response.get("created", response.get("created_at"))),
    )
    known = ("response", "timestamp", "actions")
    events.rest(extra, known)
    return _commands(events, message, extra)


def _commands(events: Events, message: JsonObject, extra: JsonObject) -> list[str]:
    made = []
    for call in objects_of(message.get("tool_calls")):
        function = object_of(call.get("function"))
        made.append(
            events.tool_request(call.get("id"), function.get("name"), function.get("arguments"))
        )
    if made:
        return made
    for action in list_of(extra.get("actions")):
        whole = object_of(action)
        given = action if isinstance(action, str) else whole.get("command")
        made.append(events.tool_request(whole.get("tool_call_id"), _TOOL, {"command": given}))
    blocks = _BLOCK.findall(_text(message)) if not made else []
    # With any other number of blocks mini-swe-agent runs nothing, and says so.
    if len(blocks) == 1:
        made.append(events.tool_request(None, _TOOL, {"command": blocks[0]}))
    return made


def _is_result(message: JsonObject, extra: JsonObject, is_last: bool, info: JsonObject) -> bool:
    """Whether a message after a command is what came of it."""
    if message["role"] != "user":
        return message["role"] in ("tool", "exit")
    if "returncode" in extra or "raw_output" in extra or _CODE.match(_text(message)):
        return True
    # The last one is what was submitted: the command that did it printed it.
    return is_last and info.get("submission", _text(message)) == _text(message)


def _result(events: Events, message: JsonObject, extra: JsonObject, waiting: list[str]) -> None:
    given = message.get("tool_call_id")
    call = str(given) if given in waiting else waiting[0]
    waiting.remove(call)
    code = extra.get("returncode")
    found = _CODE.match(_text(message))
    if code is None and found:
        code = int(found[1][:9])
    problem = plain_text(extra.get("exception_info"))
    status: ToolStatus = "failure" if problem or (isinstance(code, int) and code) else "success"
    if status == "failure" and not problem:
        problem = f"exit code {code}"
    events.tool_result(call, message.get("content"), status=status, error=problem)
    known = ["returncode", "exception_info", "timestamp"]
    if text_of(extra.get("raw_output")) in _text(message):
        # The whole output is in the message, but where that was cut.
        known.append("raw_output")
    events.rest({**extra, **message}, (*known, "role", "content", "tool_call_id", "extra"))


def _ending(
    events: Events, head: JsonObject, info: JsonObject, given: list[object]
) -> Iterator[ImportedEvent]:
    events.at("info")
    if left := {key: value for key, value in head.items() if key != "messages"}:
        events.custom("info", left)
    last = object_of(given[-1] if given else None)
    found = info.get("exit_status") or member(last, "extra", "exit_status")
    if status := text_of(found):
        submitted = status.lower() == "submitted"
        events.checkpoint("final", "success" if submitted else "failed", status)
        events.end("completed" if submitted else "failed", "" if submitted else status)
    yield from events.take()


def _text(message: JsonObject) -> str:
    """The text of a message: whole, or of its first part."""
    content = message.get("content")
    if isinstance(content, list):
        first = object_of(content[0] if content else None)
        content = first.get("text")
    return text_of(content)[:_CONTENT_LOOKED_AT]
