"""Which streams have a name or merge id with a given key, over all sealed segments.

Owns sorted columns of (key, stream id) in layers, each more than twice as long as the next: finding
a key costs a search in a few layers, and no key is merged more often than there are layers. A key
is 64 bits of checksum, so whoever finds an id compares the name itself.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable


class KeyIndex:
    """The keys of the segments added so far."""

    def __init__(self) -> None:
        self._layers: tuple[tuple[array[int], array[int]], ...] = ()

    def add(self, keys: Iterable[int], ids: Iterable[int]) -> None:
        """Take up one segment's sorted keys and the stream id of each."""
        layers = [*self._layers, (array("Q", keys), array("Q", ids))]
        while len(layers) > 1 and len(layers[-2][0]) <= 2 * len(layers[-1][0]):
            layers[-2:] = [_merged(layers[-2], layers[-1])]
        # Replaced as a whole: who searches without a lock sees the layers before or after.
        self._layers = tuple(layers)

    def find(self, key: int) -> list[int]:
        """The stream ids under `key`."""
        found: list[int] = []
        for keys, ids in self._layers:
            start = bisect_left(keys, key)
            if start < len(keys) and keys[start] == key:
                found += ids[start : bisect_right(keys, key, start)]
        return found


def _merged(
    one: tuple[array[int], array[int]], other: tuple[array[int], array[int]]
) -> tuple[array[int], array[int]]:
    pairs = sorted([*zip(*one, strict=True), *zip(*other, strict=True)])
    return array("Q", [key for key, _ in pairs]), array("Q", [place for _, place in pairs])
