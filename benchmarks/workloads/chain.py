"""Reading a branch at the end of a long chain of branches, beside one stream of as many records."""

from __future__ import annotations

from time import perf_counter

import transit
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.workload import Aim, Facts

DEPTH = 1_000


class Chain:
    """Each branch of the chain is forked at the head of the one before and has its own records."""

    remark = ""
    _log: transit.Log | None = None

    def __init__(self) -> None:
        self.facts = Facts(
            name="chain-1000",
            work=f"read() of a branch {DEPTH:,} deep, sealed",
            raw="read() of one stream with as many records, in the same store",
            unit="records/s",
            better="more",
            aim=Aim("ratio", 0.8),
            records=100 * DEPTH,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._records = records
        each = payloads(records // DEPTH)
        self._log = transit.open(f"{folder}/store", durability="os")
        self._one = self._log.create("one")
        self._last = self._log.create("0")
        self._last.append_many(each)
        self._one.append_many(each)
        for number in range(1, DEPTH):
            self._last = self._last.branch(str(number))
            self._last.append_many(each)
            self._one.append_many(each)
        self._log.seal()

    def raw(self) -> float:
        return self._read(self._one)

    def ours(self) -> float:
        return self._read(self._last)

    def _read(self, stream: transit.Stream) -> float:
        start = perf_counter()
        count = sum(1 for _ in stream.read())
        seconds = perf_counter() - start
        if count != self._records:
            raise RuntimeError(f"read {count} of {self._records} records")
        return count / seconds

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
