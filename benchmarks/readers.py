"""The other process of the tail benchmarks: prints, for each record, how late it was, nanoseconds.

Run as `python -m benchmarks.readers KIND PATH COUNT`: "inotify" and "polling" read a plain file,
any other kind is the name of a system, whose store is in the folder PATH.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator

from benchmarks.latency import lateness_ns
from benchmarks.payloads import RECORD_BYTES
from benchmarks.places import STREAM
from benchmarks.systems import load

POLL_S = 0.001
IN_MODIFY = 0x2


def watched(path: str) -> Iterator[bytes]:
    """Waits for the kernel to report a write; one read a report."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_CLOEXEC)
    if watch < 0 or libc.inotify_add_watch(watch, os.fsencode(path), IN_MODIFY) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    fd = os.open(path, os.O_RDONLY)
    while os.read(watch, 4096):
        yield from _new_records(fd)


def polled(path: str) -> Iterator[bytes]:
    """Looks once a millisecond."""
    fd = os.open(path, os.O_RDONLY)
    while True:
        yield from _new_records(fd)
        time.sleep(POLL_S)


def _new_records(fd: int) -> Iterator[bytes]:
    data = os.read(fd, 64 * 1024)
    for at in range(0, len(data), RECORD_BYTES):
        yield data[at : at + RECORD_BYTES]


KINDS = {"inotify": watched, "polling": polled}


def main(kind: str, path: str, count: int) -> None:
    latencies = []
    payloads = KINDS[kind](path) if kind in KINDS else load(kind)().tail(path, STREAM)
    print("ready", flush=True)
    for payload in payloads:
        latencies.append(lateness_ns(payload))
        if len(latencies) == count:
            break
    print(*latencies, sep="\n", flush=True)
    # Clients of servers have threads that would wait for more.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
