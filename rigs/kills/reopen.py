"""How long opening takes after a kill: `rigs/kills/reopen.py FOLDER [GIB] [OPENINGS] [BYTES]`.

Makes a log of so many GiB (1) with default settings in FOLDER, with a WAL that is almost full of
records of so many bytes (1000); then, so many times (50), a process opens it, appends and is
killed, and opening it again is timed: with the page cache as it is, and, as root, with none.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import transit

MIB = 1 << 20
DROP_CACHES = Path("/proc/sys/vm/drop_caches")


def make(path: Path, size: int, record_bytes: int) -> None:
    """A log of `size` bytes in streams of 1 MiB, sealed, and a WAL of 30 MiB of small records."""
    noise = os.urandom(8 * MIB)
    with transit.open(path, durability="os") as log:
        for number in range(size // MIB):
            at = number * 4096 % (7 * MIB)
            parts = [noise[at + part : at + part + 4096] for part in range(0, MIB, 4096)]
            log.create(f"run-{number}").append_many(parts)
        log.seal()
        stream = log.create("small")
        while log.status().wal_bytes < 30 * MIB:
            for _ in range(1000):
                stream.append(bytes(record_bytes))


def kill_a_writer(path: Path) -> None:
    """A process that opens the log, appends and dies."""
    pid = os.fork()
    if pid == 0:
        log = transit.open(path, durability="os")
        for _ in range(50):
            log.stream("small").append(b"y" * 40)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)


def timed(path: Path, count: int, before: Callable[[], object]) -> list[float]:
    """Seconds that each of `count` openings after a kill took, sorted."""
    found = []
    for _ in range(count):
        kill_a_writer(path)
        before()
        start = time.perf_counter()
        log = transit.open(path)
        found.append(time.perf_counter() - start)
        log.close()
    return sorted(found)


def forget_everything() -> None:
    """Have the kernel drop what it has cached."""
    os.sync()
    DROP_CACHES.write_text("3")


def say(what: str, found: list[float]) -> None:
    """Print the median and the 99th percentile."""
    p99 = found[min(len(found) - 1, int(len(found) * 0.99))]
    print(f"{what}: p50 {found[len(found) // 2]:.3f} s, p99 {p99:.3f} s, {len(found)} openings")


def main() -> None:
    """Make the store, kill its writer, open it again and again."""
    path = Path(sys.argv[1]) / "store"
    size = int(float(sys.argv[2]) * 1024) * MIB if len(sys.argv) > 2 else 1024 * MIB
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 50
    make(path, size, int(sys.argv[4]) if len(sys.argv) > 4 else 1000)
    with transit.open(path) as log:
        status = log.status()
    print(f"{status.segment_bytes / MIB:.0f} MiB sealed, {status.wal_bytes / MIB:.1f} MiB of WAL")
    say("cached", timed(path, count, lambda: None))
    if os.geteuid() == 0 and os.access(DROP_CACHES, os.W_OK):
        say("not cached", timed(path, count // 2, forget_everything))


if __name__ == "__main__":
    main()
