"""Copying: a published store from one remote to another, which is a remote of it from then on.

Owns what is copied and in which order. All kinds of objects that there are:

    FORMAT                    made by `Remote.claim`, with the source's store id
    segments/<BLAKE3>.seg     those that commits name, each checked against its name on the way
    redacted/<BLAKE3>.seg     what is left of them, where the source has no original
    index/<BLAKE3>.idx        the snapshots that commits name; one that the source lacks is left out
    commits/<20 digits>.json  byte for byte, by put-if-absent, each link of the chain verified
    HEAD                      the hint, made anew
    checkpoint, checkpoints/, tile/   brought by the caller once their commits are there
    probes/                   each remote has its own

Objects that no commit names stay behind. The source is only read, and nothing is decided by a
listing. The order, and what a stop right after leaves in the target:

    the ids are compared, then the commits      nothing was written
    probe, FORMAT                               a store without commits
    objects of a commit                         objects no commit names: found again by their size
    commit n                                    a store of commits 0 to n, all that they name there
    what is left of an older segment            the original too: readers take the original
    that original freed                         what is left
    the last commit                             the whole store
    HEAD                                        a better hint

The last commit waits for the erasures: the source says that bytes are gone in a commit after they
went. So a target with the source's last commit has been freed of all that the source had erased
when it made that commit, and one without it is looked through again. From the first commit on with
a segment that has only its rest, all commits wait for each other: those that say what was erased
come later in the chain, and until they are there a reader calls the gap damage.

What a run that was cut short had brought is not read again: see `transit.tier.carrying`. One copy
to a target at a time: another that began before an erasure may bring back what this one freed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from transit.errors import ConflictError, CorruptError, InvalidInputError, StorePermissionError
from transit.format.commit import Commit, root_of
from transit.format.head import Head
from transit.log.commits import CommitChain
from transit.store.versions import Freed
from transit.tier.bundled import FEW, BundledCommits
from transit.tier.carrying import Carrier, Done, Item, items_of
from transit.tier.erase import drop_unfinished
from transit.tier.pools import at_once, in_turn
from transit.tier.progress import Meter, Report
from transit.tier.remote import Remote, commit_key

# Objects on their way before the first of them is waited for.
_AHEAD: Final = 64
_COMMITS_AT_ONCE: Final = 64
_ASKED_AT_ONCE: Final = 256


class Counts(msgspec.Struct):
    """What was done in the target.

    commits, commits_there: created now, and there before. segments, snapshots, bytes: brought now;
    redacted: of these segments, those of which the source has only what is left. segments_there,
    bytes_there: of commits created now, what an earlier run had brought. lacking: snapshots that
    the source lacks. erased: segments brought before in whose place is now what is left of them.
    freed: the versions of their originals.
    """

    commits: int = 0
    commits_there: int = 0
    segments: int = 0
    redacted: int = 0
    snapshots: int = 0
    bytes: int = 0
    segments_there: int = 0
    bytes_there: int = 0
    lacking: int = 0
    erased: int = 0
    freed: Freed = Freed()


class _Link(NamedTuple):
    data: bytes
    commit: Commit


class Copier:
    """Copies one store from a remote to another. For one thread, and used once.

    verify: read what is in the target already, too, and bring again what is damaged there.
    bypass_governance: as for `Log.erase`, where originals are freed.
    """

    def __init__(
        self,
        source: Remote,
        target: Remote,
        store_id: bytes,
        report: Report | None,
        *,
        verify: bool = False,
        bypass_governance: bool = False,
    ) -> None:
        self._source = source
        self._target = target
        self._store_id = store_id
        self._verify = verify
        self._carrier = Carrier(
            source, target, store_id, verify=verify, bypass_governance=bypass_governance
        )
        self._meter = Meter("copy", report)
        self._chain = CommitChain(source.url, store_id)
        self._bundles = BundledCommits(source)
        self._claimed = False
        self._source_head: Head | None = None
        self._target_head: Head | None = None
        # Commits that the target had, and those of the source that are dealt with.
        self._there = self._reached = 0
        # Commits whose objects are there, and that wait.
        self._held: deque[_Link] = deque()
        # Objects of earlier runs, or of commits seen earlier in this one.
        self._older: list[Item] = []
        # Segments of which the source has only what is left; those among the older, to be replaced.
        self._redacted: set[str] = set()
        self._to_erase: list[Item] = []
        self._root = ""
        self.counts = Counts()

    @property
    def root(self) -> str:
        """The root of the last commit that was seen; "" for none."""
        return self._chain.root or self._root

    @property
    def count(self) -> int:
        """How many commits the target has, once `run` has ended."""
        return self._there + self.counts.commits

    def run(self) -> None:
        """Copy all commits up to the newest that is seen, with what they name.

        `InvalidInputError` when the target holds another store, `ConflictError` when it has a
        commit that the source has not: nothing was written then. What is not there or damaged in
        the source is `CorruptError`. Run again, it goes on where it stopped.
        """
        self._compare()
        is_looked_through = not self._verify
        while True:
            known, stop = len(self._redacted), self._count_source()
            if stop == self._reached and is_looked_through:
                break
            self._bring(stop)
            is_looked_through = True
            if len(self._redacted) == known:
                break
            # What says that those bytes are gone is in a commit by now, perhaps after the last.
        self._create_held(but=1)
        self._erase()
        self._create_held()
        if self._carrier.is_new:
            self.claim()
        self._hint()

    def claim(self) -> None:
        """Make sure that the target may be written, once; see `Remote.claim`."""
        if not self._claimed:
            self._target.claim(self._store_id)
            self._claimed = True

    # Where the two chains stand

    def _compare(self) -> None:
        found = self._target_id()
        is_new = self._carrier.is_new = found is None
        if found not in (None, self._store_id):
            raise InvalidInputError(
                f"{self._target.url}: holds store {found.hex() if found else ''}, not "
                f"{self._store_id.hex()} of {self._source.url}"
            )
        # Before the source's, so that commits made meanwhile are no difference.
        self._target_head = None if is_new else self._target.head(self._store_id)
        hint = -1 if self._target_head is None else self._target_head.number
        count = 0 if is_new else count_commits(self._target, 0, hint)
        self._source_head = self._source.head(self._store_id)
        if count and not self._is_same(count - 1):
            raise self._differs(bisect_left(range(count), True, key=lambda n: not self._is_same(n)))
        self._there = self._reached = self.counts.commits_there = count

    def _target_id(self) -> bytes | None:
        try:
            return self._target.store_id(self._store_id)
        except StorePermissionError:
            # A client that may not list is told "not allowed" of absent objects until it can read.
            self.claim()
            return self._store_id

    def _is_same(self, number: int) -> bool:
        """Whether a commit of the target is the source's; then all before it are."""
        found = self._target.checked_commit(number)
        if found is None or not self._source.has_commit(number, found[0]):
            return False
        self._root = root_of(found[0])
        return True

    def _differs(self, number: int) -> ConflictError:
        is_there = self._source.checked_commit(number) is not None
        what = "another than" if is_there else "beyond the last"
        return ConflictError(
            f"{self._target.url}: commit {number} there is {what} in {self._source.url}; nothing "
            "was changed: it is no copy of it, or went on by itself"
        )

    def _count_source(self) -> int:
        head, least = self._source_head, self._reached
        hint = -1 if head is None else head.number
        count = count_commits(self._source, least, hint)
        while self._source.check_no_gap(count, head):
            # What was not there a moment ago is.
            count = count_commits(self._source, count, hint)
        return count

    # Objects, then their commits

    def _bring(self, stop: int) -> None:
        """Bring what commits before `stop` name, and create those that need not wait."""
        self.claim()
        settings = self._target.settings
        room = settings.transfer_bytes_max
        new: list[Item] = []
        steps = self._steps(stop, new, room // max(_AHEAD, 4 * settings.transfers_max))
        with in_turn(self._step, steps, settings.transfers_max, room) as done:
            for each in done:
                if isinstance(each, Done):
                    self._count(each)
                    continue
                if not self.counts.redacted:
                    self._create_held()
                self._held.append(each)
        # Seen before the source's last commit was: it may have erased some of them by then.
        self._look_again(self._older)
        self._older += new
        self._reached = stop

    def _steps(self, stop: int, new: list[Item], cost: int) -> Iterator[tuple[Item | _Link, int]]:
        """The objects of each commit, then the commit; what each takes of the memory there is."""
        for data, commit in self._walk(stop):
            items = items_of(commit)
            if commit.number < self._there:
                self._older += items
                continue
            self._meter.expect(len(items), sum(item.bytes for item in items))
            new += items
            for item in items:
                yield item, max(item.bytes, cost)
            yield _Link(data, commit), cost

    def _walk(self, stop: int) -> Iterator[tuple[bytes, Commit]]:
        """The source's commits up to `stop`, each verified to follow those before it."""
        chain, threads = self._chain, self._source.settings.transfers_max
        while chain.count < stop:
            start = chain.count
            found: Sequence[tuple[bytes, Commit] | None]
            found = self._bundles.after(start, chain.root, stop)
            if not found:
                numbers = range(start, min(start + (_COMMITS_AT_ONCE if start else FEW), stop))
                found = at_once(self._source.checked_commit, numbers, threads)
            for number, entry in enumerate(found, start):
                place = self._source.place(commit_key(number))
                if entry is None:
                    raise CorruptError(
                        place, expected=f"a commit, because there is commit {stop - 1}",
                        found="no object",
                    )  # fmt: skip
                yield entry[0], chain.follow(entry[0], place)

    def _step(self, step: Item | _Link) -> Done | _Link:
        if isinstance(step, _Link):
            return step
        done = self._carrier.bring(step)
        self._meter.add(1, step.bytes)
        return done

    def _create_held(self, but: int = 0) -> None:
        """Create the commits that wait, but for the last so many."""
        while len(self._held) > but:
            data, commit = self._held[0]
            other = self._target.create_commit(commit.number, data)
            if other is not None:
                raise ConflictError(
                    f"{self._target.url}: commit {commit.number} there is not the one in "
                    f"{self._source.url}: another writer is at work in the target"
                )
            self.counts.commits += 1
            self._held.popleft()

    def _hint(self) -> None:
        """Bring HEAD up to date, if it is not."""
        if not self.count:
            return
        number, source = self.count - 1, self._source_head
        if self._chain.count:
            indexed = self._chain.indexed
            index = None if indexed is None else indexed.number
        elif self._target_head is not None and self._target_head.number == number:
            return
        else:
            # Commits were not read: the source's hint is as good as any.
            index = None if source is None or source.number > number else source.index
        head = self._target_head
        if head is None or (head.number, head.index) != (number, index):
            self._target.put_head(self._store_id, number, index)

    # What the source erased since

    def _look_again(self, older: Sequence[Item]) -> None:
        """Find the segments that were erased from in the source since they were brought.

        With `verify`, each of the others is read where it is, and brought again if it is damaged.
        """
        asked = [item for item in older if item.digest not in self._redacted]
        for done in self._each(self._carrier.look, asked):
            if done.how == "gone":
                self._redacted.add(done.item.digest)
                self._to_erase.append(done.item)
            elif done.how != "there":
                self._count(done)

    def _erase(self) -> None:
        """Put what is left of segments in the place of those that were brought before."""
        for done in self._each(self._carrier.replace, self._to_erase):
            if done.how == "left":
                self.counts.erased += 1
                self.counts.bytes += done.bytes
                self.counts.freed = self.counts.freed.plus(done.freed)
        if self.counts.erased or self.counts.redacted:
            # Of a run that was killed, with what was erased since.
            drop_unfinished(self._target)

    def _each(self, call: Callable[[Item], Done], items: Sequence[Item]) -> Iterator[Done]:
        """`call` of each item, several at once, in order."""
        threads = self._source.settings.transfers_max
        for start in range(0, len(items), _ASKED_AT_ONCE):
            yield from at_once(call, items[start : start + _ASKED_AT_ONCE], threads)

    def _count(self, done: Done) -> None:
        counts, is_segment = self.counts, done.item.ref is not None
        counts.bytes += done.bytes
        counts.freed = counts.freed.plus(done.freed)
        counts.lacking += done.how == "lacking"
        if done.how == "left":
            counts.redacted += 1
            self._redacted.add(done.item.digest)
        if done.how in ("copied", "left"):
            counts.segments += is_segment
            counts.snapshots += not is_segment
        elif done.how == "there" and is_segment:
            counts.segments_there += 1
            counts.bytes_there += done.item.bytes


def count_commits(remote: Remote, low: int, hint: int) -> int:
    """How many commits a remote has, the first `low` among them.

    They are asked for by number, from `hint` on where that is one of them.
    """

    def is_absent(number: int) -> bool:
        return remote.store.size(commit_key(number)) is None

    if hint >= low and not is_absent(hint):
        low = hint + 1
    step = 1
    while not is_absent(low + step - 1):
        low, step = low + step, 2 * step
    return low + bisect_left(range(low, low + step - 1), True, key=is_absent)
