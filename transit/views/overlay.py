"""Tables that a reducer writes to: what changed since the last state, over that state.

Reads see the writes before them. Nothing is taken back: where a reducer raises, the fold is thrown
away, and another one comes as far as the record before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

from transit import AlreadyExistsError, CorruptError, InvalidInputError
from transit.views.maps.keys import encode_key
from transit.views.maps.map import Map
from transit.views.rows import Row
from transit.views.tables import INDEXES, NUMBERS, SHORT_ROW_BYTES, Table, TableState, is_whole

_ABSENT: Final[Any] = object()
NUMBER_MAX: Final = 2**63 - 1
_KEPT_MAX: Final = 50_000
"""Rows that a table keeps in memory from one state to the next."""

Changes = dict[bytes, bytes | None]
Journal = list[tuple["WritableTable", Any, Any]]
"""Rows that were written: their table, their key, and what they were before."""


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

    def __init__(self, declared: Table, number: int, map_: Map) -> None:
        super().__init__(declared, number, map_)
        # By key: rows as they are now, None for those that are not there; rows as the map has them,
        # where that is known; and the bytes of those that were written.
        self._now: dict[Any, Row | None] = {}
        self._below: dict[Any, Row | None] = {}
        self._written: dict[Any, bytes | None] = {}
        # For each index, by its first field: keys of rows that were written. Made when it is first
        # asked for, as most reducers look rows up by their keys alone.
        self._indexed: list[dict[Any, dict[Any, None]]] | None = None
        self._key_of = declared.key_of
        self._checked = declared.row.checked
        self._heads = [
            (INDEXES + bytes([number, each.number]), each.is_unique, each.value, each.encode)
            for each in declared.indexes
        ]
        self._key_type = declared.key_type
        self._last = self._known_last()
        self._is_unique = any(each.is_unique for each in declared.indexes)
        self._journal: Journal | None = None
        # Whether a write has more to do than to be kept.
        self._is_watched = self._is_unique or declared.auto

    def watch(self, journal: Journal | None) -> None:
        """Note in `journal` what is written, None for no more."""
        self._journal = journal
        self._watch()

    def _watch(self) -> None:
        self._is_watched = (
            self._is_unique
            or self._declared.auto
            or self._journal is not None
            or self._indexed is not None
        )

    def __len__(self) -> int:
        return super().__len__() + sum(
            (self._now[key] is not None) - (self._before(key) is not None) for key in self._written
        )

    def get(self, key: Any) -> Any:
        """The row with this key; None where there is none. Several fields: a tuple."""
        if type(key) is not self._key_type:
            self._declared.check_key(key)
        try:
            return self._now[key]
        except KeyError:
            # Seldom: this is the fastest where it is there.
            pass
        row = self._now[key] = self._before(key)
        return row

    def put(self, row: Row) -> None:
        """Set the row with this key, whether there was one or not.

        `InvalidInputError` for a row that is not of its type, or too large: looked at here and not
        when states are written down, as which of them are is chance.
        """
        self._put(row)

    def _put(self, row: Row) -> None:
        """`put` of any type of rows; most tables have one that was compiled for theirs."""
        data = self._checked(row)
        key = self._key_of(row)
        self._check_room(key, row, data)
        self._write(key, row, data)

    def _write(self, key: Any, row: Row, data: bytes) -> None:
        if self._is_watched:
            self._look(key, row)
        self._now[key] = row
        self._written[key] = data

    def _check_room(self, key: Any, row: Row, data: bytes) -> None:
        """`InvalidInputError` for a row, or a key of it, that is too large."""
        self._declared.row.check_size(data)
        if key not in self._now:
            # Whether it can be a key; one that was looked up or written can.
            self._declared.encode_key(key)
        for index in self._declared.indexes:
            if not index.is_short(row):
                self._declared.index_key(index, row)

    def checked(self, key: Any, row: Row | None) -> bytes | None:
        """The bytes of a row that may be put, None for one that goes; `InvalidInputError` as `put`.

        key: of a row that goes it must be one that a row can have.
        """
        if row is None:
            return None
        look = self._declared.look
        data = None if look is None else look(row)
        if data is None:
            data = self._checked(row)
        elif len(data) <= SHORT_ROW_BYTES:
            return data
        self._check_room(key, row, data)
        return data

    def write(self, key: Any, row: Row | None, data: bytes | None) -> None:
        """Put a row that was looked at by `checked`, or remove it where it is None."""
        if row is None or data is None:
            self.delete(key)
        else:
            self._write(key, row, data)

    def insert(self, row: Row) -> Row:
        """Add a row with a new key, and return it; `AlreadyExistsError` where there is one.

        Where the table numbers its rows, a key that is None becomes the next number.
        """
        declared = self._declared
        if declared.auto:
            row = self._numbered(row)
        if self.get(self._key_of(row)) is not None:
            raise AlreadyExistsError(f"table {declared.name} has a row {self._key_of(row)!r}")
        self.put(row)
        return row

    def delete(self, key: Any) -> bool:
        """Remove the row with this key; whether there was one."""
        if self.get(key) is None:
            return False
        if self._is_watched:
            self._look(key, None)
        self._now[key] = None
        self._written[key] = None
        return True

    # Reading what is half in the map and half above it

    def __iter__(self) -> Iterator[Any]:
        return self.range()

    def range(self, start: Any = None, stop: Any = None) -> Iterator[Any]:
        """As `TableState.range`, with what was written."""
        below = super().range(start, stop)
        kept = [
            (self._encoded(row), row) for row in below if self._key_of(row) not in self._written
        ]
        low = b"" if start is None else encode_key(start if type(start) is tuple else (start,))
        high = None if stop is None else encode_key(stop if type(stop) is tuple else (stop,))
        for row in self._above():
            place = self._encoded(row)
            if place >= low and (high is None or place < high):
                kept.append((place, row))
        kept.sort(key=lambda pair: pair[0])
        return iter([row for _, row in kept])

    def _above(self) -> Iterator[Row]:
        """The rows that were written and are there."""
        for key in self._written:
            row = self._now[key]
            if row is not None:
                yield row

    def _candidates(self, equal: dict[str, Any]) -> Iterator[Any]:
        below = super()._candidates(equal)
        kept = [row for row in below if self._key_of(row) not in self._written]
        return iter(sorted([*kept, *self._written_like(equal)], key=self._encoded))

    def _written_like(self, equal: dict[str, Any]) -> Iterator[Row]:
        for index, found in zip(self._declared.indexes, self._by_index(), strict=True):
            if index.fields[0] in equal:
                keys = found.get(equal[index.fields[0]], ())
                rows = (self._now[key] for key in keys)
                return (row for row in rows if row is not None)
        return self._above()

    def _by_index(self) -> list[dict[Any, dict[Any, None]]]:
        if self._indexed is None:
            self._indexed = [{} for _ in self._declared.indexes]
            for row in self._above():
                self._enter(self._key_of(row), row)
            self._watch()
        return self._indexed

    def _encoded(self, row: Row) -> bytes:
        return self._declared.encode_key(self._key_of(row))

    def _before(self, key: Any) -> Row | None:
        """The row as the map has it."""
        row: Row | None = self._below.get(key, _ABSENT)
        if row is _ABSENT:
            row = self._below[key] = super().get(key)
        return row

    # Writing

    def _look(self, key: Any, row: Row | None) -> None:
        """What there is to do before a row is written, or removed where it is None."""
        if row is not None and self._is_unique:
            self._check_unique(key, row)
        if row is not None and self._declared.auto:
            self._count(key)
        if self._journal is not None:
            self._journal.append((self, key, self.get(key)))
        if self._indexed is not None:
            old = self._now.get(key) if key in self._written else None
            if old is not None:
                self._leave(key, old)
            if row is not None:
                self._enter(key, row)

    def _leave(self, key: Any, row: Row) -> None:
        for index, found in zip(self._declared.indexes, self._indexed or (), strict=True):
            found.get(index.values(row)[0], {}).pop(key, None)

    def _enter(self, key: Any, row: Row) -> None:
        for index, found in zip(self._declared.indexes, self._indexed or (), strict=True):
            found.setdefault(index.values(row)[0], {})[key] = None

    def _check_unique(self, key: Any, row: Row) -> None:
        for index in self._declared.indexes:
            values = index.values(row)
            if not index.is_unique or None in values:
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
        """The row with the next number, where it has none."""
        self._declared.row.check_type(row)
        if self._key_of(row) is not None:
            return row
        values = {each: getattr(row, each) for each in self._declared.row.fields}
        return self._declared.row.type(**{**values, self._declared.key[0]: self._last + 1})

    def _count(self, number: Any) -> None:
        """The next number is above all that were given."""
        if type(number) is not int or not -NUMBER_MAX <= number <= NUMBER_MAX:
            raise InvalidInputError(
                f"table {self._declared.name}: {number!r:.100} is no number of a row: insert() "
                "gives one where there is None"
            )
        self._last = max(self._last, number)

    def _known_last(self) -> int:
        data = self._map.get(NUMBERS + bytes([self._number])) if self._declared.auto else None
        if data is None:
            return 0
        if len(data) != 8:
            raise CorruptError(f"table {self._declared.name}", expected="8 bytes", found=repr(data))
        return int.from_bytes(data, "big", signed=True)

    # The next state

    def place(self, key: Any) -> tuple[int, bytes]:
        """Where a row comes in the order of all rows of a view."""
        return self._number, self._declared.encode_key(key)

    def change(self, key: Any, before: Row | None) -> RowChange | None:
        """What became of a row; None where it is the same again, to the byte."""
        data = None if before is None else self._declared.row.encode(before)
        if data == self._written[key]:
            return None
        return RowChange(self._declared.name, key, before, self._now[key])

    def changes(self, found: Changes) -> None:
        """Add what is to change in the map."""
        declared, written, prefix = self._declared, self._written, self._prefix
        encode = declared.encode_one if declared.is_single else declared.encode_key
        places = list(map(encode, written))
        found.update(zip([prefix + each for each in places], written.values(), strict=True))
        if declared.indexes:
            now, below = self._now, self._below
            for key, place in zip(written, places, strict=True):
                before = below[key] if key in below else self._before(key)
                self._index_changes(found, place, before, now[key])
        if declared.auto and self._last != self._known_last():
            found[NUMBERS + bytes([self._number])] = self._last.to_bytes(8, "big", signed=True)

    def _index_changes(
        self, found: Changes, place: bytes, before: Row | None, row: Row | None
    ) -> None:
        # A tuple's key begins with the code of tuples; then its values lie one behind another.
        tail = place[1:]
        for head, is_unique, value_of, encode in self._heads:
            old = _ABSENT if before is None else value_of(before)
            new = _ABSENT if row is None else value_of(row)
            if old == new:
                continue
            if old is not _ABSENT:
                gone = head + encode(old)
                if not (is_unique and is_whole(old)):
                    found[gone + tail] = None
                # Another row may have taken the place of a unique one, before this in the order.
                elif found.get(gone, place) in (None, place):
                    found[gone] = None
            if new is not _ABSENT:
                made = head + encode(new)
                found[made if is_unique and is_whole(new) else made + tail] = place

    def go_on(self, map_: Map) -> None:
        """Begin anew above the state that has all changes."""
        self._map = map_
        self._last = max(self._last, self._known_last())
        if len(self._now) > _KEPT_MAX:
            self._now.clear()
            self._below.clear()
        elif self._declared.indexes:
            self._below.update(zip(self._written, map(self._now.get, self._written), strict=True))
        else:
            self._below.clear()
        self._written.clear()
        self._indexed = None
        self._watch()


def writable(tables: Sequence[Table], map_: Map) -> list[WritableTable]:
    """The tables of a view over a state, to be written to."""
    return [_class_of(each)(each, number, map_) for number, each in enumerate(tables)]


_CLASSES: Final[WeakKeyDictionary[Table, type[WritableTable]]] = WeakKeyDictionary()


def _class_of(declared: Table) -> type[WritableTable]:
    """The class of a table that is written to: with the `put` that is compiled for it."""
    if declared.put is None:
        return WritableTable
    made = _CLASSES.get(declared)
    if made is None:
        made = type("WritableTable", (WritableTable,), {"put": declared.put})
        made = _CLASSES.setdefault(declared, made)
    return made


def flushed(tables: Sequence[WritableTable], map_: Map) -> Map:
    """The map that has all changes."""
    changes: Changes = {}
    for each in tables:
        each.changes(changes)
    if changes:
        map_ = map_.edit(changes)
    for each in tables:
        each.go_on(map_)
    return map_


def changes_of(journal: Journal) -> list[RowChange]:
    """What a journal says of rows, in the order of tables and keys; each row once."""
    first: dict[tuple[int, bytes], tuple[WritableTable, Any, Row | None]] = {}
    for table, key, before in journal:
        first.setdefault(table.place(key), (table, key, before))
    found = [first[place] for place in sorted(first)]
    changes = [table.change(key, before) for table, key, before in found]
    return [each for each in changes if each is not None]
