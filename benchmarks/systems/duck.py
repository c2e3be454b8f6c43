"""DuckDB: a columnar database in a file."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

import duckdb
import pyarrow as pa

from benchmarks.systems.system import Columns, Level, Offsets, System

_TABLE: Final = "create table record (stream text, place bigint, time_ns bigint, payload blob)"
_MODE: Final = {"buffered": "NONE", "durable": "STANDARD"}
_READ_ROWS: Final = 65_536


class Duck(System):
    """One cursor a thread, each append a transaction; no index, as is advised for bulk data."""

    name = "duckdb"
    title = "DuckDB"
    version = duckdb.__version__
    durability: ClassVar = {
        "buffered": "fsync_mode NONE: the WAL is written; survives the process",
        "durable": "the default: the WAL is synced at each commit; survives the power",
    }
    lacks: ClassVar = {"tail": "a file that is written is open to no other process"}

    def _open(self, folder: str, level: Level) -> None:
        self._db: Any = duckdb.connect(os.path.join(folder, "records.duckdb"))
        self._db.execute(f"set fsync_mode = '{_MODE[level]}'")
        self._db.execute(_TABLE)
        self._offsets = Offsets()
        self._here = threading.local()

    def _cursor(self) -> Any:
        cursor = getattr(self._here, "cursor", None)
        if cursor is None:
            cursor = self._here.cursor = self._db.cursor()
        return cursor

    def append_one(self, stream: str, payload: bytes) -> None:
        row = (stream, self._offsets.take(stream), time.time_ns(), payload)
        self._cursor().execute("insert into record values (?, ?, ?, ?)", row)

    def append_many(self, stream: str, payloads: Sequence[bytes]) -> None:
        offsets = self._offsets.take_many(stream, len(payloads))
        rows = pa.table(
            {
                "place": pa.array(offsets, pa.int64()),
                "time_ns": pa.array([time.time_ns()] * len(payloads), pa.int64()),
                "payload": pa.array(payloads, pa.binary()),
            }
        )
        cursor = self._cursor()
        cursor.register("given", rows)
        cursor.execute("insert into record select ?, place, time_ns, payload from given", (stream,))
        cursor.unregister("given")

    def sync(self) -> None:
        self._cursor().execute("force checkpoint")

    def settle(self) -> None:
        self._cursor().execute("force checkpoint")

    def replay(self, stream: str) -> Iterator[object]:
        wanted = "select time_ns, payload from record where stream = ? order by place"
        found = self._db.cursor().execute(wanted, (stream,))
        while rows := found.fetchmany(_READ_ROWS):
            yield from rows

    def batches(self, stream: str) -> Iterator[Columns]:
        wanted = "select payload from record where stream = ? order by place"
        found = self._db.cursor().sql(wanted, params=(stream,))
        for batch in found.to_arrow_reader(_READ_ROWS):
            payload = batch.column("payload")
            yield Columns(len(payload), memoryview(payload.buffers()[2]))

    def get(self, stream: str, offset: int) -> bytes:
        wanted = "select payload from record where stream = ? and place = ?"
        payload: bytes = self._cursor().execute(wanted, (stream, offset)).fetchone()[0]
        return payload

    def fork(self, stream: str, name: str, at: int) -> None:
        copy = (
            "insert into record select ?, place, time_ns, payload from record"
            " where stream = ? and place <= ?"
        )
        self._cursor().execute(copy, (name, stream, at))
        self._offsets.start(name, at + 1)

    def close(self) -> None:
        self._db.close()
