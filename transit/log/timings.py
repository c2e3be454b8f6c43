"""How often something was done and how long it took, counted while a store is open.

Owns the buckets. What is timed takes at least a system call that waits; an append is not timed.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

import msgspec

BOUNDS_S: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip


class Histogram(msgspec.Struct, frozen=True):
    """How often something took how long.

    bounds: upper ends of the buckets, seconds, each inclusive. counts: how often, a number a
    bucket, and at the end what took longer than the last bound. sum_s: all together, seconds.
    """

    bounds: tuple[float, ...] = BOUNDS_S
    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    sum_s: float = 0.0

    @property
    def count(self) -> int:
        """How often in all."""
        return sum(self.counts)


class Timings:
    """Counts durations. Safe for threads."""

    __slots__ = ("_counts", "_lock", "_sum_s")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0
        # A signal handler may come in the middle, and do what is timed too.
        self._lock = threading.RLock()

    def add(self, seconds: float) -> None:
        """Count one that took this long."""
        with self._lock:
            self._counts[bisect_left(BOUNDS_S, seconds)] += 1
            self._sum_s += seconds

    @contextmanager
    def timed(self) -> Iterator[None]:
        """A block that is counted, unless it raises."""
        begun = perf_counter()
        yield
        self.add(perf_counter() - begun)

    def histogram(self) -> Histogram:
        """What was counted so far."""
        with self._lock:
            return Histogram(counts=tuple(self._counts), sum_s=self._sum_s)
