"""The `put` of a table, compiled for the type of its rows: what is done for each row written.

`look` is the part of it that looks at a row, for those who look at many before they write one.

Its checks stand in one function, one after another: to call functions for them takes longer than
they do. Encoding a row is two calls into C and the cheapest of them, and says what no look at types
can: that a text is Unicode, that a number fits into 64 bits, and how long all is. For a row of a
few bytes that is enough to know that its key and its indexes have room.

A type can be compiled whose fields are plain: text, bytes, bool, int, None, a float, or some texts
and numbers that are named; with bounds of numbers and lengths. What is found to be otherwise, here
or in a row of another type, is for the `put` that looks at any row and says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from msgspec import inspect as shapes

from transit.views.rows import ENCODER, LIMITS, RowType

Put = Callable[[Any, Any], None]
"""Of a table and a row."""
Look = Callable[[Any], bytes | None]
"""The bytes of a row; None for one that is not plainly of its type."""

_NAMES: Final[dict[type, str]] = {
    shapes.BoolType: "bool", shapes.IntType: "int", shapes.StrType: "str",
    shapes.BytesType: "bytes", shapes.FloatType: "float",
}  # fmt: skip
# Of bounds: what is compared, and how.
_BOUNDS: Final = {
    "ge": "{} >= {}", "gt": "{} > {}", "le": "{} <= {}", "lt": "{} < {}",
    "min_length": "len({}) >= {}", "max_length": "len({}) <= {}",
}  # fmt: skip
_LOOK: Final = """\
def look(row):
    if type(row) is kind:
        {names}, = values = values_of(row)
        if {tests}:
            try:
                return encode(values)
            except refused:
                pass
    return None
"""
_PUT: Final = """\
def put(self, row):
    'Set the row with this key; `InvalidInputError` for a row that is not of its type.'
    if type(row) is kind:
        {names}, = values = values_of(row)
        if {tests}:
            try:
                data = encode(values)
            except refused:
                return self._put(row)
            if len(data) > {short}:
                self._check_room({key}, row, data)
            if self._is_watched:
                self._look({key}, row)
            self._now[{key}] = row
            self._written[{key}] = data
            return
    self._put(row)
"""


def compiled_put(row: RowType, key: Sequence[str], short: int) -> Put | None:
    """The `put` of a table of such rows; None where a field is no plain value.

    key: its fields. short: bytes of a row whose key and indexes surely have room.
    """
    place, tests, known = _seen(row)
    if not tests:
        return None
    source = _PUT.format(
        names=", ".join(place.values()),
        tests=tests,
        key=place[key[0]] if len(key) == 1 else f"({', '.join(place[field] for field in key)})",
        short=short,
    )
    exec(compile(source, "<put of a table>", "exec"), known)
    put: Put = known["put"]
    return put


def compiled_look(row: RowType) -> Look | None:
    """What looks at such rows; None where a field is no plain value. It says nothing of room."""
    place, tests, known = _seen(row)
    if not tests:
        return None
    source = _LOOK.format(names=", ".join(place.values()), tests=tests)
    exec(compile(source, "<look at a row>", "exec"), known)
    look: Look = known["look"]
    return look


def _seen(row: RowType) -> tuple[dict[str, str], str, dict[str, Any]]:
    """By field what its value is called in a source, the tests, and what is known there.

    No tests where a field is no plain value. No part of the source is the user's: fields and values
    have names of their own here.
    """
    known: dict[str, Any] = {
        "kind": row.type,
        "values_of": msgspec.structs.astuple,
        "encode": ENCODER.encode,
        "refused": (TypeError, UnicodeEncodeError, OverflowError),
    }
    place = {field: f"v{at}" for at, field in enumerate(row.fields)}
    tests = [_test(name, row.types[field], known) for field, name in place.items()]
    return place, "" if None in tests else " and ".join(map(str, tests)), known


def _test(name: str, info: shapes.Type, known: dict[str, Any]) -> str | None:
    """What is true of a value that a field may have; None where no plain test says so.

    known: takes the values that are named in it.
    """
    kinds = info.types if isinstance(info, shapes.UnionType) else (info,)
    parts = [_test_of_one(name, each, known) for each in kinds]
    # A number of another type could be taken for a float.
    others = [each for each in kinds if not isinstance(each, shapes.NoneType)]
    is_mixed = len(others) > 1 and any(isinstance(each, shapes.FloatType) for each in others)
    if None in parts or is_mixed:
        return None
    return f"({' or '.join(map(str, parts))})"


def _test_of_one(name: str, info: shapes.Type, known: dict[str, Any]) -> str | None:
    if isinstance(info, shapes.NoneType):
        return f"{name} is None"
    if isinstance(info, shapes.LiteralType):
        return _test_of_some(name, info.values, known)
    kind = _NAMES.get(type(info))
    bounds = {each: limit for each in LIMITS if (limit := getattr(info, each, None)) is not None}
    if kind is None or not bounds.keys() <= _BOUNDS.keys():
        return None
    parts = [f"type({name}) is {kind}"]
    if kind == "float":
        # NaN has many encodings, of which the other way makes one.
        parts.append(f"{name} == {name}")
    for each, limit in bounds.items():
        parts.append(_BOUNDS[each].format(name, _named(limit, known)))
    return " and ".join(parts)


def _test_of_some(name: str, values: Sequence[Any], known: dict[str, Any]) -> str | None:
    """The test for one of some values, which are of one type."""
    kinds = {type(each) for each in values}
    if kinds not in ({str}, {int}):
        return None
    return (
        f"type({name}) is {kinds.pop().__name__} and {name} in {_named(frozenset(values), known)}"
    )


def _named(value: object, known: dict[str, Any]) -> str:
    name = f"c{len(known)}"
    known[name] = value
    return name
