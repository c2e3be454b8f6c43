"""Requests and answers over ASGI, plainly: no framework between the socket and the engine.

Owns how a request is read, strictly and within limits, and how an answer is sent. A handler is
`async (request) -> Answer`; what it raises is answered with a problem document.

Sources: the ASGI specification 3.0 (HTTP connection scope), RFC 9110, RFC 9112.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import aclosing
from typing import Any, Final

from transit import InvalidInputError, TransitError
from transit.protocol.paths import decode_path
from transit.protocol.problems import CONTENT_TYPE, Problem, problem_of, refusal
from transit.server.access import NOTHING, Grant
from transit.server.refusals import NO_STORE, Header, RefusedError
from transit.server.soon import soon

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WATCHED: Final = "transit.watched"
"""The extension of ASGI that says: the server cuts off clients that take nothing."""

_ALWAYS: Final = (b"x-content-type-options", b"nosniff")


class ClientGoneError(Exception):
    """The client closed its connection before its request was whole."""


class Answer:
    """A status, header fields with names in lower case, and a body: bytes, or parts to come."""

    __slots__ = ("body", "headers", "parts", "status")

    def __init__(
        self,
        status: int,
        headers: list[Header] | None = None,
        body: bytes = b"",
        parts: AsyncGenerator[bytes, None] | None = None,
    ) -> None:
        self.status = status
        self.headers = [] if headers is None else headers
        self.body = body
        self.parts = parts


class Request:
    """One request: method, path, query, header fields, and its body when asked for.

    headers: names in lower case; fields that came several times are joined by ", ". grant: what the
    client may do, set once its token was looked at. id: the client's own, or one made for it.
    """

    def __init__(self, scope: Message, receive: Receive, request_id: str) -> None:
        self.scope = scope
        self._receive = receive
        self.method: str = scope["method"]
        self.id = request_id
        self.headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            known = self.headers.get(key)
            self.headers[key] = text if known is None else f"{known}, {text}"
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        self.raw_path = raw.partition(b"?")[0]
        self.path = decode_path(self.raw_path)
        self._query: dict[str, str] | None = None
        self.grant: Grant = NOTHING
        # What a route's `{name}` stands for.
        self.name = ""
        # The route that answers it, without what `{name}` stands for: for logs and counts.
        self.template = ""
        # Bytes of its body, as they came.
        self.bytes_in = 0
        self.is_read = False

    @property
    def query(self) -> Mapping[str, str]:
        """The query's parameters; `InvalidInputError` for one that is there twice, or no text."""
        if self._query is None:
            self._query = _parse_query(self.scope.get("query_string", b""))
        return self._query

    @property
    def base_url(self) -> str:
        """Scheme and host as the client wrote them: what its own URLs begin with."""
        scheme = self.scope.get("scheme", "http")
        return f"{scheme}://{self.headers.get('host', 'localhost')}"

    async def body(self, limit: int, timeout_s: float, expanded_max: int | None = None) -> bytes:
        """The whole body, of at most `limit` bytes, within `timeout_s` seconds.

        What came compressed by gzip is expanded, to at most `expanded_max` bytes; None: `limit`.
        """
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("gzip", "x-gzip", "identity"):
            raise RefusedError(415, f"Content-Encoding {encoding[:32]!r}: only gzip", _UNPACKED)
        data = await self._received(limit, timeout_s)
        if encoding == "identity":
            return data
        return await asyncio.to_thread(_expanded, data, expanded_max or limit)

    async def _received(self, limit: int, timeout_s: float) -> bytes:
        length = self.headers.get("content-length")
        if length is not None:
            if not (length.isascii() and length.isdigit()):
                raise RefusedError(400, "Content-Length is no number")
            if int(length) > limit:
                raise RefusedError(413, f"a body of {length} bytes; the limit is {limit}", _CLOSE)
        message = _looked_at(await soon(self._receive(), timeout_s))
        parts: list[bytes] = [message.get("body", b"")]
        if message.get("more_body", False):
            size = len(parts[0])
            async with asyncio.timeout(timeout_s):
                while message.get("more_body", False):
                    if size > limit:
                        raise RefusedError(413, f"a body over the limit of {limit} bytes", _CLOSE)
                    message = _looked_at(await self._receive())
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
        self.is_read = True
        return self._whole(parts, limit, length)

    def _whole(self, parts: list[bytes], limit: int, length: str | None) -> bytes:
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        self.bytes_in = len(data)
        if len(data) > limit:
            raise RefusedError(413, f"a body over the limit of {limit} bytes", _CLOSE)
        if length is not None and len(data) != int(length):
            raise RefusedError(400, "the body is not as long as Content-Length says", _CLOSE)
        return data

    async def gone(self) -> None:
        """Return when the client has closed its connection."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


_CLOSE: Final = ((b"connection", b"close"),)
_UNPACKED: Final = ((b"accept-encoding", b"gzip, identity"),)
Handler = Callable[[Request], Awaitable[Answer]]


async def send_answer(
    answer: Answer,
    request_id: str,
    send: Send,
    *,
    bodiless: bool = False,
    stall_s: float | None = None,
) -> None:
    """Send an answer whole; its parts as they come.

    stall_s: `TimeoutError` where the client takes nothing for so long; None: the server sees to it.
    """
    headers = [*answer.headers, _ALWAYS, (b"x-request-id", request_id.encode())]
    if answer.parts is None:
        if answer.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if bodiless else answer.body})
        return
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    async with aclosing(answer.parts) as parts:
        async for part in parts:
            message = {"type": "http.response.body", "body": part, "more_body": True}
            if stall_s is None:
                await send(message)
            else:
                async with asyncio.timeout(stall_s):
                    await send(message)
    await send({"type": "http.response.body", "body": b""})


def problem_answer(problem: Problem, headers: Iterable[Header] = ()) -> Answer:
    """The answer that holds a problem document."""
    fields = [(b"content-type", CONTENT_TYPE.encode()), NO_STORE, *headers]
    return Answer(problem.status, fields, problem.encode())


def error_answer(error: Exception, request_id: str) -> Answer | None:
    """The answer to what a handler raised; None for a bug of our own."""
    if isinstance(error, RefusedError):
        return problem_answer(refusal(error.status, str(error), request_id), error.headers)
    if isinstance(error, TransitError):
        return problem_answer(problem_of(error, request_id))
    if isinstance(error, TimeoutError):
        return problem_answer(refusal(408, "the body did not come in time", request_id), _CLOSE)
    return None


def _looked_at(message: Message) -> Message:
    if message["type"] == "http.disconnect":
        raise ClientGoneError
    return message


def _expanded(data: bytes, limit: int) -> bytes:
    """What was compressed by gzip, in one part or several."""
    found: list[bytes] = []
    left = limit
    try:
        while data:
            unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
            # Of a little that stands for very much no more than this is made.
            found.append(unpacker.decompress(data, left + 1))
            left -= len(found[-1])
            if left < 0:
                raise RefusedError(413, f"a body over the limit of {limit} bytes, expanded")
            if not unpacker.eof:
                raise RefusedError(400, "the body is cut short: no whole gzip")
            data = unpacker.unused_data
    except zlib.error:
        raise RefusedError(400, "the body is not gzip") from None
    if not found:
        raise RefusedError(400, "the body is not gzip: it is empty")
    return b"".join(found)


def _parse_query(raw: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in raw.split(b"&") if raw else ():
        name, _, value = part.replace(b"+", b"%20").partition(b"=")
        key = decode_path(name)
        if key in found:
            raise InvalidInputError(f"query: {key[:64]!r} is there twice")
        found[key] = decode_path(value)
    return found
