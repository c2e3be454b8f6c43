"""Appending by the thousand, handed to the operating system."""

from __future__ import annotations

import os
from time import perf_counter

from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.places import new_stream, raw_file
from benchmarks.workload import Aim, Facts

COUNT = 1_000


class AppendMany:
    """One frame a batch; sealing and syncing go on in the background as they would for a user."""

    facts = Facts(
        name="append-many-os",
        work='append_many of 1,000 records, durability "os"',
        raw='b"".join of the same payloads + os.write',
        unit="records/s",
        better="more",
        aim=Aim("ratio", 0.50),
        records=400_000,
        payload_bytes=RECORD_BYTES,
    )
    remark = ""

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        given = payloads(records)
        self._batches = [given[at : at + COUNT] for at in range(0, records, COUNT)]
        self._records = records

    def raw(self) -> float:
        with raw_file(self._folder) as fd:
            start = perf_counter()
            for batch in self._batches:
                os.write(fd, b"".join(batch))
            return self._records / (perf_counter() - start)

    def ours(self) -> float:
        with new_stream(self._folder, "os") as stream:
            start = perf_counter()
            for batch in self._batches:
                stream.append_many(batch)
            return self._records / (perf_counter() - start)

    def close(self) -> None:
        pass
