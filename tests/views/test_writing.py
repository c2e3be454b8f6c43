"""What is done for each row that is written: the compiled `put` beside the one for any row, and the
map that comes of it beside one that is built anew of the rows."""

from __future__ import annotations

import enum
import math
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo

import msgspec
import pytest

import transit
from rigs.views.models import MemoryNodes
from transit import views
from transit.views.maps.keys import encode_key
from transit.views.maps.map import Map
from transit.views.overlay import WritableTable, flushed, writable
from transit.views.tables import SHORT_ROW_BYTES, TableState


class Text(str):
    """A text of a class of its own."""


class Number(enum.IntEnum):
    """A number of a class of its own."""

    ONE = 1


class Plain(msgspec.Struct, frozen=True):
    """A row with a field of each kind that is compiled."""

    key: str
    count: int = 0
    text: str | None = None
    data: bytes = b""
    flag: bool = False
    weight: float = 0.0
    some: float | None = None
    mixed: str | int | None = None


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """A row whose key is two fields, in another order."""

    value: int = 0
    column: int
    row: str


class Numbered(msgspec.Struct, frozen=True):
    """A row that the table numbers."""

    id: int | None
    text: str = ""


plain = views.table("plain", Plain, key="key", index=["text", ("flag", "text"), "weight", "mixed"])
unique = views.table("unique", Plain, key="key", index=["flag"], unique=["text", ("count", "data")])
cells = views.table("cells", Cell, key=("row", "column"), index=["value", ("column", "value")])
numbered = views.table("numbered", Numbered, key="id", auto=True, index=["text"])
TABLES: Final = (plain, unique, cells, numbered)


def below() -> Map:
    """A state without rows."""
    return Map(MemoryNodes())


def slow(table: views.Table) -> WritableTable:
    """A table that is written to without what was compiled for it."""
    return WritableTable(table, 0, below())


VALUES: Final[Sequence[Any]] = [
    "", "a", "ü", "a" * 70, "a" * 118, "\0" * 60, "\0" * 240, "ü" * 119, "x" * 240, "x" * 70_000,
    "\ud800", Text("a"), Number.ONE, 0, 1, -1, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63),
    -(2**63) - 1, True, False, None, 0.0, -0.0, 1.0, math.inf, math.nan, -math.nan,
    b"", b"a", b"\0" * 119, b"a" * 65_001, bytearray(b"a"), memoryview(b"a"), [], (), {}, {"a": 1},
    object(), datetime.now(UTC), float, Plain("a"),
]  # fmt: skip


def outcome(write: Callable[[Any], object], row: Any) -> tuple[str, str]:
    """What comes of writing a row."""
    try:
        write(row)
    except transit.InvalidInputError as error:
        return "refused", str(error)
    return "written", ""


def looked_at_and_written(table: WritableTable) -> Callable[[Any], None]:
    """As a module's rows are: looked at first, and written when all were."""

    def write(row: Any) -> None:
        table.write(row.key, row, table.checked(row.key, row))

    return write


@pytest.mark.parametrize("field", [each.name for each in msgspec.structs.fields(Plain)])
@pytest.mark.parametrize("table", [plain, unique], ids=["plain", "unique"])
def test_a_row_is_refused_by_a_compiled_put_where_it_is_by_the_one_for_any_row(
    table: views.Table, field: str
) -> None:
    assert table.put is not None
    for value in VALUES:
        (fast,) = writable((table,), below())
        other = slow(table)
        assert type(fast) is not WritableTable
        row = Plain(**{"key": "k", field: value})
        told = outcome(fast.put, row)
        assert told == outcome(other._put, row)
        assert fast._written == other._written
        apart = slow(table)
        assert told == outcome(looked_at_and_written(apart), row)
        assert apart._written == other._written
        if told[0] == "written":
            assert flushed([fast], below()).root == flushed([other], below()).root


def test_what_is_no_row_of_the_type_is_refused_by_every_put() -> None:
    class Same(Plain, frozen=True):
        pass

    for row in (None, 5, "a", ("a", 1), {"key": "a"}, Plain, Same("a"), Cell(column=1, row="a")):
        (fast,) = writable((plain,), below())
        assert outcome(fast.put, row)[0] == "refused"
        assert outcome(fast.put, row) == outcome(slow(plain)._put, row)


Most = Annotated[str, msgspec.Meta(min_length=1, max_length=3)]


class Bound(msgspec.Struct, frozen=True):
    """A row with bounds, and with fields that have some values only."""

    key: Annotated[str, msgspec.Meta(max_length=118)]
    count: Annotated[int, msgspec.Meta(ge=0, lt=2**63 - 1)] = 0
    less: Annotated[int, msgspec.Meta(gt=-2, le=1)] | None = None
    text: Most | None = None
    data: Annotated[bytes, msgspec.Meta(min_length=0, max_length=119)] = b""
    weight: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0
    one: Literal["a", "ü"] = "a"
    two: Literal[0, 1] = 0


@pytest.mark.parametrize("field", [each.name for each in msgspec.structs.fields(Bound)])
def test_bounds_and_values_that_are_named_are_looked_at_as_for_any_row(field: str) -> None:
    table = views.table("bound", Bound, key="key", index=["text", "weight"], unique=["count"])
    assert table.put is not None
    outcomes = set()
    for value in VALUES:
        (fast,) = writable((table,), below())
        other = slow(table)
        row = Bound(**{"key": "k", field: value})
        told = outcome(fast.put, row)
        assert told == outcome(other._put, row)
        assert fast._written == other._written
        outcomes.add(told[0])
    assert outcomes == {"refused", "written"}


class Patterned(msgspec.Struct, frozen=True):
    """A bound that looking at a value does not tell."""

    key: str
    value: Annotated[str, msgspec.Meta(pattern="^a")] = "a"


class Tenths(msgspec.Struct, frozen=True):
    """Another one."""

    key: str
    value: Annotated[int, msgspec.Meta(multiple_of=10)] = 0


class Mixed(msgspec.Struct, frozen=True):
    """Values of two types, of which equal ones could be taken for one another."""

    key: str
    value: Literal["a", 1] = "a"


class Either(msgspec.Struct, frozen=True):
    """Types of which one could be taken for the other."""

    key: str
    value: int | float = 0


class Nested(msgspec.Struct, frozen=True):
    """A value with values in it."""

    key: str
    value: tuple[int, ...] = ()


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [(Patterned, "b"), (Tenths, 5), (Mixed, True), (Either, True), (Nested, [1])],
)
def test_a_type_that_no_plain_test_is_enough_for_is_not_compiled(
    kind: type[Any], wrong: Any
) -> None:
    table = views.table("rows", kind, key="key")
    assert table.put is None
    (written,) = writable((table,), below())
    written.put(kind("a"))
    with pytest.raises(transit.InvalidInputError):
        written.put(kind("a", wrong))
    assert written.get("a") == kind("a")


def test_names_of_fields_are_no_part_of_what_is_compiled() -> None:
    names = ["values", "self", "row", "data", "kind", "v0", "encode"]
    fields: list[tuple[str, type]] = [(each, str) for each in names]
    kind = msgspec.defstruct("Odd", fields, frozen=True)
    table = views.table("rows", kind, key=["values", "self"])
    (written,) = writable((table,), below())
    written.put(kind(*map(str, range(7))))
    assert written.get(("0", "1")) == kind(*map(str, range(7)))


def test_a_short_row_has_room_in_every_key() -> None:
    chance = random.Random(1)
    letters = ["a", "\0", "ü", "\U0001f600"]
    makers: list[Callable[[], Any]] = [
        lambda: chance.choice(letters) * chance.randrange(80),
        lambda: chance.choice((b"\0", b"\xff")) * chance.randrange(120),
        lambda: chance.choice((-1, 1)) * chance.getrandbits(chance.randrange(64)),
        lambda: chance.choice((True, False, None)),
        lambda: chance.uniform(-1e9, 1e9),
    ]
    for maker in makers:
        for _ in range(300):
            value = maker()
            assert len(encode_key((value,))) - 1 <= 2 * len(msgspec.msgpack.encode(value)), value
    longest = {
        letter: "k" + letter * ((SHORT_ROW_BYTES - 30) // len(letter.encode()))
        for letter in letters
    }
    for letter, text in longest.items():
        row = Plain(text[: len(text) // 2], text=text[len(text) // 2 :], mixed=letter)
        assert len(msgspec.msgpack.encode(msgspec.structs.astuple(row))) <= SHORT_ROW_BYTES
        for table in (plain, unique):
            (written,) = writable((table,), below())
            written.put(row)
            assert list(TableState(table, 0, flushed([written], below()))) == [row]


# The map beside one that is built of the rows, as `transit.views.tables` says


def built(table: views.Table, rows: dict[Any, Any], last: int) -> bytes:
    """The root of the map that has these rows."""
    entries: dict[bytes, bytes] = {}
    if last:
        entries[b"\x03\0"] = last.to_bytes(8, "big", signed=True)
    for key, row in rows.items():
        parts = key if isinstance(key, tuple) else (key,)
        place = encode_key(parts)
        entries[b"\x01\0" + place] = msgspec.msgpack.encode(msgspec.structs.astuple(row))
        for index in table.indexes:
            values = tuple(getattr(row, field) for field in index.fields)
            if not index.is_unique or None in values:
                values += parts
            entries[bytes((2, 0, index.number)) + encode_key(values)] = place
    return Map.build(MemoryNodes(), sorted(entries.items())).root


def drawn(table: views.Table, chance: random.Random) -> Any:
    """A row, of few different keys and values, some of them long."""
    text = chance.choice([None, "", "a", "ü", "z\0", "b" * 300, *map(str, range(9))])
    if table is cells:
        return Cell(row=str(text)[:9], column=chance.randrange(-2, 3), value=chance.randrange(4))
    if table is numbered:
        return Numbered(chance.choice([None, chance.randrange(1, 30)]), str(text))
    return Plain(
        str(chance.randrange(20)), chance.randrange(5), text, b"x" * chance.choice((0, 1, 400)),
        chance.random() < 0.5, chance.choice((0.0, -0.0, 1.5)), chance.choice((None, 2.0)),
        chance.choice((None, "m", 7)),
    )  # fmt: skip


def is_free(table: views.Table, rows: dict[Any, Any], row: Any) -> bool:
    """Whether no other row has what is unique."""
    for index in table.indexes:
        values = index.values(row)
        if index.is_unique and None not in values:
            for key, other in rows.items():
                if key != table.key_of(row) and index.values(other) == values:
                    return False
    return True


class Trial:
    """A table that is written to, and its rows as a dictionary."""

    def __init__(self, table: views.Table, seed: int) -> None:
        self.table, self.chance = table, random.Random(seed)
        self.rows: dict[Any, Any] = {}
        self.last = 0
        self.map = below()
        (self.written,) = writable((table,), self.map)

    def step(self) -> None:
        """Do one thing, drawn at random."""
        row = drawn(self.table, self.chance)
        steps = (self.put, self.put, self.put, self.insert, self.delete, self.get, self.search)
        self.chance.choice((*steps, self.flush) if self.chance.random() < 0.3 else steps)(row)
        if self.table.auto:
            self.last = max([self.last, *self.rows])

    def put(self, row: Any) -> None:
        """Write a row; what is not unique is refused."""
        key = self.table.key_of(row)
        if key is None:
            with pytest.raises(transit.InvalidInputError):
                self.written.put(row)
        elif is_free(self.table, self.rows, row):
            self.written.put(row)
            self.rows[key] = row
        else:
            with pytest.raises(transit.AlreadyExistsError):
                self.written.put(row)

    def insert(self, row: Any) -> None:
        """Add a row; a key that is there is refused."""
        if self.table.key_of(row) not in self.rows and is_free(self.table, self.rows, row):
            row = self.written.insert(row)
            self.rows[self.table.key_of(row)] = row
        else:
            with pytest.raises(transit.AlreadyExistsError):
                self.written.insert(row)

    def delete(self, row: Any) -> None:
        """Remove a row."""
        key = self.table.key_of(row)
        if key is not None:
            assert self.written.delete(key) is (self.rows.pop(key, None) is not None)

    def get(self, row: Any) -> None:
        """Read a row."""
        key = self.table.key_of(row)
        if key is not None:
            assert self.written.get(key) == self.rows.get(key)

    def search(self, row: Any) -> None:
        """Read by an index."""
        field = self.chance.choice(self.table.indexes).fields[0]
        value = getattr(row, field)
        found = {self.table.key_of(each) for each in self.written.where(**{field: value})}
        assert found == {key for key, each in self.rows.items() if getattr(each, field) == value}
        assert len(self.written) == len(self.rows)

    def flush(self, row: Any) -> None:
        """Come to the next state, and go on from there or begin anew above it."""
        self.map = flushed([self.written], self.map)
        assert self.map.root == built(self.table, self.rows, self.last)
        if self.chance.random() < 0.3:
            (self.written,) = writable((self.table,), self.map)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("table", TABLES, ids=[each.name for each in TABLES])
def test_whatever_is_written_and_read_the_map_is_that_of_the_rows(
    table: views.Table, seed: int
) -> None:
    trial = Trial(table, seed)
    for _ in range(400):
        trial.step()
    trial.flush(None)


# What a reducer may do with rows and tables


def test_a_row_that_is_changed_by_force_after_it_was_written_changes_no_state() -> None:
    (written,) = writable((plain,), below())
    row = Plain("a", text="b")
    written.put(row)
    with pytest.raises(AttributeError):
        row.text = "c"  # type: ignore[misc]
    msgspec.structs.force_setattr(row, "count", 7)
    state = TableState(plain, 0, flushed([written], below()))
    assert state.get("a") == Plain("a", text="b")


def test_what_a_row_was_made_of_may_change_and_the_row_does_not(log: transit.Log) -> None:
    class Event(msgspec.Struct):
        run: str
        count: int

    @views.reducer(plain, reads=Event, code="x")
    def keep(rows: Any, event: Event, at: views.At) -> None:
        rows.put(Plain(event.run, event.count))
        event.run, event.count = "other", 9
        try:
            rows.get("a").count = 9
        except AttributeError:
            rows.put(Plain("refused"))

    stream = log.create("s")
    stream.append(b'{"run":"a","count":1}')
    assert list(views.open(log, keep).of(stream).plain) == [Plain("a", 1), Plain("refused")]


def test_a_put_that_was_taken_before_a_search_is_seen_by_the_search() -> None:
    (written,) = writable((plain,), below())
    put, get = written.put, written.get
    put(Plain("a", text="x"))
    assert [row.key for row in written.where(text="x")] == ["a"]
    put(Plain("b", text="x"))
    put(Plain("a", text="y"))
    assert [row.key for row in written.where(text="x")] == ["b"]
    assert get("a") == Plain("a", text="y")
    assert written.delete("b")
    put(Plain("b", text="z"))
    assert [row.key for row in written.where(text="x")] == []
    assert [row.key for row in written.where(text="z")] == ["b"]


def test_a_unique_value_is_refused_within_the_record_that_took_it(log: transit.Log) -> None:
    @views.reducer(unique, reads=bytes, code="x")
    def twice(rows: Any, event: bytes, at: views.At) -> None:
        rows.put(Plain(f"{at.offset}", text="same" if event else None, count=at.offset))
        if event:
            rows.put(Plain("other", text="same", count=-1))

    stream = log.create("s")
    stream.append_many([b"", b"x"])
    view = views.open(log, twice)
    with pytest.raises(views.ReducerError, match="has the same") as raised:
        view.of(stream)
    assert raised.value.offset == 1
    # Nothing of that record is there, the row that could be written neither.
    assert [row.key for row in view.of(stream, 1).unique] == ["0"]
    stream = log.create("t")
    stream.append_many([b"", b""])
    assert len(view.of(stream).unique) == 2


def test_a_record_that_is_refused_changes_nothing_and_is_named(log: transit.Log) -> None:
    @views.reducer(plain, reads=int, code="x")
    def keep(rows: Any, event: int, at: views.At) -> None:
        rows.put(Plain("first", at.offset))
        rows.put(Plain("second", event))

    stream = log.create("s")
    stream.append_many([b"1", b"2", str(2**64).encode(), b"3"])
    view = views.open(log, keep)
    with pytest.raises(views.ReducerError, match="Plain") as raised:
        view.of(stream)
    assert raised.value.offset == 2
    assert isinstance(raised.value.__cause__, transit.InvalidInputError)
    assert list(view.of(stream, 2).plain) == [Plain("first", 1), Plain("second", 2)]


@pytest.mark.parametrize("every", [1, 2, 3, 100])
def test_a_row_that_goes_and_comes_again_is_one_row_of_each_index(
    every: int, log: transit.Log
) -> None:
    @views.reducer(plain, reads=bytes, code="x")
    def again(rows: Any, event: bytes, at: views.At) -> None:
        rows.put(Plain("a", text="old"))
        assert rows.delete("a")
        assert rows.get("a") is None
        rows.insert(Plain("a", at.offset, text="new"))
        if event:
            rows.delete("a")

    stream = log.create("s")
    stream.append_many([b"", b"x", b"", b"", b"x", b""])
    view = views.open(log, again, persist="ephemeral", savepoint_records=every)
    for stop in range(len(stream) + 1):
        state = view.of(stream, stop)
        rows = {row.key: row for row in state.plain}
        assert state.root == built(plain, rows, 0).hex()
    assert list(view.of(stream).plain.where(text="new")) == [Plain("a", 5, text="new")]
    assert list(view.of(stream).plain.where(text="old")) == []


class Dated(msgspec.Struct, frozen=True):
    """A row that is found by a moment."""

    key: str
    when: datetime | None = None


def test_the_hour_that_comes_twice_is_two_moments_in_an_index() -> None:
    table = views.table("dated", Dated, key="key", index=["when"], unique=[("when", "key")])
    once = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    again = once.replace(fold=1)
    assert once == again
    assert again.astimezone(UTC) - once.astimezone(UTC) == timedelta(hours=1)
    made = below()
    (written,) = writable((table,), made)
    for rows in ({"a": once, "b": again}, {"a": again, "b": again}, {"a": again, "b": None}):
        for key, when in rows.items():
            written.put(Dated(key, when))
        made = flushed([written], made)
        assert made.root == built(table, {key: Dated(key, rows[key]) for key in rows}, 0)
