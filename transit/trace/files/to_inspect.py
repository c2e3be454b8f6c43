"""A run as an Inspect AI log, `.eval`: a zip with a sample for the run, or one for each child run.

A run that only began others, as an evaluation does, is the log, and they are its samples; any other
run is the one sample of its log, with its child runs as spans in it. A score or label of a whole
run is a score of its sample, of an evaluation one of its results; other notes are `info` events.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from typing import IO, Final

from transit import Log
from transit.trace.events import (
    CallRequest,
    CallResult,
    Checkpoint,
    ChildRun,
    Custom,
    Evaluation,
    ModelCall,
    Note,
    ToolRequest,
    ToolResult,
    encode_json,
)
from transit.trace.files.joined import joined
from transit.trace.files.judgements import ABOUT, NOTE, metadata_of, standing, step_offsets, told
from transit.trace.files.runs import list_of, member, object_of, objects_of, plain_text, text_of
from transit.trace.files.source import JsonObject
from transit.trace.files.to_atif import moment
from transit.trace.files.turns import Call, answer_in, calls_in, split_content, text_in, turns_of
from transit.trace.reading import Trace, read
from transit.trace.records import EventRecord

_STOPS: Final = frozenset(
    ("stop", "max_tokens", "model_length", "tool_calls", "content_filter", "unknown")
)
_STOPPED: Final = {"end_turn": "stop", "length": "max_tokens", "tool_use": "tool_calls"}
_OF_SUMMARY: Final = ("id", "epoch", "input", "target", "scores")
# A zip without times of its own: the same run gives the same bytes.
_TIME: Final = (1980, 1, 1, 0, 0, 0)


def write(log: Log, trace: Trace, file: IO[bytes]) -> None:
    """Write the log of a run."""
    names = _samples_of(log, trace)
    samples = [read(log, name) for name in names] if names else [trace]
    summaries: list[object] = []
    usages: dict[str, JsonObject] = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
        header = _header(trace, samples, standing(trace) if names else [])
        start = {key: header[key] for key in ("version", "eval", "plan")}
        _member(opened, "_journal/start.json", start)
        for number, each in enumerate(samples, start=1):
            # A sample at a time is in memory.
            sample = _sample(log, each, number)
            _member(opened, f"samples/{number}_epoch_1.json", sample)
            summaries.append({key: sample[key] for key in _OF_SUMMARY})
            _add_usage(usages, object_of(sample["model_usage"]))
        header["stats"] = object_of(header["stats"]) | {"model_usage": usages}
        _member(opened, "summaries.json", summaries)
        _member(opened, "header.json", header)


def _member(opened: zipfile.ZipFile, name: str, value: object) -> None:
    info = zipfile.ZipInfo(name, _TIME)
    info.compress_type = zipfile.ZIP_DEFLATED
    opened.writestr(info, encode_json(value))


def _samples_of(log: Log, trace: Trace) -> list[str]:
    """The child runs of a run that did nothing else; empty for any other."""
    found = []
    for record in joined(trace):
        event = record.event
        if isinstance(event, ChildRun) and event.run in log and event.run not in found:
            found.append(event.run)
        elif isinstance(event, ModelCall | ToolRequest | CallRequest):
            return []
    return found


def _header(trace: Trace, samples: list[Trace], notes: list[Note]) -> JsonObject:
    first = next(iter(trace.stream.read(0, 1)), None) if len(trace.stream) else None
    begun = moment(first.timestamp if first else trace.created_at or 0)
    ended = begun
    status, error = "success", None
    for record in trace.stream.read(max(0, trace.stream.next_offset - 1)):
        ended = moment(record.timestamp)
    if (end := trace.ended) is not None and end.status != "completed":
        status = {"failed": "error", "cancelled": "cancelled"}[end.status]
        message = end.error.message if end.error else end.status
        if status == "error":
            error = {"message": message, "traceback": "", "traceback_ansi": ""}
    header: JsonObject = {
        "version": 2,
        "status": status,
        "eval": {
            "eval_id": trace.stream.uid,
            "run_id": trace.stream.uid,
            "created": begun,
            "task": text_of(trace.stream.metadata.get("task")) or trace.task_id,
            "task_id": trace.stream.uid,
            "task_version": 0,
            "task_attribs": {},
            "task_args": {},
            "dataset": {"name": trace.task_id, "samples": len(samples),
                        "sample_ids": list(range(1, len(samples) + 1))},
            "model": _model_of(samples) or "unknown",
            "model_args": {},
            "config": {},
            "packages": {},
            "metadata": {"run": trace.name},
        },
        "plan": {"name": "plan", "steps": [], "config": {}},
        "results": {"total_samples": len(samples), "completed_samples": len(samples),
                    "scores": list(map(_result_of, notes))},
        "stats": {"started_at": begun, "completed_at": ended, "model_usage": {}},
    }  # fmt: skip
    if error:
        header["error"] = error
    return header


def _result_of(note: Note) -> JsonObject:
    """A note on an evaluation, as a score of all its samples."""
    metrics: JsonObject = {}
    if note.score is not None:
        metrics[note.name] = {"name": note.name, "value": float(note.score)}
    return {
        "name": note.name, "scorer": note.author or note.name, "params": {}, "metrics": metrics,
        "metadata": metadata_of(note),
    }  # fmt: skip


def _model_of(samples: list[Trace]) -> str:
    for sample in samples:
        for record in sample:
            if isinstance(record.event, ModelCall):
                return record.event.request_model
    return ""


def _add_usage(usages: dict[str, JsonObject], more: JsonObject) -> None:
    for model, usage in more.items():
        known = usages.setdefault(model, {})
        for key, count in object_of(usage).items():
            before = known.get(key, 0)
            if isinstance(count, int) and isinstance(before, int):
                known[key] = before + count


# A sample


def _sample(log: Log, trace: Trace, number: int) -> JsonObject:
    writer = _Sample(log)
    writer.add_run(trace, "", frozenset())
    writer.add_notes()
    turns = turns_of(trace)
    messages: list[JsonObject] = []
    for turn in turns:
        message = {"role": turn.role, "content": turn.content}
        if turn.call_id:
            message["tool_call_id"] = turn.call_id
        calls = [each for each in turn.calls if each.name]
        messages.append(chat_message(message, calls))
        for call in calls:
            if call.status:
                said = {"role": "tool", "content": call.result, "tool_call_id": call.call_id}
                messages.append(chat_message(said, []) | {"function": call.name})
    asked = next((message for message in messages if message["role"] == "user"), None)
    sample: JsonObject = {
        "id": number, "epoch": 1,
        "input": [asked] if asked else "", "target": "",
        "messages": messages, "output": writer.output, "scores": writer.scores,
        "metadata": {"run": trace.name, "uid": trace.stream.uid},
        "store": {}, "events": writer.events, "model_usage": writer.usage, "attachments": {},
        "uuid": trace.stream.uid[:22],
    }  # fmt: skip
    if (end := trace.ended) is not None and end.status == "failed":
        text = end.error.message if end.error else "failed"
        trouble = end.error.traceback if end.error else ""
        sample["error"] = {"message": text, "traceback": trouble, "traceback_ansi": trouble}
    return sample


class _Sample:
    """The events of one sample being collected."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._spans: list[str] = []
        self.events: list[JsonObject] = []
        self.usage: dict[str, JsonObject] = {}
        self.scores: dict[str, JsonObject] = {}
        self.output: JsonObject = {"model": "", "choices": []}
        # Of each run its notes, the event it begins with, and its events by their offsets.
        self._noted: list[tuple[Trace, JsonObject | None, dict[int, JsonObject]]] = []

    def add_run(self, trace: Trace, span: str, above: frozenset[str]) -> None:
        """The events of a run; of a child run within a span. above: the runs it is inside of."""
        above |= {trace.name}
        tools: dict[str, JsonObject] = {}
        before = len(self._spans)
        beginning = len(self.events)
        by_offset: dict[int, JsonObject] = {}
        if span:
            self._begin(trace.created_at or 0, span, trace.name, "agent")
        self._noted.append((trace, self.events[beginning] if span else None, by_offset))
        last = trace.created_at or 0
        for record in joined(trace):
            last = record.timestamp
            event = record.event
            count = len(self.events)
            if isinstance(event, ChildRun):
                if event.run in self._log and event.run not in above:
                    self.add_run(read(self._log, event.run), f"{span}/{event.uid}", above)
            elif isinstance(event, ToolRequest):
                tools[event.tool_call_id] = self._tool(record, event)
            elif isinstance(event, ToolResult):
                self._tool_result(record, event, tools.pop(event.tool_call_id, None))
            else:
                self._event(record)
            if len(self.events) > count:
                by_offset[record.offset] = self.events[count]
        while len(self._spans) > before:
            self._end(last, self._spans[-1])

    def add_notes(self) -> None:
        """The notes on the runs: scores of the sample, or events about others."""
        numbers = {id(event): number for number, event in enumerate(self.events)}
        for trace, beginning, by_offset in self._noted:
            notes = standing(trace)
            offsets = step_offsets(trace, notes)
            for note in notes:
                about = beginning
                if note.at is not None:
                    about = by_offset.get(offsets.get(note.at, -1), beginning)
                is_whole = beginning is None and note.at is None
                if is_whole and (note.score is not None or note.label is not None):
                    self.scores[self._score_name(note)] = _score_of(note)
                else:
                    self._add_note(note, about, numbers)

    def _score_name(self, note: Note) -> str:
        """The name of a note's score, with that of its author where there is one of that name."""
        name = note.name
        if name in self.scores and note.author:
            name = f"{note.name} ({note.author})"
        number, plain = 2, name
        while name in self.scores:
            name, number = f"{plain} {number}", number + 1
        return name

    def _add_note(self, note: Note, about: JsonObject | None, numbers: dict[int, int]) -> None:
        event = self._base("info", note.noted_at)
        data: JsonObject = {NOTE: told(note)}
        event |= {"source": "transit.note", "data": data}
        if about is not None:
            # Only what a note is about needs an id.
            about["uuid"] = data[ABOUT] = f"event-{numbers[id(about)]}"
            if "span_id" in about:
                event["span_id"] = about["span_id"]

    def _base(self, kind: str, timestamp: int) -> JsonObject:
        event: JsonObject = {"event": kind, "timestamp": moment(timestamp), "working_start": 0}
        if self._spans:
            event["span_id"] = self._spans[-1]
        self.events.append(event)
        return event

    def _begin(self, timestamp: int, span: str, name: str, kind: str) -> None:
        parent = self._spans[-1] if self._spans else None
        self._spans.append(span)
        event = self._base("span_begin", timestamp)
        event |= {"id": span, "name": name, "type": kind}
        if parent:
            event["parent_id"] = parent

    def _end(self, timestamp: int, span: str) -> None:
        self._base("span_end", timestamp)["id"] = span
        self._spans = [each for each in self._spans if each != span]

    def _event(self, record: EventRecord) -> None:
        event = record.event
        if isinstance(event, ModelCall):
            self._model(record, event)
        elif isinstance(event, CallRequest):
            self._begin(record.timestamp, event.call_id, event.call_name, "call")
        elif isinstance(event, CallResult):
            if event.call_id in self._spans:
                self._end(record.timestamp, event.call_id)
        elif isinstance(event, Evaluation):
            value = event.score if event.score is not None else event.decision
            score: JsonObject = {
                "value": value,
                "answer": event.decision,
                "explanation": event.reason,
            }
            self.scores[event.evaluator_id] = score
            self._base("score", record.timestamp)["score"] = score
        elif isinstance(event, Checkpoint | Custom):
            name = event.name if isinstance(event, Custom) else "checkpoint"
            data = event.data if isinstance(event, Custom) else event.reason
            found = self._base("info", record.timestamp)
            found |= {"source": name, "data": data}

    def _model(self, record: EventRecord, event: ModelCall) -> None:
        request = event.request
        given = request if isinstance(request, list) else member(request, "messages")
        choice: JsonObject = {"stop_reason": _stop(event)}
        answer = answer_in(event.response)
        choice["message"] = chat_message(answer | {"role": "assistant"}, calls_in(answer, 0))
        output: JsonObject = {
            "model": event.response_model or event.request_model,
            "choices": [choice] if event.response is not None else [],
        }
        if (usage := _usage(event)) is not None:
            output["usage"] = usage
            _add_usage(self.usage, {event.request_model: usage})
        found = self._base("model", record.timestamp)
        found |= {
            "model": event.request_model,
            "input": [chat_message(each, calls_in(each, 0)) for each in objects_of(given)],
            "tools": [], "tool_choice": "auto", "config": {}, "output": output,
            "completed": moment(record.timestamp),
        }  # fmt: skip
        self.output = output

    def _tool(self, record: EventRecord, event: ToolRequest) -> JsonObject:
        found = self._base("tool", record.timestamp)
        found |= {
            "type": "function", "id": event.tool_call_id, "function": event.tool_name,
            "arguments": _arguments(event.arguments), "result": "", "events": [], "pending": True,
        }  # fmt: skip
        return found

    def _tool_result(
        self, record: EventRecord, event: ToolResult, found: JsonObject | None
    ) -> None:
        if found is None:
            request = ToolRequest(tool_call_id=event.tool_call_id, tool_name=event.tool_name)
            found = self._tool(record, request)
        found.pop("pending", None)
        found |= {"result": text_in(event.result), "completed": moment(record.timestamp)}
        if event.tool_status in ("failure", "timeout"):
            kind = "timeout" if event.tool_status == "timeout" else "unknown"
            message = event.error.message if event.error else event.tool_status
            found["error"] = {"type": kind, "message": message}


def _score_of(note: Note) -> JsonObject:
    return {
        "value": note.label if note.score is None else note.score,
        "explanation": note.comment or None, "metadata": metadata_of(note),
    }  # fmt: skip


def _stop(event: ModelCall) -> str:
    reason = event.finish_reasons[0] if event.finish_reasons else "stop"
    reason = _STOPPED.get(reason, reason)
    return reason if reason in _STOPS else "unknown"


def _usage(event: ModelCall) -> JsonObject | None:
    if event.input_tokens < 0 and event.output_tokens < 0:
        return None
    counts = max(0, event.input_tokens), max(0, event.output_tokens)
    return {"input_tokens": counts[0], "output_tokens": counts[1], "total_tokens": sum(counts)}


def _arguments(given: object) -> JsonObject:
    return given if isinstance(given, dict) else {"input": given}


def chat_message(message: JsonObject, calls: list[Call]) -> JsonObject:
    """A message as Inspect has it: text, and calls with arguments by name."""
    content, reasoning, _ = split_content(message.get("content"))
    role = text_of(message.get("role"))
    role = role if role in ("system", "user", "assistant", "tool") else "user"
    text = "" if content is None else _plain(content)
    said: JsonObject = {"role": role, "content": text}
    if role == "tool" and (call_id := text_of(message.get("tool_call_id"))):
        said["tool_call_id"] = call_id
    if role == "assistant" and reasoning:
        said["content"] = [{"type": "reasoning", "reasoning": reasoning},
                           {"type": "text", "text": text}]  # fmt: skip
    if role == "assistant" and calls:
        said["tool_calls"] = [
            {"id": call.call_id, "function": call.name or "unknown", "type": "function",
             "arguments": _arguments(call.arguments)}
            for call in calls
        ]  # fmt: skip
    return said


def _plain(content: object) -> str:
    parts = list_of(content)
    return "\n".join(map(text_in, _texts(parts))) if parts else plain_text(content)


def _texts(parts: list[object]) -> Iterator[object]:
    for part in parts:
        text = object_of(part).get("text")
        yield text if isinstance(text, str) else part
