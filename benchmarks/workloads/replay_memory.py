"""How much memory a replay takes on top of an open store."""

from __future__ import annotations

import os

import transit
from benchmarks.payloads import RECORD_BYTES
from benchmarks.places import STREAM, Where, filled_file, filled_store
from benchmarks.processes import measured
from benchmarks.workload import Aim, Facts

MIB = 1024 * 1024
RAW_PROGRAM = """
import sys
from benchmarks.processes import forget_peak, peak_bytes
forget_peak()
before = peak_bytes()
with open(sys.argv[1], "rb", buffering=0) as file:
    while data := file.read(256 * 1024):
        for at in range(0, len(data), 256):
            data[at : at + 256]
print('{"bytes": %d}' % (peak_bytes() - before))
"""
PROGRAM = """
import sys, transit
from benchmarks.processes import forget_peak, peak_bytes
with transit.open(sys.argv[1], mode="read") as log:
    stream = log.stream(sys.argv[2])
    stream[0]
    forget_peak()
    before = peak_bytes()
    for record in stream.read():
        pass
print('{"bytes": %d}' % (peak_bytes() - before))
"""


class ReplayMemory:
    """Peak resident memory in a fresh process, what was there before the replay taken off."""

    remark = ""

    def __init__(self, where: Where) -> None:
        self._where = where
        self.facts = Facts(
            name=f"replay-memory-{where}",
            work="growth of the peak memory during read() of all records in a fresh process",
            raw="the same while a file is read by 256 KiB and sliced",
            unit="MiB",
            better="less",
            # The cache of decoded blocks, and a few blocks on their way.
            aim=Aim("value", transit.Settings().cache_bytes_max / MIB + 16),
            records=1_000_000,
            payload_bytes=RECORD_BYTES,
            runs_max=3,
        )

    def setup(self, folder: str, records: int) -> None:
        self._file = filled_file(folder, records)
        self._store = os.path.join(folder, "store")
        filled_store(folder, records, self._where).close()

    def raw(self) -> float:
        return measured(RAW_PROGRAM, self._file)["bytes"] / MIB

    def ours(self) -> float:
        return measured(PROGRAM, self._store, STREAM)["bytes"] / MIB

    def close(self) -> None:
        pass
