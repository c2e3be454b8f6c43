"""The view of a trace: a typed event of each record, made by the importer's conversion of spans.

Where a span starts there is the request, where it ends there is the outcome; what was set, logged
or completed in between is in the event that it belongs to. The trace's outermost span begins and
ends the run. Records hold more than events say: their payloads are whole OTLP documents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from transit import Record, Stream
from transit.adapters.otel.reading import documents, spans_of
from transit.trace.events import (
    CallRequest,
    CallResult,
    Custom,
    ErrorInfo,
    Event,
    ModelCall,
    ModelRequest,
    ModelResponse,
    RunEnd,
    ToolRequest,
    ToolResult,
    Unknown,
)
from transit.trace.files.otlp import event_of_log, logs_in
from transit.trace.files.runs import text_of
from transit.trace.files.source import JsonObject
from transit.trace.files.spans import Span, events_of_spans

LOG: Final = "otel.log"
COMPLETION: Final = "otel.completion"
PIECE: Final = "otel.piece"
BEGUN: Final = "otel.span"
_REQUESTS: Final = (ToolRequest, CallRequest)
_OUTCOMES: Final = (ToolResult, CallResult)


def view(stream: Stream) -> Callable[[Record], Event | Unknown]:
    """See `transit.trace.register_view`."""
    reading = _Reading(stream)
    return reading.take


class _Reading:
    """One reading of a stream: what is known of its spans from all that is there already."""

    def __init__(self, stream: Stream) -> None:
        self._name = stream.name
        self._spans: dict[str, Span] = {}
        self._begun: set[str] = set()
        known = list(stream)
        for span in spans_of(documents(known, stream.name)):
            self._spans[span.span_id] = span
        self._last: dict[tuple[str, str], int] = {}
        for record in known:
            kind, span_id = record.headers.get("kind", ""), record.headers.get("span", "")
            # The first end counts, and of a document in pieces the last one.
            if kind == "start" or "piece" in record.headers:
                self._last[kind, span_id] = record.offset
            else:
                self._last.setdefault((kind, span_id), record.offset)

    def take(self, record: Record) -> Event | Unknown:
        """The event of the next record."""
        kind, span_id = record.headers.get("kind", ""), record.headers.get("span", "")
        if kind == "completion":
            return Custom(name=COMPLETION, data={"span_id": span_id})
        if self._last.get((kind, span_id), record.offset) != record.offset and kind != "log":
            return Custom(name=PIECE, data={"span_id": span_id, "of": kind})
        if kind == "log":
            return self._log(record)
        span = self._spans.get(span_id) or self._new(record)
        if span is None:
            return Unknown("otel", None)
        if kind == "start":
            self._begun.add(span_id)
            return _started(span)
        if span.end_ns is None:
            # It came after the reading began.
            span = self._new(record) or span
        return _ended(span, span_id in self._begun)

    def _new(self, record: Record) -> Span | None:
        found = spans_of(documents([record], self._name))
        return found[0] if found else None

    def _log(self, record: Record) -> Event | Unknown:
        for told in documents([record], self._name):
            for found in logs_in(told.document):
                event = event_of_log(found.given)
                said: JsonObject = {"name": event.name, **event.attributes}
                severity = found.given.get("severityText")
                if severity:
                    said["severity"] = severity
                return Custom(name=LOG, data=said)
        return Custom(name=PIECE, data={"of": "log"})


def _is_run(span: Span) -> bool:
    """Whether a span is the whole run: the outermost, and not a call of a tool."""
    return not span.parent_id and span.role != "tool"


def _events(span: Span) -> list[Event]:
    return [each.event for each in events_of_spans([span])]


def _model_call(span: Span) -> ModelCall | None:
    found = next((each for each in _events(span) if isinstance(each, ModelCall)), None)
    return None if found is None else msgspec.structs.replace(found, duration_ns=_duration(span))


def _started(span: Span) -> Event:
    if span.role == "model":
        call = _model_call(span)
        if call is not None and not (_is_run(span) and span.end_ns is not None):
            return ModelRequest(
                model_id=span.span_id, request_model=call.request_model, operation=call.operation,
                provider=call.provider, request=call.request,
            )  # fmt: skip
        if call is not None:
            return call
    if not _is_run(span):
        found = next((each for each in _events(span) if isinstance(each, _REQUESTS)), None)
        if found is not None:
            return found
    return Custom(name=BEGUN, data={"name": span.name, **span.attributes})


def _ended(span: Span, is_begun: bool) -> Event:
    if _is_run(span) and is_begun:
        problem = span.problem
        return RunEnd(
            status="failed" if problem else "completed",
            error=ErrorInfo(type="", message=problem) if problem else None,
            duration_ns=_duration(span),
        )
    if span.role == "model":
        call = _model_call(span)
        if call is not None:
            return _response(span, call) if is_begun else call
    found = [each for each in _events(span) if isinstance(each, _OUTCOMES)]
    return found[-1] if found else Custom(name=BEGUN, data={"name": span.name, **span.attributes})


def _response(span: Span, call: ModelCall) -> ModelResponse:
    problem = span.problem
    kind = text_of(span.attributes.get("error.type"))
    return ModelResponse(
        model_id=span.span_id,
        model_status="failure" if problem else "success",
        request_model=call.request_model,
        response_model=call.response_model,
        response_id=call.response_id,
        finish_reasons=call.finish_reasons,
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
        usage=call.usage,
        response=call.response,
        error=ErrorInfo(type=kind, message=problem) if problem else None,
        duration_ns=call.duration_ns,
    )


def _duration(span: Span) -> int:
    return max(0, (span.end_ns or 0) - (span.start_ns or 0)) if span.end_ns else 0
