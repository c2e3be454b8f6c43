"""ZODB: Python objects in a file, here a B-tree of records for each stream."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, ClassVar

import transaction
from BTrees.LOBTree import LOBTree
from BTrees.OOBTree import OOBTree
from ZODB import DB
from ZODB.FileStorage import FileStorage

from benchmarks.systems.system import Level, System


class Zodb(System):
    """One connection; threads take turns, since two that append to one tree would conflict."""

    name = "zodb"
    title = "ZODB, FileStorage"
    version = version("ZODB")
    durability: ClassVar = {"durable": "synced at each commit; survives the power"}
    lacks: ClassVar = {
        "buffered": "every commit is synced",
        "sync": "every commit is synced",
        "batches": "rows only",
        "tail": "FileStorage is for one process; several need a ZEO server",
    }

    def _open(self, folder: str, level: Level) -> None:
        self._db: Any = DB(FileStorage(os.path.join(folder, "records.fs")))
        self._manager: Any = transaction.TransactionManager()
        self._streams: Any = OOBTree()
        self._db.open(self._manager).root()["streams"] = self._streams
        self._manager.commit()
        self._lock = threading.Lock()

    def _tree(self, stream: str) -> Any:
        tree = self._streams.get(stream)
        if tree is None:
            tree = self._streams[stream] = LOBTree()
        return tree

    def append_one(self, stream: str, payload: bytes) -> None:
        self.append_many(stream, (payload,))

    def append_many(self, stream: str, payloads: Sequence[bytes]) -> None:
        with self._lock:
            tree, now = self._tree(stream), time.time_ns()
            first = tree.maxKey() + 1 if tree else 0
            tree.update([(at, (now, each)) for at, each in enumerate(payloads, first)])
            self._manager.commit()

    def settle(self) -> None:
        self._db.pack()

    def replay(self, stream: str) -> Iterator[object]:
        rows: Iterator[object] = iter(self._tree(stream).values())
        return rows

    def get(self, stream: str, offset: int) -> bytes:
        payload: bytes = self._tree(stream)[offset][1]
        return payload

    def fork(self, stream: str, name: str, at: int) -> None:
        with self._lock:
            self._streams[name] = LOBTree(self._tree(stream).items(max=at))
            self._manager.commit()

    def close(self) -> None:
        self._manager.abort()
        self._db.close()
