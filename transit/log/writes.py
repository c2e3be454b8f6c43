"""What a writer is given and gives back: records to write, where they ended, why they were not."""

from __future__ import annotations

from typing import NamedTuple

from transit.errors import ConflictError
from transit.format.record import Columns
from transit.log.catalog import StreamState
from transit.log.wal import Wal


class Written(NamedTuple):
    """Where a frame ends: its file, and the position there that must be durable."""

    wal: Wal
    stop: int


class Group(NamedTuple):
    """Records for one stream in a frame to be."""

    state: StreamState
    columns: Columns


def conflict(state: StreamState, expect: int, found: int) -> ConflictError:
    """The error for an append that expected another next offset."""
    return ConflictError(
        f"{state.name}: expected next offset {expect}, found {found}",
        stream=state.name,
        expected=expect,
        found=found,
    )
