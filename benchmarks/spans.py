"""What one event of an agent costs as a span of the OpenTelemetry SDK, and through `transit.trace`.

A span is started, given two attributes (the kind of the event, and the event as text that was made
before), and ended. Spans without a processor go nowhere; the others go to an exporter in memory,
one by one or in batches by a thread of the SDK. Contenders take turns of a few runs each. Times
are CPU time: of the calling thread for each event alone, less what it takes to look at the clock;
and of all threads for a whole turn, which ends with what was put off until later: an export of all
spans, or a sync of the store.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from time import process_time_ns, thread_time_ns
from typing import Any, Final

import msgspec

import transit
from benchmarks.agents import EVENTS, Step, TraceRun, as_json, steps
from benchmarks.commandline import working_folder
from benchmarks.report import Machine, aligned, number, to_json
from transit import trace

TURNS: Final = 9
RUNS_OF_A_TURN: Final = 50
# More than a turn has, so that no span is lost.
_QUEUE: Final = 2 * RUNS_OF_A_TURN * len(EVENTS)
HEAD: Final = (
    "contender",
    "median µs",
    "mean µs",
    "mean of all threads µs",
    "median, mean × span-simple",
)


class Costs(msgspec.Struct, frozen=True):
    """CPU time of an event, microseconds: its median and mean, and the mean with all threads."""

    median: float
    mean: float
    threads: float


class Row(msgspec.Struct, frozen=True):
    """One contender: the median of its turns; median and mean of an event as ratio to a span's.

    The span is the one that goes to an exporter one by one, in the turn beside it.
    """

    name: str
    version: str
    costs: Costs
    median_ratio: float
    mean_ratio: float


class Spans(msgspec.Struct, frozen=True):
    """Everything that is written as JSON."""

    machine: Machine
    turns: int
    rows: list[Row]


class Contender(ABC):
    """What records events; `settle` does what was put off, `forget` drops what is in memory."""

    version: str

    @abstractmethod
    def begin(self, given: list[Step]) -> Callable[[int], object]:
        """What records event n of a run."""

    @abstractmethod
    def settle(self) -> None: ...

    def forget(self) -> None:
        """Nothing is in memory."""

    @abstractmethod
    def close(self) -> None: ...


class Span(Contender):
    """A tracer of its own; `processor`: "none", "simple" or "batch"."""

    def __init__(self, processor: str) -> None:
        # Loaded here: it is installed where peers are.
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self.version = version("opentelemetry-sdk")
        self._provider: Any = TracerProvider()
        self._exporter: Any = InMemorySpanExporter()
        if processor == "simple":
            self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        elif processor == "batch":
            self._provider.add_span_processor(
                BatchSpanProcessor(self._exporter, max_queue_size=_QUEUE)
            )
        self._expected = 0 if processor == "none" else RUNS_OF_A_TURN * len(EVENTS)
        self._tracer: Any = self._provider.get_tracer("benchmark")

    def begin(self, given: list[Step]) -> Callable[[int], object]:
        made: list[tuple[str, str]] = [(step.kind, as_json(step).decode()) for step in given]
        return partial(self._record, made)

    def _record(self, made: list[tuple[str, str]], place: int) -> None:
        kind, text = made[place]
        span = self._tracer.start_span(kind)
        span.set_attribute("event", kind)
        span.set_attribute("data", text)
        span.end()

    def settle(self) -> None:
        self._provider.force_flush()

    def forget(self) -> None:
        found = len(self._exporter.get_finished_spans())
        assert found >= self._expected, f"{found} spans of {self._expected}"
        self._exporter.clear()

    def close(self) -> None:
        self._provider.shutdown()


class TraceEvents(Contender):
    """A store of its own."""

    version = transit.__version__

    def __init__(self, durability: str, folder: str) -> None:
        self._durability = durability
        path = os.path.join(folder, durability)
        self._log = transit.open(path, durability=durability)
        self._runs = 0

    def begin(self, given: list[Step]) -> Callable[[int], object]:
        self._runs += 1
        task = trace.task(
            self._log, f"run-{self._runs}", actor="agent", durability=self._durability
        )
        recording = TraceRun(task)
        return lambda place: recording.record(given[place])

    def settle(self) -> None:
        self._log.sync()

    def close(self) -> None:
        assert trace.dropped.count == 0, "events were dropped"
        self._log.close()


SPAN: Final = "span-simple"
CONTENDERS: Final[dict[str, Callable[[str], Contender]]] = {
    "span-none": lambda folder: Span("none"),
    SPAN: lambda folder: Span("simple"),
    "span-batch": lambda folder: Span("batch"),
    "event-os": partial(TraceEvents, "os"),
    "event-memory": partial(TraceEvents, "memory"),
}


def turn(contender: Contender, runs: Iterable[list[Step]]) -> Costs:
    """What an event costs in one turn."""
    # Tasks and texts are made before the clock runs.
    records = [contender.begin(given) for given in runs]
    gc.collect()
    taken: list[int] = []
    begun = process_time_ns()
    for record in records:
        for place in range(len(EVENTS)):
            start = thread_time_ns()
            record(place)
            taken.append(thread_time_ns() - start)
    contender.settle()
    threads = (process_time_ns() - begun) / len(taken)
    contender.forget()
    look = _look_ns()
    # Of each event's two looks at the clock one is within its own time.
    return Costs(
        (statistics.median(taken) - look) / 1e3,
        (statistics.mean(taken) - look) / 1e3,
        (threads - 2 * look) / 1e3,
    )


def _look_ns() -> float:
    """How long it takes to look at the clock."""
    looks = [thread_time_ns() for _ in range(1_000)]
    return statistics.median(b - a for a, b in pairwise(looks))


def measured(folder: str, turns: int) -> list[Row]:
    """All contenders, in turns; ImportError where the SDK is not installed."""
    made: dict[str, Contender] = {}
    try:
        for name, make in CONTENDERS.items():
            made[name] = make(folder)
        runs = [steps(run) for run in range(RUNS_OF_A_TURN)]
        found: dict[str, list[Costs]] = {name: [] for name in made}
        for _ in range(turns + 1):
            for name, contender in made.items():
                found[name].append(turn(contender, runs))
    finally:
        for contender in made.values():
            contender.close()
    # The first turns warm up.
    return [_row(name, made[name].version, found[name][1:], found[SPAN][1:]) for name in CONTENDERS]


def _row(name: str, version: str, own: list[Costs], span: list[Costs]) -> Row:
    beside = list(zip(own, span, strict=True))
    return Row(
        name,
        version,
        Costs(
            statistics.median(each.median for each in own),
            statistics.median(each.mean for each in own),
            statistics.median(each.threads for each in own),
        ),
        statistics.median(each.median / other.median for each, other in beside),
        statistics.median(each.mean / other.mean for each, other in beside),
    )


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m benchmarks.spans")
    made.add_argument("--runs", type=int, default=TURNS, help=f"turns of each ({TURNS})")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    made.add_argument("--path", default=".", metavar="FOLDER", help="work below it (.)")
    arguments = made.parse_args()
    with working_folder(arguments.path) as (folder, here):
        try:
            rows = measured(folder, arguments.runs)
        except ImportError as error:
            print(f"the SDK of OpenTelemetry is not installed: {error}", file=sys.stderr)
            return 1
    if arguments.json is not None:
        arguments.json.write_bytes(to_json(Spans(here, arguments.runs, rows)))
    print(aligned([HEAD, *map(_shown, rows)]))
    return 0


def _shown(row: Row) -> tuple[str, ...]:
    costs = row.costs
    return (
        f"{row.name} ({row.version})",
        number(costs.median),
        number(costs.mean),
        number(costs.threads),
        f"{number(row.median_ratio)}, {number(row.mean_ratio)}",
    )


if __name__ == "__main__":
    sys.exit(main())
