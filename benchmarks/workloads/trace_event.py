"""An event of an agent's trace, handed to the operating system."""

from __future__ import annotations

import os
import shutil
import statistics
from itertools import chain
from time import perf_counter

import transit
from benchmarks.agents import EVENTS, Step, TraceRun, as_json, steps
from benchmarks.places import raw_file
from benchmarks.workload import Aim, Facts

MICROSECONDS = 1e6


class TraceEvent:
    """Single events, each timed alone: messages, models, tools, checkpoints; median, or mean."""

    def __init__(self, *, mean: bool = False) -> None:
        self._middle = statistics.mean if mean else statistics.median
        self.facts = Facts(
            name="trace-event-os-mean" if mean else "trace-event-os",
            work=f'one event through transit.trace, durability "os"; {len(EVENTS)} in each task: '
            "requests and results of tools, calls of models, messages, a checkpoint",
            raw="msgspec.json.encode of the same event + os.write",
            unit="µs",
            better="less",
            aim=Aim("value", 20 if mean else 10),
            records=20_000,
            payload_bytes=sum(map(len, map(as_json, steps(0)))) // len(EVENTS),
        )
        self.remark = ""

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        self._runs = [steps(run) for run in range(max(1, records // len(EVENTS)))]

    def raw(self) -> float:
        taken = []
        with raw_file(self._folder) as fd:
            for given in self._runs:
                for step in given:
                    start = perf_counter()
                    os.write(fd, as_json(step))
                    taken.append(perf_counter() - start)
        return MICROSECONDS * self._middle(taken)

    def ours(self) -> float:
        # Loaded here: the other workloads must run with revisions that have no trace.
        from transit import trace

        taken: dict[str, list[float]] = {kind: [] for kind in EVENTS}
        path = os.path.join(self._folder, "store")
        with transit.open(path, durability="os") as log:
            for run, given in enumerate(self._runs):
                recording = TraceRun(trace.task(log, f"run-{run}", actor="agent"))
                for step in given:
                    taken[step.kind].append(_seconds(recording, step))
        shutil.rmtree(path)
        self.remark = "medians: " + ", ".join(
            f"{kind} {MICROSECONDS * statistics.median(each):.1f} µs"
            for kind, each in taken.items()
        )
        return MICROSECONDS * self._middle(list(chain.from_iterable(taken.values())))

    def close(self) -> None:
        pass


def _seconds(recording: TraceRun, step: Step) -> float:
    start = perf_counter()
    recording.record(step)
    return perf_counter() - start
