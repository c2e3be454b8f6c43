"""A scan as DuckDB takes it: times in UTC, in microseconds, and without a time zone.

DuckDB needs an extension, and to fetch it, for times with a zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from transit import TransitError
from transit.views.scans.lasts import lasts_name
from transit.views.scans.scanning import Scan

_TIME = pa.timestamp("us")


class Feed:
    """A scan's rows as an Arrow stream, from the start each time that one is asked for.

    failed: what ended one of them early.
    """

    def __init__(self, scan: Scan) -> None:
        self._scan = scan
        self._failures: list[TransitError] = []

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of its columns."""
        return self._scan.columns

    @property
    def failed(self) -> TransitError | None:
        """What went wrong when rows were read, its own or a selection's."""
        return self._failures[0] if self._failures else None

    def select(self, names: Iterable[str]) -> Feed:
        """The same rows with some of the columns."""
        found = Feed(self._scan.select(names))
        found._failures = self._failures
        return found

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        try:
            fields = [
                field.with_type(_TIME) if pa.types.is_timestamp(field.type) else field
                for field in self._scan.schema
            ]
        except TransitError as error:
            self._failures.append(error)
            raise
        schema = pa.schema(fields)
        reader = pa.RecordBatchReader.from_batches(schema, self._batches(schema))
        return reader.__arrow_c_stream__(requested_schema)

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._scan.batches():
                # What is smaller than a microsecond is cut off.
                arrays = [
                    column if column.type == field.type else column.cast(field.type, safe=False)
                    for column, field in zip(batch.columns, schema, strict=True)
                ]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        except TransitError as error:
            self._failures.append(error)
            raise


def feeds(scans: Mapping[str, Scan]) -> dict[str, Feed]:
    """Tables of records by their names, and with each one that has the last of each stream."""
    found = {name: Feed(each) for name, each in scans.items()}
    return found | {lasts_name(name): Feed(each.lasts()) for name, each in scans.items()}
