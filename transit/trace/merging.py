"""Merges of tasks: one stream whose history a declared policy makes from several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from transit import InvalidInputError, Log, Position, Scalar, Stream
from transit.trace.beginning import current, options_of
from transit.trace.events import Evaluation
from transit.trace.names import TRACE_KIND, describe_run, make_named, stream_of, trace_id
from transit.trace.reading import Trace
from transit.trace.recording import Task
from transit.trace.replaying import Replay
from transit.trace.views import seen

Which = Task | Trace | Stream | str


def merge(
    log: Log,
    tasks: Sequence[Which],
    *,
    policy: str,
    reason: str = "",
    name: str | None = None,
    selected: Which | None = None,
    params: Mapping[str, Scalar] | None = None,
    base: Position | None = None,
) -> Task:
    """A new stream whose history `policy` makes from `tasks`, which stay as they are.

    tasks: tasks, or for runs that nobody records any more, their names, streams or traces. policy:
    as for `transit.Log.merge`. selected: for policy "select"; None: the task an evaluator's
    newest decision "selected" is about. name: None: `<task_id>/merge-<n>`, of the first task.
    In a replay, the merge that was recorded.
    Raises what `transit.Log.merge` raises, `InvalidInputError` when nothing is selected.
    """
    if not isinstance(tasks, Sequence) or isinstance(tasks, str) or not tasks:
        raise InvalidInputError("tasks must be a sequence of tasks or names, and not empty")
    if selected is not None and policy != "select":
        raise InvalidInputError(f'selected= is for policy "select", not {policy!r}')
    streams = [_stream(log, task) for task in tasks]
    which = None if selected is None else _stream(log, selected)
    replay = _replay_of(tasks)
    if replay is not None:
        return replay.recorded_merge(streams)
    chosen = dict(params or {})
    if policy == "select" and "selected" not in chosen:
        chosen["selected"] = (which or _selected(streams)).name
    first = tasks[0]
    options = first.options if isinstance(first, Task) else options_of("os", None, strict=False)
    task_id = trace_id(streams[0])
    metadata = describe_run(options, task_id, "", reason) | {TRACE_KIND: "merge"}

    def make(wanted: str) -> Stream:
        return log.merge(
            wanted,
            streams,
            policy=policy,
            base=base,
            params=chosen,
            metadata=metadata,
            durability=options.durability,
        )

    stream = make(name) if name is not None else make_named(log, f"{task_id}/merge", make)
    return Task(log, stream, options)


def _replay_of(tasks: Sequence[Which]) -> Replay | None:
    """The replay that answers: that of all the tasks, or the one in which runs are named."""
    found = tasks if any(isinstance(task, Task) for task in tasks) else [current()]
    replays = [task for task in found if isinstance(task, Replay) and not task.live]
    return replays[0] if len(replays) == len(found) else None


def _stream(log: Log, given: object) -> Stream:
    """The stream of what stands for a run."""
    if isinstance(given, Task):
        return given.stream
    if isinstance(given, str | Stream | Trace):
        return stream_of(log, given)
    raise InvalidInputError(f"not a task, nor a run or its name: {given!r}")


def _selected(streams: Sequence[Stream]) -> Stream:
    """The run the newest decision "selected", in any of them, is about or stands in."""
    decisions = [found for stream in streams for found in _decisions(stream)]
    if not decisions:
        raise InvalidInputError(
            'policy "select": say which with selected=, or evaluate one with decision="selected"'
        )
    _, _, decision, place = max(decisions, key=lambda found: found[:2])
    about = decision.subject_ref.rpartition("@")[0]
    return next((stream for stream in streams if stream.name == about), place)


def _decisions(stream: Stream) -> Iterator[tuple[int, int, Evaluation, Stream]]:
    """Timestamp, offset (of two records of one moment the later counts), decision, and where."""
    for record, event in seen(stream):
        if isinstance(event, Evaluation) and event.decision == "selected":
            yield record.timestamp, record.offset, event, stream
