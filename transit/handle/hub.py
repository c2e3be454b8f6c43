"""The hub of an open store: it tells threads, event loops and callbacks which streams changed.

Owns one thread a store, `transit-hub`, which is there while a waiter needs it. A change wakes the
waiters of that stream and no others. The hub holds no reference to the user's handle. A waiting
thread has a latch of its own, which the thread that made the change releases. Event loops and
callbacks are told by the hub's thread, so that an append costs the same however many there are.
Where only this process writes, waiting threads need no hub. Elsewhere the hub looks for all, but
for a thread that is the only waiter: it waits for the folder itself, and looks, which is one switch
of threads less. When another waiter joins, or the hub ends because one thread is left, that thread
is roused, so that the other one of the two looks from then on.

    thread that makes a change    hub's thread                   waiter
    1 the change can be seen      4 takes the stream             a registers with the stream
    2 reads which are registered  5 looks: frames what is        b looks, or has the hub look
    3 releases latches; notes       accepted, takes up what      c waits for its latch or event,
      the stream, rouses the hub    other processes wrote          which stays released until then
                                  6 sets the event, and says
                                    how far the stream reaches

No wake-up is lost. If a comes before 2, the change reaches the waiter: a latch or event that is
released before c ends the wait at once. If 2 comes before a, then 1 comes before b, and b sees the
change. The hub is roused after the stream was noted, and takes the notes after it was roused, so 3
and 4 are such a pair too. A follower never looks itself. When it has registered (a), it notes its
own stream, and the 4, 5 and 6 that follow are its look. The hub looks for what other processes
wrote after it began to watch the folder, and again after each event; an event that the system drops
delays it by `Watcher.POLL_S` at most.

After an exception that a signal handler raises in the middle of 1 to 3, the writer does 3 once
more. If another signal cuts that short too, the next change of the stream makes up for it.

How far a stream reaches and whether it is finished are told as one pair, read in the order
"finished, then how far". Nothing is appended after a stream was finished, so the pair never says
"finished" and leaves out the last records.

An error while the hub looks is given to every waiter, once. No code of a user runs in the hub's
thread: an event loop is asked to wake its tasks (`call_soon_threadsafe`; a closed loop is
forgotten), and callbacks have a thread of their own (`transit.handle.promises`, decision 0032).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Final, TypeVar

from transit.errors import TransitError
from transit.guards import VIEW, leaf
from transit.handle.background import Worker
from transit.handle.listeners import Listener, Rung, ring
from transit.handle.promises import Callbacks
from transit.handle.waiting import Source
from transit.log.catalog import Catalog, StreamState
from transit.log.changes import Follower
from transit.log.segments import Segment
from transit.log.writer import Writer

T = TypeVar("T")
# How long a closing store waits for a look that is under way.
_JOIN_S: Final = 5.0


class Hub:
    """The waiters of one open store, and the thread that tells them.

    callbacks: where functions of users run. look: takes up all there is now. source: makes what the
    thread waits for between two looks. alone: whether only this process writes, so that its own
    threads say what changed.
    """

    def __init__(
        self,
        catalog: Catalog,
        writer: Writer | None,
        callbacks: Callbacks,
        look: Callable[[], None],
        source: Callable[[], Source],
        *,
        alone: bool = False,
    ) -> None:
        self._catalog = catalog
        self._writer = writer
        self.callbacks = callbacks
        self._look = look
        self.make_source = source
        self.alone = alone
        self._changing = threading.RLock()
        self._listening: dict[Listener, StreamState] = {}
        self._following: dict[Follower, Sequence[StreamState]] = {}
        # The followers of every stream.
        self._everything: set[Follower] = set()
        # What changed since it was told. Adding and taking are each one call into C.
        self._changed: set[StreamState] = set()
        self._changed_ids: set[int] = set()
        self._segments: set[Segment] = set()
        self.rung: Rung = {}
        self._worker: Worker | None = None
        # That one, and those before it that have not ended.
        self._threads: list[Worker] = []
        self._source: Source | None = None
        # What the only waiter, a thread, waits for itself.
        self.source_of_one: Source | None = None
        self._ident: int | None = None
        self._closed = False

    # Waiters

    @property
    def waiting(self) -> int:
        """How many wait: threads, tasks and callbacks."""
        return len(self._listening) + len(self._following)

    def listen(self, listener: Listener, state: StreamState) -> None:
        """Release `listener` at each change of the stream from now on."""
        self._join(lambda: self._add_listener(listener, state))

    def add(self, follower: Follower, states: Sequence[StreamState] | None) -> None:
        """Tell `follower` of these streams, once at first; None: of all, each when it changes."""
        self._join(lambda: self._add_follower(follower, states))
        # Its look.
        self._changed.update(states or ())
        self.rouse()

    def _join(self, step: Callable[[], None]) -> None:
        self._catalog.order.check(VIEW)
        leaf(self._changing, step)
        self.is_running()
        self._rouse_one()
        if self._closed:
            # Since the call began: the waiters of before may have been released already.
            self._end_all(None)

    def _add_listener(self, listener: Listener, state: StreamState) -> None:
        self._listening[listener] = state
        listeners = state.listeners
        if not isinstance(listeners, set):
            listeners = state.listeners = set()
        listeners.add(listener)
        self._hear()

    def _add_follower(self, follower: Follower, states: Sequence[StreamState] | None) -> None:
        self._following[follower] = states or ()
        if states is None:
            self._everything.add(follower)
        for state in states or ():
            followers = state.followers
            if not isinstance(followers, set):
                followers = state.followers = set()
            followers.add(follower)
        self._hear()

    def _hear(self) -> None:
        """Have changes said while there are waiters."""
        heard = bool(self._listening or self._following) and not self._closed
        changes = self._catalog.changes
        changes.on_id = self._note_id if heard else None
        changes.on_segments = self._note_segments if heard else None
        changes.on_stream = self._note if heard else None
        if self._writer is not None:
            self._writer.on_append = changes.on_stream

    def is_running(self) -> bool:
        """Start the thread if it is needed and not there; False where there can be none."""
        if not self._is_needed:
            return True
        worker = self._worker
        if worker is None:
            leaf(self._changing, self._make_worker)
            worker = self._worker
        return worker is not None and (worker.has_begun or worker.wake())

    @property
    def is_for_one(self) -> bool:
        """Whether one thread is the only waiter of a store that other processes write to."""
        return len(self._listening) == 1 and not (self._following or self.alone or self._closed)

    @property
    def _is_needed(self) -> bool:
        several = len(self._listening) > 1 and not self.alone
        return bool(self._following or several) and not self._closed

    def _make_worker(self) -> None:
        if self._worker is None and self._is_needed:
            self._worker = Worker("transit-hub", self._run, self._failed)
            self._threads = [*(old for old in self._threads if old.is_alive), self._worker]

    def leave(self, listener: Listener, state: StreamState) -> None:
        """Release `listener` no more; calling it again does nothing."""
        self._listening.pop(listener, None)
        if isinstance(state.listeners, set):
            state.listeners.discard(listener)
        self._after_leaving()

    def remove(self, follower: Follower) -> None:
        """Tell `follower` nothing more; calling it again does nothing."""
        states = self._following.pop(follower, ())
        self._everything.discard(follower)
        for state in states:
            if isinstance(state.followers, set):
                state.followers.discard(follower)
        self._after_leaving()

    def _after_leaving(self) -> None:
        if not self._listening and not self._following:
            leaf(self._changing, self._hear)
        if not self._is_needed:
            self.rouse()

    # What changed: called in the middle of anything

    def _note(self, state: StreamState) -> None:
        if state.listeners:
            for listener in frozenset(state.listeners):
                listener.rouse()
            self._rouse_one()
        if state.followers or self._everything:
            self._changed.add(state)
            self._rouse_from_afar()

    def _note_id(self, stream_id: int) -> None:
        if self._everything:
            self._changed_ids.add(stream_id)
            self._rouse_from_afar()

    def _note_segments(self, segments: Sequence[Segment]) -> None:
        if self._everything:
            self._segments.update(segments)
            self._rouse_from_afar()

    def _rouse_from_afar(self) -> None:
        # What the hub's own look finds it takes before it waits.
        if self._ident != get_ident():
            self.rouse()

    def _rouse_one(self) -> None:
        source = self.source_of_one
        if source is not None:
            source.rouse()

    def rouse(self) -> None:
        """Have the hub's thread look again soon."""
        source = self._source
        if source is not None:
            source.rouse()

    # The thread

    def _run(self) -> None:
        worker = self._worker
        self._ident = get_ident()
        while not self._retire(worker):
            source: Source | None = None
            try:
                source = self._source = self.make_source()
                self._serve(worker, source)
            except TransitError as error:
                self._end_all(error)
            finally:
                if source is not None:
                    source.close()

    def _serve(self, worker: Worker | None, source: Source) -> None:
        while not self._retire(worker):
            self._round()
            if not self._is_full:
                source.wait()

    @property
    def _is_full(self) -> bool:
        return bool(self._changed or self._changed_ids or self._segments)

    def _retire(self, worker: Worker | None) -> bool:
        """Whether no waiter needs this thread; those that come from now on get another one."""
        return leaf(self._changing, lambda: self._retired(worker))

    def _retired(self, worker: Worker | None) -> bool:
        if self._is_needed:
            return False
        if self._worker is worker:
            self._worker = self._source = self._ident = None
        if worker is not None:
            worker.stop()
        for listener in list(self._listening):
            # The one that is left looks itself from now on.
            listener.rouse()
        return True

    def _failed(self, error: BaseException) -> None:
        """After an unforeseen error: every waiter gets it, and the next ones another thread."""
        self._worker = self._source = self._ident = None
        self._end_all(TransitError(f"{self._catalog.root}: waiting for records failed: {error!r}"))

    def _round(self) -> None:
        """Look, and tell what changed."""
        states = _taken(self._changed)
        if self.alone:
            # A record that is accepted and not framed cannot be read. The look frames those that
            # were there before it, so only they are told.
            before = [(state, state.finished, state.next_offset) for state in states]
            self._look()
            told = [(s, finished, min(n, s.next_offset)) for s, finished, n in before]
        else:
            self._look()
            states += _taken(self._changed)
            told = [(state, state.finished, state.next_offset) for state in states]
        for state, finished, reached in told:
            for follower in frozenset(state.followers):
                follower.tell(state.id, reached, finished)
        if self._everything:
            self._tell_everything([state.id for state, _, _ in told])
        self._ring()

    def _tell_everything(self, changed: list[int]) -> None:
        followers = frozenset(self._everything)
        try:
            for segment in _taken(self._segments):
                changed += set(segment.index.streams)
        except TransitError as error:
            # Only the followers of every stream need what is out of reach.
            for follower in followers:
                self._end(follower, error)
        changed += _taken(self._changed_ids)
        for stream_id in dict.fromkeys(changed):
            for follower in followers:
                follower.tell(stream_id, 0, False)

    def _ring(self) -> None:
        for loop in list(self.rung):
            followers = self.rung.pop(loop, [])
            if not ring(loop, followers):
                for follower in followers:
                    self.remove(follower)
        self.callbacks.wake()

    # Ends

    def _end_all(self, error: TransitError | None) -> None:
        """Release every waiter, with `error`; None: the store was closed."""
        for listener, state in list(self._listening.items()):
            listener.error = error
            self.leave(listener, state)
            listener.rouse()
        for follower in list(self._following):
            self._end(follower, error)
        self._ring()

    def _end(self, follower: Follower, error: TransitError | None) -> None:
        self.remove(follower)
        follower.end(error)

    def stop(self) -> None:
        """Take no more waiters, and end the thread, also one that is about to end by itself."""
        leaf(self._changing, self._refuse)
        self.rouse()
        self._rouse_one()
        for worker in self._threads:
            worker.stop(_JOIN_S)

    def _refuse(self) -> None:
        self._closed = True

    def close(self) -> None:
        """Release every waiter."""
        self.stop()
        self._end_all(None)

    def abandon(self) -> None:
        """In a child made by fork(): the thread and the waiters are not here."""
        self._closed = True
        self._changing = threading.RLock()
        self._worker, self._threads = None, []
        self.callbacks = Callbacks()
        self._listening, self._following = {}, {}
        self._everything = set()
        source, self._source = self._source, None
        self.source_of_one = None
        if source is not None:
            source.close()


def _taken(found: set[T]) -> list[T]:
    """What is in a set that other threads add to; it is not there any more."""
    taken: list[T] = []
    while True:
        try:
            taken.append(found.pop())
        except KeyError:
            return taken
