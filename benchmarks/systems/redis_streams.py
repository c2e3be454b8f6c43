"""Redis Streams: a server in memory with an append-only file, through a Unix socket."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final

import redis

from benchmarks.systems.servers import Server, binary, version_of
from benchmarks.systems.system import Level, Offsets, System

_SYNC: Final = {"buffered": "everysec", "durable": "always"}
_SOCKET: Final = "redis.sock"
_READ_ROWS: Final = 1_000
_SETTINGS: Final = ("--port", "0", "--appendonly", "yes", "--save", "", "--daemonize", "no")


class RedisStreams(System):
    """The id of a record is its offset plus one: ids begin at one."""

    name = "redis"
    title = "Redis Streams (server)"
    version = version_of("redis-server")
    durability: ClassVar = {
        "buffered": "appendfsync everysec: written, synced within a second; survives the process",
        "durable": "appendfsync always: synced before the answer; survives the power",
    }
    lacks: ClassVar = {
        "sync": "nothing waits for a sync",
        "batches": "rows only",
    }
    fork_by = "copying, in the server"

    def _open(self, folder: str, level: Level) -> None:
        path = os.path.join(folder, _SOCKET)
        self._redis: Any = redis.Redis(unix_socket_path=path)
        command = [binary("redis-server"), "--unixsocket", path, "--dir", folder, *_SETTINGS]
        self._server = Server([*command, "--appendfsync", _SYNC[level]], folder, self._answers)
        self._offsets = Offsets()

    def _answers(self) -> bool:
        try:
            return bool(self._redis.ping())
        except redis.exceptions.ConnectionError:
            return False

    def append_one(self, stream: str, payload: bytes) -> None:
        while True:
            try:
                fields = {"t": time.time_ns(), "p": payload}
                self._redis.xadd(stream, fields, f"{self._offsets.take(stream) + 1}-0")
                return
            except redis.exceptions.ResponseError as error:
                # Another thread's record came first with a larger id: take the next one.
                if "equal or smaller" not in str(error):
                    raise

    def append_many(self, stream: str, payloads: Sequence[bytes]) -> None:
        now, pipe = time.time_ns(), self._redis.pipeline(transaction=False)
        offsets = self._offsets.take_many(stream, len(payloads))
        for at, payload in zip(offsets, payloads, strict=True):
            pipe.xadd(stream, {"t": now, "p": payload}, f"{at + 1}-0")
        pipe.execute()

    def replay(self, stream: str) -> Iterator[object]:
        start = "-"
        while rows := self._redis.xrange(stream, start, "+", count=_READ_ROWS):
            yield from rows
            start = b"(" + rows[-1][0]

    def payload_of(self, row: object) -> bytes:
        assert isinstance(row, tuple)
        payload: bytes = row[1][b"p"]
        return payload

    def get(self, stream: str, offset: int) -> bytes:
        ((_, fields),) = self._redis.xrange(stream, f"{offset + 1}-0", f"{offset + 1}-0")
        payload: bytes = fields[b"p"]
        return payload

    def tail(self, folder: str, stream: str) -> Iterator[bytes]:
        client: Any = redis.Redis(unix_socket_path=os.path.join(folder, _SOCKET))
        last: str | bytes = "0-0"
        while True:
            for _, rows in client.xread({stream: last}, block=1_000):
                last = rows[-1][0]
                yield from map(self.payload_of, rows)

    def fork(self, stream: str, name: str, at: int) -> None:
        self._redis.copy(stream, name)
        later = self._redis.xrange(name, f"{at + 2}-0", "+")
        if later:
            self._redis.xdel(name, *(found for found, _ in later))
            self._redis.execute_command("XSETID", name, f"{at + 1}-0")
        self._offsets.start(name, at + 1)

    def close(self) -> None:
        self._redis.close()
        self._server.stop()
