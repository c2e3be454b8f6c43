"""Locks on files, which keep processes apart (flock(2)).

Owns who holds a file, and who may. Leaves what a lock is for to those who take it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from transit.descriptors import NONE, lasting
from transit.disk import translate, translated
from transit.errors import LockedError


class Lock:
    """An advisory lock on one file, held by one open handle (flock(2)); the file names the holder.

    A lock keeps honest processes of one machine apart. It is a courtesy on network file systems.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._pid = os.getpid()
        with translated(path):
            self._held = lasting(os.open(path, os.O_RDWR | os.O_CREAT, 0o666))

    @property
    def is_open(self) -> bool:
        """Whether it was not closed."""
        return self._held is not NONE

    def acquire(self, *, shared: bool = False, timeout_s: float = 0.0) -> None:
        """Take the lock; `LockedError` with the holder's pid when it stays taken."""
        if not self.try_acquire(shared=shared):
            self._wait(shared, time.monotonic() + timeout_s)

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Take the lock if nobody else has it."""
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self._held.number, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise translate(error, self.path) from error
        return True

    def _wait(self, shared: bool, deadline: float) -> None:
        pause = 20e-6
        while time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(pause * 2, 1e-3)
            if self.try_acquire(shared=shared):
                return
        pid = self.holder()
        who = f"process {pid}" if pid else "another process"
        raise LockedError(f"{self.path}: held by {who}", pid=pid)

    def sign(self) -> None:
        """Write this process's id into the file, for whoever finds it locked."""
        with translated(self.path):
            text = f"{os.getpid()}\n".encode()
            os.pwrite(self._held.number, text, 0)
            os.ftruncate(self._held.number, len(text))

    def holder(self) -> int | None:
        """The process that last signed the file."""
        with contextlib.suppress(OSError, ValueError):
            return int(os.pread(self._held.number, 32, 0))
        return None

    def release(self) -> None:
        """Let others in."""
        if self.is_open:
            with translated(self.path):
                fcntl.flock(self._held.number, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let others in and close the file.

        In a child made by fork() this only drops the child's copy: the lock stays the parent's.
        """
        held = self._held
        if self._pid == os.getpid() and held.is_ours:
            # A process that another thread is just starting has a copy until it runs, which
            # would keep the lock for that long.
            with contextlib.suppress(OSError):
                fcntl.flock(held.number, fcntl.LOCK_UN)
        self._held = NONE
