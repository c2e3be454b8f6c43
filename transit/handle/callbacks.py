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
from concurrent.futures import Future, InvalidStateError
from concurrent.futures._base import FINISHED, PENDING
from threading import Condition
from typing import Any, Final, TypeVar

T = TypeVar("T")

_LOGGER: Final = logging.getLogger("concurrent.futures")
_MADE_OF: Final = frozenset(
    ("_condition", "_state", "_result", "_exception", "_waiters", "_done_callbacks")
)


class Promise(Future[T]):
    """A future whose end and whose callbacks are two steps. Used as any other.

    Most futures end before somebody waits for them, and then need no lock. What such a future is,
    one slot says, which is filled once, by one call into C: by its end, with its outcome; or by
    whoever waits for it or cancels it first, with what a future of `concurrent.futures` is made of.
    From then on it is one of those. What it is made of comes into its dictionary when it is asked
    for; so nothing here takes a lock that a signal handler could find taken.
    """

    _slot: tuple[T | None, BaseException | None] | dict[str, Any]
    _calls: deque[Callable[[Future[T]], object]] | None = None
    _ended = False

    def __init__(self) -> None:
        # What `Future` makes here is made by `__getattr__`.
        pass

    def __getattr__(self, name: str) -> Any:
        """What a future is made of, where it is asked for the first time."""
        if name not in _MADE_OF:
            raise AttributeError(name)
        own = self.__dict__
        slot = own.setdefault("_slot", _parts(PENDING, None, None))
        if type(slot) is tuple:
            slot = own.setdefault("_parts", _parts(FINISHED, *slot))
        for part, value in slot.items():
            own.setdefault(part, value)
        return own[name]

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """Have `fn` called with this future once it is done; now, if it is."""
        if self._calls is None:
            self.__dict__.setdefault("_calls", deque())
        assert self._calls is not None
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

    def done(self) -> bool:
        """As of any future."""
        slot = self.__dict__.get("_slot")
        return slot is not None and (type(slot) is tuple or super().done())

    def result(self, timeout: float | None = None) -> T:
        """As of any future."""
        slot = self.__dict__.get("_slot")
        if type(slot) is tuple and slot[1] is None:
            found: T = slot[0]
            return found
        try:
            return super().result(timeout)
        finally:
            # It has the error, and that has this frame: only the collector would free them.
            del self

    def set_result(self, result: T) -> None:
        """End with `result`; callbacks are called later."""
        if not self._is_first((result, None)):
            super().set_result(result)
        self._ended = True

    def set_exception(self, exception: BaseException | None) -> None:
        """End with `exception`; callbacks are called later."""
        if not self._is_first((None, exception)):
            super().set_exception(exception)
        self._ended = True

    def end(self, result: T | None, error: BaseException | None) -> bool:
        """End with `error`, or with `result`; whether there is something to call now.

        A future that was cancelled stays so.
        """
        slot = (result, error)
        # As `_is_first`.
        if self.__dict__.setdefault("_slot", slot) is slot:
            self._ended = True
            return bool(self._calls)
        try:
            if error is not None:
                self.set_exception(error)
            else:
                self.set_result(result)  # type: ignore[arg-type]
        except InvalidStateError:
            self.set_running_or_notify_cancel()
        return bool(self._calls)

    def _is_first(self, outcome: tuple[T | None, BaseException | None]) -> bool:
        """Whether it ends so before anybody waits for it."""
        return self.__dict__.setdefault("_slot", outcome) is outcome

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


def _parts(state: str, result: object, exception: BaseException | None) -> dict[str, Any]:
    """What a future of `concurrent.futures` is made of."""
    return {
        "_condition": Condition(),
        "_state": state,
        "_result": result,
        "_exception": exception,
        "_waiters": [],
        "_done_callbacks": [],
    }
