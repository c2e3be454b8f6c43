"""Agents at work: many short runs, some of them forked, a few merged."""

from __future__ import annotations

import os
from functools import partial

from benchmarks.agents import (
    EVENTS,
    FORK_AFTER,
    FORK_AT,
    LAST,
    Plan,
    Step,
    as_json,
    plans,
    steps,
    work_in_trace,
)
from benchmarks.baselines import append_each
from benchmarks.contests.contest import ContestFacts, Fresh, Score, within
from benchmarks.systems.embedded import Transit
from benchmarks.systems.system import System

RUNS = 1_000
# As many different runs as matter; made before the clock runs.
_DIFFERENT = 50


class AgentWork(Fresh):
    """Every system encodes the same events as JSON and appends each alone.

    Systems fork in the way they have; a merge that selects is a fork of the selected one.
    """

    def __init__(self, name: str = "agent-work-json", how: str = "as JSON") -> None:
        self.facts = ContestFacts(
            name=name,
            work=f"{RUNS:,} runs of {len(EVENTS)} events, each appended alone {how}; 20 % forked, "
            "5 % merged",
            raw="os.write of each event, encoded before, to one file",
            unit="events/s",
            better="more",
            level=None,
            records=RUNS * len(EVENTS),
            payload_bytes=sum(map(len, map(as_json, steps(0)))) // len(EVENTS),
            seconds=5.0,
        )

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        self._plans = list(plans(records // len(EVENTS)))
        self._steps = [steps(number) for number in range(_DIFFERENT)]

    def raw(self) -> float:
        events = [as_json(step) for plan in self._plans for step in self._of(plan)]
        return len(events) / append_each(self._folder, events, os.write)

    def _of(self, plan: Plan) -> list[Step]:
        return self._steps[plan.run % _DIFFERENT]

    def work(self, system: System, folder: str) -> Score:
        runs, seconds = within(
            self.facts.seconds, self._plans, partial(self.record, system), at_once=1
        )
        records = runs * len(EVENTS)
        return Score(records / seconds, records)

    def record(self, system: System, plan: Plan) -> None:
        """One run."""
        stream = f"run-{plan.run}"
        for number, step in enumerate(self._of(plan)):
            if plan.forked and number == FORK_AFTER:
                system.fork(stream, f"{stream}/retry-1", FORK_AT)
                stream = f"{stream}/retry-1"
            if plan.merged and number == LAST:
                system.fork(stream, f"run-{plan.run}/merge-1", FORK_AT + LAST - FORK_AFTER)
                stream = f"run-{plan.run}/merge-1"
            system.append_one(stream, as_json(step))


class TracedAgentWork(AgentWork):
    """The same, but transit records through `transit.trace`, which does more for an event."""

    def __init__(self) -> None:
        super().__init__("agent-work", "as JSON, by transit through transit.trace")

    def record(self, system: System, plan: Plan) -> None:
        if isinstance(system, Transit):
            work_in_trace(system.log, plan, self._of(plan))
        else:
            super().record(system, plan)
