"""Result: the rows of a query.

Owns how they are iterated and shown.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa

ROWS_SHOWN: Final = 20
COLUMN_WIDTH_MAX: Final = 40
WIDTH_MAX: Final = 120
_NULL: Final = "NULL"


class Result:
    """The rows of a query, all of them in memory. Its `repr` is a table of the first of them."""

    def __init__(self, table: pa.Table) -> None:
        self._table = _with_integers(table)

    def __len__(self) -> int:
        """Count of rows."""
        return int(self._table.num_rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns' names; two may have the same."""
        return tuple(self._table.column_names)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """The rows as tuples of plain values."""
        for batch in self._table.to_batches():
            yield from zip(*map(_plain_values, batch.columns), strict=True)

    def dicts(self) -> Iterator[dict[str, Any]]:
        """The rows as dicts by column; of two columns with one name the last."""
        names = self.columns
        return (dict(zip(names, row, strict=True)) for row in self)

    def to_arrow(self) -> pa.Table:
        """The rows as an Arrow table."""
        return self._table

    def to_pandas(self) -> Any:
        """The rows as a pandas data frame; needs pandas, which is not installed by us."""
        return self._table.to_pandas()

    def __repr__(self) -> str:
        rows = list(Result(self._table.slice(0, ROWS_SHOWN)))
        numbers = [
            pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
            for kind in self._table.schema.types
        ]
        lines = _lines(self.columns, rows, numbers)
        count = "1 row" if len(self) == 1 else f"{len(self)} rows"
        shown = "" if len(self) <= ROWS_SHOWN else f", {ROWS_SHOWN} shown"
        return "\n".join((*lines, f"({count}{shown})"))


def _with_integers(table: pa.Table) -> pa.Table:
    """Sums of integers as such: the engine gives them as decimals of 38 digits."""
    for place, field in enumerate(table.schema):
        if _is_whole(field.type):
            try:
                column = table.column(place).cast(pa.int64())
            except pa.ArrowInvalid:
                # One of them is larger.
                continue
            table = table.set_column(place, field.with_type(pa.int64()), column)
    return table


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_decimal(kind)) and kind.scale == 0


def _plain_values(column: pa.Array) -> list[Any]:
    values: list[Any] = column.to_pylist()
    if _is_whole(column.type):
        return [None if value is None else int(value) for value in values]
    return values


def cell(value: object) -> str:
    """A value on one line, without characters that a terminal acts on."""
    if value is None:
        return _NULL
    text = str(value)
    return "".join(each if _is_plain(each) else _escaped(each) for each in text)


def _is_plain(character: str) -> bool:
    return character.isprintable()


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _lines(
    names: tuple[str, ...], rows: list[tuple[Any, ...]], numbers: list[bool]
) -> Iterator[str]:
    cells = [[_cut(cell(name)) for name in names]]
    cells += [[_cut(cell(value)) for value in row] for row in rows]
    widths = [max(_width(row[place]) for row in cells) for place in range(len(names))]
    total, shown = 0, 0
    for width in widths:
        total += width + 2
        if shown and total > WIDTH_MAX:
            break
        shown += 1
    for number, row in enumerate(cells):
        parts = [
            _padded(row[place], widths[place], to_right=numbers[place]) for place in range(shown)
        ]
        more = "  …" if shown < len(names) else ""
        yield ("  ".join(parts) + more).rstrip()
        if not number:
            yield "  ".join("─" * width for width in widths[:shown])


def _width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1
        for each in text
    )


def _cut(text: str) -> str:
    if _width(text) <= COLUMN_WIDTH_MAX:
        return text
    kept, width = [], 0
    for each in text:
        width += _width(each)
        if width >= COLUMN_WIDTH_MAX:
            break
        kept.append(each)
    return "".join(kept) + "…"


def _padded(text: str, width: int, *, to_right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if to_right else text + space
