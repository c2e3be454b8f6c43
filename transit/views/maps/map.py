"""An ordered map of bytes to bytes whose versions share what they have in common.

A map is a root: the digest of a tree of nodes, which are kept elsewhere (`Nodes`). It is never
changed; an edit makes another one, out of the nodes around what changes. Maps with the same entries
have the same root, whatever was done to get there, in whatever order. So two maps are equal if
their roots are, and what they differ in is found by looking at unequal nodes alone.

Invariants: the root is the only node of the lowest level that has one node; each level's nodes end
where `cutting` says; what is read of a node was compared with its digest and with its parent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain, islice
from operator import lt
from typing import Final

from transit import InvalidInputError
from transit.views.maps.cutting import EMPTY, Child, Tower
from transit.views.maps.differing import Change, differences
from transit.views.maps.editing import edited
from transit.views.maps.node import (
    KEY_BYTES_MAX,
    VALUE_BYTES_MAX,
    Node,
    Nodes,
    Shelf,
    digest_of,
    encode_node,
)
from transit.views.maps.walking import leaves, rank

__all__ = ["EMPTY", "Change", "Map", "Nodes", "Shelf", "merge"]

Resolve = Callable[[bytes, bytes | None, bytes | None, bytes | None], bytes | None]

_ENTRIES_AT_ONCE: Final = 4096


class Map:
    """One version of a map. Its keys have at most 1,024 bytes, its values at most 65,536.

    nodes: where its nodes are, or a `Shelf` over that, which keeps some of them decoded; maps made
    from this one share its shelf. root: the digest of its root node, `EMPTY` without entries.

    Whatever reads nodes raises what `Nodes.load` raises, and `CorruptError` for a node that is not
    what its digest and its parent say.
    """

    def __init__(self, nodes: Nodes | Shelf, root: bytes = EMPTY) -> None:
        self._shelf = nodes if isinstance(nodes, Shelf) else Shelf(nodes)
        self.root = root

    @classmethod
    def build(cls, nodes: Nodes | Shelf, items: Iterable[tuple[bytes, bytes]]) -> Map:
        """The map of `items`, whose keys must ascend. Nodes are saved as they are made."""
        shelf = nodes if isinstance(nodes, Shelf) else Shelf(nodes)
        save = shelf.nodes.save

        def add(node: Node) -> Child:
            data = encode_node(node)
            digest = digest_of(data)
            save(digest, data)
            return Child(node.keys[-1], digest, node.total)

        tower, rest = Tower(add), iter(items)
        last: list[bytes] = []
        while part := list(islice(rest, _ENTRIES_AT_ONCE)):
            keys, values = [key for key, _ in part], [value for _, value in part]
            _check_entries(keys, values)
            if not all(map(lt, chain(last, keys), keys if last else keys[1:])):
                raise InvalidInputError("a map is built of keys that ascend, each of them once")
            tower.add_entries(keys, values)
            last = keys[-1:]
        return cls(shelf, tower.root())

    def __len__(self) -> int:
        return self._shelf.node(self.root).total if self.root else 0

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None."""
        if not self.root:
            return None
        shelf = self._shelf
        node = shelf.node(self.root)
        while True:
            place = bisect_left(node.keys, key)
            if place == len(node.keys):
                return None
            if not node.level:
                return node.values[place] if node.keys[place] == key else None
            node = shelf.child(node, place)

    def __contains__(self, key: bytes) -> bool:
        return self.get(key) is not None

    def items(
        self, start: bytes | None = None, stop: bytes | None = None, *, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Keys from `start` on, before `stop`, with their values, in the order of the keys."""
        if not self.root:
            return
        step = -1 if reverse else 1
        top = self._shelf.node(self.root)
        for leaf in leaves(self._shelf, top, start, stop, step):
            first = 0 if start is None else bisect_left(leaf.keys, start)
            last = len(leaf.keys) if stop is None else bisect_left(leaf.keys, stop)
            part = slice(first, last)
            yield from zip(leaf.keys[part][::step], leaf.values[part][::step], strict=True)

    def count(self, start: bytes | None = None, stop: bytes | None = None) -> int:
        """How many keys there are from `start` on and before `stop`, found by counts alone."""
        if not self.root:
            return 0
        top = self._shelf.node(self.root)
        before = 0 if start is None else rank(self._shelf, top, start)
        upto = top.total if stop is None else rank(self._shelf, top, stop)
        return max(upto - before, 0)

    def edit(self, changes: Mapping[bytes, bytes | None]) -> Map:
        """The map with `changes` made: a key's new value, or None for a key that goes.

        New nodes are saved, children first, when all of them are made. `InvalidInputError` for a
        key or value that is no `bytes` or too long.
        """
        values = [value for value in changes.values() if value is not None]
        _check_entries(changes.keys(), values)
        if not changes:
            return self
        ordered = [(key, changes[key]) for key in sorted(changes)]
        return Map(self._shelf, edited(self._shelf, self.root, ordered))

    def diff(self, other: Map) -> Iterator[Change]:
        """The changes that make this map into `other`, in the order of keys.

        Nodes that both have are not loaded, but for a few beside those they do not both have.
        """
        return differences((self._shelf, self.root), (other._shelf, other.root))


def _check_entries(keys: Collection[bytes], values: Collection[bytes]) -> None:
    for what, given, bytes_max in (
        ("key", keys, KEY_BYTES_MAX),
        ("value", values, VALUE_BYTES_MAX),
    ):
        wrong = set(map(type, given)) - {bytes}
        if wrong:
            raise InvalidInputError(f"a {what} must be bytes, not {wrong.pop().__name__}")
        size = max(map(len, given), default=0)
        if size > bytes_max:
            raise InvalidInputError(f"a {what} of {size} bytes; the most is {bytes_max}")


def merge(base: Map, a: Map, b: Map, resolve: Resolve) -> Map:
    """What `a` and `b` make of `base` together; all three must have their nodes in one place.

    resolve: asked with key, value in `base`, in `a` and in `b`, each None where there is none, for
    each key that both changed differently, in the order of keys; answers the value that it gets, or
    None. Memory grows with what changed.
    """
    if b.root in (a.root, base.root):
        return a
    if base.root == a.root:
        return b
    ours = {change.key: change.after for change in base.diff(a)}
    changes: dict[bytes, bytes | None] = {}
    for key, before, after in base.diff(b):
        if key not in ours:
            changes[key] = after
        elif ours[key] != after:
            changes[key] = resolve(key, before, ours[key], after)
    return a.edit(changes)
