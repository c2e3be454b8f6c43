"""Waking up when a file in a folder changes: inotify(7) on Linux, kqueue(2) on macOS."""

from __future__ import annotations

import os
import select
import sys
from typing import Final

from transit.descriptors import Descriptor, lasting
from transit.disk import list_folder, translated

# IN_MODIFY | IN_MOVED_TO | IN_CREATE, from <sys/inotify.h>.
_IN_CHANGES: Final = 0x2 | 0x80 | 0x100


class Watcher:
    """Wakes up when a file in one folder changes: inotify(7) on Linux, kqueue(2) on macOS."""

    # Both may drop events under load; nobody waits longer than this for a lost one.
    POLL_S: Final = 0.1

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._files: dict[str, Descriptor] = {}
        with translated(folder):
            if sys.platform == "darwin":
                self._kqueue = select.kqueue()
            else:
                self._files[folder] = lasting(_inotify(folder))
                self._poll = select.poll()
                self._poll.register(self._files[folder].number, select.POLLIN)

    def wait(self, timeout_s: float) -> None:
        """Return after a change, or after `timeout_s` or `POLL_S` seconds, whichever is first."""
        timeout_s = max(0.0, min(timeout_s, self.POLL_S))
        with translated(self._folder):
            if sys.platform == "darwin":
                self._watch_files()
                self._kqueue.control(None, 8, timeout_s)
            elif self._poll.poll(timeout_s * 1000):
                # What changed does not matter: the reader looks at the log itself.
                os.read(self._files[self._folder].number, 64 * 1024)

    def _watch_files(self) -> None:
        # kqueue reports writes on open files only, and new names on the folder.
        if sys.platform == "darwin":
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
                    self._kqueue.control([event], 0)

    def close(self) -> None:
        """Stop watching; further calls do nothing."""
        if sys.platform == "darwin":
            self._kqueue.close()
        self._files.clear()


def _inotify(folder: str) -> int:
    # Loaded here because only readers that wait need it, and it takes longer than all the rest.
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    fd = int(libc.inotify_init1(os.O_CLOEXEC))
    if fd < 0 or libc.inotify_add_watch(fd, os.fsencode(folder), _IN_CHANGES) < 0:
        code = ctypes.get_errno()
        if fd >= 0:
            os.close(fd)
        raise OSError(code, os.strerror(code))
    return fd
