"""OpenTelemetry spans as runs: the one conversion for files, servers and adapters.

Takes spans that are decoded already, from whatever carried them, and knows no wire format. Of
attributes it knows the conventions for generative AI (today's and those of 2024), OpenInference's
and OpenLLMetry's.

A trace is a run. A span of an agent inside another span is a child run; a call of a model is a
`ModelCall` where it ended, a call of a tool a request and a result, and every other span a call
that others lie within. What was judged of a span is an evaluation after it, or the note that it
was. What the events do not say of a span's attributes is kept beside them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from transit.trace.events import Message, ToolStatus
from transit.trace.files.runs import (
    Events,
    ImportedEvent,
    ImportedRun,
    Names,
    read_arguments,
    scalars,
    text_of,
)
from transit.trace.files.source import JsonObject
from transit.trace.files.span_judgements import SpanJudgements
from transit.trace.files.span_messages import SpanEvent, SpanMessages

NAME: Final = "otlp"
STATUS_ERROR: Final = 2

_MODEL_OPERATIONS: Final = frozenset(
    ("chat", "text_completion", "generate_content", "embeddings", "completion", "responses")
)
_MODEL_KINDS: Final = frozenset(("LLM", "EMBEDDING"))
_NAME_OF_TOOL: Final = ("gen_ai.tool.name", "tool.name", "traceloop.entity.name")
_ID_OF_CALL: Final = ("gen_ai.tool.call.id", "tool_call.id", "tool.call.id")
_ARGUMENTS: Final = (
    "gen_ai.tool.call.arguments", "tool.parameters", "input.value", "traceloop.entity.input",
    "gen_ai.tool.input",
)  # fmt: skip
_RESULT: Final = (
    "gen_ai.tool.call.result", "output.value", "traceloop.entity.output", "gen_ai.tool.output",
)  # fmt: skip
_NAME_OF_AGENT: Final = ("gen_ai.agent.name", "agent.name", "traceloop.entity.name")
_OF_A_MODEL: Final = (
    "gen_ai.operation.name", "openinference.span.kind", "gen_ai.request.model", "gen_ai.system",
    "gen_ai.provider.name", "gen_ai.response.model", "gen_ai.response.id",
    "gen_ai.response.finish_reasons", "llm.model_name", "llm.provider", "llm.system",
)  # fmt: skip
_USAGE: Final = ("gen_ai.usage.", "llm.token_count.", "llm.usage.")


class Span(msgspec.Struct, kw_only=True):
    """A decoded span. start_ns, end_ns: UTC nanoseconds, None where not said or not over.

    attributes: plain JSON values. status_code: 0 unset, 1 ok, 2 error. resource, scope: attributes
    of what made it; scope has `name` and `version` too. place: in the source, for messages.
    """

    trace_id: str
    span_id: str
    parent_id: str = ""
    name: str = ""
    kind: int = 0
    start_ns: int | None = None
    end_ns: int | None = None
    attributes: JsonObject = {}
    events: list[SpanEvent] = []
    links: list[JsonObject] = []
    status_code: int = 0
    status_message: str = ""
    resource: JsonObject = {}
    scope: JsonObject = {}
    place: str = ""

    def first(self, keys: Iterable[str]) -> object:
        """The first of these attributes that it has."""
        return next((self.attributes[key] for key in keys if key in self.attributes), None)

    @property
    def role(self) -> str:
        """What it is: "model", "tool", "agent", or "" for any other."""
        found = self.attributes
        operation = text_of(found.get("gen_ai.operation.name")).lower()
        kind = text_of(found.get("openinference.span.kind")).upper()
        looped = text_of(found.get("traceloop.span.kind")).lower()
        if operation in _MODEL_OPERATIONS or kind in _MODEL_KINDS or "llm.request.type" in found:
            return "model"
        if operation == "execute_tool" or kind == "TOOL" or looped == "tool":
            return "tool"
        if operation == "invoke_agent" or kind == "AGENT" or looped == "agent":
            return "agent"
        if not operation and not kind and not looped and "gen_ai.request.model" in found:
            return "model"
        return ""

    @property
    def problem(self) -> str:
        """What it failed with; "" where it did not."""
        if self.status_code != STATUS_ERROR:
            return ""
        for event in self.events:
            if event.name == "exception":
                told = text_of(event.attributes.get("exception.message"))
                return self.status_message or told or "error"
        return self.status_message or text_of(self.attributes.get("error.type")) or "error"


def runs_of_spans(spans: Iterable[Span], name_of: Callable[[str], str]) -> Iterator[ImportedRun]:
    """The traces that spans belong to as runs, in order of their first spans.

    name_of: the name of a trace's run, by its id. A span whose id was there before in its trace is
    left out: exporters send again what they are not sure of.
    """
    traces: dict[str, dict[str, Span]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, {}).setdefault(span.span_id, span)
    for trace_id, members in traces.items():
        yield from _Trace(trace_id, members, name_of(trace_id)).runs()


def events_of_spans(spans: Iterable[Span]) -> list[ImportedEvent]:
    """The events of spans of one trace, in one run whatever agents they are of, in order of time.

    For spans that come bit by bit: those inside another may come before it, in another bit.
    """
    members = {span.span_id: span for span in spans}
    if not members:
        return []
    (run,) = _Bit("", members, "").runs()
    return list(run.events)


_Keyed = tuple[tuple[int, int, int, int], ImportedEvent]


class _Trace:
    """One trace being turned into a run and its child runs."""

    def __init__(self, trace_id: str, spans: Mapping[str, Span], name: str) -> None:
        self._trace_id = trace_id
        self._spans = spans
        self._name = name
        self._names = Names()
        self._names.give(name)
        # The depth of each span, and the run it is in: the agent's span, "" for the trace's.
        self._depths: dict[str, int] = {}
        self._owners: dict[str, str] = {}
        self._keyed: dict[str, list[_Keyed]] = {"": []}
        self._run_names: dict[str, str] = {"": name}
        # The notes on each run.
        self._notes: dict[str, list[ImportedEvent]] = {"": []}
        for span in sorted(spans.values(), key=_begun):
            self._find_place(span)

    def runs(self) -> Iterator[ImportedRun]:
        """The runs, parents first."""
        ordered = sorted(self._spans.values(), key=lambda each: (self._depths[each.span_id],
                                                                 _begun(each)))  # fmt: skip
        for span in ordered:
            self._write(span)
        places: dict[str, tuple[str, int]] = {}
        first = min(self._spans.values(), key=_begun)
        for owner, keyed in self._keyed.items():
            run = self._run_names[owner]
            events = [event for _, event in sorted(keyed, key=lambda each: each[0])]
            for index, each in enumerate(events):
                child = getattr(each.event, "run", None)
                if child is not None:
                    places[child] = (run, index)
            about = {"trace_id": self._trace_id, "service": first.resource.get("service.name")}
            yield ImportedRun(
                name=run,
                events=[*events, *self._notes[owner]],
                metadata=scalars(about, about),
                child_of=places.get(run),
            )

    def _find_place(self, span: Span) -> None:
        """Work out depth and run, without going round where parents do."""
        chain: list[Span] = []
        seen: set[str] = set()
        here: Span | None = span
        while here is not None and here.span_id not in self._depths:
            if here.span_id in seen:
                break
            seen.add(here.span_id)
            chain.append(here)
            here = self._spans.get(here.parent_id)
        known = here.span_id if here is not None and here.span_id in self._depths else None
        depth = -1 if known is None else self._depths[known]
        owner = "" if known is None else self._inner(known)
        for each in reversed(chain):
            depth += 1
            self._depths[each.span_id] = depth
            self._owners[each.span_id] = owner
            owner = self._inner(each.span_id)

    def _inner(self, span_id: str) -> str:
        """The run that what lies within a span is in."""
        is_child = self._depths[span_id] > 0 and self._spans[span_id].role == "agent"
        return span_id if is_child else self._owners[span_id]

    def _write(self, span: Span) -> None:
        depth, owner = self._depths[span.span_id], self._owners[span.span_id]
        begin, end = _Moment(span, span.start_ns), _Moment(span, span.end_ns)
        inner = owner
        role = span.role
        judged = SpanJudgements(span.attributes, span.events)
        if role == "agent":
            inner = self._agent(span, depth, owner, begin)
        elif role == "model":
            _write_model(span, end if span.end_ns else begin, judged)
        elif role == "tool":
            _write_tool(span, begin, end, judged)
        else:
            _write_call(span, begin, end, judged)
        if role == "agent":
            self._write_agent(span, begin, end, judged)
        self._note(span, judged, inner, owner)
        for moment, phase, in_run in ((begin, 0, inner), (end, 1, inner)):
            keyed = self._keyed[in_run]
            deep = -depth if phase else depth
            time = moment.time if moment.time is not None else (span.start_ns or 0)
            for event in moment.events.take():
                keyed.append(((time, phase, deep, len(keyed)), event))

    def _write_agent(
        self, span: Span, begin: _Moment, end: _Moment, judged: SpanJudgements
    ) -> None:
        _write_agent(span, begin, end, judged)

    def _agent(self, span: Span, depth: int, owner: str, begin: _Moment) -> str:
        """The run of an agent's span: a child run, or the trace's own for the outermost."""
        if depth == 0:
            return owner
        label = text_of(span.first(_NAME_OF_AGENT)) or span.name or "agent"
        name = self._names.give(self._run_names[owner], label)
        self._run_names[span.span_id] = name
        self._keyed[span.span_id] = []
        self._notes[span.span_id] = []
        outer = Events(NAME)
        outer.at(span.place, span.start_ns, span.span_id)
        outer.child(name)
        keyed = self._keyed[owner]
        time = span.start_ns or 0
        keyed += [((time, 0, depth, len(keyed)), event) for event in outer.take()]
        return span.span_id

    def _note(self, span: Span, judged: SpanJudgements, inner: str, owner: str) -> None:
        """The notes on a span: on the run that it is, on the step that it is, or on the run."""
        uid = text_of(span.attributes.get("transit.uid"))
        for each in judged.all:
            if each.note is None:
                continue
            # What is on the span of a child run may be about the step of its parent that it is.
            is_outer = inner != owner and each.uid not in ("", uid)
            is_step = is_outer or span.role != "agent"
            made = ImportedEvent(
                each.note, span.end_ns, span.place, span.span_id if is_step else ""
            )
            self._notes[owner if is_outer else inner].append(made)


class _Bit(_Trace):
    """Spans of one trace that are told in the trace's own run."""

    def _inner(self, span_id: str) -> str:
        return ""

    def _agent(self, span: Span, depth: int, owner: str, begin: _Moment) -> str:
        return owner

    def _write_agent(
        self, span: Span, begin: _Moment, end: _Moment, judged: SpanJudgements
    ) -> None:
        if not span.parent_id:
            _write_agent(span, begin, end, judged)
            return
        for message in SpanMessages(span.attributes, span.events).spoken:
            begin.events.add(Message(message=message))
        # It ends before the run does.
        _write_call(span, begin, end, judged)


class _Moment:
    """Where a span begins or ends, and the events there."""

    def __init__(self, span: Span, time: int | None) -> None:
        self.events = Events(NAME)
        self.time = time
        self.events.at(span.place, time if time is not None else span.start_ns, span.span_id)


def _begun(span: Span) -> tuple[int, str]:
    return (span.start_ns or 0, span.span_id)


def _write_model(span: Span, at: _Moment, judged: SpanJudgements) -> None:
    found, said = span.attributes, SpanMessages(span.attributes, span.events)
    model = text_of(span.first(("gen_ai.request.model", "llm.model_name", "gen_ai.response.model")))
    reasons = found.get("gen_ai.response.finish_reasons")
    answered = text_of(found.get("gen_ai.response.model"))
    response = said.response
    if isinstance(response, dict) and answered:
        response = {**response, "model": answered}
    at.events.model_call(
        model=model,
        request=said.request,
        response=response,
        usage=usage_of(found),
        finish_reason=reasons[0] if isinstance(reasons, list) and reasons else reasons,
        response_id=found.get("gen_ai.response.id"),
        provider=text_of(span.first(("gen_ai.provider.name", "gen_ai.system", "llm.provider"))),
    )
    taken = (*_OF_A_MODEL, *(key for key in found if key.startswith(_USAGE)), *said.taken)
    _judge(at, judged)
    _keep(span, at, (*taken, *judged.taken), [*said.events_taken, *judged.events_taken])


def usage_of(attributes: JsonObject) -> JsonObject:
    """The counts of a model's span, under the names of the conventions where they have one."""
    names = {
        "llm.token_count.prompt": "input_tokens", "llm.token_count.completion": "output_tokens",
        "gen_ai.usage.prompt_tokens": "input_tokens",
        "gen_ai.usage.completion_tokens": "output_tokens",
    }  # fmt: skip
    counts: JsonObject = {}
    for key, value in attributes.items():
        if key.startswith(_USAGE):
            prefix = next(each for each in _USAGE if key.startswith(each))
            counts.setdefault(names.get(key, key.removeprefix(prefix)), value)
    return counts


def _write_tool(span: Span, begin: _Moment, end: _Moment, judged: SpanJudgements) -> None:
    call_id = text_of(span.first(_ID_OF_CALL)) or span.span_id
    name = text_of(span.first(_NAME_OF_TOOL)) or span.name.removeprefix("execute_tool ")
    begin.events.tool_request(call_id, name, span.first(_ARGUMENTS))
    taken = (*_ID_OF_CALL, *_NAME_OF_TOOL, *_ARGUMENTS, *_RESULT, "gen_ai.operation.name",
             "openinference.span.kind", *judged.taken)  # fmt: skip
    if span.end_ns is None:
        _judge(begin, judged)
        _keep(span, begin, taken, judged.events_taken)
        return
    problem = span.problem
    status: ToolStatus = "failure" if problem else "success"
    end.events.tool_result(
        call_id,
        read_arguments(span.first(_RESULT)),
        status=status,
        name=name,
        error=problem,
        duration_ns=_duration(span),
    )
    _judge(end, judged)
    _keep(span, end, taken, judged.events_taken)


def _write_agent(span: Span, begin: _Moment, end: _Moment, judged: SpanJudgements) -> None:
    said = SpanMessages(span.attributes, span.events)
    for message in said.spoken:
        begin.events.add(Message(message=message))
    taken = {*said.taken, *judged.taken}
    about = {key: value for key, value in span.attributes.items() if key not in taken}
    begin.events.context({"agent": span.name, **about})
    _judge(end if span.end_ns is not None else begin, judged)
    if span.end_ns is not None:
        problem = span.problem
        end.events.end("failed" if problem else "completed", problem)


def _write_call(span: Span, begin: _Moment, end: _Moment, judged: SpanJudgements) -> None:
    about = {key: value for key, value in span.attributes.items() if key not in judged.taken}
    begin.events.call_begin(span.span_id, span.name, about or None)
    if span.end_ns is None:
        _judge(begin, judged)
        return
    more: JsonObject = {}
    left = [msgspec.to_builtins(each) for each in span.events if each not in judged.events_taken]
    if left:
        more["events"] = left
    for key in ("links", "resource", "scope"):
        if getattr(span, key):
            more[key] = getattr(span, key)
    problem = span.problem
    end.events.call_end(span.span_id, span.name, more or None, error=problem or None)
    _judge(end, judged)


def _judge(at: _Moment, judged: SpanJudgements) -> None:
    """The evaluations of a span."""
    for each in judged.all:
        if each.note is None:
            each.add_to(at.events)


def _keep(
    span: Span, at: _Moment, taken: Iterable[str], events_taken: Iterable[SpanEvent] = ()
) -> None:
    """What the events do not say of a span."""
    whole: JsonObject = {"name": span.name, **span.attributes}
    if span.start_ns is not None:
        whole["start_ns"] = span.start_ns
    if span.problem:
        whole["error"] = span.problem
    used = list(events_taken)
    left = [msgspec.to_builtins(each) for each in span.events if each not in used]
    if left:
        whole["events"] = left
    at.events.rest(whole, taken)


def _duration(span: Span) -> int:
    return max(0, (span.end_ns or 0) - span.start_ns) if span.start_ns is not None else 0
