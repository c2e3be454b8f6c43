"""What a request asks for beside the protocol's own fields: how durable, at which offset."""

from __future__ import annotations

from transit import Durability
from transit.protocol import fields, offsets
from transit.protocol.messages import json_messages
from transit.server.asgi import Request
from transit.server.refusals import Header
from transit.server.service import Service


async def body_of(service: Service, request: Request) -> bytes:
    """The whole body of a request."""
    return await request.body(service.settings.body_bytes_max, service.settings.body_s)


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


def durability_header(durability: Durability) -> Header:
    """What an answer says that it reached."""
    return b"transit-durability", durability.encode()


def expected(request: Request) -> int | None:
    """The next offset that a request expects, as a token or a number; None for any."""
    token = request.headers.get("transit-expect-offset")
    if token is None:
        return None
    return int(token) if token.isascii() and token.isdigit() else offsets.decode_offset(token)


def payloads_of(content_type: str, body: bytes) -> list[bytes]:
    """The records that a body stands for; none for an empty one."""
    if not body:
        return []
    return json_messages(body) if fields.is_json(content_type) else [body]
