"""The commits of a store as the leaves of an RFC 6962 tree, without reading all of them.

Owns the hashes of that tree. A leaf is a commit's bytes; commit n states the compact range of the
tree of commits 0 to n - 1 (`transit.proof.tree`), so the root of any perfect subtree follows from
at most as many commits as the tree is high.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from transit.errors import NotFoundError
from transit.format.commit import Commit, decode_commit
from transit.proof.tree import CompactRange, leaf_hash, node_hash

ReadCommit = Callable[[int], bytes | None]
"""The bytes of a commit by its number; None when it is not there."""

_KEPT: Final = 4096


class CommitTree:
    """The tree over the first `size` commits of one store. Not safe for threads.

    tree: the compact range of those commits. read: gives a commit's bytes.
    """

    def __init__(self, tree: CompactRange, read: ReadCommit) -> None:
        self._tree = tree
        self._read = read
        self._commits: dict[int, tuple[bytes, Commit]] = {}
        self._hashes: dict[tuple[int, int], bytes] = {}

    @property
    def size(self) -> int:
        """Count of commits."""
        return self._tree.size

    def commit(self, number: int) -> tuple[bytes, Commit]:
        """A commit and its bytes; `NotFoundError` when it is not there."""
        found = self._commits.get(number)
        if found is None:
            data = self._read(number)
            if data is None:
                raise NotFoundError(f"commit {number} is not there")
            found = data, decode_commit(data, f"commit {number}")
            if len(self._commits) >= _KEPT:
                self._commits.clear()
            self._commits[number] = found
        return found

    def range(self, size: int) -> CompactRange:
        """The compact range of the first `size` commits, at most as many as the tree has."""
        if size == self._tree.size:
            return self._tree
        state = self.commit(size)[1].tree
        return CompactRange(state.size, tuple(map(bytes.fromhex, state.range)))

    def root(self, size: int) -> bytes:
        """The root of the tree over the first `size` commits: 32 bytes."""
        return self.range(size).root()

    def hash_at(self, level: int, index: int) -> bytes:
        """The root of the perfect subtree `index` of 2**level commits: 32 bytes.

        `LookupError` when the tree does not have it.
        """
        if (index + 1) << level > self._tree.size:
            raise LookupError(f"a tree of {self._tree.size} leaves has no subtree {level}/{index}")
        key = level, index
        found = self._hashes.get(key)
        if found is None:
            found = self._hashes[key] = self._known(level, index) or self._hash(level, index)
        return found

    def _known(self, level: int, index: int) -> bytes | None:
        """A hash that is known without reading commits; None where it is not."""
        return None

    def _hash(self, level: int, index: int) -> bytes:
        if level == 0:
            return leaf_hash(self.commit(index)[0])
        if index % 2 == 0:
            # A left subtree is the last of the range that ends with it.
            return self.range((index + 1) << level).hashes[-1]
        return node_hash(self.hash_at(level - 1, 2 * index), self.hash_at(level - 1, 2 * index + 1))
