"""Opening a store with very many streams."""

from __future__ import annotations

import os

import transit
from benchmarks.places import SEAL_BYTES_MAX
from benchmarks.processes import measured
from benchmarks.workload import Aim, Facts

A_BATCH = 1_000
RAW_PROGRAM = """
import time
start = time.perf_counter()
import transit
seconds = time.perf_counter() - start
from benchmarks.processes import peak_bytes
print('{"seconds": %f, "megabytes": %f}' % (seconds, peak_bytes() / 1e6))
"""
PROGRAM = """
import sys, time, transit
from benchmarks.processes import peak_bytes
start = time.perf_counter()
with transit.open(sys.argv[1]) as log:
    log.stream(sys.argv[2])
    seconds = time.perf_counter() - start
    print('{"seconds": %f, "megabytes": %f}' % (seconds, peak_bytes() / 1e6))
"""
_AIMS = {"seconds": ("s", 1.0), "megabytes": ("MB", 150.0)}


class OpenMany:
    """Time until one of the streams is found, and peak memory, each in a fresh process."""

    remark = ""

    def __init__(self, figure: str, *, sealed: bool) -> None:
        self._sealed = sealed
        self._figure = figure
        unit, bound = _AIMS[figure]
        where = "sealed" if sealed else "all in one WAL file"
        self.facts = Facts(
            name=f"open-100k-{figure}-{'sealed' if sealed else 'wal'}",
            work=f"open() and stream() of a store with 100,000 streams, {where}",
            raw="a process that only imports transit: the import, and its peak memory",
            unit=unit,
            better="less",
            aim=Aim("value", bound),
            records=100_000,
            payload_bytes=0,
        )

    def setup(self, folder: str, records: int) -> None:
        self._path = os.path.join(folder, "store")
        settings = transit.Settings(seal_bytes=SEAL_BYTES_MAX)
        with transit.open(self._path, durability="os", settings=settings) as log:
            for start in range(0, records, A_BATCH):
                with log.batch() as batch:
                    for number in range(start, start + A_BATCH):
                        self._last = f"agents/run-{number:08d}"
                        batch.create(self._last)
            if self._sealed:
                log.seal()

    def raw(self) -> float:
        return measured(RAW_PROGRAM)[self._figure]

    def ours(self) -> float:
        return measured(PROGRAM, self._path, self._last)[self._figure]

    def close(self) -> None:
        pass
