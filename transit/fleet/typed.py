"""Declared columns of a part: payloads decoded, or read of columns files where these are there.

Owns which way each segment of a part comes. A store in a folder keeps columns files, which queries
of `transit.views` make; a part by blocks is read from them where the folder has them for the
declared columns. A file is checked against the BLAKE3 in its name when a process first opens it,
and is found by the digest of its segment, which the part's head stands for. None is made here:
a part has some blocks of a segment, and a file has all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import pyarrow as pa

from transit import Batch, Log, Sealed, SealedSegment
from transit.fleet.columns import STORE, Wanted
from transit.fleet.planning import Part
from transit.fleet.walking import asked_of, batches_of, segments_of, wanted_of
from transit.views.scans.fields import OFFSET, STREAM, TIME
from transit.views.scans.files import ColumnsFile, taken, there

# How much is decoded at once, about.
ROWS: Final = 65_536
BYTES: Final = 32 << 20


class _Held(NamedTuple):
    """A batch, the stream that it shows, and which of its rows are asked for."""

    stream: str
    batch: Batch
    rows: range


def typed_batches(log: Log, sealed: Sealed, part: Part, wanted: Wanted) -> Iterator[pa.RecordBatch]:
    """The declared columns of a part's records, some ten thousand rows at a time."""
    # Without columns there are as many rows.
    reader = _Reader(log, sealed, part, wanted if wanted.names else wanted.some([OFFSET]))
    found = reader.of_streams() if part.by == "stream" else reader.of_blocks()
    return found if wanted.names else (batch.select([]) for batch in found)


class _Reader:
    def __init__(self, log: Log, sealed: Sealed, part: Part, wanted: Wanted) -> None:
        self._log, self._sealed, self._part, self._wanted = log, sealed, part, wanted
        self._schema = wanted.schema()
        self._decoder = wanted.decoder()

    def of_streams(self) -> Iterator[pa.RecordBatch]:
        """Of a part by streams."""
        return self._decoded(batches_of(self._sealed, self._part))

    def of_blocks(self) -> Iterator[pa.RecordBatch]:
        """Of a part by blocks: of all segments without a columns file together, then of those with
        one.
        """
        stored: list[tuple[ColumnsFile, list[range]]] = []
        yield from self._decoded(self._without_file(stored))
        for file, ranges in stored:
            yield from self._of_file(file, ranges)

    def _without_file(
        self, stored: list[tuple[ColumnsFile, list[range]]]
    ) -> Iterator[tuple[str, Batch]]:
        """The batches of segments that have no columns file; the others' files go to `stored`."""
        wanted = wanted_of(self._sealed, self._part)
        for segment, blocks in segments_of(self._sealed, self._part):
            file = self._file(segment)
            ranges = None if file is None else file.rows_of(segment.runs(blocks, wanted))
            if file is not None and ranges is not None:
                stored.append((file, ranges))
                continue
            for _, batch in segment.batches(blocks, wanted):
                yield batch.source.stream, batch

    def _file(self, segment: SealedSegment) -> ColumnsFile | None:
        # What is written when stands in no file, and what has no payload column needs none.
        if self._decoder is None or not self._part.asked.holds(*segment.written):
            return None
        declaration = self._wanted.declaration()
        return there(self._log, segment, declaration) if declaration.digest else None

    def _of_file(self, file: ColumnsFile, ranges: Sequence[range]) -> Iterator[pa.RecordBatch]:
        names = [name for name in self._schema.names if name != STORE]
        for table in file.tables(ranges, names, [STREAM]):
            for batch in table.to_batches():
                arrays = [
                    self._store(len(batch)) if name == STORE else batch.column(name)
                    for name in self._schema.names
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _decoded(self, found: Iterator[tuple[str, Batch]]) -> Iterator[pa.RecordBatch]:
        held: list[_Held] = []
        count = size = 0
        for stream, batch in found:
            rows = asked_of(batch, self._part.asked)
            if not rows:
                continue
            held.append(_Held(stream, batch, rows))
            count, size = count + len(batch), size + batch.data.nbytes
            if count >= ROWS or size >= BYTES:
                yield from self._table(held)
                held, count, size = [], 0, 0
        if held:
            yield from self._table(held)

    def _table(self, held: Sequence[_Held]) -> Iterator[pa.RecordBatch]:
        batches = [each.batch for each in held]
        arrays = {name: self._own(name, held) for name in (STREAM, OFFSET, TIME) if self._has(name)}
        if self._decoder is not None:
            arrays |= self._decoder.arrays(batches)
        if self._has(STORE):
            arrays[STORE] = self._store(sum(map(len, batches)))
        table = pa.Table.from_arrays(
            [arrays[name] for name in self._schema.names], schema=self._schema
        )
        if any(len(each.rows) < len(each.batch) for each in held):
            table = taken(table, list(_ranges(held)))
        return iter(table.to_batches())

    def _has(self, name: str) -> bool:
        return name in self._wanted.names

    def _own(self, name: str, held: Sequence[_Held]) -> pa.Array:
        """A column that is of records and not of payloads."""
        if name == STREAM:
            return _streams(held)
        of_batch = "offset" if name == OFFSET else "timestamp"
        return pa.concat_arrays([each.batch.to_arrow([of_batch]).column(0) for each in held])

    def _store(self, count: int) -> pa.Array:
        indices = pa.repeat(pa.scalar(0, pa.int32()), count)
        return pa.DictionaryArray.from_arrays(indices, pa.array([self._part.store], pa.string()))


def _streams(held: Sequence[_Held]) -> pa.Array:
    places: dict[str, int] = {}
    indices = [
        pa.repeat(
            pa.scalar(places.setdefault(each.stream, len(places)), pa.int32()), len(each.batch)
        )
        for each in held
    ]
    return pa.DictionaryArray.from_arrays(pa.concat_arrays(indices), pa.array(places, pa.string()))


def _ranges(held: Sequence[_Held]) -> Iterator[range]:
    """The rows that are asked for, of all batches one after another."""
    at = 0
    for each in held:
        yield range(at + each.rows.start, at + each.rows.stop)
        at += len(each.batch)
