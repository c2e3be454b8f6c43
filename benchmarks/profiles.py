"""Where the time of a workload goes: py-spy's samples of it, C frames included, by function.

Two tables a workload: samples of the measured calls, and samples of the store's own threads beside
them. The baseline and what a workload sets up do not count, but for what those threads have left to
do of it. Each sample is counted for the function of transit that runs or waits, with all C code and
libraries that it calls; the innermost frames say what these are.
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
from typing import Final, NamedTuple

import transit
from benchmarks.processes import ROOT
from benchmarks.report import aligned

# The ten workloads that the report explains.
NAMES: Final = (
    "append-many-os-unsealed",
    "append-many-durable",
    "append-os",
    "append-durable-1-thread",
    "append-durable-8-threads",
    "replay-records-sealed",
    "columns-sealed",
    "random-read-sealed",
    "branch-batch",
    "trace-event-os",
)
RATE: Final = 500
SHOWN: Final = 12
_PACKAGE: Final = os.path.dirname(transit.__file__) + os.sep
# "function (path:line)" of Python, "function (library)" of C.
_FRAME: Final = re.compile(r"^(?P<name>.*) \((?P<place>[^()]*)\)$")
# Where the threads of a store wait for work; py-spy takes them for busy there.
_WAITING: Final = "handle.background.Worker._next"
HEAD: Final = ("share", "function of transit", "what it calls last")


class Place(NamedTuple):
    """A function: `module.function` of transit, or a C function's name."""

    ours: str
    last: str


class Profile(NamedTuple):
    """Samples by function: of the measured calls, and beside them; `outside`: all others."""

    calls: Counter[Place]
    beside: Counter[Place]
    outside: int


def place_of(stack: Sequence[str]) -> Place | None:
    """The function a sample belongs to; None when it has none of transit's, or an import runs."""
    ours = last = ""
    for frame in stack:
        found = _FRAME.match(frame)
        if found is None:
            last = frame
        elif found["place"].startswith(_PACKAGE) or found["place"].startswith("transit/"):
            if found["name"] == "<module>":
                return None
            path = found["place"].rpartition(":")[0].removeprefix(_PACKAGE).removeprefix("transit/")
            ours, last = f"{path.removesuffix('.py').replace(os.sep, '.')}.{found['name']}", ""
        elif ours:
            last = found["name"]
    return Place(ours, last) if ours else None


def read(lines: Iterable[str], *, waiting: bool) -> Profile:
    """The samples of a file in py-spy's raw format: `frame;frame;… count`."""
    profile = Profile(Counter(), Counter(), 0)
    outside = 0
    for line in lines:
        stack, _, count = line.rpartition(" ")
        place = place_of(stack.split(";"))
        if place is None or (place.ours == _WAITING and not waiting):
            outside += int(count)
        elif ".ours (" in stack:
            profile.calls[place] += int(count)
        elif "benchmarks/" in stack:
            outside += int(count)
        else:
            profile.beside[place] += int(count)
    return profile._replace(outside=outside)


def profiler() -> str | None:
    """Where py-spy is: beside this Python, or on the PATH."""
    return shutil.which("py-spy", path=os.path.dirname(sys.executable)) or shutil.which("py-spy")


def sampled(name: str, parent: str, *, waiting: bool) -> Profile:
    """The profile of one workload; RuntimeError when it failed. waiting: idle threads count too."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        found = Path(folder, "samples")
        done = subprocess.run(
            [profiler() or "py-spy", "record", "--native", "--format", "raw", "--rate", str(RATE),
             *(["--idle"] if waiting else []), "--output", str(found), "--",
             sys.executable, "-m", "benchmarks", name, "--runs", "3", "--path", folder],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if not found.exists():
            raise RuntimeError(f"{name} under py-spy failed:\n{done.stderr}")
        return read(found.read_text(encoding="utf-8").splitlines(), waiting=waiting)


def shown(name: str, profile: Profile) -> str:
    """Two tables for people: functions of transit by share, each with what it calls most."""
    return (
        f"{name}: {profile.calls.total()} samples of the calls, {profile.outside} elsewhere\n"
        f"{_table(profile.calls)}\n"
        f"beside them: {profile.beside.total()} samples\n{_table(profile.beside)}"
    )


def _table(samples: Counter[Place]) -> str:
    by_function: Counter[str] = Counter()
    for place, count in samples.items():
        by_function[place.ours] += count
    rows = [HEAD]
    for function, count in by_function.most_common(SHOWN):
        calls = Counter({p.last or "Python": n for p, n in samples.items() if p.ours == function})
        most = ", ".join(f"{last} {n / count:.0%}" for last, n in calls.most_common(3))
        rows.append((f"{count / samples.total():.1%}", function, most))
    return aligned(rows)


def main() -> int:
    made = argparse.ArgumentParser(prog="python -m benchmarks.profiles")
    made.add_argument("names", nargs="*", help="names of workloads; the ten of the report")
    made.add_argument("--waiting", action="store_true", help="count threads that wait, too")
    made.add_argument("--path", default=".", metavar="FOLDER", help="work below it (.)")
    arguments = made.parse_args()
    if profiler() is None:
        print("py-spy is not installed", file=sys.stderr)
        return 1
    for name in arguments.names or NAMES:
        print(shown(name, sampled(name, arguments.path, waiting=arguments.waiting)), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
