"""Records that are accepted and not framed yet.

Owns two kinds of them: those of durability "memory", which have their offsets, and late ones, taken
up in the middle of another call of the same thread, which get theirs when they are framed. Both are
framed before any later record. Only the writer uses this, in its turn; but `late.append` may be
called at any moment.

A frame that holds such records may be interrupted: `Begun` says what was meant to be written, and
the file whether it was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter
from time import time_ns
from typing import Final, NamedTuple

from transit.format.record import Columns, measure
from transit.log.catalog import StreamState
from transit.log.clock import LATEST
from transit.log.frames import Group, Written
from transit.log.wal import Wal

# About what a record takes in memory beside its payload.
COST: Final = 200
_BY_STREAM: Final = attrgetter("state.id")


class Late:
    """A record taken up in the middle of another call; `written` is None until it is framed.

    Then it has its offset, and as its timestamp the given one or the time when it was framed.
    `lost`: it will never be framed.
    """

    __slots__ = (
        "headers", "lost", "offset", "payload", "state", "taken_up", "timestamp", "written",
    )  # fmt: skip

    def __init__(
        self, state: StreamState, payload: bytes, headers: bytes, timestamp: int | None
    ) -> None:
        self.state = state
        self.payload = payload
        self.headers = headers
        self.taken_up = timestamp is None
        self.timestamp = min(time_ns(), LATEST) if timestamp is None else timestamp
        self.offset = -1
        self.written: Written | None = None
        self.lost = False

    @property
    def is_pending(self) -> bool:
        """Whether it may still be framed."""
        return self.written is None and not self.lost

    @property
    def cost(self) -> int:
        """About what it takes in memory, bytes."""
        return len(self.payload) + len(self.headers) + COST


class Taken(NamedTuple):
    """What a frame takes: its groups with their first offsets, and whose records they are."""

    groups: list[tuple[int, Group]]
    states: Sequence[StreamState]
    late: Sequence[Late]


class Begun(NamedTuple):
    """A frame of accepted records, and where it was to be written."""

    wal: Wal
    position: int
    frame: bytes | bytearray
    taken: Taken

    @property
    def written(self) -> Written | None:
        """Where it ends, if the file holds it."""
        size = len(self.frame)
        if self.wal.file.read_at(self.position, size) != self.frame:
            return None
        return Written(self.wal, self.position + size)


class Accepted:
    """What one writer has accepted; `size_max` bytes of it, about, go into one frame.

    `states` are the streams with records that have their offsets, `size` what those take.
    """

    def __init__(self, size_max: int) -> None:
        self.size_max = size_max
        self.size = 0
        self.states: dict[StreamState, None] = {}
        self.late: deque[Late] = deque()

    def add(
        self, state: StreamState, payload: bytes, headers: bytes, offset: int, timestamp: int
    ) -> None:
        """Take a record that has its offset."""
        self.size += len(payload) + len(headers) + COST
        self.states[state] = None
        state.next_offset = offset + 1
        # Last, and the only call: an interrupt comes before all of it or after.
        state.waiting.append((payload, timestamp, headers))

    def next(self, now: int) -> Taken | None:
        """What the next frame takes; None when nothing is left. It stays until it is dropped."""
        # A call that was about to accept a record and was interrupted left a stream without any.
        waiting = [state for state in self.states if state.waiting]
        if waiting:
            return Taken([_waiting_group(state) for state in waiting], waiting, ())
        late: list[Late] = []
        size = 0
        for each in list(self.late):
            size += each.cost
            if late and size > self.size_max:
                break
            late.append(each)
        groups = [
            _late_group(list(records), now)
            for _, records in groupby(sorted(late, key=_BY_STREAM), _BY_STREAM)
        ]
        return Taken(groups, (), late) if late else None

    def drop(self, taken: Taken, written: Written) -> None:
        """Let go of what a frame took; again, where an interrupt kept it from being done."""
        for state in taken.states:
            state.waiting.clear()
        if taken.states:
            self.states.clear()
            self.size = 0
        for late in taken.late:
            late.written = written
        while self.late and self.late[0].written is not None:
            self.late.popleft()

    def forget(self) -> None:
        """Lose everything: it must not seem to be there."""
        for state in self.states:
            state.next_offset -= len(state.waiting)
            state.waiting.clear()
        self.states.clear()
        while self.late:
            self.late[0].lost = True
            self.late.popleft()


def _waiting_group(state: StreamState) -> tuple[int, Group]:
    payloads, timestamps, headers = zip(*state.waiting, strict=True)
    return state.next_offset - len(payloads), _group(state, payloads, timestamps, headers)


def _late_group(records: list[Late], now: int) -> tuple[int, Group]:
    state = records[0].state
    for offset, late in enumerate(records, state.next_offset):
        late.offset = offset
        if late.taken_up:
            late.timestamp = now
    payloads = [late.payload for late in records]
    timestamps = [late.timestamp for late in records]
    headers = [late.headers for late in records]
    return state.next_offset, _group(state, payloads, timestamps, headers)


def _group(
    state: StreamState,
    payloads: Sequence[bytes],
    timestamps: Sequence[int],
    headers: Sequence[bytes],
) -> Group:
    encoded = [entry or b"{}" for entry in headers] if any(headers) else None
    return Group(state, Columns(payloads, measure(payloads), timestamps, encoded))
