"""Tables inside of reducers and in states: what is read does not depend on when it was written."""

from __future__ import annotations

import enum
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

import transit
from rigs.views.models import MemoryNodes
from transit import views
from transit.views.maps.map import Map
from transit.views.overlay import flushed, writable
from transit.views.tables import KEY_BYTES_MAX, TableState


class Row(msgspec.Struct, frozen=True):
    """A row."""

    key: int
    text: str = ""
    mail: str | None = None
    weight: float = 0.0
    when: datetime | None = None


class Numbered(msgspec.Struct, frozen=True):
    """A row that the table numbers."""

    id: int | None
    text: str = ""


class Kind(enum.StrEnum):
    """A text of a class of its own."""

    A = "a"


rows = views.table("rows", Row, key="key", index=["text", "weight", "when"], unique=["mail"])
numbered = views.table("numbered", Numbered, key="id", auto=True)


def read_by(log: transit.Log, table: views.Table, *steps: Any) -> list[Any]:
    """What each of these functions of the table gives, one a record; the same in any two folds.

    One fold takes all of it at once, the other has a savepoint after each record, and is begun anew
    before each.
    """
    found: list[Any] = []
    for every, is_cold in ((10_000, False), (1, True)):
        given: dict[int, Any] = {}

        @views.reducer(table, reads=bytes, code="x")
        def run(table: Any, event: bytes, at: views.At, given: dict[int, Any] = given) -> None:
            number = int(event)
            try:
                answer = steps[number](table)
                given[number] = list(answer) if hasattr(answer, "__next__") else answer
            except transit.TransitError as error:
                given[number] = type(error)

        stream = log.create(f"s-{every}")
        stream.append_many([b"%d" % number for number in range(len(steps))])
        view = views.open(log, run, persist="ephemeral", savepoint_records=every)
        for at in range(len(steps) + 1) if is_cold else (len(steps),):
            if is_cold:
                view = views.open(log, run, savepoint_records=every)
            view.of(stream, at)
        found.append([given[number] for number in range(len(steps))])
    assert found[0] == found[1]
    first: list[Any] = found[0]
    return first


def test_a_key_of_an_equal_value_of_another_type_is_refused(log: transit.Log) -> None:
    answers = read_by(
        log,
        rows,
        lambda t: t.put(Row(1)),
        lambda t: t.get(1.0),
        lambda t: t.get(True),
        lambda t: t.delete(1.0),
        lambda t: t.get(1),
        lambda t: t.get(None),
        lambda t: t.get((1,)),
        lambda t: t.get([1]),
    )
    refused = transit.InvalidInputError
    assert answers == [None, refused, refused, refused, Row(1), refused, refused, refused]


def test_a_value_of_another_type_than_an_indexed_field_is_refused(log: transit.Log) -> None:
    answers = read_by(
        log,
        rows,
        lambda t: t.put(Row(1, "a", weight=1.0)),
        lambda t: t.where(weight=1),
        lambda t: t.where(weight=True),
        lambda t: t.where(weight=1.0),
        lambda t: t.where(text=Kind.A),
        lambda t: t.where(text=None),
        lambda t: t.where(key=1.0),
        lambda t: t.where(gone=1),
        lambda t: t.where(text=[]),
    )
    row, refused = Row(1, "a", weight=1.0), transit.InvalidInputError
    assert answers == [None, refused, refused, [row], [row], [], refused, refused, refused]


def test_equal_numbers_and_moments_are_found_however_they_are_written(log: transit.Log) -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    elsewhere = noon.astimezone(timezone(timedelta(hours=5)))
    answers = read_by(
        log,
        rows,
        lambda t: t.put(Row(1, weight=-0.0, when=elsewhere)),
        lambda t: len(list(t.where(weight=0.0))),
        lambda t: len(list(t.where(when=noon))),
        lambda t: t.put(Row(1, weight=0.0, when=noon)),
        lambda t: len(list(t.where(weight=-0.0))),
        lambda t: len(list(t.where(when=elsewhere))),
    )
    assert answers == [None, 1, 1, None, 1, 1]


def test_a_unique_value_may_move_and_may_be_missing_often(log: transit.Log) -> None:
    exists = transit.AlreadyExistsError
    answers = read_by(
        log,
        rows,
        lambda t: t.put(Row(1, mail="a")),
        lambda t: t.put(Row(2, mail="a")),
        lambda t: t.put(Row(2)),
        lambda t: t.put(Row(3)),
        lambda t: t.put(Row(1, "again", mail="a")),
        lambda t: (t.put(Row(1)), t.put(Row(2, mail="a")), None)[2],
        lambda t: t.put(Row(1, mail="a")),
        lambda t: t.delete(2),
        lambda t: t.insert(Row(0, mail="a")),
        lambda t: t.insert(Row(0, mail="b")),
        lambda t: t.where(mail="a"),
        len,
    )
    assert answers[1] is answers[6] is answers[9] is exists
    assert answers[8] == Row(0, mail="a")
    assert answers[10:] == [[Row(0, mail="a")], 3]


def test_numbers_go_on_above_all_that_were_given(log: transit.Log) -> None:
    answers = read_by(
        log,
        numbered,
        lambda t: t.insert(Numbered(None)).id,
        lambda t: t.insert(Numbered(7)).id,
        lambda t: t.insert(Numbered(None)).id,
        lambda t: t.put(Numbered(20)),
        lambda t: t.insert(Numbered(None)).id,
        lambda t: t.delete(21),
        lambda t: t.insert(Numbered(None)).id,
        lambda t: t.insert(Numbered(7)),
        lambda t: t.insert(Numbered(-3)).id,
        lambda t: t.put(Numbered(None)),
        lambda t: t.get(None),
        lambda t: t.insert(Numbered(2**63 - 1)).id,
        lambda t: t.insert(Numbered(None)).id,
        lambda t: [row.id for row in t],
    )
    assert answers[:9] == [1, 7, 8, None, 21, True, 22, transit.AlreadyExistsError, -3]
    assert answers[9] is answers[10] is answers[12] is transit.InvalidInputError
    assert answers[13] == [-3, 1, 7, 8, 20, 22, 2**63 - 1]


def test_what_is_gone_through_may_be_written_meanwhile(log: transit.Log) -> None:
    def halve(table: Any) -> int:
        for row in table.where(text="x"):
            table.delete(row.key)
            table.put(Row(row.key + 100, "x"))
        for row in table:
            table.put(Row(row.key, "y"))
        return len(table)

    answers = read_by(
        log,
        rows,
        lambda t: [t.put(Row(key, "x")) for key in range(5)],
        halve,
        lambda t: [row.key for row in t.where(text="y")],
    )
    assert answers[1:] == [5, [100, 101, 102, 103, 104]]


def test_the_longest_key_is_taken_and_a_longer_one_is_not(log: transit.Log) -> None:
    class Text(msgspec.Struct, frozen=True):
        key: str

    table = views.table("texts", Text, key="key")

    @views.reducer(table, reads=bytes, code="x")
    def put(texts: Any, event: bytes, at: views.At) -> None:
        texts.put(Text("x" * int(event)))

    stream = log.create("s")
    longest = KEY_BYTES_MAX - 3
    stream.append_many([b"1", b"%d" % longest, b"%d" % (longest + 1)])
    view = views.open(log, put)
    assert len(view.of(stream, 2).texts) == 2
    with pytest.raises(views.ReducerError, match="at most 480") as raised:
        view.of(stream)
    assert raised.value.offset == 2


def test_keys_of_several_fields_are_read_by_their_first_ones(log: transit.Log) -> None:
    class Cell(msgspec.Struct, frozen=True):
        row: str
        column: int
        value: int = 0

    table = views.table("cells", Cell, key=("row", "column"))

    @views.reducer(table, reads=list[Cell])
    def put(cells: Any, event: list[Cell], at: views.At) -> None:
        for cell in event:
            cells.put(cell)

    stream = log.create("s")
    cells = [{"row": row, "column": column} for row in ("a", "ab", "b") for column in (-1, 0, 9)]
    stream.append(json.dumps(cells).encode())
    found = views.open(log, put).of(stream).cells
    assert [(row.row, row.column) for row in found.range(("a",), ("ab",))] == [
        ("a", -1), ("a", 0), ("a", 9),
    ]  # fmt: skip
    assert [row.column for row in found.range(("ab", 0), ("b",))] == [0, 9]
    assert [row.row for row in found.where(column=9)] == ["a", "ab", "b"]
    assert found["b", 9] == Cell("b", 9)
    for key in ("a", ("a",), ("a", 1, 1), ("a", "1"), None):
        with pytest.raises(transit.InvalidInputError):
            found.get(key)
    with pytest.raises(transit.NotFoundError):
        found["b", 10]


def test_states_are_shown_as_arrow_tables(log: transit.Log) -> None:
    pytest.importorskip("pyarrow")

    @views.reducer(rows, reads=bytes, code="x")
    def put(table: Any, event: bytes, at: views.At) -> None:
        table.put(Row(at.offset, "ü", None, 0.5, datetime(2026, 1, 1, tzinfo=UTC)))

    stream = log.create("s")
    view = views.open(log, put)
    assert view.of(stream).rows.to_arrow().num_rows == 0
    stream.append_many([b""] * 3)
    found = view.of(stream).rows.to_arrow()
    assert found.column("key").to_pylist() == [0, 1, 2]
    assert found.column("when").to_pylist()[0] == datetime(2026, 1, 1)
    assert found.column("mail").to_pylist() == [None] * 3


class Wide(msgspec.Struct, frozen=True):
    """A row with fields of every kind that an index may have."""

    key: str
    text: str | None = None
    other: str | int | None = None
    raw: bytes | None = None
    number: float | None = None
    moment: datetime | None = None


wide = views.table(
    "wide",
    Wide,
    key="key",
    index=["text", "raw", ("text", "other"), "number", "moment"],
    unique=["other"],
)


@pytest.mark.parametrize("size", [0, 1, 65, 66, 67, 133, 134, 135, 136, 180, 240, 400, 600])
@pytest.mark.parametrize("letter", ["a", "\0", "ü", "\U0001f600"])
@pytest.mark.parametrize("key_size", [1, 477])
def test_what_an_index_can_hold_is_said_when_a_row_is_written_and_not_later(
    letter: str, size: int, key_size: int
) -> None:
    given = [
        Wide("k" * key_size, letter * size),
        Wide("k" * key_size, letter * size, letter * size),
    ]
    given.append(Wide("k" * key_size, other=2**63, raw=letter.encode() * size))
    for row in given:
        below = Map(MemoryNodes())
        (written,) = writable((wide,), below)
        written.put(Wide("another"))
        try:
            written.put(row)
        except transit.InvalidInputError:
            # One that is refused would not have fitted, and leaves nothing.
            with pytest.raises(transit.InvalidInputError):
                [wide.index_key(index, row) for index in wide.indexes]
            assert written.get(row.key) is None
            continue
        made = flushed([written], below)
        assert TableState(wide, 0, made).get(row.key) == row
        assert list(TableState(wide, 0, made).where(text=row.text, raw=row.raw)) == [row]


@pytest.mark.parametrize(
    "row",
    [
        Wide("a", number=float("nan")),
        Wide("a", moment=datetime(2026, 1, 1)),
        Wide("a", "\ud800"),
        Wide("a", other=2**64),
        Wide("a", number=1),
        Wide("a", other=True),
        Wide("a", raw=bytearray(b"x")),  # type: ignore[arg-type]
        Wide("a", text="x" * 65_001),
        Wide("a", raw=b"\\0" * 65_001),
    ],
)
def test_what_no_row_can_hold_is_refused_after_many_good_ones_too(row: Wide) -> None:
    (written,) = writable((wide,), Map(MemoryNodes()))
    for number in range(20):
        moment = datetime(2026, 1, 1, tzinfo=UTC)
        written.put(Wide("a", "text", number, number=0.5, moment=moment))
        written.put(Wide("a", "text", number))
    with pytest.raises(transit.InvalidInputError):
        written.put(row)
    assert written.get("a") == Wide("a", "text", 19)


def test_indexes_of_very_many_fields_are_looked_at_when_a_row_is_written() -> None:
    names = [f"n{number}" for number in range(70)]
    row = msgspec.defstruct("Many", [("key", str), *((name, int) for name in names)], frozen=True)
    table = views.table("many", row, key="key", index=[names])
    (written,) = writable((table,), Map(MemoryNodes()))
    written.put(row("k", *range(70)))
    with pytest.raises(transit.InvalidInputError, match="bytes"):
        written.put(row("k" * 470, *(2**62 + number for number in range(70))))
