"""Threads that are started wherever a store is used, also while the process ends.

Owns how many are on their way. CPython 3.11 crashes when the interpreter ends while a thread is
(its state is freed, and then used), so the end of the process waits for those, and from then on
none is started, as in Python 3.12.
"""

from __future__ import annotations

import atexit
import os
import time
from collections import deque
from typing import Final

# How long the end of the process waits for threads that are on their way.
_WAIT_S: Final = 5.0


class Launches:
    """Counts threads that were started and do not run yet."""

    def __init__(self) -> None:
        # One entry a thread. Its methods are one call into C each, so that signal handlers and
        # other threads may come in between.
        self._starting: deque[None] = deque()
        self._is_ending = False

    def begin(self) -> bool:
        """A thread is about to be started; False where none is to be any more."""
        self._starting.append(None)
        if self._is_ending:
            self._starting.pop()
            return False
        return True

    def done(self) -> None:
        """It runs, or could not be started. Said as often as `begin` was True."""
        self._starting.pop()

    def end(self, wait_s: float = _WAIT_S) -> None:
        """Let none be started any more, and wait for those that are on their way."""
        self._is_ending = True
        deadline = time.monotonic() + wait_s
        while self._starting and time.monotonic() < deadline:
            time.sleep(0.001)

    def forget(self) -> None:
        """In a child made by fork: the parent's threads are not here."""
        self._starting.clear()


launches: Final = Launches()
atexit.register(launches.end)
os.register_at_fork(after_in_child=launches.forget)
