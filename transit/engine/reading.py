"""Reading one stream by offsets: single records, ranges, columns, values, by headers.

Owns what a range may be, and when its end is settled: at the call. Waiting is left to the stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import overload

from transit.engine.checks import as_index
from transit.engine.codec import decode_value
from transit.engine.pieces import Piece, pieces_of
from transit.engine.times import offset_at
from transit.errors import InvalidInputError, OffsetError
from transit.format.life import ALL
from transit.handle.handle import Handle
from transit.lineage.spans import Span
from transit.log.catalog import StreamState
from transit.log.gone import first_offset, gone
from transit.opened import Opened
from transit.picking import Where, check_where, picked
from transit.replay import (
    Batch,
    Record,
    Source,
    batches,
    locate,
    record_in,
    records,
    spans_between,
)


def check_range(
    state: StreamState, count: int, start: int | None, stop: int | None
) -> tuple[int, int]:
    """The range from `start` to before `stop`, None: the head, of a stream of `count` records.

    start: None for the first record that the stream still has. `OffsetError` when it has no such
    offsets.
    """
    start = min(first_offset(state), count) if start is None else as_index(start, "start")
    stop = None if stop is None else as_index(stop, "stop")
    if not 0 <= start <= count or (stop is not None and stop < 0):
        raise OffsetError(f"{state.name}: no offsets {start} to {stop}; it has {count} records")
    return start, count if stop is None else min(stop, count)


class Readable(Opened):
    """The side of a stream that reads what is there."""

    __slots__ = ("_handle", "_source", "_state")

    def __init__(self, handle: Handle, state: StreamState) -> None:
        self._handle = handle
        self._state = state
        self._source = Source(state.name, 0)

    @overload
    def __getitem__(self, offset: int) -> Record: ...
    @overload
    def __getitem__(self, offset: slice) -> list[Record]: ...
    def __getitem__(self, offset: int | slice) -> Record | list[Record]:
        """The record at `offset`, counted from the end when negative; a list for a slice."""
        state = self._state
        count = self._handle.next_offset(state)
        if type(offset) is not int:
            if isinstance(offset, slice):
                return self._slice(offset, count)
            offset = as_index(offset, "offset")
        place = offset + count if offset < 0 else offset
        if not 0 <= place < count:
            raise OffsetError(f"{self._state.name} has no offset {offset}; it has {count} records")
        if place < state.gone:
            raise gone(self._handle.catalog, state, place)
        if place >= state.record.start:
            chunk, source = self._handle.catalog.own_chunk(state, place), self._source
        else:
            chunk, source = locate(self._handle.catalog, state, place)
        return record_in(chunk, source, place)

    def _slice(self, wanted: slice, count: int) -> list[Record]:
        try:
            start, stop, step = wanted.indices(count)
        except TypeError as error:
            raise InvalidInputError(f"{self._state.name}: {error}") from None
        if step != 1:
            raise InvalidInputError("a slice of a stream has no step")
        if wanted.start is None:
            return list(self.read(None, stop))
        return list(self.read(start, max(start, stop)))

    def __iter__(self) -> Iterator[Record]:
        return self.read()

    def read(
        self, start: int | None = None, stop: int | None = None, *, where: Where | None = None
    ) -> Iterator[Record]:
        """The records from `start` (None: `first_offset`) to before `stop`, in order.

        where: headers they must have, by key the value, or several of which one is enough.
        Where the records end is settled at the call. `OffsetError` for a negative offset or a
        start past the head; a stop past the head stops at the head. `ErasedError` for a start
        before `first_offset`, and for any record of a deleted stream.
        """
        if where is None:
            first, stop = self._range(start, stop)
            return records(self._handle.catalog, self._state, first, stop, self._handle)
        return chain.from_iterable(
            batch.records() for batch in self.batches(start, stop, where=where)
        )

    def batches(
        self, start: int | None = None, stop: int | None = None, *, where: Where | None = None
    ) -> Iterator[Batch]:
        """The same records as `read` gives, as columns, in runs as they are stored."""
        wanted = None if where is None else check_where(where)
        first, stop = self._range(start, stop)
        found = batches(self._handle.catalog, self._state, first, stop, self._handle)
        return found if wanted is None else picked(found, wanted)

    def pieces(self, start: int | None = None, stop: int | None = None) -> Iterator[Piece]:
        """The same records, cut where they lie: what readers in other processes share out.

        Each piece can be pickled, and read by `transit.read_piece` without opening the store.
        """
        first, stop = self._range(start, stop)
        return pieces_of(self._handle, self._state, first, stop)

    def spans(self, start: int = 0, stop: int | None = None) -> Iterator[Span]:
        """Where the same records were appended: runs of offsets of streams, by their ids.

        A root has one span, of its own records; branches and merges have what they inherit first.
        `Lineage.spans` tells the same by names. Reads no record, and shows those too that are gone.
        """
        count = self._handle.next_offset(self._state)
        first, stop = check_range(self._state, count, start, stop)
        return spans_between(self._handle.catalog, self._state, first, stop)

    def offset_at(self, time: int) -> int:
        """The first offset of a record written at `time` or later; the next offset if none was.

        time: UTC nanoseconds by the engine's clock (`Record.written`), whatever timestamps the
        records were given. Where the machine's clock was set back, no record counts as written
        later than the one after it. Records that are gone are left out.
        """
        time = as_index(time, "UTC nanoseconds")
        count = self._handle.next_offset(self._state)
        return offset_at(self._handle.catalog, self._state, time, count)

    def _range(self, start: int | None, stop: int | None) -> tuple[int, int]:
        state, count = self._state, self._handle.next_offset(self._state)
        first, end = check_range(state, count, start, stop)
        # A deleted stream has no record: nobody takes it for an empty one.
        lowest = 0 if start is None and state.gone == ALL and count else first
        if lowest < min(state.gone, end):
            raise gone(self._handle.catalog, state, lowest)
        return first, end

    def value(self, offset: int) -> object:
        """The value at `offset`, decoded by the stream's codec."""
        self._need_codec()
        return decode_value(self[offset])

    def values(self, start: int | None = None, stop: int | None = None) -> Iterator[object]:
        """The values from `start` to before `stop`, decoded by the stream's codec."""
        self._need_codec()
        return map(decode_value, self.read(start, stop))

    def _need_codec(self) -> None:
        if self._state.record.codec is None:
            raise InvalidInputError(f'{self._state.name} has no codec; create it with codec="json"')
