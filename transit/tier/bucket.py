"""The view of a store that is only in a remote, and of what others publish there.

Owns how a catalog gets the remote's commits: all at first, then the new ones when asked. Opening
reads the last commit that names an index snapshot, the snapshot and those it stands on, and the few
commits after it; without snapshots, every commit. Commits before a snapshot are not read: the view
believes the commit that names it. An audit reads them all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from transit.errors import ConflictError, CorruptError, FormatError
from transit.format.commit import Commit, IndexRef
from transit.format.snapshot import Layer, Snapshot, decode_snapshot
from transit.log.catalog import Catalog
from transit.log.guides import GuideShelf
from transit.log.segments import Segment
from transit.tier.bundled import BundledCommits
from transit.tier.pools import at_once
from transit.tier.remote import TRIES, Remote, commit_key, index_key

# Commits asked for at once while the head is looked for.
STEP: Final = 8
# A hint further from the next snapshot than this is not worth following.
HINT_COMMITS_MAX: Final = 1024

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Follower:
    """Brings the commits in a remote to one catalog. Not safe for threads by itself."""

    def __init__(self, remote: Remote, catalog: Catalog, shelf: GuideShelf) -> None:
        self._remote = remote
        self._catalog = catalog
        self._shelf = shelf

    def start(self) -> None:
        """Take up all there is, for a catalog that has nothing yet."""
        head = self._remote.head(self._catalog.store_id)
        indexed = None if head is None else head.index
        if head is not None and indexed is not None and head.number - indexed < HINT_COMMITS_MAX:
            self._start_at(indexed, head.number)
        for _ in range(TRIES):
            self.refresh()
            if not self._remote.check_no_gap(self._catalog.commits.count, head):
                break
        self._load_guides()

    def _start_at(self, indexed: int, number: int) -> None:
        data = self._remote.checked_commit(indexed)
        if data is None or data[1].index is None:
            return
        try:
            snapshots = self._snapshots(data[1], data[1].index)
        except FormatError:
            # A snapshot holds nothing that is not elsewhere: without it this takes longer.
            return
        commits = self._catalog.commits
        commit = commits.begin_at(data[0], self._remote.place(commit_key(indexed)))
        segments = [
            self._catalog.segment(entry.ref, entry.commit)
            for snapshot in snapshots
            for entry in snapshot.segments
        ]
        self._catalog.take_others([*segments, *self._catalog.segments_of(commit)])
        if number - indexed > 2 * STEP:
            self._follow_bundled(number + 1)
        self._follow(range(commits.count, number + 1))

    def _snapshots(self, commit: Commit, index: IndexRef) -> list[Snapshot]:
        """The snapshots that cover everything before `commit`, oldest first."""
        last = self._snapshot(index.digest, index.bytes)
        older = at_once(self._layer, last.layers, self._remote.settings.transfers_max)
        snapshots = [*older, last]
        place = self._remote.place(index_key(index.digest))
        lsn = number = 0
        for snapshot in snapshots:
            if not snapshot.segments or (snapshot.first, snapshot.segments[0].ref.lsn[0]) != (
                number, lsn,
            ):  # fmt: skip
                raise CorruptError(place, expected=f"commit {number} next", found="another")
            number, lsn = snapshot.last + 1, snapshot.segments[-1].ref.lsn[1] + 1
        if (number, lsn) != (commit.number, commit.segments[0].lsn[0]):
            raise CorruptError(place, expected=f"all before commit {commit.number}", found="other")
        return snapshots

    def _layer(self, layer: Layer) -> Snapshot:
        return self._snapshot(layer.digest.hex(), layer.bytes)

    def _snapshot(self, name: str, size: int) -> Snapshot:
        data = self._remote.snapshot(name, size)
        place = self._remote.place(index_key(name))
        snapshot = decode_snapshot(data, self._catalog.store_id, place)
        self._shelf.add(snapshot)
        return snapshot

    def refresh(self) -> int:
        """Take up the commits made since the last time; their count."""
        before = self._catalog.commits.count
        step = 1
        while self._follow_next(step):
            if step == STEP:
                self._follow_bundled(None)
            step = STEP
        self._catalog.reload_states()
        return self._catalog.commits.count - before

    def _follow_bundled(self, stop: int | None) -> None:
        """Take up many commits in few requests, where a checkpoint covers them."""
        commits, bundles = self._catalog.commits, BundledCommits(self._remote)
        while found := bundles.after(commits.count, commits.root, stop):
            self._take(range(commits.count, commits.count + len(found)), found)

    def _follow_next(self, count: int) -> bool:
        start = self._catalog.commits.count
        return self._follow(range(start, start + count))

    def check_same(self) -> None:
        """`ConflictError` when the remote's history is not the one the catalog has so far."""
        commits = self._catalog.commits
        number, ours = commits.count - 1, commits.read(commits.count - 1)
        if ours is None or self._remote.has_commit(number, ours):
            return
        if self._remote.checked_commit(number) is not None:
            raise self._diverged(number)

    def check_nothing_new(self, look_again: Callable[[], None]) -> None:
        """`ConflictError` when the remote has a commit in place of records the folder has unsealed.

        Its writer may have sealed and published them meanwhile: then `look_again` finds it here.
        """
        number = self._catalog.commits.count
        if self._remote.checked_commit(number) is not None:
            look_again()
            if self._catalog.commits.count == number:
                raise self._diverged(number)

    def _diverged(self, number: int) -> ConflictError:
        return ConflictError(
            f"{self._remote.url}: commit {number} there is not the one in {self._catalog.root}"
        )

    def _follow(self, numbers: Sequence[int]) -> bool:
        """Take up the commits with these numbers; whether all of them are there."""
        found = at_once(self._remote.checked_commit, numbers, self._remote.settings.transfers_max)
        return self._take(numbers, found)

    def _take(self, numbers: Sequence[int], found: Sequence[tuple[bytes, Commit] | None]) -> bool:
        segments: list[Segment] = []
        try:
            for number, entry in zip(numbers, found, strict=True):
                if entry is None:
                    # Whatever was seen after it appeared meanwhile: asked for again, in order.
                    return False
                place = self._remote.place(commit_key(number))
                commit = self._catalog.commits.follow(entry[0], place)
                segments += self._catalog.segments_of(commit)
        finally:
            # Whatever is wrong with a later commit, these are the store's.
            self._catalog.take_others(segments)
        return True

    def _load_guides(self) -> None:
        """Fetch the guides of the segments that no snapshot has, now and several at once.

        They are needed to look up the first name, and would then be fetched one after another.
        """
        new = [s for s in self._catalog.view.segments if self._shelf.find(s.ref) is None]
        at_once(_load, new, self._remote.settings.transfers_max)


def _load(segment: Segment) -> None:
    # A read that needs a damaged segment raises the error.
    with contextlib.suppress(FormatError):
        segment.load()
