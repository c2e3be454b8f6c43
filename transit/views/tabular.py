"""Rows as Arrow tables: what a query engine reads of a view."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import inspect as shapes

from transit import InvalidInputError
from transit.views.rows import RowType

if TYPE_CHECKING:
    import pyarrow

_ROWS: Final = 16_384


def arrow_of(row: RowType, rows: Iterable[Any]) -> pyarrow.Table:
    """Rows as an Arrow table, a column a field; what is no plain value is JSON text.

    `InvalidInputError` without pyarrow.
    """
    schema, batches = batches_of(row, rows)
    return _arrow().Table.from_batches(batches, schema)


def batches_of(
    row: RowType, rows: Iterable[Any], names: Collection[str] | None = None
) -> tuple[pyarrow.Schema, Iterator[pyarrow.RecordBatch]]:
    """The same, some thousands of rows at a time. names: of the columns; None: all.

    `InvalidInputError` without pyarrow.
    """
    pa = _arrow()
    kinds = {
        name: _kind(pa, info) for name, info in row.types.items() if names is None or name in names
    }
    schema = pa.schema(list(kinds.items()))

    def batches() -> Iterator[pyarrow.RecordBatch]:
        remaining = iter(rows)
        while part := list(islice(remaining, _ROWS)):
            yield _batch(pa, schema, kinds, part)

    return schema, batches()


def _arrow() -> Any:
    try:
        # Loaded here: it is an extra, and takes longer to load than all of transit.
        import pyarrow as pa
    except ImportError:
        raise InvalidInputError("Arrow needs pyarrow: pip install 'transit[arrow]'") from None
    return pa


def _batch(pa: Any, schema: Any, kinds: dict[str, Any], rows: list[Any]) -> Any:
    arrays = [
        pa.array([_value(getattr(each, name), kind, pa) for each in rows], kind)
        for name, kind in kinds.items()
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _value(value: Any, kind: Any, pa: Any) -> Any:
    if pa.types.is_temporal(kind):
        return value
    found = _plain(value)
    if pa.types.is_string(kind) and not isinstance(found, str | None):
        # Of a field with several types: each value as JSON has it.
        return str(found) if isinstance(found, int | float | bool) else found.hex()  # type: ignore[attr-defined]
    return found


def _kind(pa: Any, info: shapes.Type) -> Any:
    """The type of a column; text where a field has several types, or one that Arrow lacks."""
    if isinstance(info, shapes.Metadata):
        return _kind(pa, info.type)
    if isinstance(info, shapes.UnionType):
        kinds = {type(each) for each in info.types} - {shapes.NoneType}
        rest = [each for each in info.types if not isinstance(each, shapes.NoneType)]
        return _kind(pa, rest[0]) if len(kinds) == 1 else pa.string()
    simple = {
        shapes.BoolType: pa.bool_(),
        shapes.IntType: pa.int64(),
        shapes.FloatType: pa.float64(),
        shapes.StrType: pa.string(),
        shapes.BytesType: pa.binary(),
        shapes.DateType: pa.date32(),
    }
    if isinstance(info, shapes.DateTimeType):
        return pa.timestamp("us", tz="UTC") if info.tz else pa.timestamp("us")
    return simple.get(type(info), pa.string())


_PLAIN_KINDS: Final = (str, int, float, bool, bytes)


def _plain(value: object) -> object:
    """A value as tables of other systems hold it."""
    if value is None or isinstance(value, _PLAIN_KINDS):
        return value
    return msgspec.json.encode(value, order="deterministic").decode()
