"""What could not be recorded: counted, told once, and never the program's affair."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from typing import Final

_KEPT: Final = 16


class TraceWarning(UserWarning):
    """Something is not recorded, and the program goes on."""


class Dropped:
    """The events of this process that could not be recorded.

    count: how many. errors: why, of the last 16, as text.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def __repr__(self) -> str:
        return f"<transit.trace.dropped: {self.count} events>"

    def __int__(self) -> int:
        return self.count

    def __bool__(self) -> bool:
        return self.count > 0

    def reset(self) -> None:
        """Count from 0 again, and warn again."""
        self.count = 0
        self.errors: deque[str] = deque(maxlen=_KEPT)

    def add(self, run: str, error: BaseException) -> None:
        """An event of the run was not recorded; warns of the first."""
        with self._lock:
            self.count += 1
            first = self.count == 1
            self.errors.append(f"{run}: {error!r}")
        if first:
            warn(f"{run}: an event is not recorded: {error}; see transit.trace.dropped")


dropped: Final = Dropped()
_told: set[str] = set()


def warn(message: str, key: str = "") -> None:
    """Warn, once for each `key` that is not empty; never raises, not as an error either."""
    if key:
        if key in _told:
            return
        _told.add(key)
    try:
        warnings.warn(message, TraceWarning, stacklevel=3)
    except Exception:
        # Warnings are errors here. It is counted all the same.
        return
