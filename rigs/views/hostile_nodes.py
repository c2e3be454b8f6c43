"""Nodes that nobody's map has made, and trees of nodes that are each right and lie together.

`CASES` are bytes given to the decoder, `TREES` are roots that are read in every way there is. Each
must end in the error it names: quickly, and without taking memory for what is only stated.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from rigs.views.models import MemoryNodes
from transit import TransitError
from transit.views.maps.map import Map, Shelf
from transit.views.maps.node import Node, decode_node, digest_of, encode_node

CORRUPT: Final = "CorruptError"
NEWER: Final = "UnsupportedVersionError"


def _bin(data: bytes) -> bytes:
    encoded: bytes = msgspec.msgpack.encode(data)
    return encoded


def _array(parts: Sequence[bytes]) -> bytes:
    head = bytes((0x90 + len(parts),)) if len(parts) < 16 else struct.pack(">BH", 0xDC, len(parts))
    return head + b"".join(parts)


def raw(
    level: bytes = b"\0",
    keys: Sequence[bytes] = (b"a", b"b"),
    values: Sequence[bytes] = (b"1", b"2"),
    counts: Sequence[bytes] = (),
    head: bytes = b"\x95\x01",
) -> bytes:
    """A node with anything in it; level, counts and head as bytes."""
    arrays = _array([*map(_bin, keys)]) + _array([*map(_bin, values)]) + _array(counts)
    return head + level + arrays


def inner(**given: object) -> bytes:
    """A node of level 1 with two children and anything in it."""
    fields: dict[str, object] = {
        "level": b"\1", "values": (b"x" * 32, b"y" * 32), "counts": (b"\1", b"\2"), **given,
    }  # fmt: skip
    return raw(**fields)  # type: ignore[arg-type]


_A: Final = _bin(b"a")
_HUGE_ARRAY: Final = b"\xdd\xff\xff\xff\xff"

CASES: Final[dict[str, tuple[Callable[[], bytes], str]]] = {
    "right, level 0": (raw, "ok"),
    "right, level 1": (inner, "ok"),
    "nothing": (lambda: b"", CORRUPT),
    "one byte": (lambda: b"\x95", CORRUPT),
    "zeros": (lambda: bytes(16_000), CORRUPT),
    "a number": (lambda: b"\x01", CORRUPT),
    "text": (lambda: b"\xa3abc", CORRUPT),
    "a map": (lambda: b"\x81\x01\x00", CORRUPT),
    "version 0": (lambda: raw(head=b"\x95\x00"), CORRUPT),
    "version 2": (lambda: raw(head=b"\x95\x02"), NEWER),
    "version 2 and rubbish": (lambda: b"\x95\x02\xc1\xc1", NEWER),
    "version -1": (lambda: raw(head=b"\x95\xff"), CORRUPT),
    "version as text": (lambda: raw(head=b"\x95\xa11"), CORRUPT),
    "four elements": (lambda: raw(head=b"\x94\x01")[:-1], CORRUPT),
    "six elements": (lambda: raw(head=b"\x96\x01") + b"\xc0", CORRUPT),
    "a byte too many": (lambda: raw() + b"\0", CORRUPT),
    "a byte too few": (lambda: raw()[:-1], CORRUPT),
    "two nodes": (lambda: raw() * 2, CORRUPT),
    "larger than any node": (lambda: raw(values=(b"1", bytes(100_000))), CORRUPT),
    "a hundred megabytes": (lambda: raw() + bytes(100_000_000), CORRUPT),
    "level -1": (lambda: raw(level=b"\xff"), CORRUPT),
    "level 8": (lambda: inner(level=b"\x08"), CORRUPT),
    "level 2^64 - 1": (lambda: inner(level=b"\xcf" + b"\xff" * 8), CORRUPT),
    "level 0.0": (lambda: raw(level=b"\xcb" + bytes(8)), CORRUPT),
    "level false": (lambda: raw(level=b"\xc2"), CORRUPT),
    "level spelled long": (lambda: raw(level=b"\xcc\x00"), CORRUPT),
    "no keys": (lambda: raw(keys=(), values=()), CORRUPT),
    "no keys, level 1": (lambda: inner(keys=(), values=(), counts=()), CORRUPT),
    "4 billion keys stated": (lambda: b"\x95\x01\x00" + _HUGE_ARRAY, CORRUPT),
    "4 billion keys stated, one there": (lambda: b"\x95\x01\x00" + _HUGE_ARRAY + _A, CORRUPT),
    "4 billion values stated": (lambda: b"\x95\x01\x00\x91" + _A + _HUGE_ARRAY, CORRUPT),
    "4 billion counts stated": (lambda: b"\x95\x01\x00\x91" + _A + b"\x91" + _A + _HUGE_ARRAY,
                                CORRUPT),
    "a key of 4 GiB stated": (lambda: b"\x95\x01\x00\x91\xc6\xff\xff\xff\xffa", CORRUPT),
    "a key of text": (lambda: b"\x95\x01\x00\x91\xa1a\x91" + _A + b"\x90", CORRUPT),
    "a key of nothing": (lambda: b"\x95\x01\x00\x91\xc0\x91" + _A + b"\x90", CORRUPT),
    "a key too long": (lambda: raw(keys=(b"a", b"b" * 1025)), CORRUPT),
    "a value too long": (lambda: raw(values=(b"1", bytes(65_537))), CORRUPT),
    "keys that descend": (lambda: raw(keys=(b"b", b"a")), CORRUPT),
    "a key twice": (lambda: raw(keys=(b"a", b"a")), CORRUPT),
    "the last of many keys again": (
        lambda: raw(keys=[*(b"%03d" % n for n in range(99)), b"098"], values=[b""] * 100), CORRUPT),
    "a value more": (lambda: raw(values=(b"1", b"2", b"3")), CORRUPT),
    "a value less": (lambda: raw(values=(b"1",)), CORRUPT),
    "counts at level 0": (lambda: raw(counts=(b"\1", b"\1")), CORRUPT),
    "no counts at level 1": (lambda: inner(counts=()), CORRUPT),
    "a count less": (lambda: inner(counts=(b"\1",)), CORRUPT),
    "a count of 0": (lambda: inner(counts=(b"\0", b"\1")), CORRUPT),
    "a count of -1": (lambda: inner(counts=(b"\1", b"\xff")), CORRUPT),
    "a count of 2^64 - 1": (lambda: inner(counts=(b"\1", b"\xcf" + b"\xff" * 8)), CORRUPT),
    "counts of 2^63 together": (lambda: inner(counts=(b"\1", b"\xcf\x7f" + b"\xff" * 7)), CORRUPT),
    "a count spelled long": (lambda: inner(counts=(b"\xcd\x00\x01", b"\2")), CORRUPT),
    "a digest of 31 bytes": (lambda: inner(values=(b"x" * 31, b"y" * 32)), CORRUPT),
    "a digest of 33 bytes": (lambda: inner(values=(b"x" * 33, b"y" * 32)), CORRUPT),
    "a key spelled long": (lambda: b"\x95\x01\x00\x91\xc5\x00\x01a\x91" + _A + b"\x90", CORRUPT),
    "an array spelled long": (lambda: b"\x95\x01\x00\xdc\x00\x01" + _A + b"\x91" + _A + b"\x90",
                              CORRUPT),
    "arrays ten thousand deep": (lambda: b"\x95\x01\x00" + b"\x91" * 10_000, CORRUPT),
    "maps ten thousand deep": (lambda: b"\x95\x01" + b"\x81\x00" * 10_000, CORRUPT),
    "an extension": (lambda: b"\x95\x01\x00\xc7\x04\x00abcd\x90\x90", CORRUPT),
}  # fmt: skip


def decoded(name: str) -> Callable[[], str]:
    """Decode a case; the error it ended with, or "ok"."""
    data = CASES[name][0]()
    return lambda: _ended(lambda: decode_node(data, "hostile"))


def _ended(step: Callable[[], object]) -> str:
    try:
        step()
    except TransitError as error:
        return type(error).__name__
    return "ok"


class Liar:
    """Leaves and parents that are saved as they are, right or not."""

    def __init__(self) -> None:
        self.nodes = MemoryNodes()

    def leaf(self, *keys: bytes) -> bytes:
        """A leaf whose values are its keys."""
        return self.put(Node(0, keys, keys, ()))

    def parent(self, level: int, *children: tuple[bytes, bytes, int]) -> bytes:
        """A node above, with a key, a digest and a count for each child."""
        keys, digests, counts = zip(*children, strict=True)
        return self.put(Node(level, keys, digests, counts))

    def put(self, node: Node) -> bytes:
        """Any node, under its digest."""
        data = encode_node(node)
        digest = digest_of(data)
        self.nodes.data[digest] = data
        return digest


Lie = Callable[[Liar], bytes]


def _right(tell: Liar) -> bytes:
    return tell.parent(
        1, (b"b", tell.leaf(b"a", b"b"), 2), (b"d", tell.leaf(b"c", b"d"), 2)
    )  # fmt: skip


def _last_key(tell: Liar) -> bytes:
    return tell.parent(1, (b"bb", tell.leaf(b"a", b"b"), 2), (b"d", tell.leaf(b"c", b"d"), 2))


def _overlap(tell: Liar) -> bytes:
    return tell.parent(1, (b"b", tell.leaf(b"a", b"b"), 2), (b"d", tell.leaf(b"a", b"d"), 2))


def _touching(tell: Liar) -> bytes:
    return tell.parent(1, (b"b", tell.leaf(b"a", b"b"), 2), (b"d", tell.leaf(b"b", b"d"), 2))


def _count(tell: Liar) -> bytes:
    return tell.parent(1, (b"b", tell.leaf(b"a", b"b"), 2), (b"d", tell.leaf(b"c", b"d"), 2**50))


def _level_skipped(tell: Liar) -> bytes:
    return tell.parent(2, (b"b", tell.leaf(b"a", b"b"), 2), (b"d", tell.leaf(b"c", b"d"), 2))


def _as_high_as_its_parent(tell: Liar) -> bytes:
    first = tell.parent(1, (b"a", tell.leaf(b"a"), 1), (b"b", tell.leaf(b"b"), 1))
    return tell.parent(1, (b"b", first, 2), (b"d", tell.leaf(b"c", b"d"), 2))


def _other_bytes(tell: Liar) -> bytes:
    root, child = _right(tell), tell.leaf(b"c", b"d")
    tell.nodes.data[child] = encode_node(Node(0, (b"c", b"d"), (b"x", b"y"), ()))
    return root


def _missing(tell: Liar) -> bytes:
    root = _right(tell)
    del tell.nodes.data[tell.leaf(b"c", b"d")]
    return root


def _shared_everywhere(tell: Liar) -> bytes:
    """One node 16 times in its parent, which is that 16 times …: 16^7 entries, stated honestly."""
    digest, count = tell.leaf(b"a"), 1
    for level in range(1, 8):
        keys = (b"c%02d" % n for n in range(16))
        digest = tell.parent(level, *((key, digest, count) for key in keys))
        count *= 16
    return digest


TREES: Final[dict[str, tuple[Lie, str]]] = {
    "right": (_right, "ok"),
    "another last key": (_last_key, CORRUPT),
    "a child that begins too early": (_overlap, CORRUPT),
    "a child that begins where the one before ends": (_touching, CORRUPT),
    "another count": (_count, CORRUPT),
    "a level left out": (_level_skipped, CORRUPT),
    "a child as high as its parent": (_as_high_as_its_parent, CORRUPT),
    "other bytes under a digest": (_other_bytes, CORRUPT),
    "a node that is not there": (_missing, "NotFoundError"),
    "a bomb of shared nodes": (_shared_everywhere, CORRUPT),
}

READS: Final[tuple[Callable[[Map], object], ...]] = (
    lambda made: list(made.items()),
    lambda made: list(made.items(reverse=True)),
    lambda made: [made.get(b"c"), made.get(b"b"), made.get(b"aa")],
    lambda made: [made.count(b"aa", b"c"), made.count(b"c", b"d")],
    lambda made: list(Map(made._shelf).diff(made)),
    lambda made: list(made.diff(Map(made._shelf))),
    lambda made: made.edit({b"aa": b"1", b"c": b"2"}),
)


def tree(name: str) -> Callable[[], list[str]]:
    """Read a tree in every way; the errors these ended with."""
    tell = Liar()
    root = TREES[name][0](tell)
    return lambda: [_ended(lambda r=read: r(Map(Shelf(tell.nodes), root))) for read in READS]  # type: ignore[misc]


def unnoticed() -> str:
    """The first case that does not end as it should; or ""."""
    for name, (_, expected) in CASES.items():
        if decoded(name)() != expected:
            return f"node: {name}"
    for name, (_, expected) in TREES.items():
        if set(tree(name)()) != {expected}:
            return f"tree: {name}"
    return ""
