"""The command line of the benchmarks. A missed aim is printed, and is no failure."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.report import Report, explain, machine, table, to_json
from benchmarks.runner import QUICK_RUNS, RUNS, run_all
from benchmarks.workloads import chosen, names


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure transit beside raw baselines made in the same run.",
    )
    made.add_argument("names", nargs="*", help="start of the names to run; all without any")
    made.add_argument("--runs", type=int, help=f"runs of each side ({RUNS}; quick: {QUICK_RUNS})")
    made.add_argument("--quick", action="store_true", help="a tenth of the records")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    made.add_argument(
        "--path", default=".", metavar="FOLDER", help="work in a new folder below it (.)"
    )
    made.add_argument("--list", action="store_true", help="print the names and stop")
    return made


def main() -> int:
    arguments = parser().parse_args()
    makers = chosen(arguments.names)
    if arguments.list or not makers:
        print("\n".join(names()))
        return 0 if arguments.list else 2
    runs = arguments.runs or (QUICK_RUNS if arguments.quick else RUNS)
    folder = tempfile.mkdtemp(prefix=".benchmarks-", dir=arguments.path)
    try:
        here = machine(folder)
        if here.file_system == "tmpfs":
            print("the folder is in memory: durable figures mean nothing", file=sys.stderr)
        results = []
        for result in run_all(makers, folder, runs, quick=arguments.quick):
            results.append(result)
            print(f"{len(results)} of {len(makers)}: {result.facts.name}", file=sys.stderr)
            # Written after each row, so that an interrupted run keeps what it has.
            if arguments.json is not None:
                report = Report(here, arguments.quick, runs, results)
                arguments.json.write_bytes(to_json(report))
    finally:
        shutil.rmtree(folder)
    print(explain(results), end="\n\n")
    print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
