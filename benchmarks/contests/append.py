"""Appending: in batches and one by one, handed on or durable, by one thread and by eight."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import perf_counter

from benchmarks.baselines import append_batches, append_each, write_synced
from benchmarks.contests.contest import ContestFacts, Fresh, Score, shares, within
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.places import STREAM
from benchmarks.systems.system import Level, System

_WRITES = {"buffered": os.write, "durable": write_synced}
_SAY = {"buffered": "os.write", "durable": "os.write and os.fdatasync"}


class AppendBatches(Fresh):
    """All records of a batch in as few steps as the system allows."""

    def __init__(self, level: Level, count: int, records: int) -> None:
        self._count = count
        self.facts = ContestFacts(
            name=f"append-batches-{level}",
            work=f"append {count:,} records at once, {level}",
            raw=f"{_SAY[level]} of the same payloads joined",
            unit="records/s",
            better="more",
            level=level,
            records=records,
            payload_bytes=RECORD_BYTES,
        )
        self._write = _WRITES[level]

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        given = payloads(records)
        self._batches = [given[at : at + self._count] for at in range(0, records, self._count)]
        self._records = records

    def raw(self) -> float:
        return self._records / append_batches(self._folder, self._batches, self._write)

    def work(self, system: System, folder: str) -> Score:
        append = partial(system.append_many, STREAM)
        batches, seconds = within(self.facts.seconds, self._batches, append)
        records = min(batches * self._count, self._records)
        return Score(records / seconds, records)


class AppendOne(Fresh):
    """One record a call. The stream exists before the clock runs."""

    def __init__(self, level: Level, threads: int, records: int) -> None:
        self._threads = threads
        by = "" if threads == 1 else f"-{threads}-threads"
        who = "one thread" if threads == 1 else f"{threads} threads"
        self.facts = ContestFacts(
            name=f"append-one-{level}{by}",
            work=f"append one record a call, {level}, {who}",
            raw=f"{_SAY[level]} of each payload by one thread",
            unit="records/s",
            better="more",
            level=level,
            records=records,
            payload_bytes=RECORD_BYTES,
        )
        self._write = _WRITES[level]

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        self._payloads = payloads(records)

    def raw(self) -> float:
        given = self._payloads[: len(self._payloads) // self._threads]
        return len(given) / append_each(self._folder, given, self._write)

    def work(self, system: System, folder: str) -> Score:
        append = partial(system.append_one, STREAM)
        append(self._payloads[0])
        if self._threads == 1:
            records, seconds = within(self.facts.seconds, self._payloads, append)
            return Score(records / seconds, records)
        with ThreadPoolExecutor(self._threads) as pool:
            parts = list(shares(self._payloads, self._threads))
            start = perf_counter()
            waiting = [pool.submit(within, self.facts.seconds, part, append) for part in parts]
            records = sum(each.result()[0] for each in waiting)
            return Score(records / (perf_counter() - start), records)
