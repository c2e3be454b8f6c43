"""ATIF, the Agent Trajectory Interchange Format (versions 1.0 to 1.8), of Harbor and others.

A step of a system or user is a message, an agent's is a model call with its calls of tools. What
was observed is the result of the call it names, or a message where it names none. Trajectories of
sub-agents, in the document or in a file beside it that it names, are child runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from transit import InvalidInputError
from transit.trace.files.judgements import NOTE, note_in
from transit.trace.files.runs import (
    Events,
    ImportedRun,
    Names,
    list_of,
    object_of,
    objects_of,
    read_time,
    scalars,
    text_of,
)
from transit.trace.files.source import JsonObject, Source

NAME: Final = "atif"
_RUNS_MAX: Final = 1000
_ROLES: Final = {"system": "system", "user": "user"}
_OF_A_STEP: Final = (
    "step_id", "timestamp", "source", "message", "model_name", "tool_calls", "observation",
    "metrics", "reasoning_content",
)  # fmt: skip
_TOKENS: Final = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}


def detect(source: Source) -> bool:
    """Whether the document names a version of the format, or has steps with sources."""
    whole = object_of(source.whole)
    if text_of(whole.get("schema_version")).startswith("ATIF"):
        return True
    steps = objects_of(whole.get("steps"))
    return bool(steps) and all("source" in step and "message" in step for step in steps[:5])


def runs(source: Source) -> Iterator[ImportedRun]:
    """The trajectory, then those of its sub-agents, theirs after them."""
    whole = source.document
    if not isinstance(whole, dict):
        raise source.refuse("not an object")
    names = Names()
    waiting = [_Trajectory(source, whole, names.give(source.stem), names, frozenset())]
    done = 0
    while waiting:
        trajectory = waiting.pop(0)
        yield trajectory.run()
        waiting += trajectory.children
        done += 1
        if done > _RUNS_MAX:
            raise source.refuse(f"more than {_RUNS_MAX} trajectories")


class _Trajectory:
    """One trajectory: its events, and the trajectories of the sub-agents it names."""

    def __init__(
        self,
        source: Source,
        whole: JsonObject,
        name: str,
        names: Names,
        above: frozenset[str],
        child_of: tuple[str, int] | None = None,
    ) -> None:
        self._source = source
        self._whole = whole
        self._name = name
        self._names = names
        # The files this one was reached by: a file that names one of them goes in a circle.
        self._above = above | {source.path.name}
        self._child_of = child_of
        self._embedded = {
            key: each
            for each in objects_of(whole.get("subagent_trajectories"))
            for key in (text_of(each.get("trajectory_id")) or text_of(each.get("session_id")),)
            if key
        }
        self._agent = object_of(whole.get("agent"))
        self._model = text_of(self._agent.get("model_name"))
        self._events = Events(NAME)
        self.children: list[_Trajectory] = []

    def run(self) -> ImportedRun:
        """The run of this very trajectory."""
        self._write()
        known = ("schema_version", "session_id", "trajectory_id", "continued_trajectory_ref")
        agent = {f"agent_{key}": value for key, value in self._agent.items()}
        return ImportedRun(
            name=self._name,
            events=self._events.take(),
            metadata=scalars(self._whole | agent, (*known, "agent_name", "agent_version")),
            child_of=self._child_of,
        )

    def _write(self) -> None:
        events, steps = self._events, self._whole.get("steps")
        if not isinstance(steps, list):
            raise self._source.refuse("steps is not a list")
        events.at("agent")
        if self._agent:
            events.context({"agent": self._agent})
        for number, step in enumerate(steps):
            self._source.tally.records += 1
            if not isinstance(step, dict) or not isinstance(step.get("source"), str):
                self._source.bad(f"step {number + 1}", "not an object with a source")
                continue
            step_id = step.get("step_id")
            identity = str(step_id) if isinstance(step_id, int | str) else ""
            place = f"{self._source.label}step {number + 1}"
            events.at(place, read_time(step.get("timestamp")), identity)
            self._step(step)
        events.at("")
        for key in self._embedded:
            # No step names it: it was begun some time before the end.
            self._child(self._embedded[key])
        events.rest(
            self._without_notes(self._whole, ""),
            ("steps", "agent", "subagent_trajectories", "session_id", "schema_version"),
        )

    def _step(self, step: JsonObject) -> None:
        events, role = self._events, _ROLES.get(str(step["source"]))
        if role is not None:
            events.message(role, step.get("message"))
        else:
            self._turn(step)
        calls = [
            events.tool_request(
                call.get("tool_call_id"), call.get("function_name"), call.get("arguments")
            )
            for call in objects_of(step.get("tool_calls"))
        ]
        results = objects_of(object_of(step.get("observation")).get("results"))
        # One result for all the calls of a step, as of a terminal, comes after the last of them.
        last = calls[-1] if calls and len(results) == 1 else None
        for result in results:
            self._result(result, last)
        events.rest(self._without_notes(step, events.source_id), _OF_A_STEP)

    def _without_notes(self, whole: JsonObject, about: str) -> JsonObject:
        """A step, or a trajectory, with its notes taken from what it says besides."""
        extra = object_of(whole.get("extra"))
        found = [note_in(each) for each in list_of(extra.get(NOTE))]
        if not found or None in found:
            return whole
        for note in found:
            if note is not None:
                self._events.note(note, about)
        left = {key: value for key, value in extra.items() if key != NOTE}
        return {**whole, "extra": left or None}

    def _turn(self, step: JsonObject) -> None:
        metrics = object_of(step.get("metrics"))
        response: JsonObject = {"role": "assistant", "content": step.get("message")}
        for key in ("reasoning_content",):
            if step.get(key) is not None:
                response[key] = step[key]
        usage = {_TOKENS.get(key, key): v for key, v in metrics.items() if v is not None}
        self._events.model_call(
            model=text_of(step.get("model_name")) or self._model, response=response, usage=usage
        )

    def _result(self, result: JsonObject, last: str | None) -> None:
        call = result.get("source_call_id") or last
        if isinstance(call, str):
            self._events.tool_result(call, result.get("content"))
        elif result.get("content") is not None:
            self._events.message("tool", result["content"])
        for ref in objects_of(result.get("subagent_trajectory_ref")):
            self._reference(ref)
        self._events.rest(result, ("source_call_id", "content"))

    def _reference(self, ref: JsonObject) -> None:
        for key in ("trajectory_id", "session_id"):
            if (found := self._embedded.pop(text_of(ref.get(key)), None)) is not None:
                self._child(found)
                return
        path = text_of(ref.get("trajectory_path"))
        beside = self._source.path.parent / path
        # Only a file beside this one: a document does not choose what is read elsewhere.
        if not path or "/" in path or "\\" in path or path in self._above or not beside.is_file():
            return
        other = Source(beside, self._source.tally, f"{path}, ")
        whole = other.document
        if not isinstance(whole, dict):
            raise InvalidInputError(f"{other.name}: not a trajectory")
        self._child(whole, other)

    def _child(self, whole: JsonObject, source: Source | None = None) -> None:
        given = self._source if source is None else source
        name = self._names.give(
            self._name,
            given.stem if source else text_of(whole.get("trajectory_id")) or "subagent",
        )
        index = self._events.child(name)
        child = _Trajectory(given, whole, name, self._names, self._above, (self._name, index))
        self.children.append(child)
