"""What views have in common: values of records, times, errors, text that is JSON."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from transit import CorruptError, Record, Stream
from transit.adapters.encoding import LARGE, decode
from transit.adapters.packed import PACKED, PackedReader
from transit.trace import Custom, ErrorInfo, Event, Unknown
from transit.trace.views import Take

Make = Callable[[str, Any], Event | None]
"""The event of a record, of its kind and its value; None for what no event says."""


def viewed(stream: Stream, make: Make) -> Take:
    """A view that makes events of values; what it makes none of is a `Custom` event, whole."""
    reader = PackedReader(stream)

    def take(record: Record) -> Event | Unknown:
        kind = record.headers.get("kind", "")
        if not record.payload:
            reader.take_none(record)
            return Custom(name=kind)
        try:
            value = reader.take(record)
        except CorruptError:
            return Unknown(kind, None)
        if record.headers.get(LARGE) == "true" and record.headers.get(PACKED) != "true":
            # It is in an artifact: the reference says which.
            return Custom(name=kind, data=value)
        made = make(kind, value) if isinstance(value, dict) else None
        return Custom(name=kind, data=value) if made is None else made

    return take


def duration_between(begun: object, ended: object) -> int:
    """Nanoseconds between two moments in ISO 8601; 0 where one is not told."""
    try:
        first = datetime.fromisoformat(str(begun).replace("Z", "+00:00"))
        last = datetime.fromisoformat(str(ended).replace("Z", "+00:00"))
        return max(0, round((last - first).total_seconds() * 1e9))
    except (ValueError, TypeError, OverflowError):
        return 0


def error_of(kind: str, said: object) -> ErrorInfo | None:
    """An error as a stack tells it, by its text or an object with a message."""
    if not said:
        return None
    message = said.get("message") if isinstance(said, dict) else said
    return ErrorInfo(type=kind, message=str(message))


def text_of(value: object) -> str:
    """Text, or nothing."""
    return value if isinstance(value, str) else ""


def from_json(value: object) -> object:
    """What a text says as JSON, where it is some."""
    if isinstance(value, str) and value[:1] in "{[":
        try:
            found: object = decode(value.encode("utf-8", "surrogatepass"))
        except CorruptError:
            return value
        return found
    return value


def count_of(usage: object, *names: str) -> int:
    """The first of these counts that is told; -1."""
    if isinstance(usage, dict):
        for name in names:
            if type(usage.get(name)) is int:
                return int(usage[name])
    return -1
