"""Auditing every byte of a bucket that nobody trusts."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from time import perf_counter

import blake3

import transit
from benchmarks.places import What, sealed_store
from benchmarks.remote import Bucket, Counter, Rig
from benchmarks.workload import Aim, Facts
from benchmarks.workloads.publish import PAYLOAD_BYTES, RECORDS, SAY


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
        self._bucket = self._open.enter_context(Bucket(self._rig.server))
        self._place = self._bucket.new_place()
        self._store = self._bucket.open(self._place)
        self._open.callback(self._store.close)
        path = sealed_store(folder, records, self._what)
        with transit.open(path, remote=self._store) as log:
            log.publish()
        shutil.rmtree(path)
        self._names = self._bucket.names(self._place)

    def raw(self) -> float:
        sizes: list[int] = []

        def use(data: bytes) -> None:
            blake3.blake3(data).digest()
            sizes.append(len(data))

        seconds = self._bucket.read(self._names, self._place, use)
        self._bytes = sum(sizes)
        return self._bytes / 1e6 / seconds

    def ours(self) -> float:
        auditing = Counter(self._store.traffic)
        start = perf_counter()
        report = transit.audit(self._store, level="bodies")
        seconds = perf_counter() - start
        if not report.ok:
            raise RuntimeError(f"the audit found {report.findings[0]}")
        self.remark = (
            f"{auditing} for {self._bytes / 1e6:.1f} MB in {len(self._names)} objects: "
            f"${auditing.dollars(self._rig.prices):.6f}"
        )
        return self._bytes / 1e6 / seconds

    def close(self) -> None:
        self._open.close()
