"""Changing a map: only the nodes around what changes are made again, level by level.

A level's changes are keys with a new value, or none. The nodes that a change falls into are opened,
the changes are made among their entries, and the entries are cut anew, until a node ends where one
ended before: behind that place everything is as it was, because cutting looks at nothing before the
node it is in. What becomes of the level's nodes are the changes of the level above it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import repeat

from transit.views.maps.cutting import EMPTY, Child, Row, Tower
from transit.views.maps.node import Node, Shelf, digest_of, encode_node
from transit.views.maps.walking import Walk

# A key, and its new value with the count of entries below it; or None, when the key goes.
Entry = tuple[bytes, int]
Edit = tuple[bytes, Entry | None]


class _Made:
    """Nodes that an edit makes, kept back until it is known which of them are needed."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._nodes: dict[bytes, tuple[Node, bytes]] = {}

    def add(self, node: Node) -> Child:
        """Keep a node."""
        data = encode_node(node)
        digest = digest_of(data)
        self._nodes[digest] = node, data
        return Child(node.keys[-1], digest, node.total)

    def drop(self, digest: bytes) -> None:
        """A node is not needed, if it was made here."""
        self._nodes.pop(digest, None)

    def node(self, digest: bytes) -> Node:
        """A node that was made here, or was there before."""
        made = self._nodes.get(digest)
        return made[0] if made else self._shelf.node(digest)

    def save(self) -> None:
        """Save the nodes, children first."""
        for digest, (node, data) in self._nodes.items():
            self._shelf.nodes.save(digest, data)
            self._shelf.keep(digest, node, len(data))


def edited(shelf: Shelf, root: bytes, changes: Sequence[tuple[bytes, bytes | None]]) -> bytes:
    """The root of the map with `changes` made, which are in the order of their keys.

    Nodes are saved once all of them are made, so an edit that fails has saved none.
    """
    made = _Made(shelf)
    if root == EMPTY:
        tower = Tower(made.add)
        added = [(key, value) for key, value in changes if value is not None]
        tower.add_entries([key for key, _ in added], [value for _, value in added])
        new = tower.root()
    else:
        top = shelf.node(root).level
        edits: list[Edit] = [(key, None if value is None else (value, 1)) for key, value in changes]
        for level in range(top + 1):
            row = _Level(shelf, made, root, level)
            edits = row.edit(edits)
            if not edits:
                return root
        # There was one node on the highest level, so all that are there now were made again.
        new = _root_of(made, top, row.nodes())
    made.save()
    return new


def _root_of(made: _Made, level: int, nodes: Sequence[Child]) -> bytes:
    """The root over all nodes of `level`, the highest that there was before."""
    if not nodes:
        return EMPTY
    if len(nodes) > 1:
        tower = Tower(made.add, level + 1)
        tower.add_children(level + 1, nodes)
        return tower.root()
    digest = nodes[0].digest
    node = made.node(digest)
    # What has one child alone is no root: an equal map that was built afresh ends below it.
    while node.level and len(node.keys) == 1:
        made.drop(digest)
        digest = node.values[0]
        node = made.node(digest)
    return digest


class _Level:
    """The edit of one level."""

    def __init__(self, shelf: Shelf, made: _Made, root: bytes, level: int) -> None:
        self._walk = Walk(shelf, root, level)
        self._made = made
        self._level = level
        self._before: dict[bytes, bytes] = {}
        self._after: dict[bytes, Child] = {}

    def edit(self, edits: Sequence[Edit]) -> list[Edit]:
        """Make the changes; what they come to for the level above."""
        place = 0
        while place < len(edits):
            place = self._run(edits, place)
        return self._differences()

    def nodes(self) -> list[Child]:
        """The nodes that were made again, in the order of their keys."""
        return [self._after[key] for key in sorted(self._after)]

    def _run(self, edits: Sequence[Edit], place: int) -> int:
        """Cut anew from the node that a change falls into, until in step; the changes done."""
        walk, row = self._walk, Row(self._level)
        node = walk.seek(edits[place][0])
        while True:
            stop = len(edits) if walk.is_last else _stop(edits, place, node.keys[-1])
            self._before[node.keys[-1]] = walk.digest
            part, place = edits[place:stop], stop
            same = None if row.keys else _overwritten(node, part)
            if same is not None:
                self._add([same])
                return place
            _spread(row, node, part)
            self._add(row.cut())
            if walk.is_last:
                self._add(row.rest())
            if not row.keys:
                return place
            node = walk.next()

    def _add(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            child = self._made.add(node)
            self._after[child.key] = child

    def _differences(self) -> list[Edit]:
        found: list[Edit] = [(key, None) for key in self._before if key not in self._after]
        for key, child in self._after.items():
            if self._before.get(key) == child.digest:
                self._made.drop(child.digest)
            else:
                found.append((key, (child.digest, child.below)))
        found.sort(key=_key_of)
        return found


def _key_of(edit: Edit) -> bytes:
    return edit[0]


def _stop(edits: Sequence[Edit], place: int, last: bytes) -> int:
    """The first change behind the key `last`."""
    return bisect_right(edits, last, place, key=_key_of)


def _overwritten(node: Node, edits: Sequence[Edit]) -> Node | None:
    """The node with other values of the same sizes, which ends where it ended; or None."""
    keys = node.keys
    values, counts = list(node.values), list(node.counts)
    for key, entry in edits:
        place = bisect_left(keys, key)
        if entry is None or place == len(keys) or keys[place] != key:
            return None
        if len(values[place]) != len(entry[0]):
            return None
        values[place] = entry[0]
        if counts:
            counts[place] = entry[1]
    return Node(node.level, keys, tuple(values), tuple(counts))


def _spread(row: Row, node: Node, edits: Sequence[Edit]) -> None:
    """Put the node's entries, with changes among them, at the end of the row."""
    counts = node.counts or repeat(1)
    entries = dict(zip(node.keys, zip(node.values, counts, strict=False), strict=False))
    for key, entry in edits:
        if entry is None:
            entries.pop(key, None)
        else:
            entries[key] = entry
    keys = sorted(entries)
    row.keys += keys
    row.values += [entries[key][0] for key in keys]
    if row.level:
        row.counts += [entries[key][1] for key in keys]
