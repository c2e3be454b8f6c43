"""Records picked by their headers: which of a chunk's have them, without cutting the others.

Owns how a header is matched. A chunk has each different set of headers once: these are judged, and
the chunk's records go by them. Payloads of records that are not asked for are never touched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate, repeat
from typing import TYPE_CHECKING

from transit.errors import InvalidInputError
from transit.format.record import Chunk
from transit.replay import Batch, Record

if TYPE_CHECKING:
    import pyarrow

Where = Mapping[str, str | Collection[str]]
"""Headers that a record must have: by key the value, or the values of which it must have one."""
Wanted = Mapping[str, frozenset[str]]


def check_where(where: Where) -> Wanted:
    """What is asked for, by key; `InvalidInputError` unless text keys with text, or several."""
    if not isinstance(where, Mapping):
        raise InvalidInputError(f"where must be a mapping of headers, not {type(where).__name__}")
    wanted = {}
    for key, value in where.items():
        values = [value] if isinstance(value, str) else value
        if (
            not isinstance(key, str)
            or not isinstance(values, Collection)
            or isinstance(values, bytes | bytearray | memoryview)
            or not all(isinstance(each, str) for each in values)
        ):
            raise InvalidInputError(f"where: {key!r}: {value!r} must be text with text, or several")
        wanted[key] = frozenset(values)
    return wanted


def picked(found: Iterator[Batch], wanted: Wanted) -> Iterator[Batch]:
    """Of each of `found` the records that have the headers, where it has any."""
    for batch in found:
        places = _places(batch._chunk, batch._start, batch._stop, wanted)
        if isinstance(places, list):
            yield _Picked(batch, places)
        elif len(places) == len(batch):
            yield batch
        elif places:
            first = batch.offsets[0] + places.start - batch._start
            yield Batch(batch._chunk, places.start, places.stop, first, batch.source)


def _places(chunk: Chunk, start: int, stop: int, wanted: Wanted) -> range | list[int]:
    """Of a chunk's places `start` to `stop` those whose headers fit; a range if they can be."""
    entries = chunk._header_entries()
    if entries is None:
        return range(start, stop if _fits(chunk.header(start), wanted) else start)
    entries = entries[start:stop]
    place_of = {entry: place for place, entry in enumerate(entries, start)}
    fitting = {entry for entry, place in place_of.items() if _fits(chunk.header(place), wanted)}
    if len(fitting) in (0, len(place_of)):
        return range(start, stop if fitting else start)
    places = [place for place, entry in enumerate(entries, start) if entry in fitting]
    between = range(places[0], places[-1] + 1)
    return between if len(between) == len(places) else places


def _fits(headers: Mapping[str, str], wanted: Wanted) -> bool:
    return all(headers.get(key) in values for key, values in wanted.items())


class _Picked(Batch):
    """Some records of a batch as columns: `offsets` and `origins` have gaps."""

    __slots__ = ("_places",)

    def __init__(self, batch: Batch, places: list[int]) -> None:
        super().__init__(batch._chunk, batch._start, batch._stop, batch.offsets[0], batch.source)
        self._places = places
        shift = batch.offsets[0] - batch._start
        self.offsets: Sequence[int] = [place + shift for place in places]

    def __reduce__(self) -> tuple[object, ...]:
        start = self._start
        first = self.offsets[0] - self._places[0] + start
        whole = Batch(self._chunk, start, self._stop, first, self.source)
        return _picked_again, (whole, [place - start for place in self._places])

    def __len__(self) -> int:
        return len(self._places)

    @property
    def timestamps(self) -> Sequence[int]:
        """UTC nanoseconds, one a record."""
        return list(map(self._chunk.timestamp, self._places))

    @property
    def written(self) -> Sequence[int]:
        """When each record was written, UTC nanoseconds by the engine's clock."""
        return list(map(self._chunk.written_at, self._places))

    @property
    def payloads(self) -> list[bytes]:
        """Payloads, one bytes object a record."""
        if self._payloads is None:
            self._payloads = list(map(self._chunk.payload, self._places))
        return self._payloads

    @property
    def headers(self) -> list[Mapping[str, str]]:
        """Headers, one read-only mapping a record; equal ones are the same object."""
        return list(map(self._chunk.header, self._places))

    @property
    def origins(self) -> Sequence[int]:
        """Offsets in the stream `source.stream`, where the records were appended."""
        return [self._chunk.first + place for place in self._places]

    @property
    def data(self) -> memoryview:
        """All payloads back to back: a copy, because others lie between them."""
        return memoryview(b"".join(self.payloads))

    @property
    def ends(self) -> Sequence[int]:
        """Where each payload ends in `data`, bytes."""
        return list(accumulate(map(len, self.payloads)))

    def records(self) -> Iterator[Record]:
        """The same records, one object each."""
        return map(
            Record,
            self.offsets,
            self.timestamps,
            self.payloads,
            self.headers,
            repeat(self.source),
            self.written,
        )

    def to_arrow(self, columns: Sequence[str] | None = None) -> pyarrow.RecordBatch:
        """As `Batch.to_arrow`, of the picked records."""
        return super().to_arrow(columns).take([place - self._start for place in self._places])


def _picked_again(whole: Batch, places: list[int]) -> Batch:
    return _Picked(whole, places)
