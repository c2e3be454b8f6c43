"""Where the commits of a store stand in a remote; the hint there that says it; who is at work.

What the first remote and those that follow it have in common.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from transit.errors import CorruptError, TransitError
from transit.format.commit import Commit, decode_commit
from transit.format.head import Head
from transit.log.catalog import Catalog
from transit.log.commits import CommitChain
from transit.tier.remote import Remote, commit_key

# Commits published before the hint is brought up to date, which costs a request of its own.
HINT_COMMITS: Final = 16


class Located(NamedTuple):
    """How many of our commits a remote has.

    other: the commit that is there in place of the next of ours, or after the last; None for none.
    head: the hint that is there.
    """

    commits: int
    other: Commit | None
    head: Head | None


def locate(remote: Remote, chain: CommitChain, store_id: bytes) -> Located:
    """Find how many of our commits the remote has, and whether it went another way.

    Commits form a chain, so the first that is missing or differs is found by halving.
    """
    low, high = 0, chain.count
    head = remote.head(store_id)
    hint = min(head.number, high - 1) if head is not None else 0

    def narrow(number: int) -> tuple[int, int]:
        same = remote.has_commit(number, chain.read(number))
        return (number + 1, high) if same else (low, number)

    for number in (high - 1, hint, hint + 1):
        if low <= number < high:
            low, high = narrow(number)
    while low < high:
        low, high = narrow((low + high) // 2)
    while (other := remote.checked_commit(low)) is not None:
        if other[0] != chain.read(low):
            return Located(low, other[1], head)
        # Ours, which was not there a moment ago: a request of an earlier process came late.
        low += 1
    return Located(low, None, head)


def check_last(remote: Remote, published: int) -> None:
    """`CorruptError` unless the last of the commits that were published is there."""
    key = commit_key(published - 1)
    if remote.store.size(key) is None:
        raise CorruptError(
            remote.place(key), expected="a commit that was published", found="no object"
        )


def own_commit(catalog: Catalog, number: int) -> tuple[bytes, Commit]:
    """Commit `number` of this folder; `CorruptError` when it is not there, or damaged."""
    data = catalog.commits.read(number)
    place = f"commit {number} of {catalog.root}"
    if data is None:
        raise CorruptError(place, expected="a commit", found="no file")
    return data, decode_commit(data, place)


class Hint:
    """HEAD of one remote: where the last commit is. Never believed, so it may fail."""

    def __init__(self, remote: Remote, catalog: Catalog) -> None:
        self._remote = remote
        self._catalog = catalog
        self._hinted = -1

    def found(self, located: Located) -> None:
        """What is there."""
        if located.head is not None and located.head.number == located.commits - 1:
            self._hinted = located.head.number

    def bring(self, published: int, commits: int = 1) -> None:
        """Bring it up to date, when it is so many commits behind the first `published`."""
        if published - 1 < self._hinted + commits or not published:
            return
        indexed = self._catalog.commits.indexed
        known = indexed is not None and indexed.number < published
        try:
            self._remote.put_head(
                self._catalog.store_id,
                published - 1,
                indexed.number if indexed is not None and known else None,
            )
        except TransitError:
            # Only a hint: a reader of it would have looked further in any case.
            return
        self._hinted = published - 1


class Inside:
    """The threads that do something now, or a part of it."""

    def __init__(self) -> None:
        self._threads: set[int] = set()

    @property
    def is_here(self) -> bool:
        """Whether this thread is one of them."""
        return threading.get_ident() in self._threads

    @contextmanager
    def working(self) -> Iterator[None]:
        """A block in which this thread is one of them."""
        me = threading.get_ident()
        if me in self._threads:
            yield
            return
        try:
            self._threads.add(me)
            yield
        finally:
            self._threads.discard(me)
