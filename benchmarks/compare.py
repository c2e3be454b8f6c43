"""This tree beside another revision of it: the same workloads, alternately, and their ratio.

The other revision's package is measured with this tree's benchmarks. What it cannot run, because it
is older than what is measured, is left out with the reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec

from benchmarks.commandline import announce, parser, runs_of, working_folder
from benchmarks.processes import ROOT, finish, start
from benchmarks.report import Machine, aligned, number, spread, to_json
from benchmarks.runner import QUICK_DIVISOR, Figures, summary
from benchmarks.turns import Ready
from benchmarks.workload import Better
from benchmarks.workloads import chosen

HEAD = ("workload", "unit", "there median (low … high)", "here median (low … high)", "here ÷ there",
        "")  # fmt: skip
# Neighbours in time differ by as much on a busy machine.
NOISE = 1.15


class Difference(msgspec.Struct, frozen=True):
    """One row; `ratio`: here by there, run by run."""

    name: str
    unit: str
    better: Better
    there: Figures
    here: Figures
    ratio: Figures

    @property
    def verdict(self) -> str:
        """What the ratio says; empty when it may be noise."""
        factor = self.ratio.median if self.better == "more" else 1 / self.ratio.median
        if factor > NOISE:
            return "faster" if self.better == "more" else "less"
        return ("slower" if self.better == "more" else "more") if factor < 1 / NOISE else ""


class Compared(msgspec.Struct, frozen=True):
    """Everything that is written as JSON."""

    machine: Machine
    reference: str
    runs: int
    differences: list[Difference]
    left_out: dict[str, str]


class Unable(Exception):
    """A tree that cannot run a workload; the message is the last line it wrote."""


class Side:
    """One workload in one tree."""

    def __init__(self, tree: Path, name: str, folder: str, divisor: int) -> None:
        os.mkdir(folder)
        self._process = start("-m", "benchmarks.turns", name, folder, str(divisor), tree=tree)
        ready = msgspec.json.decode(self._line(), type=Ready)
        if Path(ready.package) != tree / "transit":
            raise RuntimeError(f"{ready.package} was loaded instead of the package in {tree}")
        self.facts = ready.facts

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            try:
                finish(self._process)
            except RuntimeError as error:
                raise Unable(str(error).strip().splitlines()[-1]) from None
        return line

    def run(self) -> float:
        """Transit's figure."""
        assert self._process.stdin is not None
        self._process.stdin.write("ours\n")
        self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """Let the process end."""
        if self._process.poll() is None:
            finish(self._process)


@contextmanager
def tree_of(reference: str) -> Iterator[Path]:
    """A git worktree of `reference` with this tree's benchmarks in it, removed at the end."""
    with tempfile.TemporaryDirectory(prefix="transit-compare-") as folder:
        tree = Path(folder, "tree")
        _git("worktree", "add", "--quiet", "--detach", str(tree), reference)
        try:
            shutil.rmtree(tree / "benchmarks", ignore_errors=True)
            shutil.copytree(
                ROOT / "benchmarks", tree / "benchmarks",
                ignore=shutil.ignore_patterns("__pycache__"),
            )  # fmt: skip
            yield tree
        finally:
            _git("worktree", "remove", "--force", str(tree))


def _git(*arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=ROOT, check=True, timeout=300)


def compare(
    compared: Compared, names: Sequence[str], tree: Path, parent: str, divisor: int
) -> None:
    """Each workload here and in `tree`, alternately, into `compared`."""
    for done, name in enumerate(names, 1):
        folder = tempfile.mkdtemp(prefix="compared-", dir=parent)
        try:
            compared.differences.append(_difference(name, tree, folder, compared.runs, divisor))
        except Unable as error:
            compared.left_out[name] = str(error)
        finally:
            shutil.rmtree(folder)
        announce(done, len(names), name)


def _difference(name: str, tree: Path, folder: str, runs: int, divisor: int) -> Difference:
    with ExitStack() as stack:
        sides = []
        for place, root in (("there", tree), ("here", ROOT)):
            side = Side(root, name, os.path.join(folder, place), divisor)
            stack.callback(side.close)
            sides.append(side)
        facts = sides[0].facts
        rounds = [[side.run() for side in sides] for _ in range(min(runs, facts.runs_max or runs))]
    there, here = ([each[side] for each in rounds] for side in (0, 1))
    ratio = summary([b / a if a else float("inf") for a, b in rounds])
    return Difference(name, facts.unit, facts.better, summary(there), summary(here), ratio)


def shown(compared: Compared) -> str:
    """A table for people."""
    rows = [
        (each.name, each.unit, spread(each.there), spread(each.here), number(each.ratio.median),
         each.verdict)
        for each in compared.differences
    ]  # fmt: skip
    lines = [aligned([HEAD, *rows])] if rows else []
    return "\n".join(
        lines + [f"{name}: left out: {why}" for name, why in compared.left_out.items()]
    )


def main() -> int:
    made = parser("benchmarks.compare", "Measure this tree beside another revision of it.")
    made.add_argument(
        "--to", required=True, metavar="REF", help="the other revision, as git knows it"
    )
    arguments = made.parse_args()
    names = [make().facts.name for make in chosen(arguments.names)]
    if arguments.list or not names:
        print("\n".join(make().facts.name for make in chosen([])))
        return 0 if arguments.list else 2
    divisor = QUICK_DIVISOR if arguments.quick else 1
    with tree_of(arguments.to) as tree, working_folder(arguments.path) as (folder, here):
        compared = Compared(here, arguments.to, runs_of(arguments), [], {})
        compare(compared, names, tree, folder, divisor)
    if arguments.json is not None:
        arguments.json.write_bytes(to_json(compared))
    print(shown(compared))
    return 0


if __name__ == "__main__":
    sys.exit(main())
