"""Forms: the arguments and results of recorded calls in exact form, and their digests.

A function that is given the whole conversation is called with nearly the same list each time. So
the lists of the last calls are remembered, item by item: what is as it was is neither looked
through nor digested again.

The digest of a value is BLAKE3, 32 hex digits, of the exact form as JSON with sorted keys, in which
a list of eight objects or more stands as {"$list": D}: D is BLAKE3, 32 hex digits, over the BLAKE3,
16 bytes each, of its items as JSON with sorted keys.
"""

from __future__ import annotations

import json
from typing import Final, cast

import msgspec
from blake3 import blake3

from transit.trace.remembered import are_same, copy_of, is_as, prefix_of
from transit.trace.values import Exact, exact

_ITEMS_MIN: Final = 8
_DEPTH_MAX: Final = 4
_REMEMBERED_MAX: Final = 4
_encoder: Final = msgspec.json.Encoder(order="deterministic")


class _List:
    """A list as it was looked through: of each item its copy, form, digest, and what was lost."""

    __slots__ = ("copies", "digests", "forms", "lost")

    def __init__(self) -> None:
        self.copies: list[object] = []
        self.forms: list[object] = []
        self.digests: list[bytes] = []
        self.lost: list[str] = []


class Forms:
    """What one task remembers of the values of its calls. Of any thread; the last one counts."""

    def __init__(self) -> None:
        self._lists: tuple[_List, ...] = ()

    def exact(self, value: object, place: str) -> Exact:
        """`value` in exact form."""
        form, lost = self._form(value, place, _DEPTH_MAX)
        return Exact(form, lost)

    def _form(self, value: object, place: str, depth: int) -> tuple[object, str]:
        kind = type(value)
        if kind is dict and depth and "$type" not in cast("dict[object, object]", value):
            members = cast("dict[object, object]", value)
            if all(type(key) is str for key in members):
                return self._members(cast("dict[str, object]", members), place, depth)
        if kind is list and _is_long(cast("list[object]", value)):
            return self._items(cast("list[object]", value), place)
        found = exact(value, place)
        return found.value, found.lost

    def _members(self, members: dict[str, object], place: str, depth: int) -> tuple[object, str]:
        forms: dict[str, object] = {}
        first = ""
        for key, member in members.items():
            forms[key], lost = self._form(member, f"{place}.{key}", depth - 1)
            first = first or lost
        return forms, first

    def _items(self, items: list[object], place: str) -> tuple[object, str]:
        old = next((each for each in self._lists if is_as(each.copies[0], items[0])), None)
        known = _List() if old is None else old
        count = prefix_of(known.copies, items)
        made = _List()
        for name in _List.__slots__:
            setattr(made, name, getattr(known, name)[:count])
        for n in range(count, len(items)):
            found = exact(items[n], f"{place}[{n}]")
            made.copies.append(copy_of(items[n]))
            made.forms.append(found.value)
            made.digests.append(blake3(_sorted(found.value)).digest(16))
            made.lost.append(found.lost)
        others = [each for each in self._lists if each is not old]
        self._lists = (made, *others[: _REMEMBERED_MAX - 1])
        return list(made.forms), next((each for each in made.lost if each), "")

    def digest(self, form: object) -> str:
        """The digest of a value, from its exact form."""
        return blake3(_sorted(self._reduced(form, _DEPTH_MAX))).hexdigest(16)

    def _reduced(self, form: object, depth: int) -> object:
        if type(form) is dict and depth:
            return {key: self._reduced(member, depth - 1) for key, member in form.items()}
        if type(form) is list and _is_long(form):
            digests = self._digests(form)
            return {"$list": blake3(b"".join(digests)).hexdigest(16)}
        return form

    def _digests(self, forms: list[object]) -> list[bytes]:
        for each in self._lists:
            # The very objects that were made of it, or of its beginning.
            if are_same(each.forms, forms):
                return each.digests
        return [blake3(_sorted(form)).digest(16) for form in forms]


def _is_long(items: list[object]) -> bool:
    return len(items) >= _ITEMS_MIN and not any(
        isinstance(item, str | int | float | list | tuple | type(None)) for item in items
    )


def _sorted(form: object) -> bytes:
    try:
        return _encoder.encode(form)
    except UnicodeEncodeError:
        # Half a surrogate pair.
        return json.dumps(form, sort_keys=True, separators=(",", ":")).encode()
