"""Inclusion and consistency paths in the RFC 6962 tree: making them, and checking them.

Owns which hashes a path holds and in what order. Where the hashes come from is the caller's
business: a path is made by `hash_at(level, index)`, which gives the root of the perfect subtree of
`2**level` leaves that begins at leaf `index * 2**level`, and raises `LookupError` for what it does
not know. Tiles (`transit.proof.tiles`) and a list of leaf hashes (`LeafHashes`) are such sources.

    inclusion_path     PATH(index, D[size]) of RFC 6962, section 2.1.1: from the leaf upwards
    consistency_path   PROOF(old, D[new]) of section 2.1.2
    check_inclusion    RFC 9162, section 2.1.3.2
    check_consistency  RFC 9162, section 2.1.4.2

A path has at most 63 hashes, because no tree has more than 2**63 - 1 leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from transit.errors import InvalidInputError, ProofError, SplitViewError
from transit.proof.tree import HASH_BYTES, TREE_SIZE_MAX, CompactRange, node_hash

PATH_HASHES_MAX: Final = 63
EMPTY_ROOT: Final = CompactRange().root()
"""The root of a tree without leaves."""

HashAt = Callable[[int, int], bytes]


class LeafHashes:
    """The perfect subtrees over a growing list of leaf hashes, each worked out once.

    Not safe for threads.
    """

    __slots__ = ("_levels",)

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self._levels: list[list[bytes]] = [list(leaves)]

    def __len__(self) -> int:
        return len(self._levels[0])

    def append(self, leaf: bytes) -> None:
        """Take one more leaf hash."""
        self._levels[0].append(leaf)

    def hash_at(self, level: int, index: int) -> bytes:
        """The root of leaves `index * 2**level` and on, `2**level` of them.

        `LookupError` where the list does not hold all of them.
        """
        if level < 0 or index < 0 or index + 1 > len(self) >> level:
            raise LookupError(f"{len(self)} leaves have no subtree {index} of level {level}")
        while len(self._levels) <= level:
            self._levels.append([])
        for below, at in zip(self._levels, self._levels[1 : level + 1], strict=False):
            for left in range(2 * len(at), len(below) - 1, 2):
                at.append(node_hash(below[left], below[left + 1]))
        return self._levels[level][index]

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` leaves; of all where it is left away."""
        return tree_root(len(self) if size is None else size, self.hash_at)


def tree_root(size: int, hash_at: HashAt) -> bytes:
    """The root of a tree of `size` leaves. `InvalidInputError` for a size that no tree has."""
    _require(0 <= size <= TREE_SIZE_MAX, f"no tree has {size} leaves")
    return _root_of(0, size, hash_at) if size else EMPTY_ROOT


def inclusion_path(index: int, size: int, hash_at: HashAt) -> list[bytes]:
    """The hashes that lead from leaf `index` to the root of a tree of `size`, leaf's sibling first.

    `InvalidInputError` where the tree has no such leaf; what `hash_at` raises.
    """
    _require(0 <= index < size <= TREE_SIZE_MAX, f"a tree of {size} has no leaf {index}")
    path, start, stop = [], 0, size
    while stop - start > 1:
        middle = _split(start, stop)
        if index < middle:
            path.append(_root_of(middle, stop, hash_at))
            stop = middle
        else:
            path.append(_root_of(start, middle, hash_at))
            start = middle
    return path[::-1]


def consistency_path(old: int, new: int, hash_at: HashAt) -> list[bytes]:
    """The hashes that show that a tree of `new` leaves begins with that of its first `old`.

    Empty for an empty old tree, and for two of one size. `InvalidInputError` where the new tree is
    the smaller one; what `hash_at` raises.
    """
    _require(0 <= old <= new <= TREE_SIZE_MAX, f"a tree of {new} does not follow one of {old}")
    path, start, stop = [], 0, new
    while old not in (0, stop):
        middle = _split(start, stop)
        if old <= middle:
            path.append(_root_of(middle, stop, hash_at))
            stop = middle
        else:
            path.append(_root_of(start, middle, hash_at))
            start = middle
    # The subtree that the old tree ends with; where that is the whole old tree, its root is known.
    if start:
        path.append(_root_of(start, stop, hash_at))
    return path[::-1]


def check_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> None:
    """The tree of `size` leaves with this root has the leaf hash `leaf` at `index`.

    `ProofError` says what does not hold.
    """
    if not 0 <= index < size <= TREE_SIZE_MAX:
        raise ProofError(f"inclusion: a tree of {size} has no leaf {index}")
    _check_hashes("inclusion", path, leaf, root)
    found = leaf
    for each, on_the_left in _climbing("inclusion", index, size - 1, path):
        found = node_hash(each, found) if on_the_left else node_hash(found, each)
    if found != root:
        raise ProofError("inclusion: the path leads to another root")


def check_consistency(
    old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]
) -> None:
    """The tree of `new` leaves begins with all leaves of that of `old`.

    `ProofError` says what does not hold, `SplitViewError` of two roots of one size. From an empty
    tree, and between trees of one size, the path must be empty.
    """
    if not 0 <= old <= new <= TREE_SIZE_MAX:
        raise ProofError(f"consistency: a tree of {new} does not follow one of {old}")
    _check_hashes("consistency", path, old_root, new_root)
    if old in (0, new):
        _check_without_path(old, new, old_root, new_root, path)
        return
    # A perfect old tree is a node of the new one, and left out of the path.
    path = path if old & (old - 1) else [old_root, *path]
    if not path:
        raise ProofError("consistency: the path is too short")
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = path[0]
    for each, on_the_left in _climbing("consistency", at, last, path[1:]):
        if on_the_left:
            first, second = node_hash(each, first), node_hash(each, second)
        else:
            second = node_hash(second, each)
    if first != old_root:
        raise ProofError("consistency: the path does not begin at the old root")
    if second != new_root:
        raise ProofError("consistency: the path does not lead to the new root")


def _check_without_path(
    old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]
) -> None:
    if path:
        raise ProofError("consistency: the path must be empty")
    if (old == 0 and old_root != EMPTY_ROOT) or (new == 0 and new_root != EMPTY_ROOT):
        raise ProofError("consistency: an empty tree has another root")
    if old == new and old_root != new_root:
        raise SplitViewError(f"consistency: SPLIT VIEW, two roots for size {new}")


def _check_hashes(place: str, path: Sequence[bytes], *others: bytes) -> None:
    if len(path) > PATH_HASHES_MAX:
        raise ProofError(f"{place}: a path has at most {PATH_HASHES_MAX} hashes")
    for each in (*others, *path):
        if len(each) != HASH_BYTES:
            raise ProofError(f"{place}: a hash has {HASH_BYTES} bytes, not {len(each)}")


def _climbing(
    place: str, at: int, last: int, path: Sequence[bytes]
) -> Iterator[tuple[bytes, bool]]:
    """Each hash of a path, and whether it stands on the left of what was worked out so far.

    at, last: node and last node of the level that the path begins on. `ProofError` where the path
    is not as long as it must be.
    """
    for each in path:
        if not last:
            raise ProofError(f"{place}: the path is too long")
        on_the_left = bool(at & 1) or at == last
        yield each, on_the_left
        # The last node has none to its right: it goes up, as it is, to where it is a right one.
        while on_the_left and at and not at & 1:
            at, last = at >> 1, last >> 1
        at, last = at >> 1, last >> 1
    if last:
        raise ProofError(f"{place}: the path is too short")


def _split(start: int, stop: int) -> int:
    """Where RFC 6962 splits leaves `start` to `stop`: the left part is perfect."""
    return start + (1 << (stop - start - 1).bit_length() - 1)


def _root_of(start: int, stop: int, hash_at: HashAt) -> bytes:
    """The root of leaves `start` to `stop`, of a range that splits of the tree lead to."""
    roots = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        roots.append(hash_at(level, start >> level))
        start += 1 << level
    found = roots.pop()
    while roots:
        found = node_hash(roots.pop(), found)
    return found


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InvalidInputError(message)
