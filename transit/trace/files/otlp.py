"""OTLP as JSON: documents of spans, or a document a line, as exporters and collectors write them.

Owns the decoding: names in either case, numbers that are texts, ids in hexadecimal or base64. Log
records of the conventions for generative AI join the spans they name; metrics are left out. Spans
as Python's console exporter prints them are taken too. What spans become is in `spans`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from transit.trace.events import encode_json
from transit.trace.files.runs import (
    INT64_MAX,
    ImportedRun,
    Names,
    list_of,
    object_of,
    objects_of,
    read_time,
    text_of,
)
from transit.trace.files.source import JsonObject, Source
from transit.trace.files.span_messages import SpanEvent
from transit.trace.files.spans import NAME, STATUS_ERROR, Span, runs_of_spans

SPANS_MAX: Final = 1_000_000
NO_IDS: Final = "no trace id or span id"

_HEX: Final = re.compile(r"[0-9a-fA-F]+")
_CASE: Final = re.compile(r"([A-Z])")
_KINDS: Final = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUS: Final = {"OK": 1, "STATUS_CODE_OK": 1, "ERROR": 2, "STATUS_CODE_ERROR": 2}

__all__ = [
    "NAME",
    "NO_IDS",
    "Found",
    "detect",
    "event_of_log",
    "ids_of_log",
    "logs_in",
    "read_span",
    "read_value",
    "runs",
    "spans_in",
    "spans_of",
]


def detect(source: Source) -> bool:
    """Whether it is a document of spans or logs, a list of such, or lines of them."""
    if source.is_lines:
        return any(map(_is_ours, source.first_objects))
    whole = source.whole
    return _is_ours(whole) or any(map(_is_ours, list_of(whole)[:5]))


def _is_ours(value: object) -> bool:
    found = object_of(value)
    if any(isinstance(_get(found, key), list) for key in ("resourceSpans", "resourceLogs")):
        return True
    return _is_console_span(found)


def _is_console_span(found: JsonObject) -> bool:
    return "trace_id" in object_of(found.get("context")) and "start_time" in found


def runs(source: Source) -> Iterator[ImportedRun]:
    """A run for each trace, named after the file and the trace."""
    names = Names()
    stem = source.stem
    if source.is_lines:
        documents = ((f"line {number}, ", each) for number, _, each in source.objects())
    else:
        whole = source.document
        given = objects_of(whole) or [object_of(whole)]
        documents = ((f"document {n}, ", each) for n, each in enumerate(given))
    spans: list[Span] = []
    logs: list[tuple[str, JsonObject]] = []
    # What is counted is spans and log records, not the lines they are in.
    for place, document in documents:
        source.tally.records -= source.is_lines
        spans += spans_of(source, document, place)
        logs += _logs_of(document, place)
        if len(spans) > SPANS_MAX:
            raise source.refuse(f"more than {SPANS_MAX} spans")
        if isinstance(_get(document, "resourceMetrics"), list):
            source.tally.skipped += 1
    _join(source, spans, logs)
    yield from runs_of_spans(spans, lambda trace_id: names.give(stem, trace_id))


def spans_of(source: Source, document: JsonObject, place: str = "") -> Iterator[Span]:
    """The spans of one document; those without ids are bad."""
    if _is_console_span(document):
        source.tally.records += 1
        yield _console_span(document, place)
        return
    for found in spans_in(document, place):
        source.tally.records += 1
        span = read_span(found)
        if span is None:
            source.bad(found.place, NO_IDS)
        else:
            yield span


class Found(NamedTuple):
    """A span or a log record in a document, and the attributes of what made it.

    place: in the document, for messages. of_resource, of_scope: the objects that it is in.
    """

    place: str
    given: JsonObject
    resource: JsonObject
    scope: JsonObject
    of_resource: JsonObject
    of_scope: JsonObject


def spans_in(document: JsonObject, place: str = "") -> Iterator[Found]:
    """The spans of a document, as they are there."""
    number = 0
    for of_resource in objects_of(_get(document, "resourceSpans")):
        resource = _attributes(object_of(of_resource.get("resource")))
        scopes = _get(of_resource, "scopeSpans")
        if scopes is None:
            scopes = _get(of_resource, "instrumentationLibrarySpans")
        for of_scope in objects_of(scopes):
            scope = _scope(of_scope)
            for given in list_of(of_scope.get("spans")):
                where = f"{place}span {number}"
                yield Found(where, object_of(given), resource, scope, of_resource, of_scope)
                number += 1


def read_span(found: Found) -> Span | None:
    """The span; None where it has no ids."""
    return _span(found.given, found.resource, found.scope, found.place)


def _scope(of_scope: JsonObject) -> JsonObject:
    scope = object_of(of_scope.get("scope") or _get(of_scope, "instrumentationLibrary"))
    about = {key: scope[key] for key in ("name", "version") if scope.get(key)}
    return about | _attributes(scope)


def _span(given: JsonObject, resource: JsonObject, scope: JsonObject, place: str) -> Span | None:
    trace_id, span_id = _id(_get(given, "traceId"), 16), _id(_get(given, "spanId"), 8)
    if not trace_id or not span_id:
        return None
    status = object_of(given.get("status"))
    code = status.get("code")
    return Span(
        trace_id=trace_id,
        span_id=span_id,
        parent_id=_id(_get(given, "parentSpanId"), 8),
        name=text_of(given.get("name")),
        kind=_kind(given.get("kind")),
        start_ns=_time(_get(given, "startTimeUnixNano")),
        end_ns=_time(_get(given, "endTimeUnixNano")),
        attributes=_attributes(given),
        events=[
            SpanEvent(
                text_of(each.get("name")), _time(_get(each, "timeUnixNano")), _attributes(each)
            )
            for each in objects_of(given.get("events"))
        ],
        links=[
            {"trace_id": _id(_get(each, "traceId"), 16), "span_id": _id(_get(each, "spanId"), 8),
             **_attributes(each)}
            for each in objects_of(given.get("links"))
        ],
        status_code=code if type(code) is int else _STATUS.get(text_of(code), 0),
        status_message=text_of(status.get("message")),
        resource=resource,
        scope=scope,
        place=place,
    )  # fmt: skip


def _console_span(given: JsonObject, place: str) -> Span:
    context = object_of(given.get("context"))
    status = object_of(given.get("status"))
    return Span(
        trace_id=text_of(context.get("trace_id")).removeprefix("0x"),
        span_id=text_of(context.get("span_id")).removeprefix("0x"),
        parent_id=text_of(given.get("parent_id")).removeprefix("0x"),
        name=text_of(given.get("name")),
        kind=_kind(text_of(given.get("kind")).replace("SpanKind.", "SPAN_KIND_")),
        start_ns=read_time(given.get("start_time")),
        end_ns=read_time(given.get("end_time")),
        attributes=object_of(given.get("attributes")),
        events=[
            SpanEvent(
                text_of(each.get("name")), read_time(each.get("timestamp")),
                object_of(each.get("attributes")),
            )
            for each in objects_of(given.get("events"))
        ],
        status_code=STATUS_ERROR if status.get("status_code") == "ERROR" else 0,
        status_message=text_of(status.get("description")),
        resource=object_of(object_of(given.get("resource")).get("attributes")),
        place=place,
    )  # fmt: skip


def _logs_of(document: JsonObject, place: str) -> Iterator[tuple[str, JsonObject]]:
    for found in logs_in(document, place):
        yield found.place, found.given


def logs_in(document: JsonObject, place: str = "") -> Iterator[Found]:
    """The log records of a document, as they are there."""
    number = 0
    for of_resource in objects_of(_get(document, "resourceLogs")):
        resource = _attributes(object_of(of_resource.get("resource")))
        for of_scope in objects_of(_get(of_resource, "scopeLogs")):
            scope = _scope(of_scope)
            for given in objects_of(_get(of_scope, "logRecords")):
                where = f"{place}log record {number}"
                yield Found(where, given, resource, scope, of_resource, of_scope)
                number += 1


def ids_of_log(record: JsonObject) -> tuple[str, str]:
    """The trace and the span that a log record names, "" where it names none."""
    return _id(_get(record, "traceId"), 16), _id(_get(record, "spanId"), 8)


def event_of_log(record: JsonObject) -> SpanEvent:
    """A log record as an event of the span that it names."""
    attributes = _attributes(record)
    body = read_value(object_of(record.get("body")))
    found = body if isinstance(body, dict) else {"content": body} if body else {}
    name = text_of(_get(record, "eventName")) or text_of(attributes.get("event.name"))
    time = _time(_get(record, "timeUnixNano")) or _time(_get(record, "observedTimeUnixNano"))
    return SpanEvent(name, time, {**found, **attributes})


def _join(source: Source, spans: list[Span], logs: list[tuple[str, JsonObject]]) -> None:
    """Make events of the log records in the spans they name; one that names none is bad."""
    by_id = {(span.trace_id, span.span_id): span for span in spans} if logs else {}
    for place, record in logs:
        source.tally.records += 1
        span = by_id.get(ids_of_log(record))
        if span is None:
            source.bad(place, "names no span that is here")
            continue
        span.events = [*span.events, event_of_log(record)]


def _get(found: JsonObject, key: str) -> object:
    """A member by its name, in camel case or, as some write it, in snake case."""
    if key in found:
        return found[key]
    return found.get(_CASE.sub(lambda match: f"_{match[1].lower()}", key))


def _attributes(found: JsonObject) -> JsonObject:
    given = found.get("attributes")
    if isinstance(given, dict):
        return given
    return {
        text_of(each.get("key")): read_value(object_of(each.get("value")))
        for each in objects_of(given)
    }


def read_value(given: JsonObject) -> object:
    """The plain value of an `AnyValue`."""
    for key, value in given.items():
        kind = key.replace("_", "").lower()
        if kind == "intvalue":
            return _int(value)
        if kind == "arrayvalue":
            return [read_value(object_of(each)) for each in list_of(object_of(value).get("values"))]
        if kind == "kvlistvalue":
            return {
                text_of(each.get("key")): read_value(object_of(each.get("value")))
                for each in objects_of(object_of(value).get("values"))
            }
        if kind in ("stringvalue", "boolvalue", "doublevalue", "bytesvalue"):
            return value
    return None


def _int(value: object) -> object:
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) <= 20:
        return int(value)
    return value


def _time(value: object) -> int | None:
    number = _int(value)
    return number if type(number) is int and 0 < number <= INT64_MAX else None


def _kind(value: object) -> int:
    if type(value) is int:
        return value
    name = text_of(value).removeprefix("SPAN_KIND_")
    return _KINDS.index(name) if name in _KINDS else 0


def _id(value: object, size: int) -> str:
    """An id as lower-case hexadecimal digits; "" where there is none."""
    text = text_of(value)
    if len(text) == 2 * size and _HEX.fullmatch(text):
        found = text.lower()
    else:
        try:
            found = base64.b64decode(text, validate=True).hex()
        except (ValueError, binascii.Error):
            return ""
        if len(found) != 2 * size:
            return ""
    return found if found.strip("0") else ""


_OF_SCOPE: Final = ("scope", "instrumentationLibrary", "schemaUrl", "schema_url")
_OF_RESOURCE: Final = ("resource", "schemaUrl", "schema_url")


def document_of(of_all: str, of_scopes: str, of_each: str, found: Found) -> bytes:
    """A span or log record as a document of its own, with what made it."""
    scope = {**_kept(found.of_scope, _OF_SCOPE), of_each: [found.given]}
    resource = {**_kept(found.of_resource, _OF_RESOURCE), of_scopes: [scope]}
    return encode_json({of_all: [resource]})


def _kept(of: JsonObject, keys: Iterable[str]) -> JsonObject:
    return {key: of[key] for key in keys if key in of}
