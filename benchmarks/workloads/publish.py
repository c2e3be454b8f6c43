"""Publishing segments that are sealed already."""

from __future__ import annotations

import os
from contextlib import ExitStack
from time import perf_counter

import transit
from benchmarks.places import What, sealed_store
from benchmarks.published import PAYLOAD_BYTES, RECORDS, SAY
from benchmarks.remote import Bucket, Counter, Rig, files_below
from benchmarks.workload import Aim, Facts

PARTS = ("segments", "index", "commits")
GB = 1e9


class Publish:
    """The store is attached to an empty place of the bucket each time, before the clock runs."""

    def __init__(self, rig: Rig, what: What) -> None:
        self._rig = rig
        self._what = what
        self._open = ExitStack()
        self.remark = ""
        self.facts = Facts(
            name=f"publish-{what}",
            work=f"publish() of segments of {SAY[what]}, sealed before, as MB of objects",
            raw="s3fs: _pipe_file of the same files with the same options, 8 at once",
            unit="MB/s",
            better="more",
            aim=Aim("ratio", 0.8),
            records=RECORDS[what],
            payload_bytes=PAYLOAD_BYTES[what],
        )

    def setup(self, folder: str, records: int) -> None:
        self._path = sealed_store(folder, records, self._what)
        self._files = dict(files_below(self._path, PARTS))
        self._bytes = sum(map(os.path.getsize, self._files.values()))
        self._bucket = self._open.enter_context(Bucket(self._rig.server))

    def raw(self) -> float:
        place = self._bucket.new_place()
        seconds = self._bucket.upload(self._files, place)
        self._bucket.empty(place)
        return self._bytes / 1e6 / seconds

    def ours(self) -> float:
        place = self._bucket.new_place()
        store = self._bucket.open(place)
        attaching = Counter(store.traffic)
        with transit.open(self._path, remote=store) as log:
            attached = str(attaching)
            publishing = Counter(store.traffic)
            start = perf_counter()
            log.publish()
            seconds = perf_counter() - start
            self._say(publishing, attached)
        store.close()
        self._bucket.empty(place)
        return self._bytes / 1e6 / seconds

    def _say(self, publishing: Counter, attached: str) -> None:
        gigabytes = self._bytes / GB
        prices = self._rig.prices
        self.remark = (
            f"{publishing} for {self._bytes / 1e6:.1f} MB in {len(self._files)} objects, "
            f"{publishing.requests / gigabytes:,.0f} a GB: ${publishing.dollars(prices):.6f}, "
            f"${publishing.dollars(prices) / gigabytes:.4f} a GB published, "
            f"${prices.month:.3f} a GB and month kept; attaching before: {attached}"
        )

    def close(self) -> None:
        self._open.close()
