"""The command line of the benchmarks. A missed aim is printed, and is no failure."""

from __future__ import annotations

import argparse
import os
import sys

from benchmarks.commandline import announce, parser, runs_of, working_folder
from benchmarks.prices import Prices, parse_prices
from benchmarks.remote import Rig, server_of, unreachable
from benchmarks.report import Report, explain, table, to_json
from benchmarks.runner import Result, run_all
from benchmarks.workloads import Maker, chosen, chosen_remote, names


def options() -> argparse.ArgumentParser:
    made = parser("benchmarks", "Measure transit beside raw baselines made in the same run.")
    made.add_argument("--full", action="store_true", help="a million streams in the bucket")
    made.add_argument(
        "--prices", type=parse_prices, default=Prices(), metavar="put=..,get=..,month=..",
        help="US dollars per 1,000 PUT or LIST, per 1,000 GET or HEAD, per GB and month"
        " (S3 Standard, us-east-1, list prices of 2026)",
    )  # fmt: skip
    return made


def main() -> int:
    arguments = options().parse_args()
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
    results: list[Result] = []
    with working_folder(arguments.path) as (folder, here):
        report = Report(here, arguments.quick, runs_of(arguments), results, left_out)
        for result in run_all(makers, folder, report.runs, quick=arguments.quick):
            results.append(result)
            announce(len(results), len(makers), result.facts.name)
            # Written after each row, so that an interrupted run keeps what it has.
            if arguments.json is not None:
                arguments.json.write_bytes(to_json(report))
    return results


if __name__ == "__main__":
    sys.exit(main())
