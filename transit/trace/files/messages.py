"""Plain lists of messages, in the shapes of OpenAI and Anthropic: a document, or lines.

A list, or an object with `messages` (and perhaps `system` and `model`), is a run; in a file of
lines each line is one, unless the lines are messages themselves. Items of OpenAI's Responses are
taken too: calls and outputs that stand beside messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from transit.trace.events import Message
from transit.trace.files.conversations import add_calls, add_message
from transit.trace.files.runs import (
    Events,
    ImportedEvent,
    ImportedRun,
    Names,
    list_of,
    object_of,
    read_time,
    scalars,
    text_of,
)
from transit.trace.files.source import JsonObject, Source

NAME: Final = "messages"
_KEYS: Final = ("messages", "conversation", "conversations", "input", "history")


def detect(source: Source) -> bool:
    """Whether there are messages: objects with a role, in one of the places for them."""
    if source.is_lines:
        return any(_is_message(each) or _given(each) for each in source.first_objects)
    return bool(_given(source.whole))


def _given(value: object) -> list[object]:
    """The messages in a value, where it is a list of them or has one."""
    if isinstance(value, dict):
        for key in _KEYS:
            if any(_is_message(each) for each in list_of(value.get(key))):
                return list_of(value[key])
        return []
    found = list_of(value)
    return found if any(_is_message(each) for each in found[:10]) else []


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and (
        (isinstance(value.get("role"), str) and ("content" in value or "tool_calls" in value))
        or ("from" in value and "value" in value)
    )


def runs(source: Source) -> Iterator[ImportedRun]:
    """The runs in it."""
    names = Names()
    if not source.is_lines:
        whole = source.document
        yield _run(source, names.give(source.stem), "", whole)
        return
    if any(_is_message(each) for each in source.first_objects):
        lines = ((f"line {number}", line) for number, _, line in source.objects())
        yield ImportedRun(name=names.give(source.stem), events=_events(source, lines, {}))
        return
    for number, _, line in source.objects():
        source.tally.records -= 1
        name = names.give(source.stem, line.get("id") or line.get("custom_id") or f"line-{number}")
        if not _given(line):
            source.bad(f"line {number}", "no messages")
            continue
        yield _run(source, name, f"line {number}, ", line)


def _run(source: Source, name: str, where: str, whole: object) -> ImportedRun:
    given = _given(whole)
    if not given:
        raise source.refuse("no list of messages")
    head = object_of(whole)
    messages = ((f"{where}message {number}", each) for number, each in enumerate(given))
    counted = _counting(source, messages)
    return ImportedRun(
        name=name,
        events=_events(source, counted, head),
        metadata=scalars(head, ("id", "custom_id", "model")),
    )


def _counting(
    source: Source, messages: Iterable[tuple[str, object]]
) -> Iterator[tuple[str, object]]:
    for each in messages:
        source.tally.records += 1
        yield each


def _events(
    source: Source, messages: Iterable[tuple[str, object]], head: JsonObject
) -> Iterator[ImportedEvent]:
    events = Events(NAME)
    events.at("head")
    if system := head.get("system"):
        events.message("system", system)
    left = {k: v for k, v in head.items() if k not in (*_KEYS, "system") and v is not None}
    if left:
        events.context(left)
    yield from events.take()
    for place, message in messages:
        if not isinstance(message, dict):
            source.bad(place, "not a message")
            continue
        moment = message.get("timestamp") or message.get("created_at") or message.get("created")
        events.at(place, read_time(moment), text_of(message.get("id")))
        _add(source, events, place, message)
        yield from events.take()


def _add(source: Source, events: Events, place: str, message: JsonObject) -> None:
    kind = message.get("type")
    if kind == "function_call":
        events.tool_request(message.get("call_id"), message.get("name"), message.get("arguments"))
    elif kind == "function_call_output":
        events.tool_result(message.get("call_id"), message.get("output"))
    elif kind == "reasoning":
        events.add(Message(message={"role": "assistant", "content": None, **message}))
    elif isinstance(message.get("role"), str):
        usage = object_of(message.get("usage"))
        if usage and message["role"] == "assistant":
            _counted_call(events, message, usage)
        else:
            add_message(events, message)
    elif "from" in message and "value" in message:
        # The shape of ShareGPT.
        role = {"human": "user", "gpt": "assistant"}.get(str(message["from"]), message["from"])
        events.message(text_of(role) or "user", message["value"])
    else:
        source.bad(place, "a message without a role")


def _counted_call(events: Events, message: JsonObject, usage: JsonObject) -> None:
    """A message that says what it took: a model's answer."""
    said = {key: value for key, value in message.items() if key != "usage"}
    events.model_call(
        model=text_of(message.get("model")), response=said, usage=usage,
        finish_reason=message.get("stop_reason"), response_id=message.get("id"),
    )  # fmt: skip
    add_calls(events, message)
