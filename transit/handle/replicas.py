"""The replicas of an open store: each follows the first remote, in a thread of its own.

Owns when they do, and who waits for them. One that is away holds up no other: it is tried again
after a while, longer each time, and whenever somebody waits for it. A record is "replicated" once
the commit that covers it is in so many remotes as the settings say, the first always among them.

The main thread may be interrupted by a signal handler in any of these methods: what waits, waits in
a queue's `get`, which is one call into C.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from transit.errors import ClosedError, TransitError, say
from transit.guards import PUBLISH
from transit.handle.background import Worker
from transit.handle.promises import Callbacks, Promises
from transit.log.catalog import Catalog
from transit.tier.publish import Publisher
from transit.tier.remote import Remote
from transit.tier.replica import Replica

if TYPE_CHECKING:
    from transit.handle.callbacks import Promise

_BEAT_S: Final = 1.0
_AGAIN_MAX_S: Final = 60.0
_JOIN_S: Final = 5.0


class ReplicaStatus(msgspec.Struct, frozen=True):
    """A remote that follows the first.

    url: its address. published: commits that are known to be there; None until it was looked at.
    behind: commits of the first that are not known to be there. error: why it did not go on the
    last time, "" when it did. keeps: as `Status.remote_keeps`.
    """

    url: str
    published: int | None
    behind: int
    error: str
    keeps: str = ""


class _Mark(NamedTuple):
    """What a future waits for. failures: of the first and of each replica when it was made."""

    lsn: int
    owner: object
    failures: Sequence[int]


class _Follower:
    """A replica, and the thread that has it follow."""

    def __init__(
        self, replica: Replica, catalog: Catalog, told: Callable[[], None], *, eager: bool
    ) -> None:
        self.replica = replica
        self.error: TransitError | None = None
        # How often a round failed, ever and since one did not.
        self.failures = 0
        self._in_a_row = 0
        self._again_at = 0.0
        self._order = catalog.order
        self._rounds = threading.Lock()
        self._told = told
        self._eager = eager
        # How often somebody wanted a round, whatever happened before; how many of these had one.
        self._wanted = self.served = 0
        self._hint = False
        self._worker: Worker | None = None

    def start(self) -> None:
        """Follow in the background from now on."""
        self._worker = Worker("transit-replica", self._work, self._fail, 0.0, _BEAT_S)

    def want(self, *, hint: bool = False) -> int:
        """Have a round made now, and return what `served` is once it has ended.

        hint: with what is said where the last commit is.
        """
        self._hint |= hint
        self._wanted += 1
        number = self._wanted
        if self._worker is None or not self._worker.wake_now():
            # Without a thread, as at the end of the interpreter.
            self._work()
        return number

    def wake(self) -> None:
        """Have a round made soon: the first went on."""
        self._eager = True
        if self._worker is not None:
            self._worker.wake()

    def _work(self) -> None:
        wanted = self._wanted
        if wanted == self.served and not self._is_due():
            return
        hint, self._hint = self._hint, False
        try:
            follow = partial(self.replica.follow, 1) if hint else self.replica.follow
            self._order.run(PUBLISH, self._rounds, follow)
        except TransitError as error:
            self._failed(error)
        except BaseException as error:
            # An unexpected error; without this, the threads that wait would never be told.
            self._fail(error)
        else:
            self.error, self._in_a_row = None, 0
        self.served = max(self.served, wanted)
        self._told()

    def _is_due(self) -> bool:
        is_unknown = self.replica.published < 0
        is_behind = self._eager if is_unknown else bool(self.replica.behind)
        return is_behind and time.monotonic() >= self._again_at

    def _failed(self, error: TransitError) -> None:
        self.error = error
        self._in_a_row += 1
        self._again_at = time.monotonic() + min(2.0**self._in_a_row, _AGAIN_MAX_S)
        self.failures += 1

    def _fail(self, error: BaseException) -> None:
        self._failed(TransitError(f"following failed: {say(error)}"))

    @property
    def is_here(self) -> bool:
        """Whether this thread is the replica's, or does a part of its work."""
        return self.replica.is_here or (self._worker is not None and self._worker.is_here)

    def status(self) -> ReplicaStatus:
        """What is known of it, without asking."""
        replica = self.replica
        return ReplicaStatus(
            url=replica.remote.url,
            published=None if replica.published < 0 else replica.published,
            behind=replica.behind,
            error="" if self.error is None else str(self.error),
            keeps=replica.remote.keeps,
        )

    def stop(self, join_s: float) -> None:
        """End the thread, after its round if that takes no longer than this."""
        if self._worker is not None:
            self._worker.stop(join_s)


class Replicas:
    """All replicas of one open store. Safe for threads.

    enough: how many remotes must have what is "replicated", the first among them.
    eager: whether they follow from the start, and not only once the first went on.
    """

    def __init__(
        self,
        remotes: Sequence[Remote],
        first: Publisher,
        catalog: Catalog,
        callbacks: Callbacks,
        enough: int,
        *,
        eager: bool,
    ) -> None:
        self._first = first
        self._callbacks = callbacks
        self._enough = enough
        self._first_failures = 0
        self._first_error: TransitError | None = None
        self._closed = False
        # A queue for each thread that waits, with an entry whenever there may be news.
        self._waiting: list[SimpleQueue[None]] = []
        self._promises = Promises(self._is_kept, self._is_pending, _was_closed, callbacks)
        self._all = [
            _Follower(Replica(remote, first, catalog), catalog, self._tell, eager=eager)
            for remote in remotes
        ]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._all)

    @property
    def awaited(self) -> bool:
        """Whether a future waits for them."""
        return bool(self._promises)

    @property
    def is_here(self) -> bool:
        """Whether this thread is at work on one of them."""
        return any(each.is_here for each in self._all)

    @property
    def at_head(self) -> list[Remote]:
        """The remotes that have all that the first is known to have."""
        found = (each.replica for each in self._all)
        return [each.remote for each in found if each.published >= self._first.published]

    def status(self) -> tuple[ReplicaStatus, ...]:
        """What is known of each, without asking."""
        return tuple(each.status() for each in self._all)

    # When they follow

    def start(self) -> None:
        """Follow in the background from now on."""
        for each in self._all:
            each.start()

    def follow(self) -> tuple[ReplicaStatus, ...]:
        """Return when each has what the first has now, or failed to get it; how they are then."""
        with self._news() as news:
            wanted = [(each, each.want(hint=True)) for each in self._all]
            self._wait(news, lambda: all(each.served >= number for each, number in wanted))
        return self.status()

    def reach(self, lsn: int) -> None:
        """Return when every record before `lsn`, which are in the first, are replicated.

        Raises what keeps the replicas from it.
        """
        with self._news() as news:
            wanted = [(each, each.want()) for each in self._all if each.replica.published_lsn < lsn]

            def is_over() -> bool:
                return self._have(lsn) >= self._enough or not may_be()

            def may_be() -> bool:
                lacking = [
                    each
                    for each, number in wanted
                    if each.served >= number and each.replica.published_lsn < lsn
                ]
                return 1 + len(self._all) - len(lacking) >= self._enough

            self._wait(news, is_over)
        if self._have(lsn) < self._enough:
            raise copy(self._error_of(lsn))

    @contextmanager
    def _news(self) -> Iterator[SimpleQueue[None]]:
        """A block with a queue that has an entry whenever there may be news."""
        news: SimpleQueue[None] = SimpleQueue()
        try:
            self._waiting.append(news)
            yield news
        finally:
            if news in self._waiting:
                self._waiting.remove(news)

    def _wait(self, news: SimpleQueue[None], is_over: Callable[[], bool]) -> None:
        while not is_over():
            if self._closed:
                raise _was_closed()
            news.get()

    # Who waits for them

    def submit(
        self, lsn: int, result: Callable[[], object], future: Promise[Any], owner: object
    ) -> None:
        """Resolve `future` by `result` once every record before `lsn` is replicated.

        owner: the object whose last reference closes the store; held until then.
        """
        self._promises.add(_Mark(lsn, owner, self._failures()), result, future)

    def first_went_on(self, error: TransitError | None) -> None:
        """A round of the first ended; error: why it did not reach the end."""
        self._first_error = error
        if error is not None:
            self._first_failures += 1
            self._tell()
            return
        for each in self._all:
            if self._promises:
                each.want()
            else:
                each.wake()

    def _tell(self) -> None:
        """There may be news for those that wait."""
        for news in list(self._waiting):
            news.put(None)
        if self._promises:
            # Each that cannot be kept any more has the error of the last failure.
            errors = [each.error for each in self._all if each.error is not None]
            error = self._first_error or (errors[-1] if errors else None)
            self._promises.settle(len(self._promises), error)
            self._callbacks.wake()

    def _failures(self) -> list[int]:
        return [self._first_failures, *(each.failures for each in self._all)]

    def _have(self, lsn: int) -> int:
        """How many remotes have every record before `lsn`, the first counted in any case."""
        return 1 + sum(each.replica.published_lsn >= lsn for each in self._all)

    def _is_kept(self, mark: _Mark) -> bool:
        return self._first.published_lsn >= mark.lsn and self._have(mark.lsn) >= self._enough

    def _is_possible(self, mark: _Mark) -> bool:
        """Whether enough of those that lack it have not failed since somebody began to wait."""
        first, *others = mark.failures
        if self._first.published_lsn < mark.lsn and self._first_failures > first:
            return False
        may = [
            each.replica.published_lsn >= mark.lsn or each.failures == failures
            for each, failures in zip(self._all, others, strict=True)
        ]
        return 1 + sum(may) >= self._enough

    def _is_pending(self, mark: _Mark) -> bool:
        return not self._closed and not self._is_kept(mark) and self._is_possible(mark)

    def _error_of(self, lsn: int) -> TransitError:
        """Why one of those that lack it does."""
        lacking = [each for each in self._all if each.replica.published_lsn < lsn]
        errors = (each.error for each in lacking if each.error is not None)
        return next(errors, TransitError(f"{lacking[0].replica.remote.url}: did not follow"))

    def close(self) -> None:
        """Follow no more; what was submitted and is not replicated is told so."""
        self._closed = True
        for each in self._all:
            each.stop(0.0)
        deadline = time.monotonic() + _JOIN_S
        for each in self._all:
            # Its round may hang on a remote that is away. It writes nothing here any more.
            each.stop(max(0.0, deadline - time.monotonic()))
        self._tell()
        self._promises.end(self._first_error)


def _was_closed() -> ClosedError:
    return ClosedError("the store was closed")
