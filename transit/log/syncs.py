"""Group commit: threads that wait for the same WAL file to be durable share one sync.

Owns who leads a sync and who waits for it. The first to come leads; those who come meanwhile wait,
and one of them leads the next sync, which covers all that was written until then. After a failed
sync nobody leads again: whoever waits learns that its outcome is unknown.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from transit.errors import OutcomeUnknownError
from transit.log.wal import Wal
from transit.log.writes import outcome_unknown


class GroupSync:
    """Syncs that threads share; `sync` makes a file durable, `check` raises what forbids it."""

    def __init__(self, sync: Callable[[Wal], None], check: Callable[[], None]) -> None:
        self._sync = sync
        self._check = check
        self._turn = threading.Condition(threading.Lock())
        self._syncing = False
        self._failure: OutcomeUnknownError | None = None

    def reach(self, wal: Wal, stop: int) -> None:
        """Return when `wal` is durable up to `stop`; `OutcomeUnknownError` after a failed sync."""
        while True:
            with self._turn:
                while self._syncing and wal.durable < stop:
                    self._turn.wait()
                if wal.durable >= stop:
                    return
                if self._failure is not None:
                    raise outcome_unknown(str(self._failure.__cause__), self._failure.in_doubt)
                self._check()
                self._syncing = True
            try:
                self._sync(wal)
            except OutcomeUnknownError as error:
                self._failure = error
                raise
            finally:
                with self._turn:
                    self._syncing = False
                    self._turn.notify_all()
