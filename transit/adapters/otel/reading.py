"""What was recorded of traces, read back: documents, spans, and how many have ended.

Needs no SDK. Spans are those of `transit.trace.files`, which makes typed events of them too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

import transit
from transit import CorruptError, Record, Stream
from transit.adapters.otel.conversations import Conversations
from transit.adapters.otel.recording import LOGS, PREFIX, is_ours
from transit.trace.files.otlp import event_of_log, ids_of_log, logs_in, read_span, spans_in
from transit.trace.files.source import JsonObject
from transit.trace.files.span_messages import SpanEvent
from transit.trace.files.spans import Span


class Told(NamedTuple):
    """A document of a stream. offset: of its (last) record. kind, span: as its headers say.

    size: bytes, as recorded.
    """

    offset: int
    kind: str
    span: str
    document: JsonObject
    size: int


def documents(records: Iterable[Record], name: str = "") -> Iterator[Told]:
    """The OTLP documents of a stream's records, in order; completions as log records.

    name: of the stream, for messages. Raises `CorruptError` where a record holds none.
    """
    conversations = Conversations()
    parts: dict[str, list[bytes]] = {}
    for record in records:
        headers = record.headers
        kind, span = headers.get("kind", ""), headers.get("span", "")
        payload = record.payload
        piece = headers.get("piece")
        if piece is not None:
            number, _, count = piece.partition("/")
            key = f"{kind} {span}"
            if number == "0":
                parts[key] = []
            found = parts.setdefault(key, [])
            found.append(payload)
            if len(found) < int(count):
                continue
            payload = b"".join(parts.pop(key))
        try:
            document = msgspec.json.decode(payload)
        except ValueError as error:
            place = f"{name}@{record.offset}"
            raise CorruptError(place, expected="an OTLP document", found=str(error)) from None
        if kind == "completion":
            document = conversations.whole(document)
        yield Told(record.offset, kind, span, document, len(payload))


def traces(log: transit.Log) -> Iterator[Stream]:
    """The streams of traces, in the order in which they began."""
    for stream in log.streams(PREFIX):
        if stream.name != LOGS and is_ours(stream):
            yield stream


def spans(stream: Stream) -> list[Span]:
    """The spans of a trace, in the order in which they started; open ones have no `end_ns`.

    What was logged and completed within a span is among its events.
    """
    return spans_of(documents(stream, stream.name))


def spans_of(told: Iterable[Told]) -> list[Span]:
    """The spans of documents; of two that ended under one id, the first."""
    found: dict[str, Span] = {}
    ended: set[str] = set()
    events: dict[str, list[SpanEvent]] = {}
    for each in told:
        for one in spans_in(each.document):
            span = read_span(one)
            if span is None:
                continue
            if each.kind == "end" and span.span_id not in ended:
                ended.add(span.span_id)
                found[span.span_id] = span
            else:
                found.setdefault(span.span_id, span)
        for log in logs_in(each.document):
            _, span_id = ids_of_log(log.given)
            events.setdefault(span_id, []).append(event_of_log(log.given))
    for span_id, more in events.items():
        if span_id in found:
            span = found[span_id]
            found[span_id] = msgspec.structs.replace(span, events=[*span.events, *more])
    return list(found.values())


def count(folder: str | os.PathLike[str]) -> tuple[int, int]:
    """How many spans of all traces in a store have ended, and how many are open."""
    ended = still = 0
    with transit.open(folder, mode="read") as log:
        for stream in traces(log):
            kinds: dict[str, bool] = {}
            for record in stream:
                kind = record.headers.get("kind")
                if kind in ("start", "end"):
                    span = record.headers["span"]
                    kinds[span] = kinds.get(span, False) or kind == "end"
            ended += sum(kinds.values())
            still += len(kinds) - sum(kinds.values())
    return ended, still
