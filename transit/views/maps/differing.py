"""What two maps differ in, and what two maps that come from a third one make together.

Both maps are gone through side by side, in the order of their keys. Nodes that are equal are passed
over unopened, at whatever level they meet. Of two that differ the higher one is opened, or the one
that ends first: the other one may still turn up on the first one's side.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from transit.views.maps.cutting import EMPTY
from transit.views.maps.node import Node, Shelf

_ENTRY: Final = -1
_DONE: Final = -2


class Change(NamedTuple):
    """One key that two maps differ in; None where it is not there."""

    key: bytes
    before: bytes | None
    after: bytes | None


class _Side:
    """One of the maps, from some key on.

    rank, key, value: what comes next: a node of level `rank` whose last key is `key`, not opened,
    and its digest; or an entry, of rank -1; or nothing any more, of rank -2.
    """

    def __init__(self, shelf: Shelf, root: bytes) -> None:
        self._shelf = shelf
        self._path: list[tuple[Node, int]] = []
        self.rank, self.key, self.value = _DONE, b"", b""
        if root != EMPTY:
            # Above the root, as if it were a child too: then nothing is said of it twice.
            top = shelf.node(root)
            self._at(Node(top.level + 1, top.keys[-1:], (root,), (top.total,)), 0)

    def _at(self, node: Node, place: int) -> None:
        self._path.append((node, place))
        self.rank, self.key, self.value = node.level - 1, node.keys[place], node.values[place]

    def open(self) -> None:
        """Go into the node that comes next."""
        self._at(self._shelf.child(*self._path[-1]), 0)

    def leaf(self) -> Node:
        """The node of level 0 that comes next."""
        return self._shelf.child(*self._path[-1])

    def skip(self) -> None:
        """Pass over what comes next."""
        while self._path:
            node, place = self._path.pop()
            if place + 1 < len(node.keys):
                self._at(node, place + 1)
                return
        self.rank = _DONE


def differences(before: tuple[Shelf, bytes], after: tuple[Shelf, bytes]) -> Iterator[Change]:
    """The changes that make the first map, a shelf and a root, into the second."""
    old, new = _Side(*before), _Side(*after)
    while old.rank != _DONE or new.rank != _DONE:
        if old.rank < 0 and new.rank < 0:
            yield from _of_entries(old, new)
        elif old.rank == new.rank and old.value == new.value:
            old.skip()
            new.skip()
        elif old.rank == new.rank == 0 and old.key == new.key:
            yield from _of_leaves(old.leaf(), new.leaf())
            old.skip()
            new.skip()
        elif old.rank > new.rank or (old.rank == new.rank and old.key <= new.key):
            old.open()
        else:
            new.open()


def _of_leaves(old: Node, new: Node) -> Iterator[Change]:
    before = dict(zip(old.keys, old.values, strict=True))
    after = dict(zip(new.keys, new.values, strict=True))
    for key in sorted({key for key, _ in before.items() ^ after.items()}):
        yield Change(key, before.get(key), after.get(key))


def _of_entries(old: _Side, new: _Side) -> Iterator[Change]:
    """Of two entries, one of which may be missing: what the smaller key comes to."""
    if new.rank == _DONE or (old.rank == _ENTRY and old.key < new.key):
        yield Change(old.key, old.value, None)
        old.skip()
    elif old.rank == _DONE or new.key < old.key:
        yield Change(new.key, None, new.value)
        new.skip()
    else:
        if old.value != new.value:
            yield Change(old.key, old.value, new.value)
        old.skip()
        new.skip()
