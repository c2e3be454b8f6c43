"""An agent at work, event by event: messages, calls of models and tools, checkpoints.

The same steps are recorded through `transit.trace`, and as JSON by whatever appends bytes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import msgspec

from benchmarks.payloads import text

if TYPE_CHECKING:
    import transit
    from transit import trace

Kind = Literal["message", "model_call", "tool_request", "tool_result", "checkpoint"]
# Forty events: what an agent does a dozen times over, and where it stops to think.
_ROUND: Final[tuple[Kind, ...]] = ("model_call", "tool_request", "tool_result")
EVENTS: Final[tuple[Kind, ...]] = ("message", *(12 * _ROUND), "message", "model_call", "checkpoint")
_TOOLS: Final = ("bash", "edit", "open", "search_dir", "search_file", "python")


class Step(NamedTuple):
    """One event: its kind, and what is recorded of it."""

    kind: Kind
    fields: Mapping[str, object]


def steps(run: int) -> list[Step]:
    """The events of one run, the same for the same number."""
    rng = random.Random(run)
    return [Step(kind, _MAKE[kind](rng)) for kind in EVENTS]


def _message(rng: random.Random) -> dict[str, object]:
    return {"role": "user", "content": text(rng, 60)}


def _model_call(rng: random.Random) -> dict[str, object]:
    return {
        "model": "model-1",
        "request": {"messages": [{"role": "user", "content": text(rng, 20)}], "temperature": 0},
        "response": {"role": "assistant", "content": text(rng, 60)},
        "usage": {"input_tokens": rng.randrange(400, 30_000), "output_tokens": rng.randrange(500)},
    }


def _tool_request(rng: random.Random) -> dict[str, object]:
    return {"name": rng.choice(_TOOLS), "arguments": {"command": text(rng, 12)}}


def _tool_result(rng: random.Random) -> dict[str, object]:
    return {"status": "success", "result": text(rng, 60)}


def _checkpoint(rng: random.Random) -> dict[str, object]:
    return {"kind": "intermediate", "status": "incomplete", "reason": text(rng, 8)}


_MAKE: Final[Mapping[Kind, Callable[[random.Random], dict[str, object]]]] = {
    "message": _message,
    "model_call": _model_call,
    "tool_request": _tool_request,
    "tool_result": _tool_result,
    "checkpoint": _checkpoint,
}


def as_json(step: Step) -> bytes:
    """The event as a program without a library for it would write it."""
    return msgspec.json.encode({"event": step.kind, **step.fields})


class TraceRun:
    """Records the steps of one run through `transit.trace`; `task` is where the next one goes."""

    def __init__(self, task: trace.Task) -> None:
        self.task = task
        self._call: trace.ToolCall | None = None

    def record(self, step: Step) -> None:
        """One event more."""
        _RECORD[step.kind](self, **step.fields)

    def _message(self, role: str, content: object) -> None:
        self.task.message(role, content)

    def _model_call(
        self, model: str, request: object, response: object, usage: Mapping[str, object]
    ) -> None:
        self.task.model_call(model=model, request=request, response=response, usage=usage)

    def _tool_request(self, name: str, arguments: object) -> None:
        self._call = self.task.tool(name, arguments)

    def _tool_result(self, status: str, result: object) -> None:
        assert self._call is not None
        self._call.result(result)

    def _checkpoint(self, kind: str, status: str, reason: str) -> None:
        self.task.checkpoint(kind, status=status, reason=reason)


_RECORD: Final[Mapping[Kind, Callable[..., None]]] = {
    "message": TraceRun._message,
    "model_call": TraceRun._model_call,
    "tool_request": TraceRun._tool_request,
    "tool_result": TraceRun._tool_result,
    "checkpoint": TraceRun._checkpoint,
}


class Plan(NamedTuple):
    """What becomes of a run: after `fork_after` events it is forked, the rest goes on the fork.

    The last event of a merged run goes on the merge, which selects the fork.
    """

    run: int
    forked: bool
    merged: bool


FORK_AFTER: Final = 31
LAST: Final = len(EVENTS) - 1
FORK_AT: Final = 18
"""Offset of the fork: the result of the sixth tool call."""


def plans(runs: int) -> Iterator[Plan]:
    """One run in five is forked, one in twenty merged as well."""
    return (Plan(run, run % 5 == 0, run % 20 == 0) for run in range(runs))


def work_in_trace(log: transit.Log, plan: Plan, given: list[Step]) -> None:
    """One run through `transit.trace`."""
    # Loaded here: what else uses this module must run with revisions that have no trace.
    from transit import trace

    task = trace.task(log, f"run-{plan.run}", actor="agent", reason="benchmark")
    recording = TraceRun(task)
    for number, step in enumerate(given):
        if plan.forked and number == FORK_AFTER:
            recording.task = task.retry(at=FORK_AT, reason="failed")
        if plan.merged and number == LAST:
            retry = recording.task
            recording.task = trace.merge(log, [task, retry], policy="select", selected=retry)
        recording.record(step)
