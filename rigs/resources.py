"""What a process holds while a store works: memory, open files, threads, and whether they grow.

`mixed_life` does everything a store can do, once, and leaves nothing behind. `soak` repeats it and
takes a `Sample` after each life, so that whatever grew from one to the next was not let go.
`grown` judges: open files and threads must not grow at all; memory is fitted over the second half,
when caches and the allocator have come to rest, and may not rise by more than its own noise.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import transit
from transit import guards

SETTINGS = transit.Settings(
    seal_bytes=32 * 1024,
    block_bytes=4096,
    flush_interval_ms=5,
    seal_interval_s=0.05,
    publish_interval_s=0.05,
    cache_bytes_max=1024 * 1024,
    disk_cache_bytes_max=256 * 1024,
)
NOISE_BYTES = 2 * 1024 * 1024
"""Memory that an allocator may keep or return from one life to the next."""


class Sample(NamedTuple):
    """What this process holds at one moment: seconds since the start, bytes, counts."""

    seconds: float
    rss: int
    descriptors: int
    threads: int
    objects: int


def sample(start: float) -> Sample:
    """What this process holds now; `start` is of time.monotonic().

    Memory and objects after a collection, files and threads before it: what is closed has let go.
    """
    descriptors, threads = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    return Sample(
        seconds=time.monotonic() - start,
        rss=pages * os.sysconf("SC_PAGE_SIZE"),
        descriptors=descriptors,
        threads=threads,
        objects=sum(held().values()),
    )


def open_files() -> set[tuple[int, str]]:
    """The files this process has open: each descriptor, and what it leads to.

    What one moment has beyond an earlier one was opened in between, whatever else was closed.
    """
    found = set()
    for name in os.listdir("/proc/self/fd"):
        # The folder just listed is closed by now.
        with contextlib.suppress(FileNotFoundError):
            found.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
    return found


def calls_made(work: Callable[[], object]) -> int:
    """How many functions `work` calls, Python's and C's: what it costs, alike on every machine.

    Guards are left out: they look further while another thread is in the middle of something.
    """
    count = 0
    guard = guards.Order.check.__code__

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call") and frame.f_code is not guard

    before = sys.getprofile()
    # What is collected meanwhile ends with calls of its own.
    gc.collect()
    gc.disable()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


def held() -> Counter[str]:
    """How many objects of transit's own classes there are, by class."""
    # Some classes of others have no text there.
    modules = ((str(type(each).__module__), type(each).__qualname__) for each in gc.get_objects())
    return Counter(f"{module}.{name}" for module, name in modules if module.startswith("transit."))


def slope(samples: Sequence[Sample]) -> tuple[float, float]:
    """Bytes a second by which memory grew, and the standard deviation around that line."""
    times = [each.seconds for each in samples]
    line = statistics.linear_regression(times, [each.rss for each in samples])
    rest = [each.rss - line.slope * each.seconds - line.intercept for each in samples]
    return line.slope, statistics.pstdev(rest)


def grown(samples: Sequence[Sample]) -> list[str]:
    """What grew over the second half of `samples`; empty when all is flat."""
    half = samples[len(samples) // 2 :]
    problems = []
    for name in ("descriptors", "threads", "objects"):
        before = max(getattr(each, name) for each in samples[: len(samples) // 2])
        after = max(getattr(each, name) for each in half)
        if after > before:
            problems.append(f"{name}: {before} became {after}")
    per_second, noise = slope(half)
    rise = per_second * (half[-1].seconds - half[0].seconds)
    if rise > NOISE_BYTES + 3 * noise:
        problems.append(f"memory rose by {rise:,.0f} bytes, {noise:,.0f} of noise")
    return problems


def mixed_life(folder: Path, seed: int) -> int:
    """One store's life, from making to restoring, in `folder`, which is gone after it; records."""
    choices = random.Random(seed)
    store, remote = folder / "store", folder / "remote"
    count = 0
    for life in range(3):
        log = transit.open(store, remote=remote, settings=SETTINGS, durability="os")
        for round_ in range(3):
            count += _write(log, f"{life}.{round_}", choices)
        _read(log)
        log.publish()
        log.evict(bytes_max=0)
        _read(log)
        log.close()
    with transit.open(store, mode="shared", settings=SETTINGS, remote=remote) as log:
        log.streams().__next__().append(b"shared")
        log.publish()
        count += 1
    _look(store, remote)
    transit.restore(remote, folder / "restored")
    with transit.open(folder / "restored", mode="read") as log:
        _read(log)
    shutil.rmtree(folder)
    return count


def _write(log: transit.Log, name: str, choices: random.Random) -> int:
    root = log.create(name)
    root.append_many([choices.randbytes(200) for _ in range(100)])
    for _ in range(50):
        root.append(choices.randbytes(choices.randrange(400)), headers={"x": "y"})
        root.append(b"memory", durability="memory")
    branches = [root.branch(f"{name}/{n}", at=choices.randrange(100)) for n in range(5)]
    for branch in branches:
        branch.append(b"branched")
    merged = log.merge(f"{name}/merged", [root, *branches], policy="interleave")
    futures = [merged.submit(b"submitted", durability="local") for _ in range(20)]
    futures[-1].result(60)
    merged.append(b"local", durability="local")
    with log.batch() as batch:
        batch.append(batch.create(f"{name}/batch"), b"one")
        batch.append(root, b"two")
    root.cursor("place").advance(50)
    _wait(log, root)
    log.seal()
    return 230


def _wait(log: transit.Log, stream: transit.Stream) -> None:
    """Wait for records in each of the ways there are, and leave off."""
    told: list[tuple[transit.Stream, ...]] = []
    tail = stream.tail(start=len(stream))
    with log.watch(told.append, [stream]), log.watch(told.append):
        stream.append(b"watched")
        next(tail)
        asyncio.run(_follow(stream))
        asyncio.run(_leave(stream))
    tail.close()  # type: ignore[attr-defined]
    stream.append_many([b"seen", b"by nobody"])


async def _leave(stream: transit.Stream) -> None:
    """Followers that are cancelled, or dropped, while they wait."""

    async def follow() -> None:
        async for _ in stream.follow():
            pass

    tasks = [asyncio.create_task(follow()) for _ in range(5)]
    await asyncio.sleep(0.001)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _read(log: transit.Log) -> None:
    for stream in log.streams():
        for _ in stream.read():
            pass
        list(stream.batches())
        if len(stream):
            list(stream.tail(start=len(stream) - 1, timeout=0))


async def _follow(stream: transit.Stream) -> int:
    return len([record async for record in stream.follow(start=0, timeout=0.01)])


def _look(store: Path, remote: Path) -> None:
    """Read as others do: beside a writer, from a folder, from the remote alone."""
    for path in (store, f"file://{remote}"):
        attached = remote if path is store else None
        with transit.open(path, mode="read", remote=attached) as log:
            asyncio.run(_follow(next(log.streams())))
            if path is store:
                log.verify()
    transit.audit(remote)


def lives(
    seconds: float, seed: int, folder: Path, say: Callable[[object], object], every: int = 50
) -> list[Sample]:
    """Samples after each of as many lives as fit into `seconds`; at least 8."""
    start = time.monotonic()
    samples: list[Sample] = []
    records = 0
    while len(samples) < 8 or time.monotonic() - start < seconds:
        place = folder / f"life-{len(samples)}"
        place.mkdir()
        records += mixed_life(place, seed + len(samples))
        samples.append(sample(start))
        if len(samples) % every == 0:
            say(f"{len(samples)} lives, {records} records, {samples[-1]}")
    return samples


def soak(seconds: float, seed: int, say: Callable[[object], object]) -> int:
    """Live for `seconds` and judge; the count of what grew."""
    where = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="transit-flat-", dir=where) as folder:
        samples = lives(seconds, seed, Path(folder), say)
    problems = grown(samples)
    first, last = samples[len(samples) // 2], samples[-1]
    say(f"{len(samples)} lives, seed {seed}, halfway {first}, at the end {last}")
    for problem in problems:
        say(f"grew: {problem}")
    if problems:
        say(f"threads: {[thread.name for thread in threading.enumerate()]}")
        say(held().most_common(8))
    return len(problems)
