"""Replay: run a program again on what was recorded of its calls.

The program makes the same calls in the same order, and gets the recorded outcomes; the functions
are not called. From call `live_from` on calls are made again, and recorded on a new branch
that begins right before that call: what came before is inherited, not copied.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Final

from transit import InvalidInputError, Log, Stream, TransitError
from transit.trace.artifacts import artifact_stream
from transit.trace.calls import Call, Outcome
from transit.trace.context import leave
from transit.trace.events import (
    CallRequest,
    CallResult,
    Event,
    RunEnd,
    ToolRequest,
    Unknown,
    decode_event,
)
from transit.trace.packed import PackedEvents
from transit.trace.parts import KnownParts, Packing
from transit.trace.reading import find_stream
from transit.trace.recording import BRANCH_KIND, IN_CALL, Task, describe, make_named
from transit.trace.tools import ToolCall

# In the metadata of a branch that a replay made, which the program did not.
LIVE_FROM: Final = "live_from"
# How long an awaited outcome is held back while the program makes no call: about a second.
_QUICK_ROUNDS: Final = 100
_IDLE_ROUNDS: Final = 1100
_ROUND_S: Final = 0.001


class ReplayDivergenceError(TransitError):
    """The program did not do what it did when it was recorded.

    `offset` is that of the record where they part, `expected` and `actual` the two calls as text.
    """

    exit_code = 10

    def __init__(self, stream: str, offset: int, *, expected: str, actual: str) -> None:
        super().__init__(f"{stream}@{offset}: expected {expected}, got {actual}")
        self.stream = stream
        self.offset = offset
        self.expected = expected
        self.actual = actual


class _Recording:
    """What a stream holds of calls, in order of their requests, and where each kind of event is.

    own_only: without what the stream inherited. What recorded calls did themselves is left out,
    because they do not run.
    """

    def __init__(self, stream: Stream, own_only: bool) -> None:
        self.calls: list[tuple[int, CallRequest]] = []
        self.results: dict[str, tuple[int, CallResult]] = {}
        # Offset after the last event that is not the end of a run.
        self.stop = 0
        self.tool_call_ids: dict[int, str] = {}
        self._offsets: dict[type, list[int]] = defaultdict(list)
        self._taken: dict[type, int] = defaultdict(int)
        for record in stream:
            if own_only and record.origin.stream != stream.name:
                continue
            if record.headers != IN_CALL:
                self._add(record.offset, decode_event(record.payload))

    def _add(self, offset: int, event: Event | Unknown) -> None:
        self._offsets[type(event)].append(offset)
        if isinstance(event, CallRequest):
            self.calls.append((offset, event))
        elif isinstance(event, CallResult):
            self.results[event.call_id] = (offset, event)
        elif isinstance(event, ToolRequest):
            self.tool_call_ids[offset] = event.tool_call_id
        if not isinstance(event, RunEnd):
            self.stop = offset + 1

    def next_of(self, kind: type) -> int | None:
        """Offset of the next event of a kind; None when all were taken."""
        place, offsets = self._taken[kind], self._offsets[kind]
        return offsets[place] if place < len(offsets) else None

    def take(self, kind: type) -> None:
        """The program has come to the next event of a kind."""
        self._taken[kind] += 1


class Replay(Task):
    """A task to the program that runs again.

    What it records is dropped while it is replayed, because it is recorded already; offsets
    returned are the recorded ones. `steps` counts the calls answered so far, `live` says whether
    calls are made. Branches and merges the program makes are the recorded ones.
    As a context manager it also checks at the end that no recorded call was left out.
    """

    def __init__(
        self,
        log: Log,
        stream: Stream,
        durability: str,
        recording: _Recording,
        live_from: int | None = None,
        branch_name: str | None = None,
    ) -> None:
        super().__init__(log, stream, durability)
        self.steps = 0
        self.live = False
        self._recording = recording
        self._live_from = live_from
        self._branch_name = branch_name
        self._turn = threading.Lock()
        self._reached: int | None = None
        # Offsets of the outcomes that are being waited for, in a program that awaits several.
        self._awaited: set[int] = set()
        self._forked: set[str] = set()

    @property
    def last(self) -> int | None:
        """Offset of the last record, of those the program has come to."""
        return super().last if self.live else self._reached

    # Calls

    def begin_call(self, call: Call) -> str | Outcome:
        """The recorded outcome of the call; its id when it is to be made.

        Raises `ReplayDivergenceError`.
        """
        with self._turn:
            if not self.live and self.steps == self._live_from:
                self._go_live()
            if not self.live:
                return self._answer(call)
        return super().begin_call(call)

    def _answer(self, call: Call) -> Outcome:
        if self.steps == len(self._recording.calls):
            raise self._diverged(self.stream.next_offset, "no further call", str(call))
        offset, request = self._recording.calls[self.steps]
        then = Call(request.call_name, request.arguments, request.arguments_digest)
        if (then.name, then.digest) != (call.name, call.digest):
            raise self._diverged(offset, str(then), str(call))
        found = self._recording.results.get(request.call_id)
        if found is None:
            raise self._diverged(offset, f"a recorded outcome of {then}", "none: it was cut short")
        self.steps += 1
        self._reach(found[0])
        return Outcome(found[1], partial(self._wait, *found))

    async def _wait(self, offset: int, result: CallResult) -> None:
        """Hold an outcome back while calls that began, and others that ended, before it are due.

        So concurrent calls end in the recorded order. The wait ends when the program stands still
        for a while: it does something else than in the recording, and its next call shows that.
        """
        # Loaded here: programs that do not await need none of it.
        import asyncio

        if _was_cancelled(result) and offset + 1 < self._recording.stop:
            # The program went on, so it was the program that ended the wait, and does again.
            await asyncio.get_running_loop().create_future()
        self._awaited.add(offset)
        try:
            seen, rounds = self.steps, 0
            while rounds < _IDLE_ROUNDS and not self._is_due(offset):
                await asyncio.sleep(0 if rounds < _QUICK_ROUNDS else _ROUND_S)
                seen, rounds = self.steps, rounds + 1 if self.steps == seen else 0
        finally:
            self._awaited.discard(offset)

    def _is_due(self, offset: int) -> bool:
        if self.live:
            return True
        calls = self._recording.calls
        begun = self.steps == len(calls) or calls[self.steps][0] > offset
        return begun and min(self._awaited) == offset

    def _diverged(self, offset: int, expected: str, actual: str) -> ReplayDivergenceError:
        return ReplayDivergenceError(self.name, offset, expected=expected, actual=actual)

    # Going live

    @property
    def _cut(self) -> int:
        """Offset of the next call, where a branch would begin; all before is recorded already."""
        calls = self._recording.calls
        return calls[self.steps][0] if self.steps < len(calls) else self.stream.next_offset

    def _go_live(self) -> None:
        """Branch off right before the next call, and go on there."""
        past, cut = self.stream, self._cut
        metadata = describe(self.task_id, "", f"live from call {self.steps}")
        metadata |= {BRANCH_KIND: "retry", LIVE_FROM: self.steps}

        def make(chosen: str) -> Stream:
            return past.branch(chosen, cut - 1, metadata, durability=self.durability)

        wanted = self._branch_name
        if wanted is None:
            self.stream = make_named(self.log, f"{self.task_id}/retry", make)
        else:
            self.stream = make(wanted)
        # Nothing was written before, so nothing is known yet of what the branch holds.
        self._packed = PackedEvents(self.stream, self.durability, KnownParts())
        # Outcomes that were given, and recorded only after the fork.
        answered = self._recording.calls[: self.steps]
        given = [self._recording.results[request.call_id] for _, request in answered]
        for offset, result in sorted(given, key=lambda found: found[0]):
            if offset >= cut:
                super()._write(result)
        self.live = True

    def _pass(self, kind: type) -> int | None:
        """The offset of an event that is recorded already; None when it is to be recorded."""
        with self._turn:
            if self.live:
                return None
            offset = self._next_of(kind)
            if offset is None and self.steps == self._live_from:
                # New, and all that was to be replayed is.
                self._go_live()
                return None
            self._recording.take(kind)
            if offset is not None:
                self._reach(offset)
            return (self._reached or 0) if offset is None else offset

    def _next_of(self, kind: type) -> int | None:
        """Offset of the recorded event that one of this kind is now; None for one that is new."""
        offset = self._recording.next_of(kind)
        if offset is not None and self.steps == self._live_from and offset >= self._cut:
            return None
        return offset

    def _reach(self, offset: int) -> None:
        self._reached = max(self._reached or 0, offset)

    # What is recorded already

    def tool(
        self, name: str, arguments: object = None, *, tool_call_id: str | None = None
    ) -> ToolCall:
        """As `Task.tool`; the id is the recorded one, for a result that is recorded live."""
        if tool_call_id is None and not self.live:
            offset = self._next_of(ToolRequest)
            tool_call_id = None if offset is None else self._recording.tool_call_ids[offset]
        return super().tool(name, arguments, tool_call_id=tool_call_id)

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
        for child in self.log.lineage.children(self.stream):
            fits = child.kind == "branch" and child.metadata.get(BRANCH_KIND) == kind
            if fits and name in (None, child.name) and self._is_new(child):
                return self._replay_of(child)
        raise self._diverged(self.stream.next_offset, f"no further {kind}", name or kind)

    def recorded_merge(self, tasks: Sequence[Task]) -> Task:
        """The merge of `tasks` that was recorded."""
        names = [task.name for task in tasks]
        for child in self.log.lineage.children(self.stream):
            parents = [parent.stream for parent in child.parents]
            if child.kind == "merge" and parents == names and self._is_new(child):
                return self._replay_of(child)
        wanted = f"a merge of {', '.join(names)}"
        raise self._diverged(self.stream.next_offset, "no further merge", wanted)

    def _is_new(self, child: Stream) -> bool:
        """Whether the recorded run made this child, and the program has not come to it yet."""
        return child.name not in self._forked and LIVE_FROM not in child.metadata

    def _replay_of(self, child: Stream) -> Replay:
        self._forked.add(child.name)
        return Replay(self.log, child, self.durability, _Recording(child, own_only=True))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live:
            super().__exit__(kind, error, trace)
            return
        leave(self)
        calls = self._recording.calls
        if error is None and self.steps < len(calls):
            offset, request = calls[self.steps]
            then = Call(request.call_name, request.arguments, request.arguments_digest)
            raise self._diverged(offset, str(then), "the end of the program")


def _was_cancelled(result: CallResult) -> bool:
    return result.error is not None and result.error.type == "asyncio.exceptions.CancelledError"


def replay(
    log: Log,
    stream: str | Stream,
    *,
    live_from: int | None = None,
    name: str | None = None,
    durability: str = "os",
) -> Replay:
    """Run a program again on what was recorded in `stream`: a `with` block that is its task.

    live_from: the call, counted from 0, from which on calls are made again, on a new branch; the
    count of recorded calls goes on where the recording ends. None: never. name: of that branch;
    None: `<task_id>/retry-<n>`.
    Raises `NotFoundError`, and `InvalidInputError` for a `live_from` past the recording.
    """
    found = find_stream(log, stream)
    recording = _Recording(found, own_only=False)
    calls = len(recording.calls)
    if live_from is not None and (type(live_from) is not int or not 0 <= live_from <= calls):
        raise InvalidInputError(f"live_from must be 0 to {calls}, not {live_from!r}")
    if live_from == 0 and (recording.calls[0][0] if calls else len(found)) == 0:
        raise InvalidInputError(f"{found.name}: nothing is recorded before call 0: begin a task")
    return Replay(log, found, durability, recording, live_from, name)
