"""Appends that go on while WAL files end, beside the syncing and sealing of those that did."""

from __future__ import annotations

import os
import shutil
from time import perf_counter

import transit
from benchmarks.baselines import append_each
from benchmarks.workload import Aim, Facts

SIZE = 64 * 1024
SEAL_BYTES = 16 * 1024 * 1024


class FileEnds:
    """A file ends with about every 256th record."""

    remark = ""
    facts = Facts(
        name="file-ends-os",
        work='append, durability "os", over ends of 16 MiB files',
        raw="os.write of the same records",
        unit="records/s",
        better="more",
        aim=Aim("ratio", 0.4),
        records=3_000,
        payload_bytes=SIZE,
    )

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        self._payloads = [os.urandom(SIZE)] * records

    def raw(self) -> float:
        return len(self._payloads) / append_each(self._folder, self._payloads, os.write)

    def ours(self) -> float:
        path = os.path.join(self._folder, "store")
        settings = transit.Settings(seal_bytes=SEAL_BYTES, compression="none")
        with transit.open(path, durability="os", settings=settings) as log:
            stream = log.create("records")
            start = perf_counter()
            for payload in self._payloads:
                stream.append(payload)
            spent = perf_counter() - start
        shutil.rmtree(path)
        return len(self._payloads) / spent

    def close(self) -> None:
        pass
