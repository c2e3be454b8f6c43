"""Values as JSON: the plain form never raises, the exact form comes back or says that it cannot."""

from __future__ import annotations

import dataclasses
import enum
import math
import pathlib
import sys
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import transit
from transit import trace
from transit.trace.events import decode_json, encode_json
from transit.trace.values import DEPTH_MAX, encode_plain, exact, restored


def there_and_back(value: object) -> Any:
    """What is restored from the exact form, as it is stored."""
    form = exact(value)
    assert form.lost == ""
    return restored(decode_json(encode_json(form.value)))


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal, of the same types all the way down, NaN like NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return math.copysign(1, one) == math.copysign(1, other) and (
            one == other or (math.isnan(one) and math.isnan(other))
        )
    if isinstance(one, complex):
        return same(one.real, other.real) and same(one.imag, other.imag)
    if isinstance(one, dict):
        pairs = zip(one.items(), other.items(), strict=True)
        return len(one) == len(other) and all(same(a, c) and same(b, d) for (a, b), (c, d) in pairs)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, datetime):
        return (one, one.tzinfo, one.fold) == (other, other.tzinfo, other.fold)
    return bool(one == other)


hashable = st.deferred(
    lambda: (
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
        | st.binary() | st.decimals(allow_nan=False) | st.dates() | st.times() | st.datetimes()
        | st.timedeltas() | st.uuids() | st.complex_numbers(allow_nan=False)
        | st.tuples(hashable, hashable) | st.frozensets(hashable, max_size=3)
        | st.builds(range, st.integers(0, 9), st.integers(0, 2**70), st.integers(1, 5))
    )
)  # fmt: skip
anything = st.recursive(
    hashable | st.binary().map(bytearray) | st.just(math.nan),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.dictionaries(st.text() | st.just("$type"), inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
    ),
    max_leaves=12,
) | st.sets(hashable, max_size=4)


@given(anything)
def test_every_value_of_pythons_own_types_comes_back(value: object) -> None:
    assert same(there_and_back(value), value)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 1, 2, tzinfo=UTC),
        datetime(2026, 1, 2, 3, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
        date(1, 1, 1),
        time(23, 59, 59, 999999),
        pathlib.Path("/a/b"),
        pathlib.PurePosixPath("a"),
        pathlib.PureWindowsPath("c:/x"),
        uuid.UUID(int=5),
        Decimal("NaN"),
        Decimal("1.10"),
        "half \ud800",
        {"$type": "bytes", "value": "x"},
        {"1": "a", 1: "b", None: "c", (1, 2): "d"},
        -0.0,
        2**64,
    ],
    ids=repr,
)
def test_odd_values_come_back(value: object) -> None:
    found = there_and_back(value)
    assert type(found) is type(value)
    assert found == value or str(found) == str(value)


class Colour(enum.StrEnum):
    RED = "red"


class Text(str):
    __slots__ = ()


class Broken:
    def __repr__(self) -> str:
        raise ValueError("no")

    def __str__(self) -> str:
        raise ValueError("no")


class Dumping:
    def model_dump(self) -> dict[str, object]:
        raise ValueError("no")

    def __repr__(self) -> str:
        return "x" * 100_000


@dataclasses.dataclass
class Page:
    url: str
    size: int = 3


class Point(msgspec.Struct):
    x: int
    y: float = math.inf


class Model:
    def __init__(self, inner: object) -> None:
        self.inner = inner

    def model_dump(self) -> dict[str, object]:
        return {"inner": self.inner}


def cycle() -> list[object]:
    found: list[object] = []
    found.append({"again": found})
    return found


def deep(depth: int) -> object:
    found: dict[str, object] = {}
    for _ in range(depth):
        found = {"a": found}
    return found


OBJECTS: list[tuple[Any, str]] = [
    (Colour.RED, '"red"'),
    (Text("t"), '"t"'),
    (Page("u"), '{"url":"u","size":3}'),
    (Point(1), '{"x":1,"y":"inf"}'),
    (Model({1, 2}), '{"inner":[1,2]}'),
    (Model(Model(b"ab")), '{"inner":{"inner":"YWI="}}'),
    ([object], '[{"type":"type","repr":"<class \'object\'>"}]'),
    (Broken(), '{"type":"tests.trace.test_values.Broken","repr":"its text could not be made"}'),
    ({"a": math.nan}, '{"a":"nan"}'),
    ({1: "a"}, '{"1":"a"}'),
    (object(), '{"type":"object","repr":"<object object>"}'),
    (print, '{"type":"builtin_function_or_method","repr":"<built-in function print>"}'),
    (ValueError("x"), '{"type":"ValueError","message":"x"}'),
    (2**70, str(2**70)),
]


@pytest.mark.parametrize(("value", "text"), OBJECTS, ids=lambda value: repr(type(value)))
def test_an_object_is_recorded_as_it_says_of_itself(value: object, text: str) -> None:
    assert encode_plain(value).decode().replace('"' + str(2**70) + '"', str(2**70)) == text


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (Colour.RED, "value: tests.trace.test_values.Colour"),
        ({"a": [0, Text("t")]}, "value.a[1]: tests.trace.test_values.Text"),
        ((Page("u"),), "value[0]: tests.trace.test_values.Page"),
        ({3: object()}, "value[3]: object"),
        ({Colour.RED: 1}, "a key of value: tests.trace.test_values.Colour"),
    ],
    ids=["subclass", "inside", "object", "key", "key of a class"],
)
def test_what_cannot_come_back_is_named_with_its_place(value: object, place: str) -> None:
    assert exact(value).lost == place


@pytest.mark.parametrize("make", [cycle, lambda: deep(5000), lambda: deep(DEPTH_MAX + 1)])
def test_what_never_ends_or_is_too_deep_is_cut(make: Any) -> None:
    value = make()
    assert exact(value).lost
    assert "…" in encode_plain(value).decode() or len(encode_plain(value)) > DEPTH_MAX
    decode_json(encode_plain(value))


def test_a_text_that_is_too_long_is_cut_and_an_address_left_out() -> None:
    found: Any = decode_json(encode_plain(Dumping()))
    assert found["type"] == "tests.trace.test_values.Dumping"
    assert len(found["repr"]) < 5000
    assert "0x" not in encode_plain(sys.stdin.__class__.__init__).decode()
    assert encode_plain(object()) == encode_plain(object())


@pytest.mark.parametrize(
    "form",
    [
        {"$type": "none"},
        {"$type": "bytes", "value": "?"},
        {"$type": "decimal", "value": "x"},
        {"$type": "exception", "value": {"type": "os.system"}},
        {"$type": "exception", "value": {"type": "print"}},
        {"$type": "path", "value": ["os", "x"]},
        {"$type": "datetime", "value": ["2026-01-01", "../../etc/passwd"]},
        {"$type": "set", "value": [[1]]},
        {"$type": "bytes"},
        {"$type": ["list"], "value": 1},
    ],
    ids=str,
)
def test_what_is_no_exact_form_is_refused(form: object) -> None:
    with pytest.raises(transit.InvalidInputError):
        restored(form)


class Moving(dict[str, object]):
    """Another thread changes it while it is looked through."""

    def items(self) -> Any:
        raise RuntimeError("dictionary changed size during iteration")


class Unequal:
    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    "value", [2**20_000, {Broken(): 1, 2: 3}, [Moving(a=1)], {1: Moving()}], ids="abcd"
)
def test_nothing_raises_whatever_its_methods_do(value: object) -> None:
    decode_json(encode_plain(value))
    form = exact(value)
    decode_json(encode_json(form.value))
    assert form.lost or there_and_back(value) == value


def test_messages_that_cannot_be_compared_are_recorded(log: transit.Log) -> None:
    @trace.recorded("llm")
    def llm(messages: list[Any]) -> int:
        return len(messages)

    said: list[Any] = [{"role": "user", "content": f"{n} " + "x" * 40} for n in range(10)]
    with trace.task(log, "t") as task:
        for content in ("text", Unequal(), Unequal()):
            said[3]["content"] = content
            task.model_call(model="m", request={"messages": list(said)})
            assert llm(list(said)) == 10
    assert trace.dropped.count == 0
