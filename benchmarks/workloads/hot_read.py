"""Records appended one by one and not yet sealed, beside as many of one frame."""

from __future__ import annotations

import os
from time import perf_counter

import transit
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.workload import Aim, Facts

READS = 100


class HotRead:
    """A program that shows a run while it is recorded reads all of it at each look."""

    remark = ""
    _log: transit.Log | None = None

    def __init__(self) -> None:
        self.facts = Facts(
            name="hot-read",
            work=f"read() {READS} times of 1,024 records appended one by one, unsealed",
            raw="the same of as many records of one frame, in the same store",
            unit="records/s",
            better="more",
            aim=Aim("ratio", 0.5),
            records=1_024,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._records = records
        each = payloads(records)
        self._log = transit.open(f"{folder}/store", durability="os")
        self._frame = self._log.create("frame")
        self._frame.append_many(each)
        self._single = self._log.create("single")
        for payload in each:
            self._single.append(payload)

    def raw(self) -> float:
        return self._read(self._frame)

    def ours(self) -> float:
        return self._read(self._single)

    def _read(self, stream: transit.Stream) -> float:
        start = perf_counter()
        count = sum(1 for _ in range(READS) for _ in stream.read())
        seconds = perf_counter() - start
        if count != READS * self._records:
            raise RuntimeError(f"read {count} of {READS * self._records} records")
        return count / seconds

    def close(self) -> None:
        if self._log is not None:
            self._log.close()


class FirstHotRead:
    """The first read after opening checks every frame; the second finds what the first kept."""

    remark = ""

    def __init__(self) -> None:
        self.facts = Facts(
            name="hot-read-first",
            work="the first read() of 20,000 records appended one by one, unsealed, after opening",
            raw="the second, of the same opening",
            unit="records/s",
            better="more",
            aim=Aim("ratio", 0.05),
            records=20_000,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._records = records
        self._path = os.path.join(folder, "store")
        with transit.open(self._path, durability="os") as log:
            stream = log.create("single")
            for payload in payloads(records):
                stream.append(payload)

    def raw(self) -> float:
        return self._rates()[1]

    def ours(self) -> float:
        return self._rates()[0]

    def _rates(self) -> tuple[float, float]:
        with transit.open(self._path, mode="read") as log:
            stream = log.stream("single")
            return self._rate(stream), self._rate(stream)

    def _rate(self, stream: transit.Stream) -> float:
        start = perf_counter()
        count = sum(1 for _ in stream.read())
        if count != self._records:
            raise RuntimeError(f"read {count} of {self._records} records")
        return count / (perf_counter() - start)

    def close(self) -> None:
        pass
