"""Runs contests in rounds: the baseline, then each system once, then all of them again.

Noise of the machine hits neighbours in time alike, so ratios are taken round by round. A system
that cannot do the work, or fails at it, is left out with the reason; the others go on.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import msgspec

from benchmarks.contests import ContestMaker
from benchmarks.contests.contest import Contest, ContestFacts, level_for
from benchmarks.runner import QUICK_DIVISOR, Figures, summary
from benchmarks.systems import load
from benchmarks.systems.system import NotSupported, System

_REASON_MAX = 200


class Standing(msgspec.Struct, frozen=True):
    """One system's row; `durability`: of its appends here. `records`: the least that a run did."""

    system: str
    title: str
    version: str
    durability: str
    fork_by: str
    records: int
    figures: Figures
    ratio: Figures


class Table(msgspec.Struct, frozen=True):
    """What came of a contest.

    left_out: why, by the title of the system. failed: those of them that broke.
    """

    facts: ContestFacts
    records: int
    raw: Figures
    standings: list[Standing]
    left_out: dict[str, str]
    failed: list[str]


class Entrant:
    """One system in one contest, with its runs."""

    def __init__(self, system: System, folder: str) -> None:
        self.system = system
        self.folder = folder
        self.figures: list[float] = []
        self.records: list[int] = []


def run_contests(
    makers: Iterable[ContestMaker], names: Sequence[str], parent: str, runs: int, *, quick: bool
) -> Iterator[Table]:
    """The table of each contest between the systems `names`, each in a fresh folder."""
    for make in makers:
        folder = tempfile.mkdtemp(prefix="contest-", dir=parent)
        contest = make()
        try:
            yield _Rounds(contest, folder, quick=quick).run(names, runs)
        finally:
            contest.close()
            shutil.rmtree(folder)


class _Rounds:
    """One contest while it runs."""

    def __init__(self, contest: Contest, folder: str, *, quick: bool) -> None:
        self._contest = contest
        self._folder = folder
        self._facts = contest.facts
        self._records = max(1, self._facts.records // QUICK_DIVISOR) if quick else 0
        self._records = self._records or self._facts.records
        self._left_out: dict[str, str] = {}
        self._failed: list[str] = []
        self._entrants: list[Entrant] = []
        self._raw: list[float] = []

    def run(self, names: Sequence[str], runs: int) -> Table:
        """The table, with every system that entered left again."""
        place = os.path.join(self._folder, "raw")
        os.mkdir(place)
        self._contest.setup(place, self._records)
        try:
            for name in names:
                self._enter(name)
            for _ in range(min(runs, self._facts.runs_max or runs)):
                self._round()
        finally:
            for entrant in self._entrants:
                self._contest.leave(entrant.system)
        standings = list(map(self._standing, self._entrants))
        return Table(
            self._facts, self._records, summary(self._raw), standings, self._left_out, self._failed
        )

    def _enter(self, name: str) -> None:
        try:
            system = load(name)()
        except ImportError as error:
            self._left_out[name] = str(error)
            return
        folder = os.path.join(self._folder, name)
        os.mkdir(folder)
        try:
            self._contest.enter(system, folder)
        except Exception as error:
            self._leave_out(system, error)
        else:
            self._entrants.append(Entrant(system, folder))

    def _leave_out(self, system: System, error: Exception) -> None:
        self._left_out[system.title] = str(error)
        if not isinstance(error, NotSupported):
            self._left_out[system.title] = f"failed: {error!r}"[:_REASON_MAX]
            self._failed.append(system.title)
        # It may never have been opened, and what failed once may fail to close as well.
        with suppress(Exception):
            self._contest.leave(system)

    def _round(self) -> None:
        gc.collect()
        self._raw.append(self._contest.raw())
        for entrant in list(self._entrants):
            gc.collect()
            try:
                score = self._contest.run(entrant.system, entrant.folder)
            except Exception as error:
                self._entrants.remove(entrant)
                self._leave_out(entrant.system, error)
            else:
                entrant.figures.append(score.figure)
                entrant.records.append(score.records)

    def _standing(self, entrant: Entrant) -> Standing:
        system = entrant.system
        ratios = [b / a for a, b in zip(self._raw, entrant.figures, strict=True)]
        return Standing(
            system=system.name,
            title=system.title,
            version=system.version,
            durability=system.durability[level_for(system, self._facts.level)],
            fork_by=system.fork_by,
            records=min(entrant.records),
            figures=summary(entrant.figures),
            ratio=summary(ratios),
        )
