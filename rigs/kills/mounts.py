"""Real file systems that a test makes, fills up, takes copies of and drops; Linux, as root.

Owns tmpfs mounts and ext4 and XFS file systems in an image file, mounted through a loop device.
Everything is undone at the end of the block that made it, also when a process still has files open.

`LoopDisk.trim` gives back what the file system does not use, so that blocks it takes from then on
need space in the folder that holds the image. When that folder is full (`fill`), a write to such a
block is taken by the page cache and fails at the sync: a disk that breaks, for real.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

FileSystem = Literal["ext4", "xfs"]
FILE_SYSTEMS: Final[tuple[FileSystem, ...]] = ("ext4", "xfs")

# From <linux/fs.h>: make a file a copy of another at this moment, without copying a byte.
_FICLONE: Final = 0x40049409
_PACKAGES: Final = {
    "mount": "mount", "losetup": "mount", "fstrim": "util-linux", "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
}  # fmt: skip
_MAKE: Final[dict[FileSystem, tuple[str, ...]]] = {
    "ext4": (
        "mkfs.ext4", "-q", "-F", "-b", "4096", "-J", "size=4",
        "-E", "lazy_itable_init=0,lazy_journal_init=0",
    ),
    "xfs": ("mkfs.xfs", "-q", "-f", "-m", "reflink=1"),
}  # fmt: skip
# Between two looks at what a breaking disk's file system has given up.
_TAKING_PAUSE_S: Final = 0.5
# Smaller ones mkfs.xfs refuses; 64 MiB of it are its log.
XFS_BYTES_MIN: Final = 300 << 20


def run(*command: str | Path) -> str:
    """What a command printed; `OSError` with its complaint when it failed."""
    done = subprocess.run([str(part) for part in command], capture_output=True, check=False)
    if done.returncode:
        complaint = done.stderr.decode(errors="replace").strip()
        raise OSError(f"{command[0]}: {complaint or f'exit code {done.returncode}'}")
    return done.stdout.decode().strip()


def why_unavailable() -> str:
    """Why no file system can be made and mounted on this machine; empty when each kind can."""
    if os.geteuid() != 0:
        return "only root can mount file systems"
    for program, package in _PACKAGES.items():
        if shutil.which(program) is None:
            return f"{program} is not installed: Debian has it in {package}"
    try:
        with tempfile.TemporaryDirectory() as folder, memory_disk(Path(folder), 512 << 20) as disk:
            for kind in FILE_SYSTEMS:
                with loop_disk(kind, disk / kind, Path(folder), XFS_BYTES_MIN):
                    pass
    except OSError as error:
        return f"mounting is not possible here: {error}"
    return ""


@contextlib.contextmanager
def memory_disk(folder: Path, size: int) -> Iterator[Path]:
    """A tmpfs of `size` bytes, mounted on a new folder in `folder`."""
    at = Path(tempfile.mkdtemp(prefix="memory-", dir=folder))
    run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", at)
    try:
        yield at
    finally:
        _unmount(at)
        at.rmdir()


class LoopDisk:
    """A file system in the file `image`, mounted at `at` or not."""

    def __init__(self, kind: FileSystem, image: Path, at: Path) -> None:
        self.kind: FileSystem = kind
        self.image = image
        self.at = at
        self._device = ""

    def mount(self) -> None:
        """Mount it: the file system repairs itself from its journal."""
        self._device = run("losetup", "--find", "--show", self.image)
        # A copy has the name of what it is a copy of, which XFS refuses to see twice.
        options = ("-o", "nouuid") if self.kind == "xfs" else ()
        try:
            run("mount", "-t", self.kind, *options, self._device, self.at)
        except OSError:
            self._let_go()
            raise

    def unmount(self) -> None:
        """Unmount it, if it is mounted: what the kernel has cached of it is gone."""
        if self._device:
            _unmount(self.at)
            self._let_go()

    def remount(self) -> None:
        """Read everything from the image again; no process may have a file open there."""
        deadline = time.monotonic() + 10
        while True:
            # The files of a closed store are closed when they are collected.
            gc.collect()
            try:
                run("umount", self.at)
                break
            except OSError:
                # Files of a process that just ended may take a moment longer.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self._let_go()
        self.mount()

    def _let_go(self) -> None:
        device, self._device = self._device, ""
        run("losetup", "--detach", device)

    def trim(self) -> None:
        """Back what the file system uses, and nothing else, by blocks of the image."""
        # A request of several pages of which a full folder takes the first is called done by some
        # kernels: a disk that lies. So a request is one page, which is written, or is not; blocks
        # are of that size too.
        queue = Path("/sys/block", Path(self._device).name, "queue")
        (queue / "max_sectors_kb").write_text("4")
        size = self.image.stat().st_size
        with self.image.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        # Blocks that were freed and not yet noted so in the journal are not given back.
        run("sync", "--file-system", self.at)
        run("fstrim", self.at)


@contextlib.contextmanager
def loop_disk(kind: FileSystem, image: Path, folder: Path, size: int) -> Iterator[LoopDisk]:
    """A new file system of `size` bytes in `image`, mounted on a new folder in `folder`."""
    with image.open("wb") as file:
        file.truncate(size)
    run(*_MAKE[kind], image)
    with mounted(kind, image, folder) as disk:
        yield disk


@contextlib.contextmanager
def mounted(kind: FileSystem, image: Path, folder: Path) -> Iterator[LoopDisk]:
    """The file system in `image`, mounted on a new folder in `folder`; the image is removed."""
    at = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=folder))
    disk = LoopDisk(kind, image, at)
    try:
        disk.mount()
        yield disk
    finally:
        disk.unmount()
        at.rmdir()
        image.unlink()


@contextlib.contextmanager
def disk_that_breaks(kind: FileSystem, folder: Path) -> Iterator[BreakingDisk]:
    """A new file system whose image lies in a tmpfs of its own, which can be filled."""
    size = XFS_BYTES_MIN if kind == "xfs" else 64 << 20
    with (
        memory_disk(folder, size + (64 << 20)) as backing,
        loop_disk(kind, backing / "image", folder, size) as disk,
    ):
        yield BreakingDisk(disk, backing)


class BreakingDisk:
    """A file system, and the folder that backs it."""

    def __init__(self, disk: LoopDisk, backing: Path) -> None:
        self.disk = disk
        self.at = disk.at
        self._backing = backing
        self._ballast = backing / "ballast"

    @contextlib.contextmanager
    def broken_down(self) -> Iterator[None]:
        """A block in which nothing can be written where the file system had nothing before.

        Blocks that it gives up meanwhile are taken from it too: a store that seals and drops its
        WAL would go on for long in their place.
        """
        self._take_space()
        ended = threading.Event()

        def go_on() -> None:
            while not ended.wait(_TAKING_PAUSE_S):
                with contextlib.suppress(OSError):
                    self._take_space()

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._ballast.unlink()

    def _take_space(self) -> None:
        self.disk.trim()
        fill(self._backing)


def _unmount(at: Path) -> None:
    try:
        run("umount", at)
    except OSError:
        # Some process still has files open there, a killed one that is not gone yet perhaps.
        run("umount", "--lazy", at)


def clone(source: Path, target: Path) -> None:
    """Make `target` what `source` is now; both on one file system that can share blocks."""
    with source.open("rb") as old, target.open("wb") as new:
        fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())


def fill(folder: Path) -> Path:
    """Take all space in `folder`, to the last block; removing the file gives it back."""
    ballast = folder / "ballast"
    # XFS has no room for a new name on a full disk, and the file may be there already.
    with contextlib.suppress(OSError), ballast.open("ab", buffering=0) as file:
        for size in (1 << 20, 4096, 512, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)):
                    pass
    return ballast


def space(folder: Path) -> int:
    """Bytes that are free in the file system of `folder`."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


@contextlib.contextmanager
def disk_of(kind: str, folder: Path) -> Iterator[Path]:
    """A disk of any kind, "tmpfs" too, that is small, or can be filled quickly; where it is."""
    if kind == "tmpfs":
        with memory_disk(folder, 4 << 20) as at:
            yield at
        return
    chosen: FileSystem = "xfs" if kind == "xfs" else "ext4"
    size = XFS_BYTES_MIN if chosen == "xfs" else 16 << 20
    with loop_disk(chosen, folder / "small", folder, size) as disk:
        yield disk.at
