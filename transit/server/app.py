"""The server's application: from a request over ASGI to its answer.

Owns the order of checks, and that nothing a handler raises reaches the client as anything but a
problem document. Who drives a request to its answer, with a task or without, is in `exchange`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from transit import InvalidInputError, Log
from transit.protocol.paths import STREAMS
from transit.protocol.problems import refusal
from transit.server import api, health, metrics, otlp
from transit.server.access import Grant
from transit.server.asgi import (
    Answer,
    ClientGoneError,
    Head,
    Message,
    Receive,
    Request,
    Send,
    error_answer,
    problem_answer,
)
from transit.server.channels import Channels
from transit.server.counts import Counts
from transit.server.exchange import Exchange, Served
from transit.server.gate import CONTROL, Gate
from transit.server.mcp.mounted import Mounted
from transit.server.numbers import Numbers
from transit.server.page.pages import Pages
from transit.server.page.session import LIVE
from transit.server.proving import Evidence, Signing
from transit.server.refusals import Header, RefusedError
from transit.server.routes import NAME, Routes
from transit.server.service import Service
from transit.server.settings import ServerSettings
from transit.server.streams import METHODS, Streams
from transit.server.views.room import ViewRoom
from transit.server.witness import Witnessing, WitnessKeys
from transit.trace import Prices
from transit.views.loading import Declared

if TYPE_CHECKING:
    from transit.server.subscriptions.routes import Subscriptions

# What makes a request wait: its client may be gone before there is anything to send.
_LIVE: Final = re.compile(rb"(?:^|&)(?:live|wait)=")
_STREAMS: Final = STREAMS.encode()
_CONTROL: Final = CONTROL.encode()
_TEMPLATE: Final = STREAMS + NAME
LOGGER = logging.getLogger("transit.server")
Route = Callable[[Request], Awaitable[Answer]]


class App:
    """An ASGI application that serves one open store; it does not close the store.

    tokens: the file of tokens; None: everybody may do everything. prices: of tokens that models
    took, for what runs cost on the page; None: not known. declared: the views and reconcilers that
    are served. persist: where savepoints of these views are kept. witness: whom it cosigns
    checkpoints of; None: of nobody. signing: what signs checkpoints of the store when an
    administrator asks; None: nothing.
    """

    def __init__(
        self,
        log: Log,
        settings: ServerSettings | None = None,
        tokens: str | None = None,
        prices: Prices | None = None,
        declared: Declared | None = None,
        persist: str = "logged",
        witness: WitnessKeys | None = None,
        signing: Signing | None = None,
    ) -> None:
        self.settings = settings or ServerSettings()
        self.gate = Gate(log, self.settings, tokens)
        # Called with each request that was answered.
        self.counts = Counts()
        self.observers: list[Callable[[Served], object]] = [self.counts.answered]
        self.service = Service(log, self.settings)
        self.streams = Streams(self.service)
        self.views = ViewRoom(self.service, declared, persist)
        self.evidence = Evidence(self.service, signing)
        more = self.views.calls(self.streams)
        self.calls = api.table(self.service, self.streams, self.evidence, more)
        # What a token allows, None for one that is not known; None where no tokens are asked for.
        grant_of: Callable[[str], Grant | None] | None = self.gate.grant_of
        self.grant_of = None if tokens is None else grant_of
        self.prices = prices
        self.channels = Channels(log)
        self.pages = Pages(self)
        # A room adds its own: `routes(app)` of its module.
        self.mcp = Mounted(
            self.service, self.streams.lives, self.views, self.evidence, self.channels
        )
        self.numbers = Numbers(self.service, self.counts, self.streams.tails, self.gate)
        self.routes = Routes(
            [
                *api.routes(self.calls),
                *otlp.routes(self.service),
                *self.mcp.routes(),
                *metrics.routes(self.numbers, self.service),
                *health.routes(self.service, self.streams),
                *self.pages.routes(),
                *([] if witness is None else Witnessing(self.service, witness).routes()),
            ]
        )
        if self.settings.telemetry:
            # Loaded here: few servers want it.
            from transit.server.telemetry import observe

            observe(self.numbers)
        self.subscriptions = self._serve_subscriptions() if self.settings.subscriptions else None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one connection's request, or take part in the server's start and end."""
        kind = scope["type"]
        if kind == "http":
            await Exchange(self, Request(Head(scope))).run(scope, receive, send)
        elif kind == "lifespan":
            await self._live(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    async def _live(self, receive: Receive, send: Send) -> None:
        looking: asyncio.Task[None] | None = None
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                if self.subscriptions is not None:
                    self.subscriptions.waking.start()
                looking = asyncio.create_task(self.service.look_for_more())
                await self.service.read(self.views.start)
                await send({"type": "lifespan.startup.complete"})
            else:
                self.end()
                if looking is not None:
                    looking.cancel()
                await asyncio.get_running_loop().run_in_executor(None, self.close)
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _serve_subscriptions(self) -> Subscriptions:
        if self.service.log.mode != "exclusive":
            raise InvalidInputError(
                'subscriptions need a store in mode "exclusive": leases are kept by one server'
            )
        # Loaded here: signing and sending take long to load, and are seldom wanted.
        from transit.server.subscriptions.routes import Subscriptions

        # As above.
        from transit.server.subscriptions.webhooks import Webhooks

        settings = self.settings
        webhooks = Webhooks(settings.base_url, allow_loopback=settings.webhook_loopback)
        subscriptions = Subscriptions(self.service, webhooks)
        self.streams.control = subscriptions.answer
        return subscriptions

    def is_reached_at(self, url: str) -> None:
        """Workers are told to answer at `url`, unless the settings name another."""
        if self.subscriptions is not None and not self.settings.base_url:
            self.subscriptions.webhooks.base_url = url

    def close(self) -> None:
        """End all threads and processes; what they do is finished first. Not on the event loop."""
        self.views.close()
        self.evidence.close()
        self.service.close()

    def end(self) -> None:
        """Let waiting readers go."""
        if self.subscriptions is not None:
            self.subscriptions.end()
        self.streams.is_ending = True
        self.streams.tails.wake_all()
        self.views.end()
        self.mcp.end()
        self.pages.end()

    def may_be_now(self, path: bytes, query: bytes) -> bool:
        """Whether a request is one that is most often answered without waiting.

        path, query: as they came. What may wait for a time in its first step is none: a reader at
        the end of a stream, a subscription's worker.
        """
        if not path.startswith(_STREAMS) or path.startswith(_CONTROL):
            return False
        return not query or not (b"%" in query or _LIVE.search(query))

    async def respond(self, exchange: Exchange) -> Answer | None:
        """The answer to a request, whatever happens; None where its client has gone."""
        request = exchange.request
        try:
            answer = await self._answer(exchange, request)
        except ClientGoneError:
            return None
        except Exception as error:
            exchange.refuse(error)
            known = error_answer(error, request.id)
            if known is None:
                LOGGER.exception("request %s failed", request.id)
                known = problem_answer(refusal(500, "an error of the server's own", request.id))
            answer = known
        origin = request.headers.get("origin")
        answer.headers += _OWN if origin is None else self._shared(origin)
        return answer

    def _answer(self, exchange: Exchange, request: Request) -> Awaitable[Answer]:
        """Look at a request in all ways, and then let it be answered."""
        gate, head = self.gate, request.head
        if not head.is_checked:
            gate.check_head(head.scope)
            head.find_path()
            gate.check_place(request)
            head.is_checked = True
        if request.method == "OPTIONS":
            return self._preflight(request)
        bearer = exchange.bearer = gate.admit(request)
        gate.enter(bearer, exchange)
        exchange.gate = gate
        path = head.path
        if request.method == "GET" and (path == LIVE or _LIVE.search(head.raw_query)):
            exchange.is_live = True
            exchange.watch()
        if path.startswith(STREAMS):
            request.template = _TEMPLATE
            return self.streams.answer(request)
        return self.routes.find(request)(request)

    async def _preflight(self, request: Request) -> Answer:
        origin = request.headers.get("origin")
        if origin is None:
            return Answer(204, [(b"allow", METHODS.encode())])
        if not self.gate.allows_origin(origin):
            raise RefusedError(403, "pages of this origin may not use the server")
        return Answer(204, [*_PREFLIGHT, *self._shared(origin)])

    def _shared(self, origin: str) -> list[Header]:
        """What lets a page of another origin read an answer."""
        if not self.gate.allows_origin(origin):
            return _OWN
        allowed = b"*" if "*" in self.settings.cors else origin.encode("latin-1")
        return [
            (b"access-control-allow-origin", allowed),
            (b"access-control-expose-headers", _EXPOSED),
            (b"vary", b"origin"),
            (b"cross-origin-resource-policy", b"cross-origin"),
        ]


_OWN: list[Header] = [(b"cross-origin-resource-policy", b"same-origin")]
_EXPOSED = (
    b"etag, location, stream-next-offset, stream-cursor, stream-up-to-date, stream-closed, "
    b"stream-ttl, stream-expires-at, stream-sse-data-encoding, producer-epoch, producer-seq, "
    b"producer-expected-seq, producer-received-seq, transit-durability, transit-count, "
    b"transit-next, transit-repeated, x-request-id, retry-after"
)
_PREFLIGHT: list[Header] = [
    (b"access-control-allow-methods", METHODS.encode()),
    (
        b"access-control-allow-headers",
        b"authorization, content-type, if-none-match, stream-seq, stream-ttl, stream-expires-at, "
        b"stream-closed, stream-forked-from, stream-fork-offset, stream-fork-sub-offset, "
        b"producer-id, producer-epoch, producer-seq, prefer, transit-expect-offset, x-request-id",
    ),
    (b"access-control-max-age", b"600"),
]
