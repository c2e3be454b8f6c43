"""The command line of the benchmarks. A missed aim is printed, and is no failure."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.prices import Prices, parse_prices
from benchmarks.remote import Rig, server_of, unreachable
from benchmarks.report import Report, explain, machine, table, to_json
from benchmarks.runner import QUICK_RUNS, RUNS, Result, run_all
from benchmarks.workloads import Maker, chosen, chosen_remote, names


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure transit beside raw baselines made in the same run.",
    )
    made.add_argument("names", nargs="*", help="start of the names to run; all without any")
    made.add_argument("--runs", type=int, help=f"runs of each side ({RUNS}; quick: {QUICK_RUNS})")
    made.add_argument("--quick", action="store_true", help="a tenth of the records")
    made.add_argument("--full", action="store_true", help="a million streams in the bucket")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    made.add_argument(
        "--path", default=".", metavar="FOLDER", help="work in a new folder below it (.)"
    )
    made.add_argument(
        "--prices", type=parse_prices, default=Prices(), metavar="put=..,get=..,month=..",
        help="US dollars per 1,000 PUT or LIST, per 1,000 GET or HEAD, per GB and month"
        " (S3 Standard, us-east-1, list prices of 2026)",
    )  # fmt: skip
    made.add_argument("--list", action="store_true", help="print the names and stop")
    return made


def main() -> int:
    arguments = parser().parse_args()
    rig = Rig(server_of(os.environ), arguments.prices, arguments.full)
    makers, remote = chosen(arguments.names), chosen_remote(arguments.names, rig)
    if arguments.list or not (makers or remote):
        print("\n".join(names()))
        return 0 if arguments.list else 2
    left_out: dict[str, str] = {}
    reason = unreachable(rig.server) if remote else ""
    if reason:
        left_out = {make().facts.name: reason for make in remote}
        remote = []
    results = run(arguments, makers + remote, left_out)
    for name, why in left_out.items():
        print(f"{name}: left out: {why}")
    if results:
        print(explain(results), end="\n\n")
        print(table(results))
    return 0


def run(
    arguments: argparse.Namespace, makers: list[Maker], left_out: dict[str, str]
) -> list[Result]:
    """The results; said and written as they come."""
    runs = arguments.runs or (QUICK_RUNS if arguments.quick else RUNS)
    folder = tempfile.mkdtemp(prefix=".benchmarks-", dir=arguments.path)
    results: list[Result] = []
    try:
        here = machine(folder)
        if here.file_system == "tmpfs":
            print("the folder is in memory: durable figures mean nothing", file=sys.stderr)
        report = Report(here, arguments.quick, runs, results, left_out)
        for result in run_all(makers, folder, runs, quick=arguments.quick):
            results.append(result)
            print(f"{len(results)} of {len(makers)}: {result.facts.name}", file=sys.stderr)
            # Written after each row, so that an interrupted run keeps what it has.
            if arguments.json is not None:
                arguments.json.write_bytes(to_json(report))
    finally:
        shutil.rmtree(folder)
    return results


if __name__ == "__main__":
    sys.exit(main())
