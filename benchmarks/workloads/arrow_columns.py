"""Arrow columns of sealed records, beside the same columns made of Python objects."""

from __future__ import annotations

from time import process_time

import transit
from benchmarks.payloads import RECORD_BYTES
from benchmarks.places import STREAM, filled_store
from benchmarks.workload import Aim, Facts

COLUMNS = ("offset", "timestamp", "payload")


class ArrowColumns:
    """CPU time of three columns; reading and decompressing the blocks is in both."""

    remark = ""
    _log: transit.Log | None = None

    def __init__(self) -> None:
        self.facts = Facts(
            name="columns-arrow",
            work="to_arrow() of offset, timestamp and payload of each batch; sealed",
            raw="pyarrow.array of the same batches' lists of Python objects",
            unit="records/CPU s",
            better="more",
            # A million in a quarter of a CPU second.
            aim=Aim("value", 4_000_000),
            records=1_000_000,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._records = records
        self._log = filled_store(folder, records, "sealed-uncompressed")
        self._stream = self._log.stream(STREAM)

    def raw(self) -> float:
        # Loaded here: the report can be made of other rows without it.
        import pyarrow as pa

        start = process_time()
        count = 0
        for batch in self._stream.batches():
            arrays = [
                pa.array(list(batch.offsets), pa.int64()),
                pa.array(list(batch.timestamps), pa.timestamp("ns", tz="UTC")),
                pa.array(batch.payloads, pa.large_binary()),
            ]
            count += pa.record_batch(arrays, names=list(COLUMNS)).num_rows
        return self._rate(count, start)

    def ours(self) -> float:
        start = process_time()
        count = sum(batch.to_arrow(COLUMNS).num_rows for batch in self._stream.batches())
        return self._rate(count, start)

    def _rate(self, count: int, start: float) -> float:
        if count != self._records:
            raise RuntimeError(f"{count} of {self._records} records")
        return count / (process_time() - start)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
