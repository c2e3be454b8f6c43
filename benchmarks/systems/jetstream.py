"""NATS JetStream: a server with file storage."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar, Final, TypeVar

import nats
from nats.js.api import DeliverPolicy, StreamConfig, StreamSource

from benchmarks.systems.servers import Server, binary, version_of
from benchmarks.systems.system import Level, System, plain

_T = TypeVar("_T")
_ADDRESS: Final = "address"
_AT_ONCE: Final = 500
_WAIT_S: Final = 600.0


class JetStream(System):
    """A JetStream stream for each stream; sequence numbers begin at one, times are the server's."""

    name = "nats"
    title = "NATS JetStream (server)"
    version = version_of("nats-server")
    durability: ClassVar = {
        "buffered": "file storage: written, synced every two minutes; survives the process"
    }
    lacks: ClassVar = {
        "durable": "before version 2.10 no message can wait for a sync",
        "sync": "before version 2.10 no message can wait for a sync",
        "batches": "rows only",
    }
    fork_by = "copying, in the server"

    def _open(self, folder: str, level: Level) -> None:
        self._address = _free_address()
        host, port = self._address.rsplit(":", 1)
        self._server = Server(
            [binary("nats-server"), "-a", host, "-p", port, "-js", "-sd", folder],
            folder,
            lambda: _listens(host, int(port)),
        )
        Path(folder, _ADDRESS).write_text(self._address, encoding="ascii")
        self._connect()

    def _connect(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._known: set[str] = set()
        self._client: Any = self._wait(nats.connect(f"nats://{self._address}"))
        self._js: Any = self._client.jetstream(timeout=60)

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WAIT_S)

    async def _subject(self, stream: str) -> str:
        name = plain(stream)
        if name not in self._known:
            await self._js.add_stream(StreamConfig(name=name, subjects=[name]))
            self._known.add(name)
        return name

    def append_one(self, stream: str, payload: bytes) -> None:
        self._wait(self._publish(stream, (payload,)))

    def append_many(self, stream: str, payloads: Sequence[bytes]) -> None:
        for at in range(0, len(payloads), _AT_ONCE):
            self._wait(self._publish(stream, payloads[at : at + _AT_ONCE]))

    async def _publish(self, stream: str, payloads: Sequence[bytes]) -> None:
        subject = await self._subject(stream)
        if len(payloads) == 1:
            await self._js.publish(subject, payloads[0])
        else:
            await asyncio.gather(*(self._js.publish(subject, each) for each in payloads))

    def replay(self, stream: str) -> Iterator[object]:
        return self._messages(plain(stream), self._count(stream))

    def _count(self, stream: str) -> int:
        count: int = self._wait(self._js.stream_info(plain(stream))).state.messages
        return count

    def _messages(self, name: str, count: int) -> Iterator[tuple[int, bytes]]:
        arrived: SimpleQueue[Any] = SimpleQueue()
        subscription = self._wait(self._follow(name, arrived))
        try:
            for _ in range(count):
                yield _row(arrived.get(timeout=_WAIT_S))
        finally:
            # The server would go on pushing records that this process does not take any more.
            self._wait(subscription.unsubscribe())

    async def _follow(self, name: str, arrived: SimpleQueue[Any]) -> Any:
        async def take(message: Any) -> None:
            arrived.put(message)

        # What was copied from another stream keeps that one's subject, so all subjects are wanted.
        return await self._js.subscribe(
            ">", stream=name, cb=take, ordered_consumer=True, deliver_policy=DeliverPolicy.ALL
        )

    def get(self, stream: str, offset: int) -> bytes:
        message = self._wait(self._js.get_msg(plain(stream), offset + 1))
        payload: bytes = message.data
        return payload

    def tail(self, folder: str, stream: str) -> Iterator[bytes]:
        self._address = Path(folder, _ADDRESS).read_text(encoding="ascii")
        self._connect()
        arrived: SimpleQueue[Any] = SimpleQueue()
        self._wait(self._follow(plain(stream), arrived))
        while True:
            yield _row(arrived.get(timeout=_WAIT_S))[1]

    def fork(self, stream: str, name: str, at: int) -> None:
        self._wait(self._copy(plain(stream), plain(name), at + 1))
        self._known.add(plain(name))

    async def _copy(self, source: str, target: str, count: int) -> None:
        config = StreamConfig(name=target, subjects=[target], sources=[StreamSource(name=source)])
        await self._js.add_stream(config)
        wanted = (await self._js.stream_info(source)).state.messages
        while (await self._js.stream_info(target)).state.messages < wanted:
            await asyncio.sleep(0.001)
        config.sources = []
        await self._js.update_stream(config)
        for sequence in range(count + 1, wanted + 1):
            await self._js.delete_msg(target, sequence)

    def close(self) -> None:
        self._wait(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._server.stop()


def _row(message: Any) -> tuple[int, bytes]:
    """Time in nanoseconds, payload."""
    return int(message.metadata.timestamp.timestamp() * 1e9), message.data


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False
