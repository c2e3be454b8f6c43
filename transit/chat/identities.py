"""Ids of messages: from what a sender calls a message to its offset, in little memory.

A table of open addressing over hashes of 64 bits: 24 to 48 bytes an id, whatever the ids are; and a
dict of the last few that were added one by one. Two ids with one hash are told apart by the record
that the offset leads to, which the caller looks at.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

_SLOTS_MIN: Final = 64
_PIECE: Final = 1 << 14
"""Slots that are copied at once."""
_RECENT_MAX: Final = 1 << 15
"""Ids that are kept in a dict, some 110 bytes each, until they go to the table."""
_WORD: Final = (1 << 64) - 1


def hash_of(message_id: str) -> int:
    """64 bits, never 0; the same in this process."""
    return hash(message_id) & _WORD or 1


class Identities:
    """Offsets by hash. Several may have one hash. One thread adds; others may look meanwhile."""

    __slots__ = ("_count", "_most", "_recent", "_table")

    def __init__(self) -> None:
        # Of those in the table.
        self._count = 0
        self._most = _SLOTS_MIN * 2 // 3
        # Hashes, offsets, and what masks a hash to its slot: replaced together when it grows.
        self._table = (_zeros(_SLOTS_MIN), _zeros(_SLOTS_MIN), _SLOTS_MIN - 1)
        # The last few that were added one by one, each hash once: a dict takes one up quicker.
        self._recent: dict[int, int] = {}

    def __len__(self) -> int:
        return self._count + len(self._recent)

    def add(self, value: int, offset: int) -> None:
        """One more."""
        recent = self._recent
        if value in recent or len(recent) >= _RECENT_MAX:
            self._settle()
            recent = self._recent
        recent[value] = offset

    def add_all(self, values: Sequence[int], offsets: Iterable[int]) -> None:
        """Several more; `offsets`: one for each of `values`."""
        if self._recent:
            self._settle()
        self._count += len(values)
        while self._count > self._most:
            self._grow()
        _put(self._table, values, offsets)

    def has(self, value: int) -> bool:
        """Whether any was added with this hash."""
        return value in self._recent or self._in_table(value) >= 0

    def first(self, value: int) -> int:
        """The offset that was added first with this hash; -1 where there is none."""
        # Before the table: what is in it by now may have been recent a moment ago.
        recent = self._recent.get(value, -1)
        found = self._in_table(value)
        return recent if found < 0 else found

    def find(self, value: int) -> Iterator[int]:
        """The offsets that were added with this hash, the first first."""
        recent = self._recent.get(value, -1)
        hashes, offsets, mask = self._table
        slot, last = value & mask, -1
        while hashes[slot]:
            if hashes[slot] == value:
                last = offsets[slot]
                yield last
            slot = (slot + 1) & mask
        if recent > last:
            yield recent

    def _in_table(self, value: int) -> int:
        hashes, offsets, mask = self._table
        slot = value & mask
        while found := hashes[slot]:
            if found == value:
                return offsets[slot]
            slot = (slot + 1) & mask
        return -1

    def _settle(self) -> None:
        """Put what is recent into the table."""
        recent = self._recent
        self._count += len(recent)
        while self._count > self._most:
            self._grow()
        _put(self._table, recent, recent.values())
        # After that: who looks meanwhile finds them in one or the other.
        self._recent = {}

    def _grow(self) -> None:
        hashes, offsets, mask = self._table
        slots = 2 * (mask + 1)
        table = (_zeros(slots), _zeros(slots), slots - 1)
        # From an empty slot on, so that those of one hash stay in order.
        start = hashes.index(0)
        places = [*range(start, mask + 1, _PIECE), mask + 1]
        for first, stop in (*pairwise(places), *pairwise([*range(0, start, _PIECE), start])):
            _put(table, hashes[first:stop], offsets[first:stop])
        self._table, self._most = table, slots * 2 // 3


def _zeros(count: int) -> array[int]:
    return array("Q", (0,)) * count


def _put(
    table: tuple[array[int], array[int], int], values: Iterable[int], places: Iterable[int]
) -> None:
    """Fill free slots; a value of 0 is none."""
    hashes, offsets, mask = table
    for value, offset in zip(values, places, strict=True):
        if value:
            slot = value & mask
            while hashes[slot]:
                slot = (slot + 1) & mask
            offsets[slot] = offset
            hashes[slot] = value
