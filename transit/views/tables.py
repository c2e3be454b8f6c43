"""Tables: how rows lie in the ordered map of a view, and how they are read.

    key of the map                                        value
    01 tt <key>                                           a row
    02 tt ii <indexed fields and key, or unique fields>   the key of the row, as in 01
    03 tt                                                 the last number that was given, 8 bytes
    04 ...                                                what a WebAssembly module keeps

tt: number of the table, ii: of its index, one byte each. Keys are as `transit.views.maps.keys` has
them, so that the order of the map is that of keys, and what an index has for a value lies together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec import inspect as shapes

from transit import InvalidInputError, NotFoundError
from transit.views.maps.keys import encode_key, prefix_range
from transit.views.maps.map import Map
from transit.views.maps.node import KEY_BYTES_MAX as MAP_KEY_BYTES_MAX
from transit.views.rows import Row, RowType, show_type
from transit.views.sources import source_digest
from transit.views.writing import compiled_look, compiled_put

if TYPE_CHECKING:
    import pyarrow

ROWS: Final = b"\x01"
INDEXES: Final = b"\x02"
NUMBERS: Final = b"\x03"
MEMORY: Final = b"\x04"
TABLES_MAX: Final = 16
INDEXES_MAX: Final = 16
KEY_BYTES_MAX: Final = 480
"""Bytes of an encoded key of a row: a key of an index holds it and the fields."""
INDEX_KEY_BYTES_MAX: Final = MAP_KEY_BYTES_MAX - 3
"""Bytes of encoded fields of an index and the key of their row."""
SHORT_ROW_BYTES: Final = min((KEY_BYTES_MAX - 1) // 2, (INDEX_KEY_BYTES_MAX - 1) // 4)
"""A row of no more bytes has room in any key: a value takes at most twice what it takes in a row,
and the key of an index has it at most twice."""

Resolve = Callable[[Any, Any, Any], Any]
"""From a row of the base and those of two sides, None where there is none, to the merged one."""

_ENCODED_MAX: Final = 16_384
RESERVED: Final = frozenset(
    ("applied", "diff", "position", "root", "skipped", "stream", "tables", "view_id")
)
"""What a state has of its own, which no table can be called."""

_KEY_TYPES: Final = (shapes.StrType, shapes.IntType, shapes.BytesType, shapes.BoolType)
_INDEX_TYPES: Final = (*_KEY_TYPES, shapes.NoneType, shapes.FloatType, shapes.DateTimeType)
_KINDS: Final[Mapping[type, type]] = {
    shapes.StrType: str, shapes.IntType: int, shapes.BytesType: bytes, shapes.BoolType: bool,
    shapes.NoneType: type(None), shapes.FloatType: float, shapes.DateTimeType: datetime,
}  # fmt: skip
# Of these any value that a row can hold is short, 9 bytes; of texts those with few characters.
_SMALL: Final = frozenset((int, bool, type(None)))
_TEXTS: Final = frozenset((str, bytes))
_MOST_MIN: Final = 2
_EQUAL: Final = frozenset((int, bool, float))
Fields = tuple[str, ...]


class Index:
    """Fields of a table by which its rows are found. is_unique: no two rows have the same."""

    def __init__(self, fields: Fields, number: int, *, is_unique: bool, has_times: bool) -> None:
        self.fields, self.number, self.is_unique = fields, number, is_unique
        self.values = _values_of(fields)
        # The same without a tuple around the value of one field, equal only where its key is.
        self.value: Callable[[Row], Any] = attrgetter(*fields)
        if has_times:
            self.value = _in_utc(self.value)
        self.is_short = _shortness_of(fields)
        # What is alike in many rows is encoded once.
        self.encode = lru_cache(_ENCODED_MAX)(encode_key if len(fields) > 1 else _encode_alone)


def is_whole(value: Any) -> bool:
    """Whether none of the values of indexed fields is missing: in a unique index no two rows have
    the same then, and its key needs no key of a row behind it."""
    return value is not None and (type(value) is not tuple or None not in value)


class Table:
    """A table as it is declared; made by `table`."""

    def __init__(
        self,
        name: str,
        row: RowType,
        key: Fields,
        indexes: Sequence[Index],
        auto: bool,
        merge: Resolve | None,
    ) -> None:
        self.name, self.row, self.key, self.auto, self.merge = name, row, key, auto, merge
        self.indexes = tuple(indexes)
        self.key_of: Callable[[Row], Any] = attrgetter(*key)
        self.is_single = len(key) == 1
        looked_up = {*key, *(field for index in self.indexes for field in index.fields)}
        self._kinds = {field: _kinds_of(row.types[field]) for field in looked_up}
        self._key_kinds = [
            tuple(kind for kind in self._kinds[field] if kind is not type(None)) for field in key
        ]
        # Of keys of one field and one type: what most are.
        kinds = self._key_kinds[0]
        self.key_type = kinds[0] if self.is_single and len(kinds) == 1 else None
        self.put = compiled_put(row, key, SHORT_ROW_BYTES)
        self.look = compiled_look(row)
        # Of a key of one field and of its type; the same rows are written again and again.
        self.encode_one = lru_cache(_ENCODED_MAX)(self._encode)

    def __repr__(self) -> str:
        return f"<transit.views.Table {self.name!r} of {self.row.type.__name__}>"

    @property
    def schema(self) -> object:
        """All that decides how its rows lie, as plain values."""
        indexes = [[each.is_unique, list(each.fields)] for each in self.indexes]
        merge = "" if self.merge is None else source_digest(self.merge)
        return [self.name, list(self.key), self.auto, indexes, self.row.schema, merge]

    def check_key(self, key: Any) -> None:
        """`InvalidInputError` for what no row can have as its key.

        1, 1.0 and True are equal, and three keys: a reducer must find the same with each of them,
        whether the row was written down meanwhile or not.
        """
        parts = key if type(key) is tuple else (key,)
        if self.is_single is (type(key) is tuple) or len(parts) != len(self.key):
            raise InvalidInputError(
                f"table {self.name}: a key is {' and '.join(self.key)}, not {key!r:.100}"
            )
        for field, part, kinds in zip(self.key, parts, self._key_kinds, strict=True):
            _check_value(self.name, field, part, kinds)

    def check_fields(self, equal: Mapping[str, Any]) -> None:
        """`InvalidInputError` for values that fields by which rows are found cannot have."""
        for field, value in equal.items():
            if field not in self.row.types:
                raise InvalidInputError(f"table {self.name} has no field {field!r}")
            if value is not None and field in self._kinds:
                _check_value(self.name, field, value, self._kinds[field])

    def encode_key(self, key: Any) -> bytes:
        """The bytes of a key of a row, which is a tuple where it has several fields."""
        return self.encode_one(key) if type(key) is self.key_type else self._encode(key)

    def _encode(self, key: Any) -> bytes:
        data = encode_key(key if type(key) is tuple else (key,))
        if len(data) > KEY_BYTES_MAX:
            raise InvalidInputError(
                f"a key of table {self.name} takes {len(data)} bytes; at most {KEY_BYTES_MAX}"
            )
        return data

    def index_key(self, index: Index, row: Row) -> bytes:
        """The bytes by which an index finds a row, after its number.

        `InvalidInputError` where they are more than a key of the map may have.
        """
        value = index.value(row)
        data = index.encode(value)
        if not (index.is_unique and is_whole(value)):
            # A tuple's key begins with the code of tuples; then its values lie one behind another.
            data += self.encode_key(self.key_of(row))[1:]
        if len(data) > INDEX_KEY_BYTES_MAX:
            raise InvalidInputError(
                f"table {self.name}: {', '.join(index.fields)} take {len(data)} bytes with the key "
                f"of their row; at most {INDEX_KEY_BYTES_MAX}"
            )
        return data


_Row = TypeVar("_Row", bound=Row)


def table(
    name: str,
    row: type[_Row],
    *,
    key: str | Sequence[str],
    index: Iterable[str | Sequence[str]] = (),
    unique: Iterable[str | Sequence[str]] = (),
    auto: bool = False,
    merge: Callable[[_Row | None, _Row | None, _Row | None], _Row | None] | None = None,
) -> Table:
    """Declare a table of rows of type `row`, a frozen `msgspec.Struct`.

    key: the field, or the fields, that no two rows have in common: of type str, int, bytes or bool.
    index: fields, or groups of them, by which rows are found quickly. unique: likewise, and no two
    rows may have the same. auto: the key is an int that the table gives where it is None. Two
    branches give the same numbers, so where that matters take the place of a record as key. merge:
    gives the row, or None, for one that both sides of a merge changed, from that of the base and
    those of the two; for reducers with `merge="three-way"`.
    Raises `InvalidInputError` for what cannot be a table.
    """
    if not (isinstance(name, str) and name.isidentifier()) or name.startswith("_"):
        raise InvalidInputError(f"table name {name!r}: not a name such as runs")
    if name in RESERVED:
        raise InvalidInputError(f"table name {name!r}: a state of a view has this itself")
    shape = RowType(row)
    fields = _fields(shape, name, key, (*_KEY_TYPES, shapes.NoneType) if auto else _KEY_TYPES)
    if auto:
        _check_auto(shape, name, fields)
    groups = [(_fields(shape, name, each, _INDEX_TYPES), False) for each in index]
    groups += [(_fields(shape, name, each, _INDEX_TYPES), True) for each in unique]
    if len(groups) > INDEXES_MAX:
        raise InvalidInputError(f"table {name}: at most {INDEXES_MAX} indexes")
    if len({each for each, _ in groups}) != len(groups):
        raise InvalidInputError(f"table {name}: the same fields are indexed twice")
    indexes = [
        Index(each, at, is_unique=one, has_times=_has_times(shape, each))
        for at, (each, one) in enumerate(groups)
    ]
    return Table(name, shape, fields, indexes, auto, merge)


def _fields(
    row: RowType, table_name: str, given: str | Sequence[str], allowed: tuple[type, ...]
) -> Fields:
    fields = (given,) if isinstance(given, str) else tuple(given)
    if not fields or len(set(fields)) != len(fields):
        raise InvalidInputError(f"table {table_name}: {given!r} names no fields, or one twice")
    for field in fields:
        if field not in row.types:
            raise InvalidInputError(
                f"table {table_name}: {row.type.__name__} has no field {field!r}; "
                f"it has {', '.join(row.fields)}"
            )
        for each in _alternatives(row.types[field]):
            if not isinstance(each, allowed):
                raise InvalidInputError(
                    f"table {table_name}: {field!r} is {show_type(each)!r:.60}, "
                    "which cannot be a key or be indexed"
                )
        if len({*_kinds_of(row.types[field])} & _EQUAL) > 1:
            raise InvalidInputError(
                f"table {table_name}: {field!r} can be of types whose values are equal, as 1 and "
                "True are: as a key or in an index it needs one of them"
            )
    return fields


def _has_times(row: RowType, fields: Fields) -> bool:
    return any(datetime in _kinds_of(row.types[field]) for field in fields)


def _kinds_of(info: shapes.Type) -> tuple[type, ...]:
    return tuple({_KINDS[type(each)] for each in _alternatives(info)})


def _check_value(table_name: str, field: str, value: Any, kinds: tuple[type, ...]) -> None:
    # A text or a number of a class of its own is equal to the plain one, and so is its key.
    is_fit = type(value) in kinds or (isinstance(value, kinds) and type(value) is not bool)
    if not is_fit:
        names = " or ".join(sorted(each.__name__ for each in kinds))
        raise InvalidInputError(
            f"table {table_name}: {field} is {names}, not {type(value).__name__}: {value!r:.100}"
        )


def _check_auto(row: RowType, name: str, fields: Fields) -> None:
    kinds = {type(each) for each in _alternatives(row.types[fields[0]])}
    if len(fields) != 1 or kinds != {shapes.IntType, shapes.NoneType}:
        raise InvalidInputError(f"table {name}: with auto, the key is one field of type int | None")


def _alternatives(info: shapes.Type) -> Iterator[shapes.Type]:
    if isinstance(info, shapes.Metadata):
        yield from _alternatives(info.type)
    elif isinstance(info, shapes.UnionType):
        for each in info.types:
            yield from _alternatives(each)
    else:
        yield info


def _shortness_of(fields: Fields) -> Callable[[Row], bool]:
    """Whether a row's fields surely fit into a key of an index, together with any key of a row.

    What this says no to may fit too, and is encoded to be sure.
    """
    # A character takes at most four bytes, a zero byte two, and two are around them.
    most = (INDEX_KEY_BYTES_MAX - KEY_BYTES_MAX) // len(fields) // 4 - 1
    if most < _MOST_MIN:
        return lambda row: False
    get = attrgetter(*fields)

    def is_short(row: Row) -> bool:
        value = get(row)
        kind = type(value)
        return kind in _SMALL or (kind in _TEXTS and len(value) <= most)

    def are_short(row: Row) -> bool:
        return all(
            type(value) in _SMALL or (type(value) in _TEXTS and len(value) <= most)
            for value in get(row)
        )

    return is_short if len(fields) == 1 else are_short


def _values_of(fields: Fields) -> Callable[[Row], tuple[Any, ...]]:
    get = attrgetter(*fields)
    return get if len(fields) > 1 else lambda row: (get(row),)


def _in_utc(get: Callable[[Row], Any]) -> Callable[[Row], Any]:
    """The same with moments in UTC: of one zone, two that differ are equal where clocks go back."""

    def value(row: Row) -> Any:
        found = get(row)
        return tuple(map(_moved, found)) if type(found) is tuple else _moved(found)

    return value


def _moved(value: Any) -> Any:
    if type(value) is not datetime or value.utcoffset() is None:
        return value
    try:
        return value.astimezone(UTC)
    except OverflowError:
        # It has no key, which is said when it is encoded.
        return value


def _encode_alone(value: Any) -> bytes:
    return encode_key((value,))


def after(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix`, whose last byte is not 255."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


class TableState:
    """The rows of one table in one state of a view; they never change.

    Iterating gives the rows in the order of their keys.
    """

    def __init__(self, declared: Table, number: int, map_: Map) -> None:
        self._declared, self._number, self._map = declared, number, map_
        self._prefix = ROWS + bytes([number])

    def __repr__(self) -> str:
        return f"<transit.views.TableState {self._declared.name!r}, {len(self)} rows>"

    @property
    def declared(self) -> Table:
        """The table as it was declared."""
        return self._declared

    def __len__(self) -> int:
        return self._map.count(self._prefix, after(self._prefix))

    def get(self, key: Any) -> Any:
        """The row with this key; None where there is none. Several fields: a tuple."""
        self._declared.check_key(key)
        place = self._prefix + self._declared.encode_key(key)
        data = self._map.get(place)
        return None if data is None else self._decode(data)

    def __getitem__(self, key: Any) -> Any:
        row = self.get(key)
        if row is None:
            raise NotFoundError(f"table {self._declared.name} has no row {key!r}")
        return row

    def __contains__(self, key: Any) -> bool:
        return self.get(key) is not None

    def __iter__(self) -> Iterator[Any]:
        return self._rows(self._prefix, after(self._prefix))

    def range(self, start: Any = None, stop: Any = None) -> Iterator[Any]:
        """The rows with keys from `start` to before `stop`, in order; None: from the first, to the
        last. Of a key of several fields the first ones are enough."""
        return self._rows(*self._between(start, stop))

    def _between(self, start: Any, stop: Any) -> tuple[bytes, bytes]:
        low, high = self._prefix, after(self._prefix)
        if start is not None:
            low = self._prefix + encode_key(start if type(start) is tuple else (start,))
        if stop is not None:
            high = self._prefix + encode_key(stop if type(stop) is tuple else (stop,))
        return low, high

    def where(self, **equal: Any) -> Iterator[Any]:
        """The rows whose fields have these values; by an index where one begins with them."""
        declared = self._declared
        declared.check_fields(equal)
        wanted = list(equal.items())
        return (row for row in self._candidates(equal) if _has(row, wanted))

    def to_arrow(self) -> pyarrow.Table:
        """All rows as an Arrow table; what is no plain value is JSON text."""
        # Loaded here: it loads pyarrow, which is an extra.
        from transit.views.tabular import arrow_of

        return arrow_of(self._declared.row, self)

    def _candidates(self, equal: dict[str, Any]) -> Iterator[Any]:
        """Rows among which all are that have these values."""
        return (row for _, row in self._placed(equal, b""))

    def _placed(self, equal: Mapping[str, Any], behind: bytes) -> Iterator[tuple[bytes, Any]]:
        """The same with their places, behind one of these."""
        declared = self._declared
        lead = _lead(declared.key, equal)
        best: Index | None = None
        for index in declared.indexes:
            found = _lead(index.fields, equal)
            if len(found) > len(lead):
                best, lead = index, found
        head = self._prefix if best is None else INDEXES + bytes([self._number, best.number])
        low, high = head, after(head)
        if lead:
            low, high = (head + each for each in prefix_range(lead))
        if behind:
            low = max(low, behind + b"\0")
        return self._found(low, high, is_index=best is not None) if low < high else iter(())

    def _found(self, low: bytes, high: bytes, *, is_index: bool) -> Iterator[tuple[bytes, Any]]:
        for place, value in self._map.items(low, high):
            data = self._map.get(self._prefix + value) if is_index else value
            if data is not None:
                yield place, self._decode(data)

    def _rows(self, low: bytes, high: bytes) -> Iterator[Any]:
        return (self._decode(data) for _, data in self._map.items(low, high))

    def _decode(self, data: bytes) -> Any:
        return self._declared.row.decode(data, f"table {self._declared.name}")


def walk(
    table: TableState,
    equal: Mapping[str, Any] | None = None,
    start: Any = None,
    stop: Any = None,
    *,
    behind: bytes = b"",
) -> Iterator[tuple[bytes, Any]]:
    """Rows with their places, for pages: as `where` or as `range`, in the same order.

    behind: the place of the last row that is known; the next ones come. A row that was looked at
    and has other values than `equal` is None.
    """
    if not equal:
        low, high = table._between(start, stop)
        low = max(low, behind + b"\0") if behind else low
        items = table._map.items(low, high) if low < high else ()
        return ((place, table._decode(data)) for place, data in items)
    if start is not None or stop is not None:
        raise InvalidInputError("a range of keys does not go with values of fields")
    table._declared.check_fields(equal)
    wanted = list(equal.items())
    return (
        (place, row if _has(row, wanted) else None) for place, row in table._placed(equal, behind)
    )


def _has(row: Any, wanted: Iterable[tuple[str, Any]]) -> bool:
    """Whether a row's fields have these values."""
    return all(getattr(row, name) == value for name, value in wanted)


def _lead(fields: Fields, equal: Mapping[str, Any]) -> tuple[Any, ...]:
    """The values of the first of these fields that are all given."""
    found: list[Any] = []
    for field in fields:
        if field not in equal:
            break
        found.append(equal[field])
    return tuple(found)
