"""The Durable Streams protocol: which request does what; metadata, deleting, reading.

Creating is in `creating` and `forks`, appending in `appending`, events in `live`: sections 4 to 10
of the protocol. What a request checks and what it writes happen in one step, so no other request
comes between. In mode "shared" each write has the condition that what it relies on has not changed,
and is tried again.

Sources: the Durable Streams protocol 1.0; RFC 9110.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Final

from transit import InvalidInputError, Stream
from transit.protocol import fields, offsets, paths
from transit.server.access import APPEND, READ
from transit.server.appending import Appending
from transit.server.asgi import Answer, Handler, Request
from transit.server.asking import asked_durability, durability_header
from transit.server.creating import Creating
from transit.server.live import EventReader, place_after
from transit.server.lives import CLOSED, DELETED, Lives, Named, described, place_of
from transit.server.reading import (
    NEAR,
    Chunk,
    Chunks,
    cursor_after,
    is_unchanged,
    read_chunk,
    tag_of,
)
from transit.server.refusals import NO_STORE, Header, RefusedError
from transit.server.service import Service
from transit.server.states import States
from transit.server.tails import Tails

METHODS: Final = "GET, HEAD, PUT, POST, DELETE, OPTIONS"

_UP_TO_DATE: Final = (b"stream-up-to-date", b"true")
_BASE64: Final = (b"stream-sse-data-encoding", b"base64")


class Streams:
    """The streams of a store as the protocol serves them."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.states = States(service.log)
        self.lives = Lives(service.log, self.states)
        self.tails = Tails()
        self._creating = Creating(service, self.lives)
        self._appending = Appending(service, self.lives, self.states, self.tails)
        self._chunks = Chunks(service.settings.answers_bytes_max)
        kept = "public" if service.settings.public else "private"
        self._cached = (
            b"cache-control",
            f"{kept}, max-age=60, stale-while-revalidate=300".encode(),
        )
        # What answers the protocol's control routes, where they are served.
        self.control: Handler | None = None
        # Set when the server ends: readers are sent what there is, and go.
        self.is_ending = False

    def answer(self, request: Request) -> Awaitable[Answer]:
        """The answer to a request for a stream; what needs no waiting for is refused at once."""
        name = request.head.stream
        if not name:
            name = paths.check_segments(request.path.removeprefix(paths.STREAMS))
            if name.partition("/")[0] == paths.RESERVED:
                if self.control is None:
                    raise RefusedError(404, "this server has no such control route", (NO_STORE,))
                return self.control(request)
            request.head.stream = name
        match request.method:
            case "POST":
                request.grant.check(APPEND, name)
                return self._appending.answer(request, name)
            case "GET":
                request.grant.check(READ, name)
                return self._get(request, name)
            case "HEAD":
                request.grant.check(READ, name)
                return self._head(name)
            case "PUT":
                return self._creating.answer(request, name)
            case "DELETE":
                request.grant.check(APPEND, name)
                return self._delete(request, name)
        raise RefusedError(405, f"method {request.method}", ((b"allow", METHODS.encode()),))

    # Metadata and deleting

    async def _head(self, name: str) -> Answer:
        return described(self.lives.find(name, touch=False), [])

    async def _delete(self, request: Request, name: str) -> Answer:
        durability = self._service.wanted(asked_durability(request))
        stream = await self._service.write_again(lambda: self._hide(name))
        await self._service.reach(durability)
        self.tails.wake(stream)
        return Answer(204, [NO_STORE, durability_header(durability)])

    def _hide(self, name: str) -> Stream:
        stream = self.lives.find(name, touch=False).stream
        self.lives.hide(stream, DELETED)
        return stream

    # Reading

    async def _get(self, request: Request, name: str) -> Answer:
        query, live = request.query, request.query.get("live")
        token = query.get("offset")
        if live not in (None, "long-poll", "sse"):
            raise InvalidInputError(f"live {live[:32]!r}: not long-poll or sse")
        if token is None and live is not None:
            raise InvalidInputError(f"live={live} needs an offset")
        named = self.lives.find(name)
        start = offsets.decode_offset("-1" if token is None else token)
        count = len(named.stream)
        if start > count:
            raise InvalidInputError(f"offset {token}: the stream has {count} records")
        is_now = start == offsets.NOW
        start = count if is_now else max(start, 0)
        if live == "sse":
            again = place_after(named.stream, request.headers.get("last-event-id", ""))
            if again is not None and start <= again <= count:
                # A browser that connects again by itself asks with the address it had at first.
                start = again
            await self._check_there(named.stream, start)
            return self._sse(request, named, start)
        if live == "long-poll" and start == count and not named.stream.finished:
            await self.wait(named.stream, start, self._service.settings.long_poll_s)
            named = self.lives.find(name, touch=False)
        return await self._chunk(request, named, start, live == "long-poll", is_now)

    async def wait(self, stream: Stream, start: int, timeout_s: float) -> None:
        """Return once there is more than `start`, the stream has ended, or time ran out."""
        self.check_readers()
        tail = self.tails.join(stream)
        try:
            await tail.wait(start, min(timeout_s, self._service.settings.long_poll_s))
        finally:
            self.tails.leave(tail)

    def check_readers(self) -> None:
        """`RefusedError` (503) where no more readers may wait."""
        if self.is_ending:
            raise RefusedError(503, "the server ends", ((b"retry-after", b"1"),))
        if self.tails.count >= self._service.settings.readers_max:
            raise RefusedError(503, "too many readers wait", ((b"retry-after", b"5"),))

    async def _chunk(
        self, request: Request, named: Named, start: int, is_poll: bool, is_now: bool
    ) -> Answer:
        stream, (content_type, *_) = named
        # In this order: nothing is appended after a stream was finished.
        is_finished, count = stream.finished, len(stream)
        await self._check_there(stream, start)
        cursor = cursor_after(request.query.get("cursor"))
        live: list[Header] = []
        if is_poll and not is_finished:
            live = [(b"stream-cursor", cursor.encode())]
        if start == count and is_poll:
            ended = [CLOSED] if is_finished else []
            return Answer(204, [*place_of(stream), _UP_TO_DATE, NO_STORE, *live, *ended])
        asked = request.headers.get("if-none-match")
        if asked and not is_now and is_unchanged(asked, stream, start, count, is_finished):
            tag = asked.split(",")[0].strip().encode()
            return Answer(304, [(b"etag", tag), self._cached])
        chunk = await self._read(named, start, count)
        token = offsets.encode_offset(chunk.stop).encode()
        headers = [(b"content-type", content_type.encode()), (b"stream-next-offset", token), *live]
        if not chunk.is_full:
            headers.append(_UP_TO_DATE)
            if is_finished:
                headers.append(CLOSED)
        if is_now or is_poll:
            headers.append(NO_STORE)
        else:
            headers.append(self._cached)
        if not is_now:
            tag = tag_of(
                stream, start, chunk.stop, is_full=chunk.is_full, is_closed=is_finished
            ).encode()
            headers.append((b"etag", tag))
        if fields.media_type(content_type) in _ACTIVE:
            headers += _INERT
        return Answer(200, headers, chunk.body)

    async def _check_there(self, stream: Stream, start: int) -> None:
        """`ErasedError` where the record at `start` was trimmed; no answer with it is kept."""
        if start < stream.first_offset:
            self._chunks.forget(stream)
            await self._service.read(lambda: next(iter(stream.batches(start, start + 1)), None))

    async def _read(self, named: Named, start: int, count: int) -> Chunk:
        stream, (content_type, *_) = named
        chunk = self._chunks.get(stream, start, count)
        if chunk is None:
            limit = self._service.settings.chunk_bytes

            def work() -> Chunk:
                return read_chunk(stream, content_type, start, count, limit)

            is_near = count - start <= NEAR and not self._service.has_remote
            chunk = work() if is_near else await self._service.read(work)
            if chunk.stop > start:
                self._chunks.keep(stream, start, chunk)
        return chunk

    def _sse(self, request: Request, named: Named, start: int) -> Answer:
        self.check_readers()
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        if not fields.is_text(named.configuration.content_type):
            headers.append(_BASE64)
        cursor = request.query.get("cursor")
        return Answer(200, headers, parts=self._events(request, named, start, cursor))

    async def _events(
        self, request: Request, named: Named, start: int, cursor: str | None
    ) -> AsyncGenerator[bytes, None]:
        tail = self.tails.join(named.stream)
        try:
            content_type, send = named.configuration.content_type, request.send_now
            reader = EventReader(self._service, tail, content_type, cursor, send)
            async with aclosing(reader.events(start, lambda: self.is_ending)) as parts:
                async for part in parts:
                    yield part
        finally:
            self.tails.leave(tail)


# What a browser would run if it showed it as a page of this server's.
_ACTIVE: Final = {
    "text/html", "text/xml", "application/xml", "application/xhtml+xml", "image/svg+xml",
    "application/javascript", "text/javascript", "application/octet-stream",
}  # fmt: skip
_INERT: Final[list[Header]] = [
    (b"content-disposition", b"attachment"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
]
