"""Whether a server is there and its store can be used: for supervisors and load balancers.

    /healthz    200 while the process answers at all
    /readyz     200 while the store is open and takes what it was opened for; else 503

Owns these two routes. They need no token, tell nothing of what the store holds, and touch no disk.
"""

from __future__ import annotations

import msgspec

from transit.server.asgi import Answer, Request
from transit.server.refusals import NO_STORE
from transit.server.routes import Route
from transit.server.service import Service
from transit.server.streams import Streams


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is answered. status: "ok", "ready" or "not ready"; reason: why it is not."""

    status: str
    mode: str = ""
    writable: bool | None = None
    reason: str = ""


def routes(service: Service, streams: Streams) -> list[Route]:
    """The routes of this module."""
    log = service.log

    async def alive(request: Request) -> Answer:
        return _answer(200, Health("ok"))

    async def ready(request: Request) -> Answer:
        # Before the store: it is open until the last request is answered.
        if streams.is_ending:
            return _answer(503, Health("not ready", log.mode, False, "the server ends"))
        if log.closed:
            return _answer(503, Health("not ready", log.mode, False, "the store is closed"))
        if log.mode == "read":
            return _answer(200, Health("ready", log.mode, False))
        if log.refuses:
            # Why is for those who may see the store: it names files and streams.
            reason = "the store takes no more records: open it again"
            return _answer(503, Health("not ready", log.mode, False, reason))
        return _answer(200, Health("ready", log.mode, True))

    return [Route("GET", "/healthz", alive), Route("GET", "/readyz", ready)]


def _answer(status: int, health: Health) -> Answer:
    headers = [(b"content-type", b"application/json"), NO_STORE]
    return Answer(status, headers, msgspec.json.encode(health))
