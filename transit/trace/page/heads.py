"""What a page says of a run as a whole, and of the notes about it.

Owns which facts there are; they are written as JSON by `data`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

from transit import Position
from transit.trace.events import (
    Checkpoint,
    ErrorInfo,
    Manifest,
    ModelCall,
    ModelResponse,
    RunEnd,
    Unknown,
)
from transit.trace.names import OWN
from transit.trace.prices import Prices
from transit.trace.reading import Trace
from transit.trace.steps import Step, tokens_of
from transit.trace.sums import Sums

Fact = dict[str, object]
# What a service or a tool calls what a call cost.
COSTS: Final = ("cost_usd", "total_cost_usd", "cost", "total_cost")
_NOTE_FIELDS: Final = ("name", "score", "label", "comment", "author", "timestamp", "metadata")


def head_of(trace: Trace, steps: Sequence[Step], prices: Prices | None) -> Fact:
    """The facts about a run; times in UTC nanoseconds."""
    own = [step for step in walked(steps) if step.run == trace.name]
    ended = _ended(own)
    return {
        "run": trace.name,
        "task": trace.task_id,
        "kind": trace.trace_kind,
        "actor": trace.actor_id,
        "reason": trace.reason,
        "status": "open" if ended is None else ended.status,
        "created": trace.created_at,
        "began": next((step.begun_at for step in own if not step.inherited), None),
        "duration": _duration(own, ended),
        "events": len(trace),
        "children": sum(step.kind == "run" for step in own),
        "failures": sum(step.failed for step in own if not step.inherited and _is_call(step)),
        "failures_inside": sum(step.failed for step in walked(steps) if _is_call(step)),
        "tokens": tokens_of(step for step in own if not step.inherited),
        "tokens_inside": tokens_of(step for step in walked(steps) if not step.inherited),
        "cost": _cost(steps, prices),
        "began_in": _place(trace.parent_run),
        "parents": [_place(parent) for parent in trace.parents],
        "policy": trace.policy,
        "metadata": {key: v for key, v in trace.stream.metadata.items() if key not in OWN},
    }


def end_of(trace: Trace, steps: Sequence[Step]) -> ErrorInfo | None:
    """The error that a run ended with."""
    ended = _ended([step for step in steps if step.run == trace.name])
    return None if ended is None else ended.error


def manifest_of(trace: Trace, steps: Sequence[Step]) -> dict[str, object] | None:
    """What the run was made with, as `Trace.manifest` says."""
    events = (step.first.event for step in _in_order(walked(steps), trace.name))
    return next((event.data for event in events if isinstance(event, Manifest)), None)


def _ended(own: Iterable[Step]) -> RunEnd | None:
    """How a run ended, as `Trace.ended` says: its steps were read, so nothing is read again."""
    ended = None
    for step in _in_order(own):
        event = step.first.event
        if isinstance(event, RunEnd):
            ended = event
        elif isinstance(event, Checkpoint) and event.checkpoint_kind == "resume":
            ended = None
    return ended


def _in_order(steps: Iterable[Step], run: str | None = None) -> list[Step]:
    """The steps that a run recorded itself and that say something about all of it, in order."""
    found = [
        step
        for step in steps
        if step.kind in ("end", "checkpoint", "manifest")
        and not step.inherited
        and run in (None, step.run)
    ]
    return sorted(found, key=lambda step: step.offset)


def notes_of(notes: Iterable[object], run: str) -> list[Fact]:
    """What is said in notes: objects or mappings with some of the fields, and `at`.

    at: an offset of the run, "stream@offset", or a position; nothing: about the run. timestamp:
    UTC nanoseconds, which notes in a store call `noted_at`.
    """
    found = []
    for note in notes:
        said: Fact = {key: _field(note, key) for key in _NOTE_FIELDS}
        said["timestamp"] = said["timestamp"] or _field(note, "noted_at")
        said = {key: value for key, value in said.items() if value not in (None, "", {})}
        place = _noted_at(_field(note, "at"), run)
        if place is not None:
            said["at"] = place
        found.append(said)
    return found


def walked(steps: Iterable[Step]) -> Iterable[Step]:
    """All steps, also those inside others, in order."""
    return (step for top in steps for step in top.walk())


def _is_call(step: Step) -> bool:
    return step.kind in ("tool", "model", "call")


def _duration(steps: Sequence[Step], ended: RunEnd | None) -> int | None:
    """As the end says; else from the first event to the last."""
    if ended is not None and ended.duration_ns:
        return ended.duration_ns
    times = [step.begun_at for step in steps if not step.inherited]
    times += [step.last.timestamp for step in steps if step.last and not step.inherited]
    return max(times) - min(times) if times else None


def _cost(steps: Sequence[Step], prices: Prices | None) -> float | None:
    """What the calls of models cost together; None where anything it is made of is not known."""
    calls = [step for step in walked(steps) if step.kind == "model" and not step.inherited]
    if prices is not None:
        sums = Sums()
        for event in (step.last.event for step in calls if step.last is not None):
            assert not isinstance(event, Unknown)
            sums.add(event)
        return prices.cost(sums.totals())
    found = [cost_of(step, None) for step in calls]
    told = [cost for cost in found if cost is not None]
    return sum(told) if told and len(told) == len(found) else None


def cost_of(step: Step, prices: Prices | None) -> float | None:
    """What a call of a model cost, by prices, or as the service says; None where nothing tells."""
    event = None if step.last is None else step.last.event
    if not isinstance(event, ModelCall | ModelResponse):
        return None
    if prices is not None:
        sums = Sums()
        sums.add(event)
        return prices.cost(sums.totals())
    told = (event.usage.get(name) for name in COSTS)
    found = next((each for each in told if type(each) in (int, float)), None)
    return cast("float | None", found)


def _place(position: Position | None) -> str | None:
    return None if position is None else f"{position.stream}@{position.offset}"


def _field(note: object, key: str) -> object:
    return note.get(key) if isinstance(note, Mapping) else getattr(note, key, None)


def _noted_at(at: object, run: str) -> str | None:
    if isinstance(at, int):
        return f"{run}@{at}"
    if isinstance(at, Position):
        return _place(at)
    return str(at) if at else None
