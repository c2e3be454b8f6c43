"""A state of a view: its tables as they were after so many records of one stream."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from transit import CorruptError, InvalidInputError, Stream
from transit.views.maps.keys import decode_key
from transit.views.maps.map import Map
from transit.views.overlay import RowChange
from transit.views.reducing import Program
from transit.views.tables import INDEXES, ROWS, TableState


class State:
    """The tables of a view after the first `position` records of a stream; it never changes.

    Each table is an attribute: `state.runs`. root: names all that is in them, 64 hex digits, "" for
    nothing; equal states have equal roots. applied: how many records were events, skipped: those
    that were not, since the savepoint before, with offset and reason.
    """

    def __init__(
        self,
        program: Program,
        stream: Stream,
        position: int,
        map_: Map,
        applied: int,
        skipped: tuple[tuple[int, str], ...],
    ) -> None:
        self.stream, self.position, self.applied, self.skipped = stream, position, applied, skipped
        self._program = program
        self._map = map_
        self.tables: Mapping[str, TableState] = MappingProxyType(
            {
                each.name: TableState(each, number, map_)
                for number, each in enumerate(program.tables)
            }
        )

    def __repr__(self) -> str:
        rows = ", ".join(f"{name}: {len(each)}" for name, each in self.tables.items())
        return (
            f"<transit.views.State of {self._program.spec.name!r} at "
            f"{self.stream.name!r}[:{self.position}], {rows}>"
        )

    def __getattr__(self, name: str) -> TableState:
        tables: Mapping[str, TableState] | None = self.__dict__.get("tables")
        if tables is None or name not in tables:
            raise AttributeError(f"the view has no table {name!r}")
        return tables[name]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return self.view_id == other.view_id and self._map.root == other._map.root

    def __hash__(self) -> int:
        return hash((self.view_id, self._map.root))

    @property
    def root(self) -> str:
        """The digest of all rows, indexes and numbers."""
        return self._map.root.hex()

    @property
    def view_id(self) -> str:
        """The id of the view."""
        return self._program.spec.id

    def diff(self, later: State) -> Iterator[RowChange]:
        """The rows that another state of the same view has otherwise, in the order of tables and
        keys; the work is that of the changes, whatever the size of the tables."""
        if not isinstance(later, State) or later.view_id != self.view_id:
            raise InvalidInputError("only states of one view can be compared")
        return self._changes(later)

    def _changes(self, later: State) -> Iterator[RowChange]:
        for key, before, after in self._map.diff(later._map):
            if key >= INDEXES:
                # Rows come first; indexes follow from them.
                return
            yield row_change(self._program, key, before, after)


def row_change(
    program: Program, key: bytes, before: bytes | None, after: bytes | None
) -> RowChange:
    """A change of the map that is one of a row."""
    if key[:1] != ROWS or len(key) < 2 or key[1] >= len(program.tables):
        raise CorruptError("a view's map", expected="the key of a row", found=key.hex())
    table = program.tables[key[1]]
    place = f"table {table.name}"
    values = decode_key(key[2:], place)
    if not isinstance(values, tuple):
        raise CorruptError(place, expected="a key of a row", found=key.hex())
    return RowChange(
        table.name,
        values[0] if table.is_single else values,
        None if before is None else table.row.decode(before, place),
        None if after is None else table.row.decode(after, place),
    )
