"""Inspect AI's evaluation logs: `.eval`, a zip with a member a sample, and `.json`.

The evaluation is a run, and each sample is a child run of it. A model event is a model call, a tool
event a call of a tool, a score an evaluation. Steps, spans and subtasks are calls that others lie
within; what they changed of the state is their result. Attachments, and messages that events refer
to, are put where they are referred to. Samples are read one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from transit import InvalidInputError
from transit.trace.files.inspect_samples import sample_events
from transit.trace.files.judgements import NOTE, note_in
from transit.trace.files.runs import (
    Events,
    ImportedEvent,
    ImportedRun,
    Names,
    member,
    object_of,
    objects_of,
    read_time,
    scalars,
    text_of,
)
from transit.trace.files.source import JsonObject, Members, Source

NAME: Final = "inspect"
_SAMPLE: Final = re.compile(r"samples/(.+)\.json")
_PLACES: Final = ("header.json", "_journal/start.json")

# A sample: the name of its stream after the evaluation's, its place, and how it is read.
_Sample = tuple[str, str, Callable[[], object]]


def detect(source: Source) -> bool:
    """Whether it is a zip with a header or samples, or a document with an evaluation."""
    if source.is_zip:
        with source.members() as members:
            return any(place in members.names for place in _PLACES) or any(
                _SAMPLE.fullmatch(name) for name in members.names
            )
    whole = object_of(source.whole)
    return isinstance(whole.get("eval"), dict) and ("samples" in whole or "status" in whole)


def runs(source: Source) -> Iterator[ImportedRun]:
    """The evaluation, then its samples."""
    if source.is_zip:
        with source.members() as members:
            header, samples = _header_of(members), _samples_of(members)
            if not header and not samples:
                raise source.refuse("neither a header nor samples")
            yield from _runs(source, header, samples)
        return
    whole = source.document
    if not isinstance(whole, dict):
        raise source.refuse("not an object")
    if not isinstance(whole.get("eval"), dict) and not objects_of(whole.get("samples")):
        raise source.refuse("neither an evaluation nor samples")
    header = {key: value for key, value in whole.items() if key != "samples"}
    yield from _runs(source, header, _samples_in(objects_of(whole.get("samples"))))


def _header_of(members: Members) -> JsonObject:
    """What is known of the evaluation; of one that was cut short, what its beginning says."""
    for place in _PLACES:
        if place in members.names:
            header = dict(object_of(members.value(place)))
            if "reductions.json" in members.names:
                header["reductions"] = members.value("reductions.json")
            return header
    return {}


def _samples_of(members: Members) -> list[_Sample]:
    found = []
    for name in members.names:
        if sample := _SAMPLE.fullmatch(name):
            found.append((sample[1], f"member {name}", _reader(members, name)))
    return found


def _reader(members: Members, name: str) -> Callable[[], object]:
    return lambda: members.value(name)


def _samples_in(samples: list[JsonObject]) -> list[_Sample]:
    return [
        (
            f"{sample.get('id', number)}_epoch_{sample.get('epoch', 1)}",
            f"sample {number}",
            lambda sample=sample: sample,  # type: ignore[misc]
        )
        for number, sample in enumerate(samples)
    ]


def _runs(source: Source, header: JsonObject, samples: list[_Sample]) -> Iterator[ImportedRun]:
    names = Names()
    name = names.give(source.stem)
    children = [names.give(name, sample) for sample, _, _ in samples]
    about = object_of(header.get("eval"))
    keys = ("task", "model", "run_id", "eval_id", "created")
    events = Events(NAME)
    first = _begin(events, header, about, children)
    _end(events, header)
    yield ImportedRun(name=name, events=events.take(), metadata=scalars(about, keys))
    for number, (_, place, read) in enumerate(samples):
        yield ImportedRun(
            name=children[number],
            events=_sample(source, place, read, text_of(about.get("model"))),
            metadata={"sample": children[number].removeprefix(f"{name}/")},
            child_of=(name, first + number),
        )


def _begin(events: Events, header: JsonObject, about: JsonObject, children: list[str]) -> int:
    events.at("header", read_time(about.get("created")))
    events.context({key: header[key] for key in ("version", "eval", "plan") if key in header})
    first = len(events.all)
    for child in children:
        events.child(child)
    return first


def _end(events: Events, header: JsonObject) -> None:
    """What the evaluation came to."""
    stats, status = object_of(header.get("stats")), text_of(header.get("status"))
    events.at("header", read_time(stats.get("completed_at")))
    results = object_of(header.get("results"))
    scores = []
    for score in objects_of(results.get("scores")):
        if (note := note_in(member(score, "metadata", NOTE))) is not None:
            events.note(note, "")
            continue
        scores.append(score)
        for metric in object_of(score.get("metrics")).values():
            value = object_of(metric).get("value")
            evaluator = f"{score.get('name', '')}/{object_of(metric).get('name', '')}"
            events.evaluation(evaluator, value, score=value)
    if "scores" in results:
        header = {**header, "results": {**results, "scores": scores}}
    known = ("version", "eval", "plan", "status")
    if left := {key: value for key, value in header.items() if key not in known and value}:
        events.context(left, "results")
    if status in ("success", "error", "cancelled"):
        reached = {"success": "success", "error": "failed"}.get(status, "incomplete")
        events.checkpoint("final", reached, status)
        message = text_of(member(header, "error", "message"))
        ended = {"success": "completed", "error": "failed"}.get(status, "cancelled")
        events.end(ended, message)


def _sample(
    source: Source, place: str, read: Callable[[], object], model: str
) -> Iterator[ImportedEvent]:
    try:
        sample = read()
    except InvalidInputError as error:
        source.tally.bad("", str(error))
        return
    if not isinstance(sample, dict):
        source.bad(place, "a sample that is not an object")
        return
    yield from sample_events(source, place, sample, model)
