"""Appends that wait until their record is in the remote."""

from __future__ import annotations

import os
import shutil
import statistics
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import perf_counter

import transit
from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.places import STREAM
from benchmarks.remote import Bucket, Counter, Rig
from benchmarks.workload import Aim, Facts


class TieredLatency:
    """One thread; the baseline puts two objects of the sizes that transit's have here."""

    def __init__(self, rig: Rig, percentile: int, aim: float) -> None:
        self._rig = rig
        self._percentile = percentile
        self._open = ExitStack()
        self.remark = ""
        self.facts = Facts(
            name=f"tiered-append-p{percentile}",
            work='append by one thread, durability "tiered": latency',
            raw="s3fs: pipe_file of as many bytes as the segment, then of as many as the commit",
            unit="ms",
            better="less",
            aim=Aim("ratio", aim),
            records=200,
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._folder = folder
        self._payloads = payloads(records)
        self._bucket = self._open.enter_context(Bucket(self._rig.server))
        self._sizes = self._object_sizes()

    def _object_sizes(self) -> list[int]:
        """What one acknowledgement puts: bytes of the segment, of the commit."""
        store = self._bucket.open(self._bucket.new_place())
        with _new_store(os.path.join(self._folder, "store"), store) as log:
            stream = log.create(STREAM)
            log.publish()
            before = dict(store.list(""))
            stream.append(self._payloads[0], durability="tiered")
            after = dict(store.list(""))
        shutil.rmtree(os.path.join(self._folder, "store"))
        store.close()
        return sorted(size for key, size in after.items() if key not in before)

    def raw(self) -> float:
        place = self._bucket.new_place()
        larger, smaller = os.urandom(self._sizes[-1]), os.urandom(self._sizes[0])
        latencies = []
        for number in range(len(self._payloads)):
            start = perf_counter()
            self._bucket.put(f"{place}/segments/{number}", larger)
            self._bucket.put(f"{place}/commits/{number}", smaller)
            latencies.append(perf_counter() - start)
        return self._figure(latencies)

    def ours(self) -> float:
        store = self._bucket.open(self._bucket.new_place())
        latencies = []
        with _new_store(os.path.join(self._folder, "store"), store) as log:
            stream = log.create(STREAM)
            log.publish()
            for payload in self._payloads:
                start = perf_counter()
                stream.append(payload, durability="tiered")
                latencies.append(perf_counter() - start)
        shutil.rmtree(os.path.join(self._folder, "store"))
        store.close()
        self.remark = f"objects of {self._sizes[-1]:,} and {self._sizes[0]:,} bytes"
        return self._figure(latencies)

    def _figure(self, latencies: list[float]) -> float:
        return 1_000 * statistics.quantiles(latencies, n=100)[self._percentile - 1]

    def close(self) -> None:
        self._open.close()


class TieredRequests:
    """What one acknowledgement costs, alone and when several wait for the same commit."""

    def __init__(self, rig: Rig, threads: int, aim: float) -> None:
        self._rig = rig
        self._threads = threads
        self._open = ExitStack()
        self.remark = ""
        who = "one thread" if threads == 1 else f"{threads} threads"
        self.facts = Facts(
            name=f"tiered-requests-{threads}-thread{'s' if threads > 1 else ''}",
            work=f'append by {who}, durability "tiered": requests for each acknowledged record',
            raw="three: a segment, a commit and a look at the one before (index snapshots, every 8,"
            " and HEAD, every 16, aside)",
            unit="requests",
            better="less",
            aim=Aim("value", aim),
            records=200 * min(threads, 4),
            payload_bytes=RECORD_BYTES,
        )

    def setup(self, folder: str, records: int) -> None:
        self._path = os.path.join(folder, "store")
        given = payloads(records)
        self._shares = [given[start :: self._threads] for start in range(self._threads)]
        self._bucket = self._open.enter_context(Bucket(self._rig.server))

    def raw(self) -> float:
        return 3.0

    def ours(self) -> float:
        count = sum(map(len, self._shares))
        store = self._bucket.open(self._bucket.new_place())
        with (
            _new_store(self._path, store) as log,
            ThreadPoolExecutor(self._threads) as pool,
        ):
            stream = log.create(STREAM)
            log.publish()
            appending = Counter(store.traffic)
            start = perf_counter()
            for done in [pool.submit(_append_all, stream, share) for share in self._shares]:
                done.result()
            seconds = perf_counter() - start
            dollars = appending.dollars(self._rig.prices)
        shutil.rmtree(self._path)
        store.close()
        self.remark = (
            f"{appending} for {count} records: ${1e6 * dollars / count:.2f} a million; "
            f"{count / seconds:.0f} records/s"
        )
        return appending.requests / count

    def close(self) -> None:
        self._open.close()


def _new_store(path: str, store: transit.ObjectStore) -> transit.Log:
    return transit.open(path, remote=store, durability="os")


def _append_all(stream: transit.Stream, given: list[bytes]) -> None:
    for payload in given:
        stream.append(payload, durability="tiered")
