"""Records that one frame in the making is to append to one stream, and where its tail will be.

Owns which offsets and timestamps they get, one by one or many at once, by the one rule
(`transit.log.assign`), and how many a frame takes of one stream.
"""

from __future__ import annotations

from collections.abc import Sequence

from transit.errors import InvalidInputError
from transit.format.record import COUNT_MAX, Columns, measure
from transit.log.assign import assign
from transit.log.catalog import StreamState


class Pending:
    """Records to append to one stream; `first` is the offset of the first of them."""

    __slots__ = ("finished", "first", "headers", "next_offset", "payloads", "state", "timestamps")

    def __init__(self, state: StreamState, finished: bool) -> None:
        self.state = state
        self.finished = finished
        self.first = self.next_offset = state.next_offset
        self.payloads: list[bytes] = []
        self.timestamps: list[int] = []
        self.headers: list[bytes] = []

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.state.name

    def append(
        self, payload: bytes, headers: bytes, timestamp: int | None, expect: int | None, now: int
    ) -> tuple[int, int]:
        """One more record; its offset and timestamp."""
        offset, given = self._next(timestamp, expect, now, 1)
        self.payloads.append(payload)
        self.timestamps.append(given)
        self.headers.append(headers or b"{}")
        self.next_offset = offset + 1
        return offset, given

    def append_many(
        self, columns: Columns, times: Sequence[int] | None, expect: int | None, now: int
    ) -> tuple[int, Sequence[int]]:
        """More records, their payloads and headers; the offset of the first, all timestamps.

        times: one a record; None: all get the engine's.
        """
        count = len(columns.payloads)
        offset, now = self._next(None, expect, now, count)
        given = [now] * count if times is None else times
        headers = columns.headers
        self.payloads += columns.payloads
        self.timestamps += given
        self.headers += [headers or b"{}"] * count if isinstance(headers, bytes | None) else headers
        self.next_offset = offset + count
        return offset, given

    def _next(
        self, timestamp: int | None, expect: int | None, now: int, count: int
    ) -> tuple[int, int]:
        """The offset and timestamp of the next record, which `count - 1` others follow."""
        offset, given = assign(self, timestamp, expect, now)
        if len(self.payloads) + count > COUNT_MAX:
            raise InvalidInputError(f"{self.name}: more than {COUNT_MAX} records in one frame")
        return offset, given

    def columns(self, writer: str) -> Columns:
        """The records as they are written, by `writer`."""
        payloads = self.payloads
        return Columns(payloads, measure(payloads), self.timestamps, self.headers, writer=writer)
