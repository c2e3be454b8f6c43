"""Progress of a transfer, told to the caller's function."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import msgspec


class Progress(msgspec.Struct, frozen=True):
    """How far a transfer is: objects and bytes, done and in all."""

    step: str
    objects: int
    objects_total: int
    bytes: int
    bytes_total: int


Report = Callable[[Progress], None]


class Meter:
    """Counts what was transferred. Safe for threads; `report` is called by one at a time.

    It is called without a lock, and not any more once it raised: that ends the transfer.
    """

    def __init__(self, step: str, report: Report | None) -> None:
        self._step = step
        self._report = report
        self._lock = threading.Lock()
        self._untold: deque[Progress] = deque()
        # Held by the thread that calls; the others leave what they have to tell to it.
        self._telling = threading.Lock()
        self._done = (0, 0)
        self._total = (0, 0)

    def expect(self, objects: int, size: int) -> None:
        """There is more to do."""
        with self._lock:
            self._total = (self._total[0] + objects, self._total[1] + size)

    def add(self, objects: int, size: int) -> None:
        """Some of it is done."""
        with self._lock:
            self._done = (self._done[0] + objects, self._done[1] + size)
            self._untold.append(
                Progress(self._step, self._done[0], self._total[0], self._done[1], self._total[1])
            )
        # Once more after letting go: another thread may have come in vain meanwhile.
        while self._untold and self._telling.acquire(blocking=False):
            try:
                self._tell()
            finally:
                self._telling.release()

    def _tell(self) -> None:
        while self._untold:
            progress = self._untold.popleft()
            report, self._report = self._report, None
            if report is not None:
                report(progress)
                self._report = report
