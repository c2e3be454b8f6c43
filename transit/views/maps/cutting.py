"""Where the nodes of a level end: the entries alone decide, so that equal maps have equal nodes.

Entries are taken in the order of their keys, each with a counted size: its key, its value, and the
most that an encoding puts around them (8 bytes, above level 0 14 with the count). A node ends
after an entry

- when its counted size has reached `SIZE_MAX`, or
- when it has reached `SIZE_MIN`, there are at least `CHILDREN_MIN` entries above level 0, and
  XXH32 of the key, seeded with the level, is below `size * size * entry * 3 // 16`.

The chance that a node ends grows with the square of its size, and with the size of the entry. So
nodes have 3.5 to 4 KiB on average whatever the entries are, few are much larger, and two ways of
cutting that began at different places soon end a node at the same key. Values have no say but by
their size. A node has at most `SIZE_MAX` bytes and one entry.

Whoever chooses keys by their checksum can have every node end, or none. Nodes are then as small, or
as large, as the limits allow, levels still shrink by `CHILDREN_MIN` each, and an edit may have to
make every node behind it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import add
from typing import Final, NamedTuple

from xxhash import xxh32_intdigest

from transit import InvalidInputError
from transit.views.maps.node import LEVEL_MAX, Node

EMPTY: Final = b""
"""The root of a map without entries."""

SIZE_MIN: Final = 1024
SIZE_MAX: Final = 16_384
CHILDREN_MIN: Final = 8
_AROUND_ENTRY: Final = 8
_AROUND_CHILD: Final = 14


class Child(NamedTuple):
    """What a level says to the one above it of one node. below: entries below it."""

    key: bytes
    digest: bytes
    below: int


def ends(level: int, keys: Sequence[bytes], values: Sequence[bytes]) -> list[int]:
    """Behind which entries a node ends, when the first begins one; those left are unfinished."""
    around = _AROUND_CHILD if level else _AROUND_ENTRY
    entries_min = CHILDREN_MIN if level else 1
    found: list[int] = []
    size = start = 0
    sizes = map(add, map(len, keys), map(len, values))
    for stop, (key, more) in enumerate(zip(keys, sizes, strict=True), 1):
        entry = more + around
        size += entry
        if size >= SIZE_MIN and (
            (
                xxh32_intdigest(key, level) < size * size * entry * 3 >> 4
                and stop - start >= entries_min
            )
            or size >= SIZE_MAX
        ):
            found.append(stop)
            start, size = stop, 0
    return found


class Row:
    """Entries of one level that are in no node yet; counts only above level 0."""

    def __init__(self, level: int) -> None:
        self.level = level
        self.keys: list[bytes] = []
        self.values: list[bytes] = []
        self.counts: list[int] = []

    def cut(self) -> list[Node]:
        """Take away the nodes that end in here."""
        return self._take(ends(self.level, self.keys, self.values))

    def rest(self) -> list[Node]:
        """Take away what is left as the last node of its level; none when nothing is."""
        return self._take([len(self.keys)] if self.keys else [])

    def _take(self, stops: Sequence[int]) -> list[Node]:
        made, start = [], 0
        for stop in stops:
            part = slice(start, stop)
            made.append(
                Node(
                    self.level,
                    tuple(self.keys[part]),
                    tuple(self.values[part]),
                    tuple(self.counts[part]),
                )
            )
            start = stop
        del self.keys[:start], self.values[:start], self.counts[:start]
        return made


class Tower:
    """A map that is built from below, out of entries or nodes in the order of their keys.

    add: keeps a node that was made. level: the lowest that is built.
    """

    def __init__(self, add: Callable[[Node], Child], level: int = 0) -> None:
        self._add = add
        self._lowest = level
        self._rows: list[Row] = []
        self._made: list[int] = []

    def add_entries(self, keys: Iterable[bytes], values: Iterable[bytes]) -> None:
        """Add entries of the map."""
        row = self._row(0)
        row.keys += keys
        row.values += values
        self._up(row, row.cut())

    def add_children(self, level: int, given: Iterable[Child]) -> None:
        """Add nodes that were made, each of the level below."""
        row = self._row(level)
        for key, digest, below in given:
            row.keys.append(key)
            row.values.append(digest)
            row.counts.append(below)
        self._up(row, row.cut())

    def root(self) -> bytes:
        """End what is unfinished; the digest of the only node of the first level that has one."""
        for level in range(self._lowest, LEVEL_MAX + 1):
            row = self._row(level)
            self._up(row, row.rest())
            made = self._made[level - self._lowest]
            if made <= 1:
                return self._row(level + 1).values[0] if made else EMPTY
        raise InvalidInputError(f"a map of more than {LEVEL_MAX + 1} levels: its keys are odd")

    def _row(self, level: int) -> Row:
        while len(self._rows) <= level - self._lowest:
            self._rows.append(Row(self._lowest + len(self._rows)))
            self._made.append(0)
        return self._rows[level - self._lowest]

    def _up(self, row: Row, made: Sequence[Node]) -> None:
        if not made:
            return
        if row.level > LEVEL_MAX:
            raise InvalidInputError(f"a map of more than {LEVEL_MAX + 1} levels: its keys are odd")
        self._made[row.level - self._lowest] += len(made)
        self.add_children(row.level + 1, [self._add(node) for node in made])
