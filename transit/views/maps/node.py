"""Nodes of an ordered map: their bytes, and the nodes that are kept decoded.

A node is a MessagePack array of five, in the shortest spelling of everything in it:

    element  what             its bytes
    0        format version   the integer 1
    1        level            an integer from 0 to 7; 0 holds the entries of the map
    2        keys             an array of `bin`, strictly ascending
    3        values           an array of `bin`, one for each key; above level 0 a child's digest
    4        counts           an array of integers, one for each key: how many entries are below the
                              child; at level 0 an array of none

A node above level 0 has one key for each child, and that is the child's last key. Level and version
are in the bytes, so they are in the digest too: BLAKE3 of the bytes, 32 of them. Numbers of more
than one byte are big-endian, as MessagePack has them.

Valid if and only if: there are at most `NODE_BYTES_MAX` bytes, and encoding what they decode to
gives them again; there is at least one key; keys have at most 1,024 bytes and ascend; values of
level 0 have at most 65,536 bytes, those above exactly 32; counts are at least 1 and together below
2^63. A child is one level lower than its parent, its last key and the count of its entries are what
the parent says, and its first key is above the last one of the child before. A reader that finds
another version of the format in a node says so (`UnsupportedVersionError`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from operator import lt
from typing import Annotated, Final, Protocol

import msgspec
from blake3 import blake3

from transit import CorruptError, UnsupportedVersionError

KEY_BYTES_MAX: Final = 1024
VALUE_BYTES_MAX: Final = 65_536
DIGEST_BYTES: Final = 32
LEVEL_MAX: Final = 7
# What a node may count to before its last entry, see `cutting`; that entry with eight bytes around
# it; and the array's own bytes.
NODE_BYTES_MAX: Final = 16_384 + KEY_BYTES_MAX + VALUE_BYTES_MAX + 8 + 16
ENTRIES_MAX: Final = 2**63 - 1

VERSION: Final = 1
_ARRAY_OF_FIVE: Final = 0x95
_LEVEL_AT: Final = 2

_Level = Annotated[int, msgspec.Meta(ge=0, le=LEVEL_MAX)]
_Count = Annotated[int, msgspec.Meta(ge=1)]
_Key = Annotated[bytes, msgspec.Meta(max_length=KEY_BYTES_MAX)]
_Value = Annotated[bytes, msgspec.Meta(max_length=VALUE_BYTES_MAX)]


class Node(
    msgspec.Struct, frozen=True, array_like=True, tag=VERSION, forbid_unknown_fields=True, gc=False
):
    """One node. counts: the entries below each child; none at level 0."""

    level: _Level
    keys: tuple[_Key, ...]
    values: tuple[_Value, ...]
    counts: tuple[_Count, ...]

    @property
    def total(self) -> int:
        """How many entries of the map are in this node and below it."""
        return sum(self.counts) if self.level else len(self.keys)


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Node)


def encode_node(node: Node) -> bytes:
    """The node's bytes; what it holds is not checked."""
    return _encoder.encode(node)


def digest_of(data: bytes) -> bytes:
    """The digest of a node's bytes, 32 bytes."""
    return blake3(data).digest()


def decode_node(data: bytes, place: str, level: int | None = None) -> Node:
    """The node that `data` is; at `level`, where one is expected.

    Raises `CorruptError`, or `UnsupportedVersionError`, both naming `place`. Memory is taken only
    for what is there.
    """
    if len(data) > NODE_BYTES_MAX:
        raise _corrupt(place, f"at most {NODE_BYTES_MAX} bytes", f"{len(data)} bytes")
    if len(data) > 1 and data[0] == _ARRAY_OF_FIVE and VERSION < data[1] < 0x80:
        raise UnsupportedVersionError(place, found=data[1], supported=VERSION)
    try:
        node = _decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _corrupt(place, "a node", str(error)) from None
    problem = _problem(node)
    if problem:
        raise _corrupt(place, "a node", problem)
    if _encoder.encode(node) != data:
        raise _corrupt(place, "the shortest spelling of a node", "another spelling")
    if level is not None and node.level != level:
        raise _corrupt(place, f"a node of level {level}", f"level {node.level}")
    return node


def _problem(node: Node) -> str:
    keys, values, counts = node.keys, node.values, node.counts
    if not keys:
        return "no keys"
    if len(values) != len(keys) or len(counts) != (len(keys) if node.level else 0):
        return f"{len(keys)} keys, {len(values)} values, {len(counts)} counts at level {node.level}"
    if not all(map(lt, keys, islice(keys, 1, None))):
        return "keys that do not ascend"
    if node.level:
        if set(map(len, values)) != {DIGEST_BYTES}:
            return "a digest that is not 32 bytes"
        if sum(counts) > ENTRIES_MAX:
            return "counts beyond 2^63"
    return ""


def _corrupt(place: str, expected: str, found: str) -> CorruptError:
    return CorruptError(place, expected=expected, found=found)


def children(data: bytes) -> list[bytes]:
    """The digests of a node's children, in the order of their keys; none for one of level 0."""
    node = decode_node(data, "a node")
    return list(node.values) if node.level else []


def made_children(data: bytes) -> Sequence[bytes]:
    """The same of a node that was made here: one of level 0 is not looked at any further."""
    return children(data) if data[_LEVEL_AT] else ()


class Nodes(Protocol):
    """Where nodes are kept, by digest. Whoever loads from it compares the digest."""

    def load(self, digest: bytes) -> bytes:
        """The bytes of a node; `NotFoundError` or `CorruptError`."""
        ...

    def save(self, digest: bytes, data: bytes) -> None:
        """Take a new node; its children were saved before."""
        ...


# A node, the count of entries below it, and the size of its bytes.
_Kept = tuple[Node, int, int]


class Shelf:
    """Nodes that are loaded, compared with their digest, decoded, and kept for a while.

    kept_bytes: how many bytes of nodes are kept decoded; in Python's memory they take two to three
    times as much. What was not asked for while half of it went by is forgotten. Maps that are given
    one shelf share it, and so do maps made from one another. Threads may share it: each step that
    they could disturb is one call into C, and at worst a node is decoded twice.
    """

    def __init__(self, nodes: Nodes, kept_bytes: int = 16 * 1024 * 1024) -> None:
        self.nodes = nodes
        self._half = kept_bytes // 2
        self._new: dict[bytes, _Kept] = {}
        self._old: dict[bytes, _Kept] = {}
        self._new_bytes = 0

    def node(self, digest: bytes) -> Node:
        """The node of that digest; `NotFoundError` or `CorruptError`."""
        return (self._new.get(digest) or self._load(digest))[0]

    def child(self, parent: Node, place: int) -> Node:
        """The child at `place`, which is what its parent says it is; or `CorruptError`."""
        digest = parent.values[place]
        node, total, _ = self._new.get(digest) or self._load(digest)
        keys = node.keys
        if (
            keys[-1] != parent.keys[place]
            or node.level != parent.level - 1
            or total != parent.counts[place]
            or (place and keys[0] <= parent.keys[place - 1])
        ):
            raise _corrupt(f"node {digest.hex()}", "what its parent says", "another node")
        return node

    def keep(self, digest: bytes, node: Node, size: int) -> None:
        """Keep a decoded node of `size` bytes for a while."""
        self._keep(digest, (node, node.total, size))

    def _load(self, digest: bytes) -> _Kept:
        kept = self._old.get(digest)
        if kept is None:
            data, place = self.nodes.load(digest), f"node {digest.hex()}"
            found = digest_of(data)
            if found != digest:
                raise _corrupt(place, f"digest {digest.hex()}", found.hex())
            node = decode_node(data, place)
            kept = node, node.total, len(data)
        self._keep(digest, kept)
        return kept

    def _keep(self, digest: bytes, kept: _Kept) -> None:
        self._new[digest] = kept
        self._new_bytes += kept[2]
        if self._new_bytes > self._half:
            self._old, self._new, self._new_bytes = self._new, {}, 0
