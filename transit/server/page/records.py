"""The records of a stream on the page: a few of them, as text.

Owns how a payload is shown, and how much of it: nothing a stream holds is anything but text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from transit import Record, Stream
from transit.server.page.texts import iso, moment, readable

RECORDS: Final = 100
TEXT_MAX: Final = 4_000
WHOLE_MAX: Final = 1024 * 1024


class RecordRow(msgspec.Struct, frozen=True):
    """A record as it is shown.

    time: UTC; at: the same for machines. text: of its payload, in hexadecimal where it is no text.
    size: of the payload, bytes. left: bytes of it that are not shown. origin: where it was appended
    first, "" for here.
    """

    offset: int
    time: str
    at: str
    text: str
    size: int
    left: int
    origin: str
    headers: Sequence[tuple[str, str]]


class Records(msgspec.Struct, frozen=True):
    """Some records. begin, end: their offsets; count: of all records; least: the first there is."""

    rows: list[RecordRow]
    begin: int
    end: int
    count: int
    least: int = 0


def records_of(stream: Stream, begin: int | None) -> Records:
    """The records from `begin` on, as far as they are there; the last ones for None."""
    count, least = len(stream), stream.first_offset
    first = max(least, count - RECORDS) if begin is None else min(max(begin, least), count)
    end = min(first + RECORDS, count)
    rows = [row_of(stream.name, record) for record in stream.read(first, end)]
    return Records(rows, first, end, count, least)


def record_of(stream: Stream, offset: int) -> Records:
    """One record, with all of its text up to `WHOLE_MAX`; `OffsetError` where there is none."""
    row = row_of(stream.name, stream[offset], WHOLE_MAX)
    return Records([row], row.offset, row.offset + 1, len(stream))


def row_of(place: str, record: Record, most: int = TEXT_MAX) -> RecordRow:
    """A record of the stream `place`."""
    data = bytes(record.payload)
    text, shown = _text(data, most)
    origin = record.origin
    is_here = (origin.stream, origin.offset) == (place, record.offset)
    return RecordRow(
        offset=record.offset,
        time=moment(record.timestamp),
        at=iso(record.timestamp),
        text=text,
        size=len(data),
        left=len(data) - shown,
        origin="" if is_here else f"{readable(origin.stream)}@{origin.offset}",
        headers=[(readable(key), readable(value)) for key, value in record.headers.items()],
    )


def _text(data: bytes, most: int) -> tuple[str, int]:
    """Text of a payload, and of how many bytes."""
    part = data[:most]
    try:
        return readable(part.decode(), lines=True), len(part)
    except UnicodeDecodeError as error:
        # Cut inside a character: text up to there.
        if len(part) < len(data) and error.start > len(part) - 4:
            return readable(part[: error.start].decode(), lines=True), error.start
    part = data[: most // 4]
    return part.hex(" "), len(part)
