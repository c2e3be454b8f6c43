"""What a request asks for beside the protocol's own fields: how durable, at which offset."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from transit import Durability
from transit.protocol import fields, offsets
from transit.protocol.messages import json_messages
from transit.server.asgi import Request
from transit.server.refusals import Header
from transit.server.service import Service

EXPECT: Final = "transit-expect-offset"


def body_of(service: Service, request: Request) -> Awaitable[bytes]:
    """The whole body of a request."""
    settings = service.settings
    return request.body(settings.body_bytes_max, settings.body_s)


def asked_durability(request: Request) -> str | None:
    """The durability that a request prefers (RFC 7240); None for none."""
    preferred = request.headers.get("prefer")
    if preferred is None:
        return None
    for part in preferred.split(","):
        name, _, value = part.partition("=")
        if name.strip().lower() == "durability":
            return value.strip().strip('"')
    return None


_REACHED: Final[dict[Durability, Header]] = {
    "memory": (b"transit-durability", b"memory"),
    "os": (b"transit-durability", b"os"),
    "local": (b"transit-durability", b"local"),
    "tiered": (b"transit-durability", b"tiered"),
    "replicated": (b"transit-durability", b"replicated"),
}


def durability_header(durability: Durability) -> Header:
    """What an answer says that it reached."""
    return _REACHED[durability]


def expected(request: Request) -> int | None:
    """The next offset that a request expects, as a token or a number; None for any."""
    token = request.headers.get(EXPECT)
    if token is None:
        return None
    return int(token) if token.isascii() and token.isdigit() else offsets.decode_offset(token)


def payloads_of(content_type: str, body: bytes) -> list[bytes]:
    """The records that a body stands for; none for an empty one."""
    if fields.is_json(content_type):
        return json_messages(body) if body else []
    return [body] if body else []
