"""The tree over a segment's chunks: exact leaves, and what can be shown with them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from transit.format.life import NAMES_ID, Life, encode_life
from transit.format.lineage import LINEAGE_ID, Root, encode_lineage
from transit.format.record import Columns, encode_chunk, measure
from transit.proof.chunks import ChunkTree
from transit.proof.tree import CompactRange, leaf_hash, root_over


def chunk(
    stream: int,
    first: int,
    payloads: Sequence[bytes],
    times: int | list[int] = 5,
    written: int | list[int] = 7,
    writer: str = "",
) -> tuple[int, int, int, bytes]:
    """What `ChunkTree.add` takes."""
    columns = Columns(payloads, measure(payloads), times, None, written, writer)
    return stream, first, len(payloads), b"".join(encode_chunk(stream, first, columns))


def root(*chunks: tuple[int, int, int, bytes]) -> str:
    tree = ChunkTree()
    for each in chunks:
        tree.add(*each)
    return tree.root()


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@given(st.lists(st.binary(max_size=60), max_size=40))
def test_the_root_is_that_of_a_range_to_which_each_leaf_was_appended(leaves: list[bytes]) -> None:
    grown = CompactRange()
    for leaf in leaves:
        grown = grown.append(leaf_hash(leaf))
    assert root_over(leaves) == grown.root()


def test_a_chunk_is_the_leaf_that_the_table_says() -> None:
    one = chunk(7, 3, [b"a", b"bc"])
    leaf = struct.pack("<QQI", 7, 3, 2) + blake3(one[3]).digest()
    assert len(leaf) == 52
    assert root(one) == sha(b"\0" + leaf).hex()
    assert root() == sha(b"").hex()


@pytest.mark.parametrize("writer", ["", "who", "wér"])
@pytest.mark.parametrize("stream", [LINEAGE_ID, NAMES_ID])
def test_a_record_of_the_stores_own_streams_is_a_leaf(stream: int, writer: str) -> None:
    payloads = [
        encode_lineage(Root(name=f"s{n}", uid=f"{n:032x}")) if stream == LINEAGE_ID
        else encode_life(Life(stream=n, streams=9, hidden=True))
        for n in (1, 2, 3)
    ]  # fmt: skip
    leaves = []
    for n, (payload, time, written) in enumerate(
        zip(payloads, (-5, 6, 2**62), (7, 7, 2**40), strict=True)
    ):
        said = struct.pack("<qqI", time, written, len(writer.encode())) + writer.encode() + payload
        leaves.append(struct.pack("<QQI", stream, 4 + n, 1) + blake3(said).digest())
    one, two, three = (sha(b"\0" + leaf) for leaf in leaves)
    wanted = sha(b"\1" + sha(b"\1" + one + two) + three).hex()
    assert root(chunk(stream, 4, payloads, [-5, 6, 2**62], [7, 7, 2**40], writer)) == wanted
    # However many chunks they are in.
    parts = [
        chunk(stream, 4, payloads[:2], [-5, 6], 7, writer),
        chunk(stream, 6, payloads[2:], 2**62, 2**40, writer),
    ]
    assert root(*parts) == wanted


WHOLE = [
    chunk(LINEAGE_ID, 1, [b"{}", b"[]"]),
    chunk(1, 0, [b"a"]),
    chunk(1, 1, [b"a"]),
    chunk(2, 0, [b"a", b"b"]),
]


@pytest.mark.parametrize(
    "changed",
    [
        WHOLE[:-1],
        [*WHOLE, chunk(3, 0, [b""])],
        [WHOLE[0], WHOLE[2], WHOLE[1], WHOLE[3]],
        [*WHOLE[:1], chunk(2, 0, [b"a"]), *WHOLE[2:]],
        [*WHOLE[:1], chunk(1, 5, [b"a"]), *WHOLE[2:]],
        [*WHOLE[:3], chunk(2, 0, [b"a"])],
        [*WHOLE[:3], chunk(2, 0, [b"ab", b""])],
        [*WHOLE[:3], chunk(2, 0, [b"a", b"b"], 6)],
        [*WHOLE[:3], chunk(2, 0, [b"a", b"b"], 5, 8)],
        [*WHOLE[:3], chunk(2, 0, [b"a", b"b"], 5, 7, "w")],
        [chunk(LINEAGE_ID, 1, [b"{}", b"{}"]), *WHOLE[1:]],
        [chunk(LINEAGE_ID, 2, [b"{}", b"[]"]), *WHOLE[1:]],
        [chunk(LINEAGE_ID, 1, [b"{}", b"[]"], 6), *WHOLE[1:]],
        [chunk(LINEAGE_ID, 1, [b"{}", b"[]"], 5, 8), *WHOLE[1:]],
        [chunk(LINEAGE_ID, 1, [b"{}", b"[]"], 5, 7, "w"), *WHOLE[1:]],
        [chunk(NAMES_ID, 1, [b"{}", b"[]"]), *WHOLE[1:]],
    ],
)
def test_whatever_is_changed_changes_the_root(
    changed: list[tuple[int, int, int, bytes]],
) -> None:
    assert root(*changed) != root(*WHOLE)


# Proofs, as they will be made of it


def path(hashes: list[bytes], place: int) -> list[bytes]:
    """RFC 6962, 2.1.1: what is beside the way from a leaf to the root, from below."""
    if len(hashes) <= 1:
        return []
    half = 1 << (len(hashes) - 1).bit_length() - 1
    left, right = hashes[:half], hashes[half:]
    if place < half:
        return [*path(left, place), top(right)]
    return [*path(right, place - half), top(left)]


def top(hashes: list[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    half = 1 << (len(hashes) - 1).bit_length() - 1
    return sha(b"\1" + top(hashes[:half]) + top(hashes[half:]))


def climbed(leaf: bytes, place: int, count: int, beside: list[bytes]) -> bytes:
    """The root that a leaf and its path lead to."""
    node, last = sha(b"\0" + leaf), count - 1
    for other in beside:
        if place & 1 or place == last:
            node = sha(b"\1" + other + node)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            node = sha(b"\1" + node + other)
        place, last = place >> 1, last >> 1
    return node


def leaf_of(each: tuple[int, int, int, bytes]) -> bytes:
    stream, first, count, encoded = each
    return struct.pack("<QQI", stream, first, count) + blake3(encoded).digest()


def test_a_chunk_is_proved_by_itself_and_with_another_erased() -> None:
    chunks = [chunk(1 + n, 0, [b"secret of %d" % n] * 3) for n in range(11)]
    stated = root(*chunks)
    # One is erased: its bytes are gone, its leaf was kept.
    erased = 4
    hashes = [sha(b"\0" + leaf_of(each)) for each in chunks]
    kept = [None if n == erased else each for n, each in enumerate(chunks)]
    for place, each in enumerate(kept):
        if each is None:
            continue
        beside = path(hashes, place)
        assert climbed(leaf_of(each), place, len(chunks), beside).hex() == stated
        shown = each[3] + b"".join(beside)
        assert shown.count(b"secret of %d" % place) == 3
        assert not any(b"secret of %d" % n in shown for n in range(11) if n not in (place, 1))
        # Of another place, or as another stream's, it does not hold.
        assert climbed(leaf_of(each), (place + 1) % 11, 11, beside).hex() != stated
        foreign = (each[0] + 1, *each[1:])
        assert climbed(leaf_of(foreign), place, 11, beside).hex() != stated
