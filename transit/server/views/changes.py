"""Routes: changes to subscribers as events, and how far each of them is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from transit import InvalidInputError, TransitError
from transit.protocol.problems import problem_of
from transit.protocol.views import ChangeEvent, DoneRequest, SubscriberInfo, position_of
from transit.server.api.serving import (
    Call,
    NoQuery,
    body_of,
    check_durability,
    listing_answer,
    look,
    query_of,
    value_answer,
)
from transit.server.asgi import Answer, Request
from transit.server.asking import asked_durability, durability_header
from transit.server.refusals import RefusedError
from transit.server.streams import Streams
from transit.server.tails import Tail
from transit.server.views.declared import check_subscriber
from transit.server.views.following import Counts, Delivery, settle
from transit.server.views.serving import Views
from transit.views.stopping import Stop
from transit.views.subscribing import SubscriberStatus
from transit.views.view import View

_PING: Final = b": \n\n"
_HEADERS: Final = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"))
SubscriberName = Annotated[str, Meta(min_length=1, max_length=128)]
Place = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class SubscriberQuery(msgspec.Struct, forbid_unknown_fields=True):
    """stream: whose rows. subscriber: who asks. start: the first offset for a new subscriber."""

    stream: str
    subscriber: SubscriberName
    start: Place = 0


class StreamQuery(msgspec.Struct, forbid_unknown_fields=True):
    """stream: whose subscribers."""

    stream: str


class SubscriptionCalls:
    """The routes of subscriptions to views."""

    def __init__(self, views: Views, streams: Streams) -> None:
        self._views = views
        self._streams = streams
        self._counts = Counts()

    def calls(self) -> list[Call]:
        """Their table."""
        return [
            Call("GET", "/v1/views/{view}/changes", self._changes,
                 "Rows that records change, in order, to one subscriber.",
                 ChangeEvent, SubscriberQuery, kind="events"),
            Call("POST", "/v1/views/{view}/done", self._done,
                 "Changes up to a position are dealt with.",
                 SubscriberInfo, NoQuery, DoneRequest, headers=("Transit-Durability",)),
            Call("GET", "/v1/views/{view}/subscribers", self._list,
                 "How far the subscribers of a stream are.",
                 SubscriberInfo, StreamQuery, kind="page"),
        ]  # fmt: skip

    async def _list(self, request: Request) -> Answer:
        query, grant, views = query_of(request, StreamQuery), request.grant, self._views
        view = views.find(grant, request.parts["view"])
        stream = await look(views.service, partial(views.stream, grant, query.stream))
        found = await views.service.read(partial(view.subscribers, stream))
        return listing_answer(request, list(map(_info, found)), None)

    async def _done(self, request: Request) -> Answer:
        query_of(request, NoQuery)
        views, grant = self._views, request.grant
        asked = await body_of(request, views.service, DoneRequest)
        view = views.find(grant, request.parts["view"])
        check_subscriber(grant, view.name, asked.subscriber)
        stream = await look(views.service, partial(views.stream, grant, asked.stream))
        durability = check_durability(views.service, asked_durability(request))
        place = position_of(asked.position)
        if place is None:
            raise InvalidInputError("position: the number of a record, a dot, and of its change")
        count = self._counts.get(view, stream, place[0])

        def work(stop: Stop) -> SubscriberStatus:
            if count is None and place[0] < len(stream):
                views.state(view, stream, place[0], stop)
            return settle(view, stream, asked.subscriber, place, asked.step, count)

        status = await views.work(request, work)
        await views.service.reach(durability)
        return value_answer(request, _info(status), [durability_header(durability)])

    async def _changes(self, request: Request) -> Answer:
        query, grant, views = query_of(request, SubscriberQuery), request.grant, self._views
        view = views.find(grant, request.parts["view"])
        stream = await look(views.service, partial(views.stream, grant, query.stream))
        self._streams.check_readers()
        if request.method == "HEAD":
            return Answer(200, list(_HEADERS))
        last = request.headers.get("last-event-id", "")
        begun = partial(Delivery, views, view, stream, query.subscriber, query.start, last)
        delivery = await views.service.read(begun)
        tail = self._streams.tails.join(stream)
        return Answer(200, list(_HEADERS), parts=self._parts(delivery, view, tail))

    async def _parts(
        self, delivery: Delivery, view: View, tail: Tail
    ) -> AsyncGenerator[bytes, None]:
        try:
            # A reader hears at once that it is heard.
            yield _PING
            async for part in self._events(delivery, view, tail):
                yield part
        finally:
            self._streams.tails.leave(tail)

    async def _events(
        self, delivery: Delivery, view: View, tail: Tail
    ) -> AsyncGenerator[bytes, None]:
        settings, clock = self._views.service.settings, asyncio.get_running_loop()
        ends = clock.time() + settings.sse_s
        is_told = False
        while (left := ends - clock.time()) > 0 and not self._streams.is_ending:
            # In this order: nothing is appended after a stream was finished.
            is_finished = tail.stream.finished
            try:
                part = await self._views.work(None, partial(delivery.next, self._counts))
            except RefusedError:
                # Still folding; what was folded is kept.
                yield _PING
                continue
            except TransitError as error:
                yield b"event: stopped\ndata: %b\n\n" % problem_of(error).encode()
                return
            if part is not None:
                is_told = False
                yield part or _PING
            elif is_finished:
                yield b"event: finished\ndata: {}\n\n"
                return
            elif not is_told:
                is_told = True
                yield b'event: current\ndata: {"offset":%d}\n\n' % delivery.place[0]
            elif not await tail.wait(delivery.place[0], min(settings.ping_s, left)):
                if tail.stream.hidden:
                    return
                yield _PING


def _info(status: SubscriberStatus) -> SubscriberInfo:
    return SubscriberInfo(
        status.name, status.stream, status.position, status.lag, status.open, status.is_lost
    )
