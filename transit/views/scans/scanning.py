"""Scan: chosen records as Arrow, for every engine that reads Arrow.

Owns which way each run of records comes: from a columns file, where there is one or more than
`DECODED_MAX` records would have to be decoded again and again; or decoded from the log. Nothing
that was not chosen is read, but for the rest of a row group or a block.

What was chosen is settled when a scan is made. It can be read any number of times, and gives the
same rows each time, in no order that is promised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from transit import CorruptError, InvalidInputError, Log, SealedSegment
from transit.views.scans.arrows import TEXT, Declaration, declaration_of
from transit.views.scans.choosing import At, Chosen, Streams, Time, bounds_of, choose
from transit.views.scans.fields import OFFSET, STREAM, TIME, Declared
from transit.views.scans.files import (
    ColumnsFile,
    Place,
    file_name,
    merged,
    opened,
    path_of,
    present,
    taken,
)
from transit.views.scans.layout import Places, Run, layout_of
from transit.views.scans.tails import decoded, tail_of

DECODED_MAX: Final = 50_000
_FIRST: Final = (STREAM, OFFSET, TIME)
_NOWHERE: Final = Place(0, 0, 0)


class ScanPart(msgspec.Struct, frozen=True):
    """Where some of a scan's records come from.

    source: "columns": a columns file that is there; "to make": one that will be made; "sealed":
    decoded from a segment; "unsealed": decoded from what is not sealed yet. segment: its BLAKE3, 64
    hex digits, and commit: the number of the commit that added it; "" and -1 for none. streams,
    records: how many. stored_bytes: the size of the whole segment.
    """

    source: str
    segment: str
    commit: int
    streams: int
    records: int
    stored_bytes: int


class _Slice(NamedTuple):
    """Consecutive rows of a table that are shown as rows of one stream, or as they are."""

    rows: range
    run: Run


class _Sources(NamedTuple):
    """Runs by the way they come: by segment from columns files; decoded; from the tail."""

    files: Mapping[int, list[Run]]
    sealed: list[Run]
    tail: list[Run]


class Scan:
    """The chosen records, as columns; made by `scan`. Holds no file open between reads.

    Takes part in the Arrow stream protocol: whatever reads an object with `__arrow_c_stream__`
    reads a scan.
    """

    def __init__(self, log: Log, declaration: Declaration, places: Places) -> None:
        self._log = log
        self._declaration = declaration
        self._places = places
        self._layout = places.layout
        self._names: tuple[str, ...] = (*_FIRST, *declaration.types)

    def __repr__(self) -> str:
        return f"<transit.views.Scan of {len(self)} records: {', '.join(self._names)}>"

    def __len__(self) -> int:
        """Count of records."""
        return len(self._places)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return self._names

    def select(self, names: Iterable[str]) -> Scan:
        """The same records with some of the columns, in the scan's order; others are not read."""
        wanted = set(names)
        if unknown := wanted - set(self._names):
            raise InvalidInputError(
                f"no column {min(unknown)!r}; there are: {', '.join(self._names)}"
            )
        found = Scan(self._log, self._declaration, self._places)
        found._names = tuple(name for name in self._names if name in wanted)
        return found

    def lasts(self) -> Scan:
        """The last record of each stream alone, of those that have one; no others are read."""
        found = Scan(self._log, self._declaration, self._places.lasts)
        found._names = self._names
        return found

    def plan(self) -> tuple[ScanPart, ...]:
        """Where the records come from. Makes and reads nothing."""
        sources = self._sources()
        there = self._present
        parts: list[ScanPart] = []
        for number, runs in sorted(sources.files.items()):
            name = file_name(self._segment(number).digest, self._declaration)
            parts.append(self._part("columns" if name in there else "to make", number, runs))
        sealed: dict[int, list[Run]] = {}
        for run in sources.sealed:
            sealed.setdefault(run.segment, []).append(run)
        parts += (self._part("sealed", number, runs) for number, runs in sorted(sealed.items()))
        if sources.tail:
            parts.append(self._part("unsealed", -1, sources.tail))
        return tuple(parts)

    def _part(self, source: str, number: int, runs: Sequence[Run]) -> ScanPart:
        streams = len({run.stream.id for run in runs})
        records = sum(run.stop - run.first for run in runs)
        if number < 0:
            return ScanPart(source, "", -1, streams, records, 0)
        found = self._segment(number)
        return ScanPart(source, found.digest, found.commit, streams, records, found.stored_bytes)

    def _segment(self, number: int) -> SealedSegment:
        return self._layout.segments[number]

    @property
    def _present(self) -> frozenset[str]:
        if not self._declaration.digest or self._layout.is_served:
            return frozenset()
        return present(self._log)

    def _sources(self) -> _Sources:
        files: dict[int, list[Run]] = {}
        tail: list[Run] = []
        for run in self._places.runs:
            if run.segment < 0:
                tail.append(run)
            else:
                files.setdefault(run.segment, []).append(run)
        there = self._present
        missing = [
            number for number in files
            if file_name(self._segment(number).digest, self._declaration) not in there
        ]  # fmt: skip
        count = sum(run.stop - run.first for number in missing for run in files[number])
        if self._declaration.digest and count > DECODED_MAX:
            missing = []
        sealed = [run for number in missing for run in files.pop(number)]
        return _Sources(files, sealed, tail)

    # Reading

    @cached_property
    def _opened(self) -> tuple[_Sources, frozenset[str]]:
        """The sources, and which text columns all of them have as dictionaries."""
        sources = self._sources()
        few = set(self._declaration.types) | {STREAM}
        for number in sources.files:
            few &= opened(self._log, self._segment(number), self._declaration).few
        if not sources.files:
            few = {STREAM}
        return sources, frozenset(few)

    @property
    def schema(self) -> pa.Schema:
        """Its columns as Arrow's types. Makes the columns files that are not there."""
        kinds = {STREAM: pa.string(), OFFSET: pa.int64(), TIME: pa.timestamp("ns", "UTC")}
        kinds |= self._declaration.types
        kinds |= dict.fromkeys(self._opened[1], pa.dictionary(pa.int32(), TEXT))
        return pa.schema([(name, kinds[name]) for name in self._names])

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Its rows, at most some thousands at a time."""
        sources = self._opened[0]
        shape = _Shape(self.schema)
        for number, runs in sources.files.items():
            yield from self._of_file(number, runs, shape)
        for table, parts in decoded(sources.sealed, self._declaration):
            yield from shape.shown(0, table, _in_order(parts))
        for table, slices in self._tail(sources.tail):
            yield from shape.shown(0, table, slices)

    def _tail(self, runs: Sequence[Run]) -> Iterator[tuple[pa.Table, list[_Slice]]]:
        if not self._declaration.digest or self._layout.is_served:
            # Nothing is decoded that would be worth keeping, or all of the store would be kept.
            for table, parts in decoded(runs, self._declaration):
                yield table, _in_order(parts)
            return
        segments = len(self._layout.segments)
        tail = tail_of(self._log, self._declaration, segments)
        tables: dict[int, tuple[pa.Table, list[_Slice]]] = {}
        for found in tail.take(runs, segments, self._declaration):
            _, slices = tables.setdefault(id(found.table), (found.table, []))
            slices.append(_Slice(found.rows, found.run))
        for table, slices in tables.values():
            yield table, _joined(sorted(slices, key=_row_of))

    def _of_file(self, number: int, runs: Sequence[Run], shape: _Shape) -> Iterator[pa.RecordBatch]:
        file = opened(self._log, self._segment(number), self._declaration)
        slices = _joined(sorted((_slice(file, run) for run in runs), key=_row_of))
        ranges = [each.rows for each in slices]
        for first, table in file.chunks(merged(ranges), shape.stored, shape.few):
            yield from shape.shown(first, table, slices)

    def to_reader(self) -> pa.RecordBatchReader:
        """Its rows as Arrow's reader, which is read once."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.to_reader().__arrow_c_stream__(requested_schema)

    def to_arrow(self) -> pa.Table:
        """All of its rows as an Arrow table."""
        return self.to_reader().read_all()

    def to_polars(self) -> Any:
        """All of its rows as a Polars data frame; needs polars, which is not installed by us."""
        # Loaded here: who does not ask for it need not have it.
        import polars

        return polars.from_arrow(self.to_arrow())

    def register(self, context: Any, name: str | None = None) -> None:
        """Make it a table of a DataFusion `SessionContext`; name: None: the declaration's."""
        context.register_record_batches(
            self._declaration.name if name is None else name, [list(self.batches())]
        )

    def to_parquet_paths(self) -> list[str]:
        """The columns files that have its sealed records, for engines that read Parquet.

        They have the other streams of the same segments too, every row where it was appended
        (`_stream`, `_stream_id`, `_offset`): a branch's own rows alone. Records that are not sealed
        are in none: `log.seal()` first. A file may go at any time: read them soon.
        """
        if not self._declaration.digest:
            raise InvalidInputError("no columns are declared: there are no files of them")
        if self._layout.is_served:
            raise InvalidInputError("columns files are made where the store is, not here")
        numbers = dict.fromkeys(run.segment for run in self._places.runs if run.segment >= 0)
        return [path_of(self._log, self._segment(each), self._declaration) for each in numbers]


class _Shape:
    """Rows as a columns file has them, made into rows of a scan."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self.few = [field.name for field in schema if pa.types.is_dictionary(field.type)]
        # Something must be read, for rows to be counted.
        self.stored = list(schema.names) or [OFFSET]

    def shown(
        self, first: int, table: pa.Table, slices: Iterable[_Slice]
    ) -> Iterator[pa.RecordBatch]:
        """Those of the rows, of which the first has number `first`, that are in the slices."""
        end = first + table.num_rows
        own: list[_Slice] = []
        for rows, run in slices:
            if rows.start >= end:
                break
            low, high = max(rows.start, first), min(rows.stop, end)
            if low < high and run.is_own:
                own.append(_Slice(range(low - first, high - first), run))
            elif low < high:
                yield from self._rows(table.slice(low - first, high - low), run)
        if own:
            yield from self._rows(taken(table, [each.rows for each in own]), own[0].run)

    def _rows(self, part: pa.Table, run: Run) -> Iterator[pa.RecordBatch]:
        arrays = [self._column(part, field, run) for field in self._schema]
        yield from pa.Table.from_arrays(arrays, schema=self._schema).to_batches()

    def _column(self, part: pa.Table, field: pa.Field, run: Run) -> Any:
        if field.name == STREAM and not run.is_own:
            zeros = pa.repeat(pa.scalar(0, pa.int32()), part.num_rows)
            return pa.DictionaryArray.from_arrays(zeros, pa.array([run.stream.name], pa.string()))
        column = part.column(field.name)
        if field.name == OFFSET and run.shift:
            return pc.subtract(column, pa.scalar(run.shift, pa.int64()))
        if column.type == field.type:
            return column
        return column.dictionary_encode()


def _row_of(found: _Slice) -> int:
    return found.rows.start


def _slice(file: ColumnsFile, run: Run) -> _Slice:
    first, row, stop = file.places.get(run.owner, _NOWHERE)
    if run.first < first or run.stop > stop:
        # Made when some were gone, which reading tells.
        next(run.stream.batches(run.first - run.shift, run.stop - run.shift))
        raise CorruptError(
            "a columns file", expected=f"records of stream {run.owner}", found="not all of them"
        )
    row += run.first - first
    return _Slice(range(row, row + run.stop - run.first), run)


def _in_order(runs: Iterable[Run]) -> list[_Slice]:
    """Runs whose rows follow one another from row 0 on."""
    slices, row = [], 0
    for run in runs:
        count = run.stop - run.first
        slices.append(_Slice(range(row, row + count), run))
        row += count
    return _joined(slices)


def _joined(slices: Iterable[_Slice]) -> list[_Slice]:
    """Neighbours that are shown as they were appended, as one."""
    joined: list[_Slice] = []
    for each in slices:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.run.is_own
            and each.run.is_own
            and last.rows.stop == each.rows.start
        ):
            joined[-1] = _Slice(range(last.rows.start, each.rows.stop), last.run)
        else:
            joined.append(each)
    return joined


def scan(
    log: Log,
    columns: Declared | None = None,
    *,
    streams: Streams = None,
    at: At = None,
    since: Time | None = None,
    until: Time | None = None,
) -> Scan:
    """The records of some streams as columns, read when they are asked for.

    columns: made by `columns`; None: `_kind` and the payload as text. streams: a name, a pattern
    such as "run-*", a stream, or several of these; None: all of the user's.
    What was trimmed is left out.
    at: as they were: with the first so many records of each stream; as of a time; as of a commit
    ("commit:12"); or, by the name of a stream, with its first so many. since, until: from the first
    record that was written then or later, up to before the first that was; by the engine's clock,
    as `Stream.offset_at`. `InvalidInputError`, `NotFoundError`.
    """
    bounds = bounds_of(at, since, until)
    layout = layout_of(log)
    if bounds.commit >= 0 and layout.is_served:
        raise InvalidInputError("at: commits are not looked at over a connection")
    chosen = choose(log, streams, bounds)
    if not layout.is_served:
        chosen = list(map(_there, chosen))
    if bounds.commit >= 0:
        chosen = [layout.sealed_by(each, bounds.commit) for each in chosen]
    return Scan(log, declaration_of(columns), Places(layout, chosen))


def _there(chosen: Chosen) -> Chosen:
    """Without the records that were trimmed; of a deleted stream, reading says what it is."""
    first = chosen.stream.first_offset
    if first <= chosen.start or chosen.stream.deleted:
        return chosen
    return chosen._replace(start=min(first, chosen.stop))
