"""Callbacks: functions that users add to a future, called once it is done, and their thread.

Owns where these functions run and what becomes of their errors. The thread that makes records
durable ends futures, and calls no function of the user's. Another thread does, which holds no
lock, so that a function may use the store, and close it. What a function raises is reported as
`concurrent.futures` reports it, and affects nothing else.

This module loads `concurrent.futures` and logging: only programs that call `submit` need them.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

T = TypeVar("T")

_LOGGER: Final = logging.getLogger("concurrent.futures")


class Promise(Future[T]):
    """A future whose end and whose callbacks are two steps. Used as any other."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: deque[Callable[[Future[T]], object]] = deque()
        self._ended = False

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Have `fn` called with this future once it is done; now, if it is."""
        self._calls.append(fn)
        if self._ended:
            self._call()

    def cancel(self) -> bool:
        """As of any future: the result is not wanted. What was appended stays appended."""
        if not super().cancel():
            return False
        self._ended = True
        self._call()
        return True

    def set_result(self, result: T) -> None:
        """End with `result`; callbacks are called later."""
        super().set_result(result)
        self._ended = True

    def set_exception(self, exception: BaseException | None) -> None:
        """End with `exception`; callbacks are called later."""
        super().set_exception(exception)
        self._ended = True

    @property
    def is_to_call(self) -> bool:
        """Whether there is something to call."""
        return bool(self._calls)

    def call_all(self) -> None:
        """Call what is to be called; what that raises, be it an exit, ends here."""
        while self._calls:
            try:
                self._call()
            except BaseException as error:
                # A logging handler may raise too. Then there is no one left to tell.
                with contextlib.suppress(BaseException):
                    self._report(error)

    def _call(self) -> None:
        # Each is taken by one thread, whichever comes first.
        while self._calls:
            try:
                call = self._calls.popleft()
            except IndexError:
                return
            try:
                call(self)
            except Exception as error:
                self._report(error)

    def _report(self, error: BaseException) -> None:
        _LOGGER.error("exception calling callback for %r", self, exc_info=error)
