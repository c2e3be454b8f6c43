"""Which streams have more, as server-sent events.

Owns the two routes: one that takes a few names in its query, for browsers, and one that takes as
many as there are in its body. Both end after `sse_s`, so that no reader who has gone is kept, and
are begun again. What a watch is told is found by its reader (`transit.server.api.readers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from typing import Final

import msgspec

from transit import InvalidInputError, Log, Stream
from transit.protocol.calls import Changes, Description
from transit.protocol.changes import Told, WatchRequest
from transit.protocol.paths import decode_path
from transit.server.access import READ, Grant
from transit.server.api.naming import check_reader, find
from transit.server.api.readers import (
    FIRST,
    Due,
    NamedReader,
    Reader,
    RecentReader,
    Standing,
    standing_of,
)
from transit.server.api.recent import Recent
from transit.server.api.serving import Call, NoQuery, body_of, look, query_of
from transit.server.asgi import Answer, Request
from transit.server.refusals import RefusedError
from transit.server.service import Service
from transit.server.streams import Streams

STREAMS_MAX: Final = 1_000
"""Streams that a query may name, and names of one event."""
WATCHED_MAX: Final = 1_000_000
"""Streams that all watches together may name."""
EVENT_BYTES: Final = 256 * 1024
"""About how large an event grows before the next one is begun."""

_DESCRIBED: Final = 500
"""Streams that are described at once; more keep the loop from others."""
_PING: Final = b": \n\n"
_HEADERS: Final = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"))

Spoken = Callable[[Reader, Due], AsyncGenerator[bytes, None]]
"""How what is due becomes events."""


class ChangesQuery(msgspec.Struct):
    """stream: which to watch, once for each; none: all of the user's."""

    stream: list[str] = []


class ChangeCalls:
    """The routes of changes."""

    def __init__(self, service: Service, streams: Streams) -> None:
        self._service = service
        self._streams = streams
        self._log: Final[Log] = service.log
        self.recent = Recent(service.log)
        # Streams that watches name.
        self.watched = 0

    def calls(self) -> list[Call]:
        """Their table."""
        return [
            Call("GET", "/v1/changes", self._by_query, "Streams that have more, as events.",
                 Changes, ChangesQuery, kind="events"),
            Call("POST", "/v1/changes", self._by_body,
                 "Streams that have more, of any number, as events.",
                 Told, NoQuery, WatchRequest, kind="events", has_empty_body=True),
        ]  # fmt: skip

    async def _by_query(self, request: Request) -> Answer:
        names = _names(request.scope.get("query_string", b""))
        if not names:
            return self._all(request, WatchRequest(), self._as_names)
        return await self._named(request, dict.fromkeys(names, FIRST), self._as_names)

    async def _by_body(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        asked = await body_of(request, self._service, WatchRequest, WatchRequest())
        if asked.streams is None:
            if asked.prefix.startswith("$"):
                raise InvalidInputError("streams of layers are watched by their names")
            return self._all(request, asked, self._as_told)
        if asked.prefix or asked.since:
            raise InvalidInputError("prefix and since do not go with streams")
        known = {each.stream: standing_of(each) for each in asked.streams}
        return await self._named(request, known, self._as_told)

    async def _named(
        self, request: Request, known: Mapping[str, Standing], spoken: Spoken
    ) -> Answer:
        grant = request.grant
        check_reader(grant)

        def work() -> list[Stream]:
            return [find(self._log, grant, READ, name) for name in known]

        wanted = await self._maybe_long(work, len(known))
        if self.watched + len(known) > WATCHED_MAX:
            raise RefusedError(503, "too many streams are watched", ((b"retry-after", b"5"),))
        standings = {
            stream.uid: standing for stream, standing in zip(wanted, known.values(), strict=True)
        }
        reader = NamedReader(grant, standings)
        return self._answer(request, self._read_named(reader, wanted, spoken))

    def _all(self, request: Request, asked: WatchRequest, spoken: Spoken) -> Answer:
        check_reader(request.grant)
        return self._answer(request, self._read_recent(request.grant, asked, spoken))

    def _answer(self, request: Request, parts: AsyncGenerator[bytes, None]) -> Answer:
        self._streams.check_readers()
        if request.method == "HEAD":
            return Answer(200, list(_HEADERS))
        return Answer(200, list(_HEADERS), parts=parts)

    async def _maybe_long(self, work: Callable[[], list[Stream]], count: int) -> list[Stream]:
        """Do `work` on so many streams, in a thread where that takes long."""
        if count > STREAMS_MAX:
            return await self._service.read(work)
        return await look(self._service, work)

    async def _described(self, work: Callable[[], list[Description]]) -> list[Description]:
        """Do `work`, which looks what other processes wrote where there are any."""
        if self._log.mode == "exclusive":
            return await look(self._service, work)
        return await self._service.read(work)

    # Readers

    async def _read_named(
        self, reader: NamedReader, wanted: list[Stream], spoken: Spoken
    ) -> AsyncGenerator[bytes, None]:
        def begin() -> list[Stream]:
            reader.begin(self._log, wanted)
            return wanted

        self.watched += len(wanted)
        try:
            with self._streams.tails.counted(reader.moved):
                await self._maybe_long(begin, len(wanted))
                async for part in self._events(reader, spoken):
                    yield part
        finally:
            self.watched -= len(wanted)
            reader.close()

    async def _read_recent(
        self, grant: Grant, asked: WatchRequest, spoken: Spoken
    ) -> AsyncGenerator[bytes, None]:
        moved = asyncio.Event()
        with self._streams.tails.counted(moved), self.recent.read_by(moved):
            reader = RecentReader(self.recent, moved, grant, asked)
            async for part in self._events(reader, spoken):
                yield part

    async def _events(self, reader: Reader, spoken: Spoken) -> AsyncGenerator[bytes, None]:
        settings, clock = self._service.settings, asyncio.get_running_loop()
        said = clock.time()
        ends = said + settings.sse_s
        while clock.time() < ends and not self._streams.is_ending:
            reader.moved.clear()
            due = reader.due()
            if due is not None:
                async for part in spoken(reader, due):
                    said = clock.time()
                    yield part
            elif reader.ended is not None:
                async for part in spoken(reader, Due((), Told(ended=reader.ended))):
                    yield part
                return
            elif not await _moved(reader.moved, min(ends, said + settings.ping_s) - clock.time()):
                # Also where much moves of which this reader is told nothing.
                said = clock.time()
                yield _PING
                if (place := reader.idle()) is not None:
                    async for part in spoken(reader, Due((), place)):
                        yield part

    # Events

    async def _as_told(self, reader: Reader, due: Due) -> AsyncGenerator[bytes, None]:
        """Events of `Told`: each of streams as large as an event may be, and at last the rest."""
        rows: list[msgspec.Raw] = []
        size = 0
        for begin in range(0, len(due.streams), _DESCRIBED):
            part = due.streams[begin : begin + _DESCRIBED]
            for about in await self._described(partial(reader.described, part)):
                if size > EVENT_BYTES:
                    yield _event({"streams": rows, "more": True})
                    rows, size = [], 0
                rows.append(msgspec.Raw(msgspec.json.encode(about)))
                size += len(rows[-1])
        also = msgspec.structs.asdict(due.also)
        yield _event({key: value for key, value in {**also, "streams": rows}.items() if value})

    async def _as_names(self, reader: Reader, due: Due) -> AsyncGenerator[bytes, None]:
        """Events of `Changes`."""
        names = [stream.name for stream in due.streams if reader.allows(stream)]
        for begin in range(0, len(names), STREAMS_MAX):
            yield _event(Changes(names[begin : begin + STREAMS_MAX]))
        if due.also.all or due.also.ended:
            yield _event(Changes(all=due.also.all, ended=due.also.ended))


async def _moved(moved: asyncio.Event, timeout_s: float) -> bool:
    """Wait for more; False: time ran out."""
    try:
        async with asyncio.timeout(timeout_s):
            await moved.wait()
    except TimeoutError:
        return False
    return True


def _event(data: object) -> bytes:
    return b"event: changes\ndata: " + msgspec.json.encode(data) + b"\n\n"


def _names(raw: bytes) -> list[str]:
    """The streams that a query names: `stream`, as often as there are."""
    names = []
    for part in raw.split(b"&") if raw else ():
        key, _, value = part.replace(b"+", b"%20").partition(b"=")
        if decode_path(key) != "stream":
            raise InvalidInputError("query: only stream may be given, once for each")
        names.append(decode_path(value))
    if len(names) > STREAMS_MAX:
        raise InvalidInputError(f"{len(names)} streams; one watch has {STREAMS_MAX} at the most")
    return names
