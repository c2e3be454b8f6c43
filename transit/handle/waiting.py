"""Waiting for records: of this process by a condition, of others by watching the WAL's folder."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import Protocol

from transit.errors import NotFoundError
from transit.format.names import Places
from transit.log.catalog import StreamState
from transit.log.writer import Writer
from transit.watches import Watcher


class Waiter(Protocol):
    """Something a reader waits on; for one thread."""

    def wait(self, timeout_s: float, state: StreamState, offset: int) -> None:
        """Return when the stream may reach past `offset`, or after about `timeout_s` seconds."""

    def close(self) -> None:
        """Stop waiting."""


class Bell:
    """Rung by a writer after each append while there are listeners.

    A signal handler may interrupt a thread that rings or waits. So nothing here is a condition,
    which it could leave locked. Each listener waits for a lock of its own, and ringing lets it go.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._changing = threading.RLock()
        self._listeners: tuple[Listener, ...] = ()
        self.closed = False

    def join(self) -> BellWaiter:
        """Something to wait on."""
        return BellWaiter(self)

    def listen(self, listener: Listener) -> None:
        """Ring for `listener` too; without any the writer does not ring."""
        with self._changing:
            self._listeners = (*self._listeners, listener)
            self._writer.on_append = self.ring

    def leave(self, listener: Listener) -> None:
        """Ring for `listener` no more."""
        with self._changing:
            self._listeners = tuple(each for each in self._listeners if each is not listener)
            self._writer.on_append = self.ring if self._listeners else None

    def ring(self) -> None:
        """Wake all who wait."""
        for listener in self._listeners:
            listener.rouse()

    def close(self) -> None:
        """Let everybody go."""
        self.closed = True
        self.ring()


class Listener:
    """One thread that waits for a bell."""

    def __init__(self) -> None:
        self._quiet = threading.Lock()
        self._quiet.acquire()

    def rouse(self) -> None:
        """End the wait, or the one that comes next."""
        # Two who ring at once may both find it locked.
        with contextlib.suppress(RuntimeError):
            if self._quiet.locked():
                self._quiet.release()

    def wait(self, timeout_s: float) -> None:
        """Return when roused since the last time, or after `timeout_s` seconds."""
        self._quiet.acquire(timeout=max(0.0, timeout_s))


class BellWaiter:
    """Waits for records of this process."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._listener = Listener()
        bell.listen(self._listener)

    def wait(self, timeout_s: float, state: StreamState, offset: int) -> None:
        """As `Waiter`."""
        if state.next_offset <= offset and not self._bell.closed:
            self._listener.wait(min(timeout_s, Watcher.POLL_S))

    def close(self) -> None:
        """As `Waiter`."""
        self._bell.leave(self._listener)


class FolderWatch:
    """One watch of a store's folder for all of this process who wait for records of any process.

    One of them waits for the folder and then wakes the others, who wait for that: a user may have
    few watches. Whoever leaves wakes all, so that another takes the place.

    check_place: raises when the folder is not at its path any more.
    """

    def __init__(self, root: str, check_place: Callable[[], None]) -> None:
        self._folder = Places(root).wal
        self._check_place = check_place
        self._changing = threading.Lock()
        # Held by the one who waits for the folder.
        self._leading = threading.Lock()
        self._watcher: Watcher | None = None
        self._listeners: tuple[Listener, ...] = ()
        self._closed = False

    def join(self) -> FolderWaiter:
        """Something to wait on."""
        listener = Listener()
        with self._changing:
            if self._watcher is None and not self._closed:
                self._watcher = self._watch()
                if self._closed:
                    self._end()
            self._listeners = (*self._listeners, listener)
        return FolderWaiter(self, listener)

    def _watch(self) -> Watcher:
        try:
            return Watcher(self._folder)
        except NotFoundError:
            self._check_place()
            raise

    def leave(self, listener: Listener) -> None:
        """Wake `listener` no more; the last to leave ends the watch."""
        with self._changing:
            self._listeners = tuple(each for each in self._listeners if each is not listener)
            if not self._listeners:
                self._end()

    def wait(self, timeout_s: float, listener: Listener) -> None:
        """Return after a change, or after `timeout_s` seconds or a moment, whichever is first."""
        watcher = self._watcher
        if watcher is None:
            return
        if self._leading.acquire(blocking=False):
            try:
                watcher.wait(timeout_s)
            finally:
                self._leading.release()
                self._ring()
        else:
            listener.wait(min(timeout_s, watcher.POLL_S))
        self._check_place()

    def _ring(self) -> None:
        for listener in self._listeners:
            listener.rouse()

    def _end(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()

    def close(self) -> None:
        """End the watch, whoever waits: they are let go."""
        # Without a lock: in a child made by fork() the thread that held it is not there.
        self._closed = True
        self._end()
        self._ring()


class FolderWaiter:
    """Waits for records of any process.

    May be closed while another thread waits, as when a task that follows is cancelled.
    """

    def __init__(self, watch: FolderWatch, listener: Listener) -> None:
        self._watch = watch
        self._listener = listener

    def wait(self, timeout_s: float, state: StreamState, offset: int) -> None:
        """As `Waiter`; the stream is looked at by the caller."""
        self._watch.wait(timeout_s, self._listener)

    def close(self) -> None:
        """As `Waiter`."""
        self._listener.rouse()
        self._watch.leave(self._listener)


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
