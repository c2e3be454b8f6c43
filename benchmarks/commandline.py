"""What the commands of the benchmarks have in common: options, and a folder to work in."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.report import Machine, machine
from benchmarks.runner import QUICK_RUNS, RUNS


def parser(command: str, description: str) -> argparse.ArgumentParser:
    """A parser with the options that every command has."""
    made = argparse.ArgumentParser(prog=f"python -m {command}", description=description)
    made.add_argument("names", nargs="*", help="start of the names to run; all without any")
    made.add_argument("--runs", type=int, help=f"runs of each side ({RUNS}; quick: {QUICK_RUNS})")
    made.add_argument("--quick", action="store_true", help="a tenth of the records")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    made.add_argument(
        "--path", default=".", metavar="FOLDER", help="work in a new folder below it (.)"
    )
    made.add_argument("--list", action="store_true", help="print the names and stop")
    return made


def runs_of(arguments: argparse.Namespace) -> int:
    """How many runs were asked for."""
    given: int | None = arguments.runs
    return given or (QUICK_RUNS if arguments.quick else RUNS)


@contextmanager
def working_folder(path: str) -> Iterator[tuple[str, Machine]]:
    """A new folder below `path`, removed at the end, and the machine it is on."""
    folder = tempfile.mkdtemp(prefix=".benchmarks-", dir=path)
    try:
        here = machine(folder)
        if here.file_system == "tmpfs":
            print("the folder is in memory: durable figures mean nothing", file=sys.stderr)
        yield folder, here
    finally:
        shutil.rmtree(folder)


def announce(done: int, count: int, name: str) -> None:
    """Say how far the command is."""
    print(f"{done} of {count}: {name}", file=sys.stderr)
