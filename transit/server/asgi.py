"""Requests and answers over ASGI, plainly: no framework between the socket and the engine.

Owns how a request is read, strictly and within limits, and how an answer is sent. A handler is
`async (request) -> Answer`; what it raises is answered with a problem document. A request whose
body is here already needs no messages, and its answer can be written by whoever has the connection.

Sources: the ASGI specification 3.0 (HTTP connection scope), RFC 9110, RFC 9112.
"""

from __future__ import annotations

import asyncio
import secrets
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import aclosing
from itertools import count
from typing import Any, Final

from transit import InvalidInputError, TransitError
from transit.protocol.paths import decode_path
from transit.protocol.problems import CONTENT_TYPE, Problem, problem_of, refusal
from transit.server.access import NOTHING, Grant
from transit.server.refusals import NO_STORE, Header, RefusedError
from transit.server.soon import soon
from transit.server.tokens import Known

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

WATCHED: Final = "transit.watched"
"""The extension of ASGI that says: the server cuts off clients that take nothing."""
PASSING: Final = "transit.passing"
"""The extension by which a part of an answer that has begun is sent at once, where there is room.

Its `send` takes the part, and returns whether it was sent. It is for answers that come in parts.
"""

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


class Head:
    """What a request says before its body: method, path, query, header fields.

    Nothing of it changes, so what follows from it alone can be noted in it, and need not be worked
    out again where a client sends the same head again. headers: names in lower case; fields that
    came several times are joined by ", ". is_checked: it is in order, and `path` is known. stream:
    the name in a path of the protocol's. known: whose token it shows, as it was found last.
    """

    __slots__ = ("headers", "is_checked", "known", "method", "path", "raw_query", "scope", "stream")

    def __init__(self, scope: Message) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.raw_query: bytes = scope.get("query_string", b"")
        given = scope["headers"]
        self.headers: dict[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in given
        }
        if len(self.headers) < len(given):
            self.headers = _joined(given)
        self.path = self.stream = ""
        self.is_checked = False
        self.known: Known | None = None

    def of_length(self, length: bytes) -> Head:
        """The same head with another Content-Length."""
        fields = [
            (name, length if name == b"content-length" else value)
            for name, value in self.scope["headers"]
        ]
        head = Head({**self.scope, "headers": fields})
        head.known = self.known
        return head

    def find_path(self) -> str:
        """Decode `path`; `InvalidInputError` where it is no text."""
        raw: bytes = self.scope.get("raw_path") or self.scope["path"].encode()
        self.path = decode_path(raw.partition(b"?")[0])
        return self.path


class Request:
    """One request: what its head says, and its body when asked for.

    grant: what the client may do, set once its token was looked at. id: the client's own, or one
    made for it. receive: what gives its body, and then tells when the client goes; None as long as
    it is answered without waiting, with its body here.
    """

    # Here and not in `__init__`: it is called for each request, and most leave some as they are.
    grant: Grant = NOTHING
    name = ""
    """What a route's `{name}` stands for."""
    template = ""
    """The route that answers it, without what `{name}` stands for: for logs and counts."""
    parts: Mapping[str, str] = {}
    """What the other words of a route's template stand for."""
    watch: Callable[[], None] | None = None
    """Ends the request when its client goes; to be called once its body is here, if it is long."""
    bytes_in = 0
    """Bytes of its body, as they came."""
    receive: Receive | None = None
    send_now: Callable[[bytes], bool] | None = None
    """Sends a part of an answer that has begun, where there is room; None where it cannot be."""
    _query: dict[str, str] | None = None

    def __init__(self, head: Head, body: bytes | None = None) -> None:
        self.head = head
        self.method = head.method
        self.headers = head.headers
        # The whole body, where it is here already.
        self._here = body
        if "x-request-id" in head.headers:
            self.id = _id_of(head.scope["headers"])
        else:
            self.id = f"{_PROCESS}{next(_NUMBERS):x}"

    @property
    def scope(self) -> Message:
        """The scope of ASGI, of an HTTP connection."""
        return self.head.scope

    @property
    def path(self) -> str:
        """The path, decoded; `InvalidInputError` where it is no text."""
        return self.head.path or self.head.find_path()

    @property
    def query(self) -> Mapping[str, str]:
        """The query's parameters; `InvalidInputError` for one that is there twice, or no text."""
        if self._query is None:
            self._query = _parse_query(self.head.raw_query)
        return self._query

    @property
    def base_url(self) -> str:
        """Scheme and host as the client wrote them: what its own URLs begin with."""
        scheme = self.head.scope.get("scheme", "http")
        return f"{scheme}://{self.headers.get('host', 'localhost')}"

    def body_here(self, limit: int) -> bytes | None:
        """The whole body, where it is here and needs no more looking at; otherwise ask `body`."""
        data = self._here
        if data is None or len(data) > limit or "content-encoding" in self.headers:
            return None
        self.bytes_in = len(data)
        return data

    async def body(self, limit: int, timeout_s: float, expanded_max: int | None = None) -> bytes:
        """The whole body, of at most `limit` bytes, within `timeout_s` seconds.

        What came compressed by gzip is expanded, to at most `expanded_max` bytes; None: `limit`.
        """
        encoding = self.headers.get("content-encoding")
        if encoding is not None:
            encoding = encoding.strip().lower()
            if encoding not in ("gzip", "x-gzip", "identity"):
                raise RefusedError(415, f"Content-Encoding {encoding[:32]!r}: only gzip", _UNPACKED)
        length = self.headers.get("content-length")
        if length is not None:
            if not (length.isascii() and length.isdigit()):
                raise RefusedError(400, "Content-Length is no number")
            if int(length) > limit:
                raise RefusedError(413, f"a body of {length} bytes; the limit is {limit}", _CLOSE)
        data = self._here
        if data is None:
            data = await self._received(limit, timeout_s)
        self.bytes_in = len(data)
        if len(data) > limit:
            raise RefusedError(413, f"a body over the limit of {limit} bytes", _CLOSE)
        if length is not None and len(data) != int(length):
            raise RefusedError(400, "the body is not as long as Content-Length says", _CLOSE)
        if encoding is None or encoding == "identity":
            return data
        return await asyncio.to_thread(_expanded, data, expanded_max or limit)

    async def _received(self, limit: int, timeout_s: float) -> bytes:
        assert self.receive is not None
        message = _looked_at(await soon(self.receive(), timeout_s))
        if not message.get("more_body", False):
            data: bytes = message.get("body", b"")
            return data
        parts: list[bytes] = [message.get("body", b"")]
        size = len(parts[0])
        async with asyncio.timeout(timeout_s):
            while message.get("more_body", False):
                if size > limit:
                    raise RefusedError(413, f"a body over the limit of {limit} bytes", _CLOSE)
                message = _looked_at(await self.receive())
                parts.append(message.get("body", b""))
                size += len(parts[-1])
        return b"".join(parts)

    async def gone(self) -> None:
        """Return when the client has closed its connection."""
        assert self.receive is not None
        while (await self.receive())["type"] != "http.disconnect":
            pass


# Ids of requests: random once a process, then counted.
_PROCESS: Final = f"{secrets.token_hex(5)}-"
_NUMBERS: Final = count(1)
_CLOSE: Final = ((b"connection", b"close"),)
_UNPACKED: Final = ((b"accept-encoding", b"gzip, identity"),)
Handler = Callable[[Request], Awaitable[Answer]]


async def send_answer(
    answer: Answer, request: Request, send: Send, *, stall_s: float | None = None
) -> None:
    """Send an answer whole; its parts as they come.

    stall_s: `TimeoutError` where the client takes nothing for so long; None: the server sees to it.
    """
    headers = fields_of(answer, request)
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.parts is None:
        body = b"" if request.method == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})
        return
    async with aclosing(answer.parts) as parts:
        async for part in parts:
            message = {"type": "http.response.body", "body": part, "more_body": True}
            if stall_s is None:
                await send(message)
            else:
                async with asyncio.timeout(stall_s):
                    await send(message)
    await send({"type": "http.response.body", "body": b""})


def fields_of(answer: Answer, request: Request, first: Iterable[Header] = ()) -> list[Header]:
    """All header fields of an answer; first: those that are the connection's."""
    headers = [*first, *answer.headers, _ALWAYS, (b"x-request-id", request.id.encode())]
    if answer.parts is None and answer.status not in (204, 304):
        headers.append((b"content-length", b"%d" % len(answer.body)))
    return headers


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


def _joined(headers: Iterable[Header]) -> dict[str, str]:
    """Header fields, some of which came several times."""
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _id_of(headers: Iterable[Header]) -> str:
    """The id that the client gave its request, where it is plain; otherwise one of our own."""
    for name, value in headers:
        if name == b"x-request-id":
            given = bytes(value).decode("latin-1")
            if 0 < len(given) <= 128 and all("!" <= each <= "~" for each in given):
                return given
    return f"{_PROCESS}{next(_NUMBERS):x}"


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
