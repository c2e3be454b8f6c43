"""A run as a conversation: what formats that know turns and calls are written from.

Owns how events become turns: an answer of a model with the calls after it and their results, and
the messages between. A request repeats what was said; of it only what was not said yet is a turn.
Calls of recorded functions, checkpoints and the program's own events are no turns.
"""

from __future__ import annotations

from typing import Final

import msgspec

from transit.trace.events import (
    Message,
    ModelCall,
    ToolRequest,
    ToolResult,
    encode_json,
)
from transit.trace.files.joined import joined
from transit.trace.files.runs import (
    list_of,
    member,
    object_of,
    objects_of,
    plain_text,
    read_arguments,
    text_of,
)
from transit.trace.files.source import JsonObject
from transit.trace.reading import Trace
from transit.trace.records import EventRecord

_CALLS_IN_CONTENT: Final = ("tool_use", "server_tool_use", "mcp_tool_use")
_THOUGHT: Final = ("thinking", "redacted_thinking", "reasoning")


class Call(msgspec.Struct, kw_only=True):
    """A call of a tool in a turn, and what came of it. Times: UTC nanoseconds.

    offset: of the record of the request, -1 where there is none.
    """

    call_id: str
    name: str
    arguments: object = None
    result: object = None
    status: str = ""
    error: str = ""
    begun: int = 0
    ended: int | None = None
    offset: int = -1


class Turn(msgspec.Struct, kw_only=True):
    """What one side said. role: "system", "user", "assistant" or "tool", or as it was recorded.

    model: of an answer that is a model call, else "". tokens: -1 unknown. inherited: whether the
    run has it from the one it is a branch of.
    """

    role: str
    content: object
    timestamp: int
    offset: int
    inherited: bool = False
    name: str = ""
    call_id: str = ""
    reasoning: str = ""
    model: str = ""
    response_model: str = ""
    finish_reason: str = ""
    tokens_in: int = -1
    tokens_out: int = -1
    usage: JsonObject = {}
    tools: list[object] = []
    calls: list[Call] = []

    @property
    def text(self) -> str:
        """What was said, as text."""
        return text_in(self.content)


def turns_of(trace: Trace) -> list[Turn]:
    """The turns of a run, in order."""
    reading = _Reading(trace.stream.own_start)
    for record in joined(trace):
        reading.add(record)
    return reading.turns


class _Reading:
    """The turns so far."""

    def __init__(self, own_start: int) -> None:
        self._own_start = own_start
        self._said: dict[bytes, int] = {}
        self._open: dict[str, Call] = {}
        self.turns: list[Turn] = []

    def add(self, record: EventRecord) -> None:
        """The next event."""
        event = record.event
        if isinstance(event, Message):
            # Programs record an answer as a message too, beside the call that gave it.
            said = self._turn(record, object_of(event.message))
            last = self.turns[-1] if self.turns else None
            if not (last and last.model and said.role == "assistant" and said.text == last.text):
                self._say(said)
        elif isinstance(event, ModelCall):
            self._answer(record, event)
        elif isinstance(event, ToolRequest):
            self._request(record, event)
        elif isinstance(event, ToolResult):
            self._result(record, event)

    def _say(self, turn: Turn) -> None:
        self.turns.append(turn)
        self._count(turn.role, turn.call_id, turn.content)

    def _count(self, role: str, call_id: str, content: object) -> None:
        key = _key(role, call_id, content)
        self._said[key] = self._said.get(key, 0) + 1

    def _turn(self, record: EventRecord, message: JsonObject) -> Turn:
        role = text_of(message.get("role")) or "user"
        content, reasoning, _ = split_content(message.get("content"))
        thought = text_of(message.get("reasoning_content")) or text_of(message.get("thought"))
        return Turn(
            role={"developer": "system", "function": "tool"}.get(role, role),
            content=content,
            timestamp=record.timestamp,
            offset=record.offset,
            inherited=record.offset < self._own_start,
            name=text_of(message.get("name")),
            call_id=text_of(message.get("tool_call_id")),
            reasoning=thought or reasoning,
        )

    def _answer(self, record: EventRecord, event: ModelCall) -> None:
        self._say_new(record, event.request)
        message = answer_in(event.response)
        turn = self._turn(record, message)
        turn.role, turn.model = "assistant", event.request_model
        turn.response_model = event.response_model
        turn.finish_reason = event.finish_reasons[0] if event.finish_reasons else ""
        turn.tokens_in, turn.tokens_out = event.input_tokens, event.output_tokens
        turn.usage = event.usage
        turn.tools = list_of(member(event.request, "tools"))
        turn.calls = calls_in(message, record.timestamp)
        self._say(turn)

    def _say_new(self, record: EventRecord, request: object) -> None:
        """What a request says that was not said yet."""
        given = request if isinstance(request, list) else member(request, "messages")
        said = dict(self._said)
        system = member(request, "system")
        first = [{"role": "system", "content": system}] if system else []
        for message in [*first, *objects_of(given)]:
            turn = self._turn(record, message)
            results = [each for each in objects_of(message.get("content"))
                       if each.get("type") == "tool_result"]  # fmt: skip
            key = _key(turn.role, turn.call_id, turn.content)
            if said.get(key, 0) > 0:
                said[key] -= 1
            elif turn.role != "assistant" and not results and turn.call_id not in self._done:
                self._say(turn)

    @property
    def _done(self) -> set[str]:
        """The ids of calls whose results are known from events of their own."""
        return {call.call_id for turn in self.turns[-1:] for call in turn.calls if call.call_id}

    def _request(self, record: EventRecord, event: ToolRequest) -> None:
        last = self.turns[-1] if self.turns else None
        if last is None or last.role != "assistant":
            last = Turn(
                role="assistant", content=None, timestamp=record.timestamp, offset=record.offset,
                inherited=record.offset < self._own_start,
            )  # fmt: skip
            self.turns.append(last)
        call = next((each for each in last.calls if each.call_id == event.tool_call_id
                     and each.call_id not in self._open), None)  # fmt: skip
        if call is None or not call.name:
            call = Call(call_id=event.tool_call_id, name=event.tool_name)
            last.calls = [*last.calls, call]
        call.arguments, call.begun = event.arguments, record.timestamp
        call.offset = record.offset
        self._open[event.tool_call_id] = call

    def _result(self, record: EventRecord, event: ToolResult) -> None:
        call = self._open.pop(event.tool_call_id, None)
        if call is None:
            said = Turn(
                role="tool", content=event.result, timestamp=record.timestamp,
                offset=record.offset, inherited=record.offset < self._own_start,
                name=event.tool_name, call_id=event.tool_call_id,
            )  # fmt: skip
            self._say(said)
            return
        call.result, call.status, call.ended = event.result, event.tool_status, record.timestamp
        call.error = event.error.message if event.error else ""
        if event.artifact_id:
            call.result = f"artifact {event.artifact_id}"
        self._count("tool", event.tool_call_id, event.result)


def _key(role: str, call_id: str, content: object) -> bytes:
    return encode_json([role, call_id, text_in(content)])


def answer_in(response: object) -> JsonObject:
    """The message in a model's response, whatever its shape."""
    if isinstance(response, str):
        return {"role": "assistant", "content": response}
    whole = object_of(response)
    for choice in objects_of(whole.get("choices")):
        if isinstance(message := choice.get("message"), dict):
            return message
    if isinstance(message := whole.get("message"), dict):
        return message
    if "content" in whole or "tool_calls" in whole:
        return whole
    return {"role": "assistant", "content": response}


def split_content(content: object) -> tuple[object, str, list[JsonObject]]:
    """What is said, what was thought, and the calls, in the content of a message.

    Content of texts alone is one text.
    """
    blocks = list_of(content)
    if not blocks or not all(isinstance(each, dict) for each in blocks):
        return content, "", []
    said, thought, calls = [], [], []
    for block in objects_of(blocks):
        kind = block.get("type")
        if kind in _CALLS_IN_CONTENT:
            calls.append(block)
        elif kind in _THOUGHT:
            thought.append(text_of(block.get("thinking")) or text_of(block.get("text")))
        elif kind != "tool_result":
            said.append(block)
    if all(isinstance(each.get("text"), str) for each in said):
        return "\n".join(text_of(each["text"]) for each in said) or None, "\n".join(thought), calls
    return said, "\n".join(thought), calls


def calls_in(message: JsonObject, timestamp: int) -> list[Call]:
    """The calls that a message says it makes."""
    found = [
        Call(
            call_id=text_of(block.get("id")), name=text_of(block.get("name")),
            arguments=block.get("input"), begun=timestamp,
        )
        for block in split_content(message.get("content"))[2]
    ]  # fmt: skip
    for call in objects_of(message.get("tool_calls")):
        inner = call.get("function")
        whole = inner if isinstance(inner, dict) else {**call, "name": inner or call.get("name")}
        found.append(
            Call(
                call_id=text_of(call.get("id")), name=text_of(whole.get("name")),
                arguments=read_arguments(whole.get("arguments")), begun=timestamp,
            )
        )  # fmt: skip
    return found


def text_in(content: object) -> str:
    """The content of a message, or a result, as text: that of its parts, or its JSON."""
    if isinstance(content, str):
        return content
    parts = objects_of(content)
    if parts and len(parts) == len(list_of(content)):
        texts = [text_of(each.get("text")) for each in parts if isinstance(each.get("text"), str)]
        if len(texts) == len(parts):
            return "\n".join(texts)
    return plain_text(content)
