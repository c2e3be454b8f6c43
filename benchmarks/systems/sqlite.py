"""SQLite with a write-ahead log, through the standard library."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from benchmarks.systems.system import Level, Offsets, System, polled

_TABLE: Final = """
create table record (
    stream text not null, place integer not null, time_ns integer not null, payload blob not null,
    primary key (stream, place)
) without rowid
"""
_INSERT: Final = "insert into record values (?, ?, ?, ?)"
_SYNCHRONOUS: Final = {"buffered": "normal", "durable": "full"}
_FILE: Final = "records.sqlite"
_BUSY_S: Final = 60.0


class Sqlite(System):
    """One connection a thread, each append a transaction of its own."""

    name = "sqlite"
    title = "SQLite, WAL"
    version = sqlite3.sqlite_version
    durability: ClassVar = {
        "buffered": "synchronous=NORMAL: written; survives the process",
        "durable": "synchronous=FULL: the WAL is synced at each commit; survives the power",
    }
    lacks: ClassVar = {"batches": "rows only"}

    def _open(self, folder: str, level: Level) -> None:
        self._path = os.path.join(folder, _FILE)
        self._level = level
        self._offsets = Offsets()
        self._here = threading.local()
        self._connections: list[sqlite3.Connection] = []
        connection = self._connection()
        connection.execute("pragma journal_mode=wal")
        connection.execute(_TABLE)

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._here, "connection", None)
        if found is None:
            found = sqlite3.connect(
                self._path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            found.execute(f"pragma synchronous={_SYNCHRONOUS[self._level]}")
            self._here.connection = found
            self._connections.append(found)
        return found

    def append_one(self, stream: str, payload: bytes) -> None:
        offset = self._offsets.take(stream)
        self._connection().execute(_INSERT, (stream, offset, time.time_ns(), payload))

    def append_many(self, stream: str, payloads: Sequence[bytes]) -> None:
        now, connection = time.time_ns(), self._connection()
        offsets = self._offsets.take_many(stream, len(payloads))
        rows = ((stream, at, now, each) for at, each in zip(offsets, payloads, strict=True))
        connection.execute("begin immediate")
        connection.executemany(_INSERT, rows)
        connection.execute("commit")

    def sync(self) -> None:
        self._connection().execute("pragma wal_checkpoint(full)")

    def settle(self) -> None:
        self._connection().execute("pragma wal_checkpoint(truncate)")

    def replay(self, stream: str) -> Iterator[object]:
        wanted = "select time_ns, payload from record where stream = ? order by place"
        return iter(self._connection().execute(wanted, (stream,)))

    def get(self, stream: str, offset: int) -> bytes:
        wanted = "select payload from record where stream = ? and place = ?"
        payload = self._connection().execute(wanted, (stream, offset)).fetchone()[0]
        assert isinstance(payload, bytes)
        return payload

    def tail(self, folder: str, stream: str) -> Iterator[bytes]:
        connection = sqlite3.connect(f"file:{folder}/{_FILE}?mode=ro", uri=True)
        wanted = "select payload from record where stream = ? and place >= ? order by place"
        start = 0

        def look() -> list[bytes]:
            nonlocal start
            rows = connection.execute(wanted, (stream, start)).fetchall()
            start += len(rows)
            return [payload for (payload,) in rows]

        yield from polled(look)

    def fork(self, stream: str, name: str, at: int) -> None:
        copy = (
            "insert into record select ?, place, time_ns, payload from record"
            " where stream = ? and place <= ?"
        )
        self._connection().execute(copy, (name, stream, at))
        self._offsets.start(name, at + 1)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
