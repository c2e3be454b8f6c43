"""Reading what is settled: all of it as objects and as columns, and single records at random."""

from __future__ import annotations

import os
import random
from functools import partial
from itertools import islice
from time import perf_counter

from benchmarks.baselines import PAGE_BYTES, read_each, slice_dropped, touch_pages
from benchmarks.contests.contest import ContestFacts, Filled, Score, within
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.places import STREAM, filled_file
from benchmarks.systems.system import System

RECORDS = 1_000_000
READS = 100_000
ROWS_AT_ONCE = 1_000
_CHECKED_EVERY = 997


class _Reading(Filled):
    """A file of the same payloads for the baseline; what it holds stays in the page cache."""

    stream = STREAM

    def setup(self, folder: str, records: int) -> None:
        self._records = records
        self._path = filled_file(folder, records)

    def enter(self, system: System, folder: str) -> None:
        self.fill(system, folder, self._records)

    def close(self) -> None:
        """Nothing is open."""


class ReplayObjects(_Reading):
    """The loop keeps nothing of what it is handed."""

    facts = ContestFacts(
        name="replay-objects",
        work="replay every record, one object each, with time and payload",
        raw="read a file by 256 KiB; data[a:b] in a Python for loop",
        unit="records/s",
        better="more",
        level=None,
        records=RECORDS,
        payload_bytes=RECORD_BYTES,
    )

    def raw(self) -> float:
        return self._records / slice_dropped(self._path)

    def run(self, system: System, folder: str) -> Score:
        rows, records, taken, some = system.replay(self.stream), 0, 0.0, 1
        start = perf_counter()
        while some and taken <= self.facts.seconds:
            some = 0
            for _ in islice(rows, ROWS_AT_ONCE):
                some += 1
            records += some
            taken = perf_counter() - start
        if not some and records != self._records:
            raise RuntimeError(f"replayed {records} of {self._records} records")
        return Score(records / taken, records)


class ReplayColumns(_Reading):
    """One byte of every page of payload is looked at, so that none is left out."""

    facts = ContestFacts(
        name="replay-columns",
        work="replay every record as columns; one byte of each page of payloads is looked at",
        raw="mmap of a file of the payloads, one byte a page",
        unit="MB/s",
        better="more",
        level=None,
        records=RECORDS,
        payload_bytes=RECORD_BYTES,
    )

    def raw(self) -> float:
        return self._megabytes / touch_pages(self._path)

    @property
    def _megabytes(self) -> float:
        return self._records * RECORD_BYTES / 1e6

    def enter(self, system: System, folder: str) -> None:
        if "batches" in system.lacks:
            raise system.lack("batches")
        super().enter(system, folder)

    def run(self, system: System, folder: str) -> Score:
        records = 0
        start = perf_counter()
        for columns in system.batches(self.stream):
            records += columns.records
            bytes(columns.data[::PAGE_BYTES])
        seconds = perf_counter() - start
        if records != self._records:
            raise RuntimeError(f"replayed {records} of {self._records} records")
        return Score(self._megabytes / seconds, records)


class RandomRead(_Reading):
    """Warm: the page cache, and whatever a system keeps itself, have had the records before."""

    facts = ContestFacts(
        name="random-read",
        work=f"the record at a random offset, one of {RECORDS // 10:,}",
        raw="os.pread of the same bytes",
        unit="reads/s",
        better="more",
        level=None,
        records=RECORDS // 10,
        payload_bytes=RECORD_BYTES,
    )
    _fd = -1

    def setup(self, folder: str, records: int) -> None:
        super().setup(folder, records)
        self._fd = os.open(self._path, os.O_RDONLY)
        reads = READS * records // self.facts.records
        self._order = random.Random("order").choices(range(records), k=reads)

    def enter(self, system: System, folder: str) -> None:
        if "get" in system.lacks:
            raise system.lack("get")
        super().enter(system, folder)
        given = payloads(self._records)
        for offset in range(0, self._records, _CHECKED_EVERY):
            if system.get(self.stream, offset) != given[offset]:
                raise RuntimeError(f"another record at offset {offset}")

    def raw(self) -> float:
        return len(self._order) / read_each(self._fd, self._order)

    def run(self, system: System, folder: str) -> Score:
        get = partial(system.get, self.stream)
        reads, seconds = within(self.facts.seconds, self._order, get)
        return Score(reads / seconds, reads)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
