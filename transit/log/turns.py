"""Turns: which thread, and which of several processes, may write to a store now.

Owns the lock between threads, taken first, and the one between processes. A thread has one turn at
a time: what it wants in the middle of it is refused.

A signal handler may interrupt the thread that has the turn. There is one place where the turn then
ends with the lock between processes still held. The next turn of this process lets go of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from threading import get_ident
from typing import TypeVar

from transit.guards import TURN, Order, inside, reentrant
from transit.locks import Lock

T = TypeVar("T")


class Turn:
    """A thread's turn to write: `lock`, and in a shared store `shared` too.

    settle: called when it begins, before others are looked at.
    """

    def __init__(self, order: Order, shared: SharedTurn | None, settle: Callable[[], None]) -> None:
        self.mark = order.mark(TURN)
        self.lock = threading.RLock()
        self.shared = shared
        self._settle = settle

    def run(self, work: Callable[[], T]) -> T:
        """Do `work` in a turn; what it returns. `ReentrantCallError` in the middle of another."""
        me = get_ident()
        before = inside.get(me, 0)
        if before >= self.mark:
            raise reentrant()
        try:
            # No call before it, so that an exception finds it set whenever it is taken back.
            inside[me] = self.mark
            with self.lock:
                self._settle()
                if self.shared is None:
                    return work()
                with self.shared:
                    return work()
        finally:
            if before:
                inside[me] = before
            else:
                del inside[me]


class SharedTurn:
    """A context in which no other process writes, and what others wrote is known.

    The caller holds the writer's lock. Entering calls `check`, which raises what stands against
    it, takes `turns` (`LockedError` after `timeout_s` seconds), then calls `catch_up`. The thread
    that has the turn may enter again.
    """

    def __init__(
        self,
        turns: Lock,
        timeout_s: float,
        check: Callable[[], None],
        catch_up: Callable[[], None],
    ) -> None:
        self._turns = turns
        self._check = check
        self._timeout_s = timeout_s
        self._catch_up = catch_up
        self._depth = 0
        self._owner = 0

    def __enter__(self) -> None:
        try:
            self._check()
        except BaseException:
            # A writer that may not write any more must not keep other processes from writing.
            self._let_go()
            raise
        thread = threading.get_ident()
        if self._depth and self._owner == thread:
            self._depth += 1
            return
        # Another thread's turn that has not ended was interrupted: the writer's lock is ours.
        try:
            self._take_turn()
            self._owner, self._depth = thread, 1
        except BaseException:
            self._let_go()
            raise

    def _take_turn(self) -> None:
        self._turns.acquire(timeout_s=self._timeout_s)
        self._catch_up()

    def _let_go(self) -> None:
        self._depth = 0
        self._turns.release()

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth <= 0:
            self._let_go()
