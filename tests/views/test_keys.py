from __future__ import annotations

import math
import struct
from datetime import UTC, datetime, timedelta, timezone
from enum import IntEnum
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit import CorruptError, InvalidInputError
from transit.views.maps.keys import Value, decode_key, encode_key, prefix_range
from transit.views.maps.node import KEY_BYTES_MAX

PLACE = "table 1"

ONES = (-1, 0, 1)

plain: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([sign * 2**n + m for n in (8, 64, 200) for sign in (1, -1) for m in ONES]),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.binary(max_size=8),
    st.sampled_from(["", "\0", "a\0", "a\0\xff", "a"]),
    st.sampled_from([b"", b"\0", b"\0\xff", b"\xff", b"\0\0"]),
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1),
                 timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7, minutes=-30))])),
)  # fmt: skip


def tuples(depth: int) -> st.SearchStrategy[tuple[Any, ...]]:
    inside = plain if depth == 1 else st.one_of(plain, tuples(depth - 1))
    return st.lists(inside, max_size=3).map(tuple)


values = st.one_of(plain, tuples(1), tuples(4))


class Ordered:
    """A value as Python would compare it, if it compared values of different types."""

    RANKS = (type(None), bool, int, float, str, bytes, datetime, tuple)

    def __init__(self, value: Any) -> None:
        self.rank = next(n for n, kind in enumerate(self.RANKS) if type(value) is kind)
        self.value = tuple(map(Ordered, value)) if isinstance(value, tuple) else value

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, Ordered)
        return self.rank == other.rank and bool(self.value == other.value)

    def __lt__(self, other: Ordered) -> bool:
        if self.rank != other.rank:
            return self.rank < other.rank
        return self.value is not None and bool(self.value < other.value)

    __hash__ = None  # type: ignore[assignment]


def same(left: Any, right: Any) -> bool:
    """Equal, of the same types, with the same signs of zero but that of -0.0."""
    return Ordered(left) == Ordered(right)


@given(values)
def test_a_value_comes_back_from_its_key(value: Value) -> None:
    assert same(decode_key(encode_key(value), PLACE), value)


@given(values, values)
def test_keys_sort_as_values_do(left: Value, right: Value) -> None:
    first, second = encode_key(left), encode_key(right)
    assert (first < second) == (Ordered(left) < Ordered(right))
    assert (first == second) == same(left, right)


@given(tuples(2), tuples(2), values)
def test_a_range_of_a_prefix_has_the_tuples_that_begin_so_and_no_other_key(
    prefix: tuple[Any, ...], more: tuple[Any, ...], other: Any
) -> None:
    start, stop = prefix_range(prefix)
    longer = encode_key(prefix) + encode_key(more)[1:]
    assert start <= longer < stop
    assert longer.startswith(encode_key(prefix))
    key = encode_key(other)
    begins = type(other) is tuple and same(other[: len(prefix)], prefix)
    assert (start <= key < stop) == begins


def test_numbers_of_all_sizes_sort() -> None:
    sizes = [2**n + more for n in range(1024) for more in (-1, 0)]
    numbers = sorted({0, *sizes, *(-size for size in sizes)})
    keys = [encode_key(number) for number in numbers]
    assert keys == sorted(keys)
    assert [decode_key(key, PLACE) for key in keys] == numbers
    floats = sorted([0.0, -math.inf, math.inf, 5e-324, -5e-324, 1.5, -1.5, 1e308, -1e308])
    assert all(encode_key(a) < encode_key(b) for a, b in pairwise(floats))


def test_types_are_never_one_key_but_both_zeros_and_both_zones_are() -> None:
    assert len({encode_key(value) for value in (1, 1.0, True, "1", b"1", (1,), ((1,),))}) == 7
    assert encode_key(-0.0) == encode_key(0.0)
    assert math.copysign(1, decode_key(encode_key(-0.0), PLACE)) == 1  # type: ignore[arg-type]
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    east = noon.astimezone(timezone(timedelta(hours=9)))
    assert encode_key(east) == encode_key(noon)
    found = decode_key(encode_key(east), PLACE)
    assert isinstance(found, datetime)
    assert found.tzinfo is UTC


class Number(IntEnum):
    ONE = 1


def test_an_enum_of_numbers_is_its_number() -> None:
    assert encode_key(Number.ONE) == encode_key(1)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        (1, (math.nan,)),
        "\ud800",
        datetime(2026, 1, 1),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=1))),
        datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
        [1],
        {1},
        1j,
        bytearray(b"a"),
        datetime(2026, 1, 1).date(),
        ((((("five",),),),),),
        2**1024,
        -(2**1024),
        "x" * 1023,
        b"\0" * 512,
        tuple(range(600)),
    ],
)
def test_values_that_are_no_keys_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError):
        encode_key(value)


def test_a_prefix_that_is_no_tuple_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="tuple"):
        prefix_range("text")  # type: ignore[arg-type]


def test_the_largest_values_are_taken() -> None:
    for value in (2**1024 - 1, -(2**1024) + 1, "x" * 1022, (((("four",),),),)):
        assert decode_key(encode_key(value), PLACE) == value  # type: ignore[arg-type]


NEGATIVE_ZERO = struct.pack(">Q", (1 << 63) - 1)
HOSTILE = {
    "nothing": b"",
    "no such code": b"\x01",
    "no such code in a tuple": b"\x90\x01",
    "two values": b"\x10\x10",
    "int without bytes": b"\x39",
    "int with a zero before it": b"\x3a\x00\x01",
    "int of 0 in a byte": b"\x39\x00",
    "int below 0 with a one before it": b"\x36\xff\xfe",
    "long int of 8 bytes": b"\x41\x08" + b"\x01" * 8,
    "long int of 129 bytes": b"\x41\x81" + b"\x01" * 129,
    "long int cut off": b"\x41\x10\x01",
    "long int with a zero before it": b"\x41\x09\x00" + b"\x01" * 8,
    "long int below 0 of 8 bytes": b"\x2f\xf7" + b"\x01" * 8,
    "float cut off": b"\x50" + bytes(7),
    "NaN": b"\x50\xff\xf8" + bytes(6),
    "NaN below 0": b"\x50\x00\x01" + bytes(6),
    "-0.0": b"\x50" + NEGATIVE_ZERO,
    "text without an end": b"\x60a",
    "text that ends in an escape": b"\x60a\x00\xff",
    "text that is no UTF-8": b"\x60\xff\x00",
    "text of half a pair": b"\x60\xed\xa0\x80\x00",
    "datetime cut off": b"\x80" + bytes(7),
    "datetime before the year 1": b"\x80" + bytes(8),
    "datetime behind the year 9999": b"\x80" + b"\xff" * 8,
    "inner tuple without an end": b"\x90\x90\x10",
    "an end without a tuple": b"\x90\x00",
    "tuples five deep": b"\x90" * 5 + b"\x00" * 4,
    "tuples a thousand deep": b"\x90" * 1024,
    "longer than any key": b"\x70" + b"a" * KEY_BYTES_MAX + b"\x00",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_bytes_that_are_no_key_are_refused_with_their_place(name: str) -> None:
    with pytest.raises(CorruptError, match=r"^table 1"):
        decode_key(HOSTILE[name], PLACE)


@pytest.mark.parametrize("value", [2**70, -5, 1.5, "a\0b", b"\0", datetime(2026, 1, 1, tzinfo=UTC)])
def test_every_truncation_of_a_key_is_refused_or_the_key_of_what_it_begins_with(
    value: Value,
) -> None:
    key = encode_key(value)
    for size in range(len(key)):
        try:
            found = decode_key(key[:size], PLACE)
        except CorruptError:
            continue
        assert isinstance(value, str | bytes)
        assert value.startswith(found)  # type: ignore[arg-type]


@given(st.binary(max_size=40))
def test_bytes_that_are_a_key_are_that_of_their_value_alone(data: bytes) -> None:
    for found in (data, b"\x90" + data):
        try:
            value = decode_key(found, PLACE)
        except CorruptError:
            continue
        assert encode_key(value) == found


def test_the_bytes_of_keys_stay_as_they_are() -> None:
    when = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
    value = (None, True, 0, 300, -300, 2**64, -(2**64), 1.5, -1.5, "a\0é", b"\0\xff", when, ("in",))
    assert encode_key(value).hex() == (
        "90" "10" "21" "38" "3a012c" "36fed3" "4109010000000000000000" "2ff6feffffffffffffffff"
        "50bff8000000000000" "504007ffffffffffff" "606100ffc3a900" "7000ffff00"
        "80800650c0bd4ac200" "9060696e0000"
    )  # fmt: skip
