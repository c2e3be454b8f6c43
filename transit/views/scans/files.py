"""Columns files: the columns of all streams of a sealed segment, as Parquet, made once.

Owns the files in `log.cache("views")`, each named by the digests of segment and declaration. A file
has the rows of all of the segment's streams, in order of stream id and offset:

    _stream_id  int64   the id of the stream they were appended to
    _stream     text    its name
    _offset     int64   the offset there
    _time       timestamp (ns, UTC)
    …           as declared, and `_error`

in row groups of at most 8,192 rows. Which rows a stream has stands in the file's metadata
(`transit.runs`: ids, first offsets and counts), so that of a stream, or of a few of its offsets,
only the row groups that hold them are read. Texts of which there are few are stored and read as
dictionaries (`transit.few`), whole numbers and times by their differences.

A file is checked against its BLAKE3 by the cache when a process first opens it. What cannot be kept
is read from memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transit import Batch, Cache, CorruptError, Log, SealedSegment, TransitError
from transit.views.scans.arrows import Declaration
from transit.views.scans.fields import OFFSET, STREAM, TIME

ROOM: Final = "views"
STREAM_ID: Final = "_stream_id"
GROUP_ROWS_MAX: Final = 8_192
# Kept in memory at once, and read at once.
CHUNK_ROWS: Final = 8 * GROUP_ROWS_MAX
# Decoded at once: so few that what they become is still in a processor's cache when it is read.
_DECODED_ROWS: Final = 2_048
# So many numbers are made sooner than a function is called.
_SHORT: Final = 64
# Few: a text comes as often as this, on average.
_FEW: Final = 4
_RUNS_KEY: Final = b"transit.runs"
_FEW_KEY: Final = b"transit.few"
_KEPT: Final = 256


class Place(NamedTuple):
    """A stream's records in a file: the first offset, the row that has it, and where they end."""

    first: int
    row: int
    stop: int


class ColumnsFile:
    """A columns file, or the same in memory; open for as long as it is referred to."""

    def __init__(self, source: Any, cached: _Known | None = None) -> None:
        self._source = source
        known = cached or _known(pq.read_metadata(source))
        self._metadata, self.places, self.few = known
        self._known = known

    @property
    def known(self) -> _Known:
        """What need not be read again of the same file."""
        return self._known

    @property
    def rows(self) -> int:
        """Count of rows."""
        return int(self._metadata.num_rows)

    def chunks(
        self, ranges: Iterable[range], names: Sequence[str], few: Sequence[str]
    ) -> Iterator[tuple[int, pa.Table]]:
        """The row groups that hold these rows, some at a time, each with its first row's number.

        ranges: of rows, in order. few: which columns to give as dictionaries.
        """
        file = pq.ParquetFile(self._source, metadata=self._metadata, read_dictionary=list(few))
        for first, groups in self._groups(ranges):
            yield first, file.read_row_groups(groups, columns=list(names), use_threads=False)

    def rows_of(self, runs: Iterable[tuple[int, range]]) -> list[range] | None:
        """The rows of these offsets of streams, given by their ids, in order of the file; None
        where it lacks some.
        """
        found: list[range] = []
        for stream_id, offsets in runs:
            place = self.places.get(stream_id)
            if place is None or not place.first <= offsets.start < offsets.stop <= place.stop:
                return None
            row = place.row - place.first
            found.append(range(row + offsets.start, row + offsets.stop))
        return merged(found)

    def tables(
        self, ranges: Sequence[range], names: Sequence[str], few: Sequence[str]
    ) -> Iterator[pa.Table]:
        """These rows alone, some at a time; arguments as of `chunks`."""
        for first, table in self.chunks(ranges, names, few):
            stop = first + table.num_rows
            within = (range(max(r.start, first), min(r.stop, stop)) for r in ranges)
            yield taken(table, [range(r.start - first, r.stop - first) for r in within if r])

    def _groups(self, ranges: Iterable[range]) -> Iterator[tuple[int, list[int]]]:
        """Row groups that follow one another, and the number of the first one's first row."""
        wanted = iter(ranges)
        rows = next(wanted, None)
        first, taken, count, start = 0, list[int](), 0, 0
        for group in range(self._metadata.num_row_groups):
            stop = start + self._metadata.row_group(group).num_rows
            while rows is not None and rows.stop <= start:
                rows = next(wanted, None)
            if rows is None:
                break
            if rows.start < stop:
                first = first if taken else start
                taken.append(group)
                count += stop - start
            if taken and (rows.start >= stop or count >= CHUNK_ROWS):
                yield first, taken
                taken, count = [], 0
            start = stop
        if taken:
            yield first, taken


class _Known(NamedTuple):
    metadata: Any
    places: dict[int, Place]
    few: frozenset[str]


def _known(metadata: Any) -> _Known:
    said = metadata.metadata or {}
    try:
        ids, firsts, counts = msgspec.json.decode(said[_RUNS_KEY], type=tuple[list[int], ...])
        few = frozenset(msgspec.json.decode(said[_FEW_KEY], type=list[str]))
    except (KeyError, ValueError) as error:
        raise CorruptError(
            "a columns file", expected="what streams it has", found=str(error)
        ) from None
    places, row = {}, 0
    for stream_id, first, count in zip(ids, firsts, counts, strict=True):
        places[stream_id] = Place(first, row, first + count)
        row += count
    return _Known(metadata, places, few)


def file_name(segment: str, declaration: Declaration) -> str:
    """The name in the cache of a segment's columns."""
    return f"{segment}-{declaration.digest}.parquet"


def present(log: Log) -> frozenset[str]:
    """The names of the columns files that are there."""
    return frozenset(log.cache(ROOM).names())


def opened(log: Log, segment: SealedSegment, declaration: Declaration) -> ColumnsFile:
    """The columns file of a segment, made where it is not there."""
    name, cache = file_name(segment.digest, declaration), log.cache(ROOM)
    return _open(cache, name) or _make(cache, name, segment, declaration)


def there(log: Log, segment: SealedSegment, declaration: Declaration) -> ColumnsFile | None:
    """The columns file of a segment where there is one; none is made."""
    return _open(log.cache(ROOM), file_name(segment.digest, declaration))


def path_of(log: Log, segment: SealedSegment, declaration: Declaration) -> str:
    """The path of a segment's columns file, made where it is not there."""
    name, cache = file_name(segment.digest, declaration), log.cache(ROOM)
    path = cache.get(name)
    return cache.put(name, encoded(segment, declaration)) if path is None else path


@lru_cache(_KEPT)
def _known_of(path: str) -> _Known:
    # The path has the digest of the bytes in it.
    return ColumnsFile(path).known


def _open(cache: Cache, name: str) -> ColumnsFile | None:
    path = cache.get(name)
    if path is None:
        return None
    try:
        # Mapped, it stays readable when another process lets it go.
        mapped = pa.memory_map(path)
    except FileNotFoundError:
        return None
    try:
        return ColumnsFile(mapped, _known_of(path))
    except FileNotFoundError:
        return ColumnsFile(mapped)


_making: Final = threading.Lock()


def _make(cache: Cache, name: str, segment: SealedSegment, declaration: Declaration) -> ColumnsFile:
    # One at a time: it costs as much as all else, and others may wait for the same file.
    with _making:
        found = _open(cache, name)
        if found is not None:
            return found
        data = encoded(segment, declaration)
        # A full disk keeps nobody from an answer.
        with suppress(TransitError):
            cache.put(name, data)
    return _open(cache, name) or ColumnsFile(pa.BufferReader(data))


def encoded(segment: SealedSegment, declaration: Declaration) -> bytes:
    """The columns file of a segment, whose blocks are read once each."""
    sink = pa.BufferOutputStream()
    _Writer(sink, declaration).write(segment.batches())
    data: bytes = sink.getvalue().to_pybytes()
    return data


class _Writer:
    def __init__(self, sink: Any, declaration: Declaration) -> None:
        self._sink = sink
        self._declaration = declaration
        self._runs: tuple[list[int], list[int], list[int]] = ([], [], [])
        self._writer: Any = None
        self._few: list[str] = []

    def write(self, found: Iterable[tuple[int, Batch]]) -> None:
        """All records of a segment, and what the metadata say of them."""
        gathered = Gathered(self._declaration)
        for stream_id, batch in found:
            self._note(stream_id, batch)
            gathered.add(stream_id, batch)
            if gathered.rows >= CHUNK_ROWS:
                self._append(gathered.table())
                gathered = Gathered(self._declaration)
        if gathered.rows or self._writer is None:
            self._append(gathered.table())
        self._writer.add_key_value_metadata({
            _RUNS_KEY: msgspec.json.encode(self._runs), _FEW_KEY: msgspec.json.encode(self._few),
        })  # fmt: skip
        self._writer.close()

    def _note(self, stream_id: int, batch: Batch) -> None:
        ids, firsts, counts = self._runs
        if ids and ids[-1] == stream_id:
            counts[-1] += len(batch)
            return
        ids.append(stream_id)
        firsts.append(batch.offsets[0])
        counts.append(len(batch))

    def _append(self, table: pa.Table) -> None:
        if self._writer is None:
            self._few = [STREAM, *_few(table, self._declaration)]
            self._writer = pq.ParquetWriter(
                self._sink, table.schema, compression="zstd", use_dictionary=self._few,
                column_encoding={
                    field.name: "DELTA_BINARY_PACKED" for field in table.schema
                    if pa.types.is_int64(field.type) or pa.types.is_timestamp(field.type)
                },
                write_statistics=[STREAM_ID, OFFSET, TIME],
            )  # fmt: skip
        self._writer.write_table(table, row_group_size=GROUP_ROWS_MAX)


class Gathered:
    """Batches as rows of one table, decoded some at a time.

    rows: how many.
    """

    def __init__(self, declaration: Declaration) -> None:
        self.rows = 0
        self._declaration = declaration
        self._decoded = 0
        self._waiting: list[tuple[int, Batch]] = []
        self._parts: list[pa.Table] = []

    def add(self, stream_id: int, batch: Batch) -> None:
        """A batch, and the id of the stream that its records were appended to."""
        self._waiting.append((stream_id, batch))
        self.rows += len(batch)
        if self.rows - self._decoded >= _DECODED_ROWS:
            self._decode()

    def table(self) -> pa.Table:
        """All of them, with the ids of their streams, as a columns file has them."""
        if self._waiting or not self._parts:
            self._decode()
        return pa.concat_tables(self._parts)

    def _decode(self) -> None:
        self._parts.append(_columns_table(self._waiting, self._declaration))
        self._waiting, self._decoded = [], self.rows


def _columns_table(found: Sequence[tuple[int, Batch]], declaration: Declaration) -> pa.Table:
    schema = pa.schema([
        (STREAM_ID, pa.int64()), (STREAM, pa.string()), (OFFSET, pa.int64()),
        (TIME, pa.timestamp("ns", "UTC")), *declaration.types.items(),
    ])  # fmt: skip
    if not found:
        return schema.empty_table()
    batches = [batch for _, batch in found]
    ids, names, offsets = _appended(found)
    times = pa.concat_arrays([each.to_arrow(["timestamp"]).column(0) for each in batches])
    columns = declaration.arrays(batches)
    arrays = [ids, names, offsets, times, *(columns[name] for name in declaration.types)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _appended(found: Sequence[tuple[int, Batch]]) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Where records were appended: ids and names of streams, offsets."""
    runs: list[tuple[int, str, range]] = []
    for stream_id, batch in found:
        origins = range(batch.origins[0], batch.origins[-1] + 1)
        if runs and runs[-1][0] == stream_id and runs[-1][2].stop == origins.start:
            origins = range(runs.pop()[2].start, origins.stop)
        runs.append((stream_id, batch.source.stream, origins))
    ids = [pa.repeat(pa.scalar(each, pa.int64()), len(offsets)) for each, _, offsets in runs]
    names = [pa.repeat(each, len(offsets)) for _, each, offsets in runs]
    offsets = [_counted(len(offsets), offsets.start) for _, _, offsets in runs]
    return pa.concat_arrays(ids), pa.concat_arrays(names), pa.concat_arrays(offsets)


def taken(table: pa.Table, ranges: Sequence[range]) -> pa.Table:
    """These rows of a table, all at once: a thousand streams have a thousand ranges."""
    if len(ranges) == 1:
        (rows,) = ranges
        return table.slice(rows.start, len(rows))
    counted = _counted(table.num_rows)
    return table.take(pa.concat_arrays([counted.slice(rows.start, len(rows)) for rows in ranges]))


def _counted(count: int, first: int = 0) -> pa.Array:
    """`first` and on, int64."""
    if count < _SHORT:
        return pa.array(range(first, first + count), pa.int64())
    return pc.cumulative_sum(pa.repeat(pa.scalar(1, pa.int64()), count), start=first - 1)


def merged(ranges: Iterable[range]) -> list[range]:
    """The same rows, each once: branches of one stream ask for the same."""
    found: list[range] = []
    for rows in ranges:
        if found and rows.start <= found[-1].stop:
            found[-1] = range(found[-1].start, max(found[-1].stop, rows.stop))
        else:
            found.append(rows)
    return found


def _few(table: pa.Table, declaration: Declaration) -> list[str]:
    """The text columns in which each text comes several times."""
    texts = [name for name, kind in declaration.types.items() if kind == pa.string()]
    return [name for name in texts if len(table.column(name).unique()) * _FEW <= table.num_rows]
