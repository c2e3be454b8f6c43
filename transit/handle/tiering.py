"""The remote side of a store that writes: publishing on request, in the background, and on append.

Owns which thread publishes now and which wait. A record is "tiered" once the commit that covers it
is in the remote; appends that wait share the next round, which ends the WAL, seals it and
publishes. Without anything to publish no request is made.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from transit.config import Settings
from transit.errors import ClosedError, ReentrantCallError, TransitError, say
from transit.guards import PUBLISH
from transit.handle.background import Worker
from transit.handle.promises import Callbacks, Promises
from transit.handle.replicas import Replicas, ReplicaStatus
from transit.log.catalog import Catalog
from transit.log.seal import Sealer
from transit.log.timings import Timings
from transit.log.writer import Writer
from transit.tier.progress import Report
from transit.tier.publish import Publisher
from transit.tier.remote import Remote

if TYPE_CHECKING:
    from transit.handle.callbacks import Promise

_JOIN_S: Final = 5.0


class Published(msgspec.Struct, frozen=True):
    """What one `publish` did: commits created, bytes sent and requests made; the remote's root.

    replicas: the other remotes, as they were once each had followed or failed to.
    """

    commits: int
    bytes: int
    requests: int
    head: str
    replicas: tuple[ReplicaStatus, ...] = ()


class _Mark(NamedTuple):
    lsn: int
    owner: object


class Tiering:
    """Publishes for one open store. Safe for threads."""

    def __init__(
        self,
        remote: Remote,
        catalog: Catalog,
        writer: Writer,
        sealer: Sealer,
        settings: Settings,
        callbacks: Callbacks,
        replicas: Sequence[Remote] = (),
    ) -> None:
        self.remote = remote
        self.publisher = Publisher(remote, catalog)
        self.error: TransitError | None = None
        # Rounds that published, and how many failed.
        self.rounds = Timings()
        self.failed = 0
        self._catalog = catalog
        self._writer = writer
        self._sealer = sealer
        self._settings = settings
        self._callbacks = callbacks
        self._promises = Promises(self._is_published, lambda mark: False, _closed, callbacks)
        # A thread that waited for this lock often finds that the round before covered it too.
        self._rounds = threading.Lock()
        self._worker: Worker | None = None
        self.replicas = Replicas(
            replicas, self.publisher, catalog, callbacks,
            settings.replicated_remotes or 1 + len(replicas), eager=self._is_eager,
        )  # fmt: skip

    @property
    def _is_eager(self) -> bool:
        """Whether something is published in the background that nobody asks for."""
        settings = self._settings
        return settings.publish_interval_s is not None or settings.publish_bytes is not None

    def start(self) -> None:
        """Publish in the background from now on, as the settings say."""
        interval = self._settings.publish_interval_s
        self._worker = Worker("transit-publisher", self._work, self._fail, 0.0, interval)
        self.replicas.start()

    @property
    def is_behind(self) -> bool:
        """Whether there are records that are not in the remote."""
        return self._writer.wal.next_lsn > self.publisher.published_lsn

    @property
    def is_here(self) -> bool:
        """Whether this thread is publishing, or does a part of that."""
        return self._is_inside or (self._worker is not None and self._worker.is_here)

    @property
    def _is_inside(self) -> bool:
        asking = self.remote.store.is_here or self.replicas.is_here
        return asking or self.publisher.is_here

    def check_outside(self) -> None:
        """`ReentrantCallError` in the middle of publishing, which would wait for itself."""
        if self._is_inside:
            raise ReentrantCallError(
                "called in the middle of publishing, by its progress callback or the object store: "
                "call again once publish() has returned"
            )

    def publish(self, report: Report | None = None) -> Published:
        """Seal, and bring everything to the remote; what that took."""
        self.check_outside()
        traffic = self.remote.store.traffic
        before = (self.publisher.published, traffic.bytes_out, traffic.requests)
        order = self._catalog.order
        order.check(PUBLISH)
        order.run(PUBLISH, self._rounds, partial(self._round_and_hint, report))
        return Published(
            commits=self.publisher.published - before[0],
            bytes=traffic.bytes_out - before[1],
            requests=traffic.requests - before[2],
            head=self._catalog.commits.root,
            replicas=self.replicas.follow() if self.replicas else (),
        )

    def replicate(self, lsn: int) -> None:
        """Return when every record before `lsn` is in the remote and in replicas enough."""
        self.reach(lsn)
        self.replicas.reach(lsn)

    def reach(self, lsn: int) -> None:
        """Return when every record before `lsn` is in the remote."""
        self.check_outside()
        order = self._catalog.order
        order.check(PUBLISH)
        while self.publisher.published_lsn < lsn:
            order.run(PUBLISH, self._rounds, partial(self._round_to, lsn))

    def _round_to(self, lsn: int) -> None:
        if self.publisher.published_lsn < lsn:
            self._round(None)

    def _round_and_hint(self, report: Report | None) -> None:
        self._round(report)
        self.publisher.hint()

    def _round(self, report: Report | None) -> None:
        begun = perf_counter()
        try:
            # A writer that is fenced off seals nothing for a remote that will not take it.
            self.publisher.check()
            self._writer.rotate()
            self._sealer.seal_ended()
            self.publisher.publish(report)
        except TransitError as error:
            self.error = error
            self.failed += 1
            self._tell_replicas(error)
            raise
        self.rounds.add(perf_counter() - begun)
        self.error = None
        self._tell_replicas(None)

    def _tell_replicas(self, error: TransitError | None) -> None:
        if self.replicas:
            self.replicas.first_went_on(error)

    # In the background

    def submit(
        self,
        lsn: int,
        result: Callable[[], object],
        future: Promise[Any],
        owner: object,
        *,
        replicated: bool = False,
    ) -> None:
        """Resolve `future` by `result` once every record before `lsn` is in the remote.

        replicated: and in replicas enough. owner: the object whose last reference closes the store;
        held until then.
        """
        if replicated:
            self.replicas.submit(lsn, result, future, owner)
        else:
            self._promises.add(_Mark(lsn, owner), result, future)
        self._wake()

    def publish_if_large(self) -> None:
        """Have a round made when enough is unpublished; costs no request."""
        limit = self._settings.publish_bytes
        if limit is not None and self.unpublished_bytes() >= limit:
            self._wake()

    def _wake(self) -> None:
        if self._worker is not None and not self._worker.wake():
            # Without a thread, as at the end of the interpreter.
            self._work()

    def unpublished_bytes(self) -> int:
        """About how many bytes of records are not in the remote."""
        view = self._catalog.view
        size = sum(wal.tail for wal in view.wals if wal.next_lsn > wal.first_lsn)
        for segment in reversed(view.segments):
            if segment.commit < self.publisher.published:
                break
            size += segment.ref.bytes
        return size

    def _work(self) -> None:
        # Whatever is submitted from here on waits for the next round.
        count = len(self._promises)
        error: TransitError | None = None
        try:
            if self.is_behind:
                self.reach(self._writer.wal.next_lsn)
        except TransitError as failure:
            error = failure
        except BaseException as failure:
            # An unexpected error; without this, the threads that wait would never be told.
            self._fail(failure)
            error = self.error
        self._promises.settle(count, error)
        if self.replicas.awaited:
            # Perhaps nothing was left to publish, or the error was no remote's.
            self._tell_replicas(error)
        self._callbacks.wake()

    def _is_published(self, mark: _Mark) -> bool:
        return self.publisher.published_lsn >= mark.lsn

    def _fail(self, error: BaseException) -> None:
        self.failed += 1
        self.error = TransitError(f"publishing failed: {say(error)}")

    def close(self) -> None:
        """Publish nothing more; what was submitted and not published is told so."""
        if self._worker is not None:
            # Its round may hang on a remote that is away. It writes nothing here any more.
            self._worker.stop(_JOIN_S)
        self.replicas.close()
        self._promises.end(self.error)


def _closed() -> ClosedError:
    return ClosedError("the store was closed")
