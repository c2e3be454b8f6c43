"""How soon another process sees a record: each carries the clock from before its append."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable
from subprocess import Popen

from benchmarks.payloads import RECORD_BYTES, payloads
from benchmarks.processes import finish, start

# Not measured: while caches warm and clocks speed up.
WARM_UP = 100
GAP_S = 0.001
_DIGITS = 19
Append = Callable[[bytes], object]


def stamped(rest: bytes) -> bytes:
    """The clock now, as digits, and the rest of a payload."""
    return b"%019d" % time.perf_counter_ns() + rest[_DIGITS:]


def lateness_ns(payload: bytes) -> int:
    """How long ago `stamped` made the payload; the clock is one for all processes of a machine."""
    return time.perf_counter_ns() - int(payload[:_DIGITS])


def start_reader(kind: str, path: str, count: int) -> Popen[str]:
    """A process that waits for `count` records; see `benchmarks.readers` for the kinds."""
    reader = start("-m", "benchmarks.readers", kind, path, str(count))
    assert reader.stdout is not None
    if reader.stdout.readline() != "ready\n":
        finish(reader)
    # It says so just before it starts to wait.
    time.sleep(0.2)
    return reader


def percentile_us(append: Append, reader: Popen[str], count: int, percentile: int) -> float:
    """Append `count` records a millisecond apart; a percentile of how late they are seen.

    At random, so that appends fall in step with no timer. The first records are not counted.
    """
    rng = random.Random("gaps")
    rest = payloads(1)[0]
    assert len(rest) == RECORD_BYTES
    for _ in range(count):
        time.sleep(rng.uniform(0.5, 1.5) * GAP_S)
        append(stamped(rest))
    seen = finish(reader)[0].split()
    if len(seen) < count:
        raise RuntimeError(f"the reader saw {len(seen)} records")
    # A record from before it began may come first.
    latencies = [int(line) / 1_000 for line in seen[-count:][WARM_UP:]]
    return statistics.quantiles(latencies, n=100)[percentile - 1]


def raw_percentile_us(folder: str, kind: str, count: int, percentile: int) -> float:
    """The same of a plain file and a reader of kind "inotify" or "polling"."""
    path = os.path.join(folder, "raw")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        reader = start_reader(kind, path, count)
        return percentile_us(lambda payload: os.write(fd, payload), reader, count, percentile)
    finally:
        os.close(fd)
        os.unlink(path)
