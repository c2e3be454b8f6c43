"""Where a stream was at a time, by the engine's clock.

Owns the search. Within a span of a history records were written in their order, so it is a binary
search over segments, chunks and records; a merge's spans are asked one after another, because a
policy may put a later record before an earlier one.

Time steps back between two files where the machine's clock was set back (`transit.log.clock`). No
record was written later than the records after it. So a time in a file counts at most as the latest
time at which the file's last record can have been written (`believed`).
"""

from __future__ import annotations

from bisect import bisect_left
from functools import partial

from transit.format.record import Chunk
from transit.lineage.spans import Span
from transit.log.catalog import Catalog, StreamState, View
from transit.log.clock import EARLIEST, LATEST, believed
from transit.log.wal import Wal
from transit.replay import spans_between


def offset_at(catalog: Catalog, state: StreamState, time: int, stop: int) -> int:
    """The first offset before `stop` of a record written at `time` or later; else `stop`."""
    search = _Search(catalog, time)
    for span in spans_between(catalog, state, min(state.gone, stop), stop):
        found = search.first_in(span)
        if found is not None:
            return span.first + found - span.origin
    return stop


class _Search:
    """One search, in the files there are when it begins."""

    def __init__(self, catalog: Catalog, time: int) -> None:
        self._catalog = catalog
        self._time = time
        segments, wals = catalog.view
        self._view = View(segments, tuple(wal for wal in wals if wal.begun != EARLIEST))
        times = [segment.ref.written for segment in segments]
        times += [(wal.begun, wal.written) for wal in self._view.wals]
        names = [segment.path for segment in segments] + [wal.path for wal in self._view.wals]
        # How late the last record of each file was written, at most.
        self._latest = dict(zip(names, believed(times, LATEST), strict=True))

    def first_in(self, span: Span) -> int | None:
        """The first own offset within `span` of a record written at the time or later."""
        found = self._first_sealed(span)
        return self._first_in_wals(span) if found is None else found

    def _first_sealed(self, span: Span) -> int | None:
        start, stop = span.origin, span.origin + span.count
        for segment, rows in self._catalog.sealed_rows(span.stream, start, stop):
            # One that was sealed meanwhile is met as the WAL it was made from.
            latest, written = self._latest.get(segment.path, EARLIEST), segment.index.last_written
            if min(written[rows[-1]], latest) >= self._time:
                row = bisect_left(written, self._time, rows.start, rows.stop)
                return self._place_in(segment.chunk(row), start, stop)
        return None

    def _first_in_wals(self, span: Span) -> int | None:
        stream, start, stop = span.stream, span.origin, span.origin + span.count
        for wal in self._view.wals:
            if stream not in wal.index:
                continue
            rows = range(max(wal.row_of(stream, start), 0), wal.row_of(stream, stop - 1) + 1)
            if not rows:
                continue
            last_written = partial(_last_written, wal, stream)
            if min(last_written(rows[-1]), self._latest[wal.path]) >= self._time:
                row = rows[bisect_left(rows, self._time, key=last_written)]
                return self._place_in(wal.chunk(stream, row), start, stop)
        return None

    def _place_in(self, chunk: Chunk, start: int, stop: int) -> int | None:
        found = max(chunk.first + bisect_left(chunk.written, self._time), start)
        return found if found < stop else None


def _last_written(wal: Wal, stream: int, row: int) -> int:
    return wal.chunk(stream, row).last_written
