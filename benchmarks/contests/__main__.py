"""The command line of the contests: transit beside other systems, and beside raw baselines.

A system that is not installed, or cannot do something, is no failure; one that broke is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import msgspec

from benchmarks.commandline import announce, parser, runs_of, working_folder
from benchmarks.contests import ContestMaker, contests
from benchmarks.contests.rounds import Standing, Table, run_contests
from benchmarks.report import Machine, aligned, number, spread, to_json
from benchmarks.systems import SYSTEMS

HEAD = ("system", "median (low … high)", "× raw", "records", "what an append survives")


class Comparison(msgspec.Struct, frozen=True):
    """Everything that is written as JSON."""

    machine: Machine
    quick: bool
    runs: int
    tables: list[Table]


def systems_of(given: str) -> list[str]:
    """Names of systems, in the order of the report; ValueError for one that is none."""
    wanted = given.split(",")
    unknown = set(wanted) - SYSTEMS.keys()
    if unknown:
        raise ValueError(f"no such system: {', '.join(sorted(unknown))}")
    return [name for name in SYSTEMS if name in wanted]


def options() -> argparse.ArgumentParser:
    made = parser("benchmarks.contests", "Measure transit beside what people would pick instead.")
    made.add_argument(
        "--systems", type=systems_of, default=list(SYSTEMS), metavar="NAME,..",
        help=f"of {', '.join(SYSTEMS)}; all",
    )  # fmt: skip
    return made


def main() -> int:
    arguments = options().parse_args()
    makers = contests(arguments.names)
    if arguments.list or not makers:
        print("\n".join(make().facts.name for make in contests()))
        return 0 if arguments.list else 2
    tables = run(arguments, makers)
    print("\n\n".join(map(shown, tables)))
    return 1 if any(table.failed for table in tables) else 0


def run(arguments: argparse.Namespace, makers: Sequence[ContestMaker]) -> list[Table]:
    """The tables; said and written as they come."""
    tables: list[Table] = []
    with working_folder(arguments.path) as (folder, here):
        report = Comparison(here, arguments.quick, runs_of(arguments), tables)
        done = run_contests(makers, arguments.systems, folder, report.runs, quick=arguments.quick)
        for table in done:
            tables.append(table)
            announce(len(tables), len(makers), table.facts.name)
            # Written after each table, so that an interrupted run keeps what it has.
            if arguments.json is not None:
                arguments.json.write_bytes(to_json(report))
    return tables


def shown(table: Table) -> str:
    """A table for people."""
    facts = table.facts
    raw = ("raw", spread(table.raw), "1.00", f"{table.records:,}", facts.raw)
    rows = [HEAD, raw, *map(_row, table.standings)]
    lines = [f"{facts.name}, {facts.unit}: {facts.work}; {facts.payload_bytes} B", aligned(rows)]
    lines += [f"  {name}: –: {why}" for name, why in table.left_out.items()]
    return "\n".join(lines)


def _row(standing: Standing) -> tuple[str, ...]:
    return (
        f"{standing.title} {standing.version}",
        spread(standing.figures),
        number(standing.ratio.median),
        f"{standing.records:,}",
        standing.durability,
    )


if __name__ == "__main__":
    sys.exit(main())
