"""The engine's clock: when records were written, whatever timestamps their users gave.

Owns the rule by which the clock of the machine becomes the time of the engine:

- Time never goes back within a WAL file, and so within a segment. Where the machine's clock steps
  back by `HELD_NS` at most (a correction, a leap second, a virtual machine that moved), the
  engine's time stands still until the clock has caught up.
- Where it steps back by more, it had run ahead: the records before were written earlier than they
  say. That is recorded by ending the file: the next one begins with the present time. So one jump
  ahead does not falsify the times after it.
- Between two files time may therefore step back, and does so nowhere else. `believed` corrects the
  times before such a step: no record was written later than the records after it.

Leaves to the writer when to ask. Knows no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from time import time_ns
from typing import Final

HELD_NS: Final = 60 * 10**9
EARLIEST: Final = -(2**63)
"""Before all times: where there is no record yet."""
LATEST: Final = 2**63 - 1
"""The latest time there can be, in the year 2262: given while the machine's clock is past it."""

Times = tuple[int, int]
"""When the first and the last record of a file were written, UTC nanoseconds."""


class EngineClock:
    """The engine's time in one open store; guarded by the writer's lock."""

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = EARLIEST

    def now(self) -> int:
        """The present time, or the last one given where that is later."""
        now = time_ns()
        if now < self.last:
            return self.last
        self.last = min(now, LATEST)
        return self.last

    def reach(self, written: int) -> None:
        """Give no time before `written`: that of a record in the file being written."""
        self.last = max(self.last, written)

    @property
    def stepped(self) -> bool:
        """Whether the last time given is so far ahead that the file must end."""
        return self.last - time_ns() > HELD_NS

    def begin(self, before: int) -> None:
        """A file without records begins, after one whose last was written at `before`."""
        self.last = max(self.last, before)
        if self.stepped:
            self.last = EARLIEST


def believed(files: Sequence[Times], now: int) -> list[int]:
    """When the last record of each file was written at the latest; never later than `now`.

    `files` are in the order of the log.
    """
    latest = []
    for first, last in reversed(files):
        latest.append(min(last, now))
        now = min(first, latest[-1])
    return latest[::-1]


def steps(files: Sequence[Times]) -> int:
    """How often time steps back between `files`, which are in the order of the log."""
    return sum(one[1] > other[0] for one, other in pairwise(files))


def ahead_s(files: Sequence[Times]) -> float:
    """By how much the last record of `files` was written after the present time, seconds, or 0."""
    return max(0, files[-1][1] - time_ns()) / 1e9 if files else 0.0
