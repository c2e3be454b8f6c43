"""Commits that others published, taken up by the one writer of a folder before it writes.

A controlled handover: the writer before published everything and let go; the next one goes on where
it stopped. A folder that has records of its own which are not in the remote is left as it is: the
publisher is fenced then, and says so.
"""

from __future__ import annotations

import contextlib

from transit.config import Settings
from transit.disk import make_folder, put_if_absent
from transit.errors import FormatError
from transit.format.names import Places, index_name
from transit.keyring.envelopes import StoreKeys
from transit.log.catalog import Catalog
from transit.log.commits import CommitChain
from transit.log.guides import GuideShelf, put_marker
from transit.log.remembered import Remembered
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
            if commits.count == start:
                put_marker(root, remote.url)
            for data in found:
                commits.adopt(data, remote.place(commit_key(commits.count)))
        # Going on too early would make another history, and this writer would be fenced off.
        if not remote.check_no_gap(commits.count, head):
            break
    if commits.count > start and commits.indexed is not None:
        index = commits.indexed.index
        if index is not None:
            # Without it the next snapshot starts from the beginning.
            with contextlib.suppress(FormatError):
                fetch_snapshot(root, index.digest, index.bytes, remote)
    return commits.count - start


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
