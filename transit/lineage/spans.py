"""A history as spans: runs of consecutive records of the streams they were first appended to.

    offset in the stream   0 1 2 3 4 5 6 7
    stream 1               1 1 1 1                 Span(first=0, stream=1, origin=0, count=4)
    stream 2, forked at 2  1 1 1 2 2               Span(0, 1, 0, 3), Span(3, 2, 3, 2)

Owns `Span` and the arithmetic on sequences of spans. Leaves to others where spans come from
(`graph`, `policy`) and whether the records they name exist.

Invariants of every sequence taken and returned: each span begins where the one before it ends; a
count is at least 1; no two neighbours could be one span; no record is there twice. Costs grow with
the number of spans, never with the number of records.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter

import msgspec

from transit.errors import OffsetError
from transit.format.lineage import triples

Position = tuple[int, int]
"""(stream id, offset); the public surface names streams by their names instead."""

Run = tuple[int, int, int]
"""(origin stream id, first origin offset, count): a span without its place in a stream."""


class Span(msgspec.Struct, frozen=True, gc=False):
    """`count` records from offset `first` on: those of `stream` from offset `origin` on."""

    first: int
    stream: int
    origin: int
    count: int

    @property
    def stop(self) -> int:
        """The offset after the span's last record."""
        return self.first + self.count

    @property
    def run(self) -> Run:
        """The same records, wherever they are."""
        return self.stream, self.origin, self.count


_first = attrgetter("first")


def lay(runs: Iterable[Run]) -> tuple[Span, ...]:
    """The runs one after another from offset 0 on, neighbours that continue each other joined."""
    laid: list[Span] = []
    first = 0
    stream, origin, count = -1, 0, 0
    for run in runs:
        if run[0] == stream and run[1] == origin + count:
            count += run[2]
            continue
        if count:
            laid.append(Span(first, stream, origin, count))
            first += count
        stream, origin, count = run
    if count:
        laid.append(Span(first, stream, origin, count))
    return tuple(laid)


def from_plan(flat: tuple[int, ...]) -> tuple[Span, ...]:
    """The spans of a merge's recorded plan."""
    return lay(triples(flat))


def to_plan(spans: Sequence[Span]) -> tuple[int, ...]:
    """The flat (stream, origin, count) triples to record for `spans`."""
    return tuple(chain.from_iterable(span.run for span in lay(_runs(spans))))


def concatenate(*parts: Sequence[Span]) -> tuple[Span, ...]:
    """The records of all parts in order, counted from offset 0 on."""
    return lay(_runs(chain.from_iterable(parts)))


def total(spans: Sequence[Span]) -> int:
    """The number of records."""
    return spans[-1].stop - spans[0].first if spans else 0


def prefix(spans: Sequence[Span], count: int) -> tuple[Span, ...]:
    """The first `count` records, or all when there are fewer."""
    return window(spans, spans[0].first, spans[0].first + count) if spans else ()


def window(spans: Sequence[Span], start: int, stop: int) -> tuple[Span, ...]:
    """What lies at offsets `start` up to but not including `stop`, still at those offsets."""
    if not spans:
        return ()
    start, stop = max(start, spans[0].first), min(stop, spans[-1].stop)
    if start >= stop:
        return ()
    low = bisect_right(spans, start, key=_first) - 1
    high = bisect_left(spans, stop, key=_first)
    return tuple(_clip(span, start, stop) for span in spans[low:high])


def locate(spans: Sequence[Span], offset: int) -> int:
    """Which of the spans holds `offset`; `OffsetError` when none does."""
    if not spans or not spans[0].first <= offset < spans[-1].stop:
        raise OffsetError(f"offset {offset} lies outside {total(spans)} records")
    return bisect_right(spans, offset, key=_first) - 1


def subtract(spans: Sequence[Span], others: Iterable[Sequence[Span]]) -> tuple[Span, ...]:
    """The records of `spans` that are in none of the `others`, counted from offset 0 on."""
    taken = Coverage()
    for other in others:
        taken.take(other)
    return taken.take(spans)


class Coverage:
    """Which records were taken so far, as disjoint intervals for each origin stream."""

    def __init__(self) -> None:
        # For each stream the sorted starts of its intervals and, at the same places, their stops;
        # no interval touches the next.
        self._intervals: dict[int, tuple[list[int], list[int]]] = {}

    def take(self, spans: Sequence[Span]) -> tuple[Span, ...]:
        """Take the records of `spans`; returns those not taken before, from offset 0 on."""
        return lay(run for span in spans for run in self._take(span))

    def _take(self, span: Span) -> list[Run]:
        starts, stops = self._intervals.setdefault(span.stream, ([], []))
        start, stop = span.origin, span.origin + span.count
        low, high = bisect_left(stops, start), bisect_right(starts, stop)
        # Intervals low up to high overlap or touch the new one: what lies between them is new,
        # and together with it they become one.
        edges = [
            start,
            *chain.from_iterable(zip(starts[low:high], stops[low:high], strict=True)),
            stop,
        ]
        gaps = zip(edges[0::2], edges[1::2], strict=True)
        new = [(span.stream, left, right - left) for left, right in gaps if left < right]
        starts[low:high], stops[low:high] = [min(edges)], [max(edges)]
        return new


def _runs(spans: Iterable[Span]) -> Iterator[Run]:
    return (span.run for span in spans)


def _clip(span: Span, start: int, stop: int) -> Span:
    if start <= span.first and span.stop <= stop:
        return span
    first = max(start, span.first)
    count = min(stop, span.stop) - first
    return Span(first, span.stream, span.origin + first - span.first, count)
