"""RocksDB through rocksdict: a log-structured merge tree."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any, ClassVar, Final

from rocksdict import AccessType, Options, Rdict, WriteBatch, WriteOptions

from benchmarks.systems.keyed import PAYLOAD_AT, Pair, key, moved, pairs, prefix, row, value
from benchmarks.systems.system import Level, Offsets, System, polled

_COPIED_AT_ONCE: Final = 10_000


class Rocks(System):
    """Raw mode (bytes as they are), default options; the WAL is written at each call."""

    name = "rocksdb"
    title = "RocksDB (rocksdict)"
    version = version("rocksdict")
    durability: ClassVar = {
        "buffered": "the default: the WAL is written; survives the process",
        "durable": "sync=True: the WAL is synced, once for all who wait; survives the power",
    }
    lacks: ClassVar = {"batches": "rows only"}

    def _open(self, folder: str, level: Level) -> None:
        self._db: Any = Rdict(os.path.join(folder, "db"), Options(raw_mode=True))
        options = WriteOptions()
        options.sync = level == "durable"
        self._db.set_write_options(options)
        self._offsets = Offsets()

    def append_one(self, stream: str, payload: bytes) -> None:
        self._db.put(key(stream, self._offsets.take(stream)), value(payload))

    def append_many(self, stream: str, payloads: Sequence[bytes]) -> None:
        self._put(pairs(stream, self._offsets.take_many(stream, len(payloads)), payloads))

    def _put(self, items: Sequence[Pair]) -> None:
        batch = WriteBatch(raw_mode=True)
        for found, stored in items:
            batch.put(found, stored)
        self._db.write(batch)

    def sync(self) -> None:
        self._db.flush_wal(True)

    def settle(self) -> None:
        self._db.flush()
        self._db.compact_range(None, None)

    def replay(self, stream: str) -> Iterator[object]:
        return (row(stored) for _, stored in self._items(stream))

    def _items(self, stream: str) -> Iterator[Pair]:
        start = prefix(stream)
        for found, stored in self._db.items(from_key=start):
            if not found.startswith(start):
                return
            yield found, stored

    def get(self, stream: str, offset: int) -> bytes:
        stored: bytes = self._db[key(stream, offset)]
        return stored[PAYLOAD_AT:]

    def tail(self, folder: str, stream: str) -> Iterator[bytes]:
        path, own = os.path.join(folder, "db"), os.path.join(folder, f"reader-{os.getpid()}")
        db = Rdict(path, Options(raw_mode=True), access_type=AccessType.secondary(own))
        start = 0

        def look() -> list[bytes]:
            nonlocal start
            db.try_catch_up_with_primary()
            payloads: list[bytes] = []
            while (stored := db.get(key(stream, start + len(payloads)))) is not None:
                payloads.append(stored[PAYLOAD_AT:])
            start += len(payloads)
            return payloads

        yield from polled(look)

    def fork(self, stream: str, name: str, at: int) -> None:
        last, copied = key(stream, at), []
        for found, stored in self._items(stream):
            if found > last:
                break
            copied.append((moved(name, found), stored))
            if len(copied) == _COPIED_AT_ONCE:
                self._put(copied)
                copied = []
        self._put(copied)
        self._offsets.start(name, at + 1)

    def close(self) -> None:
        self._db.close()
