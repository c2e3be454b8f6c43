"""The messages in a span's attributes and events, under the names of several conventions.

gen_ai.input.messages, gen_ai.output.messages    JSON, or structured; also in an event's
llm.input_messages.<n>.message.…                 OpenInference, flattened
gen_ai.prompt.<n>.…, gen_ai.completion.<n>.…     OpenLLMetry, flattened
events gen_ai.user.message, gen_ai.choice, …     the conventions of 2024
input.value, output.value                        OpenInference, any text or JSON
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from transit.trace.files.runs import list_of, object_of, objects_of, read_arguments, text_of
from transit.trace.files.source import JsonObject

_INPUT: Final = "gen_ai.input.messages"
_OUTPUT: Final = "gen_ai.output.messages"
_SYSTEM: Final = "gen_ai.system_instructions"
_FLAT: Final = re.compile(
    r"(llm\.input_messages|llm\.output_messages|gen_ai\.prompt|gen_ai\.completion)\.(\d{1,6})\.(.+)"
)
_INDEXED: Final = re.compile(r"(.+?)\.(\d{1,6})\.(.+)")
_IS_OUTPUT: Final = ("llm.output_messages", "gen_ai.completion")
_EVENT: Final = re.compile(r"gen_ai\.(system|user|assistant|tool)\.message")
_PARAMETERS: Final = ("gen_ai.request.", "llm.invocation_parameters", "gen_ai.tool.definitions")


class SpanEvent(msgspec.Struct, frozen=True):
    """Something at a moment of a span. time: UTC nanoseconds."""

    name: str
    time: int | None
    attributes: JsonObject = {}


class SpanMessages:
    """What was sent to a model, and what it answered.

    request: an object with `messages` and parameters, None where nothing is said. response: a
    message. taken: attributes these are from; events_taken: the events.
    """

    def __init__(self, attributes: JsonObject, events: Sequence[SpanEvent]) -> None:
        self.taken: list[str] = []
        self.events_taken: list[SpanEvent] = []
        self._inputs: list[JsonObject] = []
        self._outputs: list[JsonObject] = []
        self._structured(attributes)
        self._flattened(attributes)
        for event in events:
            self._event(event)
        self._values(attributes)
        self._parameters: JsonObject = {}
        for key, value in attributes.items():
            if key.startswith(_PARAMETERS) and key != "gen_ai.request.model":
                short = key.removeprefix("gen_ai.request.").removeprefix("gen_ai.")
                self._parameters[short] = read_arguments(value)
                self.taken.append(key)

    @property
    def request(self) -> object:
        """What was sent."""
        if not self._inputs and not self._parameters:
            return None
        return self._parameters | {"messages": self._inputs}

    @property
    def response(self) -> object:
        """What was answered; of several answers the first, the others beside it."""
        if not self._outputs:
            return None
        first, others = self._outputs[0], self._outputs[1:]
        return {**first, "others": others} if others else first

    @property
    def spoken(self) -> list[JsonObject]:
        """All messages, in order."""
        return [*self._inputs, *self._outputs]

    def _structured(self, attributes: JsonObject) -> bool:
        found = False
        for key, target in ((_SYSTEM, None), (_INPUT, self._inputs), (_OUTPUT, self._outputs)):
            if key not in attributes:
                continue
            self.taken.append(key)
            found = True
            given = read_arguments(attributes[key])
            if target is None:
                self._inputs.append({"role": "system", "content": _content(given)})
            else:
                target.extend(map(_message, objects_of(given)))
        return found

    def _flattened(self, attributes: JsonObject) -> None:
        flat: dict[tuple[str, int], JsonObject] = {}
        for key, value in attributes.items():
            if match := _FLAT.fullmatch(key):
                self.taken.append(key)
                rest = match[3].removeprefix("message.")
                flat.setdefault((match[1], int(match[2])), {})[rest] = value
        for (prefix, _), members in sorted(flat.items(), key=lambda each: each[0]):
            target = self._outputs if prefix in _IS_OUTPUT else self._inputs
            target.append(_raised(members))

    def _event(self, event: SpanEvent) -> None:
        found = event.attributes
        if self._structured(found) or self._older(event):
            self.events_taken.append(event)

    def _older(self, event: SpanEvent) -> bool:
        """Events with a message each, or with all of them as JSON."""
        found = event.attributes
        if match := _EVENT.fullmatch(event.name):
            content = found.get("content", found.get("gen_ai.event.content"))
            self._inputs.append(
                {"role": text_of(found.get("role")) or match[1], **found,
                 "content": read_arguments(content)}
            )  # fmt: skip
        elif event.name == "gen_ai.choice":
            message = object_of(read_arguments(found.get("message")))
            self._outputs.append({"role": "assistant", **(message or found)})
        elif event.name == "gen_ai.content.prompt":
            self._inputs += _as_messages(found.get("gen_ai.prompt"), "user")
        elif event.name == "gen_ai.content.completion":
            self._outputs += _as_messages(found.get("gen_ai.completion"), "assistant")
        else:
            return False
        return True

    def _values(self, attributes: JsonObject) -> None:
        for key, target, role in (
            ("input.value", self._inputs, "user"), ("output.value", self._outputs, "assistant"),
            ("gen_ai.prompt", self._inputs, "user"),
            ("gen_ai.completion", self._outputs, "assistant"),
        ):  # fmt: skip
            if key in attributes and not target:
                self.taken.append(key)
                target.extend(_as_messages(attributes[key], role))


def _as_messages(given: object, role: str) -> Iterable[JsonObject]:
    value = read_arguments(given)
    inner = value.get("messages") if isinstance(value, dict) else value
    found = [each for each in objects_of(inner) if "role" in each]
    return found or [{"role": role, "content": value}]


def _message(given: JsonObject) -> JsonObject:
    """A message of the conventions, with its parts as content; parts of one text are that text."""
    more = {key: value for key, value in given.items() if key != "parts"}
    if "parts" in given:
        return {"role": "user", **more, "content": _content(given["parts"])}
    return {"role": "user", **more}


def _content(parts: object) -> object:
    found = list_of(parts)
    if len(found) == 1 and object_of(found[0]).get("type") == "text":
        return object_of(found[0]).get("content")
    return parts


def _raised(members: JsonObject) -> JsonObject:
    """A message from its flattened members: `tool_calls.0.tool_call.function.name` and the like."""
    message: JsonObject = {}
    lists: dict[str, dict[int, JsonObject]] = {}
    for key, value in members.items():
        if match := _INDEXED.fullmatch(key):
            lists.setdefault(match[1], {}).setdefault(int(match[2]), {})[match[3]] = value
        else:
            message[key] = value
    for key, items in lists.items():
        name = {"contents": "content"}.get(key, key)
        message[name] = [_member(name, items[number]) for number in sorted(items)]
    return {"role": "user", **message}


def _member(name: str, flat: JsonObject) -> JsonObject:
    if name == "content":
        return {key.removeprefix("message_content."): value for key, value in flat.items()}
    short = {key.removeprefix("tool_call."): value for key, value in flat.items()}
    if name != "tool_calls":
        return short
    function = {
        key: short.pop(old)
        for key, old in (("name", "function.name"), ("arguments", "function.arguments"))
        if old in short
    }
    for key in ("name", "arguments"):
        if key in short:
            function[key] = short.pop(key)
    return {"type": "function", **short, "function": function}
