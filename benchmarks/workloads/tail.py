"""How soon another process sees an append."""

from __future__ import annotations

import os

import transit
from benchmarks.latency import WARM_UP, percentile_us, raw_percentile_us, start_reader
from benchmarks.payloads import RECORD_BYTES
from benchmarks.places import STREAM
from benchmarks.workload import Aim, Facts


class Tail:
    """Each record carries the clock from before its append; the reader takes the clock on sight.

    Appends come about a millisecond apart, at random, so that they fall in step with no timer.
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
        self._run = 0

    def raw(self) -> float:
        return raw_percentile_us(self._folder, self._baseline, self._count, self._percentile)

    def ours(self) -> float:
        self._run += 1
        path = os.path.join(self._folder, f"store-{self._run}")
        with transit.open(path, durability="os") as log:
            stream = log.create(STREAM)
            reader = start_reader("transit", path, self._count)
            return percentile_us(stream.append, reader, self._count, self._percentile)

    def close(self) -> None:
        pass


_SAY = {"inotify": "inotify(7) by hand", "polling": "one read a millisecond"}
