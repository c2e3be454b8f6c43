"""Records as events: their parts put together, and what was too large for a record fetched."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from transit import (
    HistorySpan,
    InvalidInputError,
    Log,
    NotFoundError,
    Position,
    Record,
    StorePermissionError,
    Stream,
)
from transit.trace.artifacts import read_stored
from transit.trace.events import (
    Event,
    ModelCall,
    ModelResponse,
    Unknown,
    decode_event,
    decode_json,
    decode_unknown,
    is_always_packed,
    packed_fields,
)
from transit.trace.models import filled
from transit.trace.parts import brings_parts
from transit.trace.unpacking import HistoryParts
from transit.trace.views import view_of


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


def events_of(log: Log, stream: Stream) -> Iterator[EventRecord]:
    """The events of a stream, in order."""
    return map(EventReader(log, stream).take, stream)


def event_record(record: Record, event: Event | Unknown) -> EventRecord:
    """A record with the event that is in it."""
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
        # A branch's own records, and those that it inherits, have the same offset there and here;
        # those that a merge put together have not.
        self._first = _merged_count(log, stream)
        self._spans: Sequence[HistorySpan] = ()
        self._view = view_of(stream)

    def take(self, record: Record) -> EventRecord:
        """The next record, as an event."""
        if self._view is not None:
            return event_record(record, self._view(record))
        event = decode_event(record.payload)
        self._parts.add(record.payload)
        fields = packed_fields(event)
        if fields and (is_always_packed(event) or brings_parts(record.payload)):
            event = self._unpacked(record, event, fields)
        if not isinstance(event, Unknown) and event.large:
            event = self._with_large(event)
        if isinstance(event, ModelCall | ModelResponse) and event.response is not None:
            event = filled(event)
        return event_record(record, event)

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
        if record.offset >= self._first:
            parts = self._parts
        else:
            parts = self._parts_of(record.offset)
            parts.until(origin.offset + 1)
        values = parts.unpack(origin.offset, forms, f"{origin.stream}@{origin.offset}")
        if values is None:
            return decode_unknown(record.payload)
        return msgspec.structs.replace(event, **values)

    def _parts_of(self, offset: int) -> HistoryParts:
        """Those of the stream that a merged record was appended to; by its uid, as it may be
        hidden."""
        self._spans = self._spans or self._log.lineage.spans(self._stream)
        span = self._spans[bisect_right(self._spans, offset, key=_first_of) - 1]
        if span.uid not in self._others:
            self._others[span.uid] = HistoryParts(self._log.stream(uid=span.uid))
        return self._others[span.uid]


def _merged_count(log: Log, stream: Stream) -> int:
    """How many records of `stream` a merge put together: itself, or what it is a branch of."""
    while stream.kind == "branch":
        try:
            parent = log.stream(uid=stream.parent_uids[0])
        except (NotFoundError, InvalidInputError, StorePermissionError):
            # Not shown to this reader: what is inherited is read where it was appended, or not.
            break
        stream = parent
    return stream.own_start


def _first_of(span: HistorySpan) -> int:
    return span.first
