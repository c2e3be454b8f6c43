"""LMDB: a memory-mapped B+ tree, one writer at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

import lmdb

from benchmarks.systems.keyed import PAYLOAD_AT, Pair, key, moved, pairs, prefix, row, value
from benchmarks.systems.system import Level, Offsets, System, polled

# Address space, not disk: the file is as large as what is in it.
_MAP_BYTES: Final = 64 * 1024**3


class Lightning(System):
    """One transaction an append."""

    name = "lmdb"
    title = "LMDB"
    version = ".".join(map(str, lmdb.version()))
    durability: ClassVar = {
        "buffered": "sync=False: written; survives the process",
        "durable": "the default: synced at each commit; survives the power",
    }
    lacks: ClassVar = {"batches": "rows only"}

    def _open(self, folder: str, level: Level) -> None:
        self._env: Any = lmdb.open(folder, map_size=_MAP_BYTES, sync=level == "durable")
        self._offsets = Offsets()

    def append_one(self, stream: str, payload: bytes) -> None:
        found = key(stream, self._offsets.take(stream))
        with self._env.begin(write=True) as change:
            change.put(found, value(payload))

    def append_many(self, stream: str, payloads: Sequence[bytes]) -> None:
        offsets = self._offsets.take_many(stream, len(payloads))
        self._put(pairs(stream, offsets, payloads))

    def _put(self, items: Sequence[Pair]) -> None:
        with self._env.begin(write=True) as change, change.cursor() as cursor:
            cursor.putmulti(items)

    def sync(self) -> None:
        self._env.sync(True)

    def replay(self, stream: str) -> Iterator[object]:
        start = prefix(stream)
        with self._env.begin() as view, view.cursor() as cursor:
            if cursor.set_range(start):
                for found, stored in cursor:
                    if not found.startswith(start):
                        return
                    yield row(stored)

    def get(self, stream: str, offset: int) -> bytes:
        with self._env.begin() as view:
            stored: bytes = view.get(key(stream, offset))
            return stored[PAYLOAD_AT:]

    def tail(self, folder: str, stream: str) -> Iterator[bytes]:
        env = lmdb.open(folder, map_size=_MAP_BYTES, readonly=True)
        start = 0

        def look() -> list[bytes]:
            nonlocal start
            payloads: list[bytes] = []
            with env.begin() as view:
                while (stored := view.get(key(stream, start + len(payloads)))) is not None:
                    payloads.append(stored[PAYLOAD_AT:])
            start += len(payloads)
            return payloads

        yield from polled(look)

    def fork(self, stream: str, name: str, at: int) -> None:
        last = key(stream, at)
        with self._env.begin(write=True) as change, change.cursor() as cursor:
            cursor.set_range(prefix(stream))
            for found, stored in cursor:
                if found > last:
                    break
                change.put(moved(name, found), stored)
        self._offsets.start(name, at + 1)

    def close(self) -> None:
        self._env.close()
