"""Replay: run a program again on what was recorded of its calls.

The program makes the same calls, and gets the recorded outcomes; the functions are not called. Runs
that it begins inside its own are replayed too. From call `live_from` on calls are made again, and
recorded on a new branch: what came before is inherited, not copied.

The first difference is kept: whatever the program does with the error, further calls raise it
again, and so does the end of the block.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Final

from transit import InvalidInputError, Log, NotFoundError, Stream
from transit.trace.artifacts import artifact_stream
from transit.trace.calls import Call, Given, Outcome
from transit.trace.context import lane
from transit.trace.divergence import (
    Alike,
    Children,
    End,
    ReplayDivergenceError,
    Shared,
    Way,
    children_of,
)
from transit.trace.events import (
    ChildRun,
    Event,
    RunEnd,
    ToolRequest,
)
from transit.trace.matching import RecordedCall, RecordedLane, Recording, recording_of
from transit.trace.names import BRANCH_KIND, describe_run, make_named
from transit.trace.packing import Packing
from transit.trace.pauses import Pauses
from transit.trace.reading import find_stream
from transit.trace.recording import Task
from transit.trace.redaction import Redaction, default_redaction
from transit.trace.tools import ToolCall
from transit.trace.writing import EventWriter, Options

# In the metadata of a branch that a replay made, which the program did not.
LIVE_FROM: Final = "live_from"


class Replay(Task):
    """A task to the program that runs again.

    What it records is dropped while it is replayed, because it is recorded already; offsets
    returned are the recorded ones. `steps` counts the calls answered so far, `live` says whether
    calls are made. Branches, merges and inner runs the program makes are the recorded ones.
    As a context manager it also checks at the end that no recorded call was left out.
    """

    def __init__(
        self,
        log: Log,
        stream: Stream,
        options: Options,
        recording: Recording,
        way: Way,
        *,
        shared: Shared | None = None,
        alike: Alike | None = None,
    ) -> None:
        super().__init__(log, stream, options)
        self.steps = 0
        self.live = False
        self._recording = recording
        self._way = way
        self._live_from = way.live_from
        self._shared = shared or Shared()
        self._alike = alike
        self._passed: list[type] = []
        self._turn = threading.RLock()
        self._reached: int | None = None
        self._lanes_of: dict[str, RecordedLane] = {}
        self._answered: list[RecordedCall] = []
        self._pauses = Pauses(recording, lambda: (self.steps, self.live))
        self._forked: set[str] = set()
        self._begun: set[int] = set()
        self._loaded: dict[int, tuple[Stream, Recording]] = {}

    @property
    def last(self) -> int | None:
        """Offset of the last record, of those the program has come to."""
        return super().last if self.live else self._reached

    # Calls

    def begin_call(self, call: Call) -> str | Outcome:
        """The recorded outcome of the call; its id when it is to be made.

        Raises `ReplayDivergenceError`.
        """
        self._check()
        self._decide(lambda recording: recording.lane_for(lane().label, call) is not None)
        with self._turn:
            found = self._match(call)
            if found is not None:
                return self._answer(found, call)
            if not self.live:
                self._go_live()
        return super().begin_call(call)

    def _check(self) -> None:
        """Raise the first difference again."""
        if self._shared.divergence is not None:
            raise self._shared.divergence

    def _match(self, call: Call) -> RecordedCall | None:
        """The recorded call that this one is; None when it is to be made."""
        here = lane().label
        found = self._lane_of(here, call)
        due = None if found is None else found.due
        fits = due is not None and due.is_call(call)
        if self._is_live(due) or (self.live and not fits):
            return None
        if fits:
            return due
        if due is None and self._goes_on_at_the_end():
            return None
        if found is None:
            named = self._recording.lane_named(here)
            due = self._recording.due if named is None else named.due
            if due is None and self._live_from is not None:
                return None
        if due is None:
            raise self._diverged(self.stream.next_offset, "no further call", str(call))
        raise self._diverged(due.offset, str(due), str(call))

    def _lane_of(self, here: str, call: Call) -> RecordedLane | None:
        """The recorded lane that the one with this label is, given what it calls now."""
        found = self._lanes_of.get(here)
        if found is None:
            found = self._recording.lane_for(here, call)
            if found is not None and not self._is_live(found.due):
                found.taken = True
                self._lanes_of[here] = found
            return found
        if found.due is None or not found.due.is_call(call):
            # Until now it did the same as another, which it may be as well.
            other = self._recording.like(found, call)
            if other is not None:
                self._exchange(here, found, other)
                return other
        return found

    def _exchange(self, here: str, one: RecordedLane, other: RecordedLane) -> None:
        """Go on in lane `other` from here on, and with what went on there in `one`."""
        one.next, other.next = other.next, one.next
        one.taken, other.taken = other.taken, True
        for label, each in self._lanes_of.items():
            if each is other:
                self._lanes_of[label] = one
        self._lanes_of[here] = other

    def _is_live(self, due: RecordedCall | None) -> bool:
        """Whether a recorded call is to be made again."""
        if due is None or self._live_from is None:
            return False
        return due.result is None if self._live_from == "end" else due.place >= self._live_from

    def _goes_on_at_the_end(self) -> bool:
        """Whether a lane whose calls were all answered goes on with calls that are made."""
        return self._live_from is not None and (
            self.live or self._live_from == "end" or self.steps >= self._live_from
        )

    def _answer(self, found: RecordedCall, call: Call) -> Outcome:
        if found.result is None:
            raise self._diverged(
                found.offset, f"a recorded outcome of {found}", "none: it was cut short"
            )
        assert found.lane is not None
        found.lane.next += 1
        self.steps += 1
        self._answered.append(found)
        offset, _, result = found.result
        self._reach(offset)
        given = Given(result, partial(self._pauses.until_result, found))
        return Outcome(given, partial(self._chunks, found), self._way.allow_redacted)

    def _chunks(self, found: RecordedCall) -> Iterator[Given]:
        for offset, chunk in found.chunks:
            yield Given(chunk, partial(self._pauses.until, offset))

    def _diverged(self, offset: int, expected: str, actual: str) -> ReplayDivergenceError:
        error = ReplayDivergenceError(self.name, offset, expected=expected, actual=actual)
        if self._shared.divergence is None:
            self._shared.divergence = error
        return error

    # Going live

    @property
    def _cut(self) -> int:
        """Offset where a branch would begin; all before is recorded already."""
        due = None if self._live_from == "end" else self._recording.due
        return self.stream.next_offset if due is None else due.offset

    def _go_live(self) -> None:
        """Branch off right before the next call, and go on there."""
        past, cut = self.stream, self._cut
        metadata = describe_run(self.options, self.task_id, "", f"live from call {self.steps}")
        metadata |= {BRANCH_KIND: "retry", LIVE_FROM: self.steps}

        def make(chosen: str) -> Stream:
            return past.branch(chosen, cut - 1, metadata, durability=self.durability)

        wanted = self._way.branch_name
        if wanted is None:
            self.stream = make_named(self.log, f"{self.task_id}/retry", make)
        else:
            self.stream = make(wanted)
        # Nothing was written before, so nothing is known yet of what the branch holds.
        self._out = EventWriter(self.log, self.stream, self.options)
        self.live = True
        # Outcomes that were given, and recorded only after the fork.
        late = [call.result for call in self._answered if call.result and call.result[0] >= cut]
        for _, timestamp, result in sorted(late, key=lambda found: found[0]):
            self._out.write_call(result, None, timestamp)

    def _pass(self, kind: type) -> int | None:
        """The offset of an event that is recorded already; None when it is to be recorded."""
        with self._turn:
            if self.live:
                return None
            offset = self._next_of(kind)
            if offset is None and self._is_through:
                # New, and all that was to be replayed is.
                self._go_live()
                return None
            if self._alike is None:
                self._recording.take(kind)
            else:
                self._passed.append(kind)
            if offset is not None:
                self._reach(offset)
            return (self._reached or 0) if offset is None else offset

    @property
    def _is_through(self) -> bool:
        """Whether all calls that were to be replayed were."""
        if self._live_from is None:
            return False
        if self._live_from == "end":
            return all(
                lane.due is None or lane.due.result is None for lane in self._recording.lanes
            )
        return self.steps >= self._live_from

    def _next_of(self, kind: type) -> int | None:
        """Offset of the recorded event that one of this kind is now; None for one that is new."""
        offset = self._recording.next_of(kind)
        if offset is not None and self._is_through and offset >= self._cut:
            return None
        return offset

    def _reach(self, offset: int) -> None:
        self._reached = max(self._reached or 0, offset)

    # Runs begun inside

    def recorded_child(self, name: str | None, purpose: str) -> Replay:
        """The replay of a run that the recorded program began inside this one.

        name: of its stream, as the program gives it; None: it gives none.
        """
        self._check()
        self._decide(lambda recording: bool(children_of(recording, name, purpose)))
        with self._turn:
            free = self._free(children_of(self._recording, name, purpose))
            if not free:
                wanted = "a run" if name is None else f"the run {name!r}"
                raise self._diverged(self.stream.next_offset, "no further run", wanted)
            taken = self._lanes_of.get(lane().label)
            label = lane().label if taken is None else taken.label
            # Those of this lane first.
            free.sort(key=lambda each: each[1].lane != label)
            alike = None
            if name is None and len(free) > 1:
                alike = Alike(self, free)
                stream, recording = self._child(free[0])
            else:
                found = self.take_child(free, lambda recording: True)
                assert found is not None
                stream, recording = found
        return Replay(
            self.log, stream, self.options, recording, self._way.inside,
            shared=self._shared, alike=alike,
        )  # fmt: skip

    def _free(self, children: Children) -> Children:
        return [each for each in children if each[0] not in self._begun]

    def take_child(
        self, children: Children, fits: Callable[[Recording], bool]
    ) -> tuple[Stream, Recording] | None:
        """The first of these runs that is free and fits, or is free; None when none is."""
        with self._turn:
            free = self._free(children)
            if not free:
                return None
            chosen = next((each for each in free if fits(self._child(each)[1])), free[0])
            self._begun.add(chosen[0])
            self._reach(chosen[0])
            return self._child(chosen)

    def _child(self, child: tuple[int, ChildRun]) -> tuple[Stream, Recording]:
        offset, begun = child
        if offset not in self._loaded:
            try:
                found = self.log.stream(uid=begun.uid) if begun.uid else self.log.stream(begun.run)
            except NotFoundError:
                raise self._diverged(offset, f"the run {begun.run!r}", "none of the name") from None
            recording = recording_of(self.log, found, own_only=False, start=begun.start)
            self._loaded[offset] = found, recording
        return self._loaded[offset]

    def _decide(self, fits: Callable[[Recording], bool]) -> None:
        """Decide which of several recorded runs this one is, now that it does something."""
        with self._turn:
            if self._alike is None:
                return
            found, self._alike = self._alike.choose(fits), None
            if found is None:
                raise self._diverged(self.stream.next_offset, "no further run", "a run")
            self.stream, self._recording = found
            self._pauses = Pauses(self._recording, lambda: (self.steps, self.live))
            for kind in self._passed:
                self._recording.take(kind)

    # What is recorded already

    def tool(
        self,
        name: str,
        arguments: object = None,
        *,
        tool_call_id: str | None = None,
        timestamp: int | None = None,
    ) -> ToolCall:
        """As `Task.tool`; the id is the recorded one, for a result that is recorded live."""
        if tool_call_id is None and not self.live:
            offset = self._next_of(ToolRequest)
            tool_call_id = None if offset is None else self._recording.tool_call_ids[offset]
        return super().tool(name, arguments, tool_call_id=tool_call_id, timestamp=timestamp)

    def _write(self, event: Event, timestamp: int | None = None) -> int:
        offset = self._pass(type(event))
        return super()._write(event, timestamp) if offset is None else offset

    def _write_packed(
        self, kind: type[Event], make: Callable[[Packing], Event], timestamp: int | None = None
    ) -> int:
        offset = self._pass(kind)
        return super()._write_packed(kind, make, timestamp) if offset is None else offset

    def _store(self, data: bytes, digest: str) -> str:
        return super()._store(data, digest) if self.live else artifact_stream(digest)

    def _fork(self, kind: str, at: int | None, reason: str, actor: str, name: str | None) -> Task:
        if self.live:
            return super()._fork(kind, at, reason, actor, name)
        self._check()
        # One that was given up and hidden since was recorded all the same.
        for child in self.log.lineage.children(self.stream, hidden=True):
            fits = child.kind == "branch" and child.metadata.get(BRANCH_KIND) == kind
            if fits and name in (None, child.name) and self._is_new(child):
                return self._replay_of(child)
        raise self._diverged(self.stream.next_offset, f"no further {kind}", name or kind)

    def recorded_merge(self, streams: Sequence[Stream]) -> Task:
        """The merge of these runs that was recorded."""
        self._check()
        uids = tuple(stream.uid for stream in streams)
        for child in self.log.lineage.children(streams[0], hidden=True):
            if child.kind == "merge" and child.parent_uids == uids and self._is_new(child):
                return self._replay_of(child)
        wanted = f"a merge of {', '.join(stream.name for stream in streams)}"
        raise self._diverged(self.stream.next_offset, "no further merge", wanted)

    def _is_new(self, child: Stream) -> bool:
        """Whether the recorded run made this child, and the program has not come to it yet."""
        return child.uid not in self._forked and LIVE_FROM not in child.metadata

    def _replay_of(self, child: Stream) -> Replay:
        self._forked.add(child.uid)
        recording = recording_of(self.log, child, own_only=True)
        return Replay(
            self.log, child, self.options, recording, self._way.inside, shared=self._shared
        )

    # The end

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            super().__exit__(kind, error, trace)
            return
        self._leave()
        self._ended = True
        if error is not None and error is self._shared.divergence:
            return
        self._check()
        if error is not None and not isinstance(error, Exception):
            return
        try:
            self._decide(lambda recording: recording.due is None)
            self._check_all_were_made()
        except ReplayDivergenceError as divergence:
            if error is None or self._recording.ended_with(error):
                raise
            # The program's own exception goes on. Where it is caught, the difference stands.
            error.add_note(str(divergence))

    def _end(self, error: BaseException | None, timestamp: int | None = None) -> int:
        if self.live:
            return super()._end(error, timestamp)
        offset = self._pass(RunEnd)
        if self.live:
            return super()._end(error, timestamp)
        return -1 if offset is None else offset

    def _check_all_were_made(self) -> None:
        due, end = self._recording.due, "the end of the program"
        if due is not None:
            raise self._diverged(due.offset, str(due), end)
        left = self._free(self._recording.children)
        if left:
            raise self._diverged(left[0][0], f"the run {left[0][1].run!r}", end)


def replay(
    log: Log,
    stream: str | Stream,
    *,
    live_from: int | End | None = None,
    name: str | None = None,
    durability: str = "os",
    redact: Redaction | None = None,
    allow_redacted: bool = False,
) -> Replay:
    """Run a program again on what was recorded in `stream`: a `with` block that is its task.

    live_from: the call, counted from 0, from which on calls are made again, on a new branch; the
    count of recorded calls goes on where the recording ends. "end": every call that has a recorded
    outcome is answered and all others are made, which finishes a run that was killed. None: never.
    name: of that branch; None: `<task_id>/retry-<n>`. redact: the policy it was recorded under, by
    which calls are compared. allow_redacted: give results that the policy changed as they are.
    Raises `NotFoundError`, and `InvalidInputError` for a `live_from` past the recording.
    """
    found = find_stream(log, stream)
    recording = recording_of(log, found, own_only=False)
    if live_from != "end":
        _check_live_from(live_from, recording, found)
    elif not recording.stop:
        raise InvalidInputError(f"{found.name}: nothing is recorded: begin a task")
    options = Options(durability, default_redaction() if redact is None else redact)
    return Replay(log, found, options, recording, Way(live_from, name, allow_redacted))


def _check_live_from(live_from: int | None, recording: Recording, stream: Stream) -> None:
    if live_from is None:
        return
    calls = len(recording.calls)
    if type(live_from) is not int or not 0 <= live_from <= calls:
        raise InvalidInputError(f'live_from must be 0 to {calls}, or "end", not {live_from!r}')
    if live_from == 0 and (recording.calls[0].offset if calls else len(stream)) == 0:
        raise InvalidInputError(f"{stream.name}: nothing is recorded before call 0: begin a task")
    cut = [call.place for call in recording.calls[:live_from] if call.result is None]
    if cut:
        raise InvalidInputError(
            f"{stream.name}: call {cut[0]} has no outcome, because the run was cut short in it: "
            f'live_from={cut[0]} makes it again, "end" makes only what has no outcome'
        )
