"""Columns of a chunk as Arrow arrays, made from the chunk's bytes without a Python object a record.

Owns the names and types of the columns. Payload bytes are not copied; what is stored as differences
or sizes is summed by Arrow. Positions in the bytes are checked first, so Arrow never reads beyond.

A batch has a thousand records or so, and Arrow's functions take a few microseconds for these. What
`pyarrow.compute` does around a function takes longer, so functions are called by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final

from transit.errors import CorruptError, InvalidInputError
from transit.format.record import Chunk

if TYPE_CHECKING:
    import pyarrow


def check_columns(columns: Sequence[str] | None) -> Sequence[str]:
    """The columns asked for, all when None; `InvalidInputError` for one there is not."""
    if columns is None:
        return COLUMNS
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise InvalidInputError(f"columns must be a sequence of names, not {columns!r}")
    for name in columns:
        if name not in _MAKERS:
            raise InvalidInputError(f"no column {name!r}; there are: {', '.join(COLUMNS)}")
    return columns


def record_batch(
    chunk: Chunk, places: range, first: int, stream: str, columns: Sequence[str]
) -> pyarrow.RecordBatch:
    """The records at `places` of a chunk, of which the first is shown at offset `first`.

    stream: where they were appended. columns: as `check_columns` passes them.
    """
    arrow = _arrow()
    made = _Columns(arrow, chunk, places, first, stream)
    return arrow.pa.record_batch([_MAKERS[name](made) for name in columns], names=list(columns))


# Up to here, `0, 1, 2, …` is made once and kept, and so are a few of its multiples: half a megabyte
# each.
_COUNTED_MAX: Final = 65_536
_MULTIPLES_KEPT: Final = 4


class _Arrow:
    """Arrow's functions and types, as far as columns need them."""

    def __init__(self) -> None:
        # Loaded here because pyarrow is an extra and slow to load.
        import pyarrow as pa

        # Loaded here too: it is not loaded with the rest.
        import pyarrow.compute as pc

        self.pa = pa
        self.time = pa.timestamp("ns", tz="UTC")
        self.headers = pa.map_(pa.string(), pa.string())
        self._int64 = pa.int64()
        self._kinds = {
            (width, signed): pa.type_for_alias(f"{'' if signed else 'u'}int{8 * width}")
            for width in (1, 2, 4, 8)
            for signed in (False, True)
        }
        self._add, self._multiply, self._cast, self._sum = map(
            pc.get_function, ("add", "multiply", "cast", "cumulative_sum")
        )
        self._to_int64 = pc.CastOptions.safe(self._int64)
        self._from_0 = pc.CumulativeOptions(start=self.int64(0))
        self._from_minus_1 = pc.CumulativeOptions(start=self.int64(-1))
        self.bytes = pa.large_binary()
        self._counted = self._count_to(_COUNTED_MAX)
        self._kept_steps = lru_cache(_MULTIPLES_KEPT)(self._new_steps)

    def int64(self, value: int) -> Any:
        """One number."""
        return self.pa.scalar(value, self._int64)

    def equal(self, value: int, count: int) -> Any:
        """`count` times the same number, int64."""
        return self.pa.repeat(self.int64(value), count)

    def counted(self, first: int, count: int) -> Any:
        """`first` and on, int64."""
        return self._add.call([self._up_to(count), self.int64(first)])

    def steps(self, step: int, count: int) -> Any:
        """A buffer of multiples of `step`, from 0 on, `count` or more, int64."""
        if count > _COUNTED_MAX:
            return self._new_steps(step, count)
        # Blocks differ a little in their counts: one buffer does for all of them.
        return self._kept_steps(step, 1 << (count - 1).bit_length())

    def _new_steps(self, step: int, count: int) -> Any:
        return self._multiply.call([self._up_to(count), self.int64(step)]).buffers()[1]

    def numbers(self, stored: bytes, width: int, count: int, *, signed: bool) -> Any:
        """Little-endian numbers of `width` bytes as int64."""
        buffers = [None, self.pa.py_buffer(stored)]
        found = self.pa.Array.from_buffers(self._kinds[width, signed], count, buffers)
        return found if width == 8 else self._cast.call([found], self._to_int64)

    def sums(self, first: int, stored: bytes, width: int, count: int, *, signed: bool) -> Any:
        """The sum of `first` and each of the stored numbers with all before it, int64.

        The first number is taken for 0. Their width is less than 8.
        """
        values = self.numbers(stored, width, count, signed=signed)
        # Arrow's own new memory, which nothing else refers to. To tell Arrow where to start takes
        # as long as half of the sums.
        memoryview(values.buffers()[1]).cast("B")[:8] = first.to_bytes(8, "little", signed=True)
        return self._sum.call([values], self._from_0)

    def _up_to(self, count: int) -> Any:
        if count <= _COUNTED_MAX:
            return self._counted.slice(0, count)
        return self._count_to(count)

    def _count_to(self, count: int) -> Any:
        return self._sum.call([self.equal(1, count)], self._from_minus_1)


@cache
def _arrow() -> _Arrow:
    return _Arrow()


class _Columns:
    """One chunk's columns, cut to the places asked for.

    The first of them is shown at offset `first`; all were appended to `stream`.
    """

    def __init__(self, arrow: _Arrow, chunk: Chunk, places: range, first: int, stream: str) -> None:
        self._arrow = arrow
        self._chunk = chunk
        self._start, self._count = places.start, len(places)
        self._first, self._stream = first, stream

    def offsets(self) -> Any:
        """`first` and on, int64."""
        return self._arrow.counted(self._first, self._count)

    def origin_offsets(self) -> Any:
        """Offsets where the records were appended, int64."""
        return self._arrow.counted(self._chunk.first + self._start, self._count)

    def timestamps(self) -> Any:
        """Nanoseconds, UTC."""
        arrow, chunk = self._arrow, self._chunk
        (at, width), first = chunk._times_at, chunk._time_first
        if not width:
            return arrow.equal(first, self._count).view(arrow.time)
        others = self._bytes(at, chunk.count - 1, width)
        if width == 8:
            stored = first.to_bytes(8, "little", signed=True) + others
            times = arrow.numbers(stored, 8, chunk.count, signed=True)
        else:
            times = arrow.sums(first, bytes(width) + others, width, chunk.count, signed=True)
        return self._cut(times.view(arrow.time))

    def written(self) -> Any:
        """Nanoseconds, UTC, by the engine's clock."""
        arrow, chunk = self._arrow, self._chunk
        if chunk.written_is_timestamp:
            return self.timestamps()
        if chunk.written_at(0) == chunk.last_written:
            return arrow.equal(chunk.last_written, self._count).view(arrow.time)
        times = chunk.written[self._start : self._start + self._count]
        return arrow.pa.array(times, arrow.time)

    def payloads(self) -> Any:
        """The bytes as they lie, large_binary."""
        arrow, chunk = self._arrow, self._chunk
        data = memoryview(chunk.data)[chunk.payloads_at : chunk.payloads_at + chunk.payload_bytes]
        buffers = [None, self._payload_ends(), arrow.pa.py_buffer(data)]
        return self._cut(arrow.pa.Array.from_buffers(arrow.bytes, chunk.count, buffers))

    def _payload_ends(self) -> Any:
        """A buffer of where the first payload starts and each ends, from the first byte on."""
        arrow, chunk = self._arrow, self._chunk
        at, width = chunk._sizes_at
        if not width:
            # They add up: a chunk is not decoded otherwise.
            return arrow.steps(chunk.payload_bytes // chunk.count, chunk.count + 1)
        stored = bytes(width) + self._bytes(at, chunk.count, width)
        ends = arrow.sums(0, stored, width, chunk.count + 1, signed=False)
        if ends[-1].as_py() != chunk.payload_bytes:
            raise CorruptError(
                "chunk", expected=f"{chunk.payload_bytes} bytes of payloads", found=str(ends[-1])
            )
        return ends.buffers()[1]

    def headers(self) -> Any:
        """Maps of text to text; each different one is made once."""
        pa, chunk, kind = self._arrow.pa, self._chunk, self._arrow.headers
        entries = chunk._header_entries()
        if entries is None:
            one = pa.array([list(chunk.header(self._start).items())], kind)
            return one.take(self._arrow.equal(0, self._count))
        entries = entries[self._start : self._start + self._count]
        place_of = {entry: place for place, entry in enumerate(entries, self._start)}
        row_of = {entry: row for row, entry in enumerate(place_of)}
        table = pa.array([list(chunk.header(at).items()) for at in place_of.values()], kind)
        if len(row_of) == 1:
            return table.take(self._arrow.equal(0, self._count))
        return table.take(pa.array(list(map(row_of.__getitem__, entries)), pa.int64()))

    def origin_streams(self) -> Any:
        """The stream they were appended to, dictionary."""
        return self._one_name(self._stream)

    def writers(self) -> Any:
        """Who wrote them, dictionary."""
        return self._one_name(self._chunk.writer)

    def _one_name(self, name: str) -> Any:
        pa = self._arrow.pa
        zeros = pa.repeat(pa.scalar(0, pa.int32()), self._count)
        return pa.DictionaryArray.from_arrays(zeros, pa.array([name], pa.string()))

    def _bytes(self, at: int, count: int, width: int) -> bytes:
        return self._chunk.data[at : at + count * width]

    def _cut(self, whole: Any) -> Any:
        if self._count == self._chunk.count:
            return whole
        return whole.slice(self._start, self._count)


_MAKERS: Final[dict[str, Callable[[_Columns], Any]]] = {
    "offset": methodcaller("offsets"),
    "timestamp": methodcaller("timestamps"),
    "payload": methodcaller("payloads"),
    "headers": methodcaller("headers"),
    "origin_stream": methodcaller("origin_streams"),
    "origin_offset": methodcaller("origin_offsets"),
    "written": methodcaller("written"),
    "writer": methodcaller("writers"),
}
COLUMNS: Final = tuple(_MAKERS)
