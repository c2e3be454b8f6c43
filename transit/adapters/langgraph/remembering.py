"""Values that were serialized before are not serialized again, unless they have changed.

A superstep repeats the whole conversation. Owns how it is known that an object is what it was: it
is the same object, and what it consists of is the same. A program may change in place what it gave,
so identity is not enough: of each object its containers are kept as they were, and compared, which
costs about a microsecond. What cannot be compared so is serialized each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter, is_
from typing import Final

_PLAIN: Final = frozenset((str, bytes, type(None)))
_NUMBERS: Final = frozenset((int, float, bool))
# Alone in a list, such an item is not worth a part of its own.
SCALARS: Final = _PLAIN | _NUMBERS
# Copies of containers without items; nobody changes copies.
_EMPTY: Final[Mapping[type, object]] = {dict: {}, list: [], tuple: ()}
_TEXT_MIN: Final = 200
_DEPTH_MAX: Final = 50
_NO_COPIES: Final[Mapping[int, object]] = {}


class _Number:
    """A number as it was: 1, 1.0 and True are three."""

    __slots__ = ("value",)

    def __init__(self, value: float) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        value = self.value
        return other is value or (type(other) is type(value) and repr(other) == repr(value))

    def __hash__(self) -> int:
        return hash(self.value)


# Stands for a copy that cannot be made.
NEVER: Final = object()


class _UnknownError(Exception):
    """The object has a part of which it cannot be told whether it changes."""


_extra_of: Final = attrgetter("__pydantic_extra__")
_fields_of: Final = attrgetter("__dict__")


def inside(value: object) -> object:
    """What an object consists of, as it is now: containers that may change, themselves."""
    kind = type(value)
    if kind in SCALARS:
        return None
    if kind is dict or kind is list or kind is tuple:
        return value
    if not _is_model(kind):
        return value
    # A field that a program adds makes another object of it.
    return None if _extra_of(value) else _fields_of(value)


def _is_model(kind: type) -> bool:
    """Whether its objects are models of Pydantic, as messages are: all they have is in fields."""
    return hasattr(kind, "__pydantic_fields__")


def as_it_is(value: object) -> object:
    """A copy of `inside(value)` that equals it until it changes; `NEVER` where none can."""
    if type(value) in SCALARS:
        return None
    try:
        found = inside(value)
        if found is None or (found is value and type(value) not in (dict, list, tuple)):
            return NEVER
        return _copy(found, 0)
    except _UnknownError:
        return NEVER


def _copy(value: object, depth: int) -> object:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind in _EMPTY and not value:
        # Most of what a message may have, it has not: one for all takes less memory to look at.
        return _EMPTY[kind]
    if kind in _NUMBERS:
        return _Number(value)  # type: ignore[arg-type]
    if depth < _DEPTH_MAX:
        if isinstance(value, dict) and kind is dict and _PLAIN.issuperset(map(type, value)):
            return {
                key: each if type(each) in _PLAIN else _copy(each, depth + 1)
                for key, each in value.items()
            }
        if isinstance(value, list) and kind is list:
            return [_copy(each, depth + 1) for each in value]
        if isinstance(value, tuple) and kind is tuple:
            return tuple(_copy(each, depth + 1) for each in value)
    raise _UnknownError


def is_as_it_was(item: object, copy: object) -> bool:
    """Whether an object is what it was when `as_it_is` made this copy of it."""
    return copy is not NEVER and _same(inside(item), copy)


def is_heavy(item: object) -> bool:
    """Whether an item of a list is worth a part of its own."""
    kind = type(item)
    if kind in _NUMBERS or item is None:
        return False
    return kind not in _PLAIN or len(item) >= _TEXT_MIN  # type: ignore[arg-type]


class Seen:
    """The items of a list as they were when it was stored or loaded by `serde`."""

    __slots__ = ("_models", "_unsure", "copies", "items", "serde")

    def __init__(self, serde: object) -> None:
        self.serde = serde
        self.items: list[object] = []
        self.copies: list[object] = []
        self._unsure = False
        self._models = True

    def add(self, items: Sequence[object], copied: Mapping[int, object] = _NO_COPIES) -> None:
        """More of them. copied: copies that were made, by the identity of the item."""
        for item in items:
            copy = copied[id(item)] if id(item) in copied else as_it_is(item)
            self.items.append(item)
            self.copies.append(copy)
            self._unsure = self._unsure or copy is NEVER
            self._models = self._models and _is_model(type(item))

    def begins(self, items: Sequence[object]) -> bool:
        """Whether a list begins with all these, unchanged."""
        mine = self.items
        if self._unsure or len(items) < len(mine) or not all(map(is_, items, mine)):
            return False
        if not self._models:
            return _same(list(map(inside, mine)), self.copies)
        # The usual case, hundreds of messages: without a step of Python for each.
        if any(map(_extra_of, mine)):
            return False
        return _same(list(map(_fields_of, mine)), self.copies)

    def places(self) -> Callable[[object], int | None]:
        """A function that tells the place of an unchanged item here, None for any other."""
        by_id = {id(item): place for place, item in enumerate(self.items)}

        def place_of(item: object) -> int | None:
            place = by_id.get(id(item))
            if place is None:
                return None
            return place if is_as_it_was(item, self.copies[place]) else None

        return place_of


def _same(now: object, before: object) -> bool:
    try:
        return bool(now == before)
    except Exception:
        # What was put there since cannot be compared.
        return False
