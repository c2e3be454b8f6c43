"""Packing: a record in the making, which brings along what its history does not hold yet.

Owns what a writer remembers of the lists it packed last. A model call repeats the conversation, so
most of a list is what it was: objects that were encoded are compared with a copy of what they said
then, and only what is new, or was changed in place, is encoded and digested. The copy shares the
texts with the original, so comparing the two costs little.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Generic, TypeVar

from blake3 import blake3

from transit import InvalidInputError
from transit.trace.events import decode_json, encode_json
from transit.trace.parts import (
    OF_A_MESSAGE,
    OF_A_RESPONSE,
    REFERRED_BYTES_MAX,
    USE_BYTES,
    KnownParts,
    Numbering,
    Runs,
    digest_of,
)
from transit.trace.remembered import copy_of, is_as
from transit.trace.values import encode_plain, members_of

_T = TypeVar("_T")
# What stands in a packed field: see `transit.trace.parts`.
Form = int | dict[str, object]
# Not worth a digest, even when it comes again.
INLINE_BYTES_MAX: Final = 24
# How many lists a task remembers: those of a request, and of a critic's beside it.
_REMEMBERED_MAX: Final = 4
# Shorter lists are encoded anew each time: that costs less than to compare them.
_REMEMBERED_ITEMS_MIN: Final = 4
_TEXTS_MAX: Final = 64
_SCALARS: Final = (int, float, type(None))
_NO_MEMBERS: Final = (str, int, float, type(None), list, tuple)
_DEPTH_MAX: Final = 16
# A packed value that is written out.
_AS_IT_IS: Final = {"value"}


class _New(Generic[_T]):
    """What a record has to bring along of one kind, after what is known.

    digests: of what is new, each with its number, in that order.
    """

    __slots__ = ("_known", "contents", "digests", "start")

    def __init__(self, known: Numbering) -> None:
        self._known = known.numbers
        self.start = len(known.digests)
        self.digests: dict[bytes, int] = {}
        self.contents: list[_T] = []

    def number(self, digest: bytes) -> int | None:
        """The number of what has this digest, known or new; None when nothing has."""
        found = self._known.get(digest)
        return self.digests.get(digest) if found is None else found

    def put(self, digest: bytes, content: _T) -> int:
        """The number of what has this digest, which is brought along where nothing has."""
        number = self._known.get(digest)
        if number is None:
            number = self.digests.get(digest)
        if number is None:
            number = self.digests[digest] = self.start + len(self.digests)
            self.contents.append(content)
        return number


class _List:
    """A list as it was packed: of each item its copy, part, digest; of each beginning its digest.

    sizes: bytes of the items up to each, as they count towards the limit of a record.
    """

    __slots__ = ("beginnings", "copies", "digests", "numbers", "sizes")

    def __init__(self) -> None:
        self.copies: list[object] = []
        self.numbers: list[int] = []
        self.digests: list[bytes] = []
        self.beginnings: list[bytes] = []
        self.sizes: list[int] = []

    def beginning(self, count: int) -> _List:
        """The first `count` items."""
        part = _List()
        for name in _List.__slots__:
            setattr(part, name, getattr(self, name)[:count])
        return part


class Memory:
    """What a task remembers of the lists and texts it packed last. For one thread at a time."""

    def __init__(self) -> None:
        self.lists: list[_List] = []
        self.texts: dict[str, tuple[bytes, int]] = {}

    def like(self, items: list[object]) -> tuple[_List, int]:
        """The remembered list that begins as `items` do, and how many of them are as they were.

        That is none where any is not, of those it has.
        """
        for each in self.lists:
            if each.copies and is_as(each.copies[0], items[0]):
                count = min(len(each.copies), len(items))
                return each, count if is_as(each.copies[:count], items[:count]) else 0
        return _List(), 0

    def keep(self, lists: Sequence[_List]) -> None:
        """Remember these, which are in the history now, before those of earlier records."""
        if lists:
            self.lists = [*lists, *self.lists][:_REMEMBERED_MAX]


class Packing:
    """One record in the making: packs its fields, and collects what it has to bring along."""

    def __init__(self, known: KnownParts, memory: Memory | None = None) -> None:
        self._memory = Memory() if memory is None else memory
        self._used: list[bytes] = []
        self._referred_bytes = 0
        self._refers = False
        self.parts: _New[bytes] = _New(known.parts)
        self.lists: _New[tuple[int, Runs]] = _New(known.lists)
        # The lists of this record, to be remembered once it is in the history.
        self.packed: list[_List] = []

    def pack(self, value: object, depth: int = 0) -> Form | None:
        """`value` in packed form; None for None."""
        if value is None:
            return None
        if type(value) is str:
            return self._text(value)
        if isinstance(value, dict):
            return self._members(value, depth)
        if isinstance(value, list | tuple):
            form = self._list(list(value), depth) if value else None
            if form is not None:
                return form
        elif depth < _DEPTH_MAX and (members := members_of(value)) is not None:
            return self.pack(members, depth + 1)
        return self._small_or_part(encode_plain(value))

    def _members(self, value: dict[str, object], depth: int) -> Form:
        if "role" not in value:
            return self._object(value, depth)
        if not OF_A_RESPONSE.isdisjoint(value):
            return self._response(value, depth)
        return self._small_or_part(encode_plain(value))

    def pack_whole(self, value: object) -> Form:
        """`value` as one part."""
        return self._part(encode_plain(value))

    def _small_or_part(self, data: bytes) -> Form:
        return self._part(data) if len(data) > INLINE_BYTES_MAX else {"value": decode_json(data)}

    def _text(self, text: str) -> Form:
        found = self._memory.texts.get(text)
        if found is not None:
            digest, size = found
            number = self.parts.number(digest)
            if number is not None:
                return self._use(digest, size + USE_BYTES, number)
        data = encode_plain(text)
        if len(data) <= INLINE_BYTES_MAX:
            return {"value": text}
        if len(self._memory.texts) >= _TEXTS_MAX:
            self._memory.texts.clear()
        self._memory.texts[text] = (digest_of(data), len(data))
        return self._part(data)

    def _object(self, value: dict[str, object], depth: int) -> dict[str, object]:
        rest = dict(value)
        fields: dict[str, object] = {}
        for key, member in value.items():
            if type(key) is str and not isinstance(member, _SCALARS) and depth < _DEPTH_MAX:
                form = self.pack(member, depth + 1)
                if not isinstance(form, dict) or form.keys() != _AS_IT_IS:
                    fields[key] = form
                    # Keeps the member's place among the others.
                    rest[key] = 0
        form = self._small_or_part(encode_plain(rest))
        packed: dict[str, object] = form if isinstance(form, dict) else {"part": form}
        if fields:
            packed["fields"] = fields
        return packed

    def _response(self, value: dict[str, object], depth: int) -> Form:
        message = {key: member for key, member in value.items() if key in OF_A_MESSAGE}
        form = self._object({**value, **dict.fromkeys(message, 0)}, depth)
        return form | {"message": self.pack_whole(message)}

    # Lists

    def _list(self, items: list[object], depth: int) -> Form | None:
        """A list of objects; None where something else is among them."""
        is_remembered = len(items) >= _REMEMBERED_ITEMS_MIN
        old, count = self._memory.like(items) if is_remembered else (None, 0)
        # Those that were in a list before can be.
        are_objects, hold_messages = _look_at(items[count:] if count else items)
        if not are_objects:
            return None
        if hold_messages and depth < _DEPTH_MAX:
            return {"list": [self.pack(item, depth + 1) for item in items]}
        if old is None:
            return {"items": self._list_number(*self._parts_of(items))}
        packed = self._packed(items, old, count)
        self.packed.append(packed)
        return {"items": self._list_number(packed.numbers, packed.beginnings)}

    def _parts_of(self, items: list[object]) -> tuple[list[int], list[bytes]]:
        """The items as parts, and the digest of each beginning."""
        numbers, beginnings, before = [], [], b""
        for item in items:
            data = encode_plain(item)
            digest = digest_of(data)
            numbers.append(self._part(data, digest))
            before = digest_of(before + digest)
            beginnings.append(before)
        return numbers, beginnings

    def _packed(self, items: list[object], old: _List, same_count: int) -> _List:
        """The same, of which what is as it was in a remembered list is taken from that."""
        packed, same = old.beginning(same_count) if same_count else _List(), True
        self._take(packed)
        count = min(len(old.copies), len(items))
        for place in range(len(packed.copies), len(items)):
            item = items[place]
            if place < count and is_as(old.copies[place], item):
                copy, digest, number = old.copies[place], old.digests[place], old.numbers[place]
                size = old.sizes[place] - (old.sizes[place - 1] if place else 0)
                self._use(digest, size, number)
            else:
                data = encode_plain(item)
                copy = copy_of(item)
                digest, size = digest_of(data), len(data) + USE_BYTES
                number = self._part(data, digest)
            same = same and place < count and digest == old.digests[place]
            before = packed.beginnings[-1] if place else b""
            packed.copies.append(copy)
            packed.numbers.append(number)
            packed.digests.append(digest)
            packed.sizes.append((packed.sizes[-1] if place else 0) + size)
            packed.beginnings.append(old.beginnings[place] if same else digest_of(before + digest))
        return packed

    def _take(self, packed: _List) -> None:
        """Use all parts of a list that is in the history."""
        if packed.numbers:
            self._used += packed.digests
            self._refers = True
            self._referred_bytes += packed.sizes[-1]
            if self._referred_bytes > REFERRED_BYTES_MAX:
                raise _too_large()

    def _list_number(self, numbers: list[int], beginnings: list[bytes]) -> int:
        """The number of a list; what is new of it is brought along."""
        held, base = len(beginnings), -1
        while held:
            found = self.lists.number(beginnings[held - 1])
            if found is not None:
                base = found
                break
            held -= 1
        if held < len(beginnings):
            base = self.lists.put(beginnings[-1], (base, _runs(numbers[held:])))
        return base

    # Parts

    def _part(self, data: bytes, digest: bytes | None = None) -> int:
        digest = digest or digest_of(data)
        return self._use(digest, len(data) + USE_BYTES, self.parts.put(digest, data))

    def _use(self, digest: bytes, cost: int, number: int) -> int:
        self._used.append(digest)
        if number < self.parts.start:
            self._refers = True
        self._referred_bytes += cost
        if self._referred_bytes > REFERRED_BYTES_MAX:
            raise _too_large()
        return number

    def finish(self, event: bytes) -> bytes:
        """The record's payload: the encoded event, and what it brings along."""
        if not self._used:
            return event
        # `parts` is always there: it marks records that are about parts.
        pieces = [event[:-1], b',"parts":[', b",".join(self.parts.contents), b"]"]
        if self.lists.contents:
            pieces += [b',"lists":', encode_json(self.lists.contents)]
        if self._refers:
            pieces += [b',"digest":"', blake3(b"".join(self._used)).hexdigest(4).encode(), b'"']
        return b"".join([*pieces, b"}"])


def _look_at(items: list[object]) -> tuple[bool, bool]:
    """Whether all are objects, and whether any holds a message, as `choices` of a response do."""
    holds = False
    for item in items:
        if type(item) is dict and "role" in item:
            continue
        if isinstance(item, _NO_MEMBERS):
            return False, False
        if isinstance(item, dict) and "role" not in item and not holds:
            holds = any(isinstance(each, dict) and "role" in each for each in item.values())
    return True, holds


def _too_large() -> InvalidInputError:
    return InvalidInputError(f"one event of more than {REFERRED_BYTES_MAX} bytes")


def _runs(numbers: Iterable[int]) -> Runs:
    runs: Runs = []
    for number in numbers:
        if runs and sum(runs[-1]) == number:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    return runs
