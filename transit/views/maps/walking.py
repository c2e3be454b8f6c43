"""Going through a map's nodes: those of one level, those of a range; how many come before a key."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from transit.views.maps.node import Node, Shelf


class Walk:
    """The nodes of one level of a map, in the order of their keys."""

    def __init__(self, shelf: Shelf, root: bytes, level: int) -> None:
        self._shelf = shelf
        self._root = root
        self._level = level
        # From the root down: nodes above the level, and the place of the child that was taken.
        self._path: list[tuple[Node, int]] = []

    @property
    def is_last(self) -> bool:
        """Whether no node of the level follows."""
        return all(place == len(node.keys) - 1 for node, place in self._path)

    @property
    def digest(self) -> bytes:
        """The digest of the node that the walk is at."""
        if not self._path:
            return self._root
        node, place = self._path[-1]
        return node.values[place]

    def seek(self, key: bytes) -> Node:
        """The node that `key` is in, or belongs into: the last one for a key behind all."""
        self._path.clear()
        return self._descend(self._shelf.node(self._root), key)

    def next(self) -> Node:
        """The node behind this one; there must be one."""
        node, place = self._path.pop()
        while place == len(node.keys) - 1:
            node, place = self._path.pop()
        self._path.append((node, place + 1))
        return self._descend(self._shelf.child(node, place + 1), b"")

    def _descend(self, node: Node, key: bytes) -> Node:
        while node.level > self._level:
            place = min(bisect_left(node.keys, key), len(node.keys) - 1)
            self._path.append((node, place))
            node = self._shelf.child(node, place)
        return node


def leaves(
    shelf: Shelf, node: Node, start: bytes | None, stop: bytes | None, step: int
) -> Iterator[Node]:
    """The nodes of level 0 below `node` that may hold keys of a range, in order or, by -1, back."""
    if not node.level:
        yield node
        return
    last = len(node.keys) - 1
    first = 0 if start is None else bisect_left(node.keys, start)
    if stop is not None:
        last = min(last, bisect_left(node.keys, stop))
    for place in range(first, last + 1)[::step]:
        yield from leaves(shelf, shelf.child(node, place), start, stop, step)


def rank(shelf: Shelf, node: Node, key: bytes) -> int:
    """How many entries at and below `node` have smaller keys."""
    below = 0
    while True:
        place = bisect_left(node.keys, key)
        if not node.level:
            return below + place
        below += sum(node.counts[:place])
        if place == len(node.keys):
            return below
        node = shelf.child(node, place)
