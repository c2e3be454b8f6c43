"""What all sealed segments have under a key: ids of streams, or offsets in `$names`.

Owns sorted columns of (key, id) in layers, each more than twice as long as the next: finding a key
costs a search in a few layers, and no key is merged more often than there are layers. A key is 64
bits of checksum, so a reader that finds an id compares the name itself.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import partial

from transit.errors import SealedError
from transit.guards import leaf
from transit.keyring.envelopes import StoreKeys
from transit.log.segments import Segment


class KeyIndex:
    """The keys of the segments added so far."""

    def __init__(self) -> None:
        self._layers: tuple[tuple[array[int], array[int]], ...] = ()

    def add(self, keys: Iterable[int], ids: Iterable[int]) -> None:
        """Take up one segment's sorted keys and the stream id of each."""
        layers = [*self._layers, (array("Q", keys), array("Q", ids))]
        while len(layers) > 1 and len(layers[-2][0]) <= 2 * len(layers[-1][0]):
            layers[-2:] = [_merged(layers[-2], layers[-1])]
        # Replaced as a whole: a search without a lock sees the layers before or after.
        self._layers = tuple(layers)

    def find(self, key: int) -> list[int]:
        """The stream ids under `key`."""
        found: list[int] = []
        for keys, ids in self._layers:
            start = bisect_left(keys, key)
            if start < len(keys) and keys[start] == key:
                found += ids[start : bisect_right(keys, key, start)]
        return found


class SealedKeys:
    """The keys of a growing row of segments; sorted into one index when it pays.

    `changing` is held while that happens. keys: of an encrypted store. Safe for threads.
    """

    def __init__(self, changing: threading.RLock, root: str, keys: StoreKeys | None) -> None:
        self._changing, self._root, self._hidden = changing, root, keys
        self._sorted = KeyIndex()
        self._count = 0
        self._searched = 0

    def find(self, segments: Sequence[Segment], key: int, encrypted: bool) -> list[int]:
        """The ids under `key` in all of `segments`; perhaps also in later ones, perhaps twice.

        encrypted: some of them hide their keys; `SealedError` without what hides them.
        """
        if not encrypted:
            return self._find(segments, key)
        if self._hidden is None:
            raise SealedError(f"{self._root}: names are encrypted; give keyring=")
        # Only what was sealed before the store was encrypted has the key as it is.
        found = self._find(segments, key)
        return found + self._find(segments, self._hidden.hidden_key(key))

    def _find(self, segments: Sequence[Segment], key: int) -> list[int]:
        # Read before the index of keys: what is taken up meanwhile is found twice, never missed.
        new = segments[self._count :]
        if new and self._searched > sum(len(segment.index.keys) for segment in new):
            self._take(segments)
            new = ()
        self._searched += len(new)
        found = self._sorted.find(key)
        for segment in new:
            found += segment.index.find(key)
        return found

    def _take(self, segments: Sequence[Segment]) -> None:
        """Sort all keys into one index, once searching each segment has cost as much as that."""
        leaf(self._changing, partial(self._sort, segments))

    def _sort(self, segments: Sequence[Segment]) -> None:
        for segment in segments[self._count :]:
            self._sorted.add(segment.index.keys, segment.index.ids)
            self._count += 1
        self._searched = 0


def _merged(
    one: tuple[array[int], array[int]], other: tuple[array[int], array[int]]
) -> tuple[array[int], array[int]]:
    pairs = sorted([*zip(*one, strict=True), *zip(*other, strict=True)])
    return array("Q", [key for key, _ in pairs]), array("Q", [place for _, place in pairs])
