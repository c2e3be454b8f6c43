"""Records as they are printed: one JSON object a line, their bare payloads, or a line for people.

Works on batches, so that a record costs a microsecond or two. A payload that is UTF-8 is text with
encoding "utf-8", any other is base64; "encoding" always says which.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, repeat, starmap
from operator import eq
from typing import Final, Literal

import msgspec

from transit import Batch, Record
from transit.cli.escapes import printable
from transit.cli.output import Output
from transit.cli.values import SECOND_NS, moment_text, second_text

Encoding = Literal["utf-8", "base64"]
RECORDS_AT_ONCE: Final = 1024
_PAYLOAD_SHOWN_MAX: Final = 500


class Origin(msgspec.Struct, frozen=True, gc=False):
    """The stream a record was appended to, and its offset there."""

    stream: str
    offset: int


class RecordLine(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A record as JSON; `origin` only when it is inherited, `headers` only when it has some.

    written: when, by the engine's clock; only where the timestamp is another.
    """

    stream: str
    offset: int
    timestamp: str
    payload: str
    encoding: Encoding
    headers: dict[str, str] = {}
    origin: Origin | None = None
    written: str | None = None
    writer: str = ""


class ValueLine(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A record whose payload is JSON, as that value."""

    stream: str
    offset: int
    timestamp: str
    value: msgspec.Raw
    headers: dict[str, str] = {}
    origin: Origin | None = None
    written: str | None = None
    writer: str = ""


_encoder: Final = msgspec.json.Encoder()


def record_lines(stream: str, batch: Batch, values: bool = False) -> Iterator[bytes]:
    """The records of a batch of `stream` as JSON lines, many lines at a time.

    values: payloads that are JSON as `value`.
    """
    lines = _value_lines(stream, batch) if values else batch_lines(stream, batch)
    for start in range(0, len(lines), RECORDS_AT_ONCE):
        yield _encoder.encode_lines(lines[start : start + RECORDS_AT_ONCE])


def batch_lines(stream: str, batch: Batch, origins: bool = True) -> list[RecordLine]:
    """The records of a batch of `stream`; with `origins` what a store says of them beside.

    That is where an inherited one is from, when each was written, and by which writer.
    """
    texts, encodings = _texts(batch.payloads)
    return list(
        map(
            RecordLine,
            repeat(stream),
            batch.offsets,
            moment_texts(batch.timestamps),
            texts,
            encodings,
            plain_headers(batch.headers),
            _origins(stream, batch) if origins else repeat(None),
            _written(batch) if origins else repeat(None),
            repeat(batch.writer if origins else ""),
        )
    )


def _value_lines(stream: str, batch: Batch) -> Sequence[RecordLine | ValueLine]:
    lines: list[RecordLine | ValueLine] = []
    for line, payload in zip(batch_lines(stream, batch), batch.payloads, strict=True):
        value = as_json(payload)
        if value is None:
            lines.append(line)
        else:
            lines.append(
                ValueLine(
                    line.stream,
                    line.offset,
                    line.timestamp,
                    value,
                    line.headers,
                    line.origin,
                    line.written,
                    line.writer,
                )
            )
    return lines


def payload_bytes(batch: Batch, end: bytes) -> Iterator[bytes]:
    """The payloads of a batch, each followed by `end`, many at a time."""
    payloads = batch.payloads
    for start in range(0, len(payloads), RECORDS_AT_ONCE):
        part = payloads[start : start + RECORDS_AT_ONCE]
        yield end.join([*part, b""])


def as_json(payload: bytes) -> msgspec.Raw | None:
    """The payload as a JSON value on one line, numbers as they are written; None for another."""
    try:
        payload.decode()
        value = msgspec.json.decode(payload, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return None
    one_line = b"\n" not in payload and b"\r" not in payload
    return value if one_line else msgspec.Raw(msgspec.json.format(payload, indent=-1))


def text_of(payload: bytes) -> tuple[str, Encoding]:
    """A payload as text, and how it was encoded."""
    try:
        return payload.decode(), "utf-8"
    except UnicodeDecodeError:
        return b64encode(payload).decode(), "base64"


def _texts(payloads: Sequence[bytes]) -> tuple[Iterable[str], Iterable[Encoding]]:
    try:
        return list(map(bytes.decode, payloads)), repeat("utf-8")
    except UnicodeDecodeError:
        both = list(map(text_of, payloads))
        return (text for text, _ in both), (encoding for _, encoding in both)


def moment_texts(timestamps: Sequence[int]) -> Iterator[str]:
    """RFC 3339 for each; the text of a second is made once for neighbours that share it."""
    last, second, start, text = None, "", 0, ""
    for timestamp in timestamps:
        # Records of one frame share their time.
        if timestamp != last:
            last = timestamp
            if not second or not 0 <= timestamp - start < SECOND_NS:
                seconds = timestamp // SECOND_NS
                second, start = second_text(seconds), seconds * SECOND_NS
            text = f"{second}.{timestamp - start:09d}Z"
        yield text


def plain_headers(headers: Sequence[Mapping[str, str]]) -> Iterator[dict[str, str]]:
    """Each as a dict; equal neighbours are the same object, and stay so."""
    last: Mapping[str, str] | None = None
    shown: dict[str, str] = {}
    for each in headers:
        if each is not last:
            last, shown = each, dict(each)
        yield shown


def _origins(stream: str, batch: Batch) -> Iterable[Origin | None]:
    source = batch.source
    if source.stream == stream and not source.shift:
        return repeat(None)
    return map(Origin, repeat(source.stream), batch.origins)


def _written(batch: Batch) -> Iterable[str | None]:
    """When each record was written, None where its timestamp says it."""
    pairs = list(zip(batch.written, batch.timestamps, strict=True))
    if all(starmap(eq, pairs)):
        return repeat(None)
    texts = moment_texts(batch.written)
    return (None if one == other else text for text, (one, other) in zip(texts, pairs, strict=True))


def print_batches(
    output: Output,
    stream: str,
    batches: Iterable[Batch],
    form: Callable[[str, Batch], Iterable[bytes]] | None = None,
) -> None:
    """Print batches of `stream`: as `form` says, else as JSON lines, or as lines for people."""
    if form is None and output.tables:
        for record in chain.from_iterable(batch.records() for batch in batches):
            output.line(shown(output, stream, record))
        return
    for batch in batches:
        for part in (form or record_lines)(stream, batch):
            output.raw(part)


def print_record(output: Output, stream: str, record: Record) -> None:
    """One record alone, as `print_batches` would print it."""
    if output.tables:
        output.line(shown(output, stream, record))
    else:
        output.raw(_encoder.encode(line_of(stream, record)) + b"\n")


def line_of(stream: str, record: Record) -> RecordLine:
    """One record of `stream` as JSON."""
    text, encoding = text_of(record.payload)
    origin = record.origin
    inherited = Origin(*origin) if origin != (stream, record.offset) else None
    when = moment_text(record.timestamp)
    headers = dict(record.headers)
    written = None if record.written == record.timestamp else moment_text(record.written)
    return RecordLine(
        stream, record.offset, when, text, encoding, headers, inherited, written, record.writer
    )


def shown(output: Output, stream: str, record: Record) -> str:
    """A record on one line for people: offset, time, headers, payload."""
    head = output.style(f"{printable(stream)}@{record.offset}", fg="cyan")
    when = output.style(moment_text(record.timestamp), dim=True)
    headers = " ".join(f"{key}={value}" for key, value in record.headers.items())
    payload = record.payload[:_PAYLOAD_SHOWN_MAX].decode("utf-8", "backslashreplace")
    more = len(record.payload) - _PAYLOAD_SHOWN_MAX
    parts = [head, when]
    if headers:
        parts.append(output.style(printable(headers), fg="yellow"))
    parts.append(printable(payload) + (f" … {more} bytes more" if more > 0 else ""))
    return "  ".join(parts)
