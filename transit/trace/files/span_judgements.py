"""The judgements on a span: events of OpenTelemetry's conventions, and OpenInference's attributes.

events gen_ai.evaluation.result            name, score.value, score.label, explanation
annotations.<n>.annotation.…               name, score, label, explanation, identifier, metadata
evaluations.<n>.evaluation.…               the same

One that was a note in a store is a note again; any other is an evaluation in the run.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from transit.trace.events import Note
from transit.trace.files.judgements import NOTE, note_in
from transit.trace.files.runs import Events, object_of, read_arguments, text_of
from transit.trace.files.source import JsonObject
from transit.trace.files.span_attributes import NOTED_RUN
from transit.trace.files.span_messages import SpanEvent

_EVENT: Final = "gen_ai.evaluation.result"
_OF_EVENT: Final = "gen_ai.evaluation."
_FLAT: Final = re.compile(
    r"(annotations\.\d{1,6}\.annotation|evaluations\.\d{1,6}\.evaluation)\.(.+)"
)


class SpanJudgement(msgspec.Struct, frozen=True):
    """What was said of a span. note: where it was one; uid: of the run that the note was on."""

    name: str
    score: object
    label: str
    explanation: str
    note: Note | None = None
    uid: str = ""

    def add_to(self, events: Events) -> None:
        """Add the evaluation that it is, where it is no note."""
        decision = self.label or self.score
        events.evaluation(self.name, decision, score=self.score, reason=self.explanation)


class SpanJudgements:
    """All judgements on a span. taken: attributes they are from; events_taken: the events."""

    def __init__(self, attributes: JsonObject, events: Sequence[SpanEvent]) -> None:
        self.taken: list[str] = []
        self.events_taken: list[SpanEvent] = []
        self.all: list[SpanJudgement] = []
        for event in events:
            if event.name == _EVENT and text_of(event.attributes.get(f"{_OF_EVENT}name")):
                self.events_taken.append(event)
                self.all.append(_of_event(event.attributes))
        flat: dict[str, JsonObject] = {}
        for key, value in attributes.items():
            if match := _FLAT.fullmatch(key):
                flat.setdefault(match[1], {})[match[2]] = value
        for prefix, members in flat.items():
            if text_of(members.get("name")):
                self.taken += [f"{prefix}.{key}" for key in members]
                self.all.append(_of_attributes(members))


def _of_event(found: JsonObject) -> SpanJudgement:
    return SpanJudgement(
        name=text_of(found.get(f"{_OF_EVENT}name")),
        score=found.get(f"{_OF_EVENT}score.value"),
        label=text_of(found.get(f"{_OF_EVENT}score.label")),
        explanation=text_of(found.get(f"{_OF_EVENT}explanation")),
        note=note_in(found.get(f"transit.{NOTE}")),
        uid=text_of(found.get(NOTED_RUN)),
    )


def _of_attributes(found: JsonObject) -> SpanJudgement:
    metadata = object_of(read_arguments(found.get("metadata")))
    return SpanJudgement(
        name=text_of(found.get("name")),
        score=found.get("score"),
        label=text_of(found.get("label")),
        explanation=text_of(found.get("explanation")),
        note=note_in(metadata.get(NOTE)),
        uid=text_of(metadata.get(NOTED_RUN)),
    )
