"""Pages of tables, and of what differs between two states.

A page ends at `limit` rows, where its lines would take more than `max_bytes`, or after `SCAN` rows
that were looked at; it may be empty and still say where to go on. Where it goes on is text that
holds the offset and the place of the last row, so that all pages are of one state.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from transit import InvalidInputError
from transit.protocol.calls import told
from transit.protocol.views import ChangedRow, TableInfo, ViewInfo
from transit.views.overlay import RowChange
from transit.views.state import State
from transit.views.tables import Table, TableState, walk
from transit.views.view import View

SCAN: Final = 65_536
BYTES_MAX: Final = 16 * 1024 * 1024
TEXT_MAX: Final = 8 * 1024
Encode = Callable[[object], bytes]


class Page(NamedTuple):
    """Lines, and what to give as `after` for more; None at the end."""

    lines: list[bytes]
    after: str | None


class Place(NamedTuple):
    """Where a page goes on: at which offset of the stream, and behind which row or change."""

    at: int
    behind: bytes | int


def after_text(at: int, behind: bytes | int) -> str:
    """A place as text."""
    return urlsafe_b64encode(msgspec.msgpack.encode((at, behind))).decode().rstrip("=")


def place_of(text: str, kind: type[bytes] | type[int]) -> Place:
    """The place that a text says; `InvalidInputError` for what is none."""
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        at, behind = msgspec.msgpack.decode(data, type=tuple[int, kind])  # type: ignore[valid-type]
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise InvalidInputError("after: not what Transit-Next said") from None
    if at < 0 or (isinstance(behind, int) and behind < 0):
        raise InvalidInputError("after: not what Transit-Next said")
    return Place(at, behind)


class Wanted(NamedTuple):
    """Which rows of a table: one key, values of fields, or a range of keys."""

    key: Any = None
    equal: Mapping[str, Any] | None = None
    start: Any = None
    stop: Any = None


def wanted_of(
    table: Table, key: str | None, where: str | None, start: str | None, stop: str | None
) -> Wanted:
    """The rows that a request names, in JSON; `InvalidInputError`."""
    ranged = start is not None or stop is not None
    if (key is not None) + (where is not None) + ranged > 1:
        raise InvalidInputError("key, where, and start with stop: one of them")
    return Wanted(
        None if key is None else _key_of(table, key, "key", whole=True),
        None if where is None else _equal_of(table, where),
        None if start is None else _key_of(table, start, "start", whole=False),
        None if stop is None else _key_of(table, stop, "stop", whole=False),
    )


def _decoded(text: str | bytes, kind: Any, what: str) -> Any:
    if len(text) > TEXT_MAX:
        raise InvalidInputError(f"{what} is longer than {TEXT_MAX} characters")
    try:
        data = text.encode() if isinstance(text, str) else text
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{what}: JSON of the field's type: {told(error)}") from None


def _types_of(table: Table) -> Mapping[str, Any]:
    return {each.name: each.type for each in msgspec.structs.fields(table.row.type)}


def _key_of(table: Table, text: str, what: str, *, whole: bool) -> Any:
    types = [_types_of(table)[field] for field in table.key]
    if table.is_single:
        value = _decoded(text, types[0], what)
        if value is None:
            raise InvalidInputError(f"{what}: no row has null as its key")
        return value
    parts = _decoded(text, list[msgspec.Raw], what)
    if not (len(parts) == len(types) if whole else 1 <= len(parts) <= len(types)):
        raise InvalidInputError(f"{what}: a list of {', '.join(table.key)}")
    return tuple(
        _decoded(bytes(part), kind, what) for part, kind in zip(parts, types, strict=False)
    )


def _equal_of(table: Table, text: str) -> Mapping[str, Any]:
    types = _types_of(table)
    given = _decoded(text, dict[str, msgspec.Raw], "where")
    for name in given:
        if name not in types:
            raise InvalidInputError(f"table {table.name} has no field {name[:64]!r}")
    if not given:
        raise InvalidInputError("where: names no field")
    return {
        name: _decoded(bytes(raw), types[name], f"where: {name}") for name, raw in given.items()
    }


def page_of(
    table: TableState,
    at: int,
    wanted: Wanted,
    behind: bytes,
    limit: int,
    bytes_max: int,
    encode: Encode,
    check: Callable[[], None],
) -> Page:
    """One page of the rows of a table in a state after `at` records."""
    if wanted.key is not None:
        row = table.get(wanted.key)
        return Page([] if row is None else [encode(plain_row(row))], None)
    lines: list[bytes] = []
    size, most = 0, min(bytes_max, BYTES_MAX)
    rows = walk(table, wanted.equal, wanted.start, wanted.stop, behind=behind)
    for looked, (place, row) in enumerate(rows):
        if looked % 256 == 0:
            check()
        if len(lines) == limit or looked == SCAN:
            return Page(lines, after_text(at, behind))
        if row is not None:
            line = encode(plain_row(row))
            size += len(line)
            if lines and size > most:
                return Page(lines, after_text(at, behind))
            lines.append(line)
        behind = place
    return Page(lines, None)


def changes_of(
    before: State,
    after: State,
    skip: int,
    limit: int,
    bytes_max: int,
    encode: Encode,
    check: Callable[[], None],
) -> Page:
    """One page of the rows that two states have otherwise, behind the first `skip` of them."""
    lines: list[bytes] = []
    size, most = 0, min(bytes_max, BYTES_MAX)
    for number, change in enumerate(before.diff(after)):
        if number % 256 == 0:
            check()
        if number < skip:
            continue
        line = encode(changed_row(change))
        size += len(line)
        if len(lines) == limit or (lines and size > most):
            return Page(lines, after_text(after.position, number))
        lines.append(line)
    return Page(lines, None)


def changed_row(change: RowChange) -> ChangedRow:
    """A change as it is sent."""
    return ChangedRow(change.table, change.key, plain_row(change.before), plain_row(change.after))


def plain_row(row: Any) -> dict[str, Any] | None:
    """A row by its fields' names, however its type would be encoded."""
    return None if row is None else msgspec.structs.asdict(row)


# Descriptions


def describe(view: View) -> ViewInfo:
    """A view as it is told of."""
    spec = view.program.spec
    tables = tuple(map(describe_table, view.program.tables))
    return ViewInfo(
        spec.name, spec.version, spec.id, spec.kind, view.persist, spec.on_error, tables
    )


def describe_table(table: Table) -> TableInfo:
    """A table as it is told of."""
    return TableInfo(
        table.name,
        table.key,
        table.row.fields,
        [each.fields for each in table.indexes if not each.is_unique],
        [each.fields for each in table.indexes if each.is_unique],
        table.auto,
        _schema_of(table.row.type),
    )


def _schema_of(row: type[msgspec.Struct]) -> Mapping[str, Any]:
    try:
        return msgspec.json.schema(row)
    except (TypeError, RuntimeError):
        # Of types that JSON Schema has no word for; the columns are told all the same.
        return {}
