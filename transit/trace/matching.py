"""Matching: which recorded call the call is that a program makes in a replay.

A recording consists of lanes (`transit.trace.context`). What one lane did comes in the same order
again; between lanes any order may come. So the first call of a lane finds the recorded lane it is:
the one with the same label, if that begins with this call, else the first that does and is still
free. From then on the lane goes call by call.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from transit import Log, Stream
from transit.trace.calls import Call
from transit.trace.events import (
    CallChunk,
    CallRequest,
    CallResult,
    ChildRun,
    Event,
    RunEnd,
    ToolRequest,
    Unknown,
)
from transit.trace.names import IN_CALL
from transit.trace.records import EventRecord, events_of
from transit.trace.values import name_of, text_of


class RecordedCall:
    """A call of the recording. place: its number among all calls of the run, from 0."""

    __slots__ = ("chunks", "lane", "offset", "place", "request", "result", "timestamp")

    def __init__(self, offset: int, timestamp: int, request: CallRequest, place: int) -> None:
        self.offset = offset
        self.timestamp = timestamp
        self.request = request
        self.place = place
        self.lane: RecordedLane | None = None
        self.chunks: list[tuple[int, CallChunk]] = []
        # Offset and timestamp of the result, and the result; None when it was cut short.
        self.result: tuple[int, int, CallResult] | None = None

    def is_call(self, call: Call) -> bool:
        """Whether it is this call."""
        return (self.request.call_name, self.request.arguments_digest) == (call.name, call.digest)

    def __str__(self) -> str:
        request = self.request
        return str(Call(request.call_name, request.arguments, request.arguments_digest))


class RecordedLane:
    """The calls of one lane, in order; `next` is the number of the first not made again."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.calls: list[RecordedCall] = []
        self.next = 0
        self.taken = False

    @property
    def due(self) -> RecordedCall | None:
        """The call that comes next in it."""
        return self.calls[self.next] if self.next < len(self.calls) else None


class Recording:
    """What a run's stream holds of calls, of runs begun in it, and where each kind of event is.

    What recorded calls did themselves is left out, because they do not run. start: the
    offset of the run, where it is one of several in the stream. own_only: without what the stream
    inherited.
    """

    def __init__(
        self, stream: Stream, events: Iterator[EventRecord], *, own_only: bool, start: int = 0
    ) -> None:
        self.calls: list[RecordedCall] = []
        self.lanes: list[RecordedLane] = []
        self.children: list[tuple[int, ChildRun]] = []
        # Offset after the last event that is not the end of a run.
        self.stop = start
        self.end: RunEnd | None = None
        self.tool_call_ids: dict[int, str] = {}
        self._offsets: dict[type, list[int]] = defaultdict(list)
        self._taken: dict[type, int] = defaultdict(int)
        self._by_id: dict[str, RecordedCall] = {}
        self._by_label: dict[str, RecordedLane] = {}
        first = max(start, stream.own_start) if own_only else start
        for record in events:
            if record.offset < first:
                continue
            if record.headers == IN_CALL:
                continue
            if start and self.end is not None:
                # What follows is another part of the stream.
                break
            self._add(record, record.event)

    def _add(self, record: EventRecord, event: Event | Unknown) -> None:
        offset = record.offset
        self._offsets[type(event)].append(offset)
        if isinstance(event, RunEnd):
            self.end = event
            return
        self.stop = offset + 1
        if isinstance(event, CallRequest):
            self._add_call(RecordedCall(offset, record.timestamp, event, len(self.calls)))
        elif isinstance(event, CallChunk) and event.call_id in self._by_id:
            self._by_id[event.call_id].chunks.append((offset, event))
        elif isinstance(event, CallResult) and event.call_id in self._by_id:
            self._by_id[event.call_id].result = (offset, record.timestamp, event)
        elif isinstance(event, ToolRequest):
            self.tool_call_ids[offset] = event.tool_call_id
        elif isinstance(event, ChildRun):
            self.children.append((offset, event))

    def _add_call(self, call: RecordedCall) -> None:
        label = call.request.lane
        lane = self._by_label.get(label)
        if lane is None:
            lane = self._by_label[label] = RecordedLane(label)
            self.lanes.append(lane)
        call.lane = lane
        lane.calls.append(call)
        self.calls.append(call)
        self._by_id[call.request.call_id] = call

    # Calls

    def lane_for(self, label: str, call: Call) -> RecordedLane | None:
        """The free lane that a lane with this label is, which begins with `call`."""
        same = self._by_label.get(label)
        if same is not None and not same.taken and same.due and same.due.is_call(call):
            return same
        return next(
            (lane for lane in self.lanes if not lane.taken and lane.due and lane.due.is_call(call)),
            None,
        )

    def like(self, lane: RecordedLane, call: Call) -> RecordedLane | None:
        """A lane that did and saw the same so far, and then made this call.

        It may be taken by another part of the program, that has not come further than that.
        """
        return next(
            (
                other
                for other in self.lanes
                if other is not lane
                and (other.next <= lane.next if other.taken else True)
                and len(other.calls) > lane.next
                and other.calls[lane.next].is_call(call)
                and all(map(_same, other.calls[: lane.next], lane.calls[: lane.next]))
            ),
            None,
        )

    def lane_named(self, label: str) -> RecordedLane | None:
        """The lane with this label, if it is free."""
        found = self._by_label.get(label)
        return None if found is None or found.taken else found

    @property
    def due(self) -> RecordedCall | None:
        """The first recorded call that was not made again."""
        found = [lane.due for lane in self.lanes if lane.due is not None]
        return min(found, key=lambda call: call.offset, default=None)

    def ended_with(self, error: BaseException) -> bool:
        """Whether the run ended with such an exception when it was recorded."""
        then = None if self.end is None else self.end.error
        return then is not None and (then.type, then.message) == (
            name_of(type(error)), text_of(error)
        )  # fmt: skip

    # Events without an outcome

    def next_of(self, kind: type) -> int | None:
        """Offset of the next event of a kind; None when all were taken."""
        place, offsets = self._taken[kind], self._offsets[kind]
        return offsets[place] if place < len(offsets) else None

    def take(self, kind: type) -> None:
        """The program has come to the next event of a kind."""
        self._taken[kind] += 1


def _same(one: RecordedCall, other: RecordedCall) -> bool:
    """Whether two calls were the same, and had the same outcome."""
    if one.result is None or other.result is None:
        return False
    first, second = one.result[2], other.result[2]
    values = [[chunk.value for _, chunk in call.chunks] for call in (one, other)]
    return (
        (one.request.call_name, one.request.arguments_digest, first.result, first.error)
        == (other.request.call_name, other.request.arguments_digest, second.result, second.error)
        and values[0] == values[1]
    )  # fmt: skip


def recording_of(log: Log, stream: Stream, *, own_only: bool, start: int = 0) -> Recording:
    """What is recorded in a stream, or in the part of it that begins at `start`."""
    return Recording(stream, events_of(log, stream), own_only=own_only, start=start)
