"""Calls made several at once, by threads that end with them.

Owns that the calls are made where there can be no threads too: when the interpreter ends, or the
process has as many as it may. The thread that asks makes them itself then, one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Pool:
    """Up to `threads_max` threads; at the end of a `with` block all calls that began have ended."""

    def __init__(self, threads_max: int, name: str) -> None:
        # Loaded here: it brings logging along, and only a store with a remote needs it.
        from concurrent.futures import Future, ThreadPoolExecutor

        self._executor = ThreadPoolExecutor(threads_max, name)
        self._new_future = Future

    def submit(self, call: Callable[[], _Value]) -> Future[_Value]:
        """Have `call` made; what becomes of it."""
        task: _Task[_Value] = _Task(call, self._new_future())
        try:
            self._executor.submit(task.run)
        except RuntimeError:
            # It may be waiting all the same for threads that are there: one of us makes it.
            task.run()
        return task.future

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


class _Task(Generic[_Value]):
    def __init__(self, call: Callable[[], _Value], future: Future[_Value]) -> None:
        self.future = future
        self._calls = [call]

    def run(self) -> None:
        try:
            call = self._calls.pop()
        except IndexError:
            return
        try:
            result = call()
        except BaseException as error:
            # Raised again in the thread that asks for the result.
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


def at_once(call: Callable[[_Key], _Value], keys: Sequence[_Key], threads_max: int) -> list[_Value]:
    """`call` of each key, several at once, in order."""
    if len(keys) < 2:
        return [call(key) for key in keys]
    with Pool(min(threads_max, len(keys)), "transit-fetch") as pool:
        futures = [pool.submit(partial(call, key)) for key in keys]
        return [future.result() for future in futures]
