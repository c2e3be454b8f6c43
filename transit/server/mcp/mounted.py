"""/mcp over HTTP: streamable HTTP of the protocol, without sessions, answers as JSON.

The request's grant decides which tools there are. A server on the loopback answers to names of the
loopback only, whatever was set: otherwise any page in a browser there could reach it by a name of
its own that resolves to it. Origins and tokens are the gate's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Final

from transit.server.access import Grant
from transit.server.asgi import Answer, Request
from transit.server.channels import Channels
from transit.server.lives import Lives
from transit.server.mcp.calling import Room, found_on_server
from transit.server.proving import Evidence
from transit.server.refusals import NO_STORE, RefusedError
from transit.server.routes import Route
from transit.server.service import Service
from transit.server.views.room import ViewRoom

Exchange = Callable[[Room, Grant, Request, bytes], Awaitable[Answer]]
PATH: Final = "/mcp"
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]{1,5})?")
BODY_BYTES_MAX: Final = 8 * 1024 * 1024


class Mounted:
    """The protocol in an application."""

    def __init__(
        self,
        service: Service,
        lives: Lives,
        views: ViewRoom,
        evidence: Evidence,
        channels: Channels,
    ) -> None:
        self._settings = service.settings
        find = found_on_server(lambda name: lives.find(name).stream)
        self.room = Room(service, find, views, evidence, channels)

    def routes(self) -> list[Route]:
        """The routes of the protocol."""
        # Some clients add a slash, and follow no redirect.
        return [Route("POST", path, self.answer) for path in (PATH, f"{PATH}/")]

    def end(self) -> None:
        """Let calls that wait go: the server ends."""
        self.room.end()

    async def answer(self, request: Request) -> Answer:
        """The answer to one request."""
        self._check_host(request)
        limit = min(self._settings.body_bytes_max, BODY_BYTES_MAX)
        body = await request.body(limit, self._settings.body_s)
        if find_spec("mcp") is None:
            raise RefusedError(501, "the server needs: pip install 'transit[mcp]'")
        # Not on the loop: the package takes a second or more to load.
        exchange = await self.room.service.read(_load)
        answer = await exchange(self.room, request.grant, request, body)
        answer.headers.append(NO_STORE)
        return answer

    def _check_host(self, request: Request) -> None:
        host = request.headers.get("host")
        if host is None:
            raise RefusedError(400, "Host is missing")
        server = request.scope.get("server")
        found = _HOST.fullmatch(host)
        name = None if found is None else found[1] or found[2]
        if (server is None or _is_loopback(server[0])) and not _is_loopback(name):
            raise RefusedError(421, "this server is on the loopback, and answers to its names only")


def _is_loopback(name: str | None) -> bool:
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name or "").is_loopback
    except ValueError:
        return False


def _load() -> Exchange:
    # Loaded when it is first used: it takes longer than all of the server.
    from transit.server.mcp.exchange import answer_request

    return answer_request
