"""Store folders as they are on disk, to be damaged and opened again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit
from transit.format.checksum import wal_seed
from transit.format.frame import WAL_HEADER, FrameHeader, body_is_valid, decode_frame_header

Contents = dict[str, list[tuple[bytes, dict[str, str]]]]

# More zeros than this after the last frame tell nothing more.
ZEROS_KEPT = 64 * 1024


class Folder:
    """A store's folder, its files kept as bytes so that each can be put back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[str, bytes] = {}

    @property
    def store_id(self) -> bytes:
        """The store's id, from FORMAT."""
        return bytes.fromhex(self.files["FORMAT"].split(b'"')[-2].decode())

    @property
    def wals(self) -> list[str]:
        """The WAL files, oldest first."""
        return sorted(name for name in self.files if name.startswith("wal/"))

    def take(self) -> Folder:
        """Keep all files as they are now."""
        self.files = {}
        for path in self.path.rglob("*"):
            if path.is_file() and not path.name.startswith("LOCK"):
                name = str(path.relative_to(self.path))
                data = path.read_bytes()
                if name.startswith("wal/"):
                    used = len(data.rstrip(b"\0"))
                    data = data[: used + ZEROS_KEPT]
                self.files[name] = data
        return self

    def restore(self, changes: dict[str, bytes | None] | None = None) -> None:
        """Put all files back as they were kept, but for `changes`; None: without that file."""
        wanted = {**self.files, **(changes or {})}
        for path in self.path.rglob("*"):
            name = str(path.relative_to(self.path))
            if path.is_file() and not name.startswith("LOCK") and wanted.get(name) is None:
                path.unlink()
        for name, data in wanted.items():
            if data is not None:
                # Written over, not truncated first: that is many times faster.
                target = os.open(self.path / name, os.O_WRONLY | os.O_CREAT)
                os.write(target, data)
                os.ftruncate(target, len(data))
                os.close(target)

    def frames(self, name: str | None = None) -> list[FrameHeader]:
        """The headers of the valid frames of one WAL file."""
        name = name or self.wals[-1]
        data = self.files[name]
        first_lsn = int(Path(name).stem)
        seed = wal_seed(self.store_id, first_lsn)
        found, at = [], WAL_HEADER.size
        while (header := decode_frame_header(data, at, at, seed)) is not None:
            assert body_is_valid(header, data, at, seed)
            found.append(header)
            at = header.stop
        return found


def read_all(log: transit.Log) -> Contents:
    """Payloads and headers of every stream."""
    return {
        stream.name: [(record.payload, dict(record.headers)) for record in stream.read()]
        for stream in log.streams()
    }


@pytest.fixture(scope="session")
def contents() -> Callable[[transit.Log], Contents]:
    """A function that returns all a store shows."""
    return read_all


@pytest.fixture(scope="session")
def folder_at() -> Callable[[Path], Folder]:
    """A function that keeps what is in a store's folder."""
    return lambda path: Folder(path).take()


@pytest.fixture(scope="session")
def copied() -> Callable[[Path, Path], Folder]:
    """A function that copies the folder of an open store, as a killed process would leave it."""

    def copy(source: Path, target: Path) -> Folder:
        shutil.copytree(source, target)
        return Folder(target).take()

    return copy


@pytest.fixture(scope="session")
def quick_folder() -> Iterator[Callable[[str], Path]]:
    """A function that makes a folder, in memory where possible, for stores opened often."""
    memory = Path("/dev/shm")
    usable = memory.is_dir() and os.access(memory, os.W_OK)
    parent = Path(tempfile.mkdtemp(prefix="transit-test-", dir=memory if usable else None))

    def make(name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))

    yield make
    shutil.rmtree(parent)


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    """An open store with nothing in it."""
    opened = transit.open(path)
    yield opened
    opened.close()
