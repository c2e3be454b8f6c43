"""Turns: who of several processes may write to a shared store now.

Owns the order of the two locks: the writer's, between threads, then the one between processes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from transit.disk import Lock


class SharedTurn:
    """A context in which no other thread or process writes, and what others wrote is known.

    Entering takes `lock`, then `turns` (`LockedError` after `timeout_s` seconds), then calls
    `catch_up`. The thread that holds the turn may enter again.
    """

    def __init__(
        self,
        lock: threading.RLock,
        turns: Lock,
        timeout_s: float,
        catch_up: Callable[[], None],
    ) -> None:
        self._lock = lock
        self._turns = turns
        self._timeout_s = timeout_s
        self._catch_up = catch_up
        self._depth = 0

    def __enter__(self) -> None:
        self._lock.acquire()
        try:
            if self._depth == 0:
                self._take_turn()
            self._depth += 1
        except BaseException:
            self._lock.release()
            raise

    def _take_turn(self) -> None:
        self._turns.acquire(timeout_s=self._timeout_s)
        try:
            self._catch_up()
        except BaseException:
            self._turns.release()
            raise

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._turns.release()
        self._lock.release()
