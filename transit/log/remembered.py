"""A checkpoint that somebody kept: the history they are shown must extend it.

Owns that comparison, and what is said when it fails. Only the tree that was kept is used: whoever
keeps a note decided to believe it. A history that is shorter, or of other commits, is refused,
whatever the reason is: a remote that was rolled back, or rewritten, or shows others something else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from transit.errors import InvalidInputError, ProofError, SplitViewError
from transit.log.commits import CommitChain
from transit.proof.checkpoint import Checkpoint
from transit.proof.paths import HashAt, check_consistency, consistency_path
from transit.proof.tree import CompactRange

_ORIGIN: Final = re.compile(r".+/([0-9a-f]{32})", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Remembered:
    """A tree of commits that is believed. stage: how far its signatures were checked, "" for not.

    `InvalidInputError` for a checkpoint whose origin does not end in the id of a store.
    """

    checkpoint: Checkpoint
    stage: str = ""

    def __post_init__(self) -> None:
        if not _ORIGIN.fullmatch(self.checkpoint.origin):
            raise InvalidInputError(
                f"the checkpoint is of {self.checkpoint.origin!a}: the origin of a store's ends in "
                "its id"
            )

    @property
    def store_id(self) -> bytes:
        """The id of the store that it is of."""
        return bytes.fromhex(self.checkpoint.origin[-32:])

    @property
    def size(self) -> int:
        """How many commits it covers."""
        return self.checkpoint.size

    def check_store(self, store_id: bytes | None, place: str) -> None:
        """`SplitViewError` unless the store at `place` is that one."""
        if store_id != self.store_id:
            found = "there is none" if store_id is None else f"store {store_id.hex()} is there"
            raise SplitViewError(
                f"{place}: the remembered checkpoint is of {self.checkpoint.origin!a}, and {found}"
            )

    def check_count(self, count: int, place: str) -> None:
        """`SplitViewError` unless there are as many commits as it covers."""
        if count < self.size:
            raise SplitViewError(
                f"{place}: the remembered checkpoint covers {self.size} commits, and {count} are "
                "there: an older state of the store"
            )

    def check_root(self, root: bytes, count: int, place: str) -> None:
        """`SplitViewError` unless this is the root over the first `size` of `count` commits."""
        if root != self.checkpoint.root:
            raise self._other(count, place)

    def _other(self, count: int, place: str) -> SplitViewError:
        return SplitViewError(
            f"{place}: the remembered checkpoint covers {self.size} commits of another history "
            f"than the {count} there"
        )

    def check_chain(self, chain: CommitChain, place: str) -> None:
        """`SplitViewError` unless a chain that was followed from its first commit extends it."""
        self.check_count(chain.count, place)
        self.check_root(chain.tree_at(self.size).root(), chain.count, place)

    def check_growth(self, tree: CompactRange, hash_at: HashAt, place: str) -> None:
        """`SplitViewError` unless `tree` grew from it, shown by a consistency path.

        hash_at: hashes of `tree`, of which none is believed before the whole path led to its root.
        """
        self.check_count(tree.size, place)
        try:
            path = consistency_path(self.size, tree.size, hash_at)
            check_consistency(self.size, tree.size, self.checkpoint.root, tree.root(), path)
        except ProofError:
            raise self._other(tree.size, place) from None
