"""Spans and log records of the SDK as OTLP in JSON, one document each, lossless.

Owns what a value becomes (`AnyValue`: bytes as base64, numbers that are none as text, whole numbers
as text) and that what must not be recorded is replaced before anything is encoded: names, values,
keys, events, links, states, what made it. Redacting fails closed: where it fails, ids and times are
left. What made a span is encoded once for all its spans.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from transit.adapters.otel.redacting import Rewriter
from transit.trace import Redaction

JsonObject = dict[str, Any]

_INT64_MAX: Final = 2**63 - 1
_MAKERS_MAX: Final = 1024
_HAS_REMOTE: Final = 0x100
_IS_REMOTE: Final = 0x200
_DEPTH_MAX: Final = 100
_encode = msgspec.json.Encoder().encode


class Document(NamedTuple):
    """An OTLP document as JSON, and in how many places a policy changed it."""

    payload: bytes
    redacted: int


class Encoding:
    """Encodes under a policy, or none. Safe for threads."""

    def __init__(self, policy: Redaction | None) -> None:
        self.policy = policy
        # The beginning of documents by what made the span: kept with it, so that ids stay true.
        self._makers: dict[tuple[int, int, str], tuple[object, object, bytes, int]] = {}

    def started(self, span: Any) -> Document:
        """A span that has begun."""
        return self._span(span, _begun)

    def ended(self, span: Any) -> Document:
        """A span that has ended."""
        return self._span(span, _whole)

    def log(self, given: Any) -> Document:
        """A log record of the SDK, with what made it."""
        record = given.log_record
        head, count = self._maker(given.resource, given.instrumentation_scope, "Log")
        rewriter = None if self.policy is None else Rewriter(self.policy)
        try:
            found = _log(record, getattr(given, "dropped_attributes", 0), rewriter)
        except Exception:
            if rewriter is None:
                raise
            found, count = {"timeUnixNano": str(record.timestamp or 0)}, count + 1
        found |= _log_ids(record)
        return _document(head, found, count, rewriter)

    def _span(self, span: Any, read: Any) -> Document:
        head, count = self._maker(span.resource, span.instrumentation_scope, "Span")
        if self.policy is None:
            return _document(head, read(span, None), count, None)
        rewriter = Rewriter(self.policy)
        try:
            found = read(span, rewriter)
        except Exception:
            # Nothing of what it says.
            found, count = _ids(span) | _times(span) | {"name": rewriter.failed}, count + 1
        return _document(head, found, count, rewriter)

    def _maker(self, resource: Any, scope: Any, what: str) -> tuple[bytes, int]:
        key = (id(resource), id(scope), what)
        known = self._makers.get(key)
        if known is None:
            rewriter = None if self.policy is None else Rewriter(self.policy)
            about = _maker(resource, scope, rewriter)
            head = _head(about, what)
            known = (resource, scope, head, 0 if rewriter is None else rewriter.count)
            if len(self._makers) >= _MAKERS_MAX:
                self._makers.clear()
            self._makers[key] = known
        return known[2], known[3]


def _document(head: bytes, found: JsonObject, count: int, rewriter: Rewriter | None) -> Document:
    body = encode_plain(found)
    payload = b"".join((head, body, b"]}]}]}"))
    return Document(payload, count if rewriter is None else count + rewriter.count)


def encode_plain(found: object) -> bytes:
    """JSON of a tree; half characters, which JSON cannot have, become escapes."""
    try:
        return _encode(found)
    except UnicodeEncodeError:
        return _encode(_without_halves(found))


def _without_halves(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list):
        return [_without_halves(each) for each in value]
    if isinstance(value, dict):
        return {_without_halves(key): _without_halves(each) for key, each in value.items()}
    return value


def _head(about: tuple[JsonObject, JsonObject], what: str) -> bytes:
    of_resource, of_scope = (encode_plain(each)[:-1] for each in about)
    each = "spans" if what == "Span" else "logRecords"
    comma = b"," if len(of_resource) > 1 else b""
    inner = b"," if len(of_scope) > 1 else b""
    return b"".join(
        (
            f'{{"resource{what}s":['.encode(), of_resource, comma,
            f'"scope{what}s":['.encode(), of_scope, inner, f'"{each}":['.encode(),
        )
    )  # fmt: skip


def _maker(resource: Any, scope: Any, rewriter: Rewriter | None) -> tuple[JsonObject, JsonObject]:
    of_resource: JsonObject = {}
    of_scope: JsonObject = {}
    try:
        if resource is not None:
            of_resource["resource"] = {"attributes": pairs(resource.attributes, rewriter)}
            if resource.schema_url:
                of_resource["schemaUrl"] = _text(resource.schema_url, rewriter)
        if scope is not None:
            about: JsonObject = {"name": _text(scope.name or "", rewriter)}
            if scope.version:
                about["version"] = _text(scope.version, rewriter)
            attributes = getattr(scope, "attributes", None)
            if attributes:
                about["attributes"] = pairs(attributes, rewriter)
            of_scope["scope"] = about
            if getattr(scope, "schema_url", None):
                of_scope["schemaUrl"] = _text(scope.schema_url, rewriter)
    except Exception:
        if rewriter is None:
            raise
        rewriter.count += 1
        return {}, {}
    return of_resource, of_scope


def _ids(span: Any) -> JsonObject:
    context = span.context
    found: JsonObject = {
        "traceId": f"{context.trace_id:032x}", "spanId": f"{context.span_id:016x}",
    }  # fmt: skip
    parent = span.parent
    flags = int(context.trace_flags) | _HAS_REMOTE
    if parent is not None:
        found["parentSpanId"] = f"{parent.span_id:016x}"
        if parent.is_remote:
            flags |= _IS_REMOTE
    found["flags"] = flags
    return found


def _times(span: Any) -> JsonObject:
    found = {"startTimeUnixNano": str(span.start_time or 0)}
    if span.end_time is not None:
        found["endTimeUnixNano"] = str(span.end_time)
    return found


def _begun(span: Any, rewriter: Rewriter | None) -> JsonObject:
    found = _ids(span)
    if state := span.context.trace_state:
        found["traceState"] = _text(state.to_header(), rewriter)
    found["name"] = _text(span.name, rewriter)
    found["kind"] = span.kind.value + 1
    found["startTimeUnixNano"] = str(span.start_time or 0)
    if attributes := items_of(span.attributes):
        found["attributes"] = pairs(attributes, rewriter)
    if links := span.links:
        found["links"] = [_link(each, rewriter) for each in links]
    return found


def _whole(span: Any, rewriter: Rewriter | None) -> JsonObject:
    found = _begun(span, rewriter)
    found["endTimeUnixNano"] = str(span.end_time or 0)
    if events := span.events:
        found["events"] = [_event(each, rewriter) for each in events]
    if (status := span.status) is not None:
        code, description = status.status_code.value, status.description
        if code or description:
            found["status"] = {"code": code}
        if description:
            found["status"]["message"] = _text(description, rewriter)
    if count := span.dropped_attributes:
        found["droppedAttributesCount"] = count
    if count := span.dropped_events:
        found["droppedEventsCount"] = count
    if count := span.dropped_links:
        found["droppedLinksCount"] = count
    return found


def _event(event: Any, rewriter: Rewriter | None) -> JsonObject:
    found: JsonObject = {
        "timeUnixNano": str(event.timestamp), "name": _text(event.name, rewriter),
    }  # fmt: skip
    return _with_attributes(found, event, rewriter)


def _link(link: Any, rewriter: Rewriter | None) -> JsonObject:
    context = link.context
    flags = int(context.trace_flags) | _HAS_REMOTE | (_IS_REMOTE if context.is_remote else 0)
    found: JsonObject = {
        "traceId": f"{context.trace_id:032x}", "spanId": f"{context.span_id:016x}", "flags": flags,
    }  # fmt: skip
    if context.trace_state:
        found["traceState"] = _text(context.trace_state.to_header(), rewriter)
    return _with_attributes(found, link, rewriter)


def _with_attributes(found: JsonObject, given: Any, rewriter: Rewriter | None) -> JsonObject:
    if attributes := items_of(given.attributes):
        found["attributes"] = pairs(attributes, rewriter)
    if dropped := getattr(given, "dropped_attributes", 0):
        found["droppedAttributesCount"] = dropped
    return found


def _log(record: Any, dropped: int, rewriter: Rewriter | None) -> JsonObject:
    found: JsonObject = {}
    if record.timestamp:
        found["timeUnixNano"] = str(record.timestamp)
    if record.observed_timestamp:
        found["observedTimeUnixNano"] = str(record.observed_timestamp)
    if record.severity_number is not None:
        found["severityNumber"] = int(getattr(record.severity_number, "value", 0))
    if record.severity_text:
        found["severityText"] = _text(str(record.severity_text), rewriter)
    if record.body is not None:
        body = record.body if rewriter is None else rewriter.value(record.body)
        found["body"] = any_value(body)
    if attributes := items_of(record.attributes):
        found["attributes"] = pairs(attributes, rewriter)
    if dropped:
        found["droppedAttributesCount"] = dropped
    if name := getattr(record, "event_name", None):
        found["eventName"] = _text(name, rewriter)
    return found


def _log_ids(record: Any) -> JsonObject:
    found: JsonObject = {}
    if record.trace_id:
        found["traceId"] = f"{record.trace_id:032x}"
    if record.span_id:
        found["spanId"] = f"{record.span_id:016x}"
    if record.trace_flags:
        found["flags"] = int(record.trace_flags)
    return found


def _text(text: object, rewriter: Rewriter | None) -> str:
    if type(text) is not str:
        text = str(text)
    return text if rewriter is None else rewriter.text(text)


def items_of(attributes: Any) -> Mapping[str, object]:
    """Attributes as they are at this moment; other threads may go on setting some."""
    if attributes is None:
        return {}
    copy = getattr(attributes, "copy", None)
    found = dict(attributes) if copy is None else copy()
    return found if type(found) is dict or isinstance(found, Mapping) else dict(found)


def pairs(attributes: Mapping[str, object], rewriter: Rewriter | None) -> list[JsonObject]:
    """Attributes as OTLP's pairs of key and `AnyValue`."""
    if rewriter is not None:
        attributes = rewriter.members(attributes)
    return [
        {"key": key if type(key) is str else _shown(key), "value": {"stringValue": value}
         if type(value) is str else any_value(value)}
        for key, value in attributes.items()
    ]  # fmt: skip


def any_value(value: object, depth: int = 0) -> JsonObject:
    """A value as OTLP's `AnyValue`, lossless; what has no place there as text."""
    # First what attributes usually are: it takes long to ask whether a value is a mapping.
    if type(value) is str:
        return {"stringValue": value}
    if type(value) is tuple and depth < _DEPTH_MAX:
        return _array(value, depth)
    if isinstance(value, str):
        return {"stringValue": str.__str__(value)}
    if isinstance(value, int):
        return _whole_number(value)
    if isinstance(value, float):
        return {"doubleValue": value if math.isfinite(value) else _no_number(value)}
    if isinstance(value, bytes | bytearray | memoryview):
        return {"bytesValue": base64.b64encode(bytes(value)).decode()}
    return {} if value is None else _container(value, depth)


def _whole_number(value: int) -> JsonObject:
    if isinstance(value, bool):
        return {"boolValue": value}
    kind = "intValue" if abs(value) <= _INT64_MAX else "stringValue"
    return {kind: str(int(value))}


def _container(value: object, depth: int) -> JsonObject:
    if depth >= _DEPTH_MAX:
        return {"stringValue": "[too deep]"}
    if isinstance(value, Mapping):
        inner = [
            {"key": key if type(key) is str else _shown(key), "value": any_value(each, depth + 1)}
            for key, each in value.items()
        ]
        return {"kvlistValue": {"values": inner}}
    if isinstance(value, Sequence | set | frozenset):
        return _array(value, depth)
    return {"stringValue": _shown(value)}


def _array(value: Iterable[object], depth: int) -> JsonObject:
    return {"arrayValue": {"values": [any_value(each, depth + 1) for each in value]}}


def _no_number(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _shown(value: object) -> str:
    try:
        return str(value)
    except Exception:
        return f"[{type(value).__name__}]"
