"""Which streams have more, as server-sent events.

A reader that does not keep up is told less often, and of every stream that changed: what waits for
it is a set of names, and never grows beyond the streams there are. A watch of named streams begins
with all of them; one of all streams begins with `{"all": true}`: look at what you know. It ends
after `sse_s`, so that no reader who has gone is kept, and is begun again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Final

import msgspec

from transit import InvalidInputError, Log, Stream
from transit.protocol.calls import Changes
from transit.protocol.paths import decode_path
from transit.server.access import READ, Grant
from transit.server.api.naming import check_reader, find
from transit.server.api.serving import Call, look
from transit.server.asgi import Answer, Request
from transit.server.service import Service
from transit.server.streams import Streams

STREAMS_MAX: Final = 1_000
_PING: Final = b": \n\n"


class ChangesQuery(msgspec.Struct):
    """stream: which to watch, once for each; none: all of the user's."""

    stream: list[str] = []


class Watched:
    """One reader's: the names to tell it, put here by a thread of the store's."""

    def __init__(self, grant: Grant) -> None:
        self._loop = asyncio.get_running_loop()
        self._grant = grant
        self.names: dict[str, None] = {}
        self.is_ended = False
        self.moved = asyncio.Event()

    def call(self, streams: Iterable[Stream]) -> None:
        """What the store calls: with those that changed, or with none at the end."""
        names = [stream.name for stream in streams]
        try:
            self._loop.call_soon_threadsafe(self._take, names)
        except RuntimeError:
            # The loop is closed: nobody reads any more.
            return

    def _take(self, names: list[str]) -> None:
        if not names:
            self.is_ended = True
        self.names.update((name, None) for name in names if self._grant.allows(READ, name))
        self.moved.set()


class ChangeCalls:
    """The route of changes."""

    def __init__(self, service: Service, streams: Streams) -> None:
        self._service = service
        self._streams = streams
        self._log: Final[Log] = service.log

    def calls(self) -> list[Call]:
        """Its table."""
        return [
            Call("GET", "/v1/changes", self._watch, "Streams that have more, as events.",
                 Changes, ChangesQuery, kind="events"),
        ]  # fmt: skip

    async def _watch(self, request: Request) -> Answer:
        names = _names(request.scope.get("query_string", b""))
        grant = request.grant
        if not names:
            check_reader(grant)
        wanted = await look(
            self._service, lambda: [find(self._log, grant, READ, name) for name in names]
        )
        self._streams.check_readers()
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        if request.method == "HEAD":
            return Answer(200, headers)
        return Answer(200, headers, parts=self._events(grant, wanted))

    async def _events(self, grant: Grant, wanted: list[Stream]) -> AsyncGenerator[bytes, None]:
        settings, clock = self._service.settings, asyncio.get_running_loop()
        watched, ends = Watched(grant), clock.time() + settings.sse_s
        watch = self._log.watch(watched.call, wanted or None)
        with self._streams.tails.counted(watched.moved):
            try:
                if not wanted:
                    yield _event(Changes(all=True))
                while (left := ends - clock.time()) > 0 and not self._streams.is_ending:
                    names, watched.names = list(watched.names), {}
                    watched.moved.clear()
                    if names:
                        yield _event(Changes(names))
                    elif watched.is_ended:
                        yield _event(Changes(ended=str(watch.error or "the store was closed")))
                        return
                    elif not await _moved(watched.moved, min(left, settings.ping_s)):
                        yield _PING
            finally:
                watch.close()


async def _moved(moved: asyncio.Event, timeout_s: float) -> bool:
    """Wait for more; False: time ran out."""
    try:
        async with asyncio.timeout(timeout_s):
            await moved.wait()
    except TimeoutError:
        return False
    return True


def _event(changes: Changes) -> bytes:
    return b"event: changes\ndata: " + msgspec.json.encode(changes) + b"\n\n"


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
