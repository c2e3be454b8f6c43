"""FORMAT, the commits and the HEAD hint of a remote, checked from the first byte.

Commits are asked for by number until one is absent. Where one does not follow from those before it,
that is a finding, and the chain begins anew at the next one: what comes after is compared with that
one, and not with the start (`commits_not_linked`). HEAD decides nothing, and a listing decides only
that a commit is missing between others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from transit.errors import (
    ClosedError,
    CorruptError,
    NotFoundError,
    RemoteUnavailableError,
    StorePermissionError,
    TransitError,
)
from transit.format.commit import Commit, SegmentRef
from transit.format.head import HEAD_BYTES_MAX, decode_head
from transit.format.names import COMMIT_DIR, FORMAT_FILE, HEAD_FILE, parse_commit_name
from transit.log.commits import CommitChain
from transit.proof.paths import LeafHashes
from transit.proof.tree import leaf_hash
from transit.tier.bucket import STEP
from transit.tier.bundled import BundledCommits
from transit.tier.pools import at_once
from transit.tier.remote import Remote, commit_key
from transit.verify.findings import Ledger

# These end an audit: they say that something cannot be asked, not that it is wrong.
PASSES: Final[tuple[type[TransitError], ...]] = (
    RemoteUnavailableError,
    StorePermissionError,
    ClosedError,
    NotFoundError,
)
LISTED_MAX: Final = 1_000_000
_COMMITS_AT_ONCE: Final = 8 * STEP


class Named(NamedTuple):
    """A segment, and the commit that names it."""

    ref: SegmentRef
    commit: int


class ChainAudit:
    """Reads the chain of one remote; afterwards knows what it names and where it ends."""

    def __init__(
        self, remote: Remote, ledger: Ledger, trusted_root: str | None, *, bundled: bool = False
    ) -> None:
        self._remote = remote
        self._ledger = ledger
        self._trusted = trusted_root
        self._bundles = BundledCommits(remote) if bundled else None
        self._trusted_found = False
        self._linked = True
        self._chain: CommitChain | None = None
        self._last_number = -1
        # The last commit met beyond one that is absent.
        self._last_seen = -1
        self.store_id = b""
        self.head = ""
        # Of the commits that follow from the first.
        self.leaves = LeafHashes()
        # Of the commits that could be read, in order.
        self.segments: list[Named] = []
        self.indexed: list[Commit] = []

    @property
    def whole(self) -> bool:
        """Whether every commit could be read and follows from the first."""
        return self._linked

    def read(self) -> None:
        """Read it all. `NotFoundError`: there is neither FORMAT nor a commit."""
        last_listed = self._last_listed()
        store_id = self._format()
        for number, found in self._commits():
            self._ledger.counts["commits"] += 1
            if store_id is None and not isinstance(found, TransitError):
                # FORMAT is a finding already: the commits say whose they are.
                store_id = bytes.fromhex(found[1].store)
            self._take(number, found, store_id)
            self._last_number = number
        if store_id is None and self._last_number < 0:
            raise NotFoundError(f"{self._remote.url}: there is no store here")
        self.store_id = store_id or bytes(16)
        self._gap(last_listed)
        if self._trusted is not None and not self._trusted_found:
            self._ledger.find(
                self._remote.place(HEAD_FILE),
                f"a history with the trusted root {self._trusted}",
                f"{self._last_number + 1} commits, the last with root {self.head or 'none'}: "
                "an older or another history",
            )
        self._hint()

    def _last_listed(self) -> int:
        """The highest commit number that a listing shows, -1 for none."""
        # Before the commits are read: a publisher may add more meanwhile.
        last = -1
        for name in listed(self._remote, self._ledger, f"{COMMIT_DIR}/"):
            number = parse_commit_name(name)
            if number is None:
                self._ledger.counts["unnamed_objects"] += 1
            else:
                last = max(last, number)
        return last

    def _format(self) -> bytes | None:
        place = self._remote.place(FORMAT_FILE)
        with self._ledger.catching():
            found = self._remote.store_id()
            if found is not None:
                return found
            if self._has_commit(0):
                raise CorruptError(place, expected="a store's FORMAT", found="no object")
            raise NotFoundError(f"{self._remote.url}: there is no store here")
        return None

    # Commits

    def _has_commit(self, number: int) -> bool:
        return self._remote.store.size(commit_key(number)) is not None

    def _commits(self) -> Iterator[tuple[int, tuple[bytes, Commit] | TransitError]]:
        """Each commit from 0 up to the first that is absent, or what is wrong with it."""
        start, step = 0, 1
        while True:
            numbers = range(start, start + step)
            batch = at_once(self._fetch, numbers, self._remote.settings.transfers_max)
            for number, found in zip(numbers, batch, strict=True):
                if found is None:
                    self._last_seen = max(
                        (n for n, other in zip(numbers, batch, strict=True) if other is not None),
                        default=-1,
                    )
                    return
                yield number, found
            start, step = start + step, min(2 * step, _COMMITS_AT_ONCE)
            for number, entry in enumerate(self._bundled(start), start):
                yield number, entry
                start = number + 1

    def _bundled(self, start: int) -> Iterator[tuple[bytes, Commit]]:
        """Commits from `start` on that bundles have, and that go on from the chain so far."""
        while self._bundles is not None and self._linked and self._chain is not None:
            found = self._bundles.after(start, self._chain.root)
            if not found:
                return
            self._ledger.counts["commits_bundled"] += len(found)
            start += len(found)
            yield from found

    def _fetch(self, number: int) -> tuple[bytes, Commit] | TransitError | None:
        try:
            return self._remote.checked_commit(number)
        except TransitError as error:
            if isinstance(error, PASSES):
                raise
            return error

    def _take(
        self, number: int, found: tuple[bytes, Commit] | TransitError, store_id: bytes | None
    ) -> None:
        if isinstance(found, TransitError):
            self._ledger.take(found)
            self._break()
            return
        data, commit = found
        place = self._remote.place(commit_key(number))
        if self._chain is None:
            self._chain = CommitChain(self._remote.url, store_id or bytes(16))
        try:
            if self._chain.count or number == 0:
                self._chain.follow(data, place)
            else:
                self._chain.begin_at(data, place)
        except TransitError as error:
            self._ledger.take(error)
            self._break()
            self._chain = _begun_at(data, place, commit, self._remote.url)
        if self._linked:
            self.leaves.append(leaf_hash(data))
        self._note(commit)

    def _break(self) -> None:
        self._linked = False
        self._chain = None

    def _note(self, commit: Commit) -> None:
        root = self._chain.root if self._chain is not None else ""
        if self._linked:
            self.head = root
            self._trusted_found = self._trusted_found or root == self._trusted
        else:
            self._ledger.counts["commits_not_linked"] += 1
        self.segments += [Named(ref, commit.number) for ref in commit.segments]
        if commit.index is not None:
            self.indexed.append(commit)

    def _gap(self, last_listed: int) -> None:
        missing, seen = self._last_number + 1, max(last_listed, self._last_seen)
        if seen < missing:
            return
        with self._ledger.catching():
            if self._has_commit(missing):
                # Published since it was looked for: the next audit reads it.
                self._ledger.counts["commits_appeared"] += 1
                return
            self._ledger.find(
                self._remote.place(commit_key(missing)),
                f"a commit, because there is commit {seen}",
                "no object; what is beyond was not read",
            )

    def _hint(self) -> None:
        try:
            stale = self._is_stale(self._remote.store.get(HEAD_FILE, HEAD_BYTES_MAX))
        except CorruptError:
            stale = True
        self._ledger.counts["head_hint_stale"] += stale

    def _is_stale(self, data: bytes | None) -> bool:
        if data is None:
            return False
        head = decode_head(data, self.store_id, self._remote.place(HEAD_FILE))
        indexed = self.indexed[-1].number if self.indexed else None
        return head is None or (head.number, head.index) != (self._last_number, indexed)


def _begun_at(data: bytes, place: str, commit: Commit, url: str) -> CommitChain:
    """A chain that goes on at a commit which does not follow, whatever store it names."""
    chain = CommitChain(url, bytes.fromhex(commit.store))
    chain.begin_at(data, place)
    return chain


def listed(remote: Remote, ledger: Ledger, prefix: str) -> Iterator[str]:
    """The names of the objects below `prefix`, a million at most; none where it is not allowed."""
    try:
        for count, (key, _) in enumerate(remote.store.list(prefix)):
            if count == LISTED_MAX:
                ledger.counts["listings_cut"] += 1
                return
            yield key.removeprefix(prefix)
    except StorePermissionError:
        ledger.counts["listings_refused"] += 1
    except NotFoundError:
        # A file where the folder should be: whatever is missing in it is found by its name.
        return
