"""Which offset and timestamp a record gets: the one rule, for all who append.

In this order: the caller's condition on the next offset must hold; the record gets that offset; it
gets the caller's timestamp, or the engine's time (`transit.log.clock`). What callers give binds no
later record.
"""

from __future__ import annotations

from typing import Protocol

from transit.errors import ConflictError


class Tail(Protocol):
    """Where a stream goes on: as it is written, or as a batch has it so far."""

    next_offset: int

    @property
    def name(self) -> str:
        """The stream's name."""


def assign(tail: Tail, timestamp: int | None, expect: int | None, now: int) -> tuple[int, int]:
    """The offset and timestamp of the next record; `ConflictError` when `expect` is another."""
    offset = tail.next_offset
    if expect is not None and expect != offset:
        raise ConflictError(
            f"{tail.name}: expected next offset {expect}, found {offset}",
            stream=tail.name,
            expected=expect,
            found=offset,
        )
    return offset, now if timestamp is None else timestamp
