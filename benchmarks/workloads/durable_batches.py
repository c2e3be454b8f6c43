"""Durable batches of a hundred records."""

from __future__ import annotations

from time import perf_counter

from benchmarks.baselines import append_batches, write_synced
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.places import new_stream
from benchmarks.workload import Aim, Facts

COUNT = 100


class DurableBatches:
    """One frame and one sync a batch."""

    facts = Facts(
        name="append-many-durable",
        work='append_many of 100 records, durability "local"',
        raw='b"".join of the same payloads + os.write + os.fdatasync, appending',
        unit="records/s",
        better="more",
        aim=Aim("ratio", 0.90),
        records=40_000,
        payload_bytes=RECORD_BYTES,
    )
    remark = ""

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        given = payloads(records)
        self._batches = [given[at : at + COUNT] for at in range(0, records, COUNT)]
        self._records = records

    def raw(self) -> float:
        return self._records / append_batches(self._folder, self._batches, write_synced)

    def ours(self) -> float:
        with new_stream(self._folder, "local") as stream:
            start = perf_counter()
            for batch in self._batches:
                stream.append_many(batch)
            return self._records / (perf_counter() - start)

    def close(self) -> None:
        pass
