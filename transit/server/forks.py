"""Where a fork parts from its source: an offset, and how much of the record there (section 4.2)."""

from __future__ import annotations

from transit import InvalidInputError
from transit.protocol import fields, offsets
from transit.server.asgi import Request
from transit.server.lives import Configuration, Named


def place_of(request: Request, source: Named) -> tuple[int, int]:
    """Where a fork parts from its source: the offset, and how much of the record there."""
    token = request.headers.get("stream-fork-offset")
    text = request.headers.get("stream-fork-sub-offset")
    part = 0 if text is None else fields.whole_number(text, "Stream-Fork-Sub-Offset")
    count = len(source.stream)
    if token is None:
        if part:
            raise InvalidInputError("Stream-Fork-Sub-Offset needs Stream-Fork-Offset")
        return count, 0
    at = offsets.decode_offset(token)
    at = {offsets.START: 0, offsets.NOW: count}.get(at, at)
    if at > count:
        raise InvalidInputError(f"Stream-Fork-Offset {token} is past the end of the source")
    return at, part


def is_same(request: Request, named: Named, wanted: Configuration) -> bool:
    """Whether the stream that is there is the fork that a request asks for."""
    mine = named.configuration
    if "stream-fork-offset" not in request.headers:
        # No place was asked for: it may be whichever was the source's end then.
        source, _, _ = wanted.fork.partition("@")
        if not mine.fork.startswith(f"{source}@"):
            return False
        wanted = wanted._replace(fork=mine.fork)
    return mine.is_like(wanted) and named.stream.finished == fields.is_closing(request.headers)


def part_of(source: Named, at: int, part: int) -> bytes:
    """The first bytes of the record at `at`; none for JSON, where parts are whole records."""
    if not part:
        return b""
    stream, is_json = source.stream, fields.is_json(source.configuration.content_type)
    if is_json:
        if at + part > len(stream):
            raise InvalidInputError(f"Stream-Fork-Sub-Offset {part} is past the messages")
        return b""
    payload = stream[at].payload if at < len(stream) else b""
    if part > len(payload):
        raise InvalidInputError(f"Stream-Fork-Sub-Offset {part} is past the record's bytes")
    return payload[:part]
