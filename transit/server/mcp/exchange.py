"""One exchange over HTTP: a request of the protocol in, its answer as JSON out.

Nothing outlives it: a server is made for its caller, and a manager of the package's for the one
request, so that there is no session to take over, and a client that goes away ends its work.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from transit.server.access import Grant
from transit.server.asgi import Answer, ClientGoneError, Message, Request
from transit.server.mcp.calling import Room
from transit.server.mcp.serving import make_server
from transit.server.refusals import Header

# `send_answer` writes its own.
_OURS: Final = (b"content-length", b"connection", b"x-content-type-options", b"x-request-id")


async def answer_request(room: Room, grant: Grant, request: Request, body: bytes) -> Answer:
    """The answer to a request whose body was read; `ClientGoneError` once its client has gone."""
    going = asyncio.create_task(request.gone())
    working = asyncio.create_task(_exchange(room, grant, request, body, going))
    try:
        await asyncio.wait((going, working), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        going.cancel()
        working.cancel()


async def _exchange(
    room: Room, grant: Grant, request: Request, body: bytes, going: asyncio.Task[None]
) -> Answer:
    scope = request.scope
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    status, headers, parts = 500, list[Header](), list[bytes]()

    async def receive() -> Message:
        if waiting:
            return waiting.pop()
        await asyncio.shield(going)
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            headers.extend(each for each in message["headers"] if each[0].lower() not in _OURS)
        else:
            parts.append(message.get("body", b""))

    if "accept" not in request.headers:
        # What says nothing takes anything (RFC 9110, 12.5.1); the package wants it said.
        scope = {**scope, "headers": [*scope["headers"], (b"accept", b"application/json")]}
    server: Any = make_server(room, grant)
    manager = StreamableHTTPSessionManager(server, json_response=True, stateless=True)
    async with manager.run():
        await manager.handle_request(scope, receive, send)
    return Answer(status, headers, b"".join(parts))
