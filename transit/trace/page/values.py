"""The values of a page: each distinct one once, as JSON, referred to by its number.

Owns how a value of an event becomes JSON that a browser reads without loss, and what of it is left
out. Packed form, where `$` marks what JSON cannot say by itself:

    {"$": 7}                                 value number 7
    {"$": "number", "is": "1e400"}           a number that a browser would change
    {"$": "object", "of": [[key, value]…]}   an object whose keys would be taken for marks, or moved
    {"$": "list", "same": [7, 12], "then": [30, 31]}
                                             the first 12 items of list number 7, then these values
    {"$": "cut", "head": …, "tail": …, "bytes": n, "digest": …, "json": true}
                                             a text, or a value as JSON, of which the middle is left
                                             out; BLAKE3 of all of it; tail "" where nothing is

Everything else is itself. Values come after those they refer to. Runs share no lists, so that a
page can say which request one goes on from.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from operator import is_
from typing import Final

import msgspec
from blake3 import blake3

from transit import InvalidInputError
from transit.trace.events import encode_json

# A text above this is cut, and so is a value that is above it without its texts.
VALUE_BYTES_MAX: Final = 64 * 1024
HEAD_BYTES: Final = 32 * 1024
TAIL_BYTES: Final = 16 * 1024
# Texts below this are written where they are used.
_TEXT_MIN: Final = 32
_DEPTH_MAX: Final = 64
# Beyond, a browser's numbers are not exact.
_INTEGER_MAX: Final = 2**53 - 1
# Requests of conversations that take turns in one run go on from one of so many before.
_RECENT_LISTS: Final = 4

_encoder: Final = msgspec.json.Encoder()


class _List(msgspec.Struct, frozen=True):
    """A list that was written. items: as they were given; numbers: of their values."""

    number: int
    items: Sequence[object]
    numbers: list[int]


class Values:
    """The distinct values so far. entries: of each its packed form, as JSON."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self._numbers: dict[object, int] = {}
        # By id; the object is kept, so that its id is no other's.
        self._known: dict[int, tuple[object, int]] = {}
        self._lists: dict[object, deque[_List]] = {}

    def pack(self, value: object) -> object:
        """The packed form of a value; that of one which is too large or too deep is cut."""
        there = len(self.entries)
        packed = self._packed(value, 0)
        if isinstance(packed, dict | list) and len(encoded(packed)) > VALUE_BYTES_MAX:
            self._forget(there)
            return self._cut(_json_of(value), is_json=True)
        return packed

    def pack_request(self, place: str, request: object) -> object:
        """The packed form of a model's request, whose lists go on from those before at `place`."""
        if isinstance(request, list):
            return {"$": self._list((place, ""), request)}
        if not isinstance(request, dict) or _needs_mark(request):
            return self.pack(request)
        return {
            key: {"$": self._list((place, key), value)}
            if isinstance(value, list) and value
            else self.pack(value)
            for key, value in request.items()
        }

    def _packed(self, value: object, depth: int) -> object:
        if isinstance(value, str):
            return value if len(value) < _TEXT_MIN else {"$": self._text(value)}
        if isinstance(value, dict | list | tuple):
            return self._inside(value, depth)
        if isinstance(value, int | float):
            return _number(value)
        return None if value is None else self._packed(str(value), depth)

    def _inside(
        self, value: dict[str, object] | list[object] | tuple[object, ...], depth: int
    ) -> object:
        if depth == _DEPTH_MAX:
            return self._cut(_json_of(value), is_json=True)
        if not isinstance(value, dict):
            return [self._packed(each, depth + 1) for each in value]
        if _needs_mark(value):
            members = [[key, self._packed(each, depth + 1)] for key, each in value.items()]
            return {"$": "object", "of": members}
        return {key: self._packed(each, depth + 1) for key, each in value.items()}

    def _text(self, text: str) -> int:
        number = self._numbers.get(text)
        if number is None:
            # Half a surrogate pair has no bytes of its own in UTF-8.
            data = text.encode("utf-8", "surrogatepass")
            packed: object = text
            if len(data) > VALUE_BYTES_MAX:
                packed = self._cut(data, is_json=False)
            number = self._numbers[text] = self._add(encoded(packed))
        return number

    def _cut(self, data: bytes, *, is_json: bool) -> object:
        """What is shown of a value whose bytes are these."""
        long = len(data) > VALUE_BYTES_MAX
        return {
            "$": "cut",
            "head": _readable(data[:HEAD_BYTES] if long else data),
            "tail": _readable(data[-TAIL_BYTES:]) if long else "",
            "bytes": len(data),
            "digest": blake3(data).hexdigest(),
            "json": is_json,
        }

    def _list(self, key: object, items: list[object]) -> int:
        """The number of a list, which goes on from the one that it shares most items with."""
        recent = self._lists.setdefault(key, deque(maxlen=_RECENT_LISTS))
        best, count = None, 0
        for each in reversed(recent):
            shared = self._shared(each, items)
            if shared > count:
                best, count = each, shared
        if best is not None and count == len(items) == len(best.numbers):
            return best.number
        then = [self._item(item) for item in items[count:]]
        packed: dict[str, object] = {"$": "list", "then": then}
        if best is not None:
            packed["same"] = [best.number, count]
        numbers = [*(best.numbers[:count] if best else ()), *then]
        made = _List(self._add(encoded(packed)), items, numbers)
        if best is not None and count == len(best.numbers):
            # What went on is not gone back to.
            recent.remove(best)
        recent.append(made)
        return made.number

    def _shared(self, before: _List, items: list[object]) -> int:
        """How many items a list begins with that another begins with too."""
        most = min(len(items), len(before.numbers))
        # Requests of one reading have the objects in common that they repeat.
        same = list(map(is_, before.items, items))
        count = same.index(False) if False in same else most
        while count < most and self._item(items[count]) == before.numbers[count]:
            count += 1
        return count

    def _item(self, item: object) -> int:
        """The number of an item of a list."""
        known = self._known.get(id(item))
        if known is not None:
            return known[1]
        if isinstance(item, str):
            return self._text(item)
        data = encoded(self.pack(item))
        number = self._numbers.get(data)
        if number is None:
            number = self._numbers[data] = self._add(data)
        self._known[id(item)] = (item, number)
        return number

    def _add(self, data: bytes) -> int:
        self.entries.append(data)
        return len(self.entries) - 1

    def _forget(self, there: int) -> None:
        """Leave out the values after the first `there`: what they were made for is cut."""
        del self.entries[there:]
        while self._numbers and next(reversed(self._numbers.values())) >= there:
            self._numbers.popitem()


def encoded(packed: object) -> bytes:
    """The JSON of what is packed; half a surrogate pair is escaped."""
    try:
        return _encoder.encode(packed)
    except UnicodeEncodeError:
        return json.dumps(packed, separators=(",", ":")).encode()


def _json_of(value: object) -> bytes:
    try:
        return encode_json(value)
    except InvalidInputError:
        # Not a number, or deeper than JSON is written.
        return repr(type(value)).encode()


def _number(value: float) -> object:
    if isinstance(value, bool) or (type(value) is int and abs(value) <= _INTEGER_MAX):
        return value
    if isinstance(value, float) and not value.is_integer() and value - value == 0:
        return value
    return {"$": "number", "is": repr(value)}


def _needs_mark(value: dict[str, object]) -> bool:
    """Whether a key would be taken for a mark, or be put first by a browser as numbers are."""
    return "$" in value or any(key[:1].isdigit() for key in value)


def _readable(data: bytes) -> str:
    """Text of bytes that may begin or end inside a character."""
    return (
        data.decode("utf-8", "surrogatepass") if _is_whole(data) else data.decode("utf-8", "ignore")
    )


def _is_whole(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True
