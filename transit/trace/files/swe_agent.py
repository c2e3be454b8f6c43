"""SWE-agent's trajectories: with steps (old and new), with `history` alone, with several attempts.

A document with steps becomes the events of `transit.trace.trajectories`: `export_trajectory` gives
it back. Of one with `history` alone, as demonstrations are, each message is an event: an
assistant's is a model call, with the calls of tools in it, and an observation is the result of one.
Attempts that a document keeps beside the one it chose are branches after the task statement.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from transit.trace.events import Message
from transit.trace.files.runs import (
    Events,
    ImportedEvent,
    ImportedRun,
    Names,
    list_of,
    member,
    object_of,
    objects_of,
    text_of,
)
from transit.trace.files.source import JsonObject, Source
from transit.trace.trajectories import run_events, statement_of

NAME: Final = "swe-agent"
_TOOL: Final = "environment"


def detect(source: Source) -> bool:
    """Whether the document has steps with actions, or a history with agents."""
    whole = object_of(source.whole)
    steps = list_of(whole.get("trajectory"))
    if "trajectory" in whole and isinstance(whole["trajectory"], list):
        return not steps or any(isinstance(step, dict) and "action" in step for step in steps)
    if "attempts" in whole and "trajectory" not in whole:
        return any("trajectory" in each for each in objects_of(whole["attempts"]))
    return bool(whole) and any("role" in each for each in objects_of(whole.get("history")))


def runs(source: Source) -> Iterator[ImportedRun]:
    """The document as a run, and its other attempts as branches."""
    whole, names = source.document, Names()
    if not isinstance(whole, dict):
        raise source.refuse("not an object")
    attempts = objects_of(whole.get("attempts"))
    if not attempts and not isinstance(whole.get("trajectory", whole.get("history")), list):
        raise source.refuse("neither a trajectory nor a history")
    main = whole if "trajectory" in whole or not attempts else attempts[0]
    name = names.give(source.stem)
    if "trajectory" in main:
        statement = statement_of(objects_of(main.get("history")))
        yield ImportedRun(name=name, events=_of_steps(source, main, statement))
    else:
        statement = None
        yield ImportedRun(name=name, events=_of_history(source, main))
    for number, attempt in enumerate(attempts):
        if attempt is main or not isinstance(attempt.get("trajectory"), list):
            continue
        other = statement_of(objects_of(attempt.get("history")))
        inherits = statement is not None and other == statement
        yield ImportedRun(
            name=names.give(source.stem, f"attempt-{number + 1}"),
            events=_of_steps(
                source, attempt, None if inherits else other, f"attempt {number + 1}, "
            ),
            branch_of=(name, 0) if inherits else None,
        )


def _of_steps(
    source: Source, whole: JsonObject, statement: JsonObject | None, where: str = ""
) -> Iterator[ImportedEvent]:
    given = whole.get("trajectory")
    if not isinstance(given, list):
        raise source.refuse(f"{where}trajectory is not a list")
    steps: list[JsonObject] = []
    for number, step in enumerate(given):
        source.tally.records += 1
        if isinstance(step, dict) and "action" in step:
            steps.append(step)
        else:
            source.bad(f"{where}step {number}", "not an object with an action")
    if statement is not None:
        yield ImportedEvent(Message(message=statement), place=f"{where}history")
    for event, step_number in run_events(whole, steps, object_of(whole.get("info"))):
        place = f"{where}step {step_number}" if step_number is not None else f"{where}info"
        yield ImportedEvent(event, place=place)


def _of_history(source: Source, whole: JsonObject) -> Iterator[ImportedEvent]:
    events = Events("sweagent")
    model = text_of(member(whole, "replay_config", "agent", "model", "name"))
    waiting: list[str] = []
    for number, message in enumerate(list_of(whole.get("history"))):
        source.tally.records += 1
        place = f"history, message {number}"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            source.bad(place, "not a message")
            continue
        events.at(place)
        role = message["role"]
        if role == "assistant":
            events.model_call(model=model, response=message)
            waiting = _calls(events, message)
        elif waiting and (role == "tool" or message.get("message_type") == "observation"):
            given = next(iter(list_of(message.get("tool_call_ids"))), None)
            call = given if given in waiting else waiting[0]
            waiting.remove(str(call))
            events.tool_result(call, message.get("content"))
            events.rest(message, ("role", "content", "tool_call_ids", "message_type", "agent"))
        else:
            events.add(Message(message=message))
        yield from events.take()
    events.at("")
    info = object_of(whole.get("info"))
    if left := {k: v for k, v in whole.items() if k not in ("history", "info")}:
        events.custom("rest", left)
    if info:
        events.custom("info", info)
    yield from events.take()


def _calls(events: Events, message: JsonObject) -> list[str]:
    """Add the calls of tools that a message makes; their ids."""
    made = []
    for call in objects_of(message.get("tool_calls")):
        function = object_of(call.get("function"))
        made.append(
            events.tool_request(call.get("id"), function.get("name"), function.get("arguments"))
        )
    if not made and text_of(message.get("action")):
        made.append(events.tool_request(None, _TOOL, message["action"]))
    return made
