"""Waking up when a file in a folder changes: inotify(7) on Linux, kqueue(2) on macOS."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from typing import Final

from transit.descriptors import NONE, Descriptor, lasting
from transit.disk import list_folder, translated

# IN_MODIFY | IN_MOVED_TO | IN_CREATE, from <sys/inotify.h>.
_IN_CHANGES: Final = 0x2 | 0x80 | 0x100


class Watcher:
    """Wakes up when a file in one folder changes; for one thread at a time.

    Where the system gives no watch, because there are too many or it has none, it is blind: it
    wakes up every `BLIND_S` seconds, and who waits looks for itself.
    """

    # Watches may drop events under load; nobody waits longer than this for a lost one.
    POLL_S: Final = 0.1
    BLIND_S: Final = 0.02

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._files: dict[str, Descriptor] = {}
        self.is_blind = False
        with translated(folder):
            # Whatever else is wrong, a folder that is not there is not watched.
            os.stat(folder)
            try:
                if sys.platform == "darwin":
                    self._kqueue = select.kqueue()
                else:
                    self._files[folder] = lasting(_inotify(folder))
            except (OSError, ImportError, AttributeError):
                # No more instances, watches or open files; no such call; no ctypes.
                self.is_blind = True

    def wait(self, timeout_s: float) -> None:
        """Return after a change, or after `timeout_s` or `POLL_S` seconds, whichever is first."""
        timeout_s = max(0.0, min(timeout_s, self.POLL_S))
        if self.is_blind:
            time.sleep(min(timeout_s, self.BLIND_S))
            return
        with translated(self._folder):
            if sys.platform == "darwin":
                self._wait_for_queue(timeout_s)
            else:
                self._wait(self._files.get(self._folder, NONE), timeout_s)

    def _wait(self, held: Descriptor, timeout_s: float) -> None:
        # The number stays the watch's for as long as it is referred to here, whoever closes it.
        if held is NONE:
            return
        poll = select.poll()
        poll.register(held.number, select.POLLIN)
        if poll.poll(timeout_s * 1000):
            # What changed does not matter: the reader looks at the log itself.
            with contextlib.suppress(BlockingIOError):
                os.read(held.number, 64 * 1024)

    def _wait_for_queue(self, timeout_s: float) -> None:
        # kqueue reports writes on open files only, and new names on the folder.
        if sys.platform == "darwin":
            kqueue = self._kqueue
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

    def close(self) -> None:
        """Stop watching, once a wait under way has ended; further calls do nothing."""
        self.is_blind = True
        self._files.clear()
        if sys.platform == "darwin":
            # Closed when nobody waits for it any more.
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
