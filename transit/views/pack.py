"""A pack: the nodes that one savepoint added, and where the nodes below them are.

All numbers are little-endian.

    offset  bytes  field
    0       4      magic "TVPK"
    4       1      version, 1
    5       3      zero
    8       4      count of sources
    12      4      count of nodes
    16      16     each source: the uid of the stream that a pack is a record of
    then for each node
            4      bytes of the node
            4      count of children
            …      the node, as `transit.views.maps.node` has it
            16     each child: number of its source (4), of the node in its pack (4), offset of
                   that pack among those of the source (8)

Valid if and only if all of it is there and nothing after it. A node is named by its digest, so what
is said of children is a hint that whatever reads them checks. A reader refuses a version it does
not know.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from blake3 import blake3

from transit import CorruptError, UnsupportedVersionError

PACK_BYTES_MAX: Final = 1 << 18
"""About the most that goes into one pack: a reader of a node reads all of its pack."""

MAGIC: Final = b"TVPK"
VERSION: Final = 1
_HEAD: Final = struct.Struct("<4sB3xII")
_SIZES: Final = struct.Struct("<II")
_PLACE: Final = struct.Struct("<IIQ")
_UID_BYTES: Final = 16


class NodePlace(NamedTuple):
    """Where a node is. source: uid of the stream of its pack. pack: the offset there, or of a pack
    in a file the number that names it. number: of the node in its pack."""

    source: str
    pack: int
    number: int


class Packed(NamedTuple):
    """A node out of a pack, and the places of its children, in order."""

    data: bytes
    children: tuple[NodePlace, ...]


def encode_pack(nodes: Sequence[Packed]) -> bytes:
    """The bytes of a pack."""
    sources: dict[str, int] = {}
    parts: list[bytes] = []
    for data, children in nodes:
        parts += [_SIZES.pack(len(data), len(children)), data]
        for source, pack, number in children:
            parts.append(_PLACE.pack(sources.setdefault(source, len(sources)), number, pack))
    head = _HEAD.pack(MAGIC, VERSION, len(sources), len(nodes))
    return b"".join([head, *map(bytes.fromhex, sources), *parts])


def decode_pack(data: bytes, place: str) -> list[Packed]:
    """The nodes of a pack; `CorruptError` for what is none, `UnsupportedVersionError`."""
    return list(_Reader(data, place).nodes())


class _Reader:
    """Goes through the bytes of a pack that anybody may have written."""

    def __init__(self, data: bytes, place: str) -> None:
        self._data, self._place, self._at = data, place, 0

    def nodes(self) -> Iterator[Packed]:
        magic, version, sources, count = _HEAD.unpack(self._take(_HEAD.size))
        if magic != MAGIC or self._data[5:8] != b"\0\0\0":
            raise self._wrong("a pack of nodes")
        if version != VERSION:
            raise UnsupportedVersionError(self._place, found=version, supported=VERSION)
        uids = self._take(sources * _UID_BYTES)
        names = [uids[at : at + _UID_BYTES].hex() for at in range(0, len(uids), _UID_BYTES)]
        for _ in range(count):
            size, children = _SIZES.unpack(self._take(_SIZES.size))
            node = self._take(size)
            places = self._take(children * _PLACE.size)
            yield Packed(node, tuple(self._places(places, names)))
        if self._at != len(self._data):
            raise self._wrong("the end of a pack")

    def _places(self, data: bytes, names: Sequence[str]) -> Iterator[NodePlace]:
        for source, number, pack in _PLACE.iter_unpack(data):
            if source >= len(names):
                raise self._wrong("the number of a source")
            yield NodePlace(names[source], pack, number)

    def _take(self, size: int) -> bytes:
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise self._wrong(f"{size} bytes")
        self._at += size
        return part

    def _wrong(self, expected: str) -> CorruptError:
        return CorruptError(
            f"{self._place}, byte {self._at}", expected=expected, found="something else"
        )


class Layout(NamedTuple):
    """Packs to write, their numbers, and where each node is once they are there."""

    packs: list[bytes]
    numbers: list[int]
    places: dict[bytes, NodePlace]


def lay_out(
    order: Sequence[bytes],
    nodes: Mapping[bytes, bytes],
    children_of: Mapping[bytes, Sequence[bytes]],
    known: Mapping[bytes, NodePlace],
    source: str,
    number_of: Callable[[int, Sequence[bytes]], int],
) -> Layout:
    """Packs of new nodes, and where each of them is then.

    order: digests of the nodes, each before its children. nodes, children_of: of each of them.
    known: places of the nodes that are recorded. source: where the packs will be. number_of: the
    number of a pack from how many come before it and from the digests of its nodes.
    """
    groups = _groups(order, nodes, children_of)
    places: dict[bytes, NodePlace] = {}
    numbers = [number_of(at, group) for at, group in enumerate(groups)]
    for pack, group in zip(numbers, groups, strict=True):
        for number, each in enumerate(group):
            places[each] = NodePlace(source, pack, number)
    packs = [
        encode_pack(
            [
                Packed(nodes[each], tuple(places.get(c) or known[c] for c in children_of[each]))
                for each in group
            ]
        )
        for group in groups
    ]
    return Layout(packs, numbers, places)


def _groups(
    order: Sequence[bytes],
    nodes: Mapping[bytes, bytes],
    children_of: Mapping[bytes, Sequence[bytes]],
) -> list[list[bytes]]:
    groups: list[list[bytes]] = []
    size = PACK_BYTES_MAX
    for each in order:
        weight = len(nodes[each]) + _SIZES.size + _PLACE.size * len(children_of[each])
        if size + weight > PACK_BYTES_MAX:
            groups.append([])
            size = 0
        groups[-1].append(each)
        size += weight
    return groups


def new_below(
    root: bytes, nodes: Mapping[bytes, bytes], children_of: Mapping[bytes, Sequence[bytes]]
) -> list[bytes]:
    """The nodes that are not recorded, from a root downwards, each once."""
    found: dict[bytes, None] = {}
    level = [root] if root in nodes else []
    while level:
        found.update(dict.fromkeys(level))
        below = (child for each in level for child in children_of[each])
        level = list(dict.fromkeys(c for c in below if c in nodes and c not in found))
    return list(found)


def digest_of(data: bytes) -> bytes:
    """The digest that names a node."""
    return blake3(data).digest()
