"""Ordered keys and values as a log: what LMDB and RocksDB have in common."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence

_OFFSET = struct.Struct(">Q")
_TIME = struct.Struct("<q")
PAYLOAD_AT = _TIME.size
Pair = tuple[bytes, bytes]


def prefix(stream: str) -> bytes:
    """What the keys of a stream begin with; names have no zero bytes."""
    return stream.encode() + b"\0"


def key(stream: str, offset: int) -> bytes:
    """The key of a record: offsets sort as numbers do."""
    return prefix(stream) + _OFFSET.pack(offset)


def value(payload: bytes) -> bytes:
    """The time now, and the payload."""
    return _TIME.pack(time.time_ns()) + payload


def pairs(stream: str, offsets: range, payloads: Sequence[bytes]) -> list[Pair]:
    """Keys and values of several records, all at one time."""
    start, stamp, pack = prefix(stream), _TIME.pack(time.time_ns()), _OFFSET.pack
    return [
        (start + pack(at), stamp + payload) for at, payload in zip(offsets, payloads, strict=True)
    ]


def moved(stream: str, found: bytes) -> bytes:
    """The key of the same offset in another stream."""
    return prefix(stream) + found[-_OFFSET.size :]


def row(stored: bytes) -> tuple[int, bytes]:
    """Time and payload of a value."""
    return _TIME.unpack_from(stored)[0], stored[PAYLOAD_AT:]
