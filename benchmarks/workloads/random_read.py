"""One record at a random offset, when what holds it was read before."""

from __future__ import annotations

import os
import random
from time import perf_counter

import transit
from benchmarks.baselines import read_each
from benchmarks.payloads import RECORD_BYTES
from benchmarks.places import SAY, STREAM, Where, filled_file, filled_store
from benchmarks.workload import Aim, Facts

READS = 100_000


class RandomRead:
    """The records fit the cache of blocks, and the file fits the page cache."""

    remark = ""
    _log: transit.Log | None = None
    _fd = -1

    def __init__(self, where: Where) -> None:
        self._where = where
        self.facts = Facts(
            name=f"random-read-{where}",
            work=f"s[i] at random, warm; {SAY[where]}",
            raw="os.pread of the same bytes",
            unit="reads/s",
            better="more",
            aim=Aim("ratio", 0.7),
            records=50_000,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._fd = os.open(filled_file(folder, records), os.O_RDONLY)
        self._log = filled_store(folder, records, self._where)
        self._stream = self._log.stream(STREAM)
        count = READS * records // self.facts.records
        self._order = random.Random("order").choices(range(records), k=count)
        for offset in range(0, records, 100):
            raw = os.pread(self._fd, RECORD_BYTES, offset * RECORD_BYTES)
            if self._stream[offset].payload != raw:
                raise RuntimeError(f"offset {offset} differs from the file")

    def raw(self) -> float:
        return len(self._order) / read_each(self._fd, self._order)

    def ours(self) -> float:
        stream = self._stream
        start = perf_counter()
        for offset in self._order:
            stream[offset]
        return len(self._order) / (perf_counter() - start)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
        if self._fd >= 0:
            os.close(self._fd)
