"""Waiting: calls of a store made for a program that runs in an event loop, and must not block it.

Owns threads in which the calls run: those with one key one after the other, in the order they were
made, so that what is read sees what was written before. What a call changes is done although its
caller is cancelled; the caller is told of the cancellation when it is. Works in asyncio, and by
anyio in trio.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, TypeVar

_T = TypeVar("_T")
_THREADS: Final = 8


class Workers:
    """A few threads. Safe for threads; begins anew in a child made by fork."""

    def __init__(self) -> None:
        self.forget()
        _all.add(self)

    def forget(self) -> None:
        """In a child made by fork: its parent's threads are not there."""
        self._lock = threading.Lock()
        self._queues: dict[Hashable, deque[tuple[Future[Any], Callable[[], Any]]]] = {}
        self._pool: ThreadPoolExecutor | None = None

    def submit(self, key: Hashable, call: Callable[[], _T]) -> Future[_T]:
        """Run `call` after those of the same key that were submitted before."""
        promise: Future[_T] = Future()
        with self._lock:
            queue = self._queues.get(key)
            if queue is not None:
                queue.append((promise, call))
                return promise
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="transit-adapter")
            self._queues[key] = deque([(promise, call)])
            try:
                self._pool.submit(self._drain, key)
            except BaseException:
                # The interpreter is ending.
                del self._queues[key]
                raise
        return promise

    async def ask(self, key: Hashable, call: Callable[[], _T]) -> _T:
        """What `call` gives. A caller that is cancelled does not wait for it."""
        return await _result(self.submit(key, call))

    async def change(self, key: Hashable, call: Callable[[], _T]) -> _T:
        """What `call` gives, which is done whatever becomes of the caller.

        A caller that is cancelled is told so when it is done; an error is not told then.
        """
        promise = self.submit(key, call)
        cancelled: BaseException | None = None
        while True:
            try:
                found = await _result(promise)
                break
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
                if promise.done():
                    break
            except BaseException:
                if cancelled is not None:
                    break
                raise
        if cancelled is not None:
            raise cancelled
        return found

    def close(self) -> None:
        """Wait for what was submitted; the next call begins anew."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True)

    def _drain(self, key: Hashable) -> None:
        while True:
            with self._lock:
                queue = self._queues[key]
                if not queue:
                    del self._queues[key]
                    return
                promise, call = queue.popleft()
            try:
                found = call()
            except BaseException as error:
                promise.set_exception(error)
                # The error holds this frame, and so the promise.
                error = None  # type: ignore[assignment]
            else:
                promise.set_result(found)
            promise, call = None, None  # type: ignore[assignment]


async def _result(promise: Future[_T]) -> _T:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        # Another loop than asyncio's: its stack brings anyio along.
        import anyio.to_thread

        return await anyio.to_thread.run_sync(promise.result)
    # Shielded: cancelling must not reach a call that has not begun.
    return await asyncio.shield(asyncio.wrap_future(promise, loop=loop))


_all: weakref.WeakSet[Workers] = weakref.WeakSet()


def _forget_all() -> None:
    for each in list(_all):
        each.forget()


os.register_at_fork(after_in_child=_forget_all)
