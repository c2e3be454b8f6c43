"""Raw baselines: the least a program can do with the same bytes; each returns its seconds."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Sequence
from time import perf_counter

from benchmarks.payloads import RECORD_BYTES
from benchmarks.places import raw_file

SLAB_BYTES = 1024 * RECORD_BYTES
PAGE_BYTES = 4096
Write = Callable[[int, bytes], object]


def write_synced(fd: int, data: bytes) -> None:
    """One write, and wait until it is on the medium."""
    os.write(fd, data)
    os.fdatasync(fd)


def append_batches(folder: str, batches: Iterable[Sequence[bytes]], write: Write) -> float:
    """Append each batch to a new file with one `write`."""
    with raw_file(folder) as fd:
        start = perf_counter()
        for batch in batches:
            write(fd, b"".join(batch))
        return perf_counter() - start


def append_each(folder: str, payloads: Iterable[bytes], write: Write) -> float:
    """Append each payload to a new file with one `write`."""
    with raw_file(folder) as fd:
        start = perf_counter()
        for payload in payloads:
            write(fd, payload)
        return perf_counter() - start


def slice_kept(path: str) -> float:
    """Read a file by the slab, and list its records in a Python loop; the last list is held."""
    start = perf_counter()
    with open(path, "rb", buffering=0) as file:
        while data := file.read(SLAB_BYTES):
            kept = []
            for at in range(0, len(data), RECORD_BYTES):
                kept.append(data[at : at + RECORD_BYTES])
    return perf_counter() - start


def slice_dropped(path: str) -> float:
    """Read a file by the slab, and cut its records out in a Python loop that keeps none."""
    start = perf_counter()
    with open(path, "rb", buffering=0) as file:
        while data := file.read(SLAB_BYTES):
            for at in range(0, len(data), RECORD_BYTES):
                data[at : at + RECORD_BYTES]
    return perf_counter() - start


def touch_pages(path: str) -> float:
    """Map a file, and look at one byte of every page."""
    start = perf_counter()
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as pages,
        memoryview(pages) as view,
        view[::PAGE_BYTES] as touched,
    ):
        bytes(touched)
        return perf_counter() - start


def read_each(fd: int, offsets: Iterable[int]) -> float:
    """Read the record at each offset with one pread(2)."""
    start = perf_counter()
    for offset in offsets:
        os.pread(fd, RECORD_BYTES, offset * RECORD_BYTES)
    return perf_counter() - start
