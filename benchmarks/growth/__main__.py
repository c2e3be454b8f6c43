"""The command line: every axis, every size, each figure with the exponent it grows with."""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence

import msgspec

from benchmarks.commandline import announce, parser, runs_of, working_folder
from benchmarks.growth.axes import AXES
from benchmarks.growth.axis import Axis
from benchmarks.growth.fit import exponent
from benchmarks.report import Machine, aligned, number, to_json
from benchmarks.runner import Figures, summary


class Point(msgspec.Struct, frozen=True):
    """A figure at one size, microseconds."""

    size: int
    figures: Figures


class Curve(msgspec.Struct, frozen=True):
    """One figure over all sizes; `exponent`: of the power law nearest to the medians."""

    name: str
    points: list[Point]
    exponent: float


class Grown(msgspec.Struct, frozen=True):
    """One axis."""

    name: str
    across: str
    curves: list[Curve]


class Growth(msgspec.Struct, frozen=True):
    """Everything that is written as JSON."""

    machine: Machine
    runs: int
    axes: list[Grown]


def measured(axis: Axis, sizes: Sequence[int], parent: str, runs: int) -> Grown:
    """The curves of an axis over `sizes`."""
    found: dict[str, list[Point]] = {}
    for size in sizes:
        for name, point in _at(axis, size, parent, runs):
            found.setdefault(name, []).append(point)
    curves = [Curve(name, points, _exponent(points)) for name, points in found.items()]
    return Grown(axis.name, axis.across, curves)


def _at(axis: Axis, size: int, parent: str, runs: int) -> Iterator[tuple[str, Point]]:
    folder = tempfile.mkdtemp(prefix="growth-", dir=parent)
    try:
        with axis.store(folder, size) as measures:
            figures: dict[str, list[float]] = {name: [] for name in measures}
            for _ in range(runs):
                for name, measure in measures.items():
                    gc.collect()
                    figures[name].append(measure())
        yield from ((name, Point(size, summary(each))) for name, each in figures.items())
    finally:
        shutil.rmtree(folder)


def _exponent(points: Sequence[Point]) -> float:
    if len(points) < 2:
        return 0.0
    return exponent([(point.size, point.figures.median) for point in points])


def shown(grown: Grown) -> str:
    """A table for people."""
    sizes = [f"{point.size:,}" for point in grown.curves[0].points]
    rows = [("µs", *sizes, "exponent")]
    for curve in grown.curves:
        medians = [number(point.figures.median) for point in curve.points]
        rows.append((curve.name, *medians, f"{curve.exponent:.2f}"))
    return f"{grown.name}: {grown.across}\n{aligned(rows)}"


def sizes_of(axis: Axis, arguments: argparse.Namespace) -> list[int]:
    """The sizes asked for: --quick leaves the largest two out, --full adds more."""
    sizes = list(axis.sizes)
    if arguments.quick:
        return sizes[:-2]
    return sizes + list(axis.more) if arguments.full else sizes


def main() -> int:
    made = parser("benchmarks.growth", "Measure how costs grow with what is in the store.")
    made.add_argument("--full", action="store_true", help="ten million records")
    arguments = made.parse_args()
    wanted = tuple(arguments.names) or ("",)
    axes = [axis for axis in AXES if axis.name.startswith(wanted)]
    if arguments.list or not axes:
        print("\n".join(axis.name for axis in AXES))
        return 0 if arguments.list else 2
    with working_folder(arguments.path) as (folder, here):
        growth = Growth(here, runs_of(arguments), [])
        for axis in axes:
            grown = measured(axis, sizes_of(axis, arguments), folder, growth.runs)
            growth.axes.append(grown)
            announce(len(growth.axes), len(axes), axis.name)
            # Written after each axis, so that an interrupted run keeps what it has.
            if arguments.json is not None:
                arguments.json.write_bytes(to_json(growth))
    print("\n\n".join(map(shown, growth.axes)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
