"""What a writer is given and gives back: records to write, where they ended, why they were not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import repeat
from typing import NamedTuple

from transit.errors import ConflictError, OutcomeUnknownError
from transit.format.record import Columns
from transit.log.catalog import Catalog, StreamState
from transit.log.wal import Wal


class Written(NamedTuple):
    """Where a frame ends: its file, and the position there that must be durable."""

    wal: Wal
    stop: int


class Group(NamedTuple):
    """Records for one stream in a frame to be."""

    state: StreamState
    columns: Columns


class Frame(NamedTuple):
    """A frame to be: parts to join, count of records, (stream id, first offset) of each chunk."""

    parts: list[bytes]
    records: int
    chunks: list[tuple[int, int]]


def conflict(state: StreamState, expect: int, found: int) -> ConflictError:
    """The error for an append that expected another next offset."""
    return ConflictError(
        f"{state.name}: expected next offset {expect}, found {found}",
        stream=state.name,
        expected=expect,
        found=found,
    )


InDoubt = tuple[tuple[str, int, int], ...]
"""(stream name, first offset, last offset) of records that may or may not survive."""


def in_doubt(catalog: Catalog, wal: Wal) -> InDoubt:
    """The records of `wal` that are written and not known to be durable."""
    doubt = []
    for stream_id, chunks in list(wal.index.items()):
        rows = [row for row, at in enumerate(chunks.positions) if at >= wal.durable]
        if rows:
            state = catalog.state(stream_id)
            last = state.next_offset - len(state.waiting) - 1
            doubt.append((state.name, chunks.firsts[rows[0]], last))
    return tuple(doubt)


def outcome_unknown(reason: str, doubt: InDoubt) -> OutcomeUnknownError:
    """The error for records whose sync failed."""
    named = ", ".join(f"{name}@{first}…{last}" for name, first, last in doubt) or "no records"
    return OutcomeUnknownError(f"{reason}; in doubt: {named}", in_doubt=doubt)


def say(error: BaseException) -> str:
    """What `error` says, or what it is when it says nothing."""
    return str(error) or type(error).__name__


def set_all(objects: Iterable[object], name: str, values: Iterable[object]) -> None:
    """Give attribute `name` of each object its value, in a single call into C.

    No other thread and no signal handler sees some of them set and others not.
    """
    deque(map(setattr, objects, repeat(name), values), maxlen=0)
