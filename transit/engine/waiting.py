"""Waiting for records: of this process by a condition, of others by watching the WAL's folder."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

from transit.disk import Watcher
from transit.format.names import WAL_DIR
from transit.log.catalog import StreamState
from transit.log.writer import Writer


class Waiter(Protocol):
    """Something a reader waits on; for one thread."""

    def wait(self, timeout_s: float, state: StreamState, offset: int) -> None:
        """Return when the stream may reach past `offset`, or after about `timeout_s` seconds."""

    def close(self) -> None:
        """Stop waiting."""


class Bell:
    """Rung by a writer after each append while somebody listens."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._rung = threading.Condition()
        self._listeners = 0
        self.closed = False

    def listen(self, change: int) -> None:
        """One listener more, or less: without any the writer does not ring."""
        with self._rung:
            self._listeners += change
            self._writer.on_append = self.ring if self._listeners else None

    def ring(self) -> None:
        """Wake all who wait."""
        with self._rung:
            self._rung.notify_all()

    def wait(self, timeout_s: float, state: StreamState, offset: int) -> None:
        """Return when it is rung, unless the stream already reaches past `offset`."""
        with self._rung:
            if state.next_offset <= offset and not self.closed:
                self._rung.wait(min(timeout_s, Watcher.POLL_S))

    def close(self) -> None:
        """Let everybody go."""
        self.closed = True
        self.ring()


class BellWaiter:
    """Waits for records of this process."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        bell.listen(1)

    def wait(self, timeout_s: float, state: StreamState, offset: int) -> None:
        """As `Waiter`."""
        self._bell.wait(timeout_s, state, offset)

    def close(self) -> None:
        """As `Waiter`."""
        self._bell.listen(-1)


class FolderWaiter:
    """Waits for records of any process."""

    def __init__(self, root: str) -> None:
        self._watcher = Watcher(os.path.join(root, WAL_DIR))

    def wait(self, timeout_s: float, state: StreamState, offset: int) -> None:
        """As `Waiter`; the stream is looked at by the caller."""
        self._watcher.wait(timeout_s)

    def close(self) -> None:
        """As `Waiter`."""
        self._watcher.close()


class RemoteWaiter:
    """Waits for what others publish, and for what comes to a folder if `folder` watches one."""

    def __init__(
        self, refresh: Callable[[], int], interval_s: float, folder: Waiter | None
    ) -> None:
        self._refresh = refresh
        self._interval_s = interval_s
        self._folder = folder
        self._next = 0.0

    def wait(self, timeout_s: float, state: StreamState, offset: int) -> None:
        """As `Waiter`; asks the remote once an interval."""
        left = self._next - time.monotonic()
        if left > 0:
            pause_s = min(left, timeout_s)
            if self._folder is None:
                time.sleep(pause_s)
            else:
                self._folder.wait(pause_s, state, offset)
        if time.monotonic() >= self._next:
            self._refresh()
            self._next = time.monotonic() + self._interval_s

    def close(self) -> None:
        """As `Waiter`."""
        if self._folder is not None:
            self._folder.close()
