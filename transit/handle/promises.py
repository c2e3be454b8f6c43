"""The futures of submitted appends.

Owns that each of them ends: with its result once what was written is as durable as asked, or with
the error that keeps it from that; also when it is made while the store closes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from transit.errors import TransitError

if TYPE_CHECKING:
    from concurrent.futures import Future

_Mark = TypeVar("_Mark")


class Promises(Generic[_Mark]):
    """Futures that wait, in the order in which they were made. Safe for threads.

    is_kept: whether what is written up to a mark is as durable as asked. closed: the error for a
    mark that will not be reached any more.
    """

    def __init__(
        self, is_kept: Callable[[_Mark], bool], closed: Callable[[], TransitError]
    ) -> None:
        self._is_kept = is_kept
        self._closed = closed
        self._waiting: deque[tuple[_Mark, Future[Any], object]] = deque()
        self._ended = False
        self._error: TransitError | None = None

    def __len__(self) -> int:
        """Count of futures that wait."""
        return len(self._waiting)

    def add(self, mark: _Mark, result: object, future: Future[Any]) -> None:
        """Have `future` end with `result` once `mark` is reached."""
        self._waiting.append((mark, future, result))
        if self._ended:
            # Whoever ended it may have looked before.
            self.end(self._error)

    def settle(self, count: int, error: TransitError | None) -> None:
        """End the first `count`: each with its result, or with `error`, None: the store closed."""
        for _ in range(count):
            try:
                mark, future, result = self._waiting.popleft()
            except IndexError:
                return
            if not future.set_running_or_notify_cancel():
                continue
            if self._is_kept(mark):
                future.set_result(result)
            else:
                future.set_exception(error or self._closed())

    def end(self, error: TransitError | None) -> None:
        """End all, those too that are added from now on."""
        self._error, self._ended = error, True
        while self._waiting:
            self.settle(1, error)
