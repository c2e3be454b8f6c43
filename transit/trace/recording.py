"""Recording: a task of an agent as a stream, its retries and critiques as branches.

Owns `Task`, which an agent holds while it works. Events are appended with durability "os" unless
said otherwise: no call here waits for a disk, and what was recorded survives the process. A task
may be used from several threads and from asyncio.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeVar, cast

import msgspec
from blake3 import blake3

from transit import (
    AlreadyExistsError,
    InvalidInputError,
    Log,
    ReentrantCallError,
    Scalar,
    Stream,
    TransitError,
)
from transit.trace.artifacts import store_bytes
from transit.trace.calls import Boundary, Call, Outcome, describe_error, make_call
from transit.trace.context import enter, in_call, innermost, leave
from transit.trace.events import (
    CHECKPOINT_KINDS,
    CHECKPOINT_STATUSES,
    Artifact,
    CallRequest,
    CallResult,
    Checkpoint,
    Custom,
    ErrorInfo,
    Evaluation,
    Event,
    Message,
    ModelCall,
    RunEnd,
    ToolRequest,
    check_choice,
    check_text,
    check_texts,
    encode_json,
    packed_fields,
)
from transit.trace.ids import new_id
from transit.trace.packed import TAKEN_UP, PackedEvents
from transit.trace.parts import KnownParts, Packing
from transit.trace.tools import ToolCall

_R = TypeVar("_R")
TASK_ID: Final = "task_id"
TRACE_KIND: Final = "trace_kind"
BRANCH_KIND: Final = "branch_kind"
IN_CALL: Final = {"in_call": "true"}


class Task:
    """A stream being recorded: a task, or a branch or merge of tasks.

    As a context manager it is the current task of its block; how the block is left is recorded.
    Methods that record return the offset of the record; -1 in the middle of another call of the
    same thread, by a signal handler or a `__del__` method: the event is written after that call.
    What has parts, such as a message, is then written with the task's next event that has some, or
    at the end of its block.
    """

    def __init__(
        self, log: Log, stream: Stream, durability: str, known: KnownParts | None = None
    ) -> None:
        self.log = log
        self.stream = stream
        self.durability = durability
        self._packed = PackedEvents(stream, durability, KnownParts() if known is None else known)

    def __repr__(self) -> str:
        return f"<transit.trace.{type(self).__name__} {self.name!r}>"

    @property
    def name(self) -> str:
        """The stream's name."""
        return self.stream.name

    @property
    def task_id(self) -> str:
        """The id of the task this is, or is a branch or merge of."""
        found = self.stream.metadata.get(TASK_ID)
        return found if isinstance(found, str) else self.name

    @property
    def last(self) -> int | None:
        """Offset of the last record, inherited ones included; None when there is none."""
        return self.stream.last_offset

    # What happens

    def message(self, role: str, content: object, **fields: object) -> int:
        """A chat message, with whatever other members it has."""
        check_text(role, "role")
        whole = {"role": role, "content": content, **fields}
        return self._write_packed(
            Message, lambda packing: Message(message=packing.pack_whole(whole))
        )

    def model_call(
        self,
        *,
        model: str,
        request: object = None,
        response: object = None,
        usage: Mapping[str, object] | None = None,
        operation: str = "chat",
        provider: str = "",
        response_id: str = "",
        finish_reasons: Sequence[str] = (),
    ) -> int:
        """A request to a model, and its response; both any JSON value.

        What the stream's history holds already, of this request or another, is not written again.
        usage: counts; `input_tokens` and `output_tokens` are those of the conventions. The model
        that answered is the member `model` of the response, where it has one.
        """
        check_text(model, "model")
        check_texts(operation=operation, provider=provider, response_id=response_id)
        reasons = _texts(finish_reasons, "finish_reasons")
        if usage is not None and not isinstance(usage, Mapping):
            raise InvalidInputError(f"usage must be a mapping, not {usage!r}")
        counts = dict(usage or {})
        tokens = [_take_count(counts, key) for key in ("input_tokens", "output_tokens")]
        return self._write_packed(
            ModelCall,
            lambda packing: ModelCall(
                request_model=model,
                operation=operation,
                provider=provider,
                response_model=_model_of(response),
                response_id=response_id,
                finish_reasons=reasons,
                input_tokens=tokens[0],
                output_tokens=tokens[1],
                usage=counts,
                request=packing.pack(request),
                response=packing.pack(response),
            ),
        )

    def tool(
        self, name: str, arguments: object = None, *, tool_call_id: str | None = None
    ) -> ToolCall:
        """Record that a tool is called; the result records its outcome, in a `with` block or not.

        tool_call_id: the model's id of the call; None: a new one.
        """
        check_text(name, "tool name")
        if tool_call_id is not None:
            check_text(tool_call_id, "tool_call_id")
        call_id = tool_call_id or new_id("call")
        offset = self._write(ToolRequest(tool_call_id=call_id, tool_name=name, arguments=arguments))
        return ToolCall(self._write, call_id, name, offset)

    def call(
        self, name: str, arguments: Mapping[str, object] | Sequence[object], fn: Callable[..., _R]
    ) -> _R:
        """Call `fn(**arguments)`, or `fn(*arguments)` for a sequence, and record what came of it.

        In a replay `fn` does not run: the recording answers. An async `fn` gives an awaitable.
        """
        if isinstance(arguments, Mapping):
            call, run = make_call(name, dict(arguments)), partial(fn, **arguments)
        elif isinstance(arguments, Sequence) and not isinstance(arguments, str | bytes):
            call, run = make_call(name, list(arguments)), partial(fn, *arguments)
        else:
            raise InvalidInputError(f"{name}: arguments must be a mapping or a sequence")
        boundary = Boundary()
        if inspect.iscoroutinefunction(fn):
            return cast(
                _R, boundary.run_async(self, call, cast(Callable[[], Awaitable[object]], run))
            )
        return boundary.run(self, call, run)

    def evaluate(
        self,
        evaluator_id: str,
        *,
        decision: str,
        score: float | None = None,
        subject: str | None = None,
        reason: str = "",
    ) -> int:
        """An evaluator's decision on `subject`, "stream@offset"; None: on all of this so far."""
        check_text(evaluator_id, "evaluator_id")
        check_text(decision, "decision")
        about = self._here() if subject is None else subject
        check_texts(subject=about, reason=reason)
        if score is not None and type(score) not in (int, float):
            raise InvalidInputError(f"score must be a number, not {score!r}")
        return self._write(
            Evaluation(
                evaluator_id=evaluator_id,
                subject_ref=about,
                decision=decision,
                score=score,
                reason=reason,
            )
        )

    def checkpoint(self, kind: str, *, status: str, reason: str = "") -> int:
        """How far the work is.

        kind: "final", "intermediate", "handoff" or "resume". status: "success", "incomplete",
        "failed" or "superseded".
        """
        check_choice(kind, CHECKPOINT_KINDS, "checkpoint kind")
        check_choice(status, CHECKPOINT_STATUSES, "status")
        check_texts(reason=reason)
        return self._write(
            Checkpoint(checkpoint_kind=kind, status=status, reason=reason)  # type: ignore[arg-type]
        )

    def artifact(
        self,
        data: bytes,
        *,
        kind: str,
        content_type: str = "application/octet-stream",
        artifact_id: str | None = None,
        producer_id: str = "",
        subject: str | None = None,
    ) -> Artifact:
        """Keep `data` in the store, once, and record that it belongs here.

        `trace.read_artifact` gives it back.
        """
        if not isinstance(data, bytes | bytearray | memoryview):
            raise InvalidInputError(f"an artifact is bytes, not {type(data).__name__}")
        check_text(kind, "artifact kind")
        given = new_id("artifact") if artifact_id is None else artifact_id
        check_text(given, "artifact_id")
        about = self._here() if subject is None else subject
        check_texts(content_type=content_type, producer_id=producer_id, subject=about)
        whole = bytes(data)
        digest = blake3(whole).hexdigest()
        artifact = Artifact(
            artifact_id=given,
            kind=kind,
            ref=self._store(whole, digest),
            content_type=content_type,
            byte_length=len(whole),
            digest=digest,
            producer_id=producer_id,
            subject_ref=about,
        )
        self._write(artifact)
        return artifact

    def custom(self, name: str, data: object = None) -> int:
        """An event of the program's own; `data` is any JSON value."""
        check_text(name, "event name")
        return self._write_packed(
            Custom, lambda packing: Custom(name=name, data=packing.pack(data))
        )

    def record(self, event: Event, *, timestamp: int | None = None) -> int:
        """An event made or read elsewhere, with its fields whole, as `trace.read` gives them.

        For importers and adapters. timestamp: when it happened, UTC nanoseconds; None: now.
        """
        if not isinstance(event, Event):
            raise InvalidInputError(f"not an event of a trace: {type(event).__name__}")
        fields = packed_fields(event)
        if not fields:
            return self._write(event, timestamp)

        def make(packing: Packing) -> Event:
            # A message is a part by itself, which later requests refer to.
            pack = packing.pack_whole if isinstance(event, Message) else packing.pack
            return msgspec.structs.replace(event, **{f: pack(getattr(event, f)) for f in fields})

        return self._write_packed(type(event), make, timestamp)

    # Branches

    def retry(
        self, at: int | None = None, *, reason: str = "", actor: str = "", name: str | None = None
    ) -> Task:
        """A branch that tries again after offset `at`, inclusive; None: after the last record.

        name: of the stream; None: `<task_id>/retry-<n>`.
        """
        return self._fork("retry", at, reason, actor, name)

    def critique(
        self, at: int | None = None, *, reason: str = "", actor: str = "", name: str | None = None
    ) -> Task:
        """A branch that reviews what is there up to offset `at`; as `retry` otherwise."""
        return self._fork("critique", at, reason, actor, name)

    def alternate(
        self, at: int | None = None, *, reason: str = "", actor: str = "", name: str | None = None
    ) -> Task:
        """A branch with another plan from offset `at` on; as `retry` otherwise."""
        return self._fork("alternate-plan", at, reason, actor, name)

    def _fork(self, kind: str, at: int | None, reason: str, actor: str, name: str | None) -> Task:
        metadata = describe(self.task_id, actor, reason) | {BRANCH_KIND: kind}
        stem = f"{self.task_id}/{kind}"

        def make(chosen: str) -> Stream:
            return self.stream.branch(chosen, at, metadata, durability=self.durability)

        stream = make(name) if name is not None else make_named(self.log, stem, make)
        inherited = stream.parents[0].offset + 1
        return Task(self.log, stream, self.durability, self._packed.known_until(inherited))

    # The block

    def __enter__(self) -> Self:
        enter(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        leave(self)
        self._packed.write_later()
        if error is None:
            self._write(RunEnd(status="completed"))
            return
        status = "failed" if isinstance(error, Exception) else "cancelled"
        try:
            self._write(RunEnd(status=status, error=describe_error(error)))  # type: ignore[arg-type]
        except TransitError as second:
            error.add_note(f"recording the end of the run failed too: {second}")

    # Recorder: what calls need

    def begin_call(self, call: Call) -> str | Outcome:
        """Record that a call is made; its id."""
        call_id = new_id("call")
        self._write(
            CallRequest(
                call_id=call_id,
                call_name=call.name,
                arguments=call.arguments,
                arguments_digest=call.digest,
            )
        )
        return call_id

    def end_call(self, call_id: str, call: Call, result: object, error: ErrorInfo | None) -> None:
        """Record what came of a call."""
        self._write(
            CallResult(
                call_id=call_id,
                call_name=call.name,
                call_status="success" if error is None else "failure",
                result=result,
                error=error,
            )
        )

    # Writing

    def _headers(self) -> dict[str, str] | None:
        """What says that a record was made by a recorded call, which a replay does not run."""
        return IN_CALL if in_call.get() is self else None

    def _here(self) -> str:
        return f"{self.name}@{self.last if self.last is not None else -1}"

    def _store(self, data: bytes, digest: str) -> str:
        return store_bytes(self.log, data, digest, self.durability)

    def _write(self, event: Event, timestamp: int | None = None) -> int:
        """Append an event that has no parts."""
        payload = encode_json(event)
        headers = IN_CALL if in_call.get() is self else None
        try:
            receipt = self.stream.append(
                payload, headers=headers, timestamp=timestamp, durability=self.durability
            )
        except ReentrantCallError:
            self.stream.submit(payload, headers=headers, timestamp=timestamp)
            return TAKEN_UP
        self._packed.pass_over(receipt.offset)
        return receipt.offset

    def _write_packed(
        self, kind: type[Event], make: Callable[[Packing], Event], timestamp: int | None = None
    ) -> int:
        """Append an event that refers to parts the history holds, and brings the others along.

        Appended under the condition that the history is the one the references are about; when
        another writer was faster, they are worked out again.
        """
        return self._packed.write(make, self._headers(), timestamp)


def current() -> Task | None:
    """The task whose `with` block this code runs in, None outside of any."""
    return cast(Task | None, innermost())


def describe(task_id: str, actor: str, reason: str) -> dict[str, Scalar]:
    """The metadata every stream of a trace has."""
    for value, what in ((actor, "actor"), (reason, "reason")):
        if not isinstance(value, str):
            raise InvalidInputError(f"{what} must be text, not {value!r}")
    return {
        TASK_ID: task_id, "actor_id": actor, "created_at": time.time_ns(), "reason": reason
    }  # fmt: skip


def make_named(log: Log, stem: str, make: Callable[[str], Stream]) -> Stream:
    """A new stream named `<stem>-<n>`, n the first that is free as far as 1, 2, 4, ... show."""
    taken, free = 0, 1
    while f"{stem}-{free}" in log:
        taken, free = free, free * 2
    while taken + 1 < free:
        middle = (taken + free) // 2
        if f"{stem}-{middle}" in log:
            taken = middle
        else:
            free = middle
    while True:
        try:
            return make(f"{stem}-{free}")
        except AlreadyExistsError:
            # Another thread or process was faster.
            free += 1


def _texts(values: Sequence[str], what: str) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(each, str) for each in values):
        raise InvalidInputError(f"{what} must be a sequence of texts, not {values!r}")
    return tuple(values)


def _model_of(response: object) -> str:
    found = response.get("model") if isinstance(response, dict) else None
    return found if isinstance(found, str) else ""


def _take_count(counts: dict[str, object], key: str) -> int:
    value = counts.get(key, -1)
    if type(value) is not int or value < 0:
        return -1
    del counts[key]
    return value


def task(
    log: Log,
    task_id: str,
    *,
    actor: str = "",
    reason: str = "",
    trace_kind: str = "task",
    metadata: Mapping[str, Scalar] | None = None,
    durability: str = "os",
) -> Task:
    """Begin to record a task in a new stream named `task_id`.

    actor: who works. reason: why the task is begun. metadata: more of it. durability: what each
    record waits for. Raises `AlreadyExistsError`: `resume` goes on with a task.
    """
    check_text(trace_kind, "trace_kind")
    own = describe(task_id, actor, reason) | {TRACE_KIND: trace_kind}
    for key in metadata or {}:
        if key in own:
            raise InvalidInputError(f"metadata: {key!r} is what the trace says itself")
    whole = {**(metadata or {}), **own}
    stream = log.create(task_id, whole, codec="json", durability=durability)
    return Task(log, stream, durability)


def resume(log: Log, stream: str | Stream, *, reason: str = "", durability: str = "os") -> Task:
    """Go on recording in a stream that is there; a checkpoint "resume" says that it was done."""
    found = stream if isinstance(stream, Stream) else log.stream(stream)
    resumed = Task(log, found, durability)
    resumed.checkpoint("resume", status="incomplete", reason=reason)
    return resumed
