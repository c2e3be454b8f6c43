"""Icechunk: Zarr arrays with transactions and branches."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

import icechunk
import numpy as np
import zarr

from benchmarks.systems.system import Columns, Level, System, plain, polled

_DATA_CHUNK: Final = 256 * 1024
_ROW_CHUNK: Final = 4_096
_READ_ROWS: Final = 16_384


class Icechunk(System):
    """A repository for each stream that is no fork, with payloads back to back and where they end.

    Each append is a commit. The arrays of a stream: data, ends, times.
    """

    name = "icechunk"
    title = "Icechunk"
    version = icechunk.__version__
    durability: ClassVar = {"buffered": "new files, none synced; survives the process"}
    lacks: ClassVar = {
        "durable": "no file is synced on a local disk",
        "sync": "no file is synced on a local disk",
    }
    fork_by = "reference, at the end of an append only"

    def _open(self, folder: str, level: Level) -> None:
        # It warns on a terminal of its own that a folder is not safe for several writers.
        icechunk.set_logs_filter("error")
        self._folder = folder
        self._repositories: dict[str, tuple[Any, str]] = {}
        self._snapshots: dict[str, dict[int, str]] = {}
        self._read_only: dict[str, Any] = {}
        self._lock = threading.Lock()

    def _path(self, stream: str) -> str:
        return os.path.join(self._folder, plain(stream))

    def append_one(self, stream: str, payload: bytes) -> None:
        self.append_many(stream, (payload,))

    def append_many(self, stream: str, payloads: Sequence[bytes]) -> None:
        with self._lock:
            if stream not in self._repositories:
                self._create(stream)
            repository, branch = self._repositories[stream]
            session = repository.writable_session(branch)
            group: Any = zarr.open_group(session.store, mode="r+")
            first: int = group["data"].shape[0]
            sizes = np.fromiter(map(len, payloads), dtype="i8", count=len(payloads))
            group["data"].append(np.frombuffer(b"".join(payloads), dtype="u1"))
            group["ends"].append(np.cumsum(sizes) + first)
            group["times"].append(np.full(len(payloads), time.time_ns(), dtype="i8"))
            made: str = session.commit("append")
            self._read_only.pop(stream, None)
            snapshots = self._snapshots.setdefault(stream, {})
            snapshots[max(snapshots, default=-1) + len(payloads)] = made

    def _create(self, stream: str) -> None:
        storage = icechunk.local_filesystem_storage(self._path(stream))
        repository = icechunk.Repository.create(storage)
        session = repository.writable_session("main")
        group = zarr.group(session.store)
        for name, size, kind in (
            ("data", _DATA_CHUNK, "u1"), ("ends", _ROW_CHUNK, "i8"), ("times", _ROW_CHUNK, "i8"),
        ):  # fmt: skip
            group.create_array(name, shape=(0,), chunks=(size,), dtype=kind)
        session.commit("create")
        self._repositories[stream] = (repository, "main")

    def _group(self, stream: str) -> Any:
        group = self._read_only.get(stream)
        if group is None:
            repository, branch = self._repositories[stream]
            store = repository.readonly_session(branch).store
            group = self._read_only[stream] = zarr.open_group(store, mode="r")
        return group

    def _runs(self, group: Any) -> Iterator[tuple[Any, Any, Any]]:
        """Times, ends within the data, and the data, of some thousand records each."""
        total, before = group["ends"].shape[0], 0
        for start in range(0, total, _READ_ROWS):
            rows = slice(start, start + _READ_ROWS)
            ends = group["ends"][rows]
            yield group["times"][rows], ends - before, group["data"][before : int(ends[-1])]
            before = int(ends[-1])

    def replay(self, stream: str) -> Iterator[object]:
        for times, ends, data in self._runs(self._group(stream)):
            whole, start = data.tobytes(), 0
            for time_ns, end in zip(times.tolist(), ends.tolist(), strict=True):
                yield time_ns, whole[start:end]
                start = end

    def batches(self, stream: str) -> Iterator[Columns]:
        for times, _, data in self._runs(self._group(stream)):
            yield Columns(len(times), memoryview(data))

    def get(self, stream: str, offset: int) -> bytes:
        return _read(self._group(stream), offset)

    def tail(self, folder: str, stream: str) -> Iterator[bytes]:
        self._open(folder, "buffered")
        storage = icechunk.local_filesystem_storage(self._path(stream))
        repository, seen, start = icechunk.Repository.open(storage), "", 0

        def look() -> list[bytes]:
            nonlocal seen, start
            head = repository.lookup_branch("main")
            if head == seen:
                return []
            seen = head
            session = repository.readonly_session(snapshot_id=head)
            group: Any = zarr.open_group(session.store, mode="r")
            payloads = [_read(group, at) for at in range(start, group["ends"].shape[0])]
            start += len(payloads)
            return payloads

        yield from polled(look)

    def fork(self, stream: str, name: str, at: int) -> None:
        snapshots = self._snapshots[stream]
        if at not in snapshots:
            raise self.lack("fork inside an append")
        repository, _ = self._repositories[stream]
        branch = plain(name)
        repository.create_branch(branch, snapshots[at])
        self._repositories[name] = (repository, branch)
        self._snapshots[name] = {place: s for place, s in snapshots.items() if place <= at}

    def close(self) -> None:
        self._repositories.clear()


def _read(group: Any, offset: int) -> bytes:
    ends = group["ends"][max(0, offset - 1) : offset + 1].tolist()
    start = ends[0] if offset else 0
    payload: bytes = group["data"][start : ends[-1]].tobytes()
    return payload
