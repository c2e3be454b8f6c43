"""What keeping a span costs the program that ends it: nothing, a batch processor, or a store.

A span is a model call with 2 KB of messages in its attributes. Contenders take turns; of each turn
the span without a processor is taken off, and the rest is divided by what the batch processor of
the same turn takes beyond it. CPU time of the calling thread: what the SDK's threads do later, and
what a store's do, is not in it. `own`: each span is a trace of its own, which is the worst case,
for each trace is a stream; `ten`: ten spans in a trace.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import thread_time_ns
from typing import Any, Final

import msgspec

from benchmarks.commandline import working_folder
from benchmarks.report import Machine, aligned, number, to_json

TURNS: Final = 9
SPANS: Final = 500
HEAD: Final = ("contender", "µs above none: median", "lowest", "× batch")
_TEXT: Final = json.dumps(
    [{"role": "user", "parts": [{"type": "text", "content": "some words of it " * 60}]}]
)
ATTRIBUTES: Final[dict[str, object]] = {
    "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "model-1", "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 10, "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.input.messages": _TEXT, "gen_ai.output.messages": _TEXT,
}  # fmt: skip


class Row(msgspec.Struct, frozen=True):
    """Microseconds a span above one without a processor, and as ratio to the batch processor."""

    name: str
    median: float
    lowest: float
    ratio: float


class Kept(msgspec.Struct, frozen=True):
    """Everything that is written as JSON."""

    machine: Machine
    turns: int
    rows: list[Row]


def _none(folder: str) -> Any:
    return None


def _batch(folder: str) -> Any:
    # Loaded here: it is installed where peers are.
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    return BatchSpanProcessor(
        InMemorySpanExporter(), max_queue_size=2 * SPANS, max_export_batch_size=min(512, SPANS)
    )


def _transit(mode: str) -> Callable[[str], Any]:
    def make(folder: str) -> Any:
        # Loaded here: it needs the SDK.
        from transit.adapters.otel import TransitSpanProcessor

        return TransitSpanProcessor.open(os.path.join(folder, "store"), mode=mode)

    return make


BATCH: Final = "batch"
CONTENDERS: Final[dict[str, tuple[Callable[[str], Any], int]]] = {
    "none": (_none, 1),
    BATCH: (_batch, 1),
    "transit shared, own": (_transit("shared"), 1),
    "transit shared, ten": (_transit("shared"), 10),
    "transit exclusive, own": (_transit("exclusive"), 1),
    "transit exclusive, ten": (_transit("exclusive"), 10),
}


def turn(make: Callable[[str], Any], in_trace: int, where: str) -> float:
    """CPU microseconds of a span."""
    # Loaded here: it is installed where peers are.
    from opentelemetry.sdk.trace import TracerProvider

    folder = tempfile.mkdtemp(dir=where)
    provider: Any = TracerProvider(shutdown_on_exit=False)
    try:
        processor = make(folder)
        if processor is not None:
            provider.add_span_processor(processor)
        tracer: Any = provider.get_tracer("benchmark")
        _spans(tracer, 50, in_trace)
        begun = thread_time_ns()
        _spans(tracer, SPANS, in_trace)
        return (thread_time_ns() - begun) / 1e3 / SPANS
    finally:
        provider.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _spans(tracer: Any, count: int, in_trace: int) -> None:
    for _ in range(count // in_trace):
        with contextlib.ExitStack() as stack:
            for _ in range(in_trace):
                span = stack.enter_context(tracer.start_as_current_span("chat model-1"))
                span.set_attributes(ATTRIBUTES)


def measured(where: str, turns: int) -> list[Row]:
    """All contenders, in turns; ImportError where the SDK is not installed."""
    found: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(turns + 1):
        for name, (make, in_trace) in CONTENDERS.items():
            found[name].append(turn(make, in_trace, where))
    # The first turns warm up.
    above = {
        name: [own - none for own, none in zip(times[1:], found["none"][1:], strict=True)]
        for name, times in found.items()
    }
    return [
        Row(
            name,
            statistics.median(times),
            min(times),
            statistics.median(own / batch for own, batch in zip(times, above[BATCH], strict=True)),
        )
        for name, times in above.items()
        if name != "none"
    ]


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m benchmarks.spans_kept")
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
        arguments.json.write_bytes(to_json(Kept(here, arguments.runs, rows)))
    lines = [(r.name, number(r.median), number(r.lowest), number(r.ratio)) for r in rows]
    print(aligned([HEAD, *lines]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
