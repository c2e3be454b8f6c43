"""Stores too large to make by hand: streams, branches, chains, merges, and more than a disk.

Each function makes one, looks at it, opens it again, looks once more, and returns `Figures`. What a
look finds wrong raises `AssertionError`. `full` runs them all at the sizes that are promised.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import transit

MIB = 1024 * 1024


class Figures(NamedTuple):
    """What a store took: seconds to make and to open again, bytes of memory and of disk."""

    what: str
    size: int
    made_s: float
    opened_s: float
    rss: int
    disk: int


def rss() -> int:
    """Memory this process holds, bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def size_of(folder: Path) -> int:
    """Bytes that the files of a folder take on their disk."""
    found = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found += os.stat(os.path.join(place, name)).st_blocks * 512
    return found


def _measured(
    what: str,
    count: int,
    folder: Path,
    make: Callable[[transit.Log], object],
    look: Callable[[transit.Log], object],
) -> Figures:
    before, start = rss(), time.monotonic()
    with transit.open(folder, durability="os") as log:
        make(log)
        look(log)
        made = time.monotonic() - start
        held = rss() - before
    start = time.monotonic()
    with transit.open(folder) as log:
        opened = time.monotonic() - start
        look(log)
    return Figures(what, count, made, opened, held, size_of(folder))


def many_streams(folder: Path, count: int) -> Figures:
    """`count` streams of one record each, made a thousand at a time."""

    def make(log: transit.Log) -> None:
        for first in range(0, count, 1000):
            with log.batch() as batch:
                for n in range(first, min(first + 1000, count)):
                    batch.append(batch.create(f"stream {n}"), b"%d" % n)

    def look(log: transit.Log) -> None:
        choices = random.Random(count)
        for n in [0, count - 1, *(choices.randrange(count) for _ in range(200))]:
            stream = log.stream(f"stream {n}")
            assert (stream.id, [r.payload for r in stream]) == (n + 1, [b"%d" % n])
        assert f"stream {count}" not in log
        assert log.status().streams == count

    return _measured("streams", count, folder, make, look)


def many_branches(folder: Path, count: int) -> Figures:
    """`count` branches of one stream of a hundred records, each with one of its own."""
    choices = random.Random(count)
    forks = [choices.randrange(100) for _ in range(count)]

    def make(log: transit.Log) -> None:
        root = log.create("root")
        root.append_many([b"root %d" % n for n in range(100)])
        for n, fork in enumerate(forks):
            root.branch(f"branch {n}", at=fork).append(b"own %d" % n)

    def look(log: transit.Log) -> None:
        root = log.stream("root")
        for n in [0, count - 1, *(choices.randrange(count) for _ in range(200))]:
            branch = log.stream(f"branch {n}")
            assert len(branch) == forks[n] + 2
            assert branch[forks[n]].payload == b"root %d" % forks[n]
            assert branch[-1].payload == b"own %d" % n
            assert log.lineage.merge_base(root, branch) == transit.Position("root", forks[n])
        assert len(root) == 100
        assert len(log.lineage.children(root)) == count

    return _measured("branches of one stream", count, folder, make, look)


def deep_chain(folder: Path, depth: int) -> Figures:
    """A chain of `depth` branches of branches, each with one record of its own."""

    def make(log: transit.Log) -> None:
        stream = log.create("level 0")
        stream.append(b"0")
        for n in range(1, depth + 1):
            stream = stream.branch(f"level {n}")
            stream.append(b"%d" % n)

    def look(log: transit.Log) -> None:
        tip = log.stream(f"level {depth}")
        assert [record.payload for record in tip] == [b"%d" % n for n in range(depth + 1)]
        for n in (0, depth // 2, depth):
            assert tip[n].origin == transit.Position(f"level {n}", n)
        root = log.stream("level 0")
        assert log.lineage.is_ancestor(root, tip)
        assert log.lineage.merge_base(root, tip) == transit.Position("level 0", 0)

    return _measured("branches of branches", depth, folder, make, look)


def wide_merge(folder: Path, parents: int) -> Figures:
    """Merges of `parents` branches, by order and by time, and a merge of the two merges."""

    def make(log: transit.Log) -> None:
        root = log.create("root")
        root.append(b"root")
        branches = [root.branch(f"branch {n}") for n in range(parents)]
        for round_ in range(3):
            for n, branch in enumerate(branches):
                branch.append(b"%d.%d" % (n, round_))
        ordered = log.merge("ordered", branches, policy="append")
        timed = log.merge("timed", branches, policy="interleave")
        log.merge("both", [ordered, timed], policy="append")

    def look(log: transit.Log) -> None:
        by_branch = [b"%d.%d" % (n, r) for n in range(parents) for r in range(3)]
        by_time = [b"%d.%d" % (n, r) for r in range(3) for n in range(parents)]
        assert [r.payload for r in log.stream("ordered")] == [b"root", *by_branch]
        assert [r.payload for r in log.stream("timed")] == [b"root", *by_time]
        assert sorted(r.payload for r in log.stream("both")) == sorted([b"root", *by_branch])
        assert len(log.stream("timed").parents) == parents
        assert log.verify().ok

    return _measured("parents of one merge", parents, folder, make, look)


def payload(number: int, size: int) -> bytes:
    """The payload of record `number`, which no compression makes smaller."""
    return number.to_bytes(8, "little") + random.Random(number).randbytes(size - 8)


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of `size` bytes, or a plain folder where none can be mounted."""
    folder.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
            capture_output=True,
            check=False,
        ).returncode
    )
    try:
        yield folder
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def beyond_disk(folder: Path, disk_bytes: int, history_bytes: int) -> Figures:
    """A history many times as large as its disk, by publishing and evicting; read from afar."""
    settings = transit.Settings(
        seal_bytes=disk_bytes // 32,
        disk_cache_bytes_max=disk_bytes // 8,
        cache_bytes_max=disk_bytes // 8,
    )
    remote, size = folder / "remote", 64 * 1024
    count = history_bytes // size
    start = time.monotonic()
    with small_disk(folder / "disk", disk_bytes) as disk:
        store = disk / "store"
        most = 0
        with transit.open(store, remote=remote, durability="os", settings=settings) as log:
            stream = log.create("s")
            for n in range(count):
                stream.append(payload(n, size))
                if n * size % (disk_bytes // 8) < size:
                    log.publish()
                    log.evict(bytes_max=disk_bytes // 8)
                    most = max(most, size_of(store))
            log.publish()
            log.evict(bytes_max=0)
            made = time.monotonic() - start
            _look_beyond(log, count, size)
            most = max(most, size_of(store))
            assert most <= disk_bytes, f"{most} bytes on a disk of {disk_bytes}"
        start = time.monotonic()
        with transit.open(store, remote=remote, durability="os", settings=settings) as log:
            opened = time.monotonic() - start
            _look_beyond(log, count, size)
            held = rss()
    return Figures("bytes beyond the disk", history_bytes, made, opened, held, most)


def _look_beyond(log: transit.Log, count: int, size: int) -> None:
    choices = random.Random(count)
    stream = log.stream("s")
    for n in [0, count - 1, *(choices.randrange(count) for _ in range(20))]:
        assert stream[n].payload == payload(n, size)
    seen = 0
    for record in stream:
        assert record.payload[:8] == record.offset.to_bytes(8, "little")
        seen += 1
    assert seen == count == len(stream)


def full(folder: Path, say: Callable[[object], object]) -> int:
    """All of them at full size, which takes 2 GB of disk; the count of what failed."""
    sizes: list[tuple[Callable[..., Figures], tuple[int, ...]]] = [
        (many_branches, (10_000,)),
        (deep_chain, (1_000,)),
        (wide_merge, (100,)),
        (beyond_disk, (64 * MIB, 1024 * MIB)),
        (many_streams, (1_000_000,)),
    ]
    failed = 0
    for make, arguments in sizes:
        place = folder / make.__name__
        if make is beyond_disk:
            place.mkdir()
        try:
            say(make(place, *arguments))
        except AssertionError as error:
            failed += 1
            say(f"{make.__name__}{arguments}: {error}")
        shutil.rmtree(place, ignore_errors=True)
    return failed


def soak(seconds: float, seed: int, say: Callable[[object], object]) -> int:
    """All sizes once, however long that takes; neither `seconds` nor `seed` changes them."""
    with tempfile.TemporaryDirectory(prefix="transit-scale-") as folder:
        return full(Path(folder), say)
