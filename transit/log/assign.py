"""Which offset and timestamp a record gets: the one rule, for every append.

In this order: the stream must not be finished; the caller's condition on the next offset must hold;
the record gets that offset; it gets the caller's timestamp, or the engine's time
(`transit.log.clock`). A timestamp that a caller gives does not affect later records.
"""

from __future__ import annotations

from typing import Protocol

from transit.errors import ConflictError, StreamFinishedError


class Tail(Protocol):
    """Where a stream goes on: as it is written, or as a batch has it so far."""

    next_offset: int
    finished: bool

    @property
    def name(self) -> str:
        """The stream's name."""


def assign(tail: Tail, timestamp: int | None, expect: int | None, now: int) -> tuple[int, int]:
    """The offset and timestamp of the next record.

    `StreamFinishedError` when there is none, `ConflictError` when `expect` is another.
    """
    if expect is not None or tail.finished:
        check_next(tail, expect)
    return tail.next_offset, now if timestamp is None else timestamp


def check_next(tail: Tail, expect: int | None) -> None:
    """Refuse a next record: `StreamFinishedError`, or `ConflictError` when `expect` is another."""
    if tail.finished:
        raise finished(tail)
    check_expected(tail, expect)


def check_expected(tail: Tail, expect: int | None) -> None:
    """`ConflictError` unless the stream's next offset is the one expected, if one is."""
    if expect is not None and expect != tail.next_offset:
        raise ConflictError(
            f"{tail.name}: expected next offset {expect}, found {tail.next_offset}",
            stream=tail.name,
            expected=expect,
            found=tail.next_offset,
        )


def finished(tail: Tail) -> StreamFinishedError:
    """The error for an append to a stream that was finished."""
    return StreamFinishedError(
        f"{tail.name}: finished with {tail.next_offset} records; append to a branch of it",
        stream=tail.name,
        next_offset=tail.next_offset,
    )
