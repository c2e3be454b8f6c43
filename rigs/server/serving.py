"""A server of an open store, in a thread of this process, on a port of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

import transit
from transit.server.app import App
from transit.server.settings import ServerSettings
from transit.views.loading import Declared


class Serving:
    """A server; `url` is where it answers. `close` leaves the store open."""

    def __init__(
        self,
        log: transit.Log,
        settings: ServerSettings | None = None,
        port: int = 0,
        declared: Declared | None = None,
    ) -> None:
        # Named as TCP: asyncio sends small answers at once only on such a socket.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.app = App(log, settings or ServerSettings(), declared=declared)
        config = uvicorn.Config(
            self.app, log_level="error", access_log=False, timeout_keep_alive=75,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        # A signal is the program's, not the server's.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        async def serve() -> None:
            serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
            while not self._server.started and not serving.done():
                await asyncio.sleep(0.001)
            self._ready.set()
            await serving

        asyncio.run(serve())

    def close(self) -> None:
        """Answer what was asked, and end."""
        self.app.end()
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


@contextmanager
def served(log: transit.Log, settings: ServerSettings | None = None) -> Iterator[str]:
    """The address of a server of `log`."""
    serving = Serving(log, settings)
    try:
        yield serving.url
    finally:
        serving.close()
