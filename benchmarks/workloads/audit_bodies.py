"""Auditing every byte of a bucket that is not trusted."""

from __future__ import annotations

from contextlib import ExitStack
from time import perf_counter

import blake3

import transit
from benchmarks.places import What
from benchmarks.published import PAYLOAD_BYTES, RECORDS, SAY, published
from benchmarks.remote import Rig
from benchmarks.workload import Aim, Facts


class AuditBodies:
    """An audit that finds anything is an error here: the bucket is whole."""

    def __init__(self, rig: Rig, what: What) -> None:
        self._rig = rig
        self._what = what
        self._open = ExitStack()
        self.remark = ""
        self.facts = Facts(
            name=f"audit-bodies-{what}",
            work=f'audit(level="bodies"), segments of {SAY[what]}, as MB of objects',
            raw="s3fs: _cat_file of the same objects, 8 at once, and the BLAKE3 of each",
            unit="MB/s",
            better="more",
            aim=Aim("ratio", 0.7),
            records=RECORDS[what],
            payload_bytes=PAYLOAD_BYTES[what],
        )

    def setup(self, folder: str, records: int) -> None:
        there = published(self._rig, folder, records, self._what)
        self._there = self._open.enter_context(there)

    def raw(self) -> float:
        sizes: list[int] = []

        def use(data: bytes) -> None:
            blake3.blake3(data).digest()
            sizes.append(len(data))

        seconds = self._there.bucket.read(self._there.names, self._there.place, use)
        self._bytes = sum(sizes)
        return self._bytes / 1e6 / seconds

    def ours(self) -> float:
        auditing = self._there.counter()
        start = perf_counter()
        report = transit.audit(self._there.store, level="bodies")
        seconds = perf_counter() - start
        if not report.ok:
            raise RuntimeError(f"the audit found {report.findings[0]}")
        self.remark = self._there.remark(auditing, self._bytes, self._rig)
        return self._bytes / 1e6 / seconds

    def close(self) -> None:
        self._open.close()
