"""Merges of tasks: one stream whose history a declared policy makes from several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from transit import InvalidInputError, Log, Position, Scalar, Stream
from transit.trace.events import Evaluation, decode_event
from transit.trace.names import TRACE_KIND, describe_run, make_named
from transit.trace.recording import Task
from transit.trace.replaying import Replay


def merge(
    log: Log,
    tasks: Sequence[Task],
    *,
    policy: str,
    reason: str = "",
    name: str | None = None,
    selected: Task | None = None,
    params: Mapping[str, Scalar] | None = None,
    base: Position | None = None,
) -> Task:
    """A new stream whose history `policy` makes from `tasks`, which stay as they are.

    policy: as for `transit.Log.merge`. selected: for policy "select"; None: the task an evaluator's
    newest decision "selected" is about. name: None: `<task_id>/merge-<n>`, of the first task.
    In a replay, the merge that was recorded.
    Raises what `transit.Log.merge` raises, `InvalidInputError` when nothing is selected.
    """
    _check(tasks, policy, selected)
    replays = [task for task in tasks if isinstance(task, Replay) and not task.live]
    if len(replays) == len(tasks):
        return replays[0].recorded_merge(tasks)
    chosen = dict(params or {})
    if policy == "select" and "selected" not in chosen:
        chosen["selected"] = (_selected(tasks) if selected is None else selected).name
    first = tasks[0]
    metadata = describe_run(first.options, first.task_id, "", reason) | {TRACE_KIND: "merge"}

    def make(wanted: str) -> Stream:
        return log.merge(
            wanted,
            [task.stream for task in tasks],
            policy=policy,
            base=base,
            params=chosen,
            metadata=metadata,
            durability=first.durability,
        )

    stream = make(name) if name is not None else make_named(log, f"{first.task_id}/merge", make)
    return Task(log, stream, first.options)


def _check(tasks: object, policy: str, selected: object) -> None:
    if not isinstance(tasks, Sequence) or not tasks:
        raise InvalidInputError("tasks must be a sequence of tasks, and not empty")
    for task in tasks if selected is None else [*tasks, selected]:
        if not isinstance(task, Task):
            raise InvalidInputError(f"not a task: {task!r}")
    if selected is not None and policy != "select":
        raise InvalidInputError(f'selected= is for policy "select", not {policy!r}')


def _selected(tasks: Sequence[Task]) -> Task:
    """The task the newest decision "selected", in any of them, is about or stands in."""
    decisions = [found for task in tasks for found in _decisions(task)]
    if not decisions:
        raise InvalidInputError(
            'policy "select": say which with selected=, or evaluate one with decision="selected"'
        )
    _, _, decision, place = max(decisions, key=lambda found: found[:2])
    about = decision.subject_ref.rpartition("@")[0]
    return next((task for task in tasks if task.name == about), place)


def _decisions(task: Task) -> Iterator[tuple[int, int, Evaluation, Task]]:
    """Timestamp, offset (of two records of one moment the later counts), decision, and where."""
    for record in task.stream:
        event = decode_event(record.payload)
        if isinstance(event, Evaluation) and event.decision == "selected":
            yield record.timestamp, record.offset, event, task
