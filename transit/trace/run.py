"""A run being written: its stream, and what calls and events need to be recorded there.

Owns that an event which cannot be recorded is counted and never the program's affair, unless the
run is strict. What an agent calls is in `transit.trace.recording`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from transit import InvalidInputError, Log, Stream
from transit.trace.artifacts import store_bytes
from transit.trace.calls import Call, Ended, Outcome
from transit.trace.context import Lane, in_call, lane
from transit.trace.errors import describe
from transit.trace.events import CallChunk, CallRequest, CallResult, ChildRun, Event
from transit.trace.failures import dropped
from transit.trace.forms import Forms
from transit.trace.ids import new_id
from transit.trace.names import IN_CALL, TASK_ID
from transit.trace.packing import Packing
from transit.trace.parts import KnownParts
from transit.trace.writing import EventWriter, Options

# The offset of an event that could not be recorded, or is not written yet.
NOWHERE: Final = -1


class Run:
    """A stream that is being recorded; see `transit.trace.recording.Task`."""

    # What is recorded of one that a recorded function is given: the same in a replay.
    __recorded_as__: Final = "transit.trace.Task"

    def __init__(
        self, log: Log, stream: Stream, options: Options, known: KnownParts | None = None
    ) -> None:
        self.log = log
        self.stream = stream
        self.options = options
        self._out = EventWriter(log, stream, options, known)
        self.forms = Forms()
        self._lanes: list[Lane] = []
        self._ended = False

    def __repr__(self) -> str:
        return f"<transit.trace.{type(self).__name__} {self.name!r}>"

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.stream.name

    @property
    def durability(self) -> str:
        """What each record waits for."""
        return self.options.durability

    @property
    def task_id(self) -> str:
        """The id of the task this is, or is a branch or merge of."""
        found = self.stream.metadata.get(TASK_ID)
        return found if isinstance(found, str) else self.name

    @property
    def last(self) -> int | None:
        """Offset of the last record, inherited ones included; None when there is none."""
        return self.stream.last_offset

    @property
    def has_ended(self) -> bool:
        """Whether its end was recorded, and its block not entered again."""
        return self._ended

    # Recorder: what calls need

    def begin_call(self, call: Call) -> str | Outcome:
        """Record that a call is made; its id."""
        call_id = new_id("call")
        event = CallRequest(
            call_id=call_id,
            call_name=call.name,
            arguments=call.arguments,
            arguments_digest=call.digest,
            redacted=call.redacted,
            lane=lane().label,
        )
        self._write_call(event)
        return call_id

    def chunk_call(self, call_id: str, value: object) -> None:
        """Record a value that a generator gave."""
        found = self.forms.exact(value, "value")
        event = CallChunk(call_id=call_id, value=found.value, not_replayable=found.lost)
        self._write_call(event)

    def end_call(self, call_id: str, call: Call, ended: Ended) -> None:
        """Record what came of a call."""
        found = self.forms.exact(ended.result, "result")
        event = CallResult(
            call_id=call_id,
            call_name=call.name,
            call_status="success" if ended.error is None else "failure",
            result=found.value,
            error=None if ended.error is None else describe(ended.error),
            not_replayable=found.lost,
            given_as=ended.given_as,
            is_argument=ended.is_argument,
            changed=ended.changed,
            lost_change=ended.lost_change,
            redacted=ended.redacted,
            duration_ns=ended.duration_ns,
        )
        self._write_call(event)

    def begin_child(self, child: ChildRun) -> int:
        """Record that a run is begun, or gone on with, inside this one: the offset of that."""
        return self._write(msgspec.structs.replace(child, lane=lane().label))

    def clean(self, value: object) -> tuple[object, int]:
        """A value as the run's policy lets it be recorded, and how many places were changed."""
        policy = self.options.redaction
        return (value, 0) if policy is None else policy.value(value)

    # Writing

    def _headers(self) -> dict[str, str] | None:
        """What says that a record was made by a recorded call, which a replay does not run."""
        return IN_CALL if in_call.get() is self else None

    def _here(self) -> str:
        return f"{self.name}@{self.last if self.last is not None else -1}"

    def _store(self, data: bytes, digest: str) -> str:
        try:
            return store_bytes(self.log, data, digest, self.durability)
        except Exception as error:
            self._failed(error)
            return ""

    def _write(self, event: Event, timestamp: int | None = None) -> int:
        """Append an event that has no parts."""
        if timestamp is not None:
            _check_time(timestamp)
        try:
            return self._out.write(event, IN_CALL if in_call.get() is self else None, timestamp)
        except Exception as error:
            return self._failed(error)

    def _write_call(self, event: CallRequest | CallChunk | CallResult) -> int:
        """Append an event of a call."""
        try:
            return self._out.write_call(event, self._headers())
        except Exception as error:
            return self._failed(error)

    def _write_packed(
        self, kind: type[Event], make: Callable[[Packing], Event], timestamp: int | None = None
    ) -> int:
        """Append an event that refers to parts the history holds, and brings the others along."""
        if timestamp is not None:
            _check_time(timestamp)
        try:
            headers = IN_CALL if in_call.get() is self else None
            return self._out.write_packed(make, headers, timestamp)
        except Exception as error:
            return self._failed(error)

    def _failed(self, error: Exception) -> int:
        if self.options.strict:
            raise error
        dropped.add(self.name, error)
        return NOWHERE


def _check_time(timestamp: object) -> None:
    if type(timestamp) is not int:
        raise InvalidInputError(f"timestamp must be nanoseconds, not {timestamp!r}")
