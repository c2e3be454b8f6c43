"""The futures of submitted appends.

Owns that each of them ends: with its result once what was written is as durable as asked, or with
the error that keeps it from that; also when it is made while the store closes. Owns that its
callbacks are called then, by a thread for which the store never waits while it holds a lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from transit.errors import TransitError
from transit.handle.background import Worker

if TYPE_CHECKING:
    from transit.handle.callbacks import Promise

_Mark = TypeVar("_Mark")
# How long a closing store waits for a callback that is running.
_JOIN_S: Final = 5.0


class Due(Protocol):
    """Something that has callbacks to run."""

    def call_all(self) -> None:
        """Run them; what they raise ends here."""


class Callbacks:
    """Runs the callbacks of futures that ended, and of watches. Safe for threads."""

    def __init__(self) -> None:
        self._due: deque[Due] = deque()
        self._worker = Worker("transit-callbacks", self._call, _nothing)

    def add(self, due: Due) -> None:
        """Have the callbacks of a future that ended, or of a watch, run after the next `wake`."""
        self._due.append(due)

    def wake(self) -> None:
        """Have them run; here, if there can be no thread for it. The caller holds no lock."""
        if self._due and not self._worker.wake_now():
            self._call()

    def _call(self) -> None:
        while self._due:
            try:
                due = self._due.popleft()
            except IndexError:
                return
            due.call_all()

    def close(self) -> None:
        """Run the callbacks that are left, and end the thread, after a callback that is running.

        Waits for a callback that is running, unless it is the one that calls this.
        """
        self._worker.stop(_JOIN_S)
        self._call()


class Promises(Generic[_Mark]):
    """Futures that wait, in the order in which they were made. Safe for threads.

    is_kept: whether what is written up to a mark is as durable as asked. is_pending: whether it is
    still to be written. closed: the error for a mark that will not be reached any more.
    callbacks: takes the futures that have some.
    """

    def __init__(
        self,
        is_kept: Callable[[_Mark], bool],
        is_pending: Callable[[_Mark], bool],
        closed: Callable[[], TransitError],
        callbacks: Callbacks,
    ) -> None:
        self._is_kept = is_kept
        self._is_pending = is_pending
        self._closed = closed
        self._callbacks = callbacks
        self._waiting: deque[tuple[_Mark, Promise[Any], Callable[[], object]]] = deque()
        self._ended = False
        self._error: TransitError | None = None

    def __len__(self) -> int:
        """Count of futures that wait."""
        return len(self._waiting)

    def add(self, mark: _Mark, result: Callable[[], object], future: Promise[Any]) -> None:
        """Have `future` end with what `result` returns once `mark` is reached."""
        self._waiting.append((mark, future, result))
        if self._ended:
            # The thread that ended it may have looked before.
            self.end(self._error)

    def settle(self, count: int, error: TransitError | None) -> None:
        """End the first `count`: each with its result, or with `error`, None: the store closed."""
        for _ in range(count):
            try:
                mark, future, result = self._waiting.popleft()
            except IndexError:
                return
            if not self._ended and self._is_pending(mark):
                self._waiting.append((mark, future, result))
                continue
            if future.done():
                continue
            if self._is_kept(mark):
                is_to_call = future.end(result(), None)
            else:
                is_to_call = future.end(None, error or self._closed())
            if is_to_call:
                self._callbacks.add(future)

    def end(self, error: TransitError | None) -> None:
        """End all, those too that are added from now on."""
        self._error, self._ended = error, True
        while self._waiting:
            self.settle(1, error)


def _nothing(error: BaseException) -> None:
    pass
