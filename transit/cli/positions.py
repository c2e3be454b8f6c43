"""From what was typed to streams and offsets of an open store."""

from __future__ import annotations

from transit import Log, OffsetError, Position, Stream
from transit.cli.values import Place


def has_records(count: int) -> str:
    """How many records there are, and their offsets, for a message."""
    if count < 2:
        return "it has one record, 0" if count else "it has no records"
    return f"it has {count} records, 0 to {count - 1}"


def offset_in(stream: Stream, offset: int) -> int:
    """`offset`, counted from the end when it is below 0; `OffsetError` before the beginning."""
    if offset >= 0:
        return offset
    count = stream.next_offset
    if count + offset < 0:
        raise OffsetError(f"{stream.name} has no offset {offset}; {has_records(count)}")
    return count + offset


def position_of(log: Log, place: Place) -> Position:
    """A position typed as `STREAM@OFFSET`; without an offset the stream's last record (-1: none).

    `OffsetError` past the head.
    """
    stream = log.stream(place.stream)
    count = stream.next_offset
    if place.offset is None:
        return Position(stream.name, count - 1)
    offset = offset_in(stream, place.offset)
    if offset >= count:
        raise OffsetError(f"{stream.name} has no offset {offset}; {has_records(count)}")
    return Position(stream.name, offset)
