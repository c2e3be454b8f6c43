"""Records as lines of JSON: with headers, times, writer and origin.

    {"offset": 4, "timestamp": …, "written": …, "writer": "ci", "headers": {…},
     "origin": {"stream": "a", "offset": 4}, "payload": "text"}

timestamp, written: UTC nanoseconds. headers, writer and origin are left out where there is nothing
to say: no headers, no writer, appended in this stream at this offset. A payload that is not UTF-8
is `payload_base64`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Final

import msgspec

from transit import InvalidInputError, Record


class OriginLine(msgspec.Struct, frozen=True):
    """Where a record was appended."""

    stream: str
    offset: int


class RecordLine(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A record as it is sent."""

    offset: int
    timestamp: int
    written: int
    writer: str = ""
    headers: Mapping[str, str] = {}
    origin: OriginLine | None = None
    payload: str | None = None
    payload_base64: str | None = None

    @property
    def data(self) -> bytes:
        """The payload's bytes; `InvalidInputError` where the line has none, or two."""
        return payload_of(self.payload, self.payload_base64)


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(RecordLine)


def payload_of(text: str | None, base64: str | None) -> bytes:
    """The payload that a line gives as text or as base64: one of the two."""
    if (text is None) == (base64 is None):
        raise InvalidInputError("a record has a payload or a payload_base64")
    try:
        return b64decode(base64, validate=True) if base64 is not None else (text or "").encode()
    except (ValueError, UnicodeEncodeError) as error:
        raise InvalidInputError(f"payload: {error}") from None


def encode_record(stream: str, record: Record) -> bytes:
    """The line of a record of `stream`, with its line feed."""
    origin = record.origin
    own = origin.stream == stream and origin.offset == record.offset
    text: str | None = None
    base64: str | None = None
    try:
        text = record.payload.decode()
    except UnicodeDecodeError:
        base64 = b64encode(record.payload).decode()
    line = RecordLine(
        record.offset,
        record.timestamp,
        record.written,
        record.writer,
        dict(record.headers),
        None if own else OriginLine(origin.stream, origin.offset),
        text,
        base64,
    )
    return _ENCODER.encode(line) + b"\n"


def decode_record(line: bytes) -> RecordLine:
    """The record of a line; `InvalidInputError` for what is none."""
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"not a record: {error}") from None
