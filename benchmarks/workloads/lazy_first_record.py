"""Reading without restoring: opening a bucket of very many streams, and the first record of one."""

from __future__ import annotations

import os
import random
from contextlib import ExitStack
from time import perf_counter
from typing import Literal

from benchmarks.remote import Bucket, Counter, Rig, read_only
from benchmarks.streams import publish_streams, stream_name
from benchmarks.workload import Aim, Facts
from transit.store import ObjectStore, open_store

RANGE_BYTES = 64 * 1024
REQUESTS_MAX = 4
RECORDS_A_STREAM = 4
Figure = Literal["requests", "ms"]
Where = Literal["folder", "s3"]


class LazyFirstRecord:
    """Opened anew each time, so that nothing is cached, and with another stream."""

    def __init__(self, rig: Rig, figure: Figure) -> None:
        self._rig = rig
        self._figure = figure
        self._open = ExitStack()
        self.remark = ""
        self.facts = Facts(
            name=f"lazy-first-record-{figure}",
            work="stream() and its first record, from a bucket opened before that has so many "
            f"streams of {RECORDS_A_STREAM} records",
            raw=f"s3fs: cat_file of {RANGE_BYTES // 1024} KiB of a segment",
            unit=figure,
            better="less",
            aim=Aim("value" if figure == "requests" else "ratio", REQUESTS_MAX),
            records=100_000,
            payload_bytes=256,
        )

    def setup(self, folder: str, records: int) -> None:
        self._streams = records
        self._bucket = self._open.enter_context(Bucket(self._rig.server))
        self._place = self._bucket.new_place()
        store = self._bucket.open(self._place)
        self._bytes = publish_streams(folder, store, records, RECORDS_A_STREAM, 256)
        store.close()
        names = self._bucket.names(self._place)
        self._path = f"{self._place}/{next(n for n in names if n.startswith('segments/'))}"
        self._chosen = random.Random("lazy")

    def raw(self) -> float:
        start = perf_counter()
        self._bucket.read_range(self._path, 0, RANGE_BYTES)
        seconds = perf_counter() - start
        return 1.0 if self._figure == "requests" else 1_000 * seconds

    def ours(self) -> float:
        store = self._bucket.open(self._place)
        opening = Counter(store.traffic)
        start = perf_counter()
        with read_only(store) as log:
            opened = f"opening {perf_counter() - start:.2f} s, {_say(opening)}"
            reading = Counter(store.traffic)
            start = perf_counter()
            record = log.stream(stream_name(self._chosen.randrange(self._streams)))[0]
            milliseconds = 1_000 * (perf_counter() - start)
            self.remark = (
                f"{opened}; the record {milliseconds:.1f} ms, {_say(reading)}, "
                f"for its {len(record.payload)} bytes; of {self._bytes / 1e6:.1f} MB in all"
            )
            return milliseconds if self._figure == "ms" else reading.requests

    def close(self) -> None:
        self._open.close()


def _say(counter: Counter) -> str:
    return f"{counter}, {counter.bytes / 1e6:.2f} MB"


class OpenBucket:
    """Small streams, of one record each; in a folder, so that no server counts, or in a bucket."""

    def __init__(self, rig: Rig, where: Where) -> None:
        self._rig = rig
        self._where = where
        self._open = ExitStack()
        self.remark = ""
        self.facts = Facts(
            name=f"open-bucket-{where}",
            work='open(URL, mode="read") and stream() by name, of so many small streams in '
            + ("a bucket" if where == "s3" else "a folder as remote"),
            raw="one request: FORMAT" if where == "s3" else "reading the same folder's index files",
            unit="requests" if where == "s3" else "s",
            better="less",
            aim=Aim("value", 40 if where == "s3" else 3),
            # A tenth of what the aim is about, unless all is asked for.
            records=1_000_000 if rig.full else 100_000,
            payload_bytes=64,
        )

    def setup(self, folder: str, records: int) -> None:
        self._streams = records
        if self._where == "s3":
            self._bucket = self._open.enter_context(Bucket(self._rig.server))
            self._place = self._bucket.new_place()
        else:
            self._place = os.path.join(folder, "remote")
        store = self._store()
        publish_streams(folder, store, records, 1, 64)
        store.close()

    def _store(self) -> ObjectStore:
        return self._bucket.open(self._place) if self._where == "s3" else open_store(self._place)

    def raw(self) -> float:
        if self._where == "s3":
            return 1.0
        start = perf_counter()
        folder = os.path.join(self._place, "index")
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            with open(os.path.join(folder, name), "rb") as file:
                file.read()
        return perf_counter() - start

    def ours(self) -> float:
        store = self._store()
        counter = Counter(store.traffic)
        start = perf_counter()
        with read_only(store) as log:
            opened = perf_counter() - start
            log.stream(stream_name(self._streams - 1))
            seconds = perf_counter() - start
            asked, said = counter.requests, _say(counter)
            # Counts all streams, which takes requests of its own.
            commits = log.status().commits
        self.remark = (
            f"{commits} commits; open() {opened:.2f} s, stream() {seconds - opened:.2f} s; {said}"
        )
        return asked if self._where == "s3" else seconds

    def close(self) -> None:
        self._open.close()
