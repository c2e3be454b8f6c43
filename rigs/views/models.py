"""What maps are tried with: nodes in memory, and what a map must be, from a dictionary."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from xxhash import xxh32_intdigest

from transit import NotFoundError
from transit.views.maps.map import Change, Map, merge
from transit.views.maps.node import Node, decode_node, digest_of

Model = dict[bytes, bytes]
Changes = dict[bytes, bytes | None]

_RANGES: Final = 6
# What a node may have before its last entry: not asked of the code that is tried.
_SIZE_MAX: Final = 16_384


class MemoryNodes:
    """Nodes in a dictionary. loaded, saved: how often; made: what was saved, until cleared."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}
        self.loaded = 0
        self.saved = 0
        self.made: list[bytes] = []

    def load(self, digest: bytes) -> bytes:
        """The node's bytes, or `NotFoundError`."""
        self.loaded += 1
        try:
            return self.data[digest]
        except KeyError:
            raise NotFoundError(f"no node {digest.hex()}") from None

    def save(self, digest: bytes, data: bytes) -> None:
        """Take a node, whose digest must be right and whose children must be there."""
        assert digest_of(data) == digest, "a node under another digest"
        node = decode_node(data, "saved")
        assert not node.level or all(each in self.data for each in node.values), (
            "a child is missing"
        )
        self.data[digest] = data
        self.saved += 1
        self.made.append(digest)

    def below(self, root: bytes) -> dict[bytes, Node]:
        """All nodes of a map, by digest."""
        found: dict[bytes, Node] = {}
        waiting = [root] if root else []
        while waiting:
            digest = waiting.pop()
            node = decode_node(self.data[digest], "held")
            assert digest not in found, "a node is there twice"
            found[digest] = node
            waiting += node.values if node.level else ()
        return found


def applied(model: Model, changes: Mapping[bytes, bytes | None]) -> Model:
    """The model with changes made."""
    after = {**model, **{key: value for key, value in changes.items() if value is not None}}
    return {key: value for key, value in after.items() if changes.get(key, b"") is not None}


def expected_diff(before: Model, after: Model) -> list[Change]:
    """What two models differ in."""
    return [
        Change(key, before.get(key), after.get(key))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def fresh(model: Model) -> tuple[MemoryNodes, Map]:
    """The map of a model, built at once."""
    nodes = MemoryNodes()
    return nodes, Map.build(nodes, sorted(model.items()))


def check_content(nodes: MemoryNodes, made: Map, model: Model, chance: random.Random) -> None:
    """The map holds what the model holds: all of it, in ranges, counted, key by key."""
    pairs = sorted(model.items())
    assert list(made.items()) == pairs, "other entries"
    assert list(made.items(reverse=True)) == pairs[::-1], "other entries backwards"
    assert len(made) == made.count() == len(pairs), "another count"
    keys = [*model, b"", b"k", b"\xff" * 9]
    # Where leaves begin and end, as often as all other keys.
    leaves = [node for node in nodes.below(made.root).values() if not node.level]
    edges = [edge for leaf in leaves for edge in (leaf.keys[0], leaf.keys[-1])]
    keys += edges * (len(keys) // len(edges)) if edges else []
    for _ in range(_RANGES):
        bounds: list[bytes | None] = [chance.choice([*keys, None]), chance.choice([*keys, None])]
        start, stop = bounds
        part = [
            (key, value)
            for key, value in pairs
            if (start is None or key >= start) and (stop is None or key < stop)
        ]
        assert list(made.items(start, stop)) == part, "another range"
        assert list(made.items(start, stop, reverse=True)) == part[::-1], "another range backwards"
        assert made.count(start, stop) == len(part), "another count of a range"
        for key in (chance.choice(keys), chance.choice(keys) + b"\0", chance.choice(keys)[:-1]):
            assert made.get(key) == model.get(key), "another value"
            assert (key in made) == (key in model), "a key is in it or not"


def check_shape(nodes: MemoryNodes, root: bytes) -> None:
    """Each level's nodes lie within the bounds, and the root is where it must be."""
    for digest, node in nodes.below(root).items():
        size = len(nodes.data[digest])
        last = len(node.keys[-1]) + len(node.values[-1]) + 16
        assert size < _SIZE_MAX + last, f"a node of {size} bytes"
        assert digest != root or not node.level or len(node.keys) > 1, "a root with one child"


def check_edit(
    before: tuple[Map, Model], after: tuple[Map, Model], nodes: MemoryNodes, made: Sequence[bytes]
) -> None:
    """An edit came to what building afresh comes to, saved what is new and nothing else."""
    old, new = before[0], after[0]
    other, built = fresh(after[1])
    assert new.root == built.root, "another root than that of a fresh build"
    there = other.data.keys()
    assert set(made) <= there, "a node was saved that no map needs"
    was = nodes.below(old.root).keys()
    assert set(made) == there - was, "other nodes were saved than are new"
    for left, right in ((before, after), (after, before)):
        found = Map(nodes, left[0].root).diff(Map(nodes, right[0].root))
        assert list(found) == expected_diff(left[1], right[1]), "another difference"


def check_merge(
    base: tuple[Map, Model], ours: Changes, theirs: Changes, chance: random.Random
) -> None:
    """A merge is what the models come to, and asks for the keys that both changed differently."""
    a, b = applied(base[1], ours), applied(base[1], theirs)
    asked: list[bytes] = []
    decided: Changes = {}

    def resolve(
        key: bytes, was: bytes | None, one: bytes | None, two: bytes | None
    ) -> bytes | None:
        assert (was, one, two) == (base[1].get(key), a.get(key), b.get(key)), "asked wrongly"
        asked.append(key)
        decided[key] = chance.choice((one, two, None, b"both"))
        return decided[key]

    made = merge(base[0], base[0].edit(ours), base[0].edit(theirs), resolve)
    changed = [{change.key for change in expected_diff(base[1], each)} for each in (a, b)]
    assert asked == sorted(key for key in changed[0] & changed[1] if a.get(key) != b.get(key)), (
        "other keys were asked for"
    )
    wanted = applied({**a}, {key: b.get(key) for key in changed[1] - changed[0]})
    assert dict(made.items()) == applied(wanted, decided), "another merge"
    assert made.root == fresh(applied(wanted, decided))[1].root, "another root of a merge"


def crafted(level: int, count: int, low: bool) -> Iterator[bytes]:
    """Keys at which nodes of a level always end, or never do, but for their size."""
    made, number = 0, 0
    while made < count:
        key = b"%012d" % number
        number += 1
        part = xxh32_intdigest(key, level) >> 28
        if part == (0 if low else 15):
            made += 1
            yield key
