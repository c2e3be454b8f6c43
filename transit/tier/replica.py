"""Replicas: remotes beside a store's first one, which follow it.

The first alone decides which commit has a number. A replica gets a commit once the first has it:
so it is at each moment a store whose history is a beginning of the first's, and can be restored
from, or take the first's place. The order of one round, and what a stop right after leaves in it:

    FORMAT                               a store without commits
    objects of a commit                  objects no commit names: found again by their size
    commit n, put-if-absent              commits 0 to n, whole
    what is left of an older segment,
    from which records were erased       the original too: readers take the original
    that original freed                  what is left
    the last commit                      all that the first had
    HEAD                                 a better hint

The last commit waits for the erasures, so a replica that has all commits has freed all that they
say is erased. That is found out from what the log says of streams, and not from notes.

A replica whose commits are not ours is told, and never written to: `ConflictError` from then on.
Objects come from the folder, and from the first remote where they are not there any more.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from copy import copy
from functools import partial
from typing import Final, NamedTuple

from transit.disk import read_file
from transit.errors import ConflictError, CorruptError, StorePermissionError
from transit.format.commit import Commit
from transit.format.digest import digest
from transit.locks import in_place
from transit.log.catalog import Catalog
from transit.log.segments import Segment
from transit.store.versions import kept_by
from transit.tier.apart import check_apart
from transit.tier.carrying import Carrier, Done, Item, items_of
from transit.tier.erase import drop_unfinished
from transit.tier.locating import HINT_COMMITS, Hint, check_last, locate, own_commit
from transit.tier.pools import at_once, in_turn
from transit.tier.publish import Publisher
from transit.tier.remote import Remote, segment_key

# Objects on their way before the first of them is waited for.
_AHEAD: Final = 64


class _Link(NamedTuple):
    data: bytes
    commit: Commit


class Replica:
    """One remote that follows the first. Safe for threads; one round is made at a time.

    published, published_lsn: of the commits that are known to be there; -1 until it was looked at.
    """

    def __init__(self, remote: Remote, first: Publisher, catalog: Catalog) -> None:
        self.remote = remote
        self.published = -1
        self.published_lsn = -1
        self._first = first
        self._catalog = catalog
        self._differs: ConflictError | None = None
        self._hint = Hint(remote, catalog)
        self._lock = threading.Lock()
        self._carrier = Carrier(
            first.remote, remote, catalog.store_id,
            verify=False, bypass_governance=False, near=self._near,
        )  # fmt: skip
        # By segment: the rows of its index that are known to be erased there.
        self._erased: dict[str, frozenset[int]] = {}
        # Segments of which nothing nearer than the first is to be taken.
        self._due: dict[str, frozenset[int]] = {}

    @property
    def is_here(self) -> bool:
        """Whether this thread is in the middle of a request to it."""
        return self.remote.store.is_here

    @property
    def behind(self) -> int:
        """How many commits the first has that are not known to be here."""
        return max(0, self._first.published - max(0, self.published))

    def follow(self, hint_commits: int = HINT_COMMITS) -> None:
        """Bring what the first is known to have and this one lacks.

        Raises what its requests raise, `InvalidInputError` when another store is there,
        `ConflictError` when its history is another. Called again, it goes on where it stopped.
        """
        with self._lock:
            self._catalog.check_place()
            # Once more: a link or a mount may have brought the two together.
            check_apart(self._catalog.root, self.remote.store)
            if self.published < 0:
                self._find()
            if self._differs is not None:
                raise copy(self._differs)
            stop = self._first.published
            if self.published < stop:
                self._check_last()
                in_place(self._catalog.check_place, partial(self._bring, stop))
            self._hint.bring(self.published, hint_commits)

    # Where it stands

    def _find(self) -> None:
        store_id = self._catalog.store_id
        self._carrier.is_new = not self._is_there(store_id)
        self.remote.claim(store_id)
        found = locate(self.remote, self._catalog.commits, store_id)
        self._hint.found(found)
        self.remote.keeps = kept_by(self.remote.store)
        self._reached(found.commits)
        if found.other is not None:
            self._tell(found.commits)

    def _is_there(self, store_id: bytes) -> bool:
        try:
            return self.remote.store_id(store_id) is not None
        except StorePermissionError:
            # A client that may not list is told "not allowed" of absent objects.
            return True

    def _reached(self, commits: int) -> None:
        lsn = own_commit(self._catalog, commits - 1)[1].next_lsn if commits else 0
        self.published, self.published_lsn = commits, lsn

    def _tell(self, number: int) -> None:
        self._differs = ConflictError(
            f"{self.remote.url}: commit {number} there is not ours; nothing was changed: it went "
            f"on by itself, or is no copy of {self._first.remote.url}. Give another place, or look "
            "into it with audit()"
        )

    def _check_last(self) -> None:
        """Look again where it stands, if its last commit is not there any more.

        It was emptied: what follows that commit would be there, and could not be restored.
        """
        try:
            if self.published:
                check_last(self.remote, self.published)
        except CorruptError:
            self._erased.clear()
            self._find()
            if self._differs is not None:
                raise copy(self._differs) from None

    # A round

    def _bring(self, stop: int) -> None:
        """Bring the commits before `stop`, with what they name, and erase what they say is."""
        due = self._due = self._said_to_be_erased()
        settings, held = self.remote.settings, deque[_Link]()
        room, wait = settings.transfer_bytes_max, False
        steps = self._steps(stop, room // max(_AHEAD, 4 * settings.transfers_max))
        try:
            with in_turn(self._step, steps, settings.transfers_max, room) as done:
                for each in done:
                    if isinstance(each, Done):
                        # What says that bytes are gone comes later in the chain, and until it is
                        # there a reader calls the gap damage: all of them wait for each other.
                        wait |= each.how == "left"
                        continue
                    if not wait:
                        self._create(held)
                    held.append(each)
        finally:
            self._carrier.is_new = False
        self._create(held, but=1)
        self._erase(due)
        self._create(held)

    def _steps(self, stop: int, cost: int) -> Iterator[tuple[Item | _Link, int]]:
        """The objects of each commit, then the commit; what each takes of the memory there is."""
        for number in range(self.published, stop):
            data, commit = own_commit(self._catalog, number)
            # Asked after it was read: what a folder that came in its place holds is not ours.
            self._catalog.check_place()
            for item in items_of(commit):
                yield item, max(item.bytes, cost)
            yield _Link(data, commit), cost

    def _step(self, step: Item | _Link) -> Done | _Link:
        return step if isinstance(step, _Link) else self._carrier.bring(step)

    def _create(self, held: deque[_Link], but: int = 0) -> None:
        """Create the commits that wait, but for the last so many."""
        while len(held) > but:
            data, commit = held.popleft()
            self._catalog.check_place()
            if self.remote.create_commit(commit.number, data) is not None:
                self._tell(commit.number)
                assert self._differs is not None
                raise copy(self._differs)
            self.published, self.published_lsn = commit.number + 1, commit.next_lsn

    def _near(self, item: Item) -> bytes | None:
        """An object's bytes out of the folder, if they are what they should be."""
        if item.digest in self._due:
            return None
        places = self._catalog.places
        path = places.segment if item.ref is not None else places.snapshot
        data = read_file(path(item.digest), item.bytes)
        return data if data is not None and digest(data).hex() == item.digest else None

    # What was erased

    def _said_to_be_erased(self) -> dict[str, frozenset[int]]:
        """By segment: the rows of its index whose bytes are gone, as the log says."""
        gone = {
            stream: life.gone_bytes
            for stream, life in self._catalog.known_lives().notable.items()
            if life.gone_bytes
        }
        if not gone:
            return {}
        rows = ((segment, _rows(segment, gone)) for segment in self._catalog.view.segments)
        return {segment.ref.digest: found for segment, found in rows if found}

    def _erase(self, due: dict[str, frozenset[int]]) -> None:
        """Put what is left of segments in the place of those that were brought before."""
        items = []
        for segment in self._catalog.view.segments:
            ref = segment.ref
            rows = due.get(ref.digest, frozenset()) - self._erased.get(ref.digest, frozenset())
            if rows and segment.commit < self.published:
                items.append(Item(segment_key(ref.digest), ref.digest, ref.bytes, ref))
        replaced = at_once(self._carrier.replace, items, self.remote.settings.transfers_max)
        if any(done.how == "left" for done in replaced):
            # Of a process that was killed, with what was erased since.
            drop_unfinished(self.remote)
        self._erased.update(due)


def _rows(segment: Segment, gone: dict[int, int]) -> frozenset[int]:
    index = segment.index
    if len(gone) < len(index.streams):
        rows = [row for stream in gone for row in index.rows(stream)]
    else:
        rows = [row for row, stream in enumerate(index.streams) if stream in gone]
    return frozenset(row for row in rows if index.stop(row) <= gone[index.streams[row]])
