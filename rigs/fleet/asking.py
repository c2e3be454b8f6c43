"""The same question put to each engine: what is said by all parts, added up by the engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Final

import pyarrow as pa

from rigs.fleet.saying import COLUMNS, NAMES, SQL, Answers, answers, schema
from transit import fleet

Say = Callable[[Any], pa.Table]
"""What makes rows of records: `said`, or one that is killed once."""
Ask = Callable[[Any, list[fleet.Part], dict[str, Any], Say], Answers]
_ROWS: Final = 1000
_KEYS: Final = list(NAMES[:3])


def of_table(table: Any) -> Answers:
    """The answers in an Arrow table of `NAMES`."""
    return answers(zip(*(table[name].to_pylist() for name in NAMES), strict=True))


def by_python(_: Any, parts: list[fleet.Part], how: dict[str, Any], say: Say) -> Answers:
    """One process, one part after another."""
    return of_table(pa.concat_tables(say(fleet.read(part, COLUMNS, **how)) for part in parts))


def by_dask(frame: Any, parts: list[fleet.Part], how: dict[str, Any], say: Say) -> Answers:
    """A data frame of Dask."""
    import pandas as pd  # The user's, as Dask is.

    types = {pa.string(): pd.StringDtype("pyarrow")}
    meta = schema().empty_table().to_pandas(types_mapper=types.get)
    made = frame(parts, COLUMNS, **how).map_partitions(_pandas, say=say, meta=meta)
    found = made.groupby(_KEYS).agg({"value": "sum", "text": "min"}).compute().reset_index()
    return answers(found[list(NAMES)].itertuples(index=False, name=None))


def _pandas(frame: Any, *, say: Say) -> Any:
    import pandas as pd  # The user's, as Dask is.

    table = say(pa.Table.from_pandas(frame, preserve_index=False))
    return table.to_pandas(types_mapper={pa.string(): pd.StringDtype("pyarrow")}.get)


def by_ray(dataset: Any, parts: list[fleet.Part], how: dict[str, Any], say: Say) -> Answers:
    """A dataset of Ray."""
    from ray.data.aggregate import Min, Sum  # The user's.

    made = dataset(parts, COLUMNS, **how).map_batches(say, batch_format="pyarrow")
    found = made.groupby(_KEYS).aggregate(
        Sum("value", alias_name="value"), Min("text", alias_name="text")
    )
    return answers(tuple(row[name] for name in NAMES) for row in found.take_all())


def by_spark(frame: Any, parts: list[fleet.Part], how: dict[str, Any], say: Say) -> Answers:
    """SQL of Spark."""
    made = frame(parts, COLUMNS, **how)
    kinds = ", ".join(f"{name} {'long' if name == 'value' else 'string'}" for name in NAMES)
    session = made.sparkSession
    rows = session.createDataFrame(made.rdd.mapPartitions(partial(_of_rows, say=say)), kinds)
    rows.createOrReplaceTempView("said")
    return of_table(session.sql(SQL).toArrow())


def _of_rows(rows: Iterable[Any], *, say: Say) -> Iterator[tuple[Any, ...]]:
    """As Spark has records where it has no pandas: one by one."""
    waiting = iter(rows)
    while some := list(islice(waiting, _ROWS)):
        columns = dict(zip(COLUMNS, map(list, zip(*some, strict=True)), strict=True))
        columns["headers"] = [json.dumps(headers) for headers in columns["headers"]]
        columns["payload"] = [bytes(payload) for payload in columns["payload"]]
        yield from (tuple(row.values()) for row in say(pa.table(columns)).to_pylist())


def _batches(batches: Iterable[Any], *, say: Say) -> Iterator[Any]:
    for batch in batches:
        yield from say(batch).to_batches()


def stream(parts: list[fleet.Part], how: dict[str, Any], say: Say) -> Any:
    """The rows of parts, as engines that read Arrow take them."""
    return pa.RecordBatchReader.from_batches(
        schema(), _batches(fleet.scan(parts, COLUMNS, **how), say=say)
    )


def by_duckdb(_: Any, parts: list[fleet.Part], how: dict[str, Any], say: Say) -> Answers:
    """SQL of DuckDB."""
    import duckdb  # An extra.

    with duckdb.connect() as connection:
        found = connection.from_arrow(stream(parts, how, say)).query("said", SQL)
        return of_table(found.to_arrow_table())


def by_polars(_: Any, parts: list[fleet.Part], how: dict[str, Any], say: Say) -> Answers:
    """SQL of Polars."""
    import polars  # The user's.

    found = polars.DataFrame(stream(parts, how, say)).sql(SQL, table_name="said")
    return of_table(found.to_arrow())


def by_datafusion(_: Any, parts: list[fleet.Part], how: dict[str, Any], say: Say) -> Answers:
    """SQL of DataFusion."""
    from datafusion import SessionContext  # The user's.

    context = SessionContext()
    context.from_arrow(stream(parts, how, say), name="said")
    return of_table(context.sql(SQL).to_arrow_table())


ASKED: Final[dict[str, Ask]] = {
    "python": by_python,
    "dask": by_dask,
    "dask-cluster": by_dask,
    "ray": by_ray,
    "spark": by_spark,
    "duckdb": by_duckdb,
    "polars": by_polars,
    "datafusion": by_datafusion,
}
