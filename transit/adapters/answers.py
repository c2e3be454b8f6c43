"""Answers that come as a stream, put together: chat completions, responses, messages, completions.

Takes the parts as JSON's own types, of OpenAI and of Anthropic, in the order in which they came.
What was not understood of a stream is kept as a list of its parts.
"""

from __future__ import annotations

from typing import Any, Final

from transit.trace.files.runs import list_of, object_of, read_arguments, text_of

JsonObject = dict[str, Any]

_PARTS_MAX: Final = 10_000
_WHOLE: Final = ("response.completed", "response.incomplete", "response.failed")


class Answer:
    """The parts of one answer, as they come."""

    def __init__(self) -> None:
        self._whole: JsonObject = {}
        self._choices: dict[int, JsonObject] = {}
        self._blocks: dict[int, JsonObject] = {}
        self._others: list[object] = []
        self._text: list[str] = []

    def add(self, part: object) -> None:
        """The next part."""
        found = object_of(part)
        kind = text_of(found.get("type"))
        if isinstance(found.get("choices"), list):
            self._add_choices(found)
        elif kind in _WHOLE:
            self._whole = object_of(found.get("response"))
        elif kind == "response.output_text.delta":
            self._text.append(text_of(found.get("delta")))
        elif kind == "message_start":
            self._whole = dict(object_of(found.get("message")))
        elif kind.startswith(("content_block", "message_")):
            self._add_block(kind, found)
        elif not kind.startswith("response.") and len(self._others) < _PARTS_MAX:
            self._others.append(part)

    def _add_choices(self, part: JsonObject) -> None:
        for key, value in part.items():
            if key != "choices" and value is not None:
                self._whole[key] = value
        if "object" in self._whole:
            self._whole["object"] = text_of(self._whole["object"]).removesuffix(".chunk")
        for given in list_of(part.get("choices")):
            choice = object_of(given)
            index = choice.get("index")
            kept = self._choices.setdefault(index if isinstance(index, int) else 0, {})
            for key, value in choice.items():
                if key == "delta":
                    _join(kept.setdefault("message", {}), object_of(value))
                elif key == "text":
                    kept["text"] = kept.get("text", "") + text_of(value)
                elif value is not None:
                    kept[key] = value

    def _add_block(self, kind: str, part: JsonObject) -> None:
        index = part.get("index")
        number = index if isinstance(index, int) else 0
        delta = object_of(part.get("delta"))
        if kind == "content_block_start":
            self._blocks[number] = dict(object_of(part.get("content_block")))
        elif kind == "content_block_delta":
            _grow(self._blocks.setdefault(number, {}), delta)
        elif kind == "message_delta":
            self._whole |= {key: value for key, value in delta.items() if value is not None}
            usage = {k: v for k, v in object_of(part.get("usage")).items() if v is not None}
            self._whole["usage"] = object_of(self._whole.get("usage")) | usage

    @property
    def whole(self) -> object:
        """What came so far, in the form of an answer that comes at once; None for nothing."""
        found = dict(self._whole)
        if self._choices:
            found["choices"] = [self._choices[number] for number in sorted(self._choices)]
        if self._blocks:
            found["content"] = [_closed(self._blocks[number]) for number in sorted(self._blocks)]
        if self._text and "output" not in found:
            found["output_text"] = "".join(self._text)
        if self._others:
            found["parts"] = self._others
        return found or None


def _join(message: JsonObject, delta: JsonObject) -> None:
    """Add a part of a message of OpenAI's."""
    for key, value in delta.items():
        if key == "tool_calls" and value:
            calls = message.setdefault("tool_calls", [])
            for given in list_of(value):
                _join_call(calls, object_of(given))
        elif isinstance(value, str) and key != "role":
            message[key] = (message.get(key) or "") + value
        elif value is not None and value != []:
            message[key] = value


def _join_call(calls: list[JsonObject], given: JsonObject) -> None:
    index = given.get("index")
    number = min(index, _PARTS_MAX) if isinstance(index, int) else len(calls)
    while len(calls) <= number:
        calls.append({})
    call = calls[number]
    for key, value in given.items():
        if key == "function":
            function = call.setdefault("function", {})
            for name, text in object_of(value).items():
                if isinstance(text, str):
                    function[name] = function.get(name, "") + text
        elif key != "index" and value is not None:
            call[key] = value


def _grow(block: JsonObject, delta: JsonObject) -> None:
    """Add a part of a block of Anthropic's."""
    for key, value in delta.items():
        if key == "type":
            continue
        if key == "partial_json":
            block["partial_json"] = block.get("partial_json", "") + text_of(value)
        elif key == "citation":
            block["citations"] = [*list_of(block.get("citations")), value]
        elif isinstance(value, str):
            before = block.get(key)
            block[key] = (before if isinstance(before, str) else "") + value
        elif value is not None:
            block[key] = value


def _closed(block: JsonObject) -> JsonObject:
    """A block whose input came as pieces of JSON."""
    if "partial_json" not in block:
        return block
    found = {key: value for key, value in block.items() if key != "partial_json"}
    text = block["partial_json"]
    return {**found, "input": read_arguments(text) if text else found.get("input", {})}
