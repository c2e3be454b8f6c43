"""What the protocol remembers of a stream: its producers, its sequence, when it was last used.

It is kept in stream `streams/<uid>` of layer `server`, a record a change, written in the frame of
the data that the change belongs to: a crash leaves both or neither, so a producer that sends again
what was acknowledged is told that it is there, and its data is there once. Every record is written
on the condition that nobody wrote another one meanwhile.

A record names what changed; every `WHOLE`th holds all, so that opening reads as many at the most.

    full       whether it holds all that is remembered
    producers  by id: [epoch, last sequence number, next offset after it]
    seq        the last Stream-Seq
    closed_by  [id, epoch, sequence number] of the producer whose request closed the stream
    touched    when the stream was last used, UTC nanoseconds; for streams with a time to live
"""

from __future__ import annotations

from typing import Final

import msgspec

from transit import Log, NotFoundError, Stream, WriteBatch
from transit.protocol.fields import Producer

WHOLE: Final = 256
LAYER: Final = "server"
ABOUT: Final = "about_uid"
KEPT: Final = 10_000


class Change(msgspec.Struct, omit_defaults=True):
    """One record: what changed."""

    full: bool = False
    producers: dict[str, tuple[int, int, int]] = {}
    seq: str | None = None
    closed_by: tuple[str, int, int] | None = None
    touched: int | None = None


_DECODER: Final = msgspec.json.Decoder(Change)
_ENCODER: Final = msgspec.json.Encoder()


class State:
    """What is remembered of one stream."""

    __slots__ = ("closed_by", "next_record", "producers", "seq", "stream", "touched", "used")

    def __init__(self, stream: Stream | None) -> None:
        # The stream of its records; None until there is one.
        self.stream = stream
        self.next_record = 0
        self.producers: dict[str, tuple[int, int, int]] = {}
        self.seq: str | None = None
        self.closed_by: Producer | None = None
        # When it was used, as recorded, and as this process knows.
        self.touched = 0
        self.used = 0

    def apply(self, change: Change) -> None:
        """Take up a record."""
        if change.full:
            self.producers.clear()
        self.producers.update(change.producers)
        if change.seq is not None:
            self.seq = change.seq
        if change.closed_by is not None:
            self.closed_by = Producer(*change.closed_by)
        if change.touched is not None:
            self.touched = change.touched
        self.next_record += 1

    def whole(self) -> Change:
        """The record that holds all of it."""
        return Change(True, dict(self.producers), self.seq, self.closed_by, self.touched)


class States:
    """The states of the streams of one store."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._layer = log.layer(LAYER)
        self._states: dict[str, State] = {}

    def of(self, stream: Stream) -> State:
        """What is remembered of `stream`, as the store has it now."""
        state = self._states.get(stream.uid)
        if state is None:
            state = self._states[stream.uid] = self._load(stream)
            self._forget_some()
        elif state.stream is not None and len(state.stream) != state.next_record:
            # Another process wrote it.
            used = state.used
            state = self._states[stream.uid] = self._load(stream)
            state.used = used
        return state

    def forget(self, stream: Stream) -> None:
        """Read what is remembered anew when it is asked for."""
        self._states.pop(stream.uid, None)

    def _forget_some(self) -> None:
        # One that was used has a time to live, and is known to be used here alone.
        while len(self._states) > KEPT:
            oldest = next((uid for uid, each in self._states.items() if not each.used), None)
            if oldest is None:
                return
            del self._states[oldest]

    def _load(self, stream: Stream) -> State:
        try:
            records = self._layer.stream(f"streams/{stream.uid}")
        except NotFoundError:
            return State(None)
        state = State(records)
        count = len(records)
        changes: list[Change] = []
        for start in range(count, 0, -32):
            part = [_DECODER.decode(each.payload) for each in records[max(0, start - 32) : start]]
            changes[:0] = part
            if any(change.full for change in part):
                break
        for change in changes:
            state.apply(change)
        state.next_record = count
        return state

    def stage(self, batch: WriteBatch, stream: Stream, change: Change) -> Change:
        """Add what changed to `batch`; the record, to be applied once the batch is written."""
        state = self.of(stream)
        if state.next_record % WHOLE == WHOLE - 1:
            after = self._copy(state)
            after.apply(change)
            change = after.whole()
        payload = _ENCODER.encode(change)
        if state.stream is None:
            metadata = {ABOUT: stream.uid}
            made = batch.create(f"streams/{stream.uid}", metadata, layer=LAYER)
            batch.append(made, payload)
        else:
            batch.append(state.stream, payload, expect=state.next_record)
        return change

    def written(self, stream: Stream, change: Change) -> None:
        """Take up a record that was staged and is written."""
        # Not `of`: it reads anew what this record is the last of.
        state = self._states.get(stream.uid)
        if state is None:
            return
        if state.stream is None:
            state.stream = self._layer.stream(f"streams/{stream.uid}")
        if state.next_record < len(state.stream):
            state.apply(change)

    def _copy(self, state: State) -> State:
        copy = State(state.stream)
        copy.producers = dict(state.producers)
        copy.seq, copy.closed_by, copy.touched = state.seq, state.closed_by, state.touched
        return copy
