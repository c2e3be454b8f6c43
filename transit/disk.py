"""The operating system's files: this module opens, reads, syncs, links and removes them.

Leaves what the system's errors mean to `transit.translation`, locks to `transit.locks`, watching to
`transit.watches`, when a file's number is closed to `transit.descriptors`, and the meaning of bytes
to others.

What it asks of a file system: fdatasync and fsync return when the bytes are on the medium, link(2)
fails when the target exists, a synced folder keeps its names, and flock(2) works between processes.
On macOS a sync is F_FULLFSYNC, because fsync(2) there does not reach the medium.

After a failed sync nothing here is tried again: the kernel may have dropped the pages it could not
write and report success the next time (Rebello et al., "Can Applications Recover from fsync
Failures?", USENIX ATC 2020).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
import tempfile
from collections.abc import Callable
from typing import Final

from transit.descriptors import NONE, Descriptor, lasting
from transit.errors import (
    AlreadyExistsError,
    ClosedError,
    InvalidInputError,
    LockedError,
    NotFoundError,
    StoreUnavailableError,
    SyncFailedError,
    TransitError,
    UnsupportedPlatformError,
)
from transit.opened import Opened
from transit.translation import translate, translated

_TEMPORARY: Final = ".temporary"
Check = Callable[[], None]


def check_platform() -> None:
    """`UnsupportedPlatformError` unless this is little-endian Linux or macOS."""
    if sys.platform not in ("linux", "darwin") or sys.byteorder != "little":
        raise UnsupportedPlatformError(
            f"transit runs on little-endian Linux and macOS, not {sys.platform} ({sys.byteorder})"
        )


class File(Opened):
    """One open file, read and written at positions, in bytes; closed when nothing refers to it.

    May be closed while other threads use it: their calls end as if before, later ones raise
    `ClosedError`.
    """

    __slots__ = ("__weakref__", "_held", "_holder", "path")

    def __init__(self, path: str, held: Descriptor) -> None:
        self.path = path
        self._held = held
        # The process that holds the file against others; 0 when none of ours does.
        self._holder = 0

    @classmethod
    def open(cls, path: str, *, write: bool = False) -> File:
        """Open an existing file."""
        with translated(path):
            if write:
                return cls(path, lasting(os.open(path, os.O_RDWR)))
            return cls(path, Descriptor(os.open(path, os.O_RDONLY)))

    @classmethod
    def create(cls, path: str, mode: int = 0o666) -> File:
        """Make a new file, with these rights less the umask; `AlreadyExistsError`."""
        with translated(path):
            return cls(path, lasting(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)))

    def failure(self, error: OSError) -> TransitError:
        """The transit error that says what `error` in a call on this file means."""
        if self._held is NONE:
            return ClosedError(f"{self.path}: this store handle is closed")
        return translate(error, self.path)

    @property
    def size(self) -> int:
        """Size in bytes now."""
        with InUse(self, self._held) as number:
            return os.fstat(number).st_size

    def read_at(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from `position`; fewer only at the end of the file."""
        held = self._held
        try:
            data = os.pread(held.number, size, position)
            while 0 < len(data) < size:
                more = os.pread(held.number, size - len(data), position + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise self.failure(error) from error
        finally:
            del held
        return data

    def write_at(self, position: int, data: bytes | bytearray) -> None:
        """Write all of `data` at `position`."""
        held = self._held
        try:
            written = os.pwrite(held.number, data, position)
            while written < len(data):
                # A short write is no error, but it says that the next one will be.
                more = os.pwrite(held.number, memoryview(data)[written:], position + written)
                if not more:
                    raise StoreUnavailableError(f"{self.path}: writes do not go on")
                written += more
        except OSError as error:
            raise self.failure(error) from error
        finally:
            del held

    def sync_data(self) -> None:
        """Make the file's bytes, and the size needed to read them, survive a loss of power.

        `SyncFailedError` too when other code has closed the file: what was written since may have
        gone elsewhere.
        """
        held = self._held
        try:
            if not held.is_ours:
                raise SyncFailedError(
                    f"{self.path}: other code in this process has closed the file's descriptor"
                )
            if sys.platform == "darwin":
                fcntl.fcntl(held.number, fcntl.F_FULLFSYNC)
            else:
                os.fdatasync(held.number)
        except OSError as error:
            raise SyncFailedError(f"{self.path}: {error.strerror}") from error
        finally:
            del held

    def forget_pages(self) -> None:
        """Have the kernel drop what it has cached of the file and believes to be on the medium."""
        if sys.platform == "linux":
            with InUse(self, self._held) as number:
                os.posix_fadvise(number, 0, 0, os.POSIX_FADV_DONTNEED)

    def hold(self, *, shared: bool) -> None:
        """Lock the file: alone, or together with holders that share it; `LockedError`.

        A lock file keeps out only a process that finds it. This lock is on the very file that is
        written.
        """
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        with InUse(self, self._held) as number:
            # First: an interrupt must not leave it held and unknown.
            self._holder = os.getpid()
            try:
                fcntl.flock(number, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                self._holder = 0
                raise LockedError(
                    f"{self.path}: another process writes to it, though the store's LOCK was "
                    "free, or removed: end that process, then open the store again"
                ) from None

    def let_go(self) -> None:
        """Hold the file no more; a child made by fork() only forgets that its parent does."""
        held = self._held
        try:
            if self._holder == os.getpid() and held.is_ours:
                # Not left to closing: a child that is about to run another program has a copy.
                with contextlib.suppress(OSError):
                    fcntl.flock(held.number, fcntl.LOCK_UN)
        finally:
            del held
        # Last: a caller that was interrupted before this line lets go once more.
        self._holder = 0

    def truncate(self, size: int) -> None:
        """Cut or extend the file to `size` bytes."""
        with InUse(self, self._held) as number:
            os.ftruncate(number, size)

    def allocate(self, position: int, size: int) -> bool:
        """Reserve zeros from `position` on; False where the file system cannot or is full.

        A sync of bytes inside the file's size need not write the size: it is faster. No thread or
        process may write there meanwhile: where the file system has no fallocate(2), the C library
        writes zeros instead.
        """
        if sys.platform != "linux":
            return False
        held = self._held
        try:
            os.posix_fallocate(held.number, position, size)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the file, now or when the last call under way returns; again does nothing."""
        self.let_go()
        self._held = NONE

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class InUse:
    """The number of a file for a block, whose errors are the file's."""

    def __init__(self, file: File, held: Descriptor) -> None:
        self._file, self._held = file, held

    def __enter__(self) -> int:
        return self._held.number

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        # A caller that keeps the error would keep the file open.
        del self._held
        if isinstance(error, OSError):
            raise self._file.failure(error) from error


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
    found = size_and_use(path)
    return None if found is None else found[0]


def size_and_use(path: str) -> tuple[int, int] | None:
    """Bytes of file `path`, and when it was changed or marked as used last, nanoseconds."""
    with translated(path), contextlib.suppress(FileNotFoundError):
        found = os.stat(path)
        return found.st_size, found.st_mtime_ns
    return None


def mark_used(path: str) -> None:
    """Note that file `path` is used now, where that can be noted."""
    with contextlib.suppress(OSError):
        os.utime(path)


def make_temporary_folder(prefix: str, folder: str | None = None) -> str:
    """A new folder in `folder` or the system's, to be removed by the caller."""
    try:
        with translated(folder or tempfile.gettempdir()):
            return tempfile.mkdtemp(prefix=prefix, dir=folder)
    except FileNotFoundError as error:
        raise StoreUnavailableError(str(error)) from error


def leads_to_folder(path: str) -> bool:
    """Whether `path` leads to a folder, through links too; False for what is not there."""
    return os.path.isdir(path)


def check_regular(path: str) -> int:
    """The mode of the regular file at `path`; else `NotFoundError`, `InvalidInputError`."""
    with translated(path):
        mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise InvalidInputError(f"{path}: is {'a folder' if stat.S_ISDIR(mode) else 'no file'}")
    return stat.S_IMODE(mode)


def is_folder(path: str) -> bool:
    """Whether there is a folder at `path`; `InvalidInputError` when it is something else."""
    with translated(path):
        if os.path.isdir(path):
            return True
        if os.path.lexists(path):
            raise InvalidInputError(f"{path}: is not a folder")
    return False


def is_same_file(path: str, other: str) -> bool:
    """Whether both paths lead to one file, through links or mounts; False when one is missing."""
    with translated(path), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return os.path.samestat(os.stat(path), os.stat(other))
    return False


def is_within(path: str, folder: str) -> bool:
    """Whether `path` leads to `folder` or to a place below it; neither has to be there yet."""
    with translated(path):
        return _trail(folder)[0] in _trail(path)


def _trail(path: str) -> list[tuple[int, int, str]]:
    """What tells a folder and each of those above it from all others, the innermost first.

    Device and inode of what is there, and the rest of the path for what is not there yet.
    """
    path = os.path.realpath(path)
    trail: list[tuple[int, int, str]] = []
    missing: list[str] = []
    while True:
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(path)
        else:
            base = (found.st_dev, found.st_ino)
            trail += [(*base, os.path.relpath(each, path)) for each in missing]
            trail.append((*base, ""))
            missing.clear()
        above = os.path.dirname(path)
        if above == path:
            return trail
        path = above


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


def _anywhere() -> None:
    """For a folder that is only known by its path."""


class NewFile:
    """A file written under a temporary name, then given its own name once, whole and synced.

    check_place: raises when the folder is not at its path any more; asked right before the file
    gets its name, which must not be put into another folder that came there.
    temporary: how the temporary name begins, where no other writer uses it; else a random one.
    """

    def __init__(
        self, folder: str, check_place: Check = _anywhere, temporary: str = "", mode: int = 0o666
    ) -> None:
        self._folder = folder
        self._check_place = check_place
        self._path = os.path.join(folder, (temporary or os.urandom(8).hex()) + _TEMPORARY)
        self._file = File.create(self._path, mode)
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append `data`."""
        self._file.write_at(self.size, data)
        self.size += len(data)

    def sync(self) -> None:
        """Sync what was written before; another thread may write more meanwhile."""
        self._file.sync_data()

    def publish(self, name: str) -> bool:
        """Sync the bytes and link them as `name`; False, and nothing changed, when it exists."""
        self._file.sync_data()
        try:
            self._check_place()
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
        self._check_place()
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


def put_if_absent(folder: str, name: str, data: bytes, check_place: Check = _anywhere) -> bool:
    """Make file `name` with `data`, whole and synced; False when there already is one.

    link(2) lets exactly one of several callers win. check_place: as `NewFile` takes it.
    """
    file = NewFile(folder, check_place)
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
