"""Small histories, and what a test compares of them."""

from __future__ import annotations

from collections.abc import Callable

from transit import Log, Stream

SECOND = 1_000_000_000
Contents = Callable[[Log], object]


def payloads(stream: Stream) -> list[bytes]:
    return [record.payload for record in stream.read()]


def origins(stream: Stream) -> list[tuple[str, int]]:
    return [(record.origin.stream, record.origin.offset) for record in stream.read()]


def parents(stream: Stream) -> list[tuple[str, int]]:
    return [(parent.stream, parent.offset) for parent in stream.parents]


def filled(log: Log, name: str, *bodies: bytes, first_timestamp: int = 0) -> Stream:
    """A new root stream with these records, one nanosecond apart."""
    stream = log.create(name)
    times = range(first_timestamp, first_timestamp + len(bodies))
    if bodies:
        stream.append_many(bodies, timestamps=list(times))
    return stream
