"""Which system calls one append makes, as strace sees them: whether "durable" means a sync.

Servers are started by the watched process (`benchmarks.watched`), so that their calls are seen too.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.processes import ROOT, SECONDS_MAX
from benchmarks.report import aligned, to_json
from benchmarks.systems import SYSTEMS, load
from benchmarks.systems.system import Level
from benchmarks.watched import APPENDS, BEGIN, END

LEVELS: Final[tuple[Level, ...]] = ("buffered", "durable")
HEAD: Final = ("system", "level", "system calls of one append")
# What moves bytes, syncs them, or changes which files there are. Reads, clocks and locks are not.
WANTED: Final = re.compile(
    r"^\d+ +(p?write(?:v|64|v2)?|f(?:data)?sync|sync_file_range|msync|send(?:to|msg)|sendfile"
    r"|copy_file_range|fallocate|ftruncate|link(?:at)?|unlink(?:at)?|rename(?:at2?)?|mkdir(?:at)?"
    r"|open(?:at)?)\("
)


class Calls(msgspec.Struct, frozen=True):
    """What one append of a system makes; `calls`: how many of each, on average."""

    system: str
    title: str
    version: str
    level: Level
    calls: dict[str, float]


class Traced(msgspec.Struct, frozen=True):
    """Everything that is written as JSON; `left_out`: why, by name."""

    appends: int
    systems: list[Calls]
    left_out: dict[str, str]


def traced(name: str, level: Level, parent: str) -> dict[str, float]:
    """Calls of one append; RuntimeError when the watched process failed."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        found, place = os.path.join(folder, "strace"), os.path.join(folder, "store")
        os.mkdir(place)
        done = subprocess.run(
            ["strace", "-f", "-qq", "-s", "32", "-o", found,
             sys.executable, "-m", "benchmarks.watched", name, level, place],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS_MAX,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{name} under strace failed:\n{done.stderr}")
        lines = Path(found).read_text(encoding="utf-8", errors="replace").splitlines()
    return counted(lines)


def counted(lines: Iterable[str]) -> dict[str, float]:
    """How often each wanted call is between the marks, for one append."""
    counts: Counter[str] = Counter()
    between = False
    for line in lines:
        if BEGIN in line or END in line:
            between = BEGIN in line
        elif between and (match := WANTED.match(line)):
            counts[match[1]] += 1
    return {name: count / APPENDS for name, count in sorted(counts.items())}


def all_traced(names: Sequence[str], parent: str) -> Traced:
    """Every level of every system that is installed."""
    found = Traced(APPENDS, [], {})
    for name in names:
        try:
            system = load(name)
        except ImportError as error:
            found.left_out[name] = str(error)
            continue
        for level in LEVELS:
            if level in system.durability:
                calls = traced(name, level, parent)
                found.systems.append(Calls(name, system.title, system.version, level, calls))
    return found


def said(calls: dict[str, float]) -> str:
    """Counts and names of calls."""
    return ", ".join(f"{count:g} × {name}" for name, count in calls.items()) or "none"


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m benchmarks.syscalls")
    made.add_argument("names", nargs="*", help=f"of {', '.join(SYSTEMS)}; all")
    made.add_argument("--json", type=Path, metavar="FILE", help="write everything there")
    made.add_argument("--path", default=".", metavar="FOLDER", help="work below it (.)")
    arguments = made.parse_args()
    if shutil.which("strace") is None:
        print("strace is not installed", file=sys.stderr)
        return 1
    found = all_traced(arguments.names or list(SYSTEMS), arguments.path)
    if arguments.json is not None:
        arguments.json.write_bytes(to_json(found))
    print(aligned([HEAD, *((e.title, e.level, said(e.calls)) for e in found.systems)]))
    for name, why in found.left_out.items():
        print(f"{name}: left out: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
