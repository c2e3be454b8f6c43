"""Group commit: threads that wait for the same WAL file to be durable share one sync.

Owns which thread leads a sync and which wait. The first thread leads; threads that come meanwhile
wait, and one of them leads the next sync, which covers all that was written until then. After a
failed sync no thread leads again: each waiting thread learns that the outcome of its records is
unknown. The next opening cannot ask the kernel what became of them, and hands what is in doubt to
the disk once more (`write_again`).

A signal handler may interrupt a leader or a waiter anywhere. There is no condition here, which an
interrupt could leave locked: a lock taken by `with`, a lock for each waiter to sleep on, and a
leader that steps down before it does anything else. A waiter that is not woken looks again by
itself.

Invariant: files become durable in the order of the log. Every sync of a file begins with those
before it that are not durable to their end, so what is durable never lies behind what is not.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from transit.errors import (
    OutcomeUnknownError,
    PoisonedError,
    StoreMovedError,
    StoreUnavailableError,
    SyncFailedError,
    TransitError,
)
from transit.guards import SYNC, Order
from transit.locks import in_place
from transit.log.catalog import Catalog
from transit.log.timings import Timings
from transit.log.wal import Wal

# How long a waiter sleeps when its leader was interrupted before it could wake the next.
_LOOK_AGAIN_S: Final = 0.1
# No file system keeps track of changes in smaller pieces.
_BLOCK_BYTES_MIN: Final = 512


InDoubt = tuple[tuple[str, int, int], ...]
"""(stream name, first offset, last offset) of records that may or may not survive."""


class Syncs:
    """Makes the WAL files of a writer durable; a sync that fails poisons it.

    lock: the writer's. allocates: whether space may be reserved beyond the tail. give_up: told what
    every later call is to raise. check: raises what forbids a sync.
    """

    def __init__(
        self,
        catalog: Catalog,
        lock: threading.RLock,
        give_up: Callable[[TransitError], None],
        check: Callable[[], None],
        *,
        allocates: bool,
    ) -> None:
        self._catalog = catalog
        self._lock = lock
        self._give_up = give_up
        self._allocates = allocates
        self._group = GroupSync(self.now, check, catalog.order)
        self._single = SingleSync(catalog.order)

    def reach(self, wal: Wal, stop: int) -> None:
        """Return when `wal` is durable up to `stop`; `OutcomeUnknownError` when none can tell."""
        self._group.reach(wal, stop)

    @property
    def timings(self) -> Timings:
        """How long each sync took."""
        return self._single.timings

    def now(self, wal: Wal) -> None:
        """Make everything before the tail of this moment durable, with syncs of its own."""
        if wal.durable >= wal.tail:
            return
        self._check_place()
        try:
            if self._allocates and wal.wants_space:
                with self._lock:
                    # It may have ended while this waited.
                    if wal.wants_space:
                        wal.allocate()
            self._in_order(self._single.sync, wal)
        except StoreUnavailableError as error:
            # An interrupt, unlike this, loses nothing: the next sync covers what this one did not.
            with self._lock:
                # Under the lock: a record is named in doubt here, or refused from here on.
                unknown = outcome_unknown(str(error), in_doubt(self._catalog))
                self._poison(f"a sync failed: {unknown}")
            raise unknown from error

    def _check_place(self) -> None:
        """Give up when the folder is not at its path any more: what is there may be another's."""
        try:
            self._catalog.check_place()
        except StoreMovedError as error:
            self._give_up(error)
            raise

    def _poison(self, reason: str) -> None:
        self._give_up(PoisonedError(f"{self._catalog.root}: {reason}; open the store again"))

    def _in_order(self, step: Callable[[Wal], None], wal: Wal) -> None:
        """Do `step` with each earlier file that is not durable, and then with `wal`."""

        def work() -> None:
            for older in self._catalog.view.unsynced:
                if older.first_lsn < wal.first_lsn:
                    step(older)
            step(wal)

        # Where the folder is not at its path any more, a file has no name there to be synced.
        in_place(self._check_place, work)

    def settle(self, wal: Wal) -> None:
        """Sync a file whose tail was judged, or that was just made."""
        with self.poisoning(SyncFailedError):
            self._in_order(self._single.sync, wal)

    def secure(self, wal: Wal) -> None:
        """Make durable what other processes, which may be dead, have written up to `wal`."""
        with self.poisoning(StoreUnavailableError):
            self._in_order(self._single.secure, wal)

    @contextmanager
    def poisoning(self, kind: type[TransitError]) -> Iterator[None]:
        """A block whose errors of this kind are failed syncs."""
        try:
            yield
        except kind as error:
            with self._lock:
                # Another thread's sync may have failed first, and not have named them yet.
                doubt = in_doubt(self._catalog)
                reason = outcome_unknown(str(error), doubt) if doubt else error
                self._poison(f"a sync failed: {reason}")
            raise


class GroupSync:
    """Syncs that threads share; `sync` makes a file durable, `check` raises what forbids it."""

    def __init__(
        self, sync: Callable[[Wal], None], check: Callable[[], None], order: Order
    ) -> None:
        self._sync = sync
        self._check = check
        self._order = order
        self._lock = threading.Lock()
        self._sleepers: list[threading.Lock] = []
        self._syncing = False
        self._failure: OutcomeUnknownError | None = None

    def reach(self, wal: Wal, stop: int) -> None:
        """Return when `wal` is durable up to `stop`; `OutcomeUnknownError` after a failed sync."""
        if wal.durable < stop:
            self._order.during(SYNC, partial(self._reach, wal, stop))

    def _reach(self, wal: Wal, stop: int) -> None:
        while wal.durable < stop:
            leads = False
            try:
                with self._lock:
                    if wal.durable >= stop:
                        return
                    if self._syncing:
                        sleeper = self._new_sleeper()
                    else:
                        self._check_failure()
                        self._check()
                        # In one step: an interrupt finds both or neither.
                        self._syncing = leads = True
                if leads:
                    self._lead(wal)
                else:
                    sleeper.acquire(timeout=_LOOK_AGAIN_S)
            finally:
                if leads:
                    self._syncing = False
                    self._wake()

    def _new_sleeper(self) -> threading.Lock:
        sleeper = threading.Lock()
        sleeper.acquire()
        self._sleepers.append(sleeper)
        return sleeper

    def _check_failure(self) -> None:
        if self._failure is not None:
            raise outcome_unknown(str(self._failure.__cause__), self._failure.in_doubt)

    def _lead(self, wal: Wal) -> None:
        try:
            self._sync(wal)
        except OutcomeUnknownError as error:
            self._failure = error
            raise

    def _wake(self) -> None:
        with self._lock:
            sleepers, self._sleepers = self._sleepers, []
        for sleeper in sleepers:
            sleeper.release()


class SingleSync:
    """Syncs of WAL files, one after another. Once one has failed, all later ones fail as well.

    The kernel says once, for each descriptor, that a write failed. Of two threads that sync one
    file at the same time, one would be told so, and the other that all is well.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self.timings = Timings()
        # A leaf: a thread that holds it takes nothing.
        self._one = threading.Lock()
        self._failure: TransitError | None = None

    def sync(self, wal: Wal) -> None:
        """Make everything before the tail of this moment durable."""
        self._run(wal.sync)

    def secure(self, wal: Wal) -> None:
        """As `sync`, of a file that other processes wrote to."""
        self._run(partial(secure, wal))

    def _run(self, step: Callable[[], None]) -> None:
        self._order.run(SYNC, self._one, partial(self._try, step))

    def _try(self, step: Callable[[], None]) -> None:
        if self._failure is not None:
            raise SyncFailedError(str(self._failure))
        try:
            with self.timings.timed():
                step()
        except StoreUnavailableError as error:
            self._failure = error
            raise


def secure(wal: Wal) -> None:
    """Make durable what other processes, which may be dead, have written to `wal`."""
    write_again(wal)
    wal.sync()


def write_again(wal: Wal) -> None:
    """Write the frames of `wal` that no sync is known to have covered in their place once more.

    A sync may have failed in a process that is gone, or in another one. It leaves the frames in the
    page cache, which counts them as written: every later sync reports success and does nothing.
    When the cache is dropped, the frames are gone, and with them what was built on them. Written
    again, they go to the disk with the next sync, or that sync fails. ext4 has to forget its pages
    first: a page remembers that its block was written once, and with such a page ext4 would never
    mark the block as written on the disk.
    """
    # Where no frame says otherwise, not even the header is known to be there.
    start = wal.durable
    # The next frame goes into the block that the tail lies in, and takes along what is there.
    is_next_to_durable = (start - 1) // _BLOCK_BYTES_MIN == wal.tail // _BLOCK_BYTES_MIN
    if start == wal.tail or (is_next_to_durable and not wal.ended):
        return
    frames = wal.file.read_at(start, wal.tail - start)
    wal.file.sync_data()
    wal.file.forget_pages()
    wal.file.write_at(start, frames)


def in_doubt(catalog: Catalog) -> InDoubt:
    """The records that are written and not known to be durable, in all files."""
    firsts: dict[int, int] = {}
    for wal in catalog.view.unsynced:
        for stream_id, chunks in list(wal.index.items()):
            row = bisect_left(chunks.positions, wal.durable)
            if row < len(chunks.positions):
                firsts.setdefault(stream_id, chunks.firsts[row])
    doubt = []
    for stream_id, first in firsts.items():
        state = catalog.state(stream_id)
        doubt.append((state.name, first, state.next_offset - len(state.waiting) - 1))
    return tuple(doubt)


def outcome_unknown(reason: str, doubt: InDoubt) -> OutcomeUnknownError:
    """The error for records whose sync failed."""
    named = ", ".join(f"{name}@{first}…{last}" for name, first, last in doubt) or "no records"
    return OutcomeUnknownError(f"{reason}; in doubt: {named}", in_doubt=doubt)
