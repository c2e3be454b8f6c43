"""A stream as server-sent events: section 5.8 of the protocol.

Owns what one reader is sent, and when: each run of records in one event, with the control event
that says where to go on right behind it, so that a reader who is cut in between loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from transit import InvalidInputError, Stream
from transit.protocol import fields, offsets
from transit.protocol.events import control_event, data_event
from transit.server.reading import NEAR, cursor_after, read_payloads
from transit.server.service import Service
from transit.server.tails import Tail

_PING = b": \n\n"


def event_id(stream: Stream, position: int) -> str:
    """What a browser sends back as `Last-Event-ID`: the place, and of which stream it is one."""
    return f"{stream.uid}:{offsets.encode_offset(position)}"


def place_after(stream: Stream, last_event_id: str) -> int | None:
    """The place that an id names; None for one of another stream, or for none of ours."""
    uid, _, token = last_event_id.partition(":")
    if uid != stream.uid:
        return None
    try:
        return offsets.decode_offset(token)
    except InvalidInputError:
        return None


class EventReader:
    """One reader of a stream's events."""

    def __init__(self, service: Service, tail: Tail, content_type: str, cursor: str | None) -> None:
        self._service = service
        self._tail = tail
        self._stream = tail.stream
        self._json = fields.is_json(content_type)
        self._text = fields.is_text(content_type)
        self._cursor = cursor
        self._kind = "json" if self._json else "text" if self._text else "base64"

    async def events(
        self, start: int, is_ending: Callable[[], bool]
    ) -> AsyncGenerator[bytes, None]:
        """Events from `start` on, until the stream is finished, deleted, or its time is over."""
        stream, settings, clock = self._stream, self._service.settings, asyncio.get_running_loop()
        ends = clock.time() + settings.sse_s
        position, is_told, is_end_told = start, False, False
        while True:
            # In this order: nothing is appended after a stream was finished.
            is_finished, count = stream.finished, len(stream)
            while position < count:
                event, position = await self._next(position, count)
                is_end_told = is_finished and position == count
                yield event + self._control(position, position == count, is_end_told)
                is_told = True
            if is_finished:
                if not is_end_told:
                    yield self._control(position, True, True)
                return
            if not is_told:
                yield self._control(position, True, False)
                is_told = True
            left = ends - clock.time()
            if is_ending():
                yield self._control(position, True, False)
                return
            if left <= 0 or stream.hidden:
                return
            if not await self._tail.wait(position, min(settings.ping_s, left)):
                yield _PING

    async def _next(self, position: int, count: int) -> tuple[bytes, int]:
        """The event of the records from `position` on, and where it ends."""
        run = self._tail.runs.get(position)
        if run is None or position + len(run) > count:
            limit = self._service.settings.chunk_bytes

            def read() -> tuple[list[bytes], int]:
                return read_payloads(self._stream, position, count, limit)

            is_near = count - position <= NEAR and not self._service.has_remote
            payloads, stop = read() if is_near else await self._service.read(read)
            return data_event(payloads, json=self._json, text=self._text), stop
        key = position, self._kind
        made = self._tail.made.get(key)
        if made is None:
            made = self._tail.made[key] = data_event(run, json=self._json, text=self._text)
        return made, position + len(run)

    def _control(self, position: int, up_to_date: bool, closed: bool) -> bytes:
        token, cursor = offsets.encode_offset(position), cursor_after(self._cursor)
        id = event_id(self._stream, position)
        return control_event(token, cursor, id, up_to_date=up_to_date, closed=closed)
