"""Tables that a reducer writes to: what changed since the last state, over that state.

Reads see the writes before them. All that one record changes is in a journal until its end, so that
a reducer that raises has changed nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from transit import AlreadyExistsError, CorruptError
from transit.views.keys import encode_key
from transit.views.map import Map
from transit.views.rows import Row
from transit.views.tables import INDEXES, NUMBERS, Table, TableState

_ABSENT: Final[Any] = object()
_LAST: Final[Any] = object()
_SEEN_MAX: Final = 50_000
Journal = list[tuple["WritableTable", Any, Any]]
Changes = dict[bytes, bytes | None]


class RowChange(NamedTuple):
    """A row that was otherwise before. before, after: None where there was none, or is none.

    key: a tuple for a key of several fields.
    """

    table: str
    key: Any
    before: Any
    after: Any


class WritableTable(TableState):
    """A table as a reducer has it: that of the state before, and what it changed."""

    def __init__(self, declared: Table, number: int, map_: Map, journal: Journal) -> None:
        super().__init__(declared, number, map_)
        self._journal = journal
        # By key: rows that were written, None for those deleted; and rows as the map has them.
        self._written: dict[Any, Row | None] = {}
        self._seen: dict[Any, Row | None] = {}
        # For each index, by its first field: keys of rows that were written. Made when it is first
        # asked for, as most reducers look rows up by their keys alone.
        self._indexed: list[dict[Any, dict[Any, None]]] | None = None
        self._is_unique = any(each.is_unique for each in declared.indexes)
        self._last = self._known_last()
        self._type = declared.row.type
        self._key_of = declared.key_of
        self.is_strict = False

    def __len__(self) -> int:
        return super().__len__() + sum(
            (row is not None) - (self._before(key) is not None)
            for key, row in self._written.items()
        )

    def get(self, key: Any) -> Any:
        """The row with this key; None where there is none. Several fields: a tuple."""
        row = self._written.get(key, _ABSENT)
        if row is _ABSENT:
            row = self._seen.get(key, _ABSENT)
        return self._before(key) if row is _ABSENT else row

    def put(self, row: Row) -> None:
        """Set the row with this key, whether there was one or not."""
        key = (
            self._key_of(row)
            if type(row) is self._type and not self.is_strict
            else self._checked(row)
        )
        if self._is_unique:
            self._check_unique(key, row)
        self._journal.append((self, key, self._written.get(key, _ABSENT)))
        if self._indexed is not None:
            self._unindex(key)
            self._enter(key, row)
        self._written[key] = row

    def _checked(self, row: Row) -> Any:
        """The key of a row; `InvalidInputError` where it cannot be written."""
        declared = self._declared
        declared.row.checked(row)
        key = self._key_of(row)
        declared.encode_key(key)
        for index in declared.indexes:
            self._index_key(index, row)
        return key

    def insert(self, row: Row) -> Row:
        """Add a row with a new key, and return it; `AlreadyExistsError` where there is one.

        Where the table numbers its rows, a key that is None becomes the next number.
        """
        declared = self._declared
        if declared.auto:
            self._declared.row.checked(row)
            row = self._numbered(row)
        if self.get(self._key_of(row)) is not None:
            raise AlreadyExistsError(f"table {declared.name} has a row {self._key_of(row)!r}")
        self.put(row)
        return row

    def delete(self, key: Any) -> bool:
        """Remove the row with this key; whether there was one."""
        if self.get(key) is None:
            return False
        self._journal.append((self, key, self._written.get(key, _ABSENT)))
        self._unindex(key)
        self._written[key] = None
        return True

    # Reading what is half in the map and half above it

    def __iter__(self) -> Iterator[Any]:
        return self.range()

    def range(self, start: Any = None, stop: Any = None) -> Iterator[Any]:
        """As `TableState.range`, with what was written."""
        below = ((self._encoded(row), row) for row in super().range(start, stop))
        kept = [(place, row) for place, row in below if self._key_of(row) not in self._written]
        low = b"" if start is None else encode_key(start if type(start) is tuple else (start,))
        high = None if stop is None else encode_key(stop if type(stop) is tuple else (stop,))
        for row in self._written.values():
            if row is not None:
                place = self._encoded(row)
                if place >= low and (high is None or place < high):
                    kept.append((place, row))
        kept.sort(key=lambda pair: pair[0])
        return iter([row for _, row in kept])

    def _candidates(self, equal: dict[str, Any]) -> Iterator[Any]:
        below = [
            row for row in super()._candidates(equal) if self._key_of(row) not in self._written
        ]
        above = [row for row in self._written_like(equal) if row is not None]
        return iter(sorted([*below, *above], key=self._encoded))

    def _written_like(self, equal: dict[str, Any]) -> Iterator[Row | None]:
        for index, found in zip(self._declared.indexes, self._by_index(), strict=True):
            if index.fields[0] in equal:
                keys = found.get(equal[index.fields[0]], ())
                return (self._written[key] for key in keys)
        return iter(self._written.values())

    def _by_index(self) -> list[dict[Any, dict[Any, None]]]:
        if self._indexed is None:
            self._indexed = [{} for _ in self._declared.indexes]
            for key, row in self._written.items():
                if row is not None:
                    self._enter(key, row)
        return self._indexed

    def _encoded(self, row: Row) -> bytes:
        return self._declared.encode_key(self._key_of(row))

    def _before(self, key: Any) -> Row | None:
        """The row as the map has it."""
        row: Row | None = self._seen.get(key, _ABSENT)
        if row is _ABSENT:
            row = self._seen[key] = super().get(key)
        return row

    # Writing

    def undo(self, key: Any, before: Any) -> None:
        """Take back a write."""
        if key is _LAST:
            self._last = before
            return
        self._unindex(key)
        if before is _ABSENT:
            del self._written[key]
            return
        self._written[key] = before
        if before is not None and self._indexed is not None:
            self._enter(key, before)

    def _unindex(self, key: Any) -> None:
        old = self._written.get(key)
        if old is None or self._indexed is None:
            return
        for index, found in zip(self._declared.indexes, self._indexed, strict=True):
            keys = found.get(index.values(old)[0])
            if keys is not None:
                keys.pop(key, None)

    def _enter(self, key: Any, row: Row) -> None:
        for index, found in zip(self._declared.indexes, self._indexed or (), strict=True):
            found.setdefault(index.values(row)[0], {})[key] = None

    def _check_unique(self, key: Any, row: Row) -> None:
        for index in self._declared.indexes:
            if not index.is_unique:
                continue
            values = index.values(row)
            if None in values:
                # As in SQL: what is not there is not the same as another that is not there.
                continue
            for other in self._candidates(dict(zip(index.fields, values, strict=True))):
                if self._key_of(other) != key and index.values(other) == values:
                    fields = ", ".join(index.fields)
                    raise AlreadyExistsError(
                        f"table {self._declared.name}: row {self._key_of(other)!r} has the same "
                        f"{fields}: {values!r:.200}"
                    )

    def _numbered(self, row: Row) -> Row:
        field = self._declared.key[0]
        number = getattr(row, field)
        self._journal.append((self, _LAST, self._last))
        if number is None:
            number = self._last + 1
            values = {each: getattr(row, each) for each in self._declared.row.fields}
            row = self._type(**{**values, field: number})
        self._last = max(self._last, number)
        return row

    def _known_last(self) -> int:
        data = self._map.get(NUMBERS + bytes([self._number])) if self._declared.auto else None
        if data is None:
            return 0
        if len(data) != 8:
            raise CorruptError(f"table {self._declared.name}", expected="8 bytes", found=repr(data))
        return int.from_bytes(data, "big", signed=True)

    def place(self, key: Any) -> tuple[int, bytes]:
        """Where a row comes in the order of all rows of a view."""
        return self._number, self._declared.encode_key(key)

    def change(self, key: Any, before: Any) -> RowChange:
        """What became of a row. before: as the journal had it first."""
        old = self._before(key) if before is _ABSENT else before
        return RowChange(self._declared.name, key, old, self._written[key])

    # The next state

    def changes(self) -> Changes:
        """What is to change in the map; `InvalidInputError` for a row that is not of its type."""
        found: Changes = {}
        declared = self._declared
        for key, row in self._written.items():
            place = declared.encode_key(key)
            data = None if row is None else declared.row.checked(row)
            found[self._prefix + place] = data
            if declared.indexes:
                self._index_changes(found, place, self._before(key), row)
        if declared.auto and self._last != self._known_last():
            last = self._last.to_bytes(8, "big", signed=True)
            found[NUMBERS + bytes([self._number])] = last
        return found

    def _index_changes(
        self, found: Changes, place: bytes, before: Row | None, row: Row | None
    ) -> None:
        for index in self._declared.indexes:
            head = INDEXES + bytes([self._number, index.number])
            old = None if before is None else self._index_key(index, before)
            new = None if row is None else self._index_key(index, row)
            if old == new:
                continue
            # Another row may have taken the place of a unique one, before this in the order.
            if old is not None and found.get(head + old, place) in (None, place):
                found[head + old] = None
            if new is not None:
                found[head + new] = place

    def _index_key(self, index: Any, row: Row) -> bytes:
        values: tuple[Any, ...] = index.values(row)
        is_alone = index.is_unique and None not in values
        return encode_key(values if is_alone else values + self._declared.parts_of(row))

    def go_on(self, map_: Map) -> None:
        """Begin anew above the state that has all changes."""
        self._map = map_
        if len(self._seen) + len(self._written) > _SEEN_MAX:
            self._seen.clear()
        self._seen.update(self._written)
        self._written = {}
        self._indexed = None


def writable(tables: Sequence[Table], map_: Map, journal: Journal) -> list[WritableTable]:
    """The tables of a view over a state, to be written to."""
    return [WritableTable(each, number, map_, journal) for number, each in enumerate(tables)]


def flushed(tables: Sequence[WritableTable], map_: Map) -> Map:
    """The map that has all changes; `InvalidInputError` for a row that cannot be written."""
    changes: Changes = {}
    for each in tables:
        changes.update(each.changes())
    if changes:
        map_ = map_.edit(changes)
    for each in tables:
        each.go_on(map_)
    return map_


def changes_of(journal: Journal) -> list[RowChange]:
    """What a journal says of rows, in the order of tables and keys; each row once."""
    first: dict[tuple[int, bytes], tuple[WritableTable, Any, Any]] = {}
    for table, key, before in journal:
        if key is not _LAST:
            first.setdefault(table.place(key), (table, key, before))
    found = [table.change(key, before) for _, (table, key, before) in sorted(first.items())]
    return [each for each in found if each.before != each.after]
