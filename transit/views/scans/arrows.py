"""Declared columns as Arrow arrays.

Owns which Arrow type a column has, and the columns of a table for which none are declared. Loaded
when something is scanned: pyarrow is an extra, and slow to load.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

import pyarrow as pa

from transit import Batch
from transit.views.scans.decoding import RowDecoder, Values, said
from transit.views.scans.fields import ERROR, Declared, Field, Kind

TEXT: Final = pa.string()
TYPES: Final[Mapping[Kind, Any]] = {
    "text": TEXT, "json": TEXT, "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(),
    "bytes": pa.binary(), "time": pa.timestamp("us", "UTC"), "texts": pa.list_(TEXT),
    "ints": pa.list_(pa.int64()), "floats": pa.list_(pa.float64()), "bools": pa.list_(pa.bool_()),
}  # fmt: skip
_REFUSED: Final = (pa.ArrowException, ValueError, OverflowError, TypeError)


class Declaration(Protocol):
    """What a scan needs of columns.

    name: the table's name in SQL. digest: 32 hex digits, equal where the columns are; "" where no
    files are made of them. types: the columns by name, without the first three of every table,
    `_error` the last.
    """

    name: str
    digest: str
    types: Mapping[str, pa.DataType]

    def arrays(self, batches: Sequence[Batch]) -> Mapping[str, pa.Array]:
        """These columns of all records of the batches."""


class _Declared:
    """Columns that are read of JSON payloads. only: these of them; `_error` tells of no others."""

    def __init__(self, columns: Declared, only: Collection[str] | None = None) -> None:
        self.name = columns.name
        self.digest = columns.digest if only is None else ""
        self._fields = [each for each in columns.fields if only is None or each.name in only]
        self.types: Mapping[str, pa.DataType] = {
            **{field.name: TYPES[field.kind] for field in self._fields}, ERROR: TEXT,
        }  # fmt: skip
        self._decoder = RowDecoder(columns.fields, only)

    def arrays(self, batches: Sequence[Batch]) -> Mapping[str, pa.Array]:
        payloads = list(chain.from_iterable(batch.payloads for batch in batches))
        columns, wrong = self._decoder.columns(payloads)
        arrays = [
            _array(field, values, wrong)
            for field, values in zip(self._fields, columns, strict=True)
        ]
        errors = pa.nulls(len(payloads), TEXT)
        if wrong:
            errors = pa.array(map(wrong.get, range(len(payloads))), TEXT)
        return dict(zip(self.types, [*arrays, errors], strict=True))


def _array(field: Field, values: Values, wrong: dict[int, str]) -> pa.Array:
    """A column; a value that Arrow does not hold is NULL, and added to what is wrong."""
    kind = TYPES[field.kind]
    try:
        return pa.array(values, kind)
    except _REFUSED:
        pass
    for place, value in enumerate(values):
        try:
            pa.array([value], kind)
        except _REFUSED as error:
            wrong.setdefault(place, said(field.name, error))
            values[place] = None
    return pa.array(values, kind)


class _Everything:
    """What is there where nothing is declared: the header `kind`, and the payload as text."""

    name = "events"
    digest = ""
    types: Mapping[str, pa.DataType] = {"_kind": TEXT, "payload": TEXT, ERROR: TEXT}

    def arrays(self, batches: Sequence[Batch]) -> Mapping[str, pa.Array]:
        kinds = [headers.get("kind") for batch in batches for headers in batch.headers]
        errors = pa.nulls(len(kinds), TEXT)
        try:
            parts = [batch.to_arrow(["payload"]).column(0) for batch in batches]
            payloads = pa.concat_arrays([part.cast(pa.binary()).cast(TEXT) for part in parts])
        except pa.ArrowInvalid:
            payloads, errors = _texts([each for batch in batches for each in batch.payloads])
        return dict(zip(self.types, (pa.array(kinds, TEXT), payloads, errors), strict=True))


def _texts(payloads: Sequence[bytes]) -> tuple[pa.Array, pa.Array]:
    texts: list[str | None] = []
    errors: list[str | None] = []
    for payload in payloads:
        try:
            texts.append(payload.decode())
            errors.append(None)
        except UnicodeDecodeError as error:
            texts.append(None)
            errors.append(f"no UTF-8: {error.reason} at byte {error.start}")
    return pa.array(texts, TEXT), pa.array(errors, TEXT)


_EVERYTHING: Final = _Everything()


def declaration_of(columns: Declared | None) -> Declaration:
    """What a scan of these columns needs; None: of none that were declared."""
    if columns is None or not columns.fields:
        return _EVERYTHING
    found = _declared.get(columns)
    if found is None:
        found = _declared[columns] = _Declared(columns)
    return found


def some_of(columns: Declared, names: Collection[str]) -> Declaration:
    """Some of the columns that are declared: no others are decoded, and no files made of them."""
    return _Declared(columns, names)


# A decoder takes longer to make than to decode a few records.
_declared: Final[WeakKeyDictionary[Declared, Declaration]] = WeakKeyDictionary()
