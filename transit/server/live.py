"""A stream as server-sent events: section 5.8 of the protocol.

Owns what one reader is sent, and when: each run of records in one event, with the control event
that says where to go on right behind it, so that a reader who is cut in between loses nothing.

A reader is sent events in one of two ways: by its own task, which is given them one by one; or,
while that task waits where the stream ends, by whoever tells of the next run (`take`).
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
_SHARED_BYTES_MAX = 64 * 1024
"""Larger events are kept without the control event behind them, so as not to be kept twice."""


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
    """One reader of a stream's events.

    send: sends an event at once, if the connection has room; None where there is no such way.
    """

    def __init__(
        self,
        service: Service,
        tail: Tail,
        content_type: str,
        cursor: str | None,
        send: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._service = service
        self._tail = tail
        self._stream = tail.stream
        self._json = fields.is_json(content_type)
        self._text = fields.is_text(content_type)
        self._cursor = cursor
        self._kind = "json" if self._json else "text" if self._text else "base64"
        self._send = send
        # Up to where it was given, or sent, events.
        self._position = 0
        self._ends = 0.0

    async def events(
        self, start: int, is_ending: Callable[[], bool]
    ) -> AsyncGenerator[bytes, None]:
        """Events from `start` on, until the stream is finished, deleted, or its time is over."""
        stream, tail, settings = self._stream, self._tail, self._service.settings
        clock = asyncio.get_running_loop()
        ends = self._ends = clock.time() + settings.sse_s
        # In this order: nothing is appended after a stream was finished. At first as the store has
        # it, so that a client sees what it appended; then as all readers are told.
        is_finished, count = stream.finished, len(stream)
        is_told, is_end_told = False, False
        self._position = start
        while True:
            while self._position < count:
                event, self._position = await self._next(self._position, count, is_finished)
                is_end_told = is_finished and self._position == count
                yield event
                is_told = True
            if is_finished:
                if not is_end_told:
                    yield self._control(self._position, True, True)
                return
            if not is_told:
                yield self._control(self._position, True, False)
                is_told = True
            left = ends - clock.time()
            if is_ending():
                yield self._control(self._position, True, False)
                return
            if left <= 0 or tail.is_hidden:
                return
            taker = None if self._send is None else self
            if not await tail.wait(self._position, min(settings.ping_s, left), taker):
                if stream.hidden:
                    return
                yield _PING
            is_finished, count = tail.is_finished, tail.stop

    def take(self, start: int, run: list[bytes], now: float) -> float | None:
        """See `Taker.take`."""
        if start != self._position or self._send is None:
            return None
        if not self._send(self._shared(start, run, True, False)):
            return None
        self._position = start + len(run)
        return min(now + self._service.settings.ping_s, self._ends)

    async def _next(self, position: int, count: int, is_finished: bool) -> tuple[bytes, int]:
        """The events of the records from `position` on, and where they end."""
        run = self._tail.runs.get(position)
        if run is not None and position + len(run) <= count:
            stop = position + len(run)
            return self._shared(position, run, stop == count, is_finished), stop
        limit = self._service.settings.chunk_bytes

        def read() -> tuple[list[bytes], int]:
            return read_payloads(self._stream, position, count, limit)

        is_near = count - position <= NEAR and not self._service.has_remote
        payloads, stop = read() if is_near else await self._service.read(read)
        event = data_event(payloads, json=self._json, text=self._text)
        return event + self._control(stop, stop == count, is_finished and stop == count), stop

    def _shared(self, position: int, run: list[bytes], is_last: bool, is_finished: bool) -> bytes:
        """The events of a run that many readers are sent, made once where they are alike."""
        made, given = self._tail.made, self._cursor
        cursor = self._tail.cursor if given is None else cursor_after(given)
        whole = position, self._kind, is_last, is_finished, cursor
        events = made.get(whole)
        if events is None:
            data = made.get((position, self._kind))
            if data is None:
                data = data_event(run, json=self._json, text=self._text)
                made[position, self._kind] = data
            stop = position + len(run)
            events = data + self._control(stop, is_last, is_finished and is_last, cursor)
            # A reader may choose its cursor: only one is kept.
            if cursor == self._tail.cursor and len(data) <= _SHARED_BYTES_MAX:
                made[whole] = events
        return events

    def _control(
        self, position: int, up_to_date: bool, closed: bool, cursor: str | None = None
    ) -> bytes:
        token = offsets.encode_offset(position)
        if cursor is None:
            cursor = cursor_after(self._cursor)
        id = event_id(self._stream, position)
        return control_event(token, cursor, id, up_to_date=up_to_date, closed=closed)
