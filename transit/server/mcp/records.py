"""A record as an item of an answer; of a run, the event that it is.

    {"offset": 4, "time": "…Z", "text": "…", "size": 12}

Also, where there is something to say: "kind", "name" and "status" of an event; "writer"; "headers";
"origin", where it was appended; "encoding": "base64" for bytes that are no text; "cut" for a text
that goes on. size: bytes of the payload.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

import msgspec

from transit import Log, Record, Stream
from transit.server.mcp.pages import Item
from transit.trace import ErrorInfo, EventRecord, Unknown
from transit.trace.events import encode_json
from transit.trace.finding import kind_of
from transit.trace.names import is_run
from transit.trace.records import events_of
from transit.trace.writing import encode_event

SUMMARY_CHARS: Final = 300
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAMES: Final = ("tool_name", "response_model", "request_model", "name")
_STATUSES: Final = ("tool_status", "model_status", "call_status", "status")
# What an event says, the most telling first.
_SAYS: Final = (
    "error", "result", "response", "message", "arguments", "request", "decision", "data", "value",
    "comment", "label", "reason",
)  # fmt: skip


def moment(time_ns: int | None) -> str | None:
    """RFC 3339 in UTC, microseconds; the number itself where no calendar has such a year."""
    if time_ns is None:
        return None
    try:
        shown = _EPOCH + timedelta(microseconds=time_ns // 1000)
    except OverflowError:
        return str(time_ns)
    return shown.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def items_of(log: Log, stream: Stream, start: int, stop: int, view: str) -> Iterator[Item]:
    """The records from `start` to before `stop`; `text` is whole but in a summary."""
    if view != "raw" and is_run(stream):
        for event in islice(events_of(log, stream), start, stop):
            yield _of_event(stream, event, view)
        return
    for record in stream.read(start, stop):
        item = _of_record(stream, record)
        yield item if view != "summary" else summarised(item)


def summarised(item: Item) -> Item:
    """An item with the beginning of its text."""
    text = item["text"]
    if len(text) <= SUMMARY_CHARS:
        return item
    return {**item, "text": text[:SUMMARY_CHARS], "cut": True}


def _of_record(stream: Stream, record: Record) -> Item:
    item: Item = {"offset": record.offset, "time": moment(record.timestamp)}
    if record.writer:
        item["writer"] = record.writer
    if record.headers:
        item["headers"] = dict(record.headers)
    _add_origin(item, stream, record)
    try:
        item["text"] = record.payload.decode()
    except UnicodeDecodeError:
        item |= {"text": b64encode(record.payload).decode(), "encoding": "base64"}
    item["size"] = len(record.payload)
    return item


def _of_event(stream: Stream, record: EventRecord, view: str) -> Item:
    event = record.event
    item: Item = {
        "offset": record.offset,
        "time": moment(record.timestamp),
        "kind": kind_of(event),
        "name": _first_text(event, _NAMES),
        "status": _first_text(event, _STATUSES),
    }
    item = {key: value for key, value in item.items() if value is not None}
    if record.headers:
        item["headers"] = dict(record.headers)
    _add_origin(item, stream, record)
    if view == "full":
        item["text"] = _whole(record)
    else:
        item["text"] = _said(record)
        item = summarised(item)
    return item | {"size": len(record.payload)}


def _add_origin(item: Item, stream: Stream, record: Record | EventRecord) -> None:
    if record.origin != (stream.name, record.offset):
        item["origin"] = {"stream": record.origin.stream, "offset": record.origin.offset}


def _first_text(event: object, names: tuple[str, ...]) -> str | None:
    found = (getattr(event, name, None) for name in names)
    return next((value for value in found if isinstance(value, str) and value), None)


def _whole(record: EventRecord) -> str:
    if isinstance(record.event, Unknown):
        return record.payload.decode("utf-8", "replace")
    return encode_event(record.event).decode()


def _said(record: EventRecord) -> str:
    """What an event says, in its own words where it says it in one text."""
    for name in _SAYS:
        value: Any = getattr(record.event, name, None)
        if value is None or value in ("", {}, []):
            continue
        if isinstance(value, ErrorInfo):
            return f"{value.type}: {value.message}"
        if isinstance(value, str):
            return value
        if isinstance(value, msgspec.Struct):
            value = msgspec.to_builtins(value)
        return encode_json(value).decode()
    return _whole(record)
