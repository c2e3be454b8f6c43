"""Reading: a stream's records as typed events, in order, with how the stream came to be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from transit import InvalidInputError, Log, NotFoundError, Position, Record, Stream
from transit.trace.artifacts import read_stored
from transit.trace.events import (
    CallRequest,
    CallResult,
    Checkpoint,
    ChildRun,
    Event,
    Manifest,
    ModelCall,
    ModelRequest,
    ModelResponse,
    RunEnd,
    ToolRequest,
    ToolResult,
    Unknown,
    decode_event,
    decode_json,
    decode_unknown,
    is_always_packed,
    packed_fields,
)
from transit.trace.models import filled
from transit.trace.names import (
    ACTOR,
    BRANCH_KIND,
    CREATED,
    PARENT_OFFSET,
    PARENT_RUN,
    PARENT_UID,
    REASON,
    TASK_ID,
    TRACE_KIND,
)
from transit.trace.parts import brings_parts
from transit.trace.unpacking import HistoryParts

if TYPE_CHECKING:
    from transit.trace.steps import Step


class EventRecord(msgspec.Struct, frozen=True, gc=False):
    """An event and its record.

    offset: in the stream it was read from. timestamp: UTC nanoseconds. origin: the stream it was
    recorded in, and its offset there. payload: the record's bytes, with packed fields packed.
    headers: the record's.
    """

    offset: int
    timestamp: int
    origin: Position
    event: Event | Unknown
    payload: bytes
    headers: Mapping[str, str]


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
        return self._text(ACTOR)

    @property
    def reason(self) -> str:
        """Why it was begun, "" where it was not said."""
        return self._text(REASON)

    @property
    def created_at(self) -> int | None:
        """When it was begun, UTC nanoseconds; None where it was not recorded."""
        found = self.stream.metadata.get(CREATED)
        return found if isinstance(found, int) else None

    @property
    def parent_run(self) -> Position | None:
        """The run this one was begun in, and the offset of that there; None for others."""
        name, offset = self._text(PARENT_RUN), self.stream.metadata.get(PARENT_OFFSET)
        return Position(name, offset) if name and isinstance(offset, int) else None

    @property
    def parent(self) -> Trace | None:
        """The run this one was begun in; None for others, and where it is not in this store."""
        uid = self._text(PARENT_UID)
        try:
            return Trace(self._log, self._log.stream(uid=uid)) if uid else None
        except (NotFoundError, InvalidInputError):
            return None

    @property
    def children(self) -> tuple[Trace, ...]:
        """The runs that were begun, or gone on with, inside this one, in order."""
        found: dict[str, Trace] = {}
        for record in self.stream.read(self._own_start):
            event = decode_event(record.payload)
            if isinstance(event, ChildRun) and event.uid not in found:
                try:
                    child = self._log.stream(uid=event.uid)
                except (NotFoundError, InvalidInputError):
                    # It was to begin when the process died.
                    continue
                found[event.uid] = Trace(self._log, child)
        return tuple(found.values())

    @property
    def manifest(self) -> dict[str, object] | None:
        """What the run was made with; None where it was not recorded."""
        for record in self.stream.read(self._own_start):
            event = decode_event(record.payload)
            if isinstance(event, Manifest):
                return event.data
        return None

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
        """The events in order; `CorruptError` when a reference does not lead where it should.

        Requests of one reading have the objects in common that they have in common, such as
        messages: copy what you change.
        """
        return events_of(self._log, self.stream)

    def steps(self, *, children: bool = True) -> list[Step]:
        """What the run did, in order: each call with its outcome, and what was done inside it.

        children: whether the steps of child runs are read too.
        """
        # Loaded here: steps are made of what this module reads.
        from transit.trace.steps import steps_of

        return steps_of(self._log, self, children=children)

    @property
    def open_calls(self) -> tuple[EventRecord, ...]:
        """Requests of tools, models and recorded calls without an outcome, in order."""
        waiting: dict[int, EventRecord] = {}
        by_id: dict[str, list[int]] = {}
        for record in self.stream:
            event = decode_event(record.payload)
            if isinstance(event, ToolRequest | CallRequest | ModelRequest):
                waiting[record.offset] = _plain(record, event)
                by_id.setdefault(_id_of(event), []).append(record.offset)
            elif isinstance(event, ToolResult | CallResult | ModelResponse):
                # Models use an id again: a result says which request it is about.
                opened = by_id.get(_id_of(event), [])
                told = event.request if isinstance(event, ToolResult) else -1
                if told in opened:
                    opened.remove(told)
                    waiting.pop(told, None)
                elif opened:
                    waiting.pop(opened.pop(), None)
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


def events_of(log: Log, stream: Stream) -> Iterator[EventRecord]:
    """The events of a stream, in order."""
    return map(EventReader(log, stream).take, stream)


def _id_of(
    event: ToolRequest | ToolResult | CallRequest | CallResult | ModelRequest | ModelResponse,
) -> str:
    if isinstance(event, ToolRequest | ToolResult):
        return f"tool {event.tool_call_id}"
    if isinstance(event, ModelRequest | ModelResponse):
        return f"model {event.model_id}"
    return f"call {event.call_id}"


def _plain(record: Record, event: Event | Unknown) -> EventRecord:
    return EventRecord(
        record.offset, record.timestamp, record.origin, event, record.payload, record.headers
    )


class EventReader:
    """Makes events of the records of one stream, given all of them in order."""

    def __init__(self, log: Log, stream: Stream) -> None:
        self._log = log
        self._stream = stream
        self._parts = HistoryParts(stream)
        self._others: dict[str, HistoryParts] = {}
        self._own = set(_begins_with(log, stream))

    def take(self, record: Record) -> EventRecord:
        """The next record, as an event."""
        event = decode_event(record.payload)
        self._parts.add(record.payload)
        fields = packed_fields(event)
        if fields and (is_always_packed(event) or brings_parts(record.payload)):
            event = self._unpacked(record, event, fields)
        if not isinstance(event, Unknown) and event.large:
            event = self._with_large(event)
        if isinstance(event, ModelCall | ModelResponse) and event.response is not None:
            event = filled(event)
        return _plain(record, event)

    def _with_large(self, event: Event) -> Event:
        """An event with the values that are kept in artifacts."""
        found = {
            field: decode_json(read_stored(self._log, name)) for field, name in event.large.items()
        }
        return msgspec.structs.replace(event, **found, large={})

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
