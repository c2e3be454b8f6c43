"""The guard against slowdowns: ratios to raw baselines, held against those of a checked-in file.

Both are the best of three runs, the margin is wide, and what looks too slow is measured once more,
so that a busy machine does not fail it: it finds what became more than twice as slow, not what
became a little slower. For that there is `just bench-compare`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.commandline import announce, working_folder
from benchmarks.report import aligned, number
from benchmarks.runner import Result, run_all
from benchmarks.workload import Better
from benchmarks.workloads import workload

FILE: Final = Path(__file__).with_name("guard.json")
RUNS: Final = 3
# For the checked-in file: the median of as many times three runs.
UPDATE_TIMES: Final = 5
HEAD: Final = ("workload", "ratio to raw there", "best ratio of the runs", "slower by", "")


class Expected(msgspec.Struct, frozen=True):
    """The checked-in file.

    margin: a slowdown beyond it fails. ratios: best of three runs, to raw, by workload.
    """

    margin: float
    ratios: dict[str, float]


def best(ratios: Sequence[float], better: Better) -> float:
    """The best of some ratios."""
    return max(ratios) if better == "more" else min(ratios)


def slowdown(result: Result, ratio: float) -> float:
    """How many times slower than `ratio` the best run was; below 1: faster."""
    better = result.facts.better
    found = best(result.ratio.runs, better)
    return ratio / found if better == "more" else found / ratio


def failures(results: Sequence[Result], expected: Expected) -> list[str]:
    """The names of the workloads that became slower than the margin allows."""
    return [
        result.facts.name
        for result in results
        if slowdown(result, expected.ratios[result.facts.name]) > expected.margin
    ]


def better_of(
    first: Sequence[Result], second: Sequence[Result], expected: Expected
) -> list[Result]:
    """The results of `first`, each replaced by that of `second` where that is better."""
    again = {result.facts.name: result for result in second}
    return [
        min(
            (result, again.get(result.facts.name, result)),
            key=lambda each: slowdown(each, expected.ratios[each.facts.name]),
        )
        for result in first
    ]


def updated(results: Sequence[Result], margin: float) -> Expected:
    """The file that these results make: medians over each three runs' best."""
    ratios = {}
    for result in results:
        runs, better = result.ratio.runs, result.facts.better
        threes = [best(runs[at : at + RUNS], better) for at in range(0, len(runs), RUNS)]
        ratios[result.facts.name] = round(statistics.median(threes), 4)
    return Expected(margin, ratios)


def shown(results: Sequence[Result], expected: Expected) -> str:
    """A table for people."""
    failed = failures(results, expected)
    rows = [HEAD]
    for result in results:
        name, ratio = result.facts.name, expected.ratios[result.facts.name]
        found = best(result.ratio.runs, result.facts.better)
        verdict = "TOO SLOW" if name in failed else ""
        rows.append((name, number(ratio), number(found), number(slowdown(result, ratio)), verdict))
    return aligned(rows)


def measure(names: Sequence[str], path: str, runs: int) -> list[Result]:
    """The results of the guarded workloads."""
    results = []
    with working_folder(path) as (folder, _):
        makers = [lambda name=name: workload(name) for name in names]
        for result in run_all(makers, folder, runs, quick=False):
            results.append(result)
            announce(len(results), len(names), result.facts.name)
    return results


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    made.add_argument("--path", default=".", metavar="FOLDER", help="work below it (.)")
    made.add_argument("--update", action="store_true", help="write the file from what is measured")
    arguments = made.parse_args()
    expected = msgspec.json.decode(FILE.read_bytes(), type=Expected)
    runs = RUNS * UPDATE_TIMES if arguments.update else RUNS
    results = measure(list(expected.ratios), arguments.path, runs)
    if arguments.update:
        written = msgspec.json.encode(updated(results, expected.margin))
        FILE.write_bytes(msgspec.json.format(written, indent=2) + b"\n")
        return 0
    slow = failures(results, expected)
    if slow:
        # A neighbour may have had the machine for all of three runs, but not for six.
        results = better_of(results, measure(slow, arguments.path, runs), expected)
    print(shown(results, expected))
    return 1 if failures(results, expected) else 0


if __name__ == "__main__":
    sys.exit(main())
