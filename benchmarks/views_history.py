"""What looking at a view costs against how much history its stream has: the aim is that it is flat.

    python -m benchmarks.views_history [--sizes N ...] [--turns N] [--plot FILE] [--json FILE]

One stream of small events for each size, a view of 1,000 rows that was folded once, and a savepoint
each 10,000 records, as by default. Each row is CPU time of one step in milliseconds, all threads,
the least of some turns. A cold view is opened for the step and knows nothing yet; nothing of the
store is in its memory but what the step before left there.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Final

import msgspec

import transit
from benchmarks.growth.fit import exponent
from benchmarks.report import Machine, aligned, machine, number, to_json
from benchmarks.svg import Series, log_log
from benchmarks.views import KEYS, STATES, cpu_s, tally
from transit import views

SIZES: Final = (1_000, 10_000, 100_000, 1_000_000)
_BATCH: Final = 10_000
_OFFSETS: Final = 8

RANDOM: Final = "a random offset, cold view, mean of 8"

Steps = dict[str, Callable[[], object]]


class Curve(msgspec.Struct, frozen=True):
    """One step over all sizes. points: records and milliseconds of CPU time."""

    name: str
    points: list[tuple[int, float]]


class History(msgspec.Struct, frozen=True):
    """Everything that is written as JSON."""

    machine: Machine
    turns: int
    curves: list[Curve]


def payloads(size: int, rng: random.Random) -> Iterator[bytes]:
    """Events of about 60 bytes."""
    for _ in range(size):
        event = {
            "run": f"run-{rng.randrange(KEYS):04}",
            "status": rng.choice(STATES),
            "tokens": rng.randrange(1_000),
        }
        yield msgspec.json.encode(event)


def fill(log: transit.Log, size: int) -> transit.Stream:
    """A sealed stream with so many records, and the savepoints of a view that looked at it."""
    stream, made = log.create("task"), payloads(size, random.Random(size))
    while part := list(islice(made, _BATCH)):
        stream.append_many(part)
    views.open(log, tally).save(stream)
    log.seal()
    return stream


def steps(log: transit.Log, stream: transit.Stream) -> Steps:
    """What is measured at one size, by name; what a step appends goes to branches."""
    size, numbers = len(stream), count()
    rng = random.Random(size)
    open_view = views.open(log, tally)
    open_view.of(stream)
    growing = stream.branch("growing")
    open_view.of(growing)
    event = next(payloads(1, rng))

    def at_random_offsets() -> None:
        for _ in range(_OFFSETS):
            views.open(log, tally).of(stream, rng.randrange(size + 1)).runs.get("run-0001")

    def fork() -> transit.Stream:
        return stream.branch(f"fork-{next(numbers)}", at=rng.randrange(size // 2, size))

    def append_and_look() -> None:
        growing.append(event)
        open_view.of(growing).runs.get("run-0001")

    return {
        "open a view, one row at the head": lambda: (
            views.open(log, tally).of(stream).runs.get("run-0001")
        ),
        "one row at the head, view open": lambda: open_view.of(stream).runs.get("run-0001"),
        RANDOM: at_random_offsets,
        "fork": fork,
        "fork at the head and look": lambda: open_view.of(
            stream.branch(f"fork-{next(numbers)}")
        ).runs.get("run-0001"),
        "append a record and look": append_and_look,
    }


def measured(sizes: Sequence[int], turns: int, folder: Path) -> list[Curve]:
    """The curves, over stores made in `folder`, one after another."""
    found: dict[str, list[tuple[int, float]]] = {}
    for size in sizes:
        place = folder / str(size)
        with transit.open(place, durability="os") as log:
            for name, step in steps(log, fill(log, size)).items():
                step()
                times = _OFFSETS if name == RANDOM else 1
                least = min(cpu_s(step) for _ in range(turns)) / times
                found.setdefault(name, []).append((size, 1_000 * least))
        shutil.rmtree(place)
    return [Curve(name, points) for name, points in found.items()]


def shown(curves: Sequence[Curve]) -> str:
    """A table, with the exponent by which each cost grows from the second size on."""
    sizes = [f"{size:,}" for size, _ in curves[0].points]
    rows = [("ms of CPU", *sizes, "exponent")]
    for curve in curves:
        later = curve.points[1:] or curve.points
        grows = f"{exponent(later):.2f}" if len(later) > 1 else ""
        rows.append((curve.name, *(number(value) for _, value in curve.points), grows))
    return aligned(rows)


def plotted(curves: Sequence[Curve]) -> str:
    """The plot, as SVG."""
    series = [Series(curve.name, curve.points) for curve in curves]
    return log_log("Views: cost against history", "records in the stream", "ms of CPU", series)


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if min(options.sizes) < 2:
        sys.exit("a size is 2 records or more")
    with tempfile.TemporaryDirectory() as folder:
        curves = measured(options.sizes, options.turns, Path(folder))
    print(shown(curves))
    if options.plot:
        options.plot.write_text(plotted(curves), encoding="utf-8")
    if options.json:
        options.json.write_bytes(
            to_json(History(machine(tempfile.gettempdir()), options.turns, curves))
        )


if __name__ == "__main__":
    main()
