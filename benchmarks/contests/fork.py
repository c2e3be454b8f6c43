"""Forks of a long stream, each with its first append."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count, islice

from benchmarks.contests.contest import ContestFacts, Filled, Score, within
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.places import STREAM, raw_file
from benchmarks.systems.system import System

FORKS_MAX = 64


class Fork(Filled):
    """Forks at the last record, so that everything is inherited; what is copied stays there.

    As many forks as fit the time, at least one and at most 64.
    """

    stream = STREAM

    def __init__(self, name: str, records: int) -> None:
        self.facts = ContestFacts(
            name=name,
            work=f"fork a stream of {records:,} records at its end, and append the fork's first",
            raw="a hand-written line with name, parent and offset, and the record; os.write each",
            unit="ms",
            better="less",
            level=None,
            records=records,
            payload_bytes=RECORD_BYTES,
            seconds=1.0,
        )
        self._numbers = count()

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        self._records = records
        self._first = payloads(1)[0]

    def raw(self) -> float:
        with raw_file(self._folder) as fd:

            def fork(number: int) -> None:
                os.write(fd, f"fork-{number} {STREAM} {self._records - 1}\n".encode())
                os.write(fd, self._first)

            return self._milliseconds(fork).figure

    def enter(self, system: System, folder: str) -> None:
        if "fork" in system.lacks:
            raise system.lack("fork")
        self.fill(system, folder, self._records)

    def run(self, system: System, folder: str) -> Score:
        def fork(number: int) -> None:
            system.fork(STREAM, f"fork-{number}", self._records - 1)
            system.append_one(f"fork-{number}", self._first)

        return self._milliseconds(fork)

    def _milliseconds(self, fork: Callable[[int], None]) -> Score:
        numbers = islice(self._numbers, FORKS_MAX)
        forks, seconds = within(self.facts.seconds, numbers, fork, at_once=1)
        return Score(1_000 * seconds / forks, self._records)

    def close(self) -> None:
        """Nothing is open."""
