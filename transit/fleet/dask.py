"""Dask: the parts of a plan as a data frame, one partition a part.

    from transit import fleet
    from transit.fleet.dask import frame

    plan = fleet.open("s3://bucket/agents").plan()
    frame(plan).groupby("store")["offset"].count().compute()

Dask is the user's: `pip install 'dask[dataframe]'`. No part is read before Dask computes, and of
each only the columns that are used. Owns the types that columns have in pandas.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import dask.dataframe as dd
import msgspec
import pandas as pd
import pyarrow as pa

from transit import Settings
from transit.fleet.planning import Part
from transit.fleet.reading import check_columns
from transit.fleet.workers import Opening, OpenKeyring, opening, plain_schema


def frame(
    parts: Iterable[Part],
    columns: Sequence[str] | None = None,
    *,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    keyring: OpenKeyring | None = None,
) -> dd.DataFrame:
    """The records of parts as a Dask data frame, one partition a part; columns as `fleet.read`.

    Types: store, stream, origin_stream, writer `string[pyarrow]`; offset, origin_offset `int64`;
    timestamp, written `datetime64[ns, UTC]`; payload `large_binary[pyarrow]`, whose values are
    bytes; headers `string[pyarrow]`, each a JSON object. An empty partition has the same.
    storage_options, settings: as `transit.open` takes them. keyring: what opens it in a worker.
    These travel to the workers with each task. `InvalidInputError` for a column there is not.
    """
    names, how = check_columns(columns), opening(storage_options, settings, keyring)
    # Dask makes no frame of nothing.
    wanted: list[Part | None] = [*parts] or [None]
    meta = _pandas(plain_schema(names).empty_table())
    return dd.from_map(_read, wanted, meta=meta, label="transit", names=names, how=how)


def _read(
    part: Part | None, columns: Sequence[str] | None = None, *, names: Sequence[str], how: Opening
) -> pd.DataFrame:
    """One partition. columns: those of `names` that Dask needs, where it does not need all."""
    asked = names if columns is None else columns
    return _pandas(how.scan(part, asked).read_all())


def _pandas(table: pa.Table) -> pd.DataFrame:
    """A table in pandas, of types that do not depend on its rows."""
    for number, field in enumerate(table.schema):
        if pa.types.is_map(field.type):
            # Of pandas, workers can exchange no maps, and of dicts and pairs they make others.
            table = table.set_column(number, field.name, _json(table.column(number)))
    return table.to_pandas(types_mapper=_extension)


def _json(maps: pa.ChunkedArray) -> pa.Array:
    texts = [msgspec.json.encode(dict(pairs)).decode() for pairs in maps.to_pylist()]
    return pa.array(texts, pa.string())


def _extension(kind: pa.DataType) -> object:
    """The type in pandas of a type that would be `object` there, which Dask takes for text."""
    if pa.types.is_string(kind):
        return pd.StringDtype("pyarrow")
    return pd.ArrowDtype(kind) if pa.types.is_large_binary(kind) else None
