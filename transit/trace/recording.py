"""Recording: a task of an agent as a stream, its retries and critiques as branches.

Owns `Task`, which an agent holds while it works. Events are appended with durability "os" unless
said otherwise: no call here waits for a disk, and what was recorded survives the process. A task
may be used from several threads and from asyncio.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Self, TypeVar, cast

import msgspec
from blake3 import blake3

from transit import InvalidInputError, Stream
from transit.trace.boundary import Boundary, runner_of
from transit.trace.calls import make_call
from transit.trace.context import begin_lane, end_lane, enter, in_call, leave
from transit.trace.ends import note_end
from transit.trace.enterable import Enterable
from transit.trace.errors import describe
from transit.trace.events import (
    CHECKPOINT_KINDS,
    CHECKPOINT_STATUSES,
    Artifact,
    Checkpoint,
    Custom,
    EndStatus,
    Evaluation,
    Event,
    Message,
    ModelCall,
    ModelRequest,
    RunEnd,
    ToolRequest,
    check_choice,
    check_text,
    check_texts,
)
from transit.trace.ids import new_id
from transit.trace.models import OpenModelCall, Said, cached_of, counts_of, texts
from transit.trace.names import BRANCH_KIND, describe_run, make_named
from transit.trace.run import Run
from transit.trace.tools import ToolCall
from transit.trace.writing import fields_to_pack, packed_event

_R = TypeVar("_R")


class Task(Run, Enterable):
    """A stream being recorded: a task, or a branch or merge of tasks.

    As a context manager, with `async with` too, it is the current task of its block; how the block
    is left is recorded. Methods that record return the offset of the record. They never raise for a
    value, nor for an event that cannot be recorded: that is counted in `transit.trace.dropped`, and
    the offset is -1. So it is in the middle of another call of the same thread, by a signal handler
    or a `__del__` method: the event is written after that call, and what has parts, such as a
    message, with the task's next event that has some, or at the end of its block.
    timestamp: when it happened, UTC nanoseconds; None: now.
    """

    # What happens

    def message(
        self, role: str, content: object, *, timestamp: int | None = None, **fields: object
    ) -> int:
        """A chat message, with whatever other members it has."""
        check_text(role, "role")
        whole = {"role": role, "content": content, **fields}
        return self._write_packed(
            Message, lambda packing: Message(message=packing.pack_whole(whole)), timestamp
        )

    def model_call(  # noqa: PLR0913 - as many things are said of a model's call
        self,
        *,
        model: str,
        request: object = None,
        response: object = None,
        usage: object = None,
        operation: str = "chat",
        provider: str = "",
        response_id: str = "",
        finish_reasons: Sequence[str] = (),
        duration_ns: int = 0,
        timestamp: int | None = None,
    ) -> int:
        """A request to a model, and its response; both any value. `model` records them one by one.

        What the stream's history holds already, of this request or another, is not written again.
        usage: counts of tokens, with the names of any service. What is not given is taken from the
        response, where it says it. duration_ns: from request to response, nanoseconds.
        """
        check_text(model, "model")
        check_texts(operation=operation, provider=provider, response_id=response_id)
        reasons = texts(finish_reasons, "finish_reasons")
        said = Said(response)
        tokens_in, tokens_out, rest = counts_of(said.usage if usage is None else usage)
        cached = cached_of(rest)
        # What the response says of itself is filled in when it is read.
        rest = {} if usage is None else rest
        return self._write_packed(
            ModelCall,
            lambda packing: ModelCall(
                request_model=model,
                operation=operation,
                provider=provider,
                response_model=said.model,
                response_id=response_id,
                finish_reasons=reasons,
                input_tokens=tokens_in,
                output_tokens=tokens_out,
                cached_tokens=cached,
                usage=rest,
                duration_ns=duration_ns,
                request=packing.pack(request),
                response=packing.pack(response),
            ),
            timestamp,
        )

    def model(
        self,
        model: str,
        request: object = None,
        *,
        operation: str = "chat",
        provider: str = "",
        timestamp: int | None = None,
    ) -> OpenModelCall:
        """A request to a model that is sent now; what comes of it is recorded when it comes.

        Of the call that is returned, `chunk`, `response` and `failure` do that, in a `with` block
        or not.
        """
        check_text(model, "model")
        check_texts(operation=operation, provider=provider)
        model_id = new_id("model")
        offset = self._write_packed(
            ModelRequest,
            lambda packing: ModelRequest(
                model_id=model_id,
                request_model=model,
                operation=operation,
                provider=provider,
                request=packing.pack(request),
            ),
            timestamp,
        )
        return OpenModelCall(self._write_packed, self._write, model_id, model, offset)

    def tool(
        self,
        name: str,
        arguments: object = None,
        *,
        tool_call_id: str | None = None,
        timestamp: int | None = None,
    ) -> ToolCall:
        """Record that a tool is called; the result records its outcome, in a `with` block or not.

        tool_call_id: the model's id of the call, which it may use again; None: a new one.
        """
        check_text(name, "tool name")
        if tool_call_id is not None:
            check_text(tool_call_id, "tool_call_id")
        call_id = tool_call_id or new_id("call")
        event = ToolRequest(tool_call_id=call_id, tool_name=name, arguments=arguments)
        offset = self._write(event, timestamp)
        return ToolCall(self._write, call_id, name, offset)

    def call(
        self, name: str, arguments: Mapping[str, object] | Sequence[object], fn: Callable[..., _R]
    ) -> _R:
        """Call `fn(**arguments)`, or `fn(*arguments)` for a sequence, and record what came of it.

        In a replay `fn` does not run: the recording answers. An async `fn` gives an awaitable.
        """
        if isinstance(arguments, Mapping):
            given: dict[str, object] | list[object] = dict(arguments)
            run = partial(fn, **arguments)
        elif isinstance(arguments, Sequence) and not isinstance(arguments, str | bytes):
            given, run = list(arguments), partial(fn, *arguments)
        else:
            raise InvalidInputError(f"{name}: arguments must be a mapping or a sequence")
        check_text(name, "call name")
        if in_call.get() is self:
            return run()
        call = make_call(self, name, given)
        return cast(_R, runner_of(Boundary(), fn)(self, call, run))

    def evaluate(
        self,
        evaluator_id: str,
        *,
        decision: str,
        score: float | None = None,
        subject: str | None = None,
        reason: str = "",
        timestamp: int | None = None,
    ) -> int:
        """An evaluator's decision on `subject`, "stream@offset"; None: on all of this so far."""
        check_text(evaluator_id, "evaluator_id")
        check_text(decision, "decision")
        about = self._here() if subject is None else subject
        check_texts(subject=about, reason=reason)
        if score is not None and not (type(score) in (int, float) and math.isfinite(score)):
            raise InvalidInputError(f"score must be a number, not {score!r}")
        return self._write(
            Evaluation(
                evaluator_id=evaluator_id,
                subject_ref=about,
                decision=decision,
                score=score,
                reason=reason,
            ),
            timestamp,
        )

    def checkpoint(
        self, kind: str, *, status: str, reason: str = "", timestamp: int | None = None
    ) -> int:
        """How far the work is.

        kind: "final", "intermediate", "handoff" or "resume". status: "success", "incomplete",
        "failed" or "superseded".
        """
        check_choice(kind, CHECKPOINT_KINDS, "checkpoint kind")
        check_choice(status, CHECKPOINT_STATUSES, "status")
        check_texts(reason=reason)
        event = Checkpoint(checkpoint_kind=kind, status=status, reason=reason)  # type: ignore[arg-type]
        return self._write(event, timestamp)

    def artifact(
        self,
        data: bytes,
        *,
        kind: str,
        content_type: str = "application/octet-stream",
        artifact_id: str | None = None,
        producer_id: str = "",
        subject: str | None = None,
        timestamp: int | None = None,
    ) -> Artifact:
        """Keep `data` in the store, once, and record that it belongs here.

        `trace.read_artifact` gives it back. Where it cannot be kept, `ref` is empty.
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
        self._write(artifact, timestamp)
        return artifact

    def custom(self, name: str, data: object = None, *, timestamp: int | None = None) -> int:
        """An event of the program's own; `data` is any value."""
        check_text(name, "event name")
        return self._write_packed(
            Custom, lambda packing: Custom(name=name, data=packing.pack(data)), timestamp
        )

    def record(self, event: Event, *, timestamp: int | None = None) -> int:
        """An event made or read elsewhere, with its fields whole, as `trace.read` gives them.

        For importers and adapters. timestamp: when it happened, UTC nanoseconds; None: now.
        """
        if not isinstance(event, Event):
            raise InvalidInputError(f"not an event of a trace: {type(event).__name__}")
        if isinstance(event, RunEnd):
            return self._write_end(event, timestamp)
        if not fields_to_pack(event):
            return self._write(event, timestamp)
        return self._write_packed(
            type(event), lambda packing: packed_event(event, packing), timestamp
        )

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
        metadata = describe_run(self.options, self.task_id, actor, reason) | {BRANCH_KIND: kind}
        stem = f"{self.task_id}/{kind}"

        def make(chosen: str) -> Stream:
            return self.stream.branch(chosen, at, metadata, durability=self.durability)

        stream = make(name) if name is not None else make_named(self.log, stem, make)
        inherited = stream.parents[0].offset + 1
        return Task(self.log, stream, self.options, self._out.known_until(inherited))

    # The block

    def __enter__(self) -> Self:
        self._ended = False
        self._lanes.append(begin_lane())
        enter(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()
        if not self._ended or error is not None:
            self._end(error)
        # It may be in a block that is around this one, or beside it.
        self._ended = not self._lanes

    def _leave(self) -> None:
        leave(self)
        if self._lanes:
            end_lane(self._lanes.pop())

    def end(self, error: BaseException | None = None, *, timestamp: int | None = None) -> int:
        """Record the end of a task that is used without a block; `error`: what it ended with."""
        offset = self._end(error, timestamp)
        self._ended = True
        return offset

    def _end(self, error: BaseException | None, timestamp: int | None = None) -> int:
        self._out.write_later()
        sums = self._out.sums
        end = RunEnd(
            status=_status_of(error),
            error=None if error is None else describe(error),
            duration_ns=sums.duration_ns,
            totals=sums.totals(more=1),
        )
        return self._write_end(end, timestamp)

    def _write_end(self, end: RunEnd, timestamp: int | None) -> int:
        if not end.totals.events:
            # Made elsewhere, where nobody counted.
            end = msgspec.structs.replace(end, totals=self._out.sums.totals(more=1))
        offset = self._write(end, timestamp)
        if offset >= 0:
            note_end(self.log, self.stream, offset)
        return offset


def _status_of(error: BaseException | None) -> EndStatus:
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "completed"
    return "failed" if isinstance(error, Exception | SystemExit) else "cancelled"
