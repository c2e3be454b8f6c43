"""Restoring a store from its remote, every commit and segment verified and synced."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from time import perf_counter

import transit
from benchmarks.places import What, sealed_store
from benchmarks.remote import Bucket, Counter, Rig
from benchmarks.workload import Aim, Facts
from benchmarks.workloads.publish import PAYLOAD_BYTES, RECORDS, SAY


class Restore:
    """Both sides begin with an empty folder, and connections that are open."""

    def __init__(self, rig: Rig, what: What) -> None:
        self._rig = rig
        self._what = what
        self._open = ExitStack()
        self.remark = ""
        self.facts = Facts(
            name=f"restore-{what}",
            work=f"restore(), segments of {SAY[what]}, as MB of objects",
            raw="s3fs: _get_file of the same objects with the same options, 8 at once; no sync",
            unit="MB/s",
            better="more",
            aim=Aim("ratio", 0.8),
            records=RECORDS[what],
            payload_bytes=PAYLOAD_BYTES[what],
        )

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
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
        folder = os.path.join(self._folder, "raw")
        seconds = self._bucket.download(self._names, self._place, folder)
        self._bytes = sum(os.path.getsize(os.path.join(folder, name)) for name in self._names)
        shutil.rmtree(folder)
        return self._bytes / 1e6 / seconds

    def ours(self) -> float:
        folder = os.path.join(self._folder, "restored")
        restoring = Counter(self._store.traffic)
        start = perf_counter()
        transit.restore(self._store, folder)
        seconds = perf_counter() - start
        shutil.rmtree(folder)
        self.remark = (
            f"{restoring} for {self._bytes / 1e6:.1f} MB in {len(self._names)} objects: "
            f"${restoring.dollars(self._rig.prices):.6f}; every file is synced"
        )
        return self._bytes / 1e6 / seconds

    def close(self) -> None:
        self._open.close()
