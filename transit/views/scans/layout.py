"""Where the chosen records lie: runs of rows in segments, and runs that are not sealed yet.

Owns what is known of a store's segments in this process: for each stream that was asked for, which
of its own records each segment holds. That never changes, so it is asked of the engine once, and
where chosen records lie is found out when they are first read.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from transit import InvalidInputError, Log, SealedSegment, Span, Stream
from transit.views.scans.choosing import Chosen

STREAMS_KEPT: Final = 65_536


class Run(NamedTuple):
    """Consecutive records of one stream, where they were appended, and as they are shown.

    stream: the one that is read. owner: id of the one they were appended to; first, stop: offsets
    there. shift: what to take from these to get the offsets shown. segment: which of the known
    ones, -1 where they are not sealed. commit: of the segment, -1 likewise.
    """

    stream: Stream
    owner: int
    first: int
    stop: int
    shift: int
    segment: int = -1
    commit: int = -1

    @property
    def is_own(self) -> bool:
        """Whether they are shown as they were appended."""
        return self.owner == self.stream.id


class Sealed(NamedTuple):
    """Own offsets of a stream in one segment."""

    first: int
    stop: int
    segment: int


class Layout:
    """What is known of one open store. Safe for threads."""

    def __init__(self, log: Log) -> None:
        self.segments: list[SealedSegment] = []
        # By stream id: in how many segments it was looked for, and where it was found.
        self._found: dict[int, tuple[int, list[Sealed]]] = {}
        self._lock = threading.Lock()
        self.is_served = False
        self.look(log)

    def look(self, log: Log) -> None:
        """Take up what was sealed since the last time."""
        if self.is_served:
            return
        with self._lock:
            known = self.segments[-1].commit if self.segments else -1
            try:
                self.segments += log.segments(since=known)
            except InvalidInputError:
                # Over a connection there are no segments: all is read as records.
                self.is_served = True

    def sealed_by(self, chosen: Chosen, commit: int) -> Chosen:
        """Those of the chosen records of a stream that a commit and those before it have, as far as
        they come before all others.
        """
        stop = chosen.start
        for run in self.runs(chosen):
            if not 0 <= run.commit <= commit:
                break
            stop = run.stop - run.shift
        return chosen._replace(stop=stop)

    def runs(self, chosen: Chosen) -> Iterator[Run]:
        """Where the chosen records of a stream lie."""
        stream, start, stop = chosen
        if start >= stop:
            return
        spans: Sequence[Span] = ()
        spans = (
            [Span(start, stream.id, start, stop - start)]
            if self.is_served
            else list(stream.spans(start, stop))
        )
        for span in spans:
            yield from self._cut(stream, span)

    def _cut(self, stream: Stream, span: Span) -> Iterator[Run]:
        shift = span.origin - span.first
        at, stop = span.origin, span.origin + span.count
        found = self._sealed(span.stream)
        for place in range(max(bisect_right(found, at, key=itemgetter(0)) - 1, 0), len(found)):
            first, end, segment = found[place]
            if first >= stop or at >= stop:
                break
            low, high = max(first, at), min(end, stop)
            if low < high:
                commit = self.segments[segment].commit
                yield Run(stream, span.stream, low, high, shift, segment, commit)
                at = high
        if at < stop:
            yield Run(stream, span.stream, at, stop, shift)

    def _sealed(self, stream_id: int) -> list[Sealed]:
        with self._lock:
            seen, found = self._found.get(stream_id, (0, []))
            if seen < len(self.segments):
                found = list(found)
                for number in range(seen, len(self.segments)):
                    offsets = self.segments[number].offsets(stream_id)
                    if offsets:
                        found.append(Sealed(offsets.start, offsets.stop, number))
                if len(self._found) >= STREAMS_KEPT:
                    self._found.clear()
                self._found[stream_id] = (len(self.segments), found)
            return found


class Places:
    """Where the chosen records of some streams lie, found out once."""

    def __init__(self, layout: Layout, chosen: Iterable[Chosen]) -> None:
        self.layout = layout
        self._chosen = [each for each in chosen if each.start < each.stop]

    def __len__(self) -> int:
        """Count of records."""
        return sum(each.stop - each.start for each in self._chosen)

    @cached_property
    def runs(self) -> list[Run]:
        """Runs of them, those of one stream in order."""
        return [run for each in self._chosen for run in self.layout.runs(each)]

    @cached_property
    def lasts(self) -> Places:
        """Where the last one of each stream lies."""
        return Places(
            self.layout, [Chosen(each.stream, each.stop - 1, each.stop) for each in self._chosen]
        )


_layouts: Final[WeakKeyDictionary[Log, Layout]] = WeakKeyDictionary()
_making: Final = threading.Lock()


def layout_of(log: Log) -> Layout:
    """What is known of an open store, with what was sealed until now."""
    with _making:
        layout = _layouts.get(log)
        if layout is None:
            layout = _layouts[log] = Layout(log)
            return layout
    layout.look(log)
    return layout
