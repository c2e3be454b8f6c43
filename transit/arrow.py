"""Columns of a chunk as Arrow arrays, made from the chunk's bytes without a Python object a record.

Owns the names and types of the columns. Payload bytes are not copied; what is stored as differences
or sizes is summed by Arrow. Positions in the bytes are checked first, so Arrow never reads beyond.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    # Loaded here because pyarrow is an extra and slow to load.
    import pyarrow as pa

    made = _Columns(chunk, places, first)
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
    return pa.record_batch([makers[name]() for name in columns], names=list(columns))


class _Columns:
    """One chunk's columns, cut to the places asked for."""

    def __init__(self, chunk: Chunk, places: range, first: int) -> None:
        # Loaded here because pyarrow is an extra and slow to load.
        import pyarrow as pa

        # Loaded here too: it is not loaded with the rest.
        import pyarrow.compute as pc

        self._pa, self._pc = pa, pc
        self._chunk = chunk
        self._start, self._count = places.start, len(places)
        self._first = first

    def numbers(self, first: int) -> Any:
        """`first` and on, int64."""
        return self._sums(self._pa.repeat(self._int64(1), self._count), first - 1)

    def timestamps(self) -> Any:
        """Nanoseconds, UTC."""
        pa, chunk = self._pa, self._chunk
        kind = pa.timestamp("ns", tz="UTC")
        (at, width), first = chunk._times_at, chunk._time_first
        if not width:
            return pa.repeat(self._int64(first), self._count).view(kind)
        if width == 8:
            stored = first.to_bytes(8, "little", signed=True) + self._bytes(at, chunk.count - 1, 8)
            times = self._array(stored, 8, chunk.count, signed=True)
        else:
            # The first differs by nothing from itself.
            stored = bytes(width) + self._bytes(at, chunk.count - 1, width)
            times = self._sums(self._array(stored, width, chunk.count, signed=True), first)
        return times.view(kind).slice(self._start, self._count)

    def written(self) -> Any:
        """Nanoseconds, UTC, by the engine's clock."""
        pa, chunk = self._pa, self._chunk
        kind = pa.timestamp("ns", tz="UTC")
        if chunk.written_is_timestamp:
            return self.timestamps()
        if chunk.written_at(0) == chunk.last_written:
            return pa.repeat(self._int64(chunk.last_written), self._count).view(kind)
        return pa.array(chunk.written[self._start : self._start + self._count], kind)

    def payloads(self) -> Any:
        """The bytes as they lie, large_binary."""
        pa, chunk = self._pa, self._chunk
        at, width = chunk._sizes_at
        if width:
            stored = bytes(width) + self._bytes(at, chunk.count, width)
            ends = self._sums(self._array(stored, width, chunk.count + 1, signed=False), 0)
        else:
            size = chunk.payload_bytes // chunk.count
            ends = self._sums(pa.repeat(self._int64(size), chunk.count + 1), -size)
        if ends[-1].as_py() != chunk.payload_bytes:
            raise CorruptError(
                "chunk", expected=f"{chunk.payload_bytes} bytes of payloads", found=str(ends[-1])
            )
        data = memoryview(chunk.data)[chunk.payloads_at : chunk.payloads_at + chunk.payload_bytes]
        buffers = [None, ends.buffers()[1], pa.py_buffer(data)]
        whole = pa.Array.from_buffers(pa.large_binary(), chunk.count, buffers)
        return whole.slice(self._start, self._count)

    def headers(self) -> Any:
        """Maps of text to text; each different one is made once."""
        pa, chunk = self._pa, self._chunk
        kind = pa.map_(pa.string(), pa.string())
        entries = chunk._header_entries()
        if entries is None:
            one = pa.array([list(chunk.header(self._start).items())], kind)
            return one.take(pa.repeat(self._int64(0), self._count))
        entries = entries[self._start : self._start + self._count]
        place_of = {entry: place for place, entry in enumerate(entries, self._start)}
        row_of = {entry: row for row, entry in enumerate(place_of)}
        table = pa.array([list(chunk.header(at).items()) for at in place_of.values()], kind)
        if len(row_of) == 1:
            return table.take(pa.repeat(self._int64(0), self._count))
        return table.take(pa.array(list(map(row_of.__getitem__, entries)), pa.int64()))

    def one_name(self, name: str) -> Any:
        """The same name for all, dictionary."""
        pa = self._pa
        zeros = pa.repeat(pa.scalar(0, pa.int32()), self._count)
        return pa.DictionaryArray.from_arrays(zeros, pa.array([name], pa.string()))

    def _int64(self, value: int) -> Any:
        return self._pa.scalar(value, self._pa.int64())

    def _bytes(self, at: int, count: int, width: int) -> bytes:
        return self._chunk.data[at : at + count * width]

    def _array(self, stored: bytes, width: int, count: int, *, signed: bool) -> Any:
        """Little-endian numbers of `width` bytes as int64."""
        pa = self._pa
        kind = pa.type_for_alias(f"{'' if signed else 'u'}int{8 * width}")
        return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(stored)]).cast(pa.int64())

    def _sums(self, values: Any, start: int) -> Any:
        return self._pc.cumulative_sum(values, start=self._int64(start))
