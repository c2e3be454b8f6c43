"""A file system that writes down every change a real program makes to it, with the data.

It lives in memory, is mounted through FUSE (mfusepy and Debian's `fuse3`) and served by a process
of its own, one request at a time, so that the trace is the one order in which things happened.
Nothing is cached above it. Writing a line to `.mark` in the mounted folder puts a mark into the
trace: that is how a program says what it has acknowledged.

    with recorded(folder) as recording:
        ...  # a program works below recording.root
    changes = read_trace(recording.trace)
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from rigs.crash.recorded import (
    ROOT,
    Change,
    Marked,
    Named,
    Resized,
    Synced,
    Wrote,
    put_change,
)

MARK_FILE: Final = ".mark"
WRITE_BYTES_MAX: Final = 1 << 30
_MARK: Final = 2**40
_HIDDEN: Final = ".fuse_hidden"
_START_TIMEOUT_S: Final = 20.0
_STOP_TIMEOUT_S: Final = 2.0


class Recording(NamedTuple):
    """A mounted folder, and the file in which its trace is once it is unmounted."""

    root: Path
    trace: Path


class RecordingUnavailableError(Exception):
    """This machine cannot mount a recording file system; the text says why."""


class RecordingFolder:
    """The operations of the file system, named as FUSE names them; errors are raised as OSError."""

    use_ns = True

    def __init__(self, trace: Path, write_bytes_max: int) -> None:
        self._write_bytes_max = write_bytes_max
        # Unbuffered, so that the trace is whole whatever ends this process.
        self._trace = trace.open("wb", buffering=0)
        self._folders: dict[int, dict[str, int]] = {ROOT: {}}
        self._files: dict[int, bytearray] = {}
        self._links: dict[int, int] = {}
        self._times: dict[int, int] = {}
        # Files that are open and have no name any more, by the name libfuse gives them.
        self._hidden: dict[str, int] = {}
        self._next = ROOT + 1

    def _record(self, change: Change) -> None:
        put_change(self._trace, change)

    # Looking

    def _find(self, path: str) -> int:
        if path in self._hidden:
            return self._hidden[path]
        node = ROOT
        for name in path.split("/"):
            if name:
                found = self._folders.get(node, {}).get(name)
                if found is None:
                    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
                node = found
        return node

    def _place(self, path: str) -> tuple[int, str]:
        folder, _, name = path.rpartition("/")
        return self._find(folder), name

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        """What stat(2) says."""
        if path == f"/{MARK_FILE}":
            return {"st_mode": stat.S_IFREG | 0o666, "st_nlink": 1, "st_size": 0}
        node = self._find(path)
        when = {"st_ino": node, "st_mtime": self._times.get(node, 0)}
        if node in self._folders:
            return {"st_mode": stat.S_IFDIR | 0o755, "st_nlink": 2, **when}
        links, size = self._links[node], len(self._files[node])
        return {"st_mode": stat.S_IFREG | 0o644, "st_nlink": links, "st_size": size, **when}

    def readdir(self, path: str, fh: int) -> list[str]:
        """The names in a folder."""
        return [".", "..", *self._folders[fh]]

    def statfs(self, path: str) -> dict[str, int]:
        """A roomy file system."""
        room = 1 << 20
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": room, "f_bfree": room,
                "f_bavail": room}  # fmt: skip

    def opendir(self, path: str) -> int:
        """A folder's number."""
        return self._find(path)

    def open(self, path: str, flags: int) -> int:
        """A file's number."""
        if path == f"/{MARK_FILE}":
            return _MARK
        node = self._find(path)
        if flags & os.O_TRUNC:
            self._resize(node, 0)
        return node

    def read(self, path: str, size: int, position: int, fh: int) -> bytes:
        """Bytes of a file."""
        return bytes(memoryview(self._files[fh])[position : position + size])

    # Names

    def _name(
        self, call: str, *changes: tuple[int, str, int], made: int = 0, folder: bool = False
    ) -> None:
        for parent, name, node in changes:
            entries = self._folders[parent]
            before = entries.pop(name, 0)
            if before in self._links:
                self._links[before] -= 1
            if node:
                entries[name] = node
            if node in self._links:
                self._links[node] += 1
        self._record(Named(call, changes, made, folder))

    def _new(self) -> int:
        node, self._next = self._next, self._next + 1
        self._times[node] = time.time_ns()
        return node

    def mkdir(self, path: str, mode: int) -> int:
        """A new folder."""
        parent, name = self._place(path)
        node = self._new()
        self._folders[node] = {}
        self._name("mkdir", (parent, name, node), made=node, folder=True)
        return 0

    def create(self, path: str, mode: int, flags: int) -> int:
        """A new file; its number."""
        parent, name = self._place(path)
        node = self._new()
        self._files[node], self._links[node] = bytearray(), 0
        self._name("create", (parent, name, node), made=node)
        return node

    def link(self, target: str, source: str) -> int:
        """Another name for a file."""
        parent, name = self._place(target)
        if name in self._folders[parent]:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._name("link", (parent, name, self._find(source)))
        return 0

    def rename(self, old: str, new: str) -> int:
        """Another place for a file or a folder."""
        if new.rpartition("/")[2].startswith(_HIDDEN):
            # So libfuse keeps a removed file that a process has open: at its old path it is gone.
            self._hidden[new] = self._find(old)
            return self.unlink(old)
        node, (parent, name), (target, wanted) = self._find(old), self._place(old), self._place(new)
        self._name("rename", (parent, name, 0), (target, wanted, node))
        return 0

    def unlink(self, path: str) -> int:
        """A name less."""
        if self._hidden.pop(path, 0):
            return 0
        parent, name = self._place(path)
        self._find(path)
        self._name("unlink", (parent, name, 0))
        return 0

    def rmdir(self, path: str) -> int:
        """A folder less."""
        parent, name = self._place(path)
        if self._folders[self._find(path)]:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        self._name("rmdir", (parent, name, 0))
        return 0

    # Bytes

    def write(self, path: str, data: bytes, position: int, fh: int) -> int:
        """Bytes into a file, or a mark into the trace."""
        if fh == _MARK:
            self._record(Marked(data.decode()))
            return len(data)
        # Less than was given is a short write, which write(2) allows.
        short = len(data) > self._write_bytes_max
        data = data[: self._write_bytes_max]
        content = self._files[fh]
        if len(content) < position:
            content.extend(bytes(position - len(content)))
        content[position : position + len(data)] = data
        self._times[fh] = time.time_ns()
        self._record(Wrote(fh, position, data, short))
        return len(data)

    def truncate(self, path: str, size: int, fh: int | None = None) -> int:
        """Another size."""
        if path != f"/{MARK_FILE}":
            self._resize(self._find(path), size)
        return 0

    def _resize(self, node: int, size: int) -> None:
        content = self._files[node]
        del content[size:]
        content.extend(bytes(size - len(content)))
        self._record(Resized(node, size))

    def fallocate(self, path: str, mode: int, position: int, size: int, fh: int) -> int:
        """Room at the end of a file."""
        if mode:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        if position + size > len(self._files[fh]):
            self._resize(fh, position + size)
        return 0

    # What need not be done, and what is only written down

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        """A sync of a file."""
        self._record(Synced(fh))
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        """A sync of a folder."""
        self._record(Synced(fh))
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        """Times are not kept."""
        return 0

    def chmod(self, path: str, mode: int) -> int:
        """Permissions are not kept."""
        return 0


def why_unavailable() -> str:
    """Why nothing can be recorded on this machine; empty when nothing is known against it."""
    if sys.platform != "linux":
        return "FUSE recordings are made on Linux only"
    if importlib.util.find_spec("mfusepy") is None:
        return "mfusepy is not installed"
    if shutil.which("fusermount3") is None:
        return "fuse3 is not installed: no fusermount3"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse is not there, or not for this user"
    return ""


@contextlib.contextmanager
def recorded(folder: Path, write_bytes_max: int = WRITE_BYTES_MAX) -> Iterator[Recording]:
    """Mount a recording file system in `folder`, an empty one, for the length of the block.

    The trace is complete after the block. One write takes no more than `write_bytes_max` bytes.
    `RecordingUnavailableError` where it cannot be mounted.
    """
    reason = why_unavailable()
    if reason:
        raise RecordingUnavailableError(reason)
    recording = Recording(folder / "root", folder / "trace")
    recording.root.mkdir(parents=True)
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            __name__,
            str(recording.root),
            str(recording.trace),
            str(write_bytes_max),
        ],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "FUSE_LIBRARY_NAME": "fuse3"},
    )
    try:
        _wait_for(recording.root, server)
        yield recording
    finally:
        # Lazily: a program that failed may have left a file open.
        subprocess.run(["fusermount3", "-u", "-z", str(recording.root)], check=False)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.communicate(timeout=_STOP_TIMEOUT_S)
        server.kill()
        server.communicate()


def _wait_for(root: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not os.path.ismount(root):
        if server.poll() is not None:
            said = server.stderr.read().decode() if server.stderr is not None else ""
            raise RecordingUnavailableError(f"cannot mount: {said.strip()}")
        if time.monotonic() > deadline:
            server.kill()
            raise RecordingUnavailableError("mounting takes too long")
        time.sleep(0.005)


def serve(root: str, trace: str, write_bytes_max: str) -> None:
    """Be the file system at `root` until it is unmounted."""
    # Loaded by name, because it has no types, and here, because few machines have it.
    fuse = importlib.import_module("mfusepy")
    fuse.FUSE(
        RecordingFolder(Path(trace), int(write_bytes_max)), root, foreground=True,
        nothreads=True, direct_io=True, attr_timeout=0, entry_timeout=0, negative_timeout=0,
    )  # fmt: skip


if __name__ == "__main__":
    serve(*sys.argv[1:])
