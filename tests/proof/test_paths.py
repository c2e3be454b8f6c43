"""Inclusion and consistency paths, against RFC 6962 word for word and published ones."""

from __future__ import annotations

from base64 import b64decode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transit.errors import InvalidInputError, ProofError, SplitViewError
from transit.proof.paths import (
    EMPTY_ROOT,
    LeafHashes,
    check_consistency,
    check_inclusion,
    consistency_path,
    inclusion_path,
    tree_root,
)

LEAVES = [sha256(b"\x00" + number.to_bytes(2, "big")).digest() for number in range(130)]
SIZES = [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 31, 32, 33, 64, 100, 127, 128, 129]
# The eight leaves that Certificate Transparency implementations test themselves with.
PUBLISHED = [
    bytes.fromhex(each)
    for each in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip

# Hashes over them, as published in the tests of transparency-dev/merkle.
LEAF_0 = "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0="
LEAF_4 = "vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms="
LEAF_6 = "sIaT7C5yFZcTBkHoIR5+7cy0wmQTlj7ubB4u0W/7Gl8="
NODE_0123 = "037kGJdt2VdTwcc4Yrk5j6Kiz5tP8P3+izDNlSCWFLc="
NODE_23 = "Xwg/ChozygdqlSeYMlgNs+DvRYS9/x9UyKNg9Q3jAx4="
NODE_45 = "DrxdNDf74tsVi58Sah0RjjCBgQMdCpSfje3t68VY72o="
NODE_67 = "yoVOoSjtBQtBs1/8G4e46yveRh6eO1WW7Oa51ZdaCuA="


def root_of(leaves: list[bytes]) -> bytes:
    """MTH of section 2.1."""
    if not leaves:
        return sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + root_of(leaves[:k]) + root_of(leaves[k:])).digest()


def path_of(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of section 2.1.1."""
    n = len(leaves)
    if n == 1:
        return []
    k = 1 << (n - 1).bit_length() - 1
    if m < k:
        return [*path_of(m, leaves[:k]), root_of(leaves[k:])]
    return [*path_of(m - k, leaves[k:]), root_of(leaves[:k])]


def growth_of(m: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of section 2.1.2."""
    n = len(leaves)
    if m == n:
        return [] if whole else [root_of(leaves)]
    k = 1 << (n - 1).bit_length() - 1
    if m <= k:
        return [*growth_of(m, leaves[:k], whole), root_of(leaves[k:])]
    return [*growth_of(m - k, leaves[k:], False), root_of(leaves[:k])]


def known(path: list[str]) -> list[bytes]:
    return [b64decode(each) for each in path]


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_has_the_path_that_the_standard_says_and_no_other_holds(size: int) -> None:
    leaves = LEAVES[:size]
    hashes, root = LeafHashes(leaves), root_of(leaves)
    for index in range(size):
        path = inclusion_path(index, size, hashes.hash_at)
        assert path == path_of(index, leaves)
        check_inclusion(index, size, leaves[index], path, root)
        for other in {(index + 1) % size, index ^ 1, size - 1 - index} - {index}:
            with pytest.raises(ProofError):
                check_inclusion(other, size, leaves[index], path, root)


@pytest.mark.parametrize("size", SIZES)
def test_every_growth_has_the_path_that_the_standard_says_and_no_other_holds(size: int) -> None:
    leaves = LEAVES[:size]
    hashes, root = LeafHashes(leaves), root_of(leaves)
    for old in range(size + 1):
        path = consistency_path(old, size, hashes.hash_at)
        assert path == (growth_of(old, leaves) if old else [])
        check_consistency(old, size, root_of(leaves[:old]), root, path)
        for other in {old + 1, old - 1} & set(range(1, size + 1)):
            with pytest.raises(ProofError):
                check_consistency(other, size, root_of(leaves[:old]), root, path)


@given(st.data())
def test_a_path_that_is_changed_anywhere_holds_no_more(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 130))
    hashes = LeafHashes(LEAVES[:size])
    root = hashes.root()
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    inclusion = inclusion_path(index, size, hashes.hash_at)
    growth = consistency_path(old, size, hashes.hash_at)
    for path, check in (
        (inclusion, lambda path: check_inclusion(index, size, LEAVES[index], path, root)),
        (growth, lambda path: check_consistency(old, size, hashes.root(old), root, path)),
    ):
        check(path)
        for wrong in changed(path, data):
            with pytest.raises(ProofError):
                check(wrong)


@given(st.integers(2, 130), st.data())
def test_no_other_root_and_no_other_leaf_holds(size: int, data: st.DataObject) -> None:
    hashes = LeafHashes(LEAVES[:size])
    root = hashes.root()
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    inclusion = inclusion_path(index, size, hashes.hash_at)
    growth = consistency_path(old, size, hashes.hash_at)
    before, leaf, other = hashes.root(old), LEAVES[index], bytes(32)
    for wrong in ((leaf, other), (other, root), (root, leaf), (leaf, leaf), (root, root)):
        with pytest.raises(ProofError):
            check_inclusion(index, size, wrong[0], inclusion, wrong[1])
    for wrong in ((root, before), (before, other), (other, root), (root, root), (before, before)):
        with pytest.raises(ProofError):
            check_consistency(old, size, *wrong, growth)


def changed(path: list[bytes], data: st.DataObject) -> list[list[bytes]]:
    """The shapes of the published vectors that must not hold."""
    garbage = bytes(32)
    shapes = [[], path[:-1], path[1:], [*path, garbage], [garbage, *path], [*path, path[-1]]]
    at, bit = data.draw(st.integers(0, len(path) - 1)), data.draw(st.integers(0, 255))
    flipped = (int.from_bytes(path[at], "big") ^ 1 << bit).to_bytes(32, "big")
    shapes.append([*path[:at], flipped, *path[at + 1 :]])
    shapes.append([*path[:at], path[at][:-1], *path[at + 1 :]])
    if len(path) > 1:
        shapes.append(path[::-1])
        shapes.append([path[1], path[0], *path[2:]])
    return [each for each in shapes if each != path]


@pytest.mark.parametrize(
    ("index", "size", "path"),
    [
        (0, 1, []),
        (
            5, 8,
            [LEAF_4, NODE_67, NODE_0123],
        ),
        (
            1, 5,
            [LEAF_0, NODE_23, LEAF_4],
        ),
    ],
)  # fmt: skip
def test_published_inclusion_paths_are_made_and_hold(
    index: int, size: int, path: list[str]
) -> None:
    hashes = LeafHashes(sha256(b"\x00" + each).digest() for each in PUBLISHED)
    assert inclusion_path(index, size, hashes.hash_at) == known(path)
    check_inclusion(index, size, hashes.hash_at(0, index), known(path), hashes.root(size))


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (1, 1, []),
        (
            2, 5,
            [NODE_23, LEAF_4],
        ),
        (
            6, 7,
            [NODE_45, LEAF_6, NODE_0123],
        ),
    ],
)  # fmt: skip
def test_published_consistency_paths_are_made_and_hold(old: int, new: int, path: list[str]) -> None:
    hashes = LeafHashes(sha256(b"\x00" + each).digest() for each in PUBLISHED)
    assert consistency_path(old, new, hashes.hash_at) == known(path)
    check_consistency(old, new, hashes.root(old), hashes.root(new), known(path))


@pytest.mark.parametrize("size", [1 << 40, (1 << 40) + 12345, (1 << 63) - 1])
def test_a_path_in_the_largest_trees_takes_few_hashes(size: int) -> None:
    """No leaf is there: the hash of a perfect subtree is worked out from its place alone."""
    asked = []

    def hash_at(level: int, index: int) -> bytes:
        asked.append((level, index))
        return sha256(b"%d/%d" % (level, index)).digest()

    # Nothing binds these hashes to those above them, so only the lengths can be looked at.
    path = inclusion_path(size - 1, size, hash_at)
    growth = consistency_path(size // 3, size, hash_at)
    assert len(path) <= 63
    assert len(growth) <= 63
    assert len(asked) <= 63 * 64


def test_errors_of_a_path_name_what_is_wrong() -> None:
    hashes = LeafHashes(LEAVES[:5])
    root, leaf = hashes.root(), LEAVES[1]
    path = inclusion_path(1, 5, hashes.hash_at)
    for call, says in (
        (lambda: check_inclusion(5, 5, leaf, path, root), "inclusion: a tree of 5 has no leaf 5"),
        (lambda: check_inclusion(-1, 5, leaf, path, root), "inclusion: a tree of 5 has no leaf -1"),
        (
            lambda: check_inclusion(1, 5, leaf, path * 22, root),
            "inclusion: a path has at most 63 hashes",
        ),
        (
            lambda: check_inclusion(1, 5, leaf[:31], path, root),
            "inclusion: a hash has 32 bytes, not 31",
        ),
        (lambda: check_inclusion(1, 5, leaf, path[:2], root), "inclusion: the path is too short"),
        (
            lambda: check_inclusion(1, 5, leaf, [*path, leaf], root),
            "inclusion: the path is too long",
        ),
        (
            lambda: check_inclusion(1, 5, LEAVES[2], path, root),
            "inclusion: the path leads to another root",
        ),
        (
            lambda: check_consistency(6, 5, root, root, []),
            "consistency: a tree of 5 does not follow one of 6",
        ),
        (lambda: check_consistency(5, 5, root, root, path), "consistency: the path must be empty"),
        (
            lambda: check_consistency(0, 5, EMPTY_ROOT, root, path),
            "consistency: the path must be empty",
        ),
        (
            lambda: check_consistency(0, 5, root, root, []),
            "consistency: an empty tree has another root",
        ),
        (
            lambda: check_consistency(0, 0, root, root, []),
            "consistency: an empty tree has another root",
        ),
        (
            lambda: check_consistency(5, 5, root, hashes.root(4), []),
            "consistency: SPLIT VIEW, two roots for size 5",
        ),
        (
            lambda: check_consistency(3, 5, hashes.root(3), root, []),
            "consistency: the path is too short",
        ),
    ):
        with pytest.raises(ProofError) as refused:
            call()
        assert str(refused.value) == says


def test_two_roots_of_one_size_are_a_split_view() -> None:
    hashes = LeafHashes(LEAVES[:5])
    with pytest.raises(SplitViewError):
        check_consistency(5, 5, hashes.root(), hashes.root(4), [])


def test_what_no_tree_has_cannot_be_asked_for() -> None:
    hashes = LeafHashes(LEAVES[:5])
    assert tree_root(0, hashes.hash_at) == EMPTY_ROOT == root_of([])
    for index, size in ((5, 5), (-1, 5), (0, 0), (0, 1 << 63)):
        with pytest.raises(InvalidInputError):
            inclusion_path(index, size, hashes.hash_at)
    for old, new in ((6, 5), (-1, 5), (0, 1 << 63)):
        with pytest.raises(InvalidInputError):
            consistency_path(old, new, hashes.hash_at)
    with pytest.raises(InvalidInputError):
        tree_root(-1, hashes.hash_at)
    for level, index in ((0, 5), (1, 2), (3, 0), (-1, 0), (0, -1)):
        with pytest.raises(LookupError):
            hashes.hash_at(level, index)
    # What the source does not know is what the caller is told.
    with pytest.raises(LookupError):
        inclusion_path(0, 6, hashes.hash_at)


def test_hashes_of_a_growing_list_are_worked_out_once() -> None:
    hashes = LeafHashes()
    for count, leaf in enumerate(LEAVES, 1):
        hashes.append(leaf)
        assert len(hashes) == count
        assert hashes.root() == root_of(LEAVES[:count])
    first = hashes.hash_at(5, 1)
    assert hashes.hash_at(5, 1) is first
