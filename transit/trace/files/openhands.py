"""OpenHands' event logs: a list of actions and observations (V0), of typed events (V1), or lines.

A message of a user or system is a message. What a model answered is one model call, whichever of
its actions tell it; an action is a call of a tool, and the observation it caused is the result.
What an agent did that another delegated to is a child run. Lines of an evaluation's output are a
run each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from transit.trace.events import ToolStatus
from transit.trace.files.openhands_sdk import SdkEvents, is_sdk_event
from transit.trace.files.runs import (
    Events,
    ImportedRun,
    Names,
    list_of,
    member,
    object_of,
    objects_of,
    plain_text,
    read_time,
    text_of,
)
from transit.trace.files.source import JsonObject, Source

NAME: Final = "openhands"
_RUNS_MAX: Final = 10_000
# Members of every event that the records say, or that repeat the others for people.
_OF_ALL: Final = ("id", "timestamp", "source", "message", "cause", "action", "observation", "args",
                  "content", "tool_call_metadata", "llm_metrics", "timeout",
                  "tool_calls")  # fmt: skip
_STATES: Final = {
    "finished": ("final", "success"), "error": ("final", "failed"),
    "rejected": ("final", "failed"), "stopped": ("final", "incomplete"),
}  # fmt: skip
_SPOKEN: Final = frozenset(("message", "system"))
_OF_STATE: Final = frozenset(
    ("change_agent_state", "agent_state_changed", "null", "pause", "resume")
)


def detect(source: Source) -> bool:
    """Whether there are actions and observations, typed events, or lines that hold such."""
    if source.is_lines:
        return any(_is_event(each) or _history(each) for each in source.first_objects)
    whole = source.whole
    return any(_is_event(each) for each in list_of(whole)[:5]) or bool(_history(whole))


def _is_event(value: object) -> bool:
    if not isinstance(value, dict) or "id" not in value:
        return False
    return ("source" in value and ("action" in value or "observation" in value)) or (
        is_sdk_event(value)
    )


def _history(value: object) -> list[object]:
    """The events of an evaluation's line, or of a conversation's export."""
    for key in ("history", "trajectory", "events"):
        found = list_of(member(value, key))
        if any(_is_event(each) for each in found[:5]):
            return found
        # In 2024 each was a pair of an action and its observation.
        if any(isinstance(each, list) and any(map(_is_event, each)) for each in found[:5]):
            return [event for pair in found for event in list_of(pair)]
    return []


def runs(source: Source) -> Iterator[ImportedRun]:
    """The runs in it, those that were delegated to after the ones that did."""
    names = Names()
    if not source.is_lines:
        whole = source.document
        events = whole if isinstance(whole, list) else _history(whole)
        if not events:
            raise source.refuse("no events")
        yield from _Log(source, names, "").runs(names.give(source.stem), events, object_of(whole))
        return
    if any(_is_event(each) for each in source.first_objects):
        lines: list[object] = [line for _, _, line in source.objects()]
        source.tally.records -= len(lines)
        yield from _Log(source, names, "").runs(names.give(source.stem), lines, {})
        return
    for number, _, line in source.objects():
        source.tally.records -= 1
        events = _history(line)
        if not events:
            source.bad(f"line {number}", "no events")
            continue
        name = names.give(source.stem, text_of(line.get("instance_id")) or f"line-{number}")
        yield from _Log(source, names, f"line {number}, ").runs(name, events, line)


class _Log:
    """One list of events being read."""

    def __init__(self, source: Source, names: Names, where: str) -> None:
        self._source = source
        self._names = names
        self._where = where
        # The runs, the innermost delegate last, and those that have ended.
        self._open: list[_Run] = []
        self._all: list[_Run] = []

    def runs(self, name: str, given: list[object], head: JsonObject) -> Iterator[ImportedRun]:
        """The run `name`, and those delegated to within it."""
        self._begin(name, None)
        sdk = SdkEvents(self._source, self._open[0].events)
        for number, event in enumerate(given):
            self._source.tally.records += 1
            place = f"{self._where}event {number}"
            if not _is_event(event) or not isinstance(event, dict):
                self._source.bad(place, "not an event")
                continue
            run = self._open[-1]
            identity = event.get("id")
            run.events.at(place, read_time(event.get("timestamp")), plain_text(identity))
            if is_sdk_event(event):
                sdk.add(event)
            else:
                self._event(run, event)
        self._ending(head)
        for run in self._all:
            yield ImportedRun(name=run.name, events=run.events.take(), child_of=run.child_of)

    def _begin(self, name: str, child_of: tuple[str, int] | None) -> None:
        if len(self._all) == _RUNS_MAX:
            raise self._source.refuse(f"more than {_RUNS_MAX} delegates")
        run = _Run(name, child_of)
        self._open.append(run)
        self._all.append(run)

    def _event(self, run: _Run, event: JsonObject) -> None:
        kind = text_of(event.get("action"))
        if kind == "delegate":
            run.action(kind, event)
            name = self._names.give(run.name, text_of(member(event, "args", "agent")) or "agent")
            self._begin(name, (run.name, run.events.child(name)))
            return
        if kind:
            run.action(kind, event)
            return
        observed = text_of(event.get("observation"))
        if observed == "delegate" and len(self._open) > 1:
            # The agent that delegated goes on.
            at = (run.events.place, run.events.time, run.events.source_id)
            run.events.end("completed")
            self._open.pop()
            run = self._open[-1]
            run.events.at(*at)
        if not run.observation(observed, event):
            self._source.tally.raw += 1
            run.events.custom(observed or "event", event)

    def _ending(self, head: JsonObject) -> None:
        """What an evaluation says beside its history."""
        events = self._all[0].events
        events.at(f"{self._where}head")
        known = ("history", "trajectory", "events")
        if left := {k: v for k, v in head.items() if k not in known and v is not None}:
            events.context(left)
        resolved = member(head, "test_result", "report", "resolved")
        if isinstance(resolved, bool):
            events.evaluation("report", "resolved" if resolved else "unresolved",
                              score=float(resolved))  # fmt: skip
        if error := text_of(head.get("error")):
            events.checkpoint("final", "failed", error)


class _Run:
    """One agent's run."""

    def __init__(self, name: str, child_of: tuple[str, int] | None) -> None:
        self.name = name
        self.child_of = child_of
        self.events = Events(NAME)
        self._answers: set[str] = set()
        # The calls by the number of the event that made each.
        self._calls: dict[object, str] = {}

    def action(self, kind: str, event: JsonObject) -> None:
        """What a user or an agent did."""
        events, args = self.events, object_of(event.get("args"))
        metadata = object_of(event.get("tool_call_metadata"))
        answered = self._answer(metadata, event)
        if kind in _OF_STATE:
            self._state(text_of(args.get("agent_state")) or kind)
            events.rest(args, ("agent_state",))
        elif kind in _SPOKEN:
            self._spoken(kind, event, args, answered)
        else:
            call = metadata.get("tool_call_id") or f"event-{plain_text(event.get('id'))}"
            name = text_of(metadata.get("function_name")) or kind
            identity = _key(event.get("id"))
            self._calls[identity] = events.tool_request(call, name, args)
            events.rest({"action": kind} if name != kind else {}, ())
            if kind in ("finish", "reject"):
                # Nothing comes of these.
                events.tool_result(call, None)
                reason = text_of(args.get("final_thought")) or kind
                events.checkpoint("final", "success" if kind == "finish" else "failed", reason)
        events.rest(event, _OF_ALL)

    def _spoken(self, kind: str, event: JsonObject, args: JsonObject, answered: bool) -> None:
        content = args.get("content", event.get("message"))
        more = {k: v for k, v in args.items() if k not in ("content", "wait_for_response") and v}
        role = {"user": "user", "agent": "assistant"}.get(text_of(event.get("source")), "system")
        if kind == "system":
            role = "system"
        if not answered:
            self.events.message(role, content, more)

    def _answer(self, metadata: JsonObject, event: JsonObject) -> bool:
        """The model call that an action comes from, once; whether there is one."""
        response = object_of(metadata.get("model_response"))
        identity = text_of(response.get("id"))
        if not response:
            return False
        if identity in self._answers:
            return True
        if identity:
            self._answers.add(identity)
        choice = next(iter(objects_of(response.get("choices"))), {})
        message = object_of(choice.get("message"))
        model = text_of(response.get("model"))
        self.events.model_call(
            model=model,
            response={"role": "assistant", **message, **({"model": model} if model else {})},
            usage=response.get("usage"),
            finish_reason=choice.get("finish_reason"),
            response_id=identity,
        )
        known = ("id", "choices", "usage", "model", "object")
        self.events.rest(response, known)
        if metrics := object_of(event.get("llm_metrics")):
            self.events.context({"llm_metrics": metrics})
        return True

    def _state(self, state: str) -> None:
        kind, status = _STATES.get(state, ("intermediate", "incomplete"))
        self.events.checkpoint(kind, status, state)

    def observation(self, kind: str, event: JsonObject) -> bool:
        """What came of an action; False where nothing says of which."""
        events, extras = self.events, object_of(event.get("extras"))
        if kind in _OF_STATE:
            self._state(text_of(extras.get("agent_state")) or text_of(event.get("content")) or kind)
            events.rest(extras, ("agent_state",))
            return True
        call = member(event, "tool_call_metadata", "tool_call_id")
        call = call or self._calls.get(_key(event.get("cause")))
        if call is None:
            if kind not in ("error", "recall", "run", "user_rejected"):
                return False
            events.message("system", event.get("content"), {"observation": kind})
            events.rest(event, (*_OF_ALL, "success"))
            return True
        code = member(extras, "metadata", "exit_code")
        failed = kind == "error" or event.get("success") is False or bool(code)
        status: ToolStatus = "failure" if failed else "success"
        problem = f"exit code {code}" if code else ""
        name = member(event, "tool_call_metadata", "function_name")
        events.tool_result(call, event.get("content"), status=status, name=name, error=problem)
        events.rest(event, (*_OF_ALL, "success"))
        return True


def _key(value: object) -> object:
    """An id as a key: what is no number and no text is none."""
    return value if isinstance(value, int | str) else None
