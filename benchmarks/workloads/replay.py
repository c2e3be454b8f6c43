"""Replay of a whole stream, as lists of payloads and as full records."""

from __future__ import annotations

from time import perf_counter
from typing import Literal

import transit
from benchmarks.baselines import slice_dropped, slice_kept
from benchmarks.payloads import RECORD_BYTES
from benchmarks.places import SAY, STREAM, Where, filled_file, filled_store
from benchmarks.workload import Aim, Facts

Form = Literal["payloads", "records"]
_BASELINES = {"payloads": slice_kept, "records": slice_dropped}
_RAW = {
    "payloads": "read the file by 256 KiB; data[a:b] appended to a list in a Python for loop",
    "records": "read the file by 256 KiB; data[a:b] in a Python for loop, not kept",
}
_WORK = {
    "payloads": "batches(), .payloads of each",
    "records": "for record in read(): offset, timestamp, payload, headers and origin",
}


class Replay:
    """What is read stays in the page cache: this is about the work on it, not about the disk.

    Both sides hand out the same: in the row "payloads" lists of bytes, of which the last one is
    held; in the row "records" one object at a time to a Python loop that keeps none.
    """

    remark = ""
    _log: transit.Log | None = None

    def __init__(self, form: Form, aim: float, where: Where) -> None:
        self._form = form
        self._where = where
        self.facts = Facts(
            name=f"replay-{form}-{where}",
            work=f"{_WORK[form]}; {SAY[where]}",
            raw=_RAW[form],
            unit="records/s",
            better="more",
            aim=Aim("ratio", aim),
            records=1_000_000,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._records = records
        self._path = filled_file(folder, records)
        self._log = filled_store(folder, records, self._where)
        self._stream = self._log.stream(STREAM)

    def raw(self) -> float:
        return self._records / _BASELINES[self._form](self._path)

    def ours(self) -> float:
        count = 0
        start = perf_counter()
        if self._form == "payloads":
            for batch in self._stream.batches():
                count += len(batch.payloads)
        else:
            for record in self._stream.read():  # noqa: B007
                pass
            count = record.offset + 1
        seconds = perf_counter() - start
        if count != self._records:
            raise RuntimeError(f"read {count} of {self._records} records")
        return count / seconds

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
