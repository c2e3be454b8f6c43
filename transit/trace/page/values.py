"""The values of a page: each distinct one once, as JSON, referred to by its number.

Owns how a value of an event becomes JSON that a browser reads without loss, and what of it is left
out. Packed form, where `$` marks what JSON cannot say by itself:

    {"$": 7}                                 value number 7
    {"$": "number", "is": "1e400"}           a number that a browser would change
    {"$": "object", "of": [[key, value]…]}   an object whose keys would be taken for marks, or moved
    {"$": "list", "same": [7, 12], "then": [30, 31]}
                                             the first 12 items of list number 7, then these values
    {"$": "list", "then": [3, 30], "left": [1, 9]}
                                             these, of which 9 are left out after the first 1
    {"$": "cut", "head": …, "tail": …, "bytes": n, "digest": …, "json": true}
                                             a text, or a value as JSON, of which the middle is left
                                             out; BLAKE3 of all of it; tail "" where nothing is

Everything else is itself. Values come after those they refer to. Runs share no lists, so that a
page can say which request one goes on from.

What is large stands among the values, never where it is used, and is kept so that less of it can be
written: how much of each is, `bounds` decides.
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
# What is written where it is used, of values that are no texts.
INLINE_BYTES_MAX: Final = 1024
# Texts below this are written where they are used.
_TEXT_MIN: Final = 32
_DEPTH_MAX: Final = 64
# Beyond, a browser's numbers are not exact.
_INTEGER_MAX: Final = 2**53 - 1
# Requests of conversations that take turns in one run go on from one of so many before.
_RECENT_LISTS: Final = 4

_encoder: Final = msgspec.json.Encoder()


class Cut(msgspec.Struct, frozen=True):
    """A value of which the middle is left out: its beginning and end as bytes, and what it is."""

    head: bytes
    tail: bytes
    size: int
    digest: str
    is_json: bool

    @classmethod
    def of(cls, data: bytes, *, is_json: bool) -> Cut:
        """Of a value whose bytes these are."""
        most = VALUE_BYTES_MAX
        return cls(
            data[: most // 2], data[-most // 4 :], len(data), blake3(data).hexdigest(), is_json
        )

    def packed(self, most: int) -> object:
        """Its packed form, of three quarters of so many bytes."""
        return {
            "$": "cut",
            "head": _readable(self.head[: most // 2]),
            "tail": _readable(self.tail[-most // 4 :]),
            "bytes": self.size,
            "digest": self.digest,
            "json": self.is_json,
        }


class Listed(msgspec.Struct, frozen=True, gc=False):
    """A list among the values.

    before: the list it goes on from, -1 without one; same: how many items of it. then: its own.
    """

    before: int
    same: int
    then: list[int]


class _List(msgspec.Struct, frozen=True):
    """A list that was written. items: as they were given; numbers: of their values."""

    number: int
    items: Sequence[object]
    numbers: list[int]


class Values:
    """The distinct values so far.

    entries: of each its packed form as JSON, or the text that it is, or what is there of one that
    is too large. wholes: those that are JSON and not small, by number; lists: the lists.
    """

    def __init__(self) -> None:
        self.entries: list[bytes | str | Cut] = []
        self.wholes: dict[int, object] = {}
        self.lists: dict[int, Listed] = {}
        self._numbers: dict[object, int] = {}
        # By id; the object is kept, so that its id is no other's.
        self._known: dict[int, tuple[object, int]] = {}
        self._lists: dict[object, deque[_List]] = {}

    def pack(self, value: object) -> object:
        """The packed form of a value: itself where it is small, else the number of it."""
        there = len(self.entries)
        packed = self._packed(value, 0)
        if not isinstance(packed, dict | list):
            return packed
        data = encoded(packed)
        if len(data) <= INLINE_BYTES_MAX:
            return packed
        return {"$": self._large(value, data, there)}

    def _large(self, value: object, data: bytes, there: int) -> int:
        """The number of a value with this packed form, for which values were added since then."""
        if len(data) > VALUE_BYTES_MAX:
            self._forget(there)
            return self._numbered(Cut.of(json_of(value), is_json=True))
        number = self._numbered(data)
        if len(data) > INLINE_BYTES_MAX:
            self.wholes[number] = value
        return number

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
            return self._as_json(json_of(value))
        if not isinstance(value, dict):
            return [self._packed(each, depth + 1) for each in value]
        if _needs_mark(value):
            members = [[key, self._packed(each, depth + 1)] for key, each in value.items()]
            return {"$": "object", "of": members}
        return {key: self._packed(each, depth + 1) for key, each in value.items()}

    def _text(self, text: str) -> int:
        number = self._numbers.get(text)
        if number is None:
            entry: str | Cut = text
            if len(text) > VALUE_BYTES_MAX // 4:
                data = bytes_of(text)
                if len(data) > VALUE_BYTES_MAX:
                    entry = Cut.of(data, is_json=False)
            number = self._numbers[text] = self._add(entry)
        return number

    def _as_json(self, data: bytes) -> object:
        """What is shown of a value that is too deep."""
        if len(data) > VALUE_BYTES_MAX:
            return Cut.of(data, is_json=True).packed(VALUE_BYTES_MAX)
        digest = blake3(data).hexdigest()
        return Cut(data, b"", len(data), digest, True).packed(2 * VALUE_BYTES_MAX)

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
        numbers = then.copy() if best is None else best.numbers[:count]
        if best is not None:
            if count == len(best.numbers):
                # What went on is not gone back to: its numbers are those of what it became.
                recent.remove(best)
                numbers = best.numbers
            numbers += then
        made = _List(self._add(encoded(packed)), items, numbers)
        before = (-1, 0) if best is None else (best.number, count)
        self.lists[made.number] = Listed(*before, then)
        recent.append(made)
        return made.number

    def _shared(self, before: _List, items: list[object]) -> int:
        """How many items a list begins with that another begins with too."""
        most = min(len(items), len(before.numbers))
        # Requests of one reading have the objects in common that they repeat.
        count = most
        if not all(map(is_, before.items, items)):
            count = next(n for n, each in enumerate(items) if each is not before.items[n])
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
        there = len(self.entries)
        number = self._large(item, encoded(self._packed(item, 0)), there)
        self._known[id(item)] = (item, number)
        return number

    def _numbered(self, entry: bytes | Cut) -> int:
        number = self._numbers.get(entry)
        if number is None:
            number = self._numbers[entry] = self._add(entry)
        return number

    def _add(self, entry: bytes | str | Cut) -> int:
        self.entries.append(entry)
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


def bytes_of(text: str) -> bytes:
    """A text in UTF-8; half a surrogate pair, which has no bytes there, as others write it."""
    return text.encode("utf-8", "surrogatepass")


def json_of(value: object) -> bytes:
    """A value as JSON; of one that JSON cannot say, its type."""
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
