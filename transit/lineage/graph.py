"""Which records a stream inherits, and how streams descend from one another.

Owns the walk over lineage records: histories, origins, ancestors, merge bases. Leaves to others
how a record is found (`lookup`) and how long a stream is: an offset past a stream's end is not
refused here. A position is (stream id, offset); offset -1 is the empty beginning of a stream.

The ancestors of a position (S, k) are one number for each stream, the highest offset reached:

    S itself          k
    branch of P at f  and the ancestors of (P, min(k, f))
    merge, all of it  and the ancestors of every parent at its head, when k is at or past the last
                      record merged
    merge, in part    and the ancestors of the highest record of each origin stream among the
                      first k + 1 merged ones

One record has several names: (child, 3) and (parent, 3) are the same when the child was forked
later than that. A name inside a branch stands for the same history as the parent's name; a name
inside a merge may not, since a merge puts records of several streams in one order.

Invariants: parents have smaller ids than their children, so every walk ends; a higher offset of
the same stream never has fewer ancestors; no walk recurses, so depth is bounded by memory only; the
work of a call grows with the streams its positions descend from, never with their square.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from transit.errors import OffsetError
from transit.format.lineage import Branch, LineageRecord, Merge, triples
from transit.lineage.spans import Position, Span, from_plan, lay, prefix

Lookup = Callable[[int], LineageRecord]


class Graph:
    """Lineage as `lookup` tells it: stream id to record, `NotFoundError` for an unknown id."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    def start(self, stream: int) -> int:
        """Offset of the stream's first own record."""
        return self._lookup(stream).start

    def history(self, stream: int, stop: int) -> tuple[Span, ...]:
        """The stream's records before offset `stop`, inherited and own, as spans."""
        runs: list[tuple[int, int, int]] = []
        merged: tuple[Span, ...] = ()
        while stop > 0:
            record = self._lookup(stream)
            start = record.start
            if stop > start:
                runs.append((stream, start, stop - start))
                stop = start
            if isinstance(record, Branch):
                stream = record.parent
            elif isinstance(record, Merge):
                merged = prefix(from_plan(record.plan), stop)
                break
        runs.extend(span.run for span in reversed(merged))
        return lay(reversed(runs))

    def origin(self, stream: int, offset: int) -> Position:
        """Where the record at `offset` was appended; `OffsetError` when `offset` is negative."""
        if offset < 0:
            raise OffsetError(f"offset {offset} of stream {stream} names no record")
        stream, offset = self._above_branches(stream, offset)
        record = self._lookup(stream)
        if not isinstance(record, Merge):
            return stream, offset
        left = offset
        for source, first, count in triples(record.plan):
            if left < count:
                return source, first + left
            left -= count
        return stream, offset

    def canonical(self, stream: int, offset: int) -> Position:
        """The shortest name of the position that stands for the same history.

        That is the record's origin, except inside a merge whose order makes it the end of a
        history that the origin stream does not have: there the merge's own name stays.
        """
        named = self._above_branches(stream, offset)
        origin = self.origin(*named)
        if origin == named or self._until(origin) == self._until(named):
            return origin
        return named

    def ancestry(self, stream: int, offset: int) -> dict[int, int]:
        """The ancestors of a position, itself among them: stream id to highest offset."""
        highest = {stream: offset}
        waiting = [-stream]
        # Highest id first: every child was seen, so an offset is final when its turn comes.
        while waiting:
            current = -heappop(waiting)
            for parent, head in self._parents(current, highest[current]):
                if parent not in highest:
                    heappush(waiting, -parent)
                    highest[parent] = head
                elif head > highest[parent]:
                    highest[parent] = head
        return highest

    def is_ancestor(self, a: Position, b: Position) -> bool:
        """Whether the record at `a` is the one at `b` or went into it; nothing (-1) always did."""
        if a[1] < 0:
            return True
        stream, offset = self.origin(*a)
        return self.ancestry(*b).get(stream, -1) >= offset

    def common(self, heads: Sequence[Position]) -> dict[int, int]:
        """The ancestors that all heads share, by stream; an offset may be -1, for nothing."""
        first, *others = heads
        shared = self.ancestry(*first)
        for head in others:
            reached = self.ancestry(*head)
            shared = {
                stream: min(offset, reached[stream])
                for stream, offset in shared.items()
                if stream in reached
            }
        return shared

    def merge_bases(self, heads: Sequence[Position]) -> tuple[Position, ...]:
        """The common ancestors that are no ancestor of another one, latest stream first."""
        shared = self.common(heads)
        nearest: list[Position] = []
        passed: set[int] = set()
        # Whatever an ancestor descends from is shared too, so one step up from each shared
        # position, latest stream first, reaches all that another one already has in it.
        for stream in sorted(shared, reverse=True):
            offset, record = shared[stream], self._lookup(stream)
            second_name = isinstance(record, Branch) and offset < record.start
            if stream not in passed:
                if second_name:
                    continue  # The parent's own name for this position is shared as well.
                nearest.append((stream, offset))
            for parent, head in self._parents(stream, offset):
                if parent in shared and head >= shared[parent]:
                    passed.add(parent)
        names = {self.canonical(*base) for base in nearest if base[1] >= 0}
        return tuple(sorted(self._without_ancestors(names), reverse=True))

    def _without_ancestors(self, names: set[Position]) -> set[Position]:
        # A merge may stand for the same history as one of its parents at an earlier record, and so
        # come after no other base by its own name, but before one by the name it got.
        if len(names) < 2:
            return names
        reached = {name: self.ancestry(*name) for name in names}
        return {
            (stream, offset)
            for stream, offset in names
            if not any(
                other.get(stream, -1) >= offset
                for name, other in reached.items()
                if name != (stream, offset)
            )
        }

    def merge_base(self, heads: Sequence[Position]) -> Position | None:
        """The first of the merge bases, or None when the heads share no record."""
        return next(iter(self.merge_bases(heads)), None)

    def containing(self, heads: Sequence[Position]) -> Position | None:
        """The first head that has every ancestor record of all heads, or None.

        Compared are own records of streams, not names: a branch without own records contains its
        parent and is contained in it, and a merge is not contained in the parent it ends with.
        """
        reached = [self.ancestry(*head) for head in heads]
        every: dict[int, int] = {}
        for ancestors in reached:
            for stream, offset in ancestors.items():
                if offset > every.get(stream, -1):
                    every[stream] = offset
        needed = [(s, offset) for s, offset in every.items() if offset >= self.start(s)]
        for head, ancestors in zip(heads, reached, strict=True):
            if all(ancestors.get(s, -1) >= offset for s, offset in needed):
                return head
        return None

    def _until(self, position: Position) -> tuple[Span, ...]:
        return self.history(position[0], position[1] + 1)

    def _above_branches(self, stream: int, offset: int) -> Position:
        record = self._lookup(stream)
        while isinstance(record, Branch) and offset < record.start:
            stream = record.parent
            record = self._lookup(stream)
        return stream, offset

    def _parents(self, stream: int, offset: int) -> Sequence[Position]:
        record = self._lookup(stream)
        if isinstance(record, Branch):
            return ((record.parent, min(offset, record.fork)),)
        if not isinstance(record, Merge):
            return ()
        if offset >= record.start - 1:
            return record.parents
        highest: dict[int, int] = {}
        for span in prefix(from_plan(record.plan), offset + 1):
            last = span.origin + span.count - 1
            highest[span.stream] = max(last, highest.get(span.stream, -1))
        return tuple(highest.items())
