"""Names of streams in the paths of URLs.

A path is percent-decoded once, strictly: what is not UTF-8 names nothing, so that no two paths are
mistaken for each other. `/` is a part of the name, and `%2F` is the same character. Bytes are not
normalized: NFC and NFD are two names.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from transit import InvalidInputError

STREAMS: Final = "/v1/stream/"
"""What comes before the name of a stream, as the Durable Streams protocol has it by custom."""
RESERVED: Final = "__ds"
"""The segment of a path that the protocol keeps for its own control routes."""

_ESCAPE: Final = re.compile(rb"%([0-9A-Fa-f]{2})?")


def decode_path(raw: bytes) -> str:
    """The text of a path as it was sent; `InvalidInputError` where it is none."""
    try:
        data = _ESCAPE.sub(_unescaped, raw) if b"%" in raw else raw
        text = data.decode()
    except (UnicodeDecodeError, ValueError):
        raise InvalidInputError(f"path {raw[:64]!r}: not UTF-8, percent-encoded") from None
    return text


def _unescaped(found: re.Match[bytes]) -> bytes:
    if found[1] is None:
        raise ValueError
    return bytes.fromhex(found[1].decode())


def check_segments(name: str) -> str:
    """A name as a path may hold it: `InvalidInputError` for segments that clients resolve away."""
    if name[:1] == "$":
        raise InvalidInputError(f"stream name {name[:64]!r}: a leading '$' is kept for the store")
    if "/" in name or "." in name:
        segments = name.split("/")
        if "" in segments or "." in segments or ".." in segments:
            raise InvalidInputError(f"stream name {name[:64]!r}: an empty, '.' or '..' segment")
    return name


def encode_name(name: str) -> str:
    """A stream's name as a part of a path."""
    return quote(name, safe="/")


def stream_path(name: str) -> str:
    """The path of a stream's URL."""
    return STREAMS + encode_name(name)
