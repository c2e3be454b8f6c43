"""Stores of a fleet that have some records, and what these say."""

from __future__ import annotations

import os
from collections.abc import Callable

import transit
from transit.fleet.importing import Origin

Opens = Callable[..., transit.Log]
Row = tuple[int, int, dict[str, str], bytes]


def rows(stream: transit.Stream, stop: int | None = None) -> list[Row]:
    return [(r.offset, r.timestamp, dict(r.headers), r.payload) for r in stream.read(0, stop)]


def filled(log: transit.Log, name: str, count: int = 3, size: int = 10) -> transit.Stream:
    stream = log.create(name, {"task": "fix"}, codec="json")
    for number in range(count):
        headers = {"n": str(number)} if number % 2 else {}
        stream.append(b'"%s"' % os.urandom(size).hex().encode(), headers=headers, timestamp=number)
    return stream


def own_place(log: transit.Log, stream: transit.Stream, offset: int) -> tuple[str, str, str, int]:
    """Where a record was appended, by the engine's word alone."""
    (span,) = (s for s in log.lineage.spans(stream) if s.first <= offset < s.first + s.count)
    return log.store_id, span.origin.stream, span.uid, span.origin.offset + offset - span.first


def place_in(table: tuple[Origin, ...], offset: int) -> tuple[str, str, str, int]:
    (each,) = (o for o in table if o.first <= offset < o.first + o.count)
    return each.store, each.stream, each.uid, each.offset + offset - each.first
