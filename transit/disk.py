"""The operating system's files: the only module that opens, syncs, links, locks or watches them.

Owns every file descriptor and the translation of operating-system errors into transit's. Leaves the
meaning of bytes to others.

What it asks of a file system: fdatasync and fsync mean it, link(2) fails when the target exists,
a synced folder keeps its names, and flock(2) works between processes. On macOS a sync is
F_FULLFSYNC, because fsync(2) there does not reach the medium.

After a failed sync nothing here is tried again: the kernel may have dropped the pages it could not
write and report success the next time (Rebello et al., "Can Applications Recover from fsync
Failures?", USENIX ATC 2020).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import sys
import time
from collections.abc import Iterator
from typing import Final

from transit.errors import (
    AlreadyExistsError,
    InvalidInputError,
    LockedError,
    NotFoundError,
    StorageFullError,
    StorePermissionError,
    StoreUnavailableError,
    SyncFailedError,
    TransitError,
    UnsupportedPlatformError,
)
from transit.opened import Opened

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)
_NO_FILE: Final = (errno.ENOENT, errno.ENOTDIR)
_TEMPORARY: Final = ".temporary"
# IN_MODIFY | IN_MOVED_TO | IN_CREATE, from <sys/inotify.h>.
_IN_CHANGES: Final = 0x2 | 0x80 | 0x100


def check_platform() -> None:
    """`UnsupportedPlatformError` unless this is little-endian Linux or macOS."""
    if sys.platform not in ("linux", "darwin") or sys.byteorder != "little":
        raise UnsupportedPlatformError(
            f"transit runs on little-endian Linux and macOS, not {sys.platform} ({sys.byteorder})"
        )


def translate(error: OSError, path: str) -> TransitError:
    """The transit error that says what `error` on `path` means for the caller."""
    message = f"{path}: {error.strerror or error}"
    if error.errno in _FULL:
        return StorageFullError(message)
    if error.errno in _DENIED:
        return StorePermissionError(message)
    if error.errno in _NO_FILE:
        return NotFoundError(message)
    if error.errno == errno.EEXIST:
        return AlreadyExistsError(message)
    return StoreUnavailableError(message)


@contextlib.contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise operating-system errors of the block as transit's, naming `path`."""
    try:
        yield
    except OSError as error:
        raise translate(error, path) from error


class File(Opened):
    """One open file, read and written at positions, in bytes; closed when garbage-collected."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self._fd = fd

    @classmethod
    def open(cls, path: str, *, write: bool = False) -> File:
        """Open an existing file."""
        with translated(path):
            return cls(path, os.open(path, os.O_RDWR if write else os.O_RDONLY))

    @classmethod
    def create(cls, path: str) -> File:
        """Make a new file; `AlreadyExistsError` when there is one."""
        with translated(path):
            return cls(path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))

    @property
    def size(self) -> int:
        """Size in bytes now."""
        with translated(self.path):
            return os.fstat(self._fd).st_size

    def read_at(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from `position`; fewer only at the end of the file."""
        try:
            data = os.pread(self._fd, size, position)
            while 0 < len(data) < size:
                more = os.pread(self._fd, size - len(data), position + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise translate(error, self.path) from error
        return data

    def write_at(self, position: int, data: bytes | bytearray) -> None:
        """Write all of `data` at `position`."""
        try:
            written = os.pwrite(self._fd, data, position)
            while written < len(data):
                # A short write is no error, but it says that the next one will be.
                more = os.pwrite(self._fd, memoryview(data)[written:], position + written)
                if not more:
                    raise StoreUnavailableError(f"{self.path}: writes do not go on")
                written += more
        except OSError as error:
            raise translate(error, self.path) from error

    def sync_data(self) -> None:
        """Make the file's bytes, and the size needed to read them, survive a loss of power."""
        try:
            if sys.platform == "darwin":
                fcntl.fcntl(self._fd, fcntl.F_FULLFSYNC)
            else:
                os.fdatasync(self._fd)
        except OSError as error:
            raise SyncFailedError(f"{self.path}: {error.strerror}") from error

    def forget_pages(self) -> None:
        """Have the kernel drop what it has cached of the file and believes to be on the medium."""
        if sys.platform == "linux":
            with translated(self.path):
                os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def truncate(self, size: int) -> None:
        """Cut or extend the file to `size` bytes."""
        with translated(self.path):
            os.ftruncate(self._fd, size)

    def allocate(self, position: int, size: int) -> bool:
        """Reserve zeros from `position` on; False where the file system cannot or is full.

        A sync of bytes inside the file's size need not write the size: it is faster. Nobody may
        write there meanwhile: where the file system has no fallocate(2), the C library writes
        zeros instead.
        """
        if sys.platform != "linux":
            return False
        try:
            os.posix_fallocate(self._fd, position, size)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the file; further calls do nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            self.close()


class Lock:
    """An advisory lock on one file, held by one open handle (flock(2)); the file names the holder.

    A lock keeps honest processes of one machine apart. It is a courtesy on network file systems.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._pid = os.getpid()
        with translated(path):
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def acquire(self, *, shared: bool = False, timeout_s: float = 0.0) -> None:
        """Take the lock; `LockedError` with the holder's pid when it stays taken."""
        if not self.try_acquire(shared=shared):
            self._wait(shared, time.monotonic() + timeout_s)

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Take the lock if nobody else has it."""
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
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
            os.pwrite(self._fd, text, 0)
            os.ftruncate(self._fd, len(text))

    def holder(self) -> int | None:
        """The process that last signed the file."""
        with contextlib.suppress(OSError, ValueError):
            return int(os.pread(self._fd, 32, 0))
        return None

    def release(self) -> None:
        """Let others in."""
        if self._fd >= 0:
            with translated(self.path):
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Let others in and close the file.

        In a child made by fork() this only drops the child's copy: the lock stays the parent's.
        """
        if self._fd >= 0:
            if self._pid == os.getpid():
                # A process that another thread is just starting has a copy until it runs, which
                # would keep the lock for that long.
                with contextlib.suppress(OSError):
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
            # No call between the two: an interrupt finds the file open and known, or closed.
            fd, self._fd = self._fd, -1
            os.close(fd)


def make_folder(path: str) -> None:
    """Make `path` and the folders above it, each name synced; existing ones are kept."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    if parent != path:
        make_folder(parent)
    with translated(path):
        try:
            os.mkdir(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise InvalidInputError(f"{path}: exists and is not a folder") from None
    sync_folder(parent)


def sync_folder(path: str) -> None:
    """Make the names in folder `path` survive a loss of power."""
    with translated(path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    except OSError as error:
        raise SyncFailedError(f"{path}: {error.strerror}") from error
    finally:
        os.close(fd)


def list_folder(path: str) -> list[str]:
    """Names in folder `path`, sorted; none when there is no such folder."""
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise translate(error, path) from error


def read_file(path: str, size_max: int) -> bytes | None:
    """The bytes of file `path`, up to one more than `size_max`; None when there is no such file."""
    try:
        with File.open(path) as file:
            return file.read_at(0, min(size_max, file.size) + 1)
    except NotFoundError:
        return None


def file_size(path: str) -> int | None:
    """Size of file `path` in bytes; None when there is no such file."""
    with translated(path), contextlib.suppress(FileNotFoundError):
        return os.stat(path).st_size
    return None


def is_folder(path: str) -> bool:
    """Whether there is a folder at `path`; `InvalidInputError` when it is something else."""
    with translated(path):
        if os.path.isdir(path):
            return True
        if os.path.lexists(path):
            raise InvalidInputError(f"{path}: is not a folder")
    return False


def remove(path: str) -> None:
    """Remove file `path`, if it is there."""
    with translated(path), contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_tree(path: str) -> None:
    """Remove folder `path` and all in it, if it is there; its own name goes last, synced."""
    if not is_folder(path):
        return
    with translated(path):
        for folder, folders, files in os.walk(path, topdown=False):
            for name in files:
                os.unlink(os.path.join(folder, name))
            for name in folders:
                os.rmdir(os.path.join(folder, name))
        os.rmdir(path)
    sync_folder(os.path.dirname(path))


def move(source: str, target: str) -> None:
    """Rename `source` to `target`; the names are synced, where it is before where it was."""
    with translated(source):
        os.rename(source, target)
    sync_folder(os.path.dirname(target))
    sync_folder(os.path.dirname(source))


class NewFile:
    """A file written under a temporary name, then given its own name once, whole and synced."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = os.path.join(folder, os.urandom(8).hex() + _TEMPORARY)
        self._file = File.create(self._path)
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append `data`."""
        self._file.write_at(self.size, data)
        self.size += len(data)

    def publish(self, name: str) -> bool:
        """Sync the bytes and link them as `name`; False, and nothing changed, when it exists."""
        self._file.sync_data()
        try:
            with translated(os.path.join(self._folder, name)):
                os.link(self._path, os.path.join(self._folder, name))
        except AlreadyExistsError:
            return False
        finally:
            self.discard()
        sync_folder(self._folder)
        return True

    def put_in_place(self, name: str) -> None:
        """Give the file its name, unsynced, in place of whatever has it."""
        path = os.path.join(self._folder, name)
        with translated(path):
            os.replace(self._path, path)

    def replace(self, name: str) -> None:
        """Sync the bytes and rename them to `name`, in place of the file that has it, if any."""
        self._file.sync_data()
        self.put_in_place(name)
        sync_folder(self._folder)

    def discard(self) -> None:
        """Close the file and drop the temporary name."""
        self._file.close()
        remove(self._path)


def put(folder: str, name: str, data: bytes) -> None:
    """Make file `name` with `data`, whole and synced, in place of the one that is there, if any."""
    file = NewFile(folder)
    try:
        file.write(data)
        file.replace(name)
    finally:
        file.discard()


def put_if_absent(folder: str, name: str, data: bytes) -> bool:
    """Make file `name` with `data`, whole and synced; False when there already is one.

    link(2) lets exactly one of several callers win.
    """
    file = NewFile(folder)
    try:
        file.write(data)
        return file.publish(name)
    finally:
        file.discard()


def put_unsynced(folder: str, name: str, data: bytes) -> None:
    """Make file `name` with `data`, for a cache: after a loss of power anything may be there."""
    file = NewFile(folder)
    try:
        file.write(data)
        file.put_in_place(name)
    finally:
        file.discard()


def remove_temporary(folder: str) -> None:
    """Drop what interrupted writers left in `folder`; only for the one process that may write."""
    for name in list_folder(folder):
        if name.endswith(_TEMPORARY):
            remove(os.path.join(folder, name))


class Watcher:
    """Wakes up when a file in one folder changes: inotify(7) on Linux, kqueue(2) on macOS."""

    # Both may drop events under load; nobody waits longer than this for a lost one.
    POLL_S: Final = 0.1

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._files: dict[str, int] = {}
        with translated(folder):
            if sys.platform == "darwin":
                self._kqueue = select.kqueue()
            else:
                self._files[folder] = _inotify(folder)
                self._poll = select.poll()
                self._poll.register(self._files[folder], select.POLLIN)

    def wait(self, timeout_s: float) -> None:
        """Return after a change, or after `timeout_s` or `POLL_S` seconds, whichever is first."""
        timeout_s = max(0.0, min(timeout_s, self.POLL_S))
        with translated(self._folder):
            if sys.platform == "darwin":
                self._watch_files()
                self._kqueue.control(None, 8, timeout_s)
            elif self._poll.poll(timeout_s * 1000):
                # What changed does not matter: the reader looks at the log itself.
                os.read(self._files[self._folder], 64 * 1024)

    def _watch_files(self) -> None:
        # kqueue reports writes on open files only, and new names on the folder.
        if sys.platform == "darwin":
            for name in [".", *list_folder(self._folder)[-2:]]:
                if name not in self._files:
                    fd = os.open(os.path.join(self._folder, name), os.O_RDONLY)
                    self._files[name] = fd
                    event = select.kevent(
                        fd,
                        filter=select.KQ_FILTER_VNODE,
                        flags=select.KQ_EV_ADD | select.KQ_EV_CLEAR,
                        fflags=select.KQ_NOTE_WRITE | select.KQ_NOTE_EXTEND,
                    )
                    self._kqueue.control([event], 0)

    def close(self) -> None:
        """Stop watching; further calls do nothing."""
        if sys.platform == "darwin":
            self._kqueue.close()
        while self._files:
            os.close(self._files.popitem()[1])


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
