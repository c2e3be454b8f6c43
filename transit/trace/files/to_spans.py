"""A run as spans in OTLP's JSON, by OpenTelemetry's conventions for generative AI or OpenInference.

The run is the span of an agent, a call of a model or a tool a span in it, and so is what recorded
calls lie within. Child runs are spans of agents in the same trace. Messages, evaluations,
checkpoints and the program's own events are events of the agent's span. Notes are on the span of
the step they are about, else on the agent's: events `gen_ai.evaluation.result`, or annotations as
OpenInference has them. A trace's id is the run's uid, a span's is made of the run and the offset,
so the same run gives the same spans each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from blake3 import blake3

from transit import Log
from transit.trace.events import (
    CallRequest,
    CallResult,
    ChildRun,
    Evaluation,
    Message,
    ModelCall,
    Note,
    RunEnd,
    ToolRequest,
    ToolResult,
    encode_json,
)
from transit.trace.files.joined import joined
from transit.trace.files.judgements import NOTE, standing, step_offsets, told
from transit.trace.files.runs import object_of, text_of
from transit.trace.files.source import JsonObject
from transit.trace.files.span_attributes import (
    NOTED_RUN,
    OPENINFERENCE,
    agent_attributes,
    annotation_attributes,
    any_value,
    model_attributes,
    tool_attributes,
    tool_result_attributes,
)
from transit.trace.reading import Trace, read
from transit.trace.records import EventRecord

_INTERNAL, _CLIENT = 1, 3
_ERROR: Final = 2


def document(log: Log, trace: Trace, convention: str) -> JsonObject:
    """A document of the run's spans. convention: "genai" or "openinference"."""
    spans: list[JsonObject] = []
    _Writer(log, convention, trace.stream.uid, spans).write(trace, "", frozenset())
    service = str(trace.stream.metadata.get("service") or "transit")
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": attributes({"service.name": service})},
                "scopeSpans": [{"scope": {"name": "transit.trace"}, "spans": spans}],
            }
        ]
    }


def attributes(given: JsonObject) -> list[JsonObject]:
    """Attributes in OTLP's form."""
    return [{"key": key, "value": any_value(value)} for key, value in given.items()]


class _Writer:
    """Writes the spans of runs into one trace."""

    def __init__(self, log: Log, convention: str, trace_id: str, spans: list[JsonObject]) -> None:
        self._log = log
        self._convention = convention
        self._trace_id = trace_id
        self._spans = spans
        self._noted: Counter[str] = Counter()

    def write(self, trace: Trace, parent: str, above: frozenset[str]) -> JsonObject:
        """The spans of a run, and of its child runs; its own. above: the runs it is inside of."""
        above |= {trace.name}
        run = _Run(self, trace, parent)
        for record in joined(trace):
            run.add(record)
            event = record.event
            if isinstance(event, ChildRun) and event.run in self._log and event.run not in above:
                # A run that was gone on with is begun more than once.
                child = self.write(read(self._log, event.run), run.innermost, above)
                run.spans[record.offset] = child
                above |= {event.run}
        return run.end()

    def span(self, name: str, kind: int, begun: int, parent: str, key: str) -> JsonObject:
        """A new span, its end open."""
        span: JsonObject = {
            "traceId": self._trace_id,
            "spanId": blake3(key.encode()).hexdigest(8),
            "name": name,
            "kind": kind,
            "startTimeUnixNano": str(begun),
            "attributes": [],
        }
        if parent:
            span["parentSpanId"] = parent
        self._spans.append(span)
        return span

    def note(self, span: JsonObject, note: Note, run: Trace) -> None:
        """Put a note on a run, or on a step of it, on a span."""
        if self._convention == OPENINFERENCE:
            key = str(span["spanId"])
            said = annotation_attributes(note, self._noted[key], run.stream.uid)
            self._noted[key] += 1
            _list(span, "attributes").extend(attributes(said))
            return
        about: JsonObject = {
            "gen_ai.evaluation.name": note.name,
            "gen_ai.evaluation.score.value": None if note.score is None else float(note.score),
            "gen_ai.evaluation.score.label": note.label,
            "gen_ai.evaluation.explanation": note.comment,
            NOTED_RUN: run.stream.uid,
            f"transit.{NOTE}": _json(told(note)),
        }
        _list(span, "events").append(_span_event("gen_ai.evaluation.result", note.noted_at, about))

    def describe(self, span: JsonObject, make: Callable[[str], JsonObject]) -> None:
        """Add attributes, as the convention has them."""
        _list(span, "attributes").extend(attributes(make(self._convention)))


class _Run:
    """One run's spans."""

    def __init__(self, writer: _Writer, trace: Trace, parent: str) -> None:
        self._writer = writer
        self._trace = trace
        self._open: dict[str, JsonObject] = {}
        self._steps: list[str] = []
        self._status = ""
        self._error = ""
        self._last = trace.created_at or 0
        first = next(iter(trace.stream.read(0, 1)), None) if len(trace.stream) else None
        begun = first.timestamp if first else self._last
        key = f"{trace.stream.uid}@"
        self._root = writer.span(f"invoke_agent {trace.name}", _INTERNAL, begun, parent, key)
        writer.describe(self._root, lambda convention: agent_attributes(convention, trace))
        self._events: list[JsonObject] = []
        # By the offset of the record that each was written from.
        self.spans: dict[int, JsonObject] = {}

    @property
    def innermost(self) -> str:
        """The id of the span that what comes next lies within."""
        return self._steps[-1] if self._steps else str(self._root["spanId"])

    def add(self, record: EventRecord) -> None:
        """The next event."""
        event, self._last = record.event, max(self._last, record.timestamp)
        if isinstance(event, ModelCall):
            span = self._begin(f"{event.operation} {event.request_model}", _CLIENT, record)
            self._writer.describe(span, lambda convention: model_attributes(convention, event))
            self._end(span, record.timestamp)
        elif isinstance(event, ToolRequest):
            span = self._begin(f"execute_tool {event.tool_name}", _INTERNAL, record)
            self._writer.describe(span, lambda convention: tool_attributes(convention, event))
            self._open[f"tool {event.tool_call_id}"] = span
        elif isinstance(event, ToolResult):
            self._tool_result(record, event)
        elif isinstance(event, CallRequest):
            span = self._begin(event.call_name, _INTERNAL, record)
            self._writer.describe(span, lambda _: _arguments(event.arguments))
            self._open[f"call {event.call_id}"] = span
            self._steps.append(str(span["spanId"]))
        elif isinstance(event, CallResult):
            self._call_result(record, event)
        elif isinstance(event, RunEnd):
            self._status = event.status
            self._error = event.error.message if event.error else ""
        elif not isinstance(event, ChildRun):
            self._event(record)

    def _begin(self, name: str, kind: int, record: EventRecord) -> JsonObject:
        key = f"{self._trace.stream.uid}@{record.offset}"
        span = self._writer.span(name, kind, record.timestamp, self.innermost, key)
        self.spans[record.offset] = span
        return span

    def _end(self, span: JsonObject, ended: int, error: str | None = None) -> None:
        span["endTimeUnixNano"] = str(max(ended, int(str(span["startTimeUnixNano"]))))
        if error is not None:
            span["status"] = {"code": _ERROR, "message": error}

    def _tool_result(self, record: EventRecord, event: ToolResult) -> None:
        span = self._open.pop(f"tool {event.tool_call_id}", None)
        if span is None:
            span = self._begin(f"execute_tool {event.tool_name}", _INTERNAL, record)
        self._writer.describe(span, lambda convention: tool_result_attributes(convention, event))
        failed = event.tool_status in ("failure", "timeout")
        error = event.error.message if event.error else event.tool_status
        self._end(span, record.timestamp, error if failed else None)

    def _call_result(self, record: EventRecord, event: CallResult) -> None:
        span = self._open.pop(f"call {event.call_id}", None)
        if span is None:
            self._event(record)
            return
        self._steps = [each for each in self._steps if each != span["spanId"]]
        if event.result is not None:
            self._writer.describe(span, lambda _: {"transit.result": _json(event.result)})
        failed = event.call_status == "failure"
        error = event.error.message if event.error else "failure"
        self._end(span, record.timestamp, error if failed else None)

    def _event(self, record: EventRecord) -> None:
        event = record.event
        if isinstance(event, Message):
            whole = object_of(event.message)
            name = f"gen_ai.{text_of(whole.get('role')) or 'user'}.message"
            about = {key: _scalar(value) for key, value in whole.items()}
        elif isinstance(event, Evaluation):
            name = "gen_ai.evaluation.result"
            about = {
                "gen_ai.evaluation.name": event.evaluator_id,
                "gen_ai.evaluation.score.label": event.decision,
                "gen_ai.evaluation.explanation": event.reason,
            }
            if event.score is not None:
                about["gen_ai.evaluation.score.value"] = float(event.score)
        else:
            kind = type(event).__name__.lower()
            name, about = f"transit.{kind}", {"transit.event": _json(event)}
        self._events.append(_span_event(name, record.timestamp, about))

    def end(self) -> JsonObject:
        """End the run's own span, which is given; what is open stays so."""
        self._root["events"] = self._events
        notes = standing(self._trace)
        offsets = step_offsets(self._trace, notes)
        for note in notes:
            place = -1 if note.at is None else offsets.get(note.at, -1)
            self._writer.note(self.spans.get(place, self._root), note, self._trace)
        failed = self._status in ("failed", "cancelled")
        self._end(self._root, self._last, (self._error or self._status) if failed else None)
        return self._root


def _span_event(name: str, time: int, about: JsonObject) -> JsonObject:
    said = {key: value for key, value in about.items() if value not in ("", None)}
    return {"name": name, "timeUnixNano": str(time), "attributes": attributes(said)}


def _list(span: JsonObject, key: str) -> list[JsonObject]:
    found = span.setdefault(key, [])
    assert isinstance(found, list)
    return found


def _arguments(given: object) -> JsonObject:
    """The arguments of a call: attributes of the span, where they are such."""
    if isinstance(given, dict):
        return {text_of(key) or "argument": _scalar(value) for key, value in given.items()}
    return {} if given is None else {"transit.arguments": _json(given)}


def _scalar(value: object) -> object:
    return value if isinstance(value, str | bool | int | float) else _json(value)


def _json(value: object) -> str:
    return encode_json(value).decode("utf-8", "backslashreplace")
