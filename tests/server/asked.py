"""Asking an application of a server in process, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, NamedTuple

from transit.server.app import App


class Answered(NamedTuple):
    """What an application answered."""

    status: int
    headers: dict[str, str]
    body: bytes


async def ask(
    app: App,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] = b"",
    headers: dict[str, str] | None = None,
    query: str = "",
) -> Answered:
    """The answer to one request; the parts of a body come one after another."""
    parts = [body] if isinstance(body, bytes) else list(body)
    given = [(b"host", b"localhost")]
    if isinstance(body, bytes) and body:
        given.append((b"content-length", b"%d" % len(body)))
    given += [(key.lower().encode(), value.encode()) for key, value in (headers or {}).items()]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": given,
        "scheme": "http",
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if parts:
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}
        await asyncio.sleep(3600)
        raise AssertionError("asked for more than there is")

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(60):
        await app(scope, receive, send)
    begun, rest = sent[0], sent[1:]
    found = {name.decode(): value.decode() for name, value in begun["headers"]}
    return Answered(begun["status"], found, b"".join(each.get("body", b"") for each in rest))


def answer(app: App, method: str, path: str, *args: Any, **named: Any) -> Answered:
    """`ask`, in a loop of its own."""
    return asyncio.run(ask(app, method, path, *args, **named))
