"""Threads that wait on a server for tasks of event loops.

A task must not keep its loop from the others, and a request that waits does. So a few threads make
these requests, for all tasks of a connection. Where there are more tasks than threads, each request
waits for a shorter time, so that all get their turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

T = TypeVar("T")

WAIT_S: Final = 20.0
"""How long the server is asked to wait at once."""
THREADS_MAX: Final = 16
_SHORT_WAIT_S: Final = 0.5

_Job = tuple[Callable[[], Any], "AbstractEventLoop", "Future[Any]"]


class Waiters:
    """Threads that make requests for tasks of event loops; begun when they are needed."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._count = 0
        self._asked = 0

    @property
    def wait_s(self) -> float:
        """How long a request may wait, so that all get their turn."""
        return WAIT_S if self._asked <= THREADS_MAX else _SHORT_WAIT_S

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns, done in a thread."""
        # Loaded here: only programs with an event loop need it, and it is there then.
        import asyncio

        loop = asyncio.get_running_loop()
        future: Future[T] = loop.create_future()
        with self._lock:
            self._asked += 1
            if self._asked > self._count < THREADS_MAX:
                # A daemon: a request that waits must not keep the interpreter from ending.
                threading.Thread(target=self._run, name="transit-follow", daemon=True).start()
                self._count += 1
        try:
            self._jobs.put((work, loop, future))
            return await future
        finally:
            with self._lock:
                self._asked -= 1

    def close(self) -> None:
        """End the threads once what they do is done."""
        for _ in range(THREADS_MAX):
            self._jobs.put(None)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, loop, future = job
            if future.cancelled():
                continue
            try:
                done = partial(_set_result, future, work())
            except Exception as error:
                # Whatever it is, it is the task's.
                done = partial(_set_error, future, error)
            try:
                loop.call_soon_threadsafe(done)
            except RuntimeError:
                # The loop was closed: nobody waits.
                continue


def _set_result(future: Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _set_error(future: Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
