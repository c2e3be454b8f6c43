"""Ids of messages: from what a sender calls a message to its offset, in little memory.

A table of open addressing over hashes of 64 bits: 24 to 48 bytes an id, whatever the ids are. Two
ids with one hash are told apart by the record that the offset leads to, which the caller looks at.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

_SLOTS_MIN: Final = 64
_WORD: Final = (1 << 64) - 1


def hash_of(message_id: str) -> int:
    """64 bits, never 0; the same in this process."""
    return hash(message_id) & _WORD or 1


class Identities:
    """Offsets by hash. Several may have one hash."""

    __slots__ = ("_count", "_hashes", "_mask", "_most", "_offsets")

    def __init__(self) -> None:
        self._make(_SLOTS_MIN)

    def __len__(self) -> int:
        return self._count

    def add(self, value: int, offset: int) -> None:
        """One more."""
        if self._count >= self._most:
            self._grow()
        hashes, mask = self._hashes, self._mask
        slot = value & mask
        while hashes[slot]:
            slot = (slot + 1) & mask
        hashes[slot] = value
        self._offsets[slot] = offset
        self._count += 1

    def has(self, value: int) -> bool:
        """Whether any was added with this hash."""
        hashes, mask = self._hashes, self._mask
        slot = value & mask
        while hashes[slot]:
            if hashes[slot] == value:
                return True
            slot = (slot + 1) & mask
        return False

    def find(self, value: int) -> Iterator[int]:
        """The offsets that were added with this hash, the first first."""
        hashes, mask = self._hashes, self._mask
        slot = value & mask
        while hashes[slot]:
            if hashes[slot] == value:
                yield self._offsets[slot]
            slot = (slot + 1) & mask

    def _make(self, slots: int) -> None:
        self._hashes = array("Q", bytes(8 * slots))
        self._offsets = array("Q", bytes(8 * slots))
        self._mask, self._count, self._most = slots - 1, 0, slots * 2 // 3

    def _grow(self) -> None:
        hashes, offsets = self._hashes, self._offsets
        self._make(2 * len(hashes))
        # From an empty slot on, so that those of one hash stay in order.
        start = hashes.index(0)
        for slot in (*range(start, len(hashes)), *range(start)):
            if hashes[slot]:
                self.add(hashes[slot], offsets[slot])
