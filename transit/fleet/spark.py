"""Spark 4 and later: the parts of a plan as a data frame, one partition a part.

    from transit import fleet
    from transit.fleet.spark import frame

    plan = fleet.open("s3://bucket/agents").plan()
    frame(spark, plan).groupBy("store").count().show()

Spark is the user's: `pip install pyspark`, and transit with pyarrow where its executors run. Owns
the types that columns have in Spark, and how parts get there: as JSON in the option `parts`, read
once where Spark plans; each task then has one part.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition

from transit import InvalidInputError, Settings
from transit.fleet import columns as records
from transit.fleet.columns import Wanted, wanted_of
from transit.fleet.planning import Part
from transit.fleet.times import whole_microseconds
from transit.fleet.workers import Opening, OpenKeyring, opening
from transit.views.scans.declaring import Columns

# Nanoseconds, beside the times of Spark, which have microseconds.
_EXACT: Final = {"timestamp_ns": "timestamp", "written_ns": "written"}
COLUMNS: Final = (*records.COLUMNS, *_EXACT)
"""All columns of records: those of `fleet.COLUMNS`, and timestamp_ns, written_ns, int64."""
_TIME: Final = pa.timestamp("us", tz="UTC")
_NAMES: Final = {
    pa.string(): "string", pa.int64(): "bigint", pa.float64(): "double", pa.bool_(): "boolean",
    pa.binary(): "binary", _TIME: "timestamp",
}  # fmt: skip


def frame(
    spark: SparkSession,
    parts: Iterable[Part],
    columns: Sequence[str] | Columns | None = None,
    *,
    select: Sequence[str] | None = None,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    keyring: OpenKeyring | None = None,
) -> DataFrame:
    """The records of parts as a data frame, one partition a part.

    columns: of `COLUMNS`, in this order; None: all. The others are not read, whatever is selected
    later. Types: text `string`; offsets `bigint`; timestamp, written `timestamp`, which are whole
    microseconds at or before the exact time; timestamp_ns, written_ns `bigint`, the exact time in
    UTC nanoseconds; headers `map<string,string>`; payload `binary`. Or columns that are declared,
    and select: see `fleet.read`; ints `bigint`, floats `double`, lists `array<…>`, times in
    microseconds.
    storage_options, settings: as `transit.open` takes them. keyring: what opens it in a worker.
    These travel to the executors with each task, in no option that Spark shows. The session's data
    source `transit` is from now on one that has them; frames made before keep theirs.
    `InvalidInputError` for a column there is not.
    """
    wanted = wanted_of(columns, select, COLUMNS)
    given = opening(storage_options, settings, keyring)

    class Source(TransitDataSource):
        """No process can import it, so Spark sends it, with what it has."""

        how = given
        declared = wanted.declared

    spark.dataSource.register(Source)
    options = {"parts": _text(tuple(parts)), "columns": _text(wanted.names)}
    return spark.read.format(Source.name()).options(**options).load()


class TransitDataSource(DataSource):
    """The data source `transit`, once registered. Stores are opened without credentials.

    Options: parts: a JSON list of parts, as `msgspec.json.encode` writes them. columns: a JSON list
    of names; without it, all. `InvalidInputError` for other text.
    """

    how: ClassVar[Opening] = opening(None, None, None)
    declared: ClassVar[Columns | None] = None

    @classmethod
    def name(cls) -> str:
        """What Spark calls it."""
        return "transit"

    def schema(self) -> str:
        """The columns and their types, as Spark's DDL."""
        return ", ".join(f"`{each.name}` {_ddl(each.type)}" for each in _schema(self._wanted()))

    def reader(self, schema: object) -> DataSourceReader:
        """What reads the parts."""
        parts = _decoded(self.options.get("parts", ""), "parts", tuple[Part, ...])
        return _Reader(parts, self._wanted(), self.how)

    def _wanted(self) -> Wanted:
        text = self.options.get("columns")
        names = None if text is None else _decoded(text, "columns", list[str])
        if self.declared is None:
            return wanted_of(names, known=COLUMNS)
        return wanted_of(self.declared, names)


class _Reader(DataSourceReader):
    """Reads one part a partition."""

    def __init__(self, parts: tuple[Part, ...], wanted: Wanted, how: Opening) -> None:
        self._parts, self._wanted, self._how = parts, wanted, how

    def __getstate__(self) -> dict[str, object]:
        # Spark sends the reader with every task, and the part of the task beside it.
        return {"_parts": (), "_wanted": self._wanted, "_how": self._how}

    def partitions(self) -> list[InputPartition]:
        """One a part; without parts, one of None, which Spark 4.0 does not make itself."""
        return [InputPartition(part) for part in self._parts or (None,)]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """The records of a part, in the Arrow types that Spark asks for."""
        schema, sources = _schema(self._wanted), _sources(self._wanted)
        for batch in self._how.scan(partition.value, self._wanted.some(dict.fromkeys(sources))):
            arrays = [
                _array(batch.column(source), field.type)
                for source, field in zip(sources, schema, strict=True)
            ]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _sources(wanted: Wanted) -> list[str]:
    """The columns that those of Spark are made of, one each."""
    if wanted.declared is not None:
        return [*wanted.names]
    return [_EXACT.get(name, name) for name in wanted.names]


def _schema(wanted: Wanted) -> pa.Schema:
    """The columns in the Arrow that Spark takes."""
    sources = _sources(wanted)
    stored = wanted.some(dict.fromkeys(sources)).plain_schema()
    return pa.schema(
        (name, _kind(stored.field(source).type) if name == source else pa.int64())
        for name, source in zip(wanted.names, sources, strict=True)
    )


def _kind(stored: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(stored):
        return _TIME
    return pa.binary() if pa.types.is_large_binary(stored) else stored


def _ddl(kind: pa.DataType) -> str:
    """A type as Spark calls it."""
    if pa.types.is_list(kind):
        return f"array<{_ddl(kind.value_type)}>"
    if pa.types.is_map(kind):
        return f"map<{_ddl(kind.key_type)},{_ddl(kind.item_type)}>"
    return _NAMES[kind]


def _array(found: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column as Spark asks for it."""
    return whole_microseconds(found) if pa.types.is_timestamp(kind) else found.cast(kind)


def _text(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        raise InvalidInputError("Spark takes no address whose bytes are not UTF-8") from None


def _decoded(text: str, option: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"option {option} is no JSON of {option}: {error}") from None
