"""What a remote has and a folder has not, brought into the folder: for a standby.

Owns the order, so that the folder is a whole store at every moment, and readers beside it see one:

    segments of new commits       each checked against its digest, then linked
    what was erased meanwhile     what is left of a segment, then the original goes
    the commits                   each verified to follow the one before, then linked
    index snapshots               derived, and done without where they are damaged

A stop right after any step leaves a store with fewer commits; the next run goes on. The source says
that bytes are gone in a commit after they went, so that commit is linked here after they went here.
For who holds LOCK, of a folder that has no records of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import takewhile
from typing import Final

from transit.disk import (
    file_size,
    list_folder,
    make_folder,
    put,
    read_file,
    remove,
    sync_folder,
)
from transit.errors import CorruptError, SealedError
from transit.format.commit import Commit, SegmentRef
from transit.format.life import NAMES_ID, decode_life
from transit.format.names import segment_name
from transit.log.catalog import Catalog
from transit.log.commits import CommitChain
from transit.log.remembered import Remembered
from transit.log.segments import Segment
from transit.tier.bucket import STEP
from transit.tier.bundled import BundledCommits, check_ahead
from transit.tier.pools import at_once
from transit.tier.progress import Report
from transit.tier.remote import TRIES, Remote, commit_key, segment_key
from transit.tier.restore import Restorer, keep_snapshots

# Commits whose segments are brought together.
_COMMITS_AT_ONCE: Final = 4 * STEP
_ASKED_AT_ONCE: Final = 1024


class CatchUp:
    """Brings one folder, whose catalog this is, to where its remote is. Not safe for threads."""

    def __init__(self, remote: Remote, catalog: Catalog, kept: Remembered | None = None) -> None:
        self._remote = remote
        self._catalog = catalog
        self._kept = kept
        # Whether all segments of the commits here were seen in the folder.
        self._whole = False

    def run(self, report: Report | None = None) -> int:
        """Bring everything that the remote shows; the count of new commits.

        `CorruptError` for damage and for a gap in the remote's commits, `SplitViewError` where its
        history does not extend the checkpoint that was kept: nothing of it is taken up then.
        """
        commits = self._catalog.commits
        before = commits.count
        if self._kept is not None:
            check_ahead(self._remote, commits, self._kept)
            # Each commit that comes later follows from those, so this is asked once.
            self._kept = None
        self._complete(report)
        head = self._remote.head(self._catalog.store_id)
        for _ in range(TRIES):
            self.bring(report)
            if not self._remote.check_no_gap(commits.count, head):
                break
        return commits.count - before

    def bring(self, report: Report | None = None, step_max: int = STEP) -> None:
        """As `run`, of commits up to the first that is absent: one request where nothing is new.

        step_max: how many are asked for at once.
        """
        catalog, bundles, step = self._catalog, BundledCommits(self._remote), 1
        indexed = catalog.commits.indexed
        while found := _next(self._remote, bundles, catalog.commits, step):
            for start in range(0, len(found), _COMMITS_AT_ONCE):
                self._take(found[start : start + _COMMITS_AT_ONCE], report)
            step = step_max
        if catalog.commits.indexed is not indexed:
            keep_snapshots(self._remote, catalog.root, catalog.store_id, catalog.commits)

    def _take(self, links: Sequence[tuple[bytes, Commit]], report: Report | None) -> None:
        catalog = self._catalog
        ahead = catalog.commits.copy()
        for data, commit in links:
            # Before anything that it names is asked for.
            ahead.follow(data, self._remote.place(commit_key(commit.number)))
        segments = [each for _, commit in links for each in catalog.segments_of(commit)]
        restorer = self._restorer(report)
        restorer.fetch_segments([segment.ref for segment in segments])
        if any(map(_says_erased, segments)):
            self._let_go([*catalog.view.segments, *segments], restorer)
        for data, commit in links:
            catalog.commits.adopt(data, self._remote.place(commit_key(commit.number)))
        catalog.load_commits()

    def _restorer(self, report: Report | None) -> Restorer:
        catalog = self._catalog
        return Restorer(
            self._remote, catalog.root, catalog.store_id, report, None, catalog.keys, "follow"
        )

    def _complete(self, report: Report | None) -> None:
        """Bring the segments of commits that are here, of a folder that has left some away."""
        if self._whole:
            return
        missing = [
            segment.ref
            for segment in self._catalog.view.segments
            if file_size(segment.path) is None and file_size(segment.redacted_path) is None
        ]
        if missing:
            self._restorer(report).fetch_segments(missing)
        self._whole = True

    # What was erased in the source

    def _let_go(self, segments: Sequence[Segment], restorer: Restorer) -> None:
        """Let the bytes go that the source erased, and everything that was made of them."""
        for start in range(0, len(segments), _ASKED_AT_ONCE):
            asked = segments[start : start + _ASKED_AT_ONCE]
            gone = at_once(self._is_gone, asked, self._remote.settings.transfers_max)
            for segment, is_gone in zip(asked, gone, strict=True):
                if is_gone:
                    self._replace(segment, restorer)
        places = self._catalog.places
        made = [places.cache, *map(places.room, list_folder(places.rooms))]
        for folder in made:
            names = list_folder(folder)
            for name in names:
                remove(os.path.join(folder, name))
            if names:
                sync_folder(folder)
        self._catalog.cache.clear()

    def _is_gone(self, segment: Segment) -> bool:
        return self._remote.store.size(segment_key(segment.ref.digest)) is None

    def _replace(self, segment: Segment, restorer: Restorer) -> None:
        """Put what is left of a segment in the place of what is here."""
        catalog, ref = self._catalog, segment.ref
        left = restorer.fetch_left(ref)
        if left is None:
            raise _nowhere(self._remote, ref)
        catalog.check_place()
        if read_file(segment.redacted_path, len(left)) != left:
            make_folder(catalog.places.redacted)
            put(catalog.places.redacted, segment_name(bytes.fromhex(ref.digest)), left)
        if file_size(segment.path) is not None:
            remove(segment.path)
            sync_folder(catalog.places.segments)
        segment.forget_redacted()


def look_ahead(remote: Remote, chain: CommitChain) -> int:
    """Follow what the remote has after the end of `chain`, which moves; the count of commits.

    Nothing is written, and no segment is asked for.
    """
    before, bundles, step = chain.count, BundledCommits(remote), 1
    while found := _next(remote, bundles, chain, step):
        for data, commit in found:
            chain.follow(data, remote.place(commit_key(commit.number)))
        step = STEP
    return chain.count - before


def _next(
    remote: Remote, bundles: BundledCommits, chain: CommitChain, step: int
) -> list[tuple[bytes, Commit]]:
    """One or more commits after the last of `chain`; none where there is no more."""
    if step > 1 and (bundled := bundles.after(chain.count, chain.root)):
        return bundled
    numbers = range(chain.count, chain.count + step)
    found = at_once(remote.checked_commit, numbers, remote.settings.transfers_max)
    # What was seen after one that is absent appeared meanwhile: asked for again, in order.
    return [entry for entry in takewhile(bool, found) if entry is not None]


def _says_erased(segment: Segment) -> bool:
    """Whether a segment says that bytes of some stream are gone; True where it cannot be read."""
    try:
        return any(
            decode_life(payload, offset).gone_bytes
            for row in segment.index.rows(NAMES_ID)
            for chunk in [segment.chunk(row)]
            for offset, payload in enumerate(chunk.payloads(), chunk.first)
        )
    except SealedError:
        return True


def _nowhere(remote: Remote, ref: SegmentRef) -> CorruptError:
    place = remote.place(segment_key(ref.digest))
    return CorruptError(place, expected=f"{ref.bytes} bytes, or what is left of them", found="none")
