"""Column batches: payload bytes as they lie, without cutting them up."""

from __future__ import annotations

from time import perf_counter

import transit
from benchmarks.baselines import PAGE_BYTES, touch_pages
from benchmarks.payloads import RECORD_BYTES
from benchmarks.places import SAY, STREAM, Where, filled_file, filled_store
from benchmarks.workload import Aim, Facts


class Columns:
    """One byte of every page is looked at, so that no page is left out."""

    remark = ""
    _log: transit.Log | None = None

    def __init__(self, where: Where) -> None:
        self._where = where
        self.facts = Facts(
            name=f"columns-{where}",
            work=f"batches(), .data of each, one byte a page; {SAY[where]}",
            raw="mmap of a file of the payloads, one byte a page",
            unit="MB/s",
            better="more",
            aim=Aim("ratio", 0.5),
            records=1_000_000,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._megabytes = records * RECORD_BYTES / 1e6
        self._path = filled_file(folder, records)
        self._log = filled_store(folder, records, self._where)
        self._stream = self._log.stream(STREAM)

    def raw(self) -> float:
        return self._megabytes / touch_pages(self._path)

    def ours(self) -> float:
        start = perf_counter()
        for batch in self._stream.batches():
            bytes(batch.data[::PAGE_BYTES])
        return self._megabytes / (perf_counter() - start)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
