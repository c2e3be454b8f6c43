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
from transit.fleet.columns import Wanted, wanted_of
from transit.fleet.planning import Part
from transit.fleet.workers import Opening, OpenKeyring, opening
from transit.views.scans.declaring import Columns


def frame(
    parts: Iterable[Part],
    columns: Sequence[str] | Columns | None = None,
    *,
    select: Sequence[str] | None = None,
    storage_options: Mapping[str, object] | None = None,
    settings: Settings | None = None,
    keyring: OpenKeyring | None = None,
) -> dd.DataFrame:
    """The records of parts as a Dask data frame, one partition a part; columns as `fleet.read`.

    Types: store, stream, origin_stream, writer `string[pyarrow]`; offset, origin_offset `int64`;
    timestamp, written `datetime64[ns, UTC]`; payload `large_binary[pyarrow]`, whose values are
    bytes; headers `string[pyarrow]`, each a JSON object. Of declared columns text is
    `string[pyarrow]`, times are `datetime64[…, UTC]`, a list is JSON in `string[pyarrow]`, and the
    others are Arrow's types, which have NULL: `int64[pyarrow]`. An empty partition has the same.
    storage_options, settings: as `transit.open` takes them. keyring: what opens it in a worker.
    These travel to the workers with each task. `InvalidInputError` for a column there is not.
    """
    wanted, how = wanted_of(columns, select), opening(storage_options, settings, keyring)
    # Dask makes no frame of nothing.
    given: list[Part | None] = [*parts] or [None]
    meta = _pandas(wanted.plain_schema().empty_table(), wanted)
    return dd.from_map(_read, given, meta=meta, label="transit", wanted=wanted, how=how)


def _read(
    part: Part | None, columns: Sequence[str] | None = None, *, wanted: Wanted, how: Opening
) -> pd.DataFrame:
    """One partition. columns: those wanted that Dask needs, where it does not need all."""
    asked = wanted if columns is None else wanted.some(columns)
    return _pandas(how.scan(part, asked).read_all(), asked)


def _pandas(table: pa.Table, wanted: Wanted) -> pd.DataFrame:
    """A table in pandas, of types that do not depend on its rows."""
    for number, field in enumerate(table.schema):
        if pa.types.is_map(field.type) or pa.types.is_list(field.type):
            # Of pandas, workers can exchange no maps and lists, and of dicts and pairs they make
            # others.
            table = table.set_column(number, field.name, _json(table.column(number)))
    return table.to_pandas(types_mapper=_extension if wanted.declared is None else _nullable)


def _json(nested: pa.ChunkedArray) -> pa.Array:
    is_map = pa.types.is_map(nested.type)
    texts = [
        None if each is None else msgspec.json.encode(dict(each) if is_map else each).decode()
        for each in nested.to_pylist()
    ]
    return pa.array(texts, pa.string())


def _extension(kind: pa.DataType) -> object:
    """The type in pandas of a type that would be `object` there, which Dask takes for text."""
    if pa.types.is_string(kind):
        return pd.StringDtype("pyarrow")
    return pd.ArrowDtype(kind) if pa.types.is_large_binary(kind) else None


def _nullable(kind: pa.DataType) -> object:
    """The type in pandas of a type that may have NULL, which others there have not."""
    if pa.types.is_timestamp(kind):
        return pd.DatetimeTZDtype(kind.unit, kind.tz)
    return _extension(kind) or pd.ArrowDtype(kind)
