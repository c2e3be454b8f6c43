"""Workers: threads that bodies run in.

A body that never ends must keep neither the runner nor the process: the threads are daemons, and
one that is stuck is only missing from the pool.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

THREADS_MAX: Final = 32

Work = Callable[[], None]


class Workers:
    """At most `count` threads, made when they are needed, that do what they are given in order.

    One thread is woken at a time, and wakes the next where more is left than it takes: bodies are
    short as a rule, and for several that are due at once it has done the second before another
    thread would have begun.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._given: deque[Work] = deque()
        # True wakes a thread that waits, and False ends it.
        self._wakes: SimpleQueue[bool] = SimpleQueue()
        self._made = 0
        # How many threads wait and were not woken; whether one was that has not looked yet.
        self._waiting = 0
        self._is_waking = False
        self._is_closed = False

    def give(self, work: Work, *, is_nested: bool = False) -> None:
        """Have this done by a thread. It must not raise.

        is_nested: a body waits for it, and does nothing meanwhile: so it gets a thread of its own,
        where it would wait for ever for the one that the body has.
        """
        if is_nested:
            threading.Thread(target=work, name="transit-ticks-nested", daemon=True).start()
            return
        with self._lock:
            self._given.append(work)
            self._wake()

    def close(self) -> None:
        """Let the threads end once they have done what they were given."""
        with self._lock:
            self._is_closed = True
            waiting, self._waiting = self._waiting, 0
        for _ in range(waiting):
            self._wakes.put(False)

    def _wake(self) -> None:
        """Have one more thread look at what is given; with the lock held."""
        if self._is_waking:
            return
        if self._waiting:
            self._waiting -= 1
            self._wakes.put(True)
        elif self._made < self._count:
            name = f"transit-ticks-{self._made + 1}"
            try:
                threading.Thread(target=self._work, name=name, daemon=True).start()
            except RuntimeError:
                # The process has as many threads as it may. Those that are here will do it.
                if self._made:
                    return
                self._given.pop()
                raise
            self._made += 1
        else:
            # A thread that has done its work looks by itself.
            return
        self._is_waking = True

    def _work(self) -> None:
        is_woken = True
        while (work := self._taken(is_woken=is_woken)) is not None:
            is_woken = False
            work()
            # Nothing of the last body is kept while waiting for the next.
            del work

    def _taken(self, *, is_woken: bool) -> Work | None:
        """The next work, once there is any; None for no more."""
        while True:
            with self._lock:
                if is_woken:
                    self._is_waking = False
                if self._given:
                    work = self._given.popleft()
                    if self._given:
                        self._wake()
                    return work
                if self._is_closed:
                    self._made -= 1
                    return None
                self._waiting += 1
            is_woken = self._wakes.get()
            if not is_woken:
                with self._lock:
                    self._made -= 1
                return None
