"""Appending by the thousand, handed to the operating system."""

from __future__ import annotations

import os
from time import perf_counter

import transit
from benchmarks.baselines import append_batches
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.places import new_stream
from benchmarks.workload import Aim, Facts

COUNT = 1_000
WAL_BYTES = transit.Settings().seal_bytes


class AppendMany:
    """One frame a batch; sealing and syncing go on in the background as they would for a user.

    Of less than a WAL file nothing is sealed: what is left is the work of the caller's thread.
    """

    remark = ""

    def __init__(self, name: str, records: int) -> None:
        sealed = "sealed meanwhile" if records * RECORD_BYTES > WAL_BYTES else "nothing sealed"
        self.facts = Facts(
            name=name,
            work=f'append_many of 1,000 records, durability "os", {sealed}',
            raw='b"".join of the same payloads + os.write',
            unit="records/s",
            better="more",
            aim=Aim("ratio", 0.50),
            records=records,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        given = payloads(records)
        self._batches = [given[at : at + COUNT] for at in range(0, records, COUNT)]
        self._records = records

    def raw(self) -> float:
        return self._records / append_batches(self._folder, self._batches, os.write)

    def ours(self) -> float:
        with new_stream(self._folder, "os") as stream:
            start = perf_counter()
            for batch in self._batches:
                stream.append_many(batch)
            return self._records / (perf_counter() - start)

    def close(self) -> None:
        pass
