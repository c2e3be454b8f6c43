"""Reading: a stream's records as typed events, in order, with how the stream came to be."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from transit import InvalidInputError, Log, Position, Record, Stream
from transit.trace.events import (
    CallRequest,
    CallResult,
    Checkpoint,
    Event,
    RunEnd,
    ToolRequest,
    ToolResult,
    Unknown,
    decode_event,
    decode_unknown,
    packed_fields,
)
from transit.trace.parts import HistoryParts
from transit.trace.recording import BRANCH_KIND, TASK_ID, TRACE_KIND


class EventRecord(msgspec.Struct, frozen=True, gc=False):
    """An event and its record.

    offset: in the stream it was read from. timestamp: UTC nanoseconds. origin: the stream it was
    recorded in, and its offset there. payload: the record's bytes, with packed fields packed.
    """

    offset: int
    timestamp: int
    origin: Position
    event: Event | Unknown
    payload: bytes


class Trace:
    """One stream of a trace. Iterating gives an `EventRecord` for each record, anew each time."""

    def __init__(self, log: Log, stream: Stream) -> None:
        self._log = log
        self.stream = stream

    def __repr__(self) -> str:
        return f"<transit.trace.Trace {self.name!r}>"

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.stream.name

    @property
    def task_id(self) -> str:
        """The id of the task; the stream's name where none was recorded."""
        return self._text(TASK_ID) or self.name

    @property
    def trace_kind(self) -> str:
        """ "task", or as it was named; "retry", "critique", "alternate-plan", or "merge"."""
        if self.stream.kind == "root":
            return self._text(TRACE_KIND) or "root"
        return self._text(BRANCH_KIND) or self.stream.kind

    @property
    def actor_id(self) -> str:
        """Who began it, "" where it was not said."""
        return self._text("actor_id")

    @property
    def reason(self) -> str:
        """Why it was begun, "" where it was not said."""
        return self._text("reason")

    @property
    def created_at(self) -> int | None:
        """When it was begun, UTC nanoseconds; None where it was not recorded."""
        found = self.stream.metadata.get("created_at")
        return found if isinstance(found, int) else None

    @property
    def parents(self) -> tuple[Position, ...]:
        """What it was branched off or merged from: each parent's last inherited record."""
        return self.stream.parents

    @property
    def fork_offset(self) -> int | None:
        """A branch's last inherited offset."""
        return self.stream.fork_offset

    @property
    def policy(self) -> str | None:
        """The policy of a merge; None for other streams."""
        plan = self.stream.merge_plan
        return None if plan is None else plan.policy

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the streams branched off or merged from this one, in order of creation."""
        return tuple(child.name for child in self._log.lineage.children(self.stream))

    def __len__(self) -> int:
        return len(self.stream)

    def __bool__(self) -> bool:
        """True, for an empty trace too: it is there."""
        return True

    def __iter__(self) -> Iterator[EventRecord]:
        """The events in order; `CorruptError` when a reference does not lead where it should."""
        return _Reader(self._log, self.stream).events()

    @property
    def open_calls(self) -> tuple[EventRecord, ...]:
        """Requests of tool calls and calls whose outcome was not recorded, in order."""
        waiting: dict[str, EventRecord] = {}
        for record in self.stream:
            event = decode_event(record.payload)
            if isinstance(event, ToolRequest):
                waiting[f"tool {event.tool_call_id}"] = _plain(record, event)
            elif isinstance(event, ToolResult):
                waiting.pop(f"tool {event.tool_call_id}", None)
            elif isinstance(event, CallRequest):
                waiting[f"call {event.call_id}"] = _plain(record, event)
            elif isinstance(event, CallResult):
                waiting.pop(f"call {event.call_id}", None)
        return tuple(waiting.values())

    @property
    def ended(self) -> RunEnd | None:
        """How the run of this very stream ended; None while it is open, or died."""
        ended = None
        for record in self.stream.read(self._own_start):
            if record.origin.stream != self.name:
                # A merge begins with what it took from its parents, ends of their runs among it.
                continue
            event = decode_event(record.payload)
            if isinstance(event, RunEnd):
                ended = event
            elif isinstance(event, Checkpoint) and event.checkpoint_kind == "resume":
                ended = None
        return ended

    @property
    def _own_start(self) -> int:
        fork = self.stream.fork_offset
        return 0 if fork is None else fork + 1

    def _text(self, key: str) -> str:
        found = self.stream.metadata.get(key)
        return found if isinstance(found, str) else ""


def read(log: Log, stream: str | Stream) -> Trace:
    """The trace in `stream`; `NotFoundError` when there is none of this name."""
    return Trace(log, find_stream(log, stream))


def find_stream(log: Log, stream: str | Stream) -> Stream:
    """The stream with this name, or the stream itself."""
    if isinstance(stream, Stream):
        return stream
    if not isinstance(stream, str):
        raise InvalidInputError(f"not a stream or the name of one: {stream!r}")
    return log.stream(stream)


def _plain(record: Record, event: Event | Unknown) -> EventRecord:
    return EventRecord(record.offset, record.timestamp, record.origin, event, record.payload)


class _Reader:
    """Reads one stream once, with the parts its records refer to.

    A branch's history begins with its parent's, so its own parts are numbered on from there; a
    merge's does not, and what it has from its parents is about their parts.
    """

    def __init__(self, log: Log, stream: Stream) -> None:
        self._log = log
        self._stream = stream
        self._parts = HistoryParts(stream)
        self._others: dict[str, HistoryParts] = {}
        self._own = set(_begins_with(log, stream))

    def events(self) -> Iterator[EventRecord]:
        """Every record, in order."""
        for record in self._stream:
            event = decode_event(record.payload)
            self._parts.add(record.payload)
            fields = packed_fields(event)
            if fields:
                event = self._unpacked(record, event, fields)
            yield _plain(record, event)

    def _unpacked(
        self, record: Record, event: Event | Unknown, fields: tuple[str, ...]
    ) -> Event | Unknown:
        origin = record.origin
        forms = {field: form for field in fields if (form := getattr(event, field)) is not None}
        if origin.stream in self._own:
            parts = self._parts
        else:
            parts = self._parts_of(origin.stream)
            parts.until(origin.offset + 1)
        # A branch's own records, and those it inherits, have the same offset there and here.
        values = parts.unpack(origin.offset, forms, f"{origin.stream}@{origin.offset}")
        if values is None:
            return decode_unknown(record.payload)
        return msgspec.structs.replace(event, **values)

    def _parts_of(self, name: str) -> HistoryParts:
        if name not in self._others:
            self._others[name] = HistoryParts(self._log.stream(name))
        return self._others[name]


def _begins_with(log: Log, stream: Stream) -> Iterator[str]:
    """The streams whose history up to a fork `stream` begins with, itself first."""
    while stream.kind == "branch":
        yield stream.name
        stream = log.stream(stream.parents[0].stream)
    yield stream.name
