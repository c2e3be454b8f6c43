"""Unpacking: values put together again from the parts a stream's history holds.

Owns what a reader knows of a history. Parts are decoded once a reader, so values of several records
have objects in common, as the conversations had from which they were made.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import accumulate, islice
from typing import Final, cast

import msgspec
from blake3 import blake3

from transit import CorruptError, Stream
from transit.trace.events import decode_json
from transit.trace.parts import (
    REFERRED_BYTES_MAX,
    STEP_BYTES,
    Members,
    Number,
    Runs,
    brought_by,
    digest_of,
)

# A conversation goes on from the list of the call before.
_LISTS_MAX: Final = 8


class _PackedObject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is no number of a part: one of `items`, `packed`, `value` and `part`."""

    items: Number | msgspec.UnsetType = msgspec.UNSET
    packed: list[_Form] | msgspec.UnsetType = msgspec.field(name="list", default=msgspec.UNSET)
    value: object = msgspec.UNSET
    part: Number | msgspec.UnsetType = msgspec.UNSET
    fields: dict[str, _Form] = {}
    message: Number | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if (self.items, self.packed, self.value, self.part).count(msgspec.UNSET) != 3:
            raise ValueError("one of items, list, value and part")


_Form = Number | _PackedObject


class _List(msgspec.Struct, frozen=True, gc=False):
    """A list put together: its values, the digests of its parts joined, and the bounds of these.

    lowest, highest: the smallest and the largest number of a part, of an empty list such that
    none is below and none above.
    """

    values: list[object]
    digests: bytes
    lowest: int
    highest: int


_EMPTY: Final = _List([], b"", sys.maxsize, -1)


class HistoryParts:
    """The parts and lists in a stream's history, by number: what a reader needs."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.parts: list[bytes] = []
        self.digests: list[bytes] = []
        self.lists: list[tuple[int, Runs]] = []
        # What using the parts before number n costs, and what using list n costs, bytes.
        self._part_costs = [0]
        self._list_costs: list[int] = []
        # Of each record taken in: the counts of parts before and after it, and its digest.
        self._records: list[tuple[int, int, str]] = []
        # Parts that were decoded, and the last lists that were put together.
        self._decoded: dict[int, object] = {}
        self._lists: dict[int, _List] = {}

    def until(self, stop: int) -> None:
        """Take in the history up to before offset `stop`."""
        if stop > len(self._records):
            for record in self._stream.read(len(self._records), stop):
                self.add(record.payload)

    def add(self, payload: bytes) -> None:
        """Take in the next record."""
        brought, before = brought_by(payload), len(self.parts)
        parts = list(map(bytes, brought.parts))
        self.parts += parts
        self.digests += map(digest_of, parts)
        costs = (len(part) + STEP_BYTES for part in parts)
        self._part_costs += islice(accumulate(costs, initial=self._part_costs[-1]), 1, None)
        for base, runs in brought.lists:
            before_it = self._list_costs[base] if 0 <= base < len(self.lists) else 0
            own = sum(self.run_cost(first, count) for first, count in runs)
            self._list_costs.append(before_it + own + STEP_BYTES)
            self.lists.append((base, runs))
        self._records.append((before, len(self.parts), brought.digest))

    def run_cost(self, first: int, count: int) -> int:
        """What using consecutive parts costs, bytes; those that are not there cost nothing."""
        costs, last = self._part_costs, len(self._part_costs) - 1
        return costs[min(first + count, last)] - costs[min(first, last)] + STEP_BYTES

    def list_cost(self, number: int) -> int:
        """What using a list costs, bytes; `LookupError` when there is none with this number."""
        return self._list_costs[number]

    def list_of(self, number: int, stop: int) -> _List:
        """A list of parts before `stop`, which goes on from the one before where that is known.

        `ValueError` for one that goes on from a later one, `LookupError` for parts not there.
        """
        wanted, waiting = number, []
        while number >= 0 and number not in self._lists:
            base, runs = self.lists[number]
            if base >= number:
                raise ValueError(f"list {number} goes on from list {base}")
            waiting.append(runs)
            number = base
        found = self._lists.get(number, _EMPTY)
        if waiting:
            found = self._gone_on(found, waiting, stop)
            while len(self._lists) >= _LISTS_MAX:
                del self._lists[next(iter(self._lists))]
            self._lists[wanted] = found
        if found.highest >= stop:
            raise LookupError(f"no part {found.highest}, only {stop}")
        return found

    def _gone_on(self, before: _List, waiting: list[Runs], stop: int) -> _List:
        """A list and what those that go on from it add, the last of these first."""
        values, digests = list(before.values), [before.digests]
        lowest, highest = before.lowest, before.highest
        for runs in reversed(waiting):
            for first, count in runs:
                if first + count > min(stop, len(self.parts)):
                    raise LookupError(f"no parts {first} to {first + count - 1}")
                if count:
                    lowest, highest = min(lowest, first), max(highest, first + count - 1)
                    digests += self.digests[first : first + count]
                    values += map(self.value_of, range(first, first + count))
        return _List(values, b"".join(digests), lowest, highest)

    def value_of(self, number: int) -> object:
        """The value that is part `number`; the same object each time."""
        value = self._decoded.get(number)
        if value is None:
            value = self._decoded[number] = decode_json(self.parts[number])
        return value

    def unpack(
        self, offset: int, forms: Mapping[str, object], place: str
    ) -> dict[str, object] | None:
        """The values of the packed fields of the record at `offset`, which was taken in.

        None when they are not packed: another program's record. `CorruptError` with `place` when
        the parts are not those it was written with.
        """
        try:
            typed = {key: msgspec.convert(form, _Form) for key, form in forms.items()}
        except (msgspec.ValidationError, UnicodeEncodeError, RecursionError):
            return None
        before, stop, digest = self._records[offset]
        unpacking = _Unpacking(self, stop)
        try:
            values = {key: unpacking.value(form) for key, form in typed.items()}
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise CorruptError(place, expected="packed values", found=repr(error)) from None
        if digest or unpacking.lowest < before:
            found = blake3(b"".join(unpacking.used)).hexdigest(4)
            if found != digest:
                expected = f"parts with digest {digest or 'missing'}"
                raise CorruptError(place, expected=expected, found=found)
        return values


class _Unpacking:
    """The packed fields of one record being put together; it may use parts before `stop`.

    used: the digests of those it used, in order, some joined. lowest: the smallest of their
    numbers.
    """

    def __init__(self, history: HistoryParts, stop: int) -> None:
        self._history = history
        self._stop = stop
        self.used: list[bytes] = []
        self.lowest = stop
        self._left = REFERRED_BYTES_MAX

    def value(self, form: _Form) -> object:
        """The value a packed value stands for."""
        if isinstance(form, int):
            return self._part(form)
        if form.items is not msgspec.UNSET:
            return self._items(form.items)
        if form.packed is not msgspec.UNSET:
            return [self.value(item) for item in form.packed]
        # In the order of the writer, whose digest is about it.
        members = {key: self.value(member) for key, member in form.fields.items()}
        part, message = form.part, form.message
        value = form.value if part is msgspec.UNSET else self._part(part)
        if message is not msgspec.UNSET:
            members |= cast(Members, self._part(message))
        if members:
            # Each takes the place the writer kept for it among the others, in a copy of its own.
            return {**cast(Members, value), **members}
        return value

    def _items(self, number: int) -> object:
        """The list with this number: what it goes on from, and what it adds to that."""
        self._spend(self._history.list_cost(number))
        found = self._history.list_of(number, self._stop)
        self.lowest = min(self.lowest, found.lowest)
        self.used.append(found.digests)
        # Each record has a list of its own.
        return found.values.copy()

    def _part(self, number: int) -> object:
        self._spend(self._history.run_cost(number, 1))
        if number >= self._stop:
            raise LookupError(f"no part {number}, only {self._stop}")
        self.lowest = min(self.lowest, number)
        self.used.append(self._history.digests[number])
        return self._history.value_of(number)

    def _spend(self, cost: int) -> None:
        """Count what is referred to; refused before memory is taken for it."""
        self._left -= cost
        if self._left < 0:
            raise ValueError(f"values of more than {REFERRED_BYTES_MAX} bytes")
