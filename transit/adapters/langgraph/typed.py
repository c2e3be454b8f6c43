"""Typed events of a thread's records, made while they are read: see `transit.trace.views`.

    what a task wrote: one message of a model      ModelCall, with the conversation before it
    one result of a tool                           ToolResult
    any other message                              Message
    an interrupt                                   Checkpoint, "handoff"
    a checkpoint that begins a run                 Message, where the input has one
    after a model called one tool                  ToolRequest
    any other checkpoint                           Checkpoint, with its source and step
    all else                                       Custom, with the values

A record is one event. Writes of a task may be recorded before the checkpoint that it began from: a
result is then there before its request, which is a Checkpoint. What another serializer wrote, or a
cipher, is not looked into: its event has no values.
"""

from __future__ import annotations

from typing import Any, Final

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT

from transit import Record, Stream
from transit.adapters.langgraph.history import Entry, History, Pieces, Ref, Value
from transit.adapters.langgraph.records import (
    CheckpointRecord,
    Gone,
    WritesRecord,
    decode,
)
from transit.trace import (
    Checkpoint,
    Custom,
    Event,
    Message,
    ModelCall,
    ToolRequest,
    ToolResult,
    Unknown,
)
from transit.trace.values import plain
from transit.trace.views import Take

_ROLES: Final = {"human": "user", "ai": "assistant"}
# Where graphs keep the conversation.
_MESSAGES: Final = "messages"
_INPUT: Final = "__start__"
_READABLE: Final = frozenset(("msgpack", "null", "bytes", "bytearray", "json"))


def view(stream: Stream) -> Take:
    """Makes events of the records of a thread's stream."""
    return _View(stream).take


class _View:
    """One reading of a stream."""

    def __init__(self, stream: Stream) -> None:
        self._history = History(stream)
        self._serde = JsonPlusSerializer()
        # By checkpoint, the newest record of each.
        self._entries: dict[tuple[str, str], Entry] = {}
        # Messages by the part they are in, and their plain form: a search tells by identity what
        # was said before.
        self._loaded: dict[Ref, BaseMessage] = {}
        self._plain: dict[int, tuple[BaseMessage, dict[str, object]]] = {}
        self._texts: dict[str, str] = {}
        # By namespace: the newest conversation, and the messages that tasks wrote since.
        self._conversation: dict[str, list[object]] = {}
        # Names of tools by the ids of calls, those that were answered, and messages that were said.
        self._tools: dict[str, str] = {}
        self._answered: set[str] = set()
        self._said: set[object] = set()

    def take(self, record: Record) -> Event | Unknown:
        """The event that a record is."""
        found = decode(record.payload, f"{self._history.place}@{record.offset}")
        if isinstance(found, Gone):
            return Custom(name="removed")
        self._history.add_parts(record.offset, found)
        self._history.stop = record.offset + 1
        if isinstance(found, CheckpointRecord):
            entry = self._history.take_checkpoint(record.offset, found)
            self._entries[entry.ns, entry.id] = entry
            self._conversation[entry.ns] = self._messages_of(entry)
            return self._of_checkpoint(entry)
        return self._of_writes(record.offset, found)

    def _of_checkpoint(self, entry: Entry) -> Event:
        head = self._load(entry.head)
        metadata = head[1] if isinstance(head, list) and len(head) == 2 else {}
        source, step = metadata.get("source", ""), metadata.get("step", "")
        if source == "input":
            given = self._of_value(entry.values.get(_INPUT))
            messages = _messages(given)
            if messages:
                self._said.add(_key(messages[-1]))
                return Message(message=self._plain_of(messages[-1]))
        calls = getattr(self._newest(entry), "tool_calls", None) or []
        call = calls[0] if len(calls) == 1 and source == "loop" else {}
        if call and call.get("id") not in self._answered:
            return ToolRequest(
                tool_call_id=str(call.get("id")),
                tool_name=str(call.get("name")),
                arguments=plain(call.get("args")),
            )
        reason = " ".join(str(each) for each in (entry.ns, source, step) if each != "")
        return Checkpoint(checkpoint_kind="intermediate", status="success", reason=reason)

    def _newest(self, entry: Entry) -> object:
        value = entry.values.get(_MESSAGES)
        if not isinstance(value, Pieces) or not value.count:
            return None
        return self._load(value.refs[value.count - 1])

    def _of_writes(self, offset: int, record: WritesRecord) -> Event:
        values = {
            channel: self._of_value(self._history.value_of(offset, kind, pieces))
            for _, channel, kind, pieces in record.writes
        }
        if INTERRUPT in values:
            reason = str(plain(_interrupted(values[INTERRUPT])))
            return Checkpoint(checkpoint_kind="handoff", status="incomplete", reason=reason)
        if ERROR in values:
            return Custom(name="error", data={"task": record.task, "error": str(values[ERROR])})
        messages = [message for value in values.values() for message in _messages(value)]
        for each in messages:
            for call in getattr(each, "tool_calls", ()):
                self._tools[str(call.get("id"))] = str(call.get("name"))
        if len(messages) != 1 or _key(messages[0]) in self._said or _INPUT in record.path:
            said = {channel: _plain(value) for channel, value in values.items()}
            return Custom(name="writes", data={"task": record.path or record.task, "values": said})
        event = self._of_message(record, messages[0])
        self._conversation.setdefault(record.ns, []).append(self._plain_of(messages[0]))
        return event

    def _of_message(self, record: WritesRecord, message: BaseMessage) -> Event:
        self._said.add(_key(message))
        if isinstance(message, AIMessage):
            return self._of_model(record, message)
        if isinstance(message, ToolMessage):
            self._answered.add(message.tool_call_id)
            return ToolResult(
                tool_call_id=message.tool_call_id,
                tool_name=message.name or self._tools.get(message.tool_call_id, ""),
                tool_status="failure" if message.status == "error" else "success",
                result=self._plain_of(message)["content"],
            )
        return Message(message=self._plain_of(message))

    def _of_model(self, record: WritesRecord, message: AIMessage) -> ModelCall:
        said: dict[str, Any] = message.response_metadata
        usage: dict[str, Any] = dict(message.usage_metadata or {})
        model = str(said.get("model_name") or said.get("model") or "")
        reason = said.get("finish_reason") or said.get("stop_reason")
        return ModelCall(
            request_model=model or "model",
            response_model=model,
            response_id=message.id or "",
            finish_reasons=(str(reason),) if reason else (),
            input_tokens=int(usage.get("input_tokens", -1)),
            output_tokens=int(usage.get("output_tokens", -1)),
            request={"messages": self._before(record)},
            response=self._plain_of(message),
        )

    def _before(self, record: WritesRecord) -> list[object]:
        """The conversation as the task had it."""
        entry = self._entries.get((record.ns, record.id))
        if entry is not None:
            return self._messages_of(entry)
        return list(self._conversation.get(record.ns, []))

    def _messages_of(self, entry: Entry) -> list[object]:
        """The conversation in a checkpoint; messages of one reading are one object each."""
        value = entry.values.get(_MESSAGES)
        if not isinstance(value, Pieces):
            return []
        found: list[object] = []
        for ref in value.refs[: value.count]:
            message = self._load(ref)
            is_one = isinstance(message, BaseMessage)
            found.append(self._plain_of(message) if is_one else _plain(message))
        return found

    def _plain_of(self, message: BaseMessage) -> dict[str, object]:
        if id(message) not in self._plain:
            made = _plain_message(message)
            # It is held, so that no other object takes its place.
            self._plain[id(message)] = message, made
            content = made["content"]
            if isinstance(content, str):
                # A message that was given an id later is another, and says the same.
                made["content"] = self._texts.setdefault(content, content)
        return self._plain[id(message)][1]

    def _of_value(self, value: Value) -> Any:
        if not isinstance(value, Pieces):
            return None if value is None else self._load(value)
        return [self._load(ref) for ref in value.refs[: value.count]]

    def _load(self, ref: Ref) -> Any:
        if ref in self._loaded:
            return self._loaded[ref]
        kind, data, _ = self._history.part(ref)
        if kind not in _READABLE:
            return None
        found = self._serde.loads_typed((kind, data))
        if isinstance(found, BaseMessage):
            self._loaded[ref] = found
        return found


def _messages(value: object) -> list[BaseMessage]:
    """The messages in a value: itself, or those of a list, or of a state that is written whole."""
    if isinstance(value, dict):
        value = value.get(_MESSAGES)
    several = value if isinstance(value, list) else [value]
    return [each for each in several if isinstance(each, BaseMessage)]


def _key(message: BaseMessage) -> object:
    """What tells a message from others."""
    return message.id or id(message)


def _interrupted(value: object) -> object:
    several = value if isinstance(value, list | tuple) else [value]
    return [getattr(each, "value", each) for each in several]


def _plain_message(message: BaseMessage) -> dict[str, object]:
    role = _ROLES.get(message.type, message.type)
    said: dict[str, object] = {"role": role, "content": plain(message.content)}
    for name in ("id", "name", "tool_calls", "tool_call_id"):
        found = getattr(message, name, None)
        if found:
            said[name] = plain(found)
    return said


def _plain(value: object) -> object:
    """A value as plain JSON; messages as models take them."""
    if isinstance(value, BaseMessage):
        return _plain_message(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _plain(each) for key, each in value.items()}
    return plain(value)
