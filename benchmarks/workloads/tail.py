"""How soon another process sees an append."""

from __future__ import annotations

import os
import random
import statistics
import struct
import time
from collections.abc import Callable
from subprocess import Popen

import transit
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.places import STREAM
from benchmarks.processes import finish, start
from benchmarks.workload import Aim, Facts

STAMP = struct.Struct("<q")
# Not measured: while caches warm and clocks speed up.
WARM_UP = 100
GAP_S = 0.001


class Tail:
    """Each record carries the clock from before its append; the reader takes the clock on sight.

    Appends come about a millisecond apart, at random, so that they fall in step with nobody.
    """

    remark = ""

    def __init__(self, percentile: int, baseline: str, aim: float) -> None:
        self._percentile = percentile
        self._baseline = baseline
        self.facts = Facts(
            name=f"tail-p{percentile}-{baseline}",
            work=f'append "os", another process in tail(); p{percentile} until it has the record',
            raw=f"os.write to a file, another process reads it: {_SAY[baseline]}",
            unit="µs",
            better="less",
            aim=Aim("value", aim),
            records=1_000,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        self._count = records + WARM_UP
        self._rest = payloads(1, RECORD_BYTES - STAMP.size)[0]
        self._run = 0

    def raw(self) -> float:
        self._run += 1
        path = os.path.join(self._folder, f"raw-{self._run}")
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            reader = self._reader(self._baseline, path)
            return self._write(lambda payload: os.write(fd, payload), reader)
        finally:
            os.close(fd)

    def ours(self) -> float:
        self._run += 1
        path = os.path.join(self._folder, f"store-{self._run}")
        with transit.open(path, durability="os") as log:
            stream = log.create(STREAM)
            return self._write(stream.append, self._reader("transit", path))

    def _reader(self, kind: str, path: str) -> Popen[str]:
        reader = start("-m", "benchmarks.readers", kind, path, str(self._count))
        assert reader.stdout is not None
        if reader.stdout.readline() != "ready\n":
            finish(reader)
        # It says so just before it starts to wait.
        time.sleep(0.2)
        return reader

    def _write(self, append: Callable[[bytes], object], reader: Popen[str]) -> float:
        rng = random.Random("gaps")
        for _ in range(self._count):
            time.sleep(rng.uniform(0.5, 1.5) * GAP_S)
            append(STAMP.pack(time.perf_counter_ns()) + self._rest)
        output, _ = finish(reader)
        latencies = [int(line) / 1_000 for line in output.split()[WARM_UP:]]
        if len(latencies) != self._count - WARM_UP:
            raise RuntimeError(f"the reader saw {len(latencies)} records")
        return statistics.quantiles(latencies, n=100)[self._percentile - 1]

    def close(self) -> None:
        pass


_SAY = {"inotify": "inotify(7) by hand", "polling": "one read a millisecond"}
