"""Payloads to rows: declared types, paths, defaults, and what becomes of all else."""

from __future__ import annotations

import enum
import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import pytest

import transit
from transit.views.scans.declaring import Columns, columns
from transit.views.scans.fields import parse_path

pa = pytest.importorskip("pyarrow")
from transit.views.scans.arrows import declaration_of  # noqa: E402


class _Payloads:
    """As much of a batch as is read of one."""

    def __init__(self, payloads: list[bytes]) -> None:
        self.payloads = payloads


def decoded(declared: Columns, *payloads: bytes | object) -> list[dict[str, Any]]:
    data = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in payloads]
    found = declaration_of(declared).arrays([_Payloads(data)])  # type: ignore[list-item]
    return list(pa.table(dict(found)).to_pylist())


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1


class Inner(msgspec.Struct):
    x: int


class Kinds(msgspec.Struct, rename="camel"):
    a_text: str
    count: Annotated[int, msgspec.Meta(ge=0)] = 7
    number: float | int = 1.5
    flag: bool = False
    data: bytes | None = None
    when: datetime | None = None
    color: Color = Color.RED
    level: Level | None = None
    choice: Literal["x", "y"] = "x"
    inner: Inner | None = None
    anything: object = None
    words: list[str] = []
    numbers: tuple[int, ...] = (1, 2)
    pairs: list[dict[str, int]] = []
    left_out: int | msgspec.UnsetType = msgspec.UNSET


KINDS = columns("kinds", Kinds)


def test_each_type_has_its_column() -> None:
    kinds = {field.name: field.kind for field in KINDS.fields}
    assert kinds == {
        "a_text": "text", "count": "int", "number": "float", "flag": "bool", "data": "bytes",
        "when": "time", "color": "text", "level": "int", "choice": "text", "inner": "json",
        "anything": "json", "words": "texts", "numbers": "ints", "pairs": "json", "left_out": "int",
    }  # fmt: skip


def test_what_is_given_is_there_and_what_is_not_is_the_default() -> None:
    given = {
        "aText": "t", "count": 1, "number": 2, "flag": True, "data": "AAE=", "color": "blue",
        "when": "2026-01-02T03:04:05.000001Z", "level": 1, "choice": "y", "inner": {"x": 1},
        "anything": [1, None], "words": ["w"], "numbers": [3], "pairs": [{"a": 1}], "leftOut": 4,
    }  # fmt: skip
    full, empty, other = decoded(
        KINDS, given, {"aText": ""}, given | {"when": "2026-01-02T03:04:05"}
    )
    assert full == {
        "a_text": "t", "count": 1, "number": 2.0, "flag": True, "data": b"\x00\x01",
        "when": datetime(2026, 1, 2, 3, 4, 5, 1, UTC), "color": "blue", "level": 1, "choice": "y",
        "inner": '{"x": 1}', "anything": "[1, null]", "words": ["w"], "numbers": [3],
        "pairs": '[{"a": 1}]', "left_out": 4, "_error": None,
    }  # fmt: skip
    assert empty == {
        "a_text": "", "count": 7, "number": 1.5, "flag": False, "data": None, "when": None,
        "color": "red", "level": None, "choice": "x", "inner": None, "anything": None,
        "words": [], "numbers": [1, 2], "pairs": "[]", "left_out": None, "_error": None,
    }  # fmt: skip
    assert other["when"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changed", "column", "said"),
    [
        ({"aText": 5}, "a_text", "a_text: Expected `str`, got `int`"),
        ({"count": -1}, "count", "count: Expected `int` >= 0"),
        ({"count": 2**70}, "count", "count: "),
        ({"number": "x"}, "number", "number: Expected"),
        ({"flag": 1}, "flag", "flag: Expected `bool`"),
        ({"data": "***"}, "data", "data: Invalid base64"),
        ({"when": "yesterday"}, "when", "when: Invalid RFC3339"),
        ({"color": "green"}, "color", "color: Invalid enum value 'green'"),
        ({"choice": "z"}, "choice", "choice: Invalid enum value 'z'"),
        ({"words": [1]}, "words", "words: Expected `str`"),
        ({"numbers": [2**80]}, "numbers", "numbers: "),
        ({"leftOut": None}, "left_out", "left_out: Expected `int`, got `null`"),
    ],
)
def test_a_wrong_value_is_null_with_its_reason_and_the_rest_stays(
    changed: dict[str, object], column: str, said: str
) -> None:
    before, found, after = decoded(
        KINDS, {"aText": "b"}, {"aText": "t", "count": 3} | changed, {"aText": "a"}
    )
    assert found[column] is None
    assert found["_error"].startswith(said)
    expected = {"a_text": "t", "count": 3, "number": 1.5, "color": "red", "numbers": [1, 2]}
    assert {n: found[n] for n in expected if n != column} == {
        n: value for n, value in expected.items() if n != column
    }
    assert (before["a_text"], after["a_text"]) == ("b", "a")
    assert before["_error"] is after["_error"] is None


@pytest.mark.parametrize(
    "payload",
    [b"", b"x", b"5", b"null", b"[]", b'{"aText":"a"', b"\xff\xfe", b'{"aText":"a"},{"aText":"b"}',
     b'{"aText":"a"}\n{"aText":"b"}', b"[" * 100_000, b'{"aText":' + b"[" * 100_000,
     '{"aText":"a"}'.encode("utf-16"), b'{"aText":"\\u00e9","x":NaN}', b"\xef\xbb\xbf{}"],
)  # fmt: skip
def test_what_is_no_object_is_a_row_of_nulls(payload: bytes) -> None:
    good = b'{"aText":"g"}'
    first, found, last = decoded(KINDS, good, payload, good)
    assert {name for name, value in found.items() if value is not None} == {"_error"}
    assert 0 < len(found["_error"]) <= 200
    assert first == last
    assert first["a_text"] == "g"


def test_damage_where_no_column_looks_is_no_error() -> None:
    one = columns("one", {"n": int})
    halves = b'{"n":1,"text":"\\ud800","more":{"\\udfff":1}}'
    assert decoded(one, halves, b'{"n":2,"text":"\xff"}') == [
        {"n": 1, "_error": None}, {"n": 2, "_error": None},
    ]  # fmt: skip
    text = columns("one", {"text": str, "more": object})
    (found,) = decoded(text, halves)
    assert found["text"] is None
    assert "surrogates" in found["_error"]
    assert json.loads(found["more"]) == {"\udfff": 1}


def test_two_payloads_that_are_one_when_joined_stay_two() -> None:
    one = columns("one", {"n": int, "t": str})
    rows = decoded(one, b'{"n":1,"t":"a', b'b"}', b'{"n":2},{"n":3}', b'{"n":4}')
    assert [row["n"] for row in rows] == [None, None, None, 4]
    assert [row["_error"] is None for row in rows] == [False, False, False, True]


def test_paths_lead_into_members_and_arrays() -> None:
    declared = columns("paths", {
        "plain": int, "deep": ("$.a.b[1].c", str), "dotted": ('"x.y".z', float),
        "first": (("p", "a.q", "r"), str), "whole": ("a", dict[str, Any]), "same": ("plain", int),
        "tag": ("tags[0]", Literal["t"]), "words": ("a.w", list[str]),
    })  # fmt: skip
    rows = decoded(
        declared,
        {"plain": 1, "a": {"b": [0, {"c": "deep"}], "w": ["x"]}, "x.y": {"z": 2}, "tags": ["t"]},
        {"plain": None, "a": {"b": 5, "q": "second"}, "r": "third", "x.y": []},
        {"p": "first", "r": 5, "a": {"b": [0, {"c": 5}]}},
        {"r": "third", "tags": ["other"]},
    )
    whole = [row.pop("whole") for row in rows]
    assert [None if each is None else json.loads(each)["b"] for each in whole] == [
        [0, {"c": "deep"}], 5, [0, {"c": 5}], None,
    ]  # fmt: skip
    assert rows[0] == {
        "plain": 1, "deep": "deep", "dotted": 2.0, "first": None, "same": 1, "tag": "t",
        "words": ["x"], "_error": None,
    }  # fmt: skip
    nothing = dict.fromkeys(rows[0])
    assert rows[1] == nothing | {"first": "second"}
    assert (rows[2]["first"], rows[2]["deep"]) == ("first", None)
    assert rows[2]["_error"]
    assert (rows[3]["first"], rows[3]["tag"]) == ("third", None)
    assert rows[3]["_error"].startswith("tag: Invalid enum value")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a", ("a",)), ("$.a", ("a",)), ("a.b", ("a", "b")), ("a[0][12].b", ("a", 0, 12, "b")),
        ('"a.b"', ("a.b",)), ('$."a\\"b".c', ('a"b', "c")), ("ä b.c-d", ("ä b", "c-d")),
    ],
)  # fmt: skip
def test_a_path_is_read(text: str, path: tuple[str | int, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    "text", ["", "$", "[0]", "a..b", "a[", "a[x]", "a[-1]", '"a', ".", 5, "a." * 40]
)
def test_what_is_no_path_is_refused(text: object) -> None:
    with pytest.raises(transit.InvalidInputError):
        parse_path(text)


@pytest.mark.parametrize(
    "reads",
    [
        {}, 5, str, {"a": set[int] | complex}, {"_a": int}, {"a b": int}, {"a": int, "A": str},
        {"a": ("x", "y", int)}, {"a": ((), int)}, {"a": 5}, {f"c{n}": int for n in range(257)},
        msgspec.defstruct("A", [("x", int)], array_like=True), msgspec.defstruct("B", []),
        msgspec.defstruct("C", [("_x", int)]), {"a": complex},
    ],
)  # fmt: skip
def test_declarations_that_mean_nothing_are_refused(reads: object) -> None:
    with pytest.raises(transit.InvalidInputError):
        columns("events", reads)


def test_names_and_codecs_that_mean_nothing_are_refused() -> None:
    for name in ("", "a b", "1", "a;", 5):
        with pytest.raises(transit.InvalidInputError):
            columns(name, {"a": int})  # type: ignore[arg-type]
    with pytest.raises(transit.InvalidInputError):
        columns("a", {"a": int}, codec="xml")


def test_the_digest_is_that_of_what_decides_the_columns() -> None:
    again = columns("other_name", Kinds)
    assert KINDS.digest == again.digest
    assert len(KINDS.digest) == 32
    many = [
        {"a": int}, {"a": str}, {"b": int}, {"a": ("b", int)}, {"a": ("a.b", int)},
        {"a": (("a", "b"), int)}, {"a": list[int]}, {"a": object}, {"a": Literal["x"]},
        {"a": Literal["y"]}, {"a": Color}, {"a": Annotated[int, msgspec.Meta(ge=1)]},
        {"a": Annotated[int, msgspec.Meta(ge=2)]}, {"a": int, "b": int}, {"b": int, "a": int},
        msgspec.defstruct("A", [("a", int)]), msgspec.defstruct("A", [("a", int, 1)]),
        msgspec.defstruct("A", [("a", int, 2)]), msgspec.defstruct("A", [("a", int | None, None)]),
    ]  # fmt: skip
    assert len({columns("events", each).digest for each in many}) == len(many)
