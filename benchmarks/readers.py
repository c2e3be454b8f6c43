"""The other process of the tail benchmark: prints, for each record, how late it was, nanoseconds.

Run as `python -m benchmarks.readers transit|inotify|polling PATH COUNT`. The clock is one for all
processes of a machine: perf_counter() is CLOCK_MONOTONIC on Linux, mach_absolute_time() on macOS.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time
from collections.abc import Iterator

import transit
from benchmarks.payloads import RECORD_BYTES
from benchmarks.places import STREAM

STAMP = struct.Struct("<q")
POLL_S = 0.001
TIMEOUT_S = 60.0
IN_MODIFY = 0x2


def tailed(path: str) -> Iterator[bytes]:
    """What transit's own reader sees."""
    with transit.open(path, mode="read") as log:
        for record in log.stream(STREAM).tail(start=0, timeout=TIMEOUT_S):
            yield record.payload


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


KINDS = {"transit": tailed, "inotify": watched, "polling": polled}


def main(kind: str, path: str, count: int) -> None:
    latencies = []
    print("ready", flush=True)
    for payload in KINDS[kind](path):
        seen = time.perf_counter_ns()
        latencies.append(seen - STAMP.unpack_from(payload)[0])
        if len(latencies) == count:
            break
    print(*latencies, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
