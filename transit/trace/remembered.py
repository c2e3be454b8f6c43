"""Remembered objects: whether an object still says what it said when it was encoded.

A copy shares the texts with the original, so that comparing the two costs little; it is equal to an
object only where that has the same JSON, also when it was changed in place.
"""

from __future__ import annotations

from operator import is_
from typing import Final, cast

from transit.trace.values import is_plain_object

_TEXTS: Final = frozenset((str, type(None)))
_NUMBERS: Final = frozenset((bool, int, float))
_DEPTH_MAX: Final = 16


class _Never:
    """Equal to nothing: stands for an object that has to be looked at again."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


NEVER: Final = _Never()


class _Same:
    """A number, equal to one of its own type only: not 1 to True."""

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self._value) and other == self._value

    __hash__ = None  # type: ignore[assignment]


class _Seen:
    """What an object of a class said: its attributes."""

    __slots__ = ("_kind", "_members")

    def __init__(self, kind: type, members: dict[str, object]) -> None:
        self._kind = kind
        self._members = members

    def __eq__(self, other: object) -> bool:
        return type(other) is self._kind and self._members == other.__dict__

    __hash__ = None  # type: ignore[assignment]


def copy_of(item: object) -> object:
    """A copy to compare `item` with later; `NEVER` where equal would not mean the same JSON."""
    copied = _copied(item, _DEPTH_MAX)
    if copied is NEVER and is_plain_object(item):
        members = _copied(item.__dict__, _DEPTH_MAX)
        return (
            members if members is NEVER else _Seen(type(item), cast("dict[str, object]", members))
        )
    return copied


def _copied(value: object, depth: int) -> object:
    kind = type(value)
    if kind in _TEXTS:
        return value
    if kind in _NUMBERS:
        return _Same(value)
    if depth == 0:
        return NEVER
    if kind is list:
        items = [_copied(item, depth - 1) for item in cast("list[object]", value)]
        return NEVER if NEVER in items else items
    if kind is not dict:
        return NEVER
    members: dict[object, object] = {}
    for key, member in cast("dict[object, object]", value).items():
        copied = _copied(member, depth - 1)
        if copied is NEVER or type(key) is not str:
            return NEVER
        members[key] = copied
    return members


def is_as(copy: object, item: object) -> bool:
    """Whether an object still is as its copy says."""
    try:
        return bool(copy == item)
    except Exception:
        # What is inside is compared by methods of its own, as arrays are.
        return False


def prefix_of(copies: list[object], items: list[object]) -> int:
    """How many of `items`, from the first on, are still as their copies say."""
    count = min(len(copies), len(items))
    if is_as(copies[:count], items[:count]):
        return count
    return next((n for n in range(count) if not is_as(copies[n], items[n])), 0)


def are_same(one: list[object], other: list[object]) -> bool:
    """Whether two lists consist of the same objects."""
    return len(one) == len(other) and all(map(is_, one, other))
