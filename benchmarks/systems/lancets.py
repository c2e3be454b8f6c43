"""Lance: columnar files with versions and branches."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

import lance
import pyarrow as pa

from benchmarks.systems.system import Columns, Level, System, plain, polled

_SCHEMA: Final = pa.schema([("time_ns", pa.int64()), ("payload", pa.large_binary())])
_READ_ROWS: Final = 8_192


class Lance(System):
    """A dataset for each stream that is no fork; each append is a version."""

    name = "lance"
    title = "Lance (pylance)"
    version = lance.__version__
    durability: ClassVar = {"buffered": "new files, none synced; survives the process"}
    lacks: ClassVar = {
        "durable": "no file is synced on a local disk",
        "sync": "no file is synced on a local disk",
    }
    fork_by = "reference, at the end of an append only"

    def _open(self, folder: str, level: Level) -> None:
        self._folder = folder
        self._datasets: dict[str, Any] = {}
        # By stream: the version that ends with an offset.
        self._versions: dict[str, dict[int, int]] = {}
        self._lock = threading.Lock()

    def _path(self, stream: str) -> str:
        return os.path.join(self._folder, plain(stream) + ".lance")

    def append_one(self, stream: str, payload: bytes) -> None:
        self.append_many(stream, (payload,))

    def append_many(self, stream: str, payloads: Sequence[bytes]) -> None:
        columns = [[time.time_ns()] * len(payloads), payloads]
        table = pa.table(columns, schema=_SCHEMA)
        # One dataset object is not for several threads; each must write to the newest version.
        with self._lock:
            found = self._datasets.get(stream)
            made = lance.write_dataset(
                table,
                self._path(stream) if found is None else found,
                mode="create" if found is None else "append",
            )
            self._datasets[stream] = made
            versions = self._versions.setdefault(stream, {})
            versions[max(versions, default=-1) + len(payloads)] = made.version

    def settle(self) -> None:
        for dataset in self._datasets.values():
            dataset.optimize.compact_files()

    def replay(self, stream: str) -> Iterator[object]:
        for batch in self._datasets[stream].to_batches(batch_size=_READ_ROWS):
            yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)

    def batches(self, stream: str) -> Iterator[Columns]:
        for batch in self._datasets[stream].to_batches():
            payload = batch.column("payload")
            yield Columns(len(payload), memoryview(payload.buffers()[2]))

    def get(self, stream: str, offset: int) -> bytes:
        payload: bytes = self._datasets[stream].take([offset], ["payload"])["payload"][0].as_py()
        return payload

    def tail(self, folder: str, stream: str) -> Iterator[bytes]:
        self._open(folder, "buffered")
        dataset: Any = lance.dataset(self._path(stream))
        start, seen = 0, -1

        def look() -> list[bytes]:
            nonlocal start, seen
            dataset.checkout_latest()
            if dataset.version == seen:
                return []
            seen = dataset.version
            payloads: list[bytes] = dataset.to_table(["payload"], offset=start)["payload"]
            payloads = [payload.as_py() for payload in payloads]  # type: ignore[attr-defined]
            start += len(payloads)
            return payloads

        yield from polled(look)

    def fork(self, stream: str, name: str, at: int) -> None:
        versions = self._versions[stream]
        if at not in versions:
            raise self.lack("fork inside an append")
        made = self._datasets[stream].create_branch(plain(name), versions[at])
        self._datasets[name] = made
        self._versions[name] = {place: v for place, v in versions.items() if place <= at}

    def close(self) -> None:
        self._datasets.clear()
