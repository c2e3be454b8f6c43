"""The application called in process: a loop in a thread of its own, and no sockets."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from typing import Any
from urllib.parse import quote

import msgspec

from transit import Log
from transit.server.access import EVERYTHING, Grant
from transit.server.app import App
from transit.server.asgi import Answer, Request
from transit.server.exchange import Exchange
from transit.server.settings import ServerSettings
from transit.views.loading import Declared

WAIT_S = 120
JSON = "application/json"
MSGPACK = "application/msgpack"


class Reply:
    """What came back: status, header fields in lower case, the body."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def value(self) -> Any:
        """The body, decoded from JSON or msgpack."""
        if self.headers["content-type"] == MSGPACK:
            return msgspec.msgpack.decode(self.body)
        return msgspec.json.decode(self.body)

    @property
    def lines(self) -> list[Any]:
        """The values of NDJSON."""
        return [msgspec.json.decode(line) for line in self.body.splitlines()]


class GrantedApp(App):
    """An application whose requests all have one grant, which a test can change."""

    granted: Grant = EVERYTHING

    async def _answer(self, exchange: Exchange, request: Request) -> Answer:
        request.grant = self.granted
        return await self.routes.find(request)(request)


class Server:
    """An application on a loop of its own; `close` ends both, not the store."""

    def __init__(
        self, log: Log, settings: ServerSettings | None = None, declared: Declared | None = None
    ) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self.log = log
        self.app = self._on_loop(self._made(log, settings or ServerSettings(), declared))

    async def _made(
        self, log: Log, settings: ServerSettings, declared: Declared | None
    ) -> GrantedApp:
        return GrantedApp(log, settings, declared=declared)

    def _on_loop(self, work: Any) -> Any:
        return self.start(work).result(WAIT_S)

    def start(self, work: Any) -> Future[Any]:
        """Begin a coroutine on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def close(self) -> None:
        """End the application and the loop."""
        self._on_loop(self._end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT_S)
        self.loop.close()

    async def _end(self) -> None:
        self.app.end()
        await asyncio.to_thread(self.app.close)
        await self.loop.shutdown_default_executor()

    def get(self, path: str, headers: Mapping[str, str] | None = None, **query: object) -> Reply:
        """A GET; query values that are not text are JSON."""
        return self.call("GET", path, headers=headers, query=query)

    def post(
        self, path: str, value: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """A POST of a value as JSON; of none without a body."""
        body = b"" if value is None else msgspec.json.encode(value)
        given = {"content-type": JSON, **(headers or {})}
        return self.call("POST", path, body, given)

    def frame(
        self, *steps: Mapping[str, object], headers: Mapping[str, str] | None = None, **more: object
    ) -> Reply:
        """A frame of these steps."""
        return self.post("/v1/frames", {"steps": list(steps), **more}, headers)

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, object] | None = None,
        raw_query: str | None = None,
    ) -> Reply:
        """One request, answered whole. raw_query: a query as it is sent."""
        scope = scope_of(method, path, headers, query)
        if raw_query is not None:
            scope["query_string"] = raw_query.encode()
        return self.start(answered(self.app, scope, body)).result(WAIT_S)

    def begin(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, object] | None = None,
    ) -> Future[Reply]:
        """One request, to be waited for."""
        return self.start(answered(self.app, scope_of(method, path, headers, query), body))


def scope_of(
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    query: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """What an ASGI server would say of a request."""
    shown = {
        key: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for key, value in (query or {}).items()
    }
    raw = "&".join(f"{quote(key)}={quote(value, safe='')}" for key, value in shown.items())
    encoded = path if "%" in path else quote(path, safe="/$")
    given = {"host": "testserver", **{k.lower(): v for k, v in (headers or {}).items()}}
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": encoded.encode(),
        "query_string": raw.encode(),
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in given.items()],
    }


async def answered(app: App, scope: dict[str, Any], body: bytes) -> Reply:
    """The reply to one request."""
    parts = [part async for part in messages(app, scope, body)]
    start = parts[0]
    headers = {k.decode(): v.decode("latin-1") for k, v in start["headers"]}
    return Reply(start["status"], headers, b"".join(part.get("body", b"") for part in parts[1:]))


async def messages(app: App, scope: dict[str, Any], body: bytes = b"") -> AsyncIterator[Any]:
    """What the application sends, as it comes; the client goes away when this is closed."""
    sent: asyncio.Queue[Any] = asyncio.Queue()
    gone = asyncio.Event()
    asked = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        message = next(asked, None)
        if message is None:
            await gone.wait()
            return {"type": "http.disconnect"}
        return message

    async def serve() -> None:
        await app(scope, receive, sent.put)
        await sent.put(None)

    task = asyncio.create_task(serve())
    waiting: asyncio.Task[Any] | None = None
    try:
        while True:
            waiting = asyncio.create_task(sent.get())
            await asyncio.wait({waiting, task}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done() and task.done():
                waiting.cancel()
                task.result()
                return
            message = await waiting
            if message is None:
                return
            yield message
    finally:
        if waiting is not None:
            waiting.cancel()
        gone.set()
        task.cancel()


def routes_of(app: App) -> Iterator[tuple[str, str]]:
    """Method and path of each route of the superset."""
    return ((call.method, call.path) for call in app.calls)
