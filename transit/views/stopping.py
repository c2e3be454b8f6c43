"""Whether somebody still waits for what is being worked out, and until when.

Owns the word that goes from who waits to the thread that works for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stop:
    """Whether somebody still waits. deadline: by `time.monotonic`."""

    def __init__(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._is_set = False
        self._ends: Callable[[], None] | None = None

    @property
    def is_late(self) -> bool:
        """Whether its time has passed."""
        return time.monotonic() >= self.deadline

    @property
    def is_set(self) -> bool:
        """Whether nobody waits any more."""
        return self._is_set

    def set(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._is_set = True
            if self._ends is not None:
                self._ends()

    @contextmanager
    def ending(self, ends: Callable[[], None]) -> Iterator[None]:
        """Call `ends` when nobody waits any more, also where that is so already."""
        with self._lock:
            self._ends = ends
            if self._is_set:
                ends()
        try:
            yield
        finally:
            with self._lock:
                self._ends = None
