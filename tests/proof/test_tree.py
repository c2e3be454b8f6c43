"""The compact range against the recursive definition of RFC 6962, and against published roots."""

from __future__ import annotations

from functools import cache
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import InvalidInputError
from transit.proof.tree import HASH_BYTES, TREE_SIZE_MAX, CompactRange, leaf_hash, node_hash

EMPTY_ROOT = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

# The leaves and roots that Certificate Transparency implementations test themselves with.
PUBLISHED = [
    ("", "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    ("00", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    ("10", "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
    ("2021", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
    ("3031", "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
    ("40414243", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
    ("5051525354555657", "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
    (
        "606162636465666768696a6b6c6d6e6f",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ),
]


@cache
def number_leaf(number: int) -> bytes:
    return sha256(b"\x00" + number.to_bytes(8, "big")).digest()


@cache
def subtree_root(start: int, stop: int) -> bytes:
    """MTH(D[start:stop]) as section 2.1 defines it, sharing no code with transit."""
    count = stop - start
    if count == 0:
        return sha256().digest()
    if count == 1:
        return number_leaf(start)
    middle = start + (1 << (count - 1).bit_length() - 1)
    return sha256(b"\x01" + subtree_root(start, middle) + subtree_root(middle, stop)).digest()


def range_of(size: int) -> CompactRange:
    result = CompactRange()
    for number in range(size):
        result = result.append(number_leaf(number))
    return result


def perfect_subtrees(size: int) -> tuple[bytes, ...]:
    roots, start = [], 0
    for bit in reversed(range(size.bit_length())):
        if size >> bit & 1:
            roots.append(subtree_root(start, start + (1 << bit)))
            start += 1 << bit
    return tuple(roots)


def test_empty_tree_has_the_digest_of_nothing() -> None:
    assert CompactRange().valid
    assert CompactRange().root().hex() == EMPTY_ROOT


def test_leaf_and_node_are_told_apart() -> None:
    left, right = leaf_hash(b"left"), leaf_hash(b"right")
    assert leaf_hash(b"") == sha256(b"\x00").digest()
    assert node_hash(left, right) == sha256(b"\x01" + left + right).digest()
    assert node_hash(left, right) != leaf_hash(left + right)
    assert node_hash(left, right) != node_hash(right, left)


def test_published_leaves_give_the_published_roots() -> None:
    tree = CompactRange()
    for leaf, root in PUBLISHED:
        tree = tree.append(leaf_hash(bytes.fromhex(leaf)))
        assert tree.root().hex() == root
    assert tree.size == len(PUBLISHED)


def test_every_small_tree_equals_the_recursive_definition() -> None:
    tree = CompactRange()
    for size in range(301):
        assert tree.valid
        assert tree.size == size
        assert tree.hashes == perfect_subtrees(size)
        assert tree.root() == subtree_root(0, size)
        tree = tree.append(number_leaf(size))


@given(size=st.integers(301, 20_000))
def test_larger_tree_equals_the_recursive_definition(size: int) -> None:
    tree = CompactRange(size, perfect_subtrees(size))
    assert tree.valid
    assert tree.root() == subtree_root(0, size)
    grown = tree.append(number_leaf(size))
    assert grown == CompactRange(size + 1, perfect_subtrees(size + 1))


@given(size=st.integers(0, TREE_SIZE_MAX - 1), seed=st.binary(max_size=8))
def test_range_of_any_size_stays_valid_when_it_grows(size: int, seed: bytes) -> None:
    hashes = tuple(leaf_hash(seed + bytes([number])) for number in range(size.bit_count()))
    tree = CompactRange(size, hashes)
    grown = tree.append(leaf_hash(seed))
    assert grown.valid
    assert grown.size == size + 1
    kept = len(grown.hashes) - 1
    assert grown.hashes[:kept] == hashes[:kept]
    assert len(grown.root()) == HASH_BYTES


def test_appending_leaves_the_first_range_as_it_was() -> None:
    tree = range_of(5)
    before = tree.size, tree.hashes
    tree.append(number_leaf(5))
    assert (tree.size, tree.hashes) == before
    with pytest.raises(AttributeError):
        tree.size = 6  # type: ignore[misc]


INVALID = [
    pytest.param(CompactRange(-1, ()), id="negative size"),
    pytest.param(CompactRange(0, (bytes(32),)), id="hash of an empty tree"),
    pytest.param(CompactRange(1, ()), id="hash missing"),
    pytest.param(CompactRange(2, (bytes(32), bytes(32))), id="hash too many"),
    pytest.param(CompactRange(1, (bytes(31),)), id="short hash"),
    pytest.param(CompactRange(3, (bytes(32), bytes(33))), id="long hash"),
    pytest.param(CompactRange(2**63, (bytes(32),)), id="size beyond 63 bits"),
]


@pytest.mark.parametrize("tree", INVALID)
def test_invalid_range_gives_no_root_and_takes_no_leaf(tree: CompactRange) -> None:
    assert not tree.valid
    with pytest.raises(InvalidInputError, match="no compact range"):
        tree.root()
    with pytest.raises(InvalidInputError, match="no compact range"):
        tree.append(bytes(HASH_BYTES))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_leaf_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(InvalidInputError, match="32 bytes"):
        CompactRange().append(bytes(size))


def test_full_tree_takes_no_leaf() -> None:
    full = CompactRange(TREE_SIZE_MAX, tuple(bytes(32) for _ in range(63)))
    assert full.valid
    with pytest.raises(InvalidInputError, match="at most"):
        full.append(bytes(HASH_BYTES))
