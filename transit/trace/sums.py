"""Sums: what a run did, counted while its events are recorded, or read.

Owns how events and totals add up. Totals of several runs add up the same way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from operator import add
from typing import Any, Final, cast

from transit.trace.events import (
    Cached,
    CallRequest,
    CallResult,
    ChildRun,
    Evaluation,
    Event,
    ModelCall,
    ModelRequest,
    ModelResponse,
    ToolRequest,
    ToolResult,
    Totals,
)

NAMES_MAX: Final = 100
# What stands for the names that are more than that.
OTHERS: Final = ""
_COUNTS: Final = ("events", "model_calls", "tool_calls", "calls", "failures", "children")


class Sums:
    """What a run did so far. Safe for threads. name: of its stream."""

    def __init__(self, name: str = "") -> None:
        self._lock = threading.Lock()
        self._name = name
        self.begun_ns = time.monotonic_ns()
        self._counts = dict.fromkeys(_COUNTS, 0)
        self._tokens: dict[str, tuple[int, int]] = {}
        self._cached: dict[str, Cached] = {}
        self._untold: dict[str, int] = {}
        self._tools: dict[str, tuple[int, int]] = {}
        self._evaluations: dict[str, tuple[str, float | None]] = {}

    def add(self, event: Event) -> None:
        """An event was recorded."""
        take = _TAKE.get(type(event))
        with self._lock:
            self._counts["events"] += 1
            if take is not None:
                take(self, event)

    def _model_request(self, event: ModelRequest) -> None:
        self._counts["model_calls"] += 1
        # Until its response tells.
        self._add_untold(event.request_model, 1)

    def _model_response(self, event: ModelResponse) -> None:
        self._add_untold(event.request_model, -1)
        self._add_answer(event)
        self._counts["failures"] += event.model_status != "success"

    def _model_call(self, event: ModelCall) -> None:
        self._counts["model_calls"] += 1
        self._add_answer(event)

    def _add_answer(self, event: ModelCall | ModelResponse) -> None:
        model, tokens_in, tokens_out = event.request_model, event.input_tokens, event.output_tokens
        before = self._tokens.get(model, (-1, -1))
        self._tokens[model] = _sum(before[0], tokens_in), _sum(before[1], tokens_out)
        if tokens_in < 0 or tokens_out < 0:
            # Services ask nothing for what they refuse; what was cut short may cost something.
            is_refused = isinstance(event, ModelResponse) and event.model_status == "failure"
            if not is_refused:
                self._add_untold(model, 1)
        if any(event.cached_tokens):
            self._add_cached(model, event.cached_tokens)

    def _tool_request(self, event: ToolRequest) -> None:
        self._counts["tool_calls"] += 1
        self._add_tool(event.tool_name, (1, 0))

    def _tool_result(self, event: ToolResult) -> None:
        if event.tool_status not in ("success", "partial"):
            self._counts["failures"] += 1
            self._add_tool(event.tool_name, (0, 1))

    def _call_request(self, event: CallRequest) -> None:
        self._counts["calls"] += 1

    def _child_run(self, event: ChildRun) -> None:
        self._counts["children"] += 1

    def _call_result(self, event: CallResult) -> None:
        self._counts["failures"] += event.call_status != "success"

    def _evaluation(self, event: Evaluation) -> None:
        if event.subject_ref.rpartition("@")[0] == self._name:
            self._add_evaluation(event.evaluator_id, (event.decision, event.score))

    def totals(self, *, more: int = 0) -> Totals:
        """The sums. more: records that are still to be written."""
        with self._lock:
            counts = dict(self._counts)
            counts["events"] += more
            return Totals(
                **counts,
                tokens=dict(self._tokens),
                cached=dict(self._cached),
                untold={model: count for model, count in self._untold.items() if count > 0},
                tools=dict(self._tools),
                evaluations=dict(self._evaluations),
            )

    def go_on(self, totals: Totals) -> None:
        """Add what the run did before, or what another run did."""
        with self._lock:
            counts = self._counts
            for name in _COUNTS:
                counts[name] += getattr(totals, name)
            for model, now in totals.tokens.items():
                before = self._tokens.get(model, (-1, -1))
                self._tokens[model] = _sum(before[0], now[0]), _sum(before[1], now[1])
            for model, cached in totals.cached.items():
                self._add_cached(model, cached)
            for model, count in totals.untold.items():
                self._add_untold(model, count)
            for tool, used in totals.tools.items():
                self._add_tool(tool, used)
            for evaluator, found in totals.evaluations.items():
                self._add_evaluation(evaluator, found)

    def _add_cached(self, model: str, now: Cached) -> None:
        before = self._cached.get(model, (0, 0, 0, 0))
        self._cached[model] = cast("Cached", tuple(map(add, before, now)))

    def _add_untold(self, model: str, count: int) -> None:
        self._untold[model] = self._untold.get(model, 0) + count

    def _add_tool(self, name: str, used: tuple[int, int]) -> None:
        if name not in self._tools and len(self._tools) - (OTHERS in self._tools) >= NAMES_MAX:
            name = OTHERS
        calls, failures = self._tools.get(name, (0, 0))
        self._tools[name] = calls + used[0], failures + used[1]

    def _add_evaluation(self, evaluator: str, found: tuple[str, float | None]) -> None:
        if evaluator in self._evaluations or len(self._evaluations) < NAMES_MAX:
            self._evaluations[evaluator] = found

    @property
    def duration_ns(self) -> int:
        """Since the task was begun, nanoseconds."""
        return time.monotonic_ns() - self.begun_ns


_TAKE: Final[dict[type, Callable[[Sums, Any], None]]] = {
    ModelCall: Sums._model_call,
    ModelRequest: Sums._model_request,
    ModelResponse: Sums._model_response,
    ToolRequest: Sums._tool_request,
    ToolResult: Sums._tool_result,
    CallRequest: Sums._call_request,
    CallResult: Sums._call_result,
    ChildRun: Sums._child_run,
    Evaluation: Sums._evaluation,
}


def _sum(before: int, now: int) -> int:
    """Counts that may be unknown, -1."""
    return max(before, 0) + now if now >= 0 else before


def tokens_told(totals: Totals) -> tuple[int | None, int | None]:
    """Tokens of requests and of responses, of all models; None where no call told any.

    Those of requests are with what came from a cache or went into one.
    """
    counts: list[int | None] = []
    for side in (0, 1):
        told = [count for each in totals.tokens.values() if (count := each[side]) >= 0]
        counts.append(sum(told) if told else None)
    beside = sum(read + written for read, written, *_ in totals.cached.values())
    tokens_in, tokens_out = counts
    return (tokens_in + beside if tokens_in is not None else None), tokens_out
