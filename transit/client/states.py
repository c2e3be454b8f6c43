"""States of views that a server serves: tables after so many records of a stream.

Rows are frozen structs with the fields of the view's rows; values are as MessagePack has them:
numbers, text, bytes, times, and lists and dicts of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NoReturn
from urllib.parse import quote

import msgspec

from transit import InvalidInputError, NotFoundError
from transit.client.absent import missing
from transit.client.connection import Connection, Encoded, page_of
from transit.client.link import Reply
from transit.protocol.calls import NEXT_HEADER
from transit.protocol.views import ROOT_HEADER, ROWS_HEADER, TableInfo, ViewInfo

PAGE: Final = 1_000


@lru_cache(256)
def _row_type(name: str, columns: tuple[str, ...]) -> type[msgspec.Struct]:
    fields: list[tuple[str, Any]] = [(column, Any) for column in columns]
    return msgspec.defstruct(name, fields, frozen=True)


def row_of(table: TableInfo, values: Mapping[str, Any] | None) -> Any:
    """A row of the values that were sent; None for none."""
    if values is None:
        return None
    kind = _row_type(table.name, tuple(table.columns))
    return kind(**{name: values.get(name) for name in table.columns})


def key_of(value: Any) -> Any:
    """A key as it was sent: of several fields it is a tuple."""
    return tuple(value) if isinstance(value, list) else value


class ConnectedState:
    """The tables of a served view after the first `position` records of a stream.

    Each table is an attribute: `state.runs`. Rows are asked of the server when they are looked at.
    """

    def __init__(self, connection: Connection, view: ViewInfo, stream: str, position: int) -> None:
        self.position = position
        self.view_id = view.id
        self.stream = stream
        self.tables = {
            each.name: ConnectedTable(connection, view, each, stream, position)
            for each in view.tables
        }

    def __repr__(self) -> str:
        names = ", ".join(self.tables)
        return f"<transit.client state at {self.stream!r}[:{self.position}]: {names}>"

    def __getattr__(self, name: str) -> ConnectedTable:
        tables: Mapping[str, ConnectedTable] | None = self.__dict__.get("tables")
        if tables is None or name not in tables:
            missing("State", name)
        return tables[name]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ConnectedState):
            return NotImplemented
        return (self.view_id, self.root) == (other.view_id, other.root)

    def __hash__(self) -> int:
        return hash((self.view_id, self.root))

    @property
    def root(self) -> str:
        """The digest of all rows, as the server says; "" for an empty state."""
        table = next(iter(self.tables.values()))
        return table.asked(limit=1).headers.get(ROOT_HEADER, "")


class ConnectedTable:
    """The rows of one table in one state; as `TableState` of `transit.views`."""

    def __init__(
        self, connection: Connection, view: ViewInfo, table: TableInfo, stream: str, at: int
    ) -> None:
        self._connection, self._table, self._stream, self._at = connection, table, stream, at
        self._path = f"/v1/views/{quote(view.name)}/tables/{quote(table.name)}"

    def __repr__(self) -> str:
        return f"<transit.client table {self._table.name!r} of {self._stream!r}[:{self._at}]>"

    def __getattr__(self, name: str) -> NoReturn:
        missing("TableState", name)

    def __len__(self) -> int:
        return int(self.asked(limit=1).headers.get(ROWS_HEADER, "0"))

    def get(self, key: Any) -> Any:
        """The row with this key; None where there is none. Several fields: a tuple."""
        values, _ = page_of(self.asked(key=_json(key)), dict)
        return row_of(self._table, values[0] if values else None)

    def __getitem__(self, key: Any) -> Any:
        row = self.get(key)
        if row is None:
            raise NotFoundError(f"table {self._table.name} has no row {key!r}")
        return row

    def __contains__(self, key: Any) -> bool:
        return self.get(key) is not None

    def __iter__(self) -> Iterator[Any]:
        return self._rows()

    def range(self, start: Any = None, stop: Any = None) -> Iterator[Any]:
        """The rows with keys from `start` to before `stop`, in order."""
        return self._rows(
            start=None if start is None else _json(start, is_list=len(self._table.key) > 1),
            stop=None if stop is None else _json(stop, is_list=len(self._table.key) > 1),
        )

    def where(self, **equal: Any) -> Iterator[Any]:
        """The rows whose fields have these values."""
        return self._rows(where=_json(equal)) if equal else self._rows()

    def asked(self, **query: object) -> Reply:
        """The answer to a request for rows."""
        given = {"stream": self._stream, "at": self._at, **query}
        return self._connection.get(self._path, given)

    def _rows(self, **query: object) -> Iterator[Any]:
        following: str | None = None
        while following != "":
            after = None if following is None else Encoded(following)
            reply = self.asked(limit=PAGE, after=after, **query)
            values, _ = page_of(reply, dict)
            for each in values:
                yield row_of(self._table, each)
            following = reply.headers.get(NEXT_HEADER, "")


def _json(value: Any, *, is_list: bool = False) -> str:
    given = value if not is_list or isinstance(value, tuple | list) else [value]
    try:
        return msgspec.json.encode(given).decode()
    except (TypeError, UnicodeEncodeError) as error:
        raise InvalidInputError(f"no key or value of a row: {error}") from None
