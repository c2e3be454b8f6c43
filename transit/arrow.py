"""Columns of a chunk as Arrow arrays, made from the chunk's bytes without a Python object a record.

Owns the names and types of the columns. Payload bytes are not copied; what is stored as differences
or sizes is summed by Arrow. Positions in the bytes are checked first, so Arrow never reads beyond.

A batch has a thousand records or so, and Arrow's functions take a few microseconds for these. What
`pyarrow.compute` does around a function takes longer, so functions are called by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from transit.errors import CorruptError, InvalidInputError
from transit.format.record import Chunk

if TYPE_CHECKING:
    import pyarrow

COLUMNS: Final = (
    "offset", "timestamp", "payload", "headers", "origin_stream", "origin_offset",
    "written", "writer",
)  # fmt: skip


def check_columns(columns: Sequence[str] | None) -> Sequence[str]:
    """The columns asked for, all when None; `InvalidInputError` for one there is not."""
    if columns is None:
        return COLUMNS
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise InvalidInputError(f"columns must be a sequence of names, not {columns!r}")
    for name in columns:
        if name not in COLUMNS:
            raise InvalidInputError(f"no column {name!r}; there are: {', '.join(COLUMNS)}")
    return columns


def record_batch(
    chunk: Chunk, places: range, first: int, stream: str, columns: Sequence[str]
) -> pyarrow.RecordBatch:
    """The records at `places` of a chunk, of which the first is shown at offset `first`.

    stream: where they were appended. columns: as `check_columns` passes them.
    """
    arrow = _arrow()
    made = _Columns(arrow, chunk, places)
    makers: dict[str, Callable[[], Any]] = {
        "offset": lambda: made.numbers(first),
        "timestamp": made.timestamps,
        "payload": made.payloads,
        "headers": made.headers,
        "origin_stream": lambda: made.one_name(stream),
        "origin_offset": lambda: made.numbers(chunk.first + places.start),
        "written": made.written,
        "writer": lambda: made.one_name(chunk.writer),
    }
    return arrow.pa.record_batch([makers[name]() for name in columns], names=list(columns))


# Up to here, `0, 1, 2, …` is made once and kept: half a megabyte.
_COUNTED_MAX: Final = 65_536


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
        self._starting = pc.CumulativeOptions
        self._counted = self._count_to(_COUNTED_MAX)

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
        """The first `count` multiples of `step`, from 0 on, int64."""
        return self._multiply.call([self._up_to(count), self.int64(step)])

    def numbers(self, stored: bytes, width: int, count: int, *, signed: bool) -> Any:
        """Little-endian numbers of `width` bytes as int64."""
        buffers = [None, self.pa.py_buffer(stored)]
        found = self.pa.Array.from_buffers(self._kinds[width, signed], count, buffers)
        return found if width == 8 else self._cast.call([found], self._to_int64)

    def sums(self, values: Any, start: int) -> Any:
        """The sum of `start` and each number with all before it."""
        return self._sum.call([values], self._starting(start=self.int64(start)))

    def _up_to(self, count: int) -> Any:
        if count <= _COUNTED_MAX:
            return self._counted.slice(0, count)
        return self._count_to(count)

    def _count_to(self, count: int) -> Any:
        return self.sums(self.equal(1, count), -1)


@cache
def _arrow() -> _Arrow:
    return _Arrow()


class _Columns:
    """One chunk's columns, cut to the places asked for."""

    def __init__(self, arrow: _Arrow, chunk: Chunk, places: range) -> None:
        self._arrow = arrow
        self._chunk = chunk
        self._start, self._count = places.start, len(places)

    def numbers(self, first: int) -> Any:
        """`first` and on, int64."""
        return self._arrow.counted(first, self._count)

    def timestamps(self) -> Any:
        """Nanoseconds, UTC."""
        arrow, chunk = self._arrow, self._chunk
        (at, width), first = chunk._times_at, chunk._time_first
        if not width:
            return arrow.equal(first, self._count).view(arrow.time)
        if width == 8:
            stored = first.to_bytes(8, "little", signed=True) + self._bytes(at, chunk.count - 1, 8)
            times = arrow.numbers(stored, 8, chunk.count, signed=True)
        else:
            # The first differs by nothing from itself.
            stored = bytes(width) + self._bytes(at, chunk.count - 1, width)
            times = arrow.sums(arrow.numbers(stored, width, chunk.count, signed=True), first)
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
        pa, chunk = self._arrow.pa, self._chunk
        data = memoryview(chunk.data)[chunk.payloads_at : chunk.payloads_at + chunk.payload_bytes]
        buffers = [None, self._payload_ends().buffers()[1], pa.py_buffer(data)]
        return self._cut(pa.Array.from_buffers(pa.large_binary(), chunk.count, buffers))

    def _payload_ends(self) -> Any:
        """Where the first payload starts and each ends, counted from the first payload byte."""
        arrow, chunk = self._arrow, self._chunk
        at, width = chunk._sizes_at
        if not width:
            # They add up: a chunk is not decoded otherwise.
            return arrow.steps(chunk.payload_bytes // chunk.count, chunk.count + 1)
        stored = bytes(width) + self._bytes(at, chunk.count, width)
        ends = arrow.sums(arrow.numbers(stored, width, chunk.count + 1, signed=False), 0)
        if ends[-1].as_py() != chunk.payload_bytes:
            raise CorruptError(
                "chunk", expected=f"{chunk.payload_bytes} bytes of payloads", found=str(ends[-1])
            )
        return ends

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

    def one_name(self, name: str) -> Any:
        """The same name for all, dictionary."""
        pa = self._arrow.pa
        zeros = pa.repeat(pa.scalar(0, pa.int32()), self._count)
        return pa.DictionaryArray.from_arrays(zeros, pa.array([name], pa.string()))

    def _bytes(self, at: int, count: int, width: int) -> bytes:
        return self._chunk.data[at : at + count * width]

    def _cut(self, whole: Any) -> Any:
        if self._count == self._chunk.count:
            return whole
        return whole.slice(self._start, self._count)
