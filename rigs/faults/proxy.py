"""An HTTP proxy in front of a server, which loses, delays and damages what it is told to.

It speaks as much HTTP/1.1 as S3 clients and servers do: bodies with a stated length or in chunks,
connections kept alive, `Expect: 100-continue`. It runs in a thread of its own and forwards to a
port of this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self

Fault = Literal[
    "lost_before",  # not forwarded, the connection is reset
    "lost_after",  # forwarded, the answer thrown away, the connection is reset
    "half_request",  # half of the body forwarded, then both connections are reset
    "hang",  # not forwarded, no answer until the client gives up
    "delay",  # forwarded after `delay_s` seconds
    "truncate",  # half of the answer's body, then the connection is reset
    "flip_request",  # one bit of the request's body is changed, another bit each time
    "flip",  # one bit of the answer's body is changed, another bit each time
    "status_409",  # not forwarded, answered as S3 does
    "status_500",
    "status_503",
]
# (number of the request from 0, method, path with query) -> what to do to it
Rule = Callable[[int, str, str], Fault | None]

_CODES: Final = {
    "status_409": (409, "ConditionalRequestConflict"),
    "status_500": (500, "InternalError"),
    "status_503": (503, "SlowDown"),
}
_START_TIMEOUT_S: Final = 10.0
_HEAD_SIZE_MAX: Final = 1024 * 1024
_BODILESS: Final = (204, 304)


class Seen(NamedTuple):
    """One request; `outcome` is the server's status or the fault."""

    method: str
    path: str
    outcome: int | str


class _Message(NamedTuple):
    """A request or an answer: its first line, its header lines, and its body as it was sent."""

    start: str
    headers: tuple[bytes, ...]
    body: bytes

    @property
    def method(self) -> str:
        return self.start.split(" ")[0]

    @property
    def path(self) -> str:
        return self.start.split(" ")[1]

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])

    def encode(self) -> bytes:
        lines = (self.start.encode("latin-1"), *self.headers, b"", self.body)
        return b"\r\n".join(lines)


class FaultProxy:
    """A proxy to `port` of `host`, running inside `with`; safe to steer from any thread.

    `requests` holds every request in the order in which they were answered or failed. Clients may
    send a request again whose connection died (aiohttp does it once): the proxy counts both.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", delay_s: float = 0.2) -> None:
        self.requests: list[Seen] = []
        self.delay_s = delay_s
        self._server_address = (host, port)
        self._port = 0
        self._rule: Rule | None = None
        self._planned: dict[int, Fault] = {}
        self._count = 0
        self._flips = 0
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)

    @property
    def url(self) -> str:
        """Where clients find the proxy."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def count(self) -> int:
        """How many requests came, those that hang included."""
        return self._count

    def fail(self, nth: int, fault: Fault) -> None:
        """Do `fault` to the n-th request from now; 1 is the next one."""
        with self._lock:
            self._planned[self._count + nth - 1] = fault

    def follow(self, rule: Rule | None) -> None:
        """Ask `rule` about each request that `fail` says nothing about."""
        with self._lock:
            self._rule = rule

    def clear(self) -> None:
        """No more faults; the requests seen are forgotten and counted from 0 again."""
        with self._lock:
            self._rule = None
            self._planned.clear()
            self._count = 0
            self.requests.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._started.wait(_START_TIMEOUT_S) or not self._port:
            raise RuntimeError("the fault proxy did not start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_START_TIMEOUT_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        clients: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            client = _Client(self, reader, writer, self._server_address)
            task = asyncio.ensure_future(client.serve())
            clients.add(task)
            task.add_done_callback(clients.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_HEAD_SIZE_MAX)
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    def choose(self, method: str, path: str) -> Fault | None:
        """Count a request that came and say what to do to it."""
        with self._lock:
            index = self._count
            self._count += 1
            planned, rule = self._planned.pop(index, None), self._rule
        return planned or (rule(index, method, path) if rule else None)

    def flip(self, body: bytes) -> bytes:
        """The body with a bit of its middle changed.

        Each time it is the next bit of eight: two reads in a row are never damaged alike.
        """
        with self._lock:
            bit = self._flips % 8
            self._flips += 1
        changed = bytearray(body)
        if changed:
            changed[len(changed) // 2] ^= 1 << bit
        return bytes(changed)

    def note(self, method: str, path: str, outcome: int | str) -> None:
        """Remember what became of a request, before its client can know."""
        with self._lock:
            self.requests.append(Seen(method, path, outcome))


class _ResetError(Exception):
    """The client's connection is to be reset."""


class _Client:
    """One client's connection and the server's connection that serves it."""

    def __init__(
        self,
        proxy: FaultProxy,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        server: tuple[str, int],
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._address = server
        self._server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def serve(self) -> None:
        """Answer requests until either side ends the connection."""
        try:
            while (request := await _read_request(self._reader, self._writer)) is not None:
                await self._answer(request)
        except (_ResetError, ConnectionError, asyncio.IncompleteReadError):
            _reset(self._writer)
        finally:
            self._drop_server()
            self._writer.close()

    async def _answer(self, request: _Message) -> None:
        fault = self._proxy.choose(request.method, request.path)
        if fault is not None:
            self._proxy.note(request.method, request.path, fault)
        if fault in _CODES:
            self._writer.write(_refusal(request.method, *_CODES[fault]).encode())
            await self._writer.drain()
            return
        await self._fail_before(fault, request)
        if fault == "flip_request":
            request = request._replace(body=self._proxy.flip(request.body))
        answer = await self._forward(request)
        if fault == "lost_after":
            raise _ResetError
        if fault is None:
            self._proxy.note(request.method, request.path, answer.status)
        if fault == "truncate":
            answer = answer._replace(body=answer.body[: len(answer.body) // 2])
        if fault == "flip":
            answer = answer._replace(body=self._proxy.flip(answer.body))
        self._writer.write(answer.encode())
        await self._writer.drain()
        if fault == "truncate":
            # What was sent must be there before the reset, which overtakes it otherwise.
            await asyncio.sleep(0.02)
            raise _ResetError

    async def _fail_before(self, fault: Fault | None, request: _Message) -> None:
        """Do what happens before a request is forwarded."""
        match fault:
            case "lost_before":
                raise _ResetError
            case "hang":
                await self._reader.read()
                raise _ResetError
            case "delay":
                await asyncio.sleep(self._proxy.delay_s)
            case "half_request":
                _, writer = await self._connect()
                half = request._replace(body=request.body[: len(request.body) // 2])
                writer.write(half.encode())
                await writer.drain()
                await asyncio.sleep(0.02)
                raise _ResetError

    async def _forward(self, request: _Message) -> _Message:
        reader, writer = await self._connect()
        writer.write(request.encode())
        await writer.drain()
        answer = await _read_message(reader, request.method)
        while 100 <= answer.status < 200:
            answer = await _read_message(reader, request.method)
        if any(line.lower() == b"connection: close" for line in answer.headers):
            self._drop_server()
        return answer

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._server is not None and self._server[0].at_eof():
            self._drop_server()
        if self._server is None:
            host, port = self._address
            self._server = await asyncio.open_connection(host, port, limit=_HEAD_SIZE_MAX)
        return self._server

    def _drop_server(self) -> None:
        if self._server is not None:
            _reset(self._server[1])
            self._server = None


async def _read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> _Message | None:
    """The next request, its body asked for; None when the client has ended the connection."""
    try:
        start, headers = await _read_head(reader)
    except asyncio.IncompleteReadError:
        return None
    expects = [line for line in headers if line.lower().startswith(b"expect:")]
    if expects:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        headers = tuple(line for line in headers if line not in expects)
    return _Message(start, headers, await _read_body(reader, headers))


async def _read_message(reader: asyncio.StreamReader, method: str) -> _Message:
    """The next answer, to a request with `method`."""
    start, headers = await _read_head(reader)
    answer = _Message(start, headers, b"")
    if method == "HEAD" or answer.status < 200 or answer.status in _BODILESS:
        return answer
    return answer._replace(body=await _read_body(reader, headers))


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, tuple[bytes, ...]]:
    start, *headers = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    return start.decode("latin-1"), tuple(headers)


async def _read_body(reader: asyncio.StreamReader, headers: tuple[bytes, ...]) -> bytes:
    """The body as it is sent; none where the headers state none."""
    values = dict(line.lower().split(b":", 1) for line in headers)
    if b"chunked" in values.get(b"transfer-encoding", b""):
        return await _read_chunks(reader)
    return await reader.readexactly(int(values.get(b"content-length", b"0")))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    pieces = []
    size = -1
    while size != 0:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        pieces += [line, await reader.readexactly(size + 2)]
    return b"".join(pieces)


def _refusal(method: str, status: int, code: str) -> _Message:
    """S3's answer for an error; an answer to HEAD has no body."""
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made up</Message></Error>"
    body = b"" if method == "HEAD" else text.encode()
    headers = (b"Content-Type: application/xml", b"Content-Length: %d" % len(body))
    return _Message(f"HTTP/1.1 {status} Fault", headers, body)


def _reset(writer: asyncio.StreamWriter) -> None:
    """End the connection with a TCP reset, so that the other side takes it for no proper end."""
    with contextlib.suppress(OSError):
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
