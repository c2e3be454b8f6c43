"""The local commit chain: `commits/<number>.json`, made by put-if-absent.

Owns the commit files and the head. A number is the fence: the process that links commit n first has
made it, and nothing ever frees its name. `load` verifies every link, so a head it returns is a
whole chain.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from transit.disk import list_folder, put_if_absent, read_file
from transit.errors import ConflictError, CorruptError
from transit.format.commit import (
    COMMIT_BYTES_MAX,
    ENVELOPES,
    FORMAT_VERSION,
    Commit,
    IndexRef,
    SegmentRef,
    TreeState,
    check_link,
    decode_commit,
    encode_commit,
    root_of,
)
from transit.format.names import Places, commit_name, parse_commit_name
from transit.proof.tree import CompactRange, leaf_hash


def nowhere_else() -> None:
    """For a folder that is not held: it is taken to be where its path says."""


class CommitChain:
    """The commits of one store, in order; `head` is the last, None before the first.

    check_place: raises when the folder is not at its path any more.
    """

    def __init__(
        self, root: str, store_id: bytes, check_place: Callable[[], None] = nowhere_else
    ) -> None:
        self._check_place = check_place
        self._places = Places(root)
        self._store = store_id.hex()
        self.head: Commit | None = None
        # The last commit that names a snapshot of the index.
        self.indexed: Commit | None = None
        self.root = ""
        # Whether a commit has segments with envelopes: all later ones have.
        self.encrypted = False
        self._tree = CompactRange(0, ())

    @property
    def count(self) -> int:
        """Number of commits, which is the number of the next."""
        return self.head.number + 1 if self.head else 0

    @property
    def next_lsn(self) -> int:
        """The first log sequence number no commit covers."""
        return self.head.next_lsn if self.head else 0

    @property
    def tree(self) -> CompactRange:
        """The RFC 6962 tree over all commits, as its compact range."""
        return self._tree

    def copy(self) -> CommitChain:
        """Another that stands at the same commit, and goes on by itself."""
        other = CommitChain(self._places.root, bytes.fromhex(self._store), self._check_place)
        other.head, other.root = self.head, self.root
        other._tree, other.indexed = self._tree, self.indexed
        other.encrypted = self.encrypted
        return other

    def tree_at(self, size: int) -> CompactRange:
        """The RFC 6962 tree over the first `size` commits of a chain in this folder."""
        if size == self.count:
            return self._tree
        data = self.read(size)
        if data is None:
            raise CorruptError(self._places.commit(size), expected="a commit", found="no file")
        return tree_of(decode_commit(data, self._places.commit(size)))

    def load(self) -> Iterator[Commit]:
        """The commits after the head, which moves to each in turn; every link is verified."""
        while True:
            place = self._places.commit(self.count)
            data = read_file(place, COMMIT_BYTES_MAX)
            if data is None:
                return
            # Asked after it was read: what a folder that came in its place holds is not ours.
            self._check_place()
            yield self.follow(data, place)

    def follow(self, data: bytes, place: str) -> Commit:
        """Take the commit in `data`, found at `place`, as the new head once it proves to follow."""
        commit = self._decode(data, place)
        check_link(commit, self.head, self.root, place)
        if commit.tree != self._state():
            raise CorruptError(place, expected="the tree of the commits before", found="another")
        self._take(commit, data)
        return commit

    def begin_at(self, data: bytes, place: str) -> Commit:
        """Take the commit in `data` as the head, without reading the commits before it."""
        commit = self._decode(data, place)
        self._tree = tree_of(commit)
        self._take(commit, data)
        return commit

    def _decode(self, data: bytes, place: str) -> Commit:
        commit = decode_commit(data, place)
        if commit.store != self._store:
            raise CorruptError(place, expected=f"store {self._store}", found=commit.store)
        return commit

    def read(self, number: int) -> bytes | None:
        """The bytes of a commit in this folder; None when it is not here."""
        return read_file(self._places.commit(number), COMMIT_BYTES_MAX)

    def adopt(self, data: bytes, place: str) -> Commit:
        """Follow a commit found elsewhere, and keep it here; `ConflictError` when another is."""
        commit = self.follow(data, place)
        name = commit_name(commit.number)
        made = put_if_absent(self._places.commits, name, data, self._check_place)
        if not made and self.read(commit.number) != data:
            raise ConflictError(f"{self._places.commits}: there is another commit {commit.number}")
        return commit

    def check_no_gap(self) -> None:
        """`CorruptError` when commit files exist beyond the head: one between them is missing."""
        for name in list_folder(self._places.commits):
            number = parse_commit_name(name)
            if number is not None and number >= self.count and self._missing():
                raise CorruptError(
                    self._places.commit(self.count),
                    expected=f"a commit, because there is commit {number}",
                    found="no file",
                )

    def _missing(self) -> bool:
        # A writer may have made the commit since it was looked for.
        path = self._places.commit(self.count)
        return read_file(path, COMMIT_BYTES_MAX) is None

    def add(
        self,
        segments: tuple[SegmentRef, ...],
        epoch: int,
        index: IndexRef | None,
        *,
        encrypted: bool = False,
    ) -> Commit | None:
        """Commit `segments`, and name the snapshot `index` of all commits before.

        encrypted: they have envelopes. None when another process made this commit number first.
        """
        commit, data = self.next(segments, epoch, index, encrypted=encrypted)
        self._check_place()
        name = commit_name(commit.number)
        if not put_if_absent(self._places.commits, name, data, self._check_place):
            return None
        self._take(commit, data)
        return commit

    def next(
        self,
        segments: tuple[SegmentRef, ...],
        epoch: int,
        index: IndexRef | None,
        *,
        encrypted: bool = False,
    ) -> tuple[Commit, bytes]:
        """The commit that `add` would make, and its bytes; nothing is written."""
        commit = Commit(
            format=FORMAT_VERSION,
            store=self._store,
            number=self.count,
            epoch=max(epoch, self.head.epoch if self.head else 0),
            write_id=os.urandom(16).hex(),
            previous=self.root,
            segments=segments,
            tree=self._state(),
            index=index,
            needs=ENVELOPES if encrypted else None,
        )
        return commit, encode_commit(commit)

    def _state(self) -> TreeState:
        return TreeState(
            size=self._tree.size, range=tuple(node.hex() for node in self._tree.hashes)
        )

    def _take(self, commit: Commit, data: bytes) -> None:
        root, tree = root_of(data), self._tree.append(leaf_hash(data))
        indexed = self.indexed if commit.index is None else commit
        encrypted = self.encrypted or commit.needs is not None
        # In one step: an interrupt in between would leave fields of two different chains.
        self.head, self.root, self._tree, self.indexed, self.encrypted = (
            commit, root, tree, indexed, encrypted,
        )  # fmt: skip


def tree_of(commit: Commit) -> CompactRange:
    """The RFC 6962 tree over all commits before `commit`, as it states it."""
    return CompactRange(commit.tree.size, tuple(map(bytes.fromhex, commit.tree.range)))
