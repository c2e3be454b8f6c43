"""Rows: which types they may have, and what of them can be written."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import msgspec
import pytest

import transit
from transit import views
from transit.views.rows import ROW_BYTES_MAX, RowType


class Inner(msgspec.Struct, frozen=True):
    """A row may hold these."""

    name: str
    weight: float = 0.0


class Full(msgspec.Struct, frozen=True):
    """One field of each type."""

    key: int
    text: str = ""
    data: bytes = b""
    flag: bool = False
    number: float = 0.0
    maybe: str | None = None
    when: datetime | None = None
    money: Decimal = Decimal(0)
    uid: UUID = UUID(int=0)
    several: tuple[int, ...] = ()
    pair: tuple[str, int] = ("", 0)
    some: frozenset[str] = frozenset()
    inner: Inner = Inner("")
    choice: Literal["a", "b"] = "a"
    limited: Annotated[int, msgspec.Meta(ge=0)] = 0


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """Fields that are given by name."""

    key: str
    count: int = 0


class Status(enum.Enum):
    """Encoded as its text."""

    OK = "ok"


ROWS = [
    Full(1),
    Full(
        -(2**63), "ü\0", b"\0\xff", True, -0.0, "", datetime.now(UTC), Decimal("1.50"), UUID(int=7)
    ),
    Full(2, several=(1, 2), pair=("x", 1), some=frozenset({"b", "a"}), inner=Inner("i", math.inf)),
]


@pytest.mark.parametrize("row", ROWS)
def test_rows_come_back_as_they_were(row: Full) -> None:
    kind = RowType(Full)
    data = kind.checked(row)
    assert kind.decode(data, "here") == row
    assert kind.checked(kind.decode(data, "here")) == data


def test_rows_with_fields_given_by_name_come_back() -> None:
    kind = RowType(Named)
    row = Named(key="k", count=3)
    assert kind.decode(kind.checked(row), "here") == row


def test_sets_and_every_nan_have_one_encoding() -> None:
    kind = RowType(Full)
    one = Full(1, some=frozenset("abcdefgh"), number=math.nan)
    other = Full(1, some=frozenset("hgfedcba"), number=-math.nan)
    assert kind.checked(one) == kind.checked(other)


class Plain(msgspec.Struct, frozen=True):
    """What wrong values are tried with."""

    key: str
    value: int = 0
    texts: tuple[str, ...] = ()
    data: bytes = b""


WRONG = [
    Plain("a", "text"),  # type: ignore[arg-type]
    Plain("a", 1.0),  # type: ignore[arg-type]
    Plain("a", True),
    Plain("a", 2**64),
    Plain("a", 0, ["list"]),  # type: ignore[arg-type]
    Plain("a", 0, (Status.OK,)),  # type: ignore[arg-type]
    Plain("a", 0, (), bytearray(b"x")),  # type: ignore[arg-type]
    Plain(Status.OK),  # type: ignore[arg-type]
    Plain("\ud800"),
    Plain("a", 0, ("\ud800",)),
    Plain("a", 0, (), b"x" * ROW_BYTES_MAX),
    Plain(None),  # type: ignore[arg-type]
    Inner("another type"),
    {"key": "a"},
    None,
]


@pytest.mark.parametrize("row", WRONG, ids=lambda row: repr(row)[:40])
def test_a_row_that_is_not_of_its_type_stops_the_view_at_its_record(
    row: Any, log: transit.Log
) -> None:
    """Also one whose values would be encoded alike: what is read must not depend on when."""
    table = views.table("rows", Plain, key="key")
    given = [Plain("first"), row]

    @views.reducer(table, reads=bytes, code="x")
    def put(rows: Any, event: bytes, at: views.At) -> None:
        rows.put(given[int(event)])

    stream = log.create("s")
    stream.append_many([b"0", b"1", b"0"])
    view = views.open(log, put)
    with pytest.raises(views.ReducerError) as raised:
        view.of(stream)
    assert raised.value.offset == 1
    assert [row.key for row in view.of(stream, 1).rows] == ["first"]


class Mutable(msgspec.Struct):
    """Not frozen."""

    key: str


class WithList(msgspec.Struct, frozen=True):
    """A list can be changed."""

    key: str
    values: list[int]


class WithMutable(msgspec.Struct, frozen=True):
    """So can what is inside."""

    key: str
    inner: tuple[Mutable, ...]


class Endless(msgspec.Struct, frozen=True):
    """Contains itself."""

    key: str
    inner: Endless | None = None


class Numbers(msgspec.Struct, frozen=True):
    """1, 1.0 and True are equal."""

    key: int | bool
    text: str
    value: int | float = 0


@pytest.mark.parametrize("kind", [Mutable, WithList, WithMutable, Endless, int, dict, Plain("a")])
def test_a_type_whose_values_can_be_changed_is_no_row(kind: Any) -> None:
    with pytest.raises(transit.InvalidInputError):
        views.table("rows", kind, key="key")


@pytest.mark.parametrize(
    "more",
    [
        {"key": "gone"}, {"key": ()}, {"key": ("key", "key")}, {"key": "texts"},
        {"key": "key", "index": ["gone"]}, {"key": "key", "index": ["value", "value"]},
        {"key": "key", "auto": True}, {"key": ("key", "value"), "auto": True},
        {"key": "key", "index": ["texts"]},
        {"key": "key", "index": [("key", "value"), *(("value", f) for f in ("data", "key"))] * 6},
    ],
    ids=str,
)  # fmt: skip
def test_a_table_that_cannot_be_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(transit.InvalidInputError):
        views.table("rows", Plain, **more)


@pytest.mark.parametrize("name", ["", "a b", "_a", "root", "applied", "diff", "1", None, "a.b"])
def test_a_name_that_a_state_cannot_have_is_refused(name: Any) -> None:
    with pytest.raises(transit.InvalidInputError):
        views.table(name, Plain, key="key")


def test_keys_and_indexes_of_types_whose_values_are_equal_are_refused() -> None:
    with pytest.raises(transit.InvalidInputError, match="equal"):
        views.table("rows", Numbers, key="key")
    with pytest.raises(transit.InvalidInputError, match="equal"):
        views.table("rows", Numbers, key="text", index=["value"])


class Event(msgspec.Struct):
    """An event."""

    a: int


class Stricter(msgspec.Struct, forbid_unknown_fields=True):
    """Refuses what the other one ignores."""

    a: int


class Listed(msgspec.Struct, array_like=True):
    """Another layout."""

    a: int


class Other(msgspec.Struct):
    """Another default."""

    a: int = 5


@dataclasses.dataclass
class Data:
    """An event may be a dataclass."""

    a: int


@dataclasses.dataclass
class OtherData:
    """With another default."""

    a: int = 5


class Tree(msgspec.Struct):
    """Contains itself."""

    a: int
    children: list[Tree] = []
    others: dict[str, Tree] | None = None


class Typed(TypedDict):
    """As a dictionary."""

    a: int


class Tuple(NamedTuple):
    """As a list."""

    a: int


def view_id(reads: Any) -> str:
    """The id of a view that reads such events."""
    table = views.table("rows", Plain, key="key")
    declare = views.reducer(table, reads=reads, code="same", name="same")
    return declare(lambda rows, event, at: None).spec.id


def test_another_type_of_events_is_another_view() -> None:
    kinds = [
        Event,
        Stricter,
        Listed,
        Other,
        Data,
        OtherData,
        Tree,
        Typed,
        Tuple,
        int,
        str,
        list[int],
    ]
    assert len({view_id(kind) for kind in kinds}) == len(kinds)


def test_the_name_of_a_type_is_not_in_the_id() -> None:
    same = msgspec.defstruct("Renamed", [("a", int)])
    assert view_id(same) == view_id(Event)


@pytest.mark.parametrize("kind", [Event, Data, Tree, Typed, dict[str, int]])
def test_events_of_many_types_are_read(kind: Any, log: transit.Log) -> None:
    table = views.table("rows", Plain, key="key")
    get: Callable[[Any], int] = lambda e: e["a"] if isinstance(e, dict) else e.a  # noqa: E731

    @views.reducer(table, reads=kind, code="x")
    def put(rows: Any, event: Any, at: views.At) -> None:
        rows.put(Plain("a", get(event)))

    stream = log.create("s")
    stream.append(json.dumps({"a": 7}).encode())
    assert views.open(log, put).of(stream).rows["a"].value == 7


@pytest.mark.parametrize("reads", [object(), 5, "int"])
def test_what_is_no_type_is_refused(reads: Any) -> None:
    with pytest.raises(transit.InvalidInputError):
        view_id(reads)
