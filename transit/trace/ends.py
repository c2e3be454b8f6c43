"""Ends: how a run stands, from the last of its records.

Owns what the end of a run and the records after it say together. The newest end is looked for from
the back, so that of an ended run nothing before it is read; of a run without one everything is.

Ends are noted once more in a stream of layer `trace`, side by side: to list thousands of runs,
a block of each would be read for its last record. A note counts while the end is the last record of
its run, and a store without notes is listed from the runs alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from transit import (
    AlreadyExistsError,
    Log,
    NotFoundError,
    OffsetError,
    Record,
    Stream,
    TransitError,
)
from transit.trace.artifacts import LAYER
from transit.trace.events import Checkpoint, EndStatus, Event, RunEnd, Totals, Unknown, decode_event
from transit.trace.sums import Sums
from transit.trace.views import seen, view_of

# Read at a time on the way back, at first; then twice as many, and so on.
_BACK: Final = 8
_BACK_MAX: Final = 4096
_END: Final = "run_end"
# Totals that cannot be.
_UNREADABLE: Final = {"events": -1}
# What no run has done: a count that a program made up, or damage.
_COUNT_MAX: Final = 1 << 40

_ENDS: Final = "ends"
_ENDS_NAME: Final = f"${LAYER}/{_ENDS}"


class Standing(msgspec.Struct, frozen=True, gc=False):
    """How a run stands: what it did itself, and its newest end.

    end: None where there is none, ended_at: its time, UTC nanoseconds. resumed: whether the run was
    gone on with since.
    """

    totals: Totals
    end: RunEnd | None = None
    ended_at: int | None = None
    resumed: bool = False


def standing_of(stream: Stream) -> Standing:
    """How the run in `stream` stands; records that are no events count for nothing."""
    start = stream.own_start
    try:
        last = stream[-1]
    except OffsetError:
        return Standing(Totals())
    count = last.offset + 1
    if count <= start:
        return Standing(Totals())
    if view_of(stream) is not None:
        return _stands(stream, None, start, count)
    event = _decoded(last.payload)
    if isinstance(event, RunEnd) and _is_sound(event.totals):
        return Standing(event.totals, event, last.timestamp)
    found = _newest_end(stream, start, count)
    if found is None:
        return _stands(stream, None, start, count)
    record, end = found
    return _stands(stream, (record, end), record.offset + 1, count)


def _newest_end(stream: Stream, start: int, stop: int) -> tuple[Record, RunEnd] | None:
    """The last end of a run before `stop` whose totals can be, and its record."""
    size = _BACK
    while stop > start:
        first = max(start, stop - size)
        for record in reversed(list(stream.read(first, stop))):
            if b"run_end" not in record.payload:
                continue
            event = _decoded(record.payload)
            if isinstance(event, RunEnd) and _is_sound(event.totals):
                return record, event
        stop, size = first, min(2 * size, _BACK_MAX)
    return None


def _stands(stream: Stream, found: tuple[Record, RunEnd] | None, start: int, stop: int) -> Standing:
    """What an end says, and what the records from `start` on add to it."""
    sums = Sums(stream.name)
    end, ended_at, resumed = None, None, False
    if found is not None:
        record, end = found
        ended_at = record.timestamp
        sums.go_on(end.totals)
    for record, event in _events(stream, start, stop):
        sums.add(event)
        if isinstance(event, RunEnd):
            # Its totals cannot be, but it ended.
            end, ended_at, resumed = event, record.timestamp, False
        elif isinstance(event, Checkpoint) and event.checkpoint_kind == "resume":
            resumed = True
    return Standing(sums.totals(), end, ended_at, resumed)


def _events(stream: Stream, start: int, stop: int) -> Iterator[tuple[Record, Event]]:
    for record, event in seen(stream, start, stop):
        made = _repaired(event)
        if not isinstance(made, Unknown):
            yield record, made


def _decoded(payload: bytes) -> Event | Unknown:
    """The event in a record."""
    return _repaired(decode_event(payload))


def _repaired(event: Event | Unknown) -> Event | Unknown:
    """An end of a run without its totals, where these cannot be read."""
    if not isinstance(event, Unknown) or event.event != _END or not isinstance(event.data, dict):
        return event
    try:
        return msgspec.convert({**event.data, "totals": _UNREADABLE}, RunEnd)
    except (msgspec.ValidationError, UnicodeEncodeError, RecursionError):
        return event


def _is_sound(totals: Totals) -> bool:
    """Whether a run can have done so much: no count is below 0, or beyond all measure.

    An end is an event itself: of one that counts none nobody counted.
    """
    counts = [
        totals.events, totals.model_calls, totals.tool_calls, totals.calls, totals.failures,
        totals.children,
    ]  # fmt: skip
    counts += totals.untold.values()
    for several in (*totals.tools.values(), *totals.cached.values()):
        counts += several
    told = [count for both in totals.tokens.values() for count in both]
    return (
        totals.events > 0 and min(counts) >= 0 and max(counts) <= _COUNT_MAX
        and min(told, default=0) >= -1 and max(told, default=0) <= _COUNT_MAX
    )  # fmt: skip


# Where ends are noted


class EndNote(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What the end of a run says, beside those of the other runs of the store.

    uid: of the run's stream; offset: of its end there; at: the end's time, UTC nanoseconds.
    """

    uid: str
    offset: int
    at: int
    status: EndStatus
    duration_ns: int = 0
    totals: Totals = Totals()

    def standing(self, stream: Stream) -> Standing | None:
        """How the run stands; None where it must be looked at, as its end is not the last of it."""
        is_last = stream.next_offset == self.offset + 1
        if self.status != "completed" or not is_last or not _is_sound(self.totals):
            return None
        end = RunEnd(status=self.status, duration_ns=self.duration_ns, totals=self.totals)
        return Standing(self.totals, end, self.at)


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(EndNote)


def note_end(log: Log, stream: Stream, offset: int) -> None:
    """Note the end of a run at `offset` in `stream`, for those who list runs.

    Whatever keeps it from being noted, the run says it itself.
    """
    try:
        record = stream[offset]
        end = decode_event(record.payload)
        if isinstance(end, RunEnd):
            note = EndNote(
                uid=stream.uid,
                offset=offset,
                at=record.timestamp,
                status=end.status,
                duration_ns=end.duration_ns,
                totals=end.totals,
            )
            _stream_of_ends(log).append(_encoder.encode(note), durability="os")
    except TransitError:
        return


def _stream_of_ends(log: Log) -> Stream:
    try:
        return log.stream(_ENDS_NAME)
    except NotFoundError:
        pass
    try:
        return log.layer(LAYER).create(_ENDS, codec="json", derived=True, durability="os")
    except AlreadyExistsError:
        # Another run ended at this moment.
        return log.stream(_ENDS_NAME)


def noted_ends(log: Log) -> dict[str, EndNote]:
    """The newest note of each run's end, by the uid of its stream."""
    found: dict[str, EndNote] = {}
    try:
        batches = log.stream(_ENDS_NAME).batches()
    except NotFoundError:
        return found
    for batch in batches:
        for payload in batch.payloads:
            try:
                note = _decoder.decode(payload)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                # Of another version, or another program.
                continue
            found[note.uid] = note
    return found
