"""Calls a server's application without sockets: a request in, an answer out, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

import transit
from transit.server.app import App
from transit.server.settings import ServerSettings

T = TypeVar("T")
JSON = {"content-type": "application/json"}
TEXT = {"content-type": "text/plain"}


class Reply(NamedTuple):
    """An answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


class Caller:
    """Holds an application and the event loop it runs in."""

    def __init__(self, app: App) -> None:
        self.app = app
        self._runner = asyncio.Runner()
        self.run(self._started())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` in the loop."""
        return self._runner.run(work)

    async def _started(self) -> None:
        if self.app.subscriptions is not None:
            self.app.subscriptions.waking.start()

    def close(self) -> None:
        """End the loop and the application's threads."""
        self.app.end()
        self._runner.close()
        self.app.close()

    def __call__(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request; a path that has no slash at its start names a stream."""
        return self.run(call(self.app, method, path, body, headers))


async def call(
    app: App,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """One request, within a running loop."""
    if not path.startswith("/"):
        path = f"/v1/stream/{path}"
    parts = urlsplit(path)
    given = {"host": "127.0.0.1", **{key.lower(): text for key, text in (headers or {}).items()}}
    if body:
        given.setdefault("content-length", str(len(body)))
    scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": parts.path,
        "raw_path": quote(parts.path, safe="/%$~").encode(),
        "query_string": parts.query.encode(),
        "headers": [(key.encode(), text.encode("latin-1")) for key, text in given.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    sent: list[dict[str, Any]] = []
    asked = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if asked:
            return asked.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(dict(message))

    await app(scope, receive, send)
    fields = {key.decode(): text.decode("latin-1") for key, text in sent[0]["headers"]}
    whole = b"".join(message.get("body", b"") for message in sent[1:])
    return Reply(sent[0]["status"], fields, whole)


@contextmanager
def served(
    path: Path | str, *, settings: ServerSettings | None = None, **options: Any
) -> Iterator[Caller]:
    """A store at `path`, served; closed after the block."""
    with transit.open(path, **{"durability": "os", **options}) as log:
        caller = Caller(App(log, settings))
        try:
            yield caller
        finally:
            caller.close()


def producer(name: str, epoch: int, seq: int) -> dict[str, str]:
    """The header fields of a producer's request."""
    return {"producer-id": name, "producer-epoch": str(epoch), "producer-seq": str(seq)}
