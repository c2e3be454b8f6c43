"""Replay: a stream's history in order, across forks and merges, as records or as columns.

Owns what a reader gets: `Record`, `Batch`, `Position`. A history is spans over immutable records
(`transit.lineage.spans`); each span is read chunk by chunk, wherever its chunks are. Memory is
bounded by the chunks being read, whatever the length of the history.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from transit.arrow import check_columns, record_batch
from transit.errors import CorruptError
from transit.format.headers import NO_HEADERS
from transit.format.record import Chunk, Columns, encode_chunk, measure
from transit.guards import VIEW
from transit.lineage.spans import Span
from transit.log.catalog import Catalog, StreamState
from transit.log.gone import gone

if TYPE_CHECKING:
    import pyarrow


class Position(NamedTuple):
    """A record: the name of a stream and the record's offset in it."""

    stream: str
    offset: int


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where records come from: their stream, what to add to an offset there, and who wrote them."""

    stream: str
    shift: int
    writer: str = ""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One record as a stream shows it.

    offset: place in the stream it was read from. timestamp: UTC nanoseconds, the user's word or
    the engine's. payload: its bytes. headers: read-only mapping of text to text, empty when it has
    none. written: when it was written, UTC nanoseconds by the engine's clock. writer: who wrote it,
    "" for a process that had the store open. origin: the stream it was appended to, and its offset
    there.
    """

    offset: int
    timestamp: int
    payload: bytes
    headers: Mapping[str, str]
    source: Source
    written: int

    @property
    def writer(self) -> str:
        """Who wrote the record; "" for a process that had the store open."""
        return self.source.writer

    @property
    def origin(self) -> Position:
        """The stream the record was appended to, and its offset there."""
        return Position(self.source.stream, self.offset + self.source.shift)

    def __reduce__(self) -> tuple[object, ...]:
        # A view of a mapping cannot be pickled; the mapping can.
        fields = (self.offset, self.timestamp, self.payload, dict(self.headers))
        return _record_again, (*fields, self.source, self.written)


def _record_again(
    offset: int,
    timestamp: int,
    payload: bytes,
    headers: dict[str, str],
    source: Source,
    written: int,
) -> Record:
    kept = MappingProxyType(headers) if headers else NO_HEADERS
    return Record(offset, timestamp, payload, kept, source, written)


class Batch:
    """Consecutive records as columns, or those of them whose headers were asked for.

    `offsets` are those in the stream that was read. Nothing is copied or cut up before it is asked
    for.
    """

    __slots__ = ("_chunk", "_payloads", "_start", "_stop", "offsets", "source")

    def __init__(self, chunk: Chunk, start: int, stop: int, first: int, source: Source) -> None:
        self._chunk = chunk
        self._start = start
        self._stop = stop
        self._payloads: list[bytes] | None = None
        self.offsets: Sequence[int] = range(first, first + stop - start)
        self.source = source

    def __reduce__(self) -> tuple[object, ...]:
        # Only its own records: the chunk, and the block it lies in, may be much larger.
        data = encoded(self._chunk, self._start, self._stop)
        return _batch_again, (data, self.offsets[0], self.source)

    def __len__(self) -> int:
        """Count of records."""
        return self._stop - self._start

    @property
    def timestamps(self) -> Sequence[int]:
        """UTC nanoseconds, one a record."""
        return self._chunk.timestamps[self._start : self._stop]

    @property
    def written(self) -> Sequence[int]:
        """When each record was written, UTC nanoseconds by the engine's clock."""
        return self._chunk.written[self._start : self._stop]

    @property
    def writer(self) -> str:
        """Who wrote all of them; "" for a process that had the store open."""
        return self._chunk.writer

    @property
    def payloads(self) -> list[bytes]:
        """Payloads, one bytes object a record."""
        if self._payloads is None:
            self._payloads = self._chunk.payloads(self._start, self._stop)
        return self._payloads

    @property
    def headers(self) -> list[Mapping[str, str]]:
        """Headers, one read-only mapping a record; equal ones are the same object."""
        return list(self._chunk.headers(self._start, self._stop))

    @property
    def origins(self) -> Sequence[int]:
        """Offsets in the stream `source.stream`, where the records were appended."""
        return range(self._chunk.first + self._start, self._chunk.first + self._stop)

    @property
    def data(self) -> memoryview:
        """All payloads back to back, without a copy."""
        chunk = self._chunk
        start = chunk.payloads_at + (chunk.ends[self._start - 1] if self._start else 0)
        size = chunk.payload_bytes
        if self._stop < chunk.count:
            size = chunk.ends[self._stop - 1]
        return memoryview(chunk.data)[start : chunk.payloads_at + size]

    @property
    def ends(self) -> Sequence[int]:
        """Where each payload ends in `data`, bytes."""
        ends = self._chunk.ends[self._start : self._stop]
        if not self._start:
            return ends
        skipped = self._chunk.ends[self._start - 1]
        return [end - skipped for end in ends]

    def records(self) -> Iterator[Record]:
        """The same records, one object each."""
        chunk, start, stop = self._chunk, self._start, self._stop
        whole = stop - start == chunk.count
        return map(
            Record,
            self.offsets,
            chunk.timestamps if whole else self.timestamps,
            self.payloads,
            chunk.headers(start, stop),
            repeat(self.source),
            chunk.written if whole else self.written,
        )

    def to_arrow(self, columns: Sequence[str] | None = None) -> pyarrow.RecordBatch:
        """An Arrow record batch over the same payload bytes; needs pyarrow.

        columns: which, in this order; None: all. `InvalidInputError` for one there is not.
        offset int64, timestamp (ns, UTC), payload large_binary, headers map, origin_stream
        dictionary, origin_offset int64, written (ns, UTC), writer dictionary.
        """
        chunk, places = self._chunk, range(self._start, self._stop)
        first = chunk.first + self._start - self.source.shift
        return record_batch(chunk, places, first, self.source.stream, check_columns(columns))


def encoded(chunk: Chunk, start: int, stop: int) -> bytes:
    """The records at the places `start` to `stop` of a chunk, as a chunk of their own."""
    payloads, headers = chunk.payloads(start, stop), chunk.encoded_headers()
    if isinstance(headers, list):
        headers = headers[start:stop]
    times, written = chunk.timestamps[start:stop], chunk.written[start:stop]
    columns = Columns(payloads, measure(payloads), times, headers, written, chunk.writer)
    return b"".join(encode_chunk(chunk.stream, chunk.first + start, columns))


def _batch_again(data: bytes, first: int, source: Source) -> Batch:
    chunk = Chunk(data, 0, "a pickled batch")
    return Batch(chunk, 0, chunk.count, first, source)


def inherited(catalog: Catalog, state: StreamState) -> tuple[Span, ...]:
    """The spans of a stream before its own records."""
    spans = state.inherited
    if spans is None:
        spans = state.inherited = catalog.graph.history(state.id, state.record.start)
    return spans


def spans_between(catalog: Catalog, state: StreamState, start: int, stop: int) -> Iterator[Span]:
    """The spans of a stream's history from offset `start` to before `stop`, cut to fit."""
    own = state.record.start
    if start < min(own, stop):
        spans = inherited(catalog, state)
        place = bisect_right(spans, start, key=lambda span: span.first) - 1
        for span in spans[max(place, 0) :]:
            if span.first >= stop:
                return
            low, high = max(start, span.first), min(stop, span.stop)
            yield Span(low, span.stream, span.origin + low - span.first, high - low)
    first = max(start, own)
    if stop > first:
        yield Span(first, state.id, first, stop - first)


def batches(
    catalog: Catalog, state: StreamState, start: int, stop: int, _owner: object = None
) -> Iterator[Batch]:
    """The records from offset `start` to before `stop`, one batch a chunk.

    _owner: the object whose last reference closes the store; held until the last batch.
    `ErasedError` where records are gone, also when they go while they are read.
    """
    for span in spans_between(catalog, state, start, stop):
        source = Source(catalog.record(span.stream).name, span.origin - span.first)
        end = span.origin + span.count
        for chunk in chunks_there(catalog, state, span):
            low = max(span.origin, chunk.first)
            high = min(end, chunk.stop)
            if low - source.shift < state.gone:
                raise gone(catalog, state, low - source.shift)
            part = source if chunk.writer == source.writer else _written_by(source, chunk)
            yield Batch(chunk, low - chunk.first, high - chunk.first, low - source.shift, part)
            # The next chunk may be asked for in the middle of another call.
            catalog.order.check(VIEW)


def chunks_there(catalog: Catalog, state: StreamState, span: Span) -> Iterator[Chunk]:
    """The chunks of a span of a stream's history; `ErasedError` for one that went meanwhile."""
    end, found = span.origin + span.count, span.origin
    try:
        for chunk in catalog.chunks(span.stream, span.origin, end):
            yield chunk
            found = chunk.stop
    except CorruptError:
        if (offset := span.first + found - span.origin) < state.gone:
            raise gone(catalog, state, offset) from None
        raise


def records(
    catalog: Catalog, state: StreamState, start: int, stop: int, owner: object = None
) -> Iterator[Record]:
    """The records from offset `start` to before `stop`; owner: as `batches` holds it."""
    # No Python code runs for each record: C iterators all the way.
    found = batches(catalog, state, start, stop, owner)
    return chain.from_iterable(batch.records() for batch in found)


def _written_by(source: Source, chunk: Chunk) -> Source:
    return Source(source.stream, source.shift, chunk.writer)


def locate(catalog: Catalog, state: StreamState, offset: int) -> tuple[Chunk, Source]:
    """The chunk that holds the record at `offset`, and where its records come from.

    `ErasedError` when it is gone.
    """
    if offset < state.gone:
        raise gone(catalog, state, offset)
    if offset >= state.record.start:
        return catalog.chunk(state.id, offset), Source(state.name, 0)
    (span,) = spans_between(catalog, state, offset, offset + 1)
    source = Source(catalog.record(span.stream).name, span.origin - span.first)
    return catalog.chunk(span.stream, span.origin), source


def record_in(chunk: Chunk, source: Source, offset: int) -> Record:
    """The record at a stream's `offset`, which `locate` found in `chunk`."""
    place = offset + source.shift - chunk.first
    return Record(
        offset, chunk.timestamp(place), chunk.payload(place), chunk.header(place),
        source if chunk.writer == source.writer else _written_by(source, chunk),
        chunk.written_at(place),
    )  # fmt: skip
