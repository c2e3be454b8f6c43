"""Notes on runs in files of other tools: which are written, on what, and how they come back.

Owns what all formats share. A file holds the newest note by each author under each name of each
place; what they superseded stays in the store. Beside what a format has for judgements stands the
whole note as JSON, under `NOTE`: by it an import knows a note from what a run said of itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from transit.trace.events import (
    CallChunk,
    CallRequest,
    CallResult,
    ModelChunk,
    ModelRequest,
    ModelResponse,
    Note,
    ToolRequest,
    ToolResult,
)
from transit.trace.files.runs import INT64_MAX, read_arguments
from transit.trace.files.source import JsonObject
from transit.trace.reading import Trace

# The member, of an object that holds a judgement, that is the whole note.
NOTE: Final = "transit_note"
# Beside it, where that does not show: the format's id of what the note is about.
ABOUT: Final = "about"
# What a note on a record says in its metadata that is about the whole run where it was imported.
SOURCE_AT: Final = "source_at"


def standing(trace: Trace) -> list[Note]:
    """The notes on a run that no later one supersedes."""
    newest = {(note.name, note.author, note.at): note for note in trace.notes}
    return list(newest.values())


def told(note: Note) -> JsonObject:
    """A note as JSON."""
    made: JsonObject = msgspec.to_builtins(note)
    return made


def metadata_of(note: Note) -> JsonObject:
    """What a note says besides, for formats that have metadata of a judgement: and the note."""
    return {**note.metadata, NOTE: told(note)}


def note_in(given: object) -> Note | None:
    """The note that an object, or JSON in a text, is; None for what is none that may be written."""
    try:
        note = msgspec.convert(read_arguments(given), Note)
    except msgspec.ValidationError:
        return None
    score = note.score
    is_good = score is None or (
        math.isfinite(score) if isinstance(score, float) else abs(score) <= INT64_MAX
    )
    is_said = score is not None or note.label is not None or bool(note.comment)
    if not (note.name and is_good and is_said and abs(note.noted_at) <= INT64_MAX):
        return None
    # Where it is too large for a record it names an artifact, which is in another store.
    return None if note.large else note


def placed(note: Note, offset: int | None) -> Note:
    """A note on a record of the run it came from, in a run that has this one for it, or None."""
    if note.at is None or offset is not None:
        return msgspec.structs.replace(note, at=offset)
    metadata = {**note.metadata, SOURCE_AT: note.at}
    return msgspec.structs.replace(note, at=None, metadata=metadata)


def step_offsets(trace: Trace, notes: Iterable[Note]) -> Mapping[int, int]:
    """Of records that notes are about: the record that an export writes their step from.

    That is the answer of a model, where there is one, and the request of every other call.
    """
    if all(note.at is None for note in notes):
        return {}
    found: dict[int, int] = {}
    open_calls: dict[tuple[str, str], int] = {}
    open_models: dict[str, list[int]] = {}
    for record in trace:
        event, offset = record.event, record.offset
        found[offset] = offset
        if isinstance(event, ModelRequest):
            open_models[event.model_id] = [offset]
        elif isinstance(event, ModelChunk):
            waiting = open_models.get(event.model_id, [])
            waiting.append(offset)
            found[offset] = waiting[0]
        elif isinstance(event, ModelResponse):
            found |= dict.fromkeys(open_models.pop(event.model_id, []), offset)
        elif isinstance(event, ToolRequest):
            open_calls["tool", event.tool_call_id] = offset
        elif isinstance(event, ToolResult):
            found[offset] = open_calls.pop(("tool", event.tool_call_id), offset)
        elif isinstance(event, CallRequest):
            open_calls["call", event.call_id] = offset
        elif isinstance(event, CallChunk):
            found[offset] = open_calls.get(("call", event.call_id), offset)
        elif isinstance(event, CallResult):
            found[offset] = open_calls.pop(("call", event.call_id), offset)
    return found
