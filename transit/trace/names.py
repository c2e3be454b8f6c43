"""What a run's stream says of itself, and the names of branches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from transit import AlreadyExistsError, InvalidInputError, Log, Scalar, Stream
from transit.trace.writing import Options

TASK_ID: Final = "task_id"
TRACE_KIND: Final = "trace_kind"
BRANCH_KIND: Final = "branch_kind"
ACTOR: Final = "actor_id"
CREATED: Final = "created_at"
REASON: Final = "reason"
# Of a run begun inside another: that one's stream, its UUID, and the offset where it was begun.
PARENT_RUN: Final = "parent_run"
PARENT_UID: Final = "parent_uid"
PARENT_OFFSET: Final = "parent_offset"
OWN: Final = frozenset(
    (
        TASK_ID, TRACE_KIND, BRANCH_KIND, ACTOR, CREATED, REASON,
        PARENT_RUN, PARENT_UID, PARENT_OFFSET,
    )
)  # fmt: skip
IN_CALL: Final = {"in_call": "true"}


def is_run(stream: Stream) -> bool:
    """Whether a stream is a run, or a branch or merge of runs, as its metadata say."""
    return isinstance(stream.metadata.get(TASK_ID), str)


def describe_run(options: Options, task_id: str, actor: str, reason: str) -> dict[str, Scalar]:
    """The metadata every stream of a trace has."""
    for value, what in ((actor, "actor"), (reason, "reason")):
        if not isinstance(value, str):
            raise InvalidInputError(f"{what} must be text, not {value!r}")
    said: dict[str, Scalar] = {
        TASK_ID: task_id,
        ACTOR: actor,
        CREATED: time.time_ns(),
        REASON: reason,
    }
    return cleaned(options, said)


def cleaned(options: Options, metadata: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Metadata as the run's policy lets it be recorded."""
    policy = options.redaction
    if policy is None:
        return dict(metadata)
    found: dict[str, Scalar] = {}
    for key, value in metadata.items():
        if isinstance(key, str) and policy.hides(key):
            found[key] = policy.replacement
        else:
            found[key] = policy.text(value)[0] if isinstance(value, str) else value
    return found


class HoldsStream(Protocol):
    """What stands for a run: a task, or what was read of one."""

    @property
    def stream(self) -> Stream:
        """The stream it is about."""


def stream_of(log: Log, run: str | Stream | HoldsStream) -> Stream:
    """The stream of a run, in this store; `NotFoundError` when it is not there.

    By its name, or by its uid, under which it may have another name, or be hidden.
    """
    if isinstance(run, str):
        return log.stream(run)
    stream = run if isinstance(run, Stream) else getattr(run, "stream", None)
    if not isinstance(stream, Stream):
        raise InvalidInputError(f"run must be a name, a stream, a task or a trace, not {run!r}")
    return log.stream(uid=stream.uid)


def trace_id(stream: Stream) -> str:
    """The id of the task that a stream is of; the stream's name where none was recorded."""
    found = stream.metadata.get(TASK_ID)
    return found if isinstance(found, str) and found else stream.name


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
