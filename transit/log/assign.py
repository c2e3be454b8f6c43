"""Which offset and timestamp a record gets: the one rule, for all who append.

In this order: the caller's condition on the next offset must hold; the record gets that offset; it
gets the caller's timestamp, or the time now, or the last record's timestamp where that is later,
because the clock may step back.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time_ns
from typing import Protocol, TypeVar

from transit.errors import ConflictError


class Tail(Protocol):
    """Where a stream goes on: as it is written, or as a batch has it so far."""

    next_offset: int
    last_timestamp: int | None

    @property
    def name(self) -> str:
        """The stream's name."""


T = TypeVar("T", bound=Tail)


def assign(
    tail: T, timestamp: int | None, expect: int | None, find_last: Callable[[T], int]
) -> tuple[int, int]:
    """The offset and timestamp of the next record; `ConflictError` when `expect` is another.

    find_last: the stream's last timestamp, asked for when its tail does not know it.
    """
    offset = tail.next_offset
    if expect is not None and expect != offset:
        raise ConflictError(
            f"{tail.name}: expected next offset {expect}, found {offset}",
            stream=tail.name,
            expected=expect,
            found=offset,
        )
    if timestamp is not None:
        return offset, timestamp
    now, last = time_ns(), tail.last_timestamp
    if last is None:
        last = find_last(tail)
    return offset, now if now > last else last
