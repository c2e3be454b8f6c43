"""Branches: what one costs in time and bytes, whatever the length of what it inherits."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from time import perf_counter
from typing import NamedTuple

import transit
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.places import STREAM, filled_store, raw_file
from benchmarks.workload import Aim, Better, Facts

SHORT = 10
LONG = 1_000_000
MICROSECONDS = 1e6
LINE = "a hand-written line with the name, the parent and the fork offset, os.write"


class Measure(NamedTuple):
    """What (branches made, bytes of WAL written, seconds taken) come to."""

    unit: str
    better: Better
    figure: Callable[[int, int, float], float]


TIME = Measure("µs", "less", lambda made, size, seconds: MICROSECONDS * seconds / made)
BYTES = Measure("bytes", "less", lambda made, size, seconds: size / made)
RATE = Measure("branches/s", "more", lambda made, size, seconds: made / seconds)


class Branches:
    """Branches of a stream of `parent` records, made one by one or in one atomic batch.

    against: the length of the other stream whose branches are the baseline; 0: a line in a file.
    The long stream is sealed but for its last records.
    """

    remark = ""
    _log: transit.Log | None = None

    def __init__(
        self, name: str, measure: Measure, aim: Aim, *, parent: int, against: int = 0,
        batched: bool = False, made: int = 2_000,
    ) -> None:  # fmt: skip
        self._figure = measure.figure
        self._parent = parent
        self._against = against
        self._batched = batched
        how = "in one batch()" if batched else 'branch(), durability "os"'
        self.facts = Facts(
            name=name,
            work=f"{how}, of a stream of {parent:,} records",
            raw=f"the same from {against:,} records" if against else LINE,
            unit=measure.unit,
            better=measure.better,
            aim=aim,
            records=max(parent, made),
            payload_bytes=RECORD_BYTES,
        )
        self._made_share = made / max(parent, made)

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        self._made = int(records * self._made_share) or 1
        self._numbers = count()
        long = max(self._parent, self._against) == LONG
        self._log = filled_store(folder, records if long else 1, "sealed" if long else "wal")
        self._short = self._log.create("short")
        self._short.append_many(payloads(SHORT))
        self._long = self._log.stream(STREAM)

    def raw(self) -> float:
        if self._against:
            return self._branch(self._against)
        with raw_file(self._folder) as fd:
            size = 0
            start = perf_counter()
            for number in range(self._made):
                size += os.write(fd, f"short/retry-{number} short {SHORT - 1}\n".encode())
            return self._figure(self._made, size, perf_counter() - start)

    def ours(self) -> float:
        return self._branch(self._parent)

    def _branch(self, length: int) -> float:
        assert self._log is not None
        stream = self._long if length == LONG else self._short
        before = self._log.status().wal_bytes
        start = perf_counter()
        if self._batched:
            with self._log.batch() as batch:
                for _ in range(self._made):
                    batch.branch(stream, f"short/retry-{next(self._numbers)}")
        else:
            for _ in range(self._made):
                stream.branch(f"short/retry-{next(self._numbers)}")
        seconds = perf_counter() - start
        return self._figure(self._made, self._log.status().wal_bytes - before, seconds)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
