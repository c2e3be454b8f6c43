"""How much of each value a page holds, so that all of it stays within a bound.

Owns the choice: values are cut from the largest down, each to the same size, until the page fits.
Steps with their names, statuses, times and counts are never cut, and of every value its beginning,
its end, its size and its digest stay.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from transit.trace.page.values import (
    INLINE_BYTES_MAX,
    VALUE_BYTES_MAX,
    Cut,
    Values,
    bytes_of,
    encoded,
    json_of,
)

# Less than this of a value is of no use to anybody.
_LEAST: Final = 256
# What the form of a cut value takes besides, and what a number in a list takes.
_CUT_BYTES: Final = 180
_NUMBER_BYTES: Final = 8
# A comma, and a new line.
_BETWEEN: Final = 2


class Fitted(NamedTuple):
    """The values of a page as JSON. above: values of more bytes are cut; cut: how many are."""

    entries: list[bytes]
    above: int
    cut: int


def fitted(values: Values, most: int, finish: Callable[[bytes], bytes]) -> Fitted:
    """The values in at most so many bytes, if that can be. finish: what is done to each."""
    above = VALUE_BYTES_MAX
    found, sizes = _written(values, above, most, finish)
    if found is None:
        above = _limit(sizes, most)
        found, _ = _written(values, above, most, finish)
    while found is None:
        # Escapes, and values that cannot be cut so small, made them larger than it looked.
        above = max(_LEAST, above * 7 // 8)
        found, _ = _written(values, above, most if above > _LEAST else sys.maxsize, finish)
    return found


def _written(
    values: Values, above: int, most: int, finish: Callable[[bytes], bytes]
) -> tuple[Fitted | None, list[int]]:
    """The values with those above a size cut, None where that is too much; the size of each."""
    writing = _Writing(values, above)
    entries: list[bytes] = []
    sizes: list[int] = []
    left = most
    for data in writing.all():
        ready = finish(data)
        sizes.append(len(ready) + _BETWEEN)
        left -= sizes[-1]
        if left >= 0:
            entries.append(ready)
        else:
            # What does not fit needs no memory.
            entries.clear()
    return (Fitted(entries, above, writing.count) if left >= 0 else None), sizes


def _limit(sizes: list[int], most: int) -> int:
    """The largest size of values, the others being cut to it, with which all of them fit."""
    low, high = _LEAST, VALUE_BYTES_MAX
    while low < high:
        middle = (low + high + 1) // 2
        cut = middle * 3 // 4 + _CUT_BYTES
        whole = sum(size if size <= middle else min(size, cut) for size in sizes)
        low, high = (middle, high) if whole <= most else (low, middle - 1)
    return low


class _Writing:
    """The values being written, those above a size cut. count: how many were cut by it."""

    def __init__(self, values: Values, above: int) -> None:
        self._values = values
        self._above = above
        # How many items stay at each end of a list that is cut; such lists, and their first items.
        self._ends = max(4, above // (3 * _NUMBER_BYTES))
        self._short: set[int] = set()
        self._first: dict[int, list[int]] = {}
        self.count = 0

    def all(self) -> Iterator[bytes]:
        """Each value in its packed form."""
        for number, entry in enumerate(self._values.entries):
            if isinstance(entry, str):
                yield self._text(entry)
            elif isinstance(entry, Cut):
                self.count += self._above < VALUE_BYTES_MAX
                yield encoded(entry.packed(self._above))
            elif number in self._values.lists:
                yield self._list(number, entry)
            elif len(entry) > max(self._above, INLINE_BYTES_MAX):
                yield self._cut(json_of(self._values.wholes[number]), is_json=True)
            else:
                yield entry

    def _text(self, text: str) -> bytes:
        # A character has at most four bytes.
        if len(text) <= self._above // 4 or len(data := bytes_of(text)) <= self._above:
            return encoded(text)
        return self._cut(data, is_json=False)

    def _cut(self, data: bytes, *, is_json: bool) -> bytes:
        self.count += 1
        return encoded(Cut.of(data, is_json=is_json).packed(self._above))

    def _list(self, number: int, entry: bytes) -> bytes:
        """A list: whole, or of one that is too long, or goes on from such a one, its ends."""
        found = self._values.lists[number]
        if self._above == VALUE_BYTES_MAX or (
            len(entry) <= self._above and found.before not in self._short
        ):
            return entry
        self._short.add(number)
        count, ends = found.same + len(found.then), self._ends
        if count <= 2 * ends:
            return encoded({"$": "list", "then": self._slice(number, 0, count)})
        self.count += 1
        then = [*self._first_of(number), *self._slice(number, count - ends, count)]
        return encoded({"$": "list", "then": then, "left": [ends, count - 2 * ends]})

    def _first_of(self, number: int) -> list[int]:
        """The first items of a list that has as many; known of those it goes on from."""
        above: list[int] = []
        while number not in self._first and self._values.lists[number].same >= self._ends:
            above.append(number)
            number = self._values.lists[number].before
        found = self._first.get(number)
        if found is None:
            found = self._first[number] = self._slice(number, 0, self._ends)
        self._first |= dict.fromkeys(above, found)
        return found

    def _slice(self, number: int, begin: int, end: int) -> list[int]:
        """The items of a list from `begin` to before `end`."""
        parts: list[list[int]] = []
        while begin < end:
            found = self._values.lists[number]
            own = max(begin, found.same)
            if own < end:
                parts.append(found.then[own - found.same : end - found.same])
            end, number = min(end, found.same), found.before
        return [each for part in reversed(parts) for each in part]
