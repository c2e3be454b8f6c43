"""The files by which a process knows its folder: locks, and marks that are only looked at.

Owns their descriptors, which handles may hold a lock together, and the question whether a path
still leads to the file that was opened there. A lock is held on an open file, but files are named
by paths: when the folder is moved or replaced, path and file part, and only this question tells.

It is one stat(2), compared by device and inode with the open file. No other file can have its inode
number meanwhile, so a file system has to give an open file one number for as long as it is open.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
import time
from collections.abc import Callable
from typing import Final, TypeVar

from transit.descriptors import NONE, lasting
from transit.errors import LockedError, StoreMovedError, TransitError
from transit.translation import translate, translated

Result = TypeVar("Result")

# What stat(2) says of a path that leads nowhere; the last is a network file system's word for it.
_NOWHERE: Final = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
_GONE: Final = " (deleted)"
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY


def in_place(check_place: Callable[[], None], step: Callable[[], Result]) -> Result:
    """What `step` returns; where it fails because the folder went away, that is what is told.

    A file that is missed by its path, or another's that is found there, looks like damage.
    check_place: raises `StoreMovedError` when the folder is not at its path any more.
    """
    try:
        return step()
    except TransitError:
        check_place()
        raise


class Mark:
    """A file or folder kept open, to tell whether its path still leads to it."""

    def __init__(self, path: str, flags: int = _FOLDER_FLAGS) -> None:
        self.path = path
        self._pid = os.getpid()
        with translated(path):
            self._held = lasting(os.open(path, flags | os.O_CLOEXEC, 0o666))
            found = os.fstat(self._held.number)
        self._identity = (found.st_dev, found.st_ino)
        self._changed = found.st_ctime_ns

    def is_in_place(self) -> bool:
        """Whether the path leads to what was opened."""
        try:
            found = os.stat(self.path)
        except OSError as error:
            if error.errno in _NOWHERE:
                return False
            raise translate(error, self.path) from error
        return (found.st_dev, found.st_ino) == self._identity

    def check(self) -> None:
        """`StoreMovedError` unless the path leads to what was opened."""
        if not self.is_in_place():
            raise StoreMovedError(self._moved())

    def glance(self) -> None:
        """As `check`, if the file was renamed or removed; a moved folder is not noticed here.

        It costs less: the file system keeps the time at which something changed about the file.
        """
        try:
            changed = os.fstat(self._held.number).st_ctime_ns
        except OSError as error:
            raise translate(error, self.path) from error
        if changed != self._changed:
            self.check()
            self._changed = changed

    def _moved(self) -> str:
        place = self.whereabouts()
        return (
            f"{self.path}: moved, replaced or removed since this store opened it, or the folder "
            f"around it; what was opened is {place or 'removed'} now. Nothing was written to what "
            f"is here; open the store where its folder is"
        )

    def whereabouts(self) -> str:
        """The path of what was opened, as the system knows it; empty when it is removed."""
        found = ""
        with contextlib.suppress(OSError):
            if sys.platform == "darwin":
                found = os.fsdecode(fcntl.fcntl(self._held.number, fcntl.F_GETPATH, bytes(1024)))
                found = found.rstrip("\0")
            else:
                found = os.readlink(f"/proc/self/fd/{self._held.number}")
        return "" if found.endswith(_GONE) else found

    @property
    def is_open(self) -> bool:
        """Whether it was not closed."""
        return self._held is not NONE

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        self._held = NONE


class Version(Mark):
    """A file as it was at one time, kept open, to tell whether its path still leads to that.

    A file that was put in its place is another, and so is one that was written to.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, os.O_RDONLY)
        with translated(path):
            self._stamp = _stamp(os.fstat(self._held.number))

    def is_there(self) -> bool:
        """Whether the path leads to the file, as it was."""
        try:
            return _stamp(os.stat(self.path)) == self._stamp
        except OSError as error:
            if error.errno in _NOWHERE:
                return False
            raise translate(error, self.path) from error


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    times = found.st_mtime_ns, found.st_ctime_ns
    return found.st_dev, found.st_ino, found.st_size, *times


class Lock(Mark):
    """An advisory lock on one file, held by one open handle (flock(2)); the file names the holder.

    A lock keeps honest processes of one machine apart. It is a courtesy on network file systems.
    Taking it fails if its name, or that of `within`, no longer leads to the open file: two
    processes that lock two files of one name would both go on.
    """

    def __init__(self, path: str, within: Mark | None = None) -> None:
        super().__init__(path, os.O_RDWR | os.O_CREAT)
        self._within = within

    def acquire(self, *, shared: bool = False, timeout_s: float = 0.0) -> None:
        """Take the lock; `LockedError` when it stays taken, `StoreMovedError` when it is not it."""
        if not self.try_acquire(shared=shared):
            self._wait(shared, time.monotonic() + timeout_s)
        try:
            self.glance()
            if self._within is not None:
                self._within.glance()
        except BaseException:
            self.release()
            raise

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Take the lock if no other open handle keeps it; whether it was taken."""
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
        raise LockedError(f"{self.path}: held by {self.holder_described()}", pid=self.holder())

    def is_held_with(self, other: Lock) -> bool:
        """Whether this is a lock of this process, still open, on the file of another lock."""
        return self.is_open and self._pid == os.getpid() and self._identity == other._identity

    def sign(self) -> None:
        """Write this process's id into the file, for a process that finds it locked."""
        with translated(self.path):
            text = f"{os.getpid()} {_namespace()}\n".encode()
            os.pwrite(self._held.number, text, 0)
            os.ftruncate(self._held.number, len(text))

    def holder(self) -> int | None:
        """The process that last signed the file."""
        return self._signature()[0]

    def holder_described(self) -> str:
        """What is known of the process that last signed the file."""
        pid, namespace = self._signature()
        if pid is None:
            return "another process"
        if namespace not in ("", _namespace()):
            return f"process {pid} of another container"
        if pid == os.getppid():
            return f"process {pid}, the parent of this one"
        if pid == os.getpid() or not _is_running(pid):
            # Of several in mode "shared" the last signed; a child may hold what its parent took.
            return f"a process opened beside process {pid}, or a child of it"
        return f"process {pid}"

    def _signature(self) -> tuple[int | None, str]:
        with contextlib.suppress(OSError, ValueError):
            pid, _, namespace = os.pread(self._held.number, 64, 0).decode().strip().partition(" ")
            return int(pid), namespace
        return None, ""

    def release(self) -> None:
        """Let others in."""
        if self._held is NONE:
            return
        try:
            fcntl.flock(self._held.number, fcntl.LOCK_UN)
        except OSError as error:
            raise translate(error, self.path) from error

    def close(self) -> None:
        """Let others in and close the file.

        In a child made by fork() this only drops the child's copy: the lock stays the parent's.
        """
        held = self._held
        if self._pid == os.getpid() and held.is_ours:
            # A process that another thread is just starting has a copy until it runs, which would
            # keep the lock for that long.
            with contextlib.suppress(OSError):
                fcntl.flock(held.number, fcntl.LOCK_UN)
        super().close()


def _namespace() -> str:
    """Names the system in which process ids count, where containers have their own."""
    with contextlib.suppress(OSError):
        return os.readlink("/proc/self/ns/pid").replace(" ", "")
    return ""


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # The process is there, and is another user's.
        return True
    return True
