"""SWE-agent's trajectory documents as traces, and back without loss.

A document is the JSON of a `.traj` file. In its stream it becomes

    message                  the task statement: the first message of a user, demonstrations aside
    model_call               of each step: what the model was asked, where the step says so, and its
                             response
    tool_request, _result    its action and its observation
    custom "sweagent.step"   all else of the step, and the order of its keys
    custom "sweagent.info"   what came of it
    custom "sweagent.rest"   all else of the document, and the order of its keys
    checkpoint               final, by the exit status

What stands in several of them, as the messages of `history` do in requests, is stored once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

import msgspec

from transit import InvalidInputError, Log, NotFoundError, Stream
from transit.trace.beginning import task
from transit.trace.events import (
    Checkpoint,
    CheckpointStatus,
    Custom,
    Event,
    Message,
    ModelCall,
    ToolRequest,
    ToolResult,
    decode_json,
    encode_json,
)
from transit.trace.reading import read
from transit.trace.recording import Task

STEP: Final = "sweagent.step"
INFO: Final = "sweagent.info"
REST: Final = "sweagent.rest"
_TOOL: Final = "environment"
# Members that have events of their own.
_OF_A_STEP: Final = ("messages", "response", "action", "observation")
_OF_A_DOCUMENT: Final = ("trajectory", "info")

_Object = dict[str, object]


class _Step(msgspec.Struct, frozen=True):
    """What a step must have: any value each."""

    action: object
    observation: object


class _Shape(msgspec.Struct, frozen=True):
    """What a document must have."""

    trajectory: list[_Step]
    history: list[_Object]
    info: _Object


class _Document(msgspec.Struct, frozen=True):
    """A document that has what it must. whole: all of it. statement: a message of its history."""

    whole: _Object
    steps: list[_Object]
    info: _Object
    statement: _Object


class _Left(msgspec.Struct, frozen=True):
    """The members of an object that have no events of their own, and the order of all its keys."""

    order: list[str]
    rest: _Object


def import_trajectories(
    log: Log, task_id: str, documents: Sequence[Mapping[str, object]], *, durability: str = "os"
) -> list[Task]:
    """Record attempts at one task: the first as the task, each later one as a retry of it.

    A retry begins after the task statement, and has its own where that is another. Nothing is
    written when a document is none: `InvalidInputError` says what it lacks.
    """
    if not isinstance(documents, Sequence) or isinstance(documents, str | bytes) or not documents:
        raise InvalidInputError("documents must be a sequence, and not empty")
    checked = [_checked(document, n) for n, document in enumerate(documents)]
    tasks: list[Task] = []
    for document in checked:
        if tasks:
            recorded = tasks[0].retry(at=0, reason="imported")
        else:
            recorded = task(log, task_id, reason="imported", durability=durability)
        if not tasks or document.statement != checked[0].statement:
            _write_statement(recorded, document.statement)
        _write_run(recorded, document)
        tasks.append(recorded)
    return tasks


def _checked(given: Mapping[str, object], number: int) -> _Document:
    """A document as plain JSON; `InvalidInputError` when it lacks something."""
    try:
        whole = msgspec.convert(decode_json(encode_json(given)), _Object)
        shape = msgspec.convert(whole, _Shape)
        steps = msgspec.convert(whole["trajectory"], list[_Object])
    except (msgspec.ValidationError, InvalidInputError) as error:
        raise InvalidInputError(f"document {number}: {error}") from None
    statement = statement_of(shape.history)
    if statement is None:
        raise InvalidInputError(
            f"document {number}: no task statement: no user's message in `history`"
        )
    return _Document(whole, steps, shape.info, statement)


def statement_of(history: Sequence[_Object]) -> _Object | None:
    """The first message of a user that is no demonstration."""
    for message in history:
        if message.get("role") == "user" and not message.get("is_demo"):
            return message
    return None


def _write_statement(recorded: Task, statement: _Object) -> None:
    # The very message of the history, which refers to it.
    recorded.record(Message(message=statement))


def _write_run(recorded: Task, document: _Document) -> None:
    for event, _ in run_events(document.whole, document.steps, document.info):
        recorded.record(_with_id(recorded, event))


def _with_id(recorded: Task, event: Event) -> Event:
    """Calls with ids of their own: attempts at one task have the calls of others before them."""
    if not isinstance(event, ToolRequest | ToolResult):
        return event
    call_id = f"{recorded.stream.uid[:16]}-{event.tool_call_id}"
    return msgspec.structs.replace(event, tool_call_id=call_id)


def run_events(
    whole: _Object, steps: Sequence[_Object], info: _Object
) -> Iterator[tuple[Event, int | None]]:
    """The events of a document after its statement, and the number of the step each is of.

    Calls have the number of their step as id.
    """
    model = _model_of(whole)
    for number, step in enumerate(steps):
        response = step.get("response")
        yield ModelCall(request_model=model, request=_request(step), response=response), number
        call = f"step-{number}"
        yield (
            ToolRequest(tool_call_id=call, tool_name=_TOOL, arguments=step.get("action")),
            number,
        )
        yield (
            ToolResult(
                tool_call_id=call,
                tool_name=_TOOL,
                tool_status="success",
                result=step.get("observation"),
                duration_ns=_duration_ns(step),
            ),
            number,
        )
        yield Custom(name=STEP, data=_left(step, _of_a_step(step))), number
    yield Custom(name=INFO, data=info), None
    yield Custom(name=REST, data=_left(whole, _OF_A_DOCUMENT)), None
    exit_status = str(info.get("exit_status") or "")
    ended: CheckpointStatus = "failed" if exit_status else "incomplete"
    status: CheckpointStatus = "success" if exit_status == "submitted" else ended
    yield Checkpoint(checkpoint_kind="final", status=status, reason=exit_status), None


def _of_a_step(step: _Object) -> tuple[str, ...]:
    """The members of a step that have events; later programs call the messages `query`."""
    return _OF_A_STEP if "messages" in step else (*_OF_A_STEP, "query")


def _request(step: _Object) -> object:
    return step["messages"] if "messages" in step else step.get("query")


def _model_of(whole: _Object) -> str:
    found: object = whole
    for key in ("replay_config", "agent", "model", "name"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) and found else "unknown"


def _duration_ns(step: _Object) -> int:
    seconds = step.get("execution_time")
    known = isinstance(seconds, int | float) and seconds > 0
    return round(cast(float, seconds) * 1e9) if known else 0


def _left(whole: _Object, without: Sequence[str]) -> _Object:
    rest = {key: value for key, value in whole.items() if key not in without}
    return {"order": list(whole), "rest": rest}


def export_trajectory(log: Log, stream: str | Stream) -> dict[str, object]:
    """The document that was imported into `stream`, equal in all, the order of keys too.

    `NotFoundError` when there is no such stream, or no document in it.
    """
    steps: list[_Object] = []
    step: _Object = {}
    whole: _Object = {"trajectory": steps}
    for record in read(log, stream):
        event = record.event
        if isinstance(event, ModelCall):
            request = event.request
            step = {"messages": request, "query": request, "response": event.response}
        elif isinstance(event, ToolRequest):
            step["action"] = event.arguments
        elif isinstance(event, ToolResult):
            step["observation"] = event.result
        elif isinstance(event, Custom) and event.name == STEP:
            steps.append(_joined(event.data, step))
        elif isinstance(event, Custom) and event.name == INFO:
            whole["info"] = event.data
        elif isinstance(event, Custom) and event.name == REST:
            return _joined(event.data, whole)
    raise NotFoundError(f"{stream}: no imported trajectory")


def _joined(data: object, more: _Object) -> _Object:
    """What was left of an object, and the members from events, in order."""
    try:
        left = msgspec.convert(data, _Left)
        whole = more | left.rest
        return {key: whole[key] for key in left.order}
    except (msgspec.ValidationError, LookupError) as error:
        raise InvalidInputError(f"not as a trajectory is imported: {error!r}") from None
