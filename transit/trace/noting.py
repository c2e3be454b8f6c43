"""Notes: what is said of a run after it was recorded, by people and by other programs.

The notes on the run with uid U are the records of stream `notes/U` of the layer `trace`; its
metadata has the uid as `about_uid`, and the name of then as `about_run`. The run's own stream is
not touched. So a run that is sealed, evicted, hidden or finished takes notes, and several processes
may write them.

A note supersedes what the same author said before under the same name of the same place of the run.
All stay in the stream.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from transit import AlreadyExistsError, InvalidInputError, Log, NotFoundError, OffsetError, Stream
from transit.trace.artifacts import LAYER
from transit.trace.events import Note, Totals, check_text, check_texts, decode_event
from transit.trace.names import HoldsStream, stream_of
from transit.trace.redaction import default_redaction
from transit.trace.values import plain
from transit.trace.writing import encode_event, redacted

PREFIX: Final = "notes/"
ABOUT_UID: Final = "about_uid"
ABOUT_RUN: Final = "about_run"
# The name of a score that an evaluation in the run is.
EVALUATION: Final = "evaluation"
_INT64_MAX: Final = (1 << 63) - 1


class Score(msgspec.Struct, frozen=True, gc=False):
    """The newest judgement by one author under one name.

    score: a number, or whether it is so. at: the record it is about, None: all of the run.
    Of an evaluation that the run recorded itself: name "evaluation", and its decision as label.
    """

    name: str
    author: str
    score: bool | int | float | None = None
    label: str | None = None
    at: int | None = None


def annotate(  # noqa: PLR0913 - as many things are said in a note
    log: Log,
    run: str | Stream | HoldsStream,
    name: str,
    *,
    score: bool | int | float | None = None,
    label: str | None = None,
    comment: str = "",
    author: str = "",
    at: int | None = None,
    metadata: Mapping[str, object] | None = None,
) -> Note:
    """Write a note on a run, which may have ended, and stays as it is: what was written.

    run: its name, its stream, a task or a trace. name: what the note is about, such as "correct".
    At least one of score, label and comment. at: an offset of the run, below 0 from its end; None:
    all of it. metadata: any values. What `set_redaction` said applies.
    Raises `NotFoundError` when the run is not in this store, `InvalidInputError` for an argument
    that is no such thing, `OffsetError` for an offset that the run does not have.
    """
    check_text(name, "name")
    _check(score, label, comment, author, metadata)
    stream = stream_of(log, run)
    note = Note(
        name=name,
        score=score,
        label=label,
        comment=comment,
        author=author,
        at=_place(stream, at),
        metadata=_members(metadata),
        noted_at=time.time_ns(),
    )
    policy = default_redaction()
    if policy is not None:
        cleaned = redacted(note, policy)
        assert isinstance(cleaned, Note)
        note = cleaned
    write_note(log, stream, encode_event(note), "os")
    return note


def write_note(log: Log, stream: Stream, payload: bytes, durability: str) -> None:
    """Write the record of a note on a run. durability: what the write waits for."""
    _notes_stream(log, stream).append(payload, timestamp=None, durability=durability)


def _check(score: object, label: object, comment: object, author: object, metadata: object) -> None:
    if score is not None and not _is_score(score):
        raise InvalidInputError(f"score must be a finite number or a bool, not {score!r}")
    if label is not None:
        check_text(label, "label")
    check_texts(comment=comment, author=author)
    if score is None and label is None and not comment:
        raise InvalidInputError("a note has at least one of score, label and comment")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InvalidInputError(f"metadata must be a mapping, not {metadata!r}")


def _is_score(score: object) -> bool:
    if type(score) is float:
        return math.isfinite(score)
    # What is larger is no number to other readers of JSON.
    return type(score) is bool or (type(score) is int and abs(score) <= _INT64_MAX)


def _members(metadata: Mapping[str, object] | None) -> dict[str, object]:
    found = plain(dict(metadata or {}))
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in metadata or {}):
        raise InvalidInputError("metadata: its keys must be texts")
    return found


def _place(stream: Stream, at: object) -> int | None:
    """An offset of the run that there is."""
    if at is None:
        return None
    if type(at) is not int:
        raise InvalidInputError(f"at must be an offset of the run, not {at!r}")
    count = stream.next_offset
    offset = at + count if at < 0 else at
    if not 0 <= offset < count:
        raise OffsetError(f"at: {stream.name} has no offset {at}; it has {count} records")
    return offset


def _notes_stream(log: Log, stream: Stream) -> Stream:
    """Where the notes on a run are, made with the first one."""
    layer, name = log.layer(LAYER), f"{PREFIX}{stream.uid}"
    if name not in layer:
        about = {ABOUT_UID: stream.uid, ABOUT_RUN: stream.name}
        try:
            return layer.create(name, about, codec="json", durability="os")
        except AlreadyExistsError:
            # Another thread or process was faster.
            pass
    return layer.stream(name)


def notes_name(stream: Stream) -> str:
    """Name in the store of the stream that the notes on a run are in."""
    return f"${LAYER}/{PREFIX}{stream.uid}"


def notes(log: Log, run: str | Stream | HoldsStream) -> tuple[Note, ...]:
    """All notes on a run, in the order in which they were written."""
    stream = stream_of_notes(log, stream_of(log, run))
    return () if stream is None else notes_in(stream)


def stream_of_notes(log: Log, stream: Stream) -> Stream | None:
    """The stream that the notes on a run are in; None where there are none."""
    try:
        return log.stream(notes_name(stream))
    except NotFoundError:
        return None


def notes_in(stream: Stream) -> tuple[Note, ...]:
    """The notes in a stream of notes."""
    events = (decode_event(record.payload) for record in stream.read())
    return tuple(event for event in events if isinstance(event, Note))


def scores_of(totals: Totals, found: Iterable[Note]) -> tuple[Score, ...]:
    """The newest score or label by each author under each name, those of the run itself first."""
    made = [
        Score(EVALUATION, evaluator, score, decision)
        for evaluator, (decision, score) in totals.evaluations.items()
    ]
    newest = {(note.name, note.author, note.at): note for note in found}
    made += [
        Score(note.name, note.author, note.score, note.label, note.at)
        for note in newest.values()
        if note.score is not None or note.label is not None
    ]
    return tuple(made)
