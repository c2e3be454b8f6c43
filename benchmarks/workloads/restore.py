"""Restoring a store from its remote, every commit and segment verified and synced."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from time import perf_counter

import transit
from benchmarks.places import What
from benchmarks.published import PAYLOAD_BYTES, RECORDS, SAY, published
from benchmarks.remote import Rig
from benchmarks.workload import Aim, Facts


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
        there = published(self._rig, folder, records, self._what)
        self._there = self._open.enter_context(there)

    def raw(self) -> float:
        folder = os.path.join(self._folder, "raw")
        seconds = self._there.bucket.download(self._there.names, self._there.place, folder)
        self._bytes = sum(os.path.getsize(os.path.join(folder, name)) for name in self._there.names)
        shutil.rmtree(folder)
        return self._bytes / 1e6 / seconds

    def ours(self) -> float:
        folder = os.path.join(self._folder, "restored")
        restoring = self._there.counter()
        start = perf_counter()
        transit.restore(self._there.store, folder)
        seconds = perf_counter() - start
        shutil.rmtree(folder)
        said = self._there.remark(restoring, self._bytes, self._rig)
        self.remark = f"{said}; every file is synced"
        return self._bytes / 1e6 / seconds

    def close(self) -> None:
        self._open.close()
