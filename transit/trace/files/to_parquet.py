"""A run, and its child runs, as a Parquet table with a row an event.

run, uid, parent_run      the stream, its uid, and the run it was begun in
offset, time              of the record, of a note among the notes; time is UTC, nanoseconds
event                     the kind, as it is stored
role, name                of a message; of a tool, call, evaluator, model, note or other event;
                          role is the author of a note
call_id, status           of calls, their results, checkpoints and ends
model, input_tokens, output_tokens, duration_ns, score    null where not known
text                      what was said, as text
data                      the whole event as JSON
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, Final

from transit import InvalidInputError, Log
from transit.trace.events import (
    CallRequest,
    CallResult,
    Checkpoint,
    ChildRun,
    Custom,
    Evaluation,
    Message,
    ModelCall,
    ModelRequest,
    ModelResponse,
    Note,
    RunEnd,
    ToolRequest,
    ToolResult,
    encode_json,
)
from transit.trace.files.source import JsonObject
from transit.trace.files.turns import answer_in, text_in
from transit.trace.noting import stream_of_notes
from transit.trace.reading import Trace, read
from transit.trace.records import EventRecord, events_of

if TYPE_CHECKING:
    import pyarrow

_ROWS: Final = 1000
_NESTED_MAX: Final = 10_000


def write(log: Log, trace: Trace, file: IO[bytes]) -> None:
    """Write the table, some rows at a time."""
    try:
        # Loaded here: it is an extra, and takes longer to load than all of transit.
        import pyarrow as pa
        from pyarrow import parquet  # the same
    except ImportError:
        raise InvalidInputError("Parquet needs pyarrow: pip install 'transit[arrow]'") from None
    schema = _schema(pa)
    with parquet.ParquetWriter(file, schema) as writer:
        for rows in _parts(log, trace):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _schema(pa: Any) -> pyarrow.Schema:
    text, number = pa.string(), pa.int64()
    return pa.schema(
        [
            ("run", text), ("uid", text), ("parent_run", text), ("offset", number),
            ("time", pa.timestamp("ns", tz="UTC")), ("event", text), ("role", text),
            ("name", text), ("call_id", text), ("status", text), ("model", text),
            ("input_tokens", number), ("output_tokens", number), ("duration_ns", number),
            ("score", pa.float64()), ("text", text), ("data", text),
        ]
    )  # fmt: skip


def _parts(log: Log, trace: Trace) -> Iterator[list[JsonObject]]:
    rows: list[JsonObject] = []
    for run, record in _records(log, trace):
        rows.append(_row(run, record))
        if len(rows) == _ROWS:
            yield rows
            rows = []
    yield rows


def _records(log: Log, trace: Trace) -> Iterator[tuple[Trace, EventRecord]]:
    """The records of the run, and the notes on it, then of its child runs, each run once."""
    waiting, seen = [trace], {trace.name}
    while waiting:
        run = waiting.pop(0)
        for record in run:
            yield run, record
            event = record.event
            if isinstance(event, ChildRun) and event.run in log and event.run not in seen:
                if len(seen) < _NESTED_MAX:
                    waiting.append(read(log, event.run))
                seen.add(event.run)
        notes = stream_of_notes(log, run.stream)
        for record in () if notes is None else events_of(log, notes):
            yield run, record


def _row(run: Trace, record: EventRecord) -> JsonObject:
    event = record.event
    plain = json.loads(encode_json(event))
    parent = run.stream.metadata.get("parent_run")
    row: JsonObject = {
        "run": run.name, "uid": run.stream.uid,
        "parent_run": parent if isinstance(parent, str) else None,
        "offset": record.offset, "time": record.timestamp, "event": plain.get("event"),
        "data": encode_json(event).decode(),
    }  # fmt: skip
    row |= _of_kind(event)
    return {key: _clean(value) if isinstance(value, str) else value for key, value in row.items()}


def _of_kind(event: object) -> JsonObject:  # noqa: PLR0911, PLR0912 - a kind of event each
    if isinstance(event, Message):
        return {"role": event.role, "text": text_in(event.content)}
    if isinstance(event, ModelCall):
        answer = answer_in(event.response) if event.response is not None else {}
        return {
            "role": "assistant", "name": event.operation, "model": event.request_model,
            "input_tokens": _known(event.input_tokens),
            "output_tokens": _known(event.output_tokens),
            "text": text_in(answer.get("content")),
        }  # fmt: skip
    if isinstance(event, ModelRequest):
        return {"name": event.operation, "model": event.request_model, "call_id": event.model_id}
    if isinstance(event, ModelResponse):
        answer = answer_in(event.response) if event.response is not None else {}
        return {
            "role": "assistant", "model": event.request_model, "call_id": event.model_id,
            "status": event.model_status, "duration_ns": event.duration_ns or None,
            "input_tokens": _known(event.input_tokens),
            "output_tokens": _known(event.output_tokens),
            "text": text_in(answer.get("content")),
        }  # fmt: skip
    if isinstance(event, ToolRequest):
        return {"name": event.tool_name, "call_id": event.tool_call_id,
                "text": text_in(event.arguments)}  # fmt: skip
    if isinstance(event, ToolResult):
        return {"name": event.tool_name, "call_id": event.tool_call_id,
                "status": event.tool_status, "duration_ns": event.duration_ns or None,
                "text": text_in(event.result)}  # fmt: skip
    if isinstance(event, CallRequest):
        return {"name": event.call_name, "call_id": event.call_id}
    if isinstance(event, CallResult):
        return {"name": event.call_name, "call_id": event.call_id, "status": event.call_status}
    if isinstance(event, Evaluation):
        score = None if event.score is None else float(event.score)
        return {"name": event.evaluator_id, "status": event.decision, "score": score,
                "text": event.reason}  # fmt: skip
    if isinstance(event, Note):
        score = None if event.score is None else float(event.score)
        return {"name": event.name, "role": event.author or None, "status": event.label,
                "score": score, "text": event.comment or None}  # fmt: skip
    if isinstance(event, Checkpoint):
        return {"name": event.checkpoint_kind, "status": event.status, "text": event.reason}
    if isinstance(event, RunEnd):
        return {"status": event.status, "text": event.error.message if event.error else None}
    return {"name": event.name if isinstance(event, Custom) else None}


def _known(count: int) -> int | None:
    return count if count >= 0 else None


def _clean(text: str) -> str:
    """Text that UTF-8 can say."""
    return text.encode("utf-8", "backslashreplace").decode()
