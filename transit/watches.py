"""Waking up: when another thread says so, and when a file in a folder changes.

A folder is watched by inotify(7) on Linux and kqueue(2) on macOS. Threads wake each other by a lock
that is let go, or by a byte in a pipe where one waits for a folder too. Neither is a condition,
which a signal handler that interrupts a thread could leave locked.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from typing import Final

from transit.descriptors import NONE, Descriptor, lasting
from transit.disk import list_folder
from transit.translation import translated

# IN_MODIFY | IN_MOVED_TO | IN_CREATE, from <sys/inotify.h>.
_IN_CHANGES: Final = 0x2 | 0x80 | 0x100


class Latch:
    """What one thread waits for, and any thread may release."""

    def __init__(self) -> None:
        self._quiet = threading.Lock()
        self._quiet.acquire()

    def rouse(self) -> None:
        """End the wait, or the one that comes next."""
        if self._quiet.locked():
            try:
                self._quiet.release()
            except RuntimeError:
                # Two threads that rouse at once may both find it locked.
                return

    def wait(self, timeout_s: float) -> bool:
        """Return when roused since the last time, True, or after `timeout_s` seconds, False."""
        return self._quiet.acquire(timeout=max(0.0, min(timeout_s, threading.TIMEOUT_MAX)))


class Watcher:
    """Wakes up when a file in one folder changes; for one thread at a time.

    Where the system gives no watch, because there are too many or it has none, it is blind: it
    wakes up every `BLIND_S` seconds, and the thread that waits looks for itself.
    """

    # Watches may drop events under load; no thread waits longer than this for a lost one.
    POLL_S: Final = 0.1
    BLIND_S: Final = 0.02

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._files: dict[str, Descriptor] = {}
        self._latch = Latch()
        # A pipe: read by the thread that waits, written by those that rouse it.
        self._heard = self._bell = NONE
        self.is_blind = False
        with translated(folder):
            # Whatever else is wrong, a folder that is not there is not watched.
            os.stat(folder)
            try:
                self._heard, self._bell = map(lasting, os.pipe())
                os.set_blocking(self._heard.number, False)
                os.set_blocking(self._bell.number, False)
                if sys.platform == "darwin":
                    self._kqueue = select.kqueue()
                else:
                    self._files[folder] = lasting(_inotify(folder))
            except (OSError, ImportError, AttributeError):
                # No more instances, watches or open files; no such call; no ctypes.
                self.is_blind = True

    def wait(self, timeout_s: float) -> None:
        """Return after a change, when roused, or after `timeout_s` or `POLL_S` seconds."""
        timeout_s = max(0.0, min(timeout_s, self.POLL_S))
        if self.is_blind:
            self._latch.wait(min(timeout_s, self.BLIND_S))
            return
        with translated(self._folder):
            if sys.platform == "darwin":
                self._wait_for_queue(timeout_s)
            else:
                self._wait(self._files.get(self._folder, NONE), self._heard, timeout_s)

    def rouse(self) -> None:
        """End the wait, or the one that comes next."""
        self._latch.rouse()
        bell = self._bell
        if bell is not NONE:
            # A full pipe wakes as well. One that other code closed does not: then a moment passes.
            with contextlib.suppress(OSError):
                os.write(bell.number, b"!")

    def _wait(self, held: Descriptor, heard: Descriptor, timeout_s: float) -> None:
        # The numbers stay the watch's while they are referred to here, also after a close.
        if held is NONE:
            return
        poll = select.poll()
        poll.register(held.number, select.POLLIN)
        poll.register(heard.number, select.POLLIN)
        for number, _ in poll.poll(timeout_s * 1000):
            # What changed does not matter: the reader looks at the log itself.
            with contextlib.suppress(BlockingIOError):
                os.read(number, 64 * 1024)

    def _wait_for_queue(self, timeout_s: float) -> None:
        # kqueue reports writes on open files only, and new names on the folder.
        if sys.platform == "darwin":
            kqueue = self._kqueue
            kqueue.control([select.kevent(self._heard.number, select.KQ_FILTER_READ)], 0)
            for name in [".", *list_folder(self._folder)[-2:]]:
                if name not in self._files:
                    path = os.path.join(self._folder, name)
                    self._files[name] = lasting(os.open(path, os.O_RDONLY))
                    event = select.kevent(
                        self._files[name].number,
                        filter=select.KQ_FILTER_VNODE,
                        flags=select.KQ_EV_ADD | select.KQ_EV_CLEAR,
                        fflags=select.KQ_NOTE_WRITE | select.KQ_NOTE_EXTEND,
                    )
                    kqueue.control([event], 0)
            kqueue.control(None, 8, timeout_s)
            with contextlib.suppress(BlockingIOError):
                os.read(self._heard.number, 64 * 1024)

    def close(self) -> None:
        """Stop watching, once a wait under way has ended; further calls do nothing."""
        self.is_blind = True
        self._files.clear()
        self._heard = self._bell = NONE
        if sys.platform == "darwin":
            # Closed when no thread waits for it any more.
            self.__dict__.pop("_kqueue", None)


def _inotify(folder: str) -> int:
    # Loaded here because only readers that wait need it, and it takes longer than all the rest.
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
    if fd < 0 or libc.inotify_add_watch(fd, os.fsencode(folder), _IN_CHANGES) < 0:
        code = ctypes.get_errno()
        if fd >= 0:
            os.close(fd)
        raise OSError(code, os.strerror(code))
    return fd
