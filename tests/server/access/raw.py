"""Servers to be treated badly, and sockets that do it."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

import msgspec
import pytest

import transit
from transit import Log
from transit.server.app import App
from transit.server.gate import LOOPBACK_HOSTS
from transit.server.run import serving
from transit.server.settings import ServerSettings

WAIT_S: Final = 60.0
SERVERS: Final = ("uvicorn", "granian")
TEXT: Final = {"content-type": "text/plain"}


class Served(NamedTuple):
    """A server on a store of its own."""

    log: Log
    app: App
    address: tuple[str, int]


class Reply(NamedTuple):
    """An answer as it came over a socket."""

    status: int
    headers: dict[str, str]
    body: bytes


@contextmanager
def served(
    kind: str = "uvicorn", tokens: str | None = None, **settings: object
) -> Iterator[Served]:
    """A new, empty store, and a server of it in a thread of this process."""
    # No thread of the store meets what a test breaks.
    slow = transit.Settings(flush_interval_ms=60_000)
    with (
        tempfile.TemporaryDirectory() as folder,
        transit.open(folder, durability="os", settings=slow) as log,
        serving_of(log, kind, tokens, **settings) as server,
    ):
        yield server


@contextmanager
def serving_of(
    log: Log, kind: str = "uvicorn", tokens: str | None = None, **settings: object
) -> Iterator[Served]:
    """A server of a store, in a thread of this process."""
    wanted = ServerSettings(**settings)  # type: ignore[arg-type]
    if kind == "uvicorn":
        with serving(log, settings=wanted, tokens=tokens) as running:
            yield Served(log, running.app, tuple(running.address))
    else:
        with _granian(log, wanted, tokens) as found:
            yield found


@contextmanager
def _granian(log: Log, wanted: ServerSettings, tokens: str | None) -> Iterator[Served]:
    pytest.importorskip("granian")
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.server.embed import Server

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    app = App(log, msgspec.structs.replace(wanted, hosts=LOOPBACK_HOSTS), tokens)
    loop = asyncio.new_event_loop()
    made: list[Server] = []

    async def run() -> None:
        server = Server(
            app,
            port=port,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(
                header_read_timeout=round(wanted.head_s * 1000),
                max_buffer_size=max(8192, wanted.head_bytes_max),
            ),
            websockets=False,
            log_enabled=False,
        )
        made.append(server)
        await server.serve()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    until(lambda: _answers(port))
    try:
        yield Served(log, app, ("127.0.0.1", port))
    finally:

        def stop() -> None:
            app.end()
            made[0].interrupt_signal = True
            made[0].main_loop_interrupt.set()

        loop.call_soon_threadsafe(stop)
        thread.join(WAIT_S)
        assert not thread.is_alive()
        loop.close()


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), WAIT_S).close()
    except OSError:
        return False
    return True


def until(is_so: Callable[[], bool]) -> None:
    """Wait until it is so; it must become so."""
    deadline = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not become so"
        time.sleep(0.005)


class Client:
    """One connection, by hand."""

    def __init__(self, address: tuple[str, int], receive_bytes: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_bytes is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(address)
        self._host = f"{address[0]}:{address[1]}"
        self._rest = b""
        # Of the last answer, as it came.
        self.last_head = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Bytes as they are; a server that closed meanwhile is no error."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        token: str | None = None,
    ) -> Reply:
        """A request that is in order, and its answer."""
        self.begin(method, path, headers, body, token)
        return self.reply(has_body=method != "HEAD")

    def begin(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes | None = None,
        token: str | None = None,
    ) -> None:
        """A request that is in order."""
        lines = {"host": self._host, **(headers or {})}
        if token is not None:
            lines["authorization"] = f"Bearer {token}"
        if body is not None:
            lines.setdefault("content-length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b""))

    def reply(self, has_body: bool = True) -> Reply:
        """The next answer."""
        while True:
            self.last_head = self._until(b"\r\n\r\n")
            head = self.last_head.decode("latin-1").split("\r\n")
            status = int(head[0].split(" ")[1])
            if status >= 200:
                break
        pairs = (line.partition(":") for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = b""
        if has_body and status not in (204, 304):
            if headers.get("transfer-encoding") == "chunked":
                body = b"".join(self.chunks())
            elif "content-length" in headers:
                body = self._exactly(int(headers["content-length"]))
        return Reply(status, headers, body)

    def head(self) -> Reply:
        """The head of the next answer alone."""
        return self.reply(has_body=False)

    def chunks(self) -> Iterator[bytes]:
        """The parts of an answer, as they come."""
        while size := int(self._until(b"\r\n"), 16):
            yield self._exactly(size)
            self._exactly(2)
        self._exactly(2)

    def is_closed(self) -> bool:
        """Whether the server closes: waits for it, and throws away what comes before."""
        try:
            while self.socket.recv(65536):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
        return True

    def everything(self) -> bytes:
        """All that comes until the server closes."""
        parts = [self._rest]
        try:
            while part := self.socket.recv(65536):
                parts.append(part)
        except ConnectionResetError:
            pass
        return b"".join(parts)

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._rest:
            self._more()
        found, _, self._rest = self._rest.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._rest) < size:
            self._more()
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def _more(self) -> None:
        part = self.socket.recv(65536)
        if not part:
            raise EOFError(f"closed after {self._rest!r}")
        self._rest += part


def ask(
    server: Served,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes | None = None,
    token: str | None = None,
) -> Reply:
    """One request on a connection of its own."""
    with Client(server.address) as client:
        return client.ask(method, path, headers, body, token)


def create(server: Served, name: str, body: bytes = b"", token: str | None = None) -> None:
    """A stream of text."""
    assert ask(server, "PUT", f"/v1/stream/{name}", TEXT, body, token).status == 201
