"""Runs workloads: raw, ours, raw, ours, … in one process, and pairs each figure with its twin.

Noise of the machine hits neighbours in time alike, so ratios are taken pair by pair. Garbage is
collected before every single run and then left to Python's own rules, as in a user's program: the
same for both sides.
"""

from __future__ import annotations

import gc
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator

import msgspec

from benchmarks.workload import Facts, Workload

QUICK_DIVISOR = 10
QUICK_RUNS = 3
RUNS = 5


class Figures(msgspec.Struct, frozen=True):
    """Every run's figure and their summary."""

    runs: list[float]
    median: float
    low: float
    high: float


class Result(msgspec.Struct, frozen=True):
    """One row of the report; `figures` by contender, "raw" and "transit", others may join them."""

    facts: Facts
    records: int
    figures: dict[str, Figures]
    ratio: Figures
    measured: float
    reached: bool
    remark: str


def summary(runs: list[float]) -> Figures:
    """Median, lowest and highest of `runs`."""
    return Figures(runs, statistics.median(runs), min(runs), max(runs))


def run_all(
    makers: Iterable[Callable[[], Workload]], parent: str, runs: int, *, quick: bool
) -> Iterator[Result]:
    """The result of each workload, each in a fresh folder below `parent`."""
    for make in makers:
        folder = tempfile.mkdtemp(prefix="workload-", dir=parent)
        workload = make()
        try:
            yield run_one(workload, folder, runs, quick=quick)
        finally:
            workload.close()
            shutil.rmtree(folder)


def run_one(workload: Workload, folder: str, runs: int, *, quick: bool) -> Result:
    """Set the workload up, and run both sides alternately."""
    facts = workload.facts
    records = max(1, facts.records // QUICK_DIVISOR) if quick else facts.records
    workload.setup(folder, records)
    raw: list[float] = []
    ours: list[float] = []
    for _ in range(min(runs, facts.runs_max or runs)):
        raw.append(collected(workload.raw))
        ours.append(collected(workload.ours))
    return judged(facts, records, raw, ours, workload.remark)


def judged(facts: Facts, records: int, raw: list[float], ours: list[float], remark: str) -> Result:
    """The row that these runs make, pair by pair."""
    # A baseline of nothing has no ratio: infinite, which JSON writes as null.
    ratio = summary([b / a if a else float("inf") for a, b in zip(raw, ours, strict=True)])
    figures = {"raw": summary(raw), "transit": summary(ours)}
    measured = ratio.median if facts.aim.of == "ratio" else figures["transit"].median
    reached = facts.aim.reached(measured, facts.better)
    return Result(facts, records, figures, ratio, measured, reached, remark)


def collected(work: Callable[[], float]) -> float:
    """The figure of one run, which begins without garbage of the one before."""
    gc.collect()
    return work()
