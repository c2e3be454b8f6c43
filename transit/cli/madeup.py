"""An agent run for `transit demo`: made up, the same each time, or from trajectory files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from os.path import basename

from transit import InvalidInputError, Log, trace

Said = tuple[object, ...]

TASK = "fix-rounding"
_BUG = "TimeDelta serialises one millisecond short: 345 ms become 344."
_REPRODUCE = {"command": "python reproduce.py"}
_FIRST_EDIT = {"path": "fields.py", "replace": "int(value)", "by": "int(value + 0.5)"}
_SECOND_EDIT = {"path": "fields.py", "replace": "int(value)", "by": "round(value)"}
_TESTS = {"command": "pytest -q tests/test_fields.py"}


class MadeUp:
    """A task whose first fix fails the tests, a retry that passes them, and their merge."""

    def __init__(self) -> None:
        self._said: dict[str, list[Said]] = {}

    def record(self, log: Log) -> None:
        """Record the run; what is said is kept, to be compared with what is read."""
        with trace.task(log, TASK, actor="agent", reason="a bug report") as first:
            self._said[first.name] = []
            self._message(first, "user", _BUG)
            self._tool(first, "shell", _REPRODUCE, "success", "344")
            self._message(first, "assistant", "The value is cut off, not rounded.")
            tried = self._said_so_far(first)
            self._tool(first, "edit", _FIRST_EDIT, "success", "1 line changed")
            self._tool(first, "shell", _TESTS, "failure", "1 failed: test_negative_delta")
            self._checkpoint(first, "failed", "half up is wrong below zero")
        self._said[first.name].append(("end", "completed"))
        retry = first.retry(tried - 1, actor="agent", reason="tests failed")
        self._said[retry.name] = self._said[first.name][:tried]
        with retry:
            self._tool(retry, "edit", _SECOND_EDIT, "success", "1 line changed")
            self._tool(retry, "shell", _TESTS, "success", "83 passed")
            self._evaluate(retry)
            self._checkpoint(retry, "success", "all tests pass")
        self._said[retry.name].append(("end", "completed"))
        merged = trace.merge(log, [first, retry], policy="select", reason="the one that passes")
        self._said[merged.name] = list(self._said[retry.name])
        self._message(merged, "assistant", "Fixed: the value is rounded.")

    def missing(self, log: Log) -> Iterator[str]:
        """The events of each stream that are not what was said."""
        for name, said in self._said.items():
            found = [_told(record.event) for record in trace.read(log, name)]
            if len(found) != len(said):
                yield f"{name}: {len(found)} events, {len(said)} were said"
            for offset, (one, other) in enumerate(zip(said, found, strict=False)):
                if one != other:
                    yield f"{name}@{offset}: {other!r:.200}, not {one!r:.200}"

    def _said_so_far(self, task: trace.Task) -> int:
        return len(self._said[task.name])

    def _message(self, task: trace.Task, role: str, content: str) -> None:
        task.message(role, content)
        self._said[task.name].append(("message", role, content))

    def _tool(
        self, task: trace.Task, name: str, arguments: Mapping[str, str], status: str, value: str
    ) -> None:
        call = task.tool(name, arguments, tool_call_id=f"call-{self._said_so_far(task)}")
        if status == "success":
            call.result(value)
        else:
            call.failure(value)
        self._said[task.name] += [("call", name, arguments), ("outcome", name, status, value)]

    def _checkpoint(self, task: trace.Task, status: str, reason: str) -> None:
        task.checkpoint("final", status=status, reason=reason)
        self._said[task.name].append(("checkpoint", status, reason))

    def _evaluate(self, task: trace.Task) -> None:
        task.evaluate("test-suite", decision="selected", score=1.0, reason="83 of 83")
        self._said[task.name].append(("evaluation", "selected", 1.0))


def _told(event: trace.Event | trace.Unknown) -> Said:
    """An event as it was said."""
    match event:
        case trace.Message():
            return "message", event.role, event.content
        case trace.ToolRequest():
            return "call", event.tool_name, event.arguments
        case trace.ToolResult():
            value = event.result if event.error is None else event.error.message
            return "outcome", event.tool_name, event.tool_status, value
        case trace.Evaluation():
            return "evaluation", event.decision, event.score
        case trace.Checkpoint():
            return "checkpoint", event.status, event.reason
        case trace.RunEnd():
            return "end", event.status
    return "unexpected", type(event).__name__


class Trajectories:
    """Attempts at one task from SWE-agent's trajectory files, and the merge that selects one.

    Raises `InvalidInputError` for a file that is none, `OSError` for one that cannot be read.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self._task = basename(paths[0]).partition(".")[0] or "task"
        self._documents = [_document(path) for path in paths]
        self._streams: list[str] = []

    def record(self, log: Log) -> None:
        """Record the first as a task, each later one as a retry; select the last submitted one."""
        tasks = trace.import_trajectories(log, self._task, self._documents)
        self._streams = [task.name for task in tasks]
        if len(tasks) > 1:
            chosen = tasks[self._submitted()]
            reason = "the last attempt that was submitted"
            trace.merge(log, tasks, policy="select", selected=chosen, reason=reason)

    def missing(self, log: Log) -> Iterator[str]:
        """The trajectories that do not come out as they went in."""
        for name, document in zip(self._streams, self._documents, strict=True):
            # As text, so that the order of members counts too.
            if json.dumps(trace.export_trajectory(log, name)) != json.dumps(document):
                yield f"{name}: exported, it is not what was imported"

    def _submitted(self) -> int:
        ends = [str(_member(document, "exit_status")) for document in self._documents]
        done = [place for place, end in enumerate(ends) if end.startswith("submitted")]
        return done[-1] if done else len(ends) - 1


def _member(document: Mapping[str, object], key: str) -> object:
    info = document.get("info")
    return info.get(key) if isinstance(info, Mapping) else None


def _document(path: str) -> Mapping[str, object]:
    with open(path, "rb") as file:
        data = file.read()
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidInputError(f"{path}: not a trajectory: no JSON object")
    return document
