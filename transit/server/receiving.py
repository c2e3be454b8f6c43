"""What exporters of OpenTelemetry send becomes runs, durable before the answer.

What goes over the wire is in `otlp_wire`; what is kept is for `transit.trace.files.arriving`. One
request is written at a time; those that come meanwhile share the next sync. An error is answered
with a status after which exporters send again only where the same request may go well later.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from typing import Final

from transit import NotFoundError, Record, TransitError
from transit.protocol.problems import problem_of
from transit.server.access import APPEND, READ
from transit.server.asgi import Answer, Request
from transit.server.asking import asked_durability, durability_header
from transit.server.otlp_wire import (
    PROTOBUF,
    TRACES,
    answer_of,
    content_type,
    document_of,
    status_answer,
)
from transit.server.refusals import NO_STORE, RefusedError
from transit.server.service import Service
from transit.trace.files.arriving import APART, LAYER, RECORDED, Arrivals, Arrived
from transit.trace.views import ADAPTER

_RETRY: Final = (b"retry-after", b"5")
# What the engine cannot do now, and may do later.
_LATER: Final = frozenset((409, 500, 507))
_LINES: Final = 256


class Receiver:
    """Takes what exporters send, for one store."""

    def __init__(self, service: Service) -> None:
        self._service, self._settings = service, service.settings
        self._arrivals = Arrivals(service.log, service.settings.otlp_prefix)
        self._one = asyncio.Lock()

    async def receive(self, request: Request, kind: str) -> Answer:
        """`POST`: keep TRACES or LOGS; every answer is in the format of the request."""
        # Before anything else may fail, for the format of the answer.
        type_ = PROTOBUF
        try:
            type_ = content_type(request)
            return await self._take(request, kind, type_)
        except RefusedError as error:
            answer = status_answer(error.status, type_, str(error))
            answer.headers += error.headers
            return answer
        except TransitError as error:
            return _failed(problem_of(error).status, type_, str(error))
        except TimeoutError:
            return _failed(500, type_, "the body did not come in time")

    async def _take(self, request: Request, kind: str, type_: str) -> Answer:
        settings, service = self._settings, self._service
        durability = service.wanted(asked_durability(request) or _durable(service.log.durability))
        body = await request.body(
            settings.body_bytes_max, settings.body_s, settings.unpacked_bytes_max
        )

        def work() -> tuple[Arrived, str]:
            document, told = document_of(kind, type_, body)
            take = self._arrivals.take_spans if kind == TRACES else self._arrivals.take_logs
            grant = request.grant
            return take(document, grant.name, lambda name: grant.check(APPEND, name)), told

        async with self._one:
            arrived, told = await service.read(work)
        # Also where all was there: it may not have been durable when it was sent before.
        await service.reach(durability)
        message = "; ".join([*arrived.problems, *([told] if told else [])])
        answer = answer_of(kind, type_, arrived.rejected, message)
        answer.headers.append(durability_header(durability))
        return answer

    async def kept(self, request: Request) -> Answer:
        """`GET /v1/traces/<trace id>`: what came of a trace, a document of OTLP in JSON a line."""
        name = self._settings.otlp_prefix + request.name
        request.grant.check(READ, name)
        log = self._service.log
        run = log.stream(name)
        if run.metadata.get(ADAPTER) == RECORDED:
            run = log.stream(f"{name}/{APART}")
        kept = log.stream(f"${LAYER}/spans/{run.uid}")

        async def lines() -> AsyncGenerator[bytes, None]:
            for start in range(0, count, _LINES):
                read = partial(kept.read, start, min(start + _LINES, count))
                part: list[Record] = await self._service.read(partial(list, read()))
                yield b"".join(record.payload + b"\n" for record in part)

        count = len(kept)
        if not count:
            raise NotFoundError(f"nothing came of {name!r}")
        return Answer(200, [(b"content-type", b"application/x-ndjson"), NO_STORE], parts=lines())


def _durable(durability: str) -> str:
    """What is answered for by default: the disk at least."""
    return durability if durability in ("tiered", "replicated") else "local"


def _failed(status: int, type_: str, message: str) -> Answer:
    if status not in _LATER and status < 500:
        return status_answer(status, type_, message)
    answer = status_answer(503, type_, message)
    answer.headers.append(_RETRY)
    return answer
