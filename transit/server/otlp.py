"""The routes of OTLP/HTTP: where exporters of OpenTelemetry send spans and log records.

Owns the paths alone. What answers is loaded with the first request: protobuf and the conversion of
traces take long to load, and many servers never need them.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from transit.server.asgi import Answer, Request
from transit.server.routes import Route
from transit.server.service import Service

if TYPE_CHECKING:
    from transit.server.receiving import Receiver


class _Late:
    """The receiver of a server, made when it is first asked."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @cached_property
    def _receiver(self) -> Receiver:
        # Loaded here: see the module.
        from transit.server.receiving import Receiver

        return Receiver(self._service)

    async def traces(self, request: Request) -> Answer:
        """`POST /v1/traces`."""
        return await self._receiver.receive(request, "traces")

    async def logs(self, request: Request) -> Answer:
        """`POST /v1/logs`."""
        return await self._receiver.receive(request, "logs")

    async def kept(self, request: Request) -> Answer:
        """`GET /v1/traces/<trace id>`."""
        return await self._receiver.kept(request)


def routes(service: Service) -> list[Route]:
    """The routes of the receiver."""
    late = _Late(service)
    return [
        Route("POST", "/v1/traces", late.traces),
        Route("POST", "/v1/logs", late.logs),
        Route("GET", "/v1/traces/{name}", late.kept),
    ]
