"""Packs: their bytes, and what is none."""

from __future__ import annotations

import random
import struct

import pytest

import transit
from transit.views import pack
from transit.views.pack import NodePlace, Packed, decode_pack, encode_pack

NODES = [
    Packed(b"root", (NodePlace("ab" * 16, 0, 1), NodePlace("cd" * 16, 2**64 - 1, 2**32 - 1))),
    Packed(b"", ()),
    Packed(b"leaf" * 100, ()),
]


def test_packs_come_back() -> None:
    for nodes in ([], NODES, NODES * 300):
        assert decode_pack(encode_pack(nodes), "here") == nodes


def test_the_table_of_bytes_is_what_is_written() -> None:
    data = encode_pack(NODES[:1])
    magic, version, zero, sources, count = struct.unpack_from("<4sB3sII", data)
    assert (magic, version, zero, sources, count) == (b"TVPK", 1, b"\0\0\0", 2, 1)
    assert data[16:48] == bytes.fromhex("ab" * 16 + "cd" * 16)
    assert struct.unpack_from("<II", data, 48) == (4, 2)
    assert data[56:60] == b"root"
    assert struct.unpack_from("<IIQ", data, 60) == (0, 1, 0)
    assert struct.unpack_from("<IIQ", data, 76) == (1, 2**32 - 1, 2**64 - 1)
    assert len(data) == 92


def test_no_part_of_a_pack_is_one() -> None:
    data = encode_pack(NODES)
    for size in range(len(data)):
        with pytest.raises(transit.CorruptError, match="here"):
            decode_pack(data[:size], "here")
    with pytest.raises(transit.CorruptError):
        decode_pack(data + b"\0", "here")


def test_a_flipped_bit_gives_a_pack_or_a_typed_error() -> None:
    data = encode_pack(NODES[:2])
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        try:
            found = decode_pack(bytes(changed), "here")
        except transit.FormatError:
            continue
        assert found != NODES[:2]


@pytest.mark.parametrize(
    "head",
    [
        (b"TVPK", 2, b"\0\0\0", 0, 0), (b"TVPK", 0, b"\0\0\0", 0, 0),
        (b"TVPK", 1, b"\0\0\1", 0, 0), (b"XVPK", 1, b"\0\0\0", 0, 0),
        (b"TVPK", 1, b"\0\0\0", 2**32 - 1, 0), (b"TVPK", 1, b"\0\0\0", 0, 2**32 - 1),
        (b"TVPK", 1, b"\0\0\0", 2**32 - 1, 2**32 - 1),
    ],
)  # fmt: skip
def test_what_a_head_claims_takes_no_memory(head: tuple[bytes, int, bytes, int, int]) -> None:
    with pytest.raises(transit.FormatError):
        decode_pack(struct.pack("<4sB3sII", *head) + bytes(100), "here")


def test_anything_is_a_pack_or_a_typed_error() -> None:
    chance = random.Random(7)
    for _ in range(3_000):
        data = b"TVPK\1\0\0\0" + chance.randbytes(chance.randrange(60))
        try:
            decode_pack(data, "here")
        except transit.FormatError:
            continue


def test_new_nodes_are_laid_out_with_the_places_of_all_below() -> None:
    nodes = {name.encode(): bytes(90_000) + name.encode() for name in "abcdef"}
    children = {b"a": [b"b", b"c"], b"b": [b"d", b"old"], b"c": [b"e", b"f"]}
    below = {name: children.get(name, []) for name in nodes}
    known = {b"old": NodePlace("ab" * 16, 4, 2)}
    layout = pack.lay_out([*nodes], nodes, below, known, "cd" * 16, lambda at, _: 10 + at)
    assert layout.numbers == [10, 11, 12]
    assert {*layout.places} == {*nodes}
    for name, place in layout.places.items():
        packed = decode_pack(layout.packs[place.pack - 10], "here")[place.number]
        assert packed.data == nodes[name]
        assert packed.children == tuple({**known, **layout.places}[each] for each in below[name])
    empty = pack.lay_out([], {}, {}, {}, "cd" * 16, lambda at, _: at)
    assert (empty.packs, empty.numbers, empty.places) == ([], [], {})
