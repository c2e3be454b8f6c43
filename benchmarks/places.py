"""Where the work happens: raw files and stores, made and removed while no clock runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Final, Literal

import transit
from benchmarks.payloads import event_blocks, payloads, random_payloads

STREAM = "records"
BATCH_COUNT = 1_000
Where = Literal["sealed", "sealed-uncompressed", "wal"]
"""Where a filled store has its records: in segments, or all in one WAL file."""
SAY: Final[dict[Where, str]] = {
    "sealed": "sealed, zstd",
    "sealed-uncompressed": 'sealed, compression "none"',
    "wal": "WAL, frames of 1,000",
}
What = Literal["random", "traces"]
"""What segments are made of: bytes that do not shrink, or an agent's events."""
RANDOM_BYTES = 64 * 1024
RANDOM_BATCH = 16
# Compressed block by block, so that repeating many blocks makes no block smaller.
_EVENTS_DIFFERENT = 20_000
# The largest there is, so that nothing is sealed while a workload is about the WAL.
SEAL_BYTES_MAX = 1024 * 1024 * 1024


@contextmanager
def raw_file(folder: str) -> Iterator[int]:
    """An empty file to append to; afterwards it is synced, so that no later run pays for it."""
    path = os.path.join(folder, "raw")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
    try:
        yield fd
        os.fdatasync(fd)
    finally:
        os.close(fd)
        os.unlink(path)


@contextmanager
def new_stream(folder: str, durability: str) -> Iterator[transit.Stream]:
    """An empty stream of a new store with default settings; the store is closed and removed."""
    path = os.path.join(folder, "store")
    with transit.open(path, durability=durability) as log:
        yield log.create(STREAM)
    shutil.rmtree(path)


def filled_store(folder: str, records: int, where: Where) -> transit.Log:
    """An open store with `records` records of text, appended by the thousand."""
    settings = transit.Settings(
        seal_bytes=SEAL_BYTES_MAX if where == "wal" else transit.Settings().seal_bytes,
        compression="none" if where == "sealed-uncompressed" else "zstd",
    )
    log = transit.open(os.path.join(folder, "store"), durability="os", settings=settings)
    stream = log.create(STREAM)
    for batch in _batches(records):
        stream.append_many(batch)
    log.sync() if where == "wal" else log.seal()
    return log


def sealed_store(folder: str, records: int, what: What) -> str:
    """A closed store of default segments: `records` of 64 KiB, or of events; its path."""
    path = os.path.join(folder, "store")
    with transit.open(path, durability="os") as log:
        stream = log.create(STREAM)
        for batch in _random(records) if what == "random" else _events(records):
            stream.append_many(batch)
        log.seal()
    return path


def _random(records: int) -> Iterator[list[bytes]]:
    given = random_payloads(records, RANDOM_BYTES)
    return iter(lambda: list(islice(given, RANDOM_BATCH)), [])


def _events(records: int) -> Iterator[list[bytes]]:
    different = list(event_blocks(min(records, _EVENTS_DIFFERENT)))
    return islice(cycle(different), -(-records // BATCH_COUNT))


def filled_file(folder: str, records: int) -> str:
    """A file of the same payloads back to back."""
    path = os.path.join(folder, "raw")
    with open(path, "wb") as file:
        for batch in _batches(records):
            file.write(b"".join(batch))
        file.flush()
        os.fsync(file.fileno())
    return path


def _batches(records: int) -> Iterator[list[bytes]]:
    given = payloads(records)
    return (given[at : at + BATCH_COUNT] for at in range(0, records, BATCH_COUNT))


def folder_bytes(folder: str) -> int:
    """Bytes that all files below `folder` take on disk."""
    files = (os.path.join(path, name) for path, _, names in os.walk(folder) for name in names)
    return sum(512 * os.stat(file).st_blocks for file in files)
