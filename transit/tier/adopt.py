"""Commits that others published, taken up by the one writer of a folder before it writes.

A controlled handover: the writer before published everything and let go; the next one goes on where
it stopped. A folder that has records of its own which are not in the remote is left as it is: the
publisher is fenced then, and says so. A folder that was taken over from is refused: its writer may
have been started again by something that knows of no takeover.
"""

from __future__ import annotations

import contextlib

from transit.config import Settings
from transit.disk import make_folder, put_if_absent
from transit.errors import FencedError, FormatError
from transit.format.commit import decode_commit
from transit.format.names import Places, index_name
from transit.keyring.envelopes import StoreKeys
from transit.log.catalog import Catalog
from transit.log.commits import CommitChain
from transit.log.guides import GuideShelf, put_marker
from transit.log.remembered import Remembered
from transit.log.takeover import may_be_takeover, takeovers_in
from transit.tier.bundled import FEW, BundledCommits, check_ahead
from transit.tier.fetch import Fetcher
from transit.tier.remote import TRIES, Remote, commit_key


def adopt_commits(
    root: str,
    store_id: bytes,
    settings: Settings,
    remote: Remote,
    kept: Remembered | None = None,
    keys: StoreKeys | None = None,
) -> int:
    """Take up the remote's commits after the last local one, if all else is published; their count.

    Only for the one process that may write to the folder, before it opens the log.
    kept: a checkpoint that the history must extend: `SplitViewError`, before anything is taken up.
    Raises `FencedError` where a standby took over from this folder.
    """
    # A segment that is not here may be in the remote, as for the next opening of the log.
    elsewhere = Fetcher(remote, GuideShelf(root, store_id), None)
    catalog = Catalog(root, store_id, settings, elsewhere, keys=keys)
    catalog.follow(write=False)
    commits, wals = catalog.commits, catalog.view.wals
    start = commits.count
    if kept is not None:
        check_ahead(remote, commits, kept)
    if wals and wals[-1].next_lsn > commits.next_lsn:
        return 0
    if start and not remote.has_commit(start - 1, commits.read(start - 1)):
        return 0
    head = remote.head(store_id)
    bundles = BundledCommits(remote)
    for _ in range(TRIES):
        while found := _next_commits(remote, bundles, commits, start):
            if start:
                _check_takeovers(catalog, found, remote)
            if commits.count == start:
                put_marker(root, remote.url)
            for data in found:
                commits.adopt(data, remote.place(commit_key(commits.count)))
        # Going on too early would make another history, and this writer would be fenced off.
        if not remote.check_no_gap(commits.count, head):
            break
    if commits.count > start:
        _keep_snapshot(root, commits, remote)
    return commits.count - start


def _keep_snapshot(root: str, commits: CommitChain, remote: Remote) -> None:
    """Keep the newest index snapshot: without it the next one starts from the beginning."""
    index = None if commits.indexed is None else commits.indexed.index
    if index is not None:
        with contextlib.suppress(FormatError):
            fetch_snapshot(root, index.digest, index.bytes, remote)


def _check_takeovers(catalog: Catalog, found: list[bytes], remote: Remote) -> None:
    """`FencedError` where one of the next commits is a takeover from the writer of this folder."""
    before = catalog.commits.head
    for number, data in enumerate(found, catalog.commits.count):
        commit = decode_commit(data, remote.place(commit_key(number)))
        segments = catalog.segments_of(commit) if may_be_takeover(commit, before) else []
        if any(True for segment in segments for _ in takeovers_in(segment)):
            raise FencedError(
                f"{remote.url}: a standby took over from this folder at commit {number}; nothing "
                "is lost here. Let it be a standby from now on (transit.standby), or take over "
                "again from there",
                store=remote.url,
                number=number,
                epoch=commit.epoch,
            )
        before = commit


def _next_commits(
    remote: Remote, bundles: BundledCommits, commits: CommitChain, start: int
) -> list[bytes]:
    """The bytes of one or more commits after the last; none where there is no more."""
    # A handover is a few commits, which are asked for one by one.
    many = commits.count - start >= FEW
    bundled = bundles.after(commits.count, commits.root) if many else []
    if bundled:
        return [data for data, _ in bundled]
    found = remote.checked_commit(commits.count)
    return [] if found is None else [found[0]]


def fetch_snapshot(root: str, name: str, size: int, remote: Remote) -> bytes:
    """Keep the index snapshot `name` in the folder; its bytes."""
    data = remote.snapshot(name, size)
    folder = Places(root).index
    make_folder(folder)
    put_if_absent(folder, index_name(bytes.fromhex(name)), data)
    return data
