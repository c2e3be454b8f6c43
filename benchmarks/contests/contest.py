"""A contest: the same work done by each system, beside a raw baseline of the same bytes.

Contests stand beside the workloads: those judge transit by its aims, these compare. A contest
enters each system once, runs it once a round, and leaves it.
"""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from time import perf_counter
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from benchmarks.payloads import payloads
from benchmarks.systems.system import Level, System
from benchmarks.workload import Better

FILL_AT_ONCE = 10_000
AT_ONCE = 8
_T = TypeVar("_T")


class ContestFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the report about a contest.

    name: what the command line calls it. work, raw: what each system and the baseline do.
    better: whether more or less of `unit` is. level: of every append; None: each system's weakest.
    records: at most handled in one run. seconds: after which a run of a slow system ends early.
    runs_max: enough runs for a figure that hardly varies; None: as many as asked for.
    """

    name: str
    work: str
    raw: str
    unit: str
    better: Better
    level: Level | None
    records: int
    payload_bytes: int
    seconds: float = 3.0
    runs_max: int | None = None


class Score(NamedTuple):
    """One run: the figure in the contest's unit, and the records it is about."""

    figure: float
    records: int


class Contest(Protocol):
    """One table of the report."""

    @property
    def facts(self) -> ContestFacts:
        """What is measured."""

    def setup(self, folder: str, records: int) -> None:
        """Prepare the baseline and the payloads in the empty folder `folder`."""

    def raw(self) -> float:
        """The baseline's figure."""

    def enter(self, system: System, folder: str) -> None:
        """Prepare a system in the empty folder `folder`; `NotSupported`: it cannot take part."""

    def run(self, system: System, folder: str) -> Score:
        """One run."""

    def leave(self, system: System) -> None:
        """Close the system, if it is open."""

    def close(self) -> None:
        """Let go of what `setup` opened."""


def level_for(system: System, level: Level | None) -> Level:
    """The level asked for, or the weakest there is."""
    if level is not None:
        return level
    return "buffered" if "buffered" in system.durability else "durable"


class Levelled:
    """What contests about writing have in common: a system takes part if it has the level."""

    facts: ContestFacts

    def enter(self, system: System, folder: str) -> None:
        level = level_for(system, self.facts.level)
        if level not in system.durability:
            raise system.lack(level)

    def leave(self, system: System) -> None:
        """Every run closed it."""

    def close(self) -> None:
        """Nothing is open."""


class Fresh(Levelled, ABC):
    """A contest about writing with a new store for every run, made outside the clock."""

    def run(self, system: System, folder: str) -> Score:
        place = os.path.join(folder, "run")
        os.mkdir(place)
        try:
            system.open(place, level_for(system, self.facts.level))
            try:
                return self.work(system, place)
            finally:
                system.close()
        finally:
            shutil.rmtree(place)

    @abstractmethod
    def work(self, system: System, folder: str) -> Score:
        """The run itself, with the system open in `folder`."""


class Filled:
    """What contests about reading have in common: each system is filled once, and stays open."""

    facts: ContestFacts
    stream: str
    _open: bool

    def fill(self, system: System, folder: str, records: int) -> None:
        """Append `records` records, and settle them."""
        system.open(folder, level_for(system, self.facts.level))
        given = payloads(records, self.facts.payload_bytes)
        for start in range(0, records, FILL_AT_ONCE):
            system.append_many(self.stream, given[start : start + FILL_AT_ONCE])
        system.settle()

    def leave(self, system: System) -> None:
        """Close it."""
        system.close()


def within(
    seconds: float, items: Iterable[_T], work: Callable[[_T], object], *, at_once: int = AT_ONCE
) -> tuple[int, float]:
    """Do `work` for each item until the time is up; how many were done, and the seconds it took.

    at_once: items between two looks at the clock, which would be in the figure of the fast ones.
    """
    given, done, taken = iter(items), 0, 0.0
    start = perf_counter()
    while taken <= seconds and (some := list(islice(given, at_once))):
        for item in some:
            work(item)
        done += len(some)
        taken = perf_counter() - start
    return done, taken


def shares(items: Sequence[_T], count: int) -> Iterator[Sequence[_T]]:
    """`items` dealt out to `count` threads."""
    return (items[start::count] for start in range(count))
