"""What a hub waits for: nothing but itself, a store's folder, what others publish, or both.

Owns when it is time to look again. What is looked at, and which waiters are told, is for
`transit.handle.hub`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from transit.errors import NotFoundError
from transit.format.names import Places
from transit.watches import Latch, Watcher

# A store that only this process writes to says itself when there is more.
LONG_S: Final = 3600.0


class Source(Protocol):
    """Something that a hub waits on; `rouse` and `close` are for any thread."""

    def wait(self, timeout_s: float = LONG_S) -> None:
        """Return when there may be more to see, when roused, or after `timeout_s` or a while."""

    def rouse(self) -> None:
        """End the wait, or the one that comes next."""

    def close(self) -> None:
        """Let go of what is waited on."""


class Alone:
    """Waits for this process alone."""

    def __init__(self) -> None:
        self._latch = Latch()

    def wait(self, timeout_s: float = LONG_S) -> None:
        """See `Source.wait`."""
        self._latch.wait(timeout_s)

    def rouse(self) -> None:
        """See `Source.rouse`."""
        self._latch.rouse()

    def close(self) -> None:
        """See `Source.close`; there is nothing to let go of."""


class Folder:
    """Waits for what other processes write to a store's folder.

    check_place: raises when the folder is not at its path any more.
    """

    def __init__(self, root: str, check_place: Callable[[], None]) -> None:
        self._check_place = check_place
        try:
            self._watcher = Watcher(Places(root).wal)
        except NotFoundError:
            check_place()
            raise

    def wait(self, timeout_s: float = LONG_S) -> None:
        """See `Source.wait`; the while is `Watcher.POLL_S`."""
        self._watcher.wait(timeout_s)
        self._check_place()

    def rouse(self) -> None:
        """See `Source.rouse`."""
        self._watcher.rouse()

    def close(self) -> None:
        """See `Source.close`."""
        self._watcher.close()


class Published:
    """Waits for what others publish, and beside that for what `beside` waits for.

    refresh: asks the remote; done at once, and then once in `interval_s` seconds.
    """

    def __init__(
        self, refresh: Callable[[], int], interval_s: float, beside: Alone | Folder
    ) -> None:
        self._refresh = refresh
        self._interval_s = interval_s
        self._beside = beside
        self._next = 0.0

    def wait(self, timeout_s: float = LONG_S) -> None:
        """See `Source.wait`."""
        left = self._next - time.monotonic()
        if left > 0:
            self._beside.wait(min(left, timeout_s))
        if time.monotonic() >= self._next:
            self._refresh()
            self._next = time.monotonic() + self._interval_s

    def rouse(self) -> None:
        """See `Source.rouse`."""
        self._beside.rouse()

    def close(self) -> None:
        """See `Source.close`."""
        self._beside.close()
