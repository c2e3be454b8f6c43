"""Steps: what a run did, each call from its request to its outcome, with what was done inside it.

Owns which outcome belongs to which request, and what is inside what. Calls of tools and of recorded
functions hold other steps:

- What a recorded function does itself (its records say so) is inside its call.
- Anything else is inside the tool whose call is open. Where several are, one inside the other, it
  is in the innermost; where some are beside each other, in what holds all of these.
- A tool that is called right after another, with nothing in between, is beside that one: models ask
  for several at once.
- What is still open when the call around it ends was beside it.
- A call without an outcome in a run that ended holds nothing: nothing tells until when it went.

A child run is a step, and its steps are inside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

from transit import InvalidInputError, Log, NotFoundError, Stream
from transit.trace.events import (
    Artifact,
    CallChunk,
    CallRequest,
    CallResult,
    Checkpoint,
    ChildRun,
    Custom,
    ErrorInfo,
    Evaluation,
    Event,
    Manifest,
    Message,
    ModelCall,
    ModelChunk,
    ModelRequest,
    ModelResponse,
    RunEnd,
    ToolRequest,
    ToolResult,
    Unknown,
)
from transit.trace.names import IN_CALL
from transit.trace.records import EventRecord, events_of
from transit.trace.sums import Sums, tokens_told

StepKind = Literal[
    "message", "model", "tool", "call", "run", "evaluation", "checkpoint", "artifact", "manifest",
    "custom", "end", "unknown",
]  # fmt: skip
Phase = Literal["begun", "went on", "ended", "whole"]
_Request = ToolRequest | CallRequest | ModelRequest
_Outcome = ToolResult | CallResult | ModelResponse
_Chunk = ModelChunk | CallChunk

# Of each kind of event the step it is, or begins, and the field that names it.
_NAMES: Final[dict[type, tuple[StepKind, str]]] = {
    Message: ("message", "role"),
    ModelCall: ("model", "request_model"),
    ModelRequest: ("model", "request_model"),
    ModelChunk: ("model", ""),
    ModelResponse: ("model", "request_model"),
    ToolRequest: ("tool", "tool_name"),
    ToolResult: ("tool", "tool_name"),
    CallRequest: ("call", "call_name"),
    CallChunk: ("call", ""),
    CallResult: ("call", "call_name"),
    ChildRun: ("run", "run"),
    Evaluation: ("evaluation", "evaluator_id"),
    Checkpoint: ("checkpoint", "checkpoint_kind"),
    Artifact: ("artifact", "artifact_id"),
    Manifest: ("manifest", ""),
    Custom: ("custom", "name"),
    RunEnd: ("end", ""),
    Unknown: ("unknown", "event"),
}
# Runs inside runs inside runs, beyond which no steps of theirs are read.
DEPTH_MAX: Final = 50
OPEN: Final = "open"
# Open calls that may hold others; when there are more, the oldest is taken for one that was lost.
_HOLDERS_MAX: Final = 64
_GOOD: Final = frozenset(("success", "partial", "completed", "incomplete", "superseded", OPEN, ""))


class Step(msgspec.Struct, kw_only=True, gc=True):
    """One thing that a run did.

    name: of the tool, model, function, child run, evaluator or event; the role of a message.
    run: the stream `first` was read from. first: the record of the request, or the only one.
    last: of the outcome, `first` where one record says both; None while it is open. chunks: parts
    of an answer that came as a stream. steps: what was done inside it. inherited: whether it is of
    the history that a branch or merge began with.
    """

    kind: StepKind
    name: str
    run: str
    first: EventRecord
    last: EventRecord | None = None
    chunks: list[EventRecord] = []
    steps: list[Step] = []
    inherited: bool = False

    @property
    def offset(self) -> int:
        """Of the first record."""
        return self.first.offset

    @property
    def begun_at(self) -> int:
        """When it began, UTC nanoseconds."""
        event = self.first.event
        # Told when both request and response were there.
        return self.first.timestamp - (event.duration_ns if isinstance(event, ModelCall) else 0)

    @property
    def duration_ns(self) -> int | None:
        """Nanoseconds until the outcome; None while it is open, and where nothing tells."""
        if self.last is None:
            return None
        told = getattr(self.last.event, "duration_ns", 0)
        if self.kind not in ("tool", "model", "call", "run", "end"):
            return None
        if told or self.last is self.first:
            return told or None
        return max(self.last.timestamp - self.first.timestamp, 0)

    @property
    def status(self) -> str:
        """As it was recorded, "open" without an outcome, "" for what has none."""
        if self.last is None:
            return OPEN
        event = self.last.event
        if isinstance(event, ToolResult):
            return event.tool_status
        if isinstance(event, CallResult):
            return event.call_status
        if isinstance(event, ModelResponse):
            return event.model_status
        if isinstance(event, ModelCall):
            return "success"
        return event.status if isinstance(event, RunEnd | Checkpoint) else ""

    @property
    def failed(self) -> bool:
        """Whether its outcome is not what was wanted."""
        return self.status not in _GOOD

    @property
    def error(self) -> ErrorInfo | None:
        """What it failed with, where that was recorded."""
        event = None if self.last is None else self.last.event
        found = getattr(event, "error", None)
        return found if isinstance(found, ErrorInfo) else None

    @property
    def tokens(self) -> tuple[int, int]:
        """Input and output tokens of a model's call, -1 where not told."""
        event = None if self.last is None else self.last.event
        if isinstance(event, ModelCall | ModelResponse):
            return event.input_tokens, event.output_tokens
        return -1, -1

    @property
    def input(self) -> object:
        """What was asked: arguments, or a model's request; None for what asks nothing."""
        event = self.first.event
        if isinstance(event, ToolRequest | CallRequest):
            return event.arguments
        return event.request if isinstance(event, ModelCall | ModelRequest) else None

    @property
    def output(self) -> object:
        """What came of it, or what is said: a result, a response, a message, the event's data."""
        event = self.first.event if self.last is None else self.last.event
        if isinstance(event, ToolResult | CallResult):
            return event.result
        if isinstance(event, ModelCall | ModelResponse):
            return event.response
        if isinstance(event, Message):
            return event.message
        return event.data if isinstance(event, Custom | Manifest | Unknown) else None

    def walk(self) -> Iterator[Step]:
        """This step and all that are inside it, in order."""
        waiting = [self]
        while waiting:
            step = waiting.pop()
            yield step
            waiting.extend(reversed(step.steps))


class StepReader:
    """Makes steps of the records of one run as they come. steps: those that are inside no other.

    own_start: the offset of the run's first own record; those before are inherited.
    """

    def __init__(self, run: str, own_start: int) -> None:
        self._run, self._own_start = run, own_start
        self.steps: list[Step] = []
        # By kind and id, the newest last: models use an id again.
        self._open: dict[str, list[Step]] = {}
        # The calls that may hold others and are open, in order, each with what it is inside of.
        self._holders: list[tuple[Step, Step | None]] = []

    def add(self, record: EventRecord) -> tuple[Step, Phase]:
        """The step that the next record belongs to, and what it says of it."""
        event = record.event
        if isinstance(event, _Outcome):
            return self._end(record, event)
        if isinstance(event, _Chunk):
            found = self._open.get(_id_of(event))
            if found:
                found[-1].chunks.append(record)
                return found[-1], "went on"
        kind, name = _named(event)
        step = Step(
            kind=kind, name=name, run=self._run, first=record, last=record,
            inherited=record.offset < self._own_start,
        )  # fmt: skip
        if _is_pause(event):
            self._pause(ends=kind == "end")
        holder = self._holder_of(step)
        self._steps_of(holder).append(step)
        if not isinstance(event, _Request):
            return step, "whole"
        step.last = None
        self._open.setdefault(_id_of(event), []).append(step)
        if kind != "model":
            self._holders.append((step, holder))
            del self._holders[:-_HOLDERS_MAX]
        return step, "begun"

    def _pause(self, *, ends: bool) -> None:
        """The run ended, or another process goes on with it: no call of before is under way."""
        while self._holders:
            step, holder = self._holders.pop()
            if ends and step.steps:
                self._move(step.steps, holder)
                step.steps = []

    def _move(self, steps: list[Step], holder: Step | None) -> None:
        around = self._steps_of(holder)
        around.extend(steps)
        around.sort(key=_offset_of)

    def depth(self, step: Step) -> int:
        """How many open steps a step is inside of."""
        depth = 0
        around = self._holder_of_open(step)
        while around is not None:
            depth, around = depth + 1, self._holder_of_open(around)
        return depth

    def _holder_of_open(self, step: Step) -> Step | None:
        for each, holder in self._holders:
            if each is step:
                return holder
        return next(
            (each for each, _ in reversed(self._holders) if each.steps and each.steps[-1] is step),
            None,
        )

    def _end(self, record: EventRecord, event: _Outcome) -> tuple[Step, Phase]:
        opened = self._open.get(_id_of(event), [])
        told = event.request if isinstance(event, ToolResult) else -1
        step = next((each for each in opened if each.offset == told), None)
        if step is None and opened:
            step = opened[-1]
        if step is None:
            # Its request was not recorded.
            kind, name = _named(event)
            inherited = record.offset < self._own_start
            step = Step(
                kind=kind, name=name, run=self._run, first=record, last=record, inherited=inherited
            )
            self._steps_of(self._holder_of(step)).append(step)
            return step, "whole"
        opened[:] = [each for each in opened if each is not step]
        step.last = record
        self._close(step)
        return step, "ended"

    def _close(self, step: Step) -> None:
        """A call has ended: what is open in it is not inside it."""
        place = next((n for n, (each, _) in enumerate(self._holders) if each is step), None)
        if place is None:
            return
        _, holder = self._holders.pop(place)
        left = [each for each in step.steps if each.last is None]
        if left:
            step.steps = [each for each in step.steps if each.last is not None]
            self._move(left, holder)
        self._holders = [
            (each, holder if around is step else around) for each, around in self._holders
        ]

    def _steps_of(self, holder: Step | None) -> list[Step]:
        return self.steps if holder is None else holder.steps

    def _holder_of(self, step: Step) -> Step | None:
        """What a step that begins now is inside of."""
        paths = [self._path(each) for each, _ in self._holders]
        if step.first.headers.items() >= IN_CALL.items():
            # By recorded functions; where none is open any more, by whatever is.
            paths = [path for path in paths if path[0].kind == "call"] or paths
        else:
            paths = [path for path in paths if all(each.kind == "tool" for each in path)]
        leaves = [path for path in paths if not any(_is_in(path, other) for other in paths)]
        if not leaves:
            return None
        common = leaves[0]
        for path in leaves[1:]:
            common = [one for one, other in zip(common, path, strict=False) if one is other]
        if common and step.kind == "tool" and common[-1].kind == "tool" and not common[-1].steps:
            common = common[:-1]
        return common[-1] if common else None

    def _path(self, step: Step) -> list[Step]:
        """What a holder is inside of, from the outside in, and itself."""
        around = {id(each): holder for each, holder in self._holders}
        path = [step]
        while (holder := around.get(id(path[0]))) is not None:
            path.insert(0, holder)
        return path


def steps_of(log: Log, stream: Stream, *, children: bool = True) -> list[Step]:
    """The steps of a run; with `children` child runs hold their own."""
    reader = StepReader(stream.name, stream.own_start)
    for record in events_of(log, stream):
        reader.add(record)
    if children:
        _read_children(log, reader.steps)
    return reader.steps


def _read_children(log: Log, steps: list[Step]) -> None:
    """Read the runs that were begun in these steps, and in theirs."""
    waiting = [(step, 1) for top in steps for step in top.walk() if step.kind == "run"]
    seen: set[tuple[str, int]] = set()
    while waiting:
        step, depth = waiting.pop(0)
        event = step.first.event
        # A damaged link could lead around in a circle.
        if not isinstance(event, ChildRun) or (event.uid, event.start) in seen:
            continue
        seen.add((event.uid, event.start))
        step.steps = child_steps(log, step)
        if depth < DEPTH_MAX:
            inner = (each for top in step.steps for each in top.walk() if each.kind == "run")
            waiting.extend((each, depth + 1) for each in inner)


def child_steps(log: Log, step: Step) -> list[Step]:
    """The steps of the child run that `step` began, whose end becomes its outcome.

    Of a run that was gone on with, those from there to its next end. None where it is not here.
    """
    event = step.first.event
    assert isinstance(event, ChildRun)
    try:
        child = log.stream(uid=event.uid)
    except (NotFoundError, InvalidInputError):
        return []
    reader = StepReader(child.name, child.own_start)
    for record in events_of(log, child):
        if record.offset < event.start:
            continue
        reader.add(record)
        if isinstance(record.event, RunEnd) and record.offset >= child.own_start:
            step.last = record
            break
    return reader.steps


def tokens_of(steps: Iterable[Step]) -> tuple[int, int]:
    """Input and output tokens of calls of models among steps, -1 where none told any.

    As `trace.runs` counts them: those of requests with what came from a cache or went into one.
    """
    sums = Sums()
    for step in steps:
        event = None if step.last is None else step.last.event
        if isinstance(event, ModelCall | ModelResponse):
            sums.add(event)
    tokens_in, tokens_out = tokens_told(sums.totals())
    return -1 if tokens_in is None else tokens_in, -1 if tokens_out is None else tokens_out


def _offset_of(step: Step) -> int:
    return step.offset


def _is_pause(event: Event | Unknown) -> bool:
    is_resumed = isinstance(event, Checkpoint) and event.checkpoint_kind == "resume"
    return isinstance(event, RunEnd) or is_resumed


def _is_in(path: list[Step], other: list[Step]) -> bool:
    """Whether what `path` leads to holds, at whatever depth, what `other` leads to."""
    return len(other) > len(path) and other[len(path) - 1] is path[-1]


def _id_of(event: _Request | _Outcome | _Chunk) -> str:
    if isinstance(event, ToolRequest | ToolResult):
        return f"tool {event.tool_call_id}"
    if isinstance(event, ModelRequest | ModelResponse | ModelChunk):
        return f"model {event.model_id}"
    return f"call {event.call_id}"


def _named(event: Event | Unknown) -> tuple[StepKind, str]:
    """Kind and name of the step that an event is, or begins."""
    kind, field = _NAMES.get(type(event), ("unknown", ""))
    return kind, str(getattr(event, field)) if field else ""
