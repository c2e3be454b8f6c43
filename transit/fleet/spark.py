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
from transit.fleet import reading
from transit.fleet.planning import Part
from transit.fleet.times import whole_microseconds
from transit.fleet.workers import Opening, OpenKeyring, opening

# Nanoseconds, beside the times of Spark, which have microseconds.
_EXACT: Final = {"timestamp_ns": "timestamp", "written_ns": "written"}
COLUMNS: Final = (*reading.COLUMNS, *_EXACT)
"""All columns: those of `fleet.COLUMNS`, and timestamp_ns, written_ns, int64."""
# In Spark, and in the Arrow that Spark takes for it.
_TEXT: Final = ("string", pa.string())
_NUMBER: Final = ("bigint", pa.int64())
_TIME: Final = ("timestamp", pa.timestamp("us", tz="UTC"))
_KINDS: Final = {
    "store": _TEXT, "stream": _TEXT, "offset": _NUMBER, "timestamp": _TIME,
    "headers": ("map<string,string>", pa.map_(pa.string(), pa.string())),
    "payload": ("binary", pa.binary()),
    "origin_stream": _TEXT, "origin_offset": _NUMBER, "written": _TIME, "writer": _TEXT,
    "timestamp_ns": _NUMBER, "written_ns": _NUMBER,
}  # fmt: skip


def frame(
    spark: SparkSession,
    parts: Iterable[Part],
    columns: Sequence[str] | None = None,
    *,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    keyring: OpenKeyring | None = None,
) -> DataFrame:
    """The records of parts as a data frame, one partition a part.

    columns: of `COLUMNS`, in this order; None: all. The others are not read, whatever is selected
    later. Types: text `string`; offsets `bigint`; timestamp, written `timestamp`, which are whole
    microseconds at or before the exact time; timestamp_ns, written_ns `bigint`, the exact time in
    UTC nanoseconds; headers `map<string,string>`; payload `binary`.
    storage_options, settings: as `transit.open` takes them. keyring: what opens it in a worker.
    These travel to the executors with each task, in no option that Spark shows. The session's data
    source `transit` is from now on one that has them; frames made before keep theirs.
    `InvalidInputError` for a column there is not.
    """
    names, given = (
        reading.check_columns(columns, COLUMNS),
        opening(storage_options, settings, keyring),
    )

    class Source(TransitDataSource):
        """No process can import it, so Spark sends it, with what it has."""

        how = given

    spark.dataSource.register(Source)
    options = {"parts": _text(tuple(parts)), "columns": _text(names)}
    return spark.read.format(Source.name()).options(**options).load()


class TransitDataSource(DataSource):
    """The data source `transit`, once registered. Stores are opened without credentials.

    Options: parts: a JSON list of parts, as `msgspec.json.encode` writes them. columns: a JSON list
    of names; without it, all. `InvalidInputError` for other text.
    """

    how: ClassVar[Opening] = opening(None, None, None)

    @classmethod
    def name(cls) -> str:
        """What Spark calls it."""
        return "transit"

    def schema(self) -> str:
        """The columns and their types, as Spark's DDL."""
        return ", ".join(f"`{name}` {_KINDS[name][0]}" for name in self._columns())

    def reader(self, schema: object) -> DataSourceReader:
        """What reads the parts."""
        parts = _decoded(self.options.get("parts", ""), "parts", tuple[Part, ...])
        return _Reader(parts, self._columns(), self.how)

    def _columns(self) -> tuple[str, ...]:
        text = self.options.get("columns")
        wanted = None if text is None else _decoded(text, "columns", list[str])
        return reading.check_columns(wanted, COLUMNS)


class _Reader(DataSourceReader):
    """Reads one part a partition."""

    def __init__(self, parts: tuple[Part, ...], names: tuple[str, ...], how: Opening) -> None:
        self._parts, self._names, self._how = parts, names, how

    def __getstate__(self) -> dict[str, object]:
        # Spark sends the reader with every task, and the part of the task beside it.
        return {"_parts": (), "_names": self._names, "_how": self._how}

    def partitions(self) -> list[InputPartition]:
        """One a part; without parts, one of None, which Spark 4.0 does not make itself."""
        return [InputPartition(part) for part in self._parts or (None,)]

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        """The records of a part, in the Arrow types that Spark asks for."""
        wanted = dict.fromkeys(_EXACT.get(name, name) for name in self._names)
        schema = pa.schema([(name, _KINDS[name][1]) for name in self._names])
        for batch in self._how.scan(partition.value, tuple(wanted)):
            arrays = [_array(batch.column(_EXACT.get(n, n)), n) for n in self._names]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _array(found: pa.Array, name: str) -> pa.Array:
    """A column as Spark asks for it."""
    kind = _KINDS[name][1]
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
