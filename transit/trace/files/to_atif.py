"""A run as an ATIF trajectory, version 1.7; child runs are trajectories of sub-agents in it.

The format has no place for judgements but `extra`: notes are there, in that of the step they are
about, else in the trajectory's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from transit import Log
from transit.trace.events import ChildRun, Evaluation
from transit.trace.files.judgements import NOTE, standing, step_offsets, told
from transit.trace.files.runs import list_of, object_of, text_of
from transit.trace.files.source import JsonObject
from transit.trace.files.turns import Call, Turn, text_in, turns_of
from transit.trace.reading import Trace, read

VERSION: Final = "ATIF-v1.7"
_ROLES: Final = {"system": "system", "assistant": "agent"}
_CACHED: Final = ("cached_tokens", "cache_read_input_tokens", "input_tokens_cache_read")


def document(log: Log, trace: Trace, above: frozenset[str] = frozenset()) -> JsonObject:
    """The trajectory. above: the runs it is inside of."""
    above |= {trace.name}
    turns = turns_of(trace)
    metadata = trace.stream.metadata
    models = [turn.model for turn in turns if turn.model]
    agent: JsonObject = {
        "name": str(metadata.get("agent_name") or trace.actor_id or trace.task_id),
        "version": str(metadata.get("agent_version") or "unknown"),
    }
    if models:
        agent["model_name"] = models[0]
    tools = [each for turn in turns for each in turn.tools if isinstance(each, dict)]
    if tools:
        agent["tool_definitions"] = [each for n, each in enumerate(tools) if each not in tools[:n]]
    children = _children(log, trace, above)
    steps = [_step(n, turn) for n, turn in enumerate(turns, start=1)] or [_empty()]
    _refer(steps, children)
    extra: JsonObject = {"run": trace.name, **_judged(trace)}
    _note(trace, turns, steps, extra)
    whole: JsonObject = {
        "schema_version": VERSION,
        "session_id": trace.stream.uid,
        "trajectory_id": trace.stream.uid,
        "agent": agent,
        "steps": steps,
        "final_metrics": _totals(turns),
        "extra": extra,
    }
    if children:
        whole["subagent_trajectories"] = children
    return whole


def _children(log: Log, trace: Trace, above: frozenset[str]) -> list[JsonObject]:
    names = [record.event.run for record in trace if isinstance(record.event, ChildRun)]
    # A run that was gone on with is named more than once.
    inside = [name for name in dict.fromkeys(names) if name in log and name not in above]
    return [document(log, read(log, name), above) for name in inside]


def _refer(steps: list[JsonObject], children: list[JsonObject]) -> None:
    """Name the trajectories of sub-agents in the last step of the agent's."""
    own = [step for step in steps if step["source"] == "agent"]
    if not children or not own:
        return
    step = own[-1]
    refs = [{"trajectory_id": child["trajectory_id"], "session_id": child["session_id"]}
            for child in children]  # fmt: skip
    given = object_of(step.get("observation")).get("results")
    results = given if isinstance(given, list) else []
    step["observation"] = {"results": [*results, {"subagent_trajectory_ref": refs}]}


def _step(number: int, turn: Turn) -> JsonObject:
    source = _ROLES.get(turn.role, "user")
    step: JsonObject = {
        "step_id": number, "timestamp": moment(turn.timestamp), "source": source,
        "message": turn.text,
    }  # fmt: skip
    if turn.inherited:
        step["is_copied_context"] = True
    if source != "agent":
        return step
    if turn.model:
        step["model_name"] = turn.model
    if turn.reasoning:
        step["reasoning_content"] = turn.reasoning
    if turn.calls:
        step["tool_calls"] = [
            {
                "tool_call_id": call.call_id,
                "function_name": call.name,
                "arguments": _arguments(call),
            }
            for call in turn.calls
        ]
        results = [
            {"source_call_id": call.call_id, "content": text_in(call.result) or call.error}
            for call in turn.calls
            if call.status
        ]
        if results:
            step["observation"] = {"results": results}
    if metrics := _metrics(turn):
        step["metrics"] = metrics
    return step


def _note(trace: Trace, turns: list[Turn], steps: list[JsonObject], of_run: JsonObject) -> None:
    """Put the notes on the run where they belong."""
    notes = standing(trace)
    offsets = step_offsets(trace, notes)
    # What a request says first has the offset of its answer, which comes after.
    by_offset = {turn.offset: step for turn, step in zip(turns, steps, strict=False)}
    for turn, step in zip(turns, steps, strict=False):
        by_offset |= {call.offset: step for call in turn.calls if call.offset >= 0}
    for note in notes:
        about = None if note.at is None else by_offset.get(offsets.get(note.at, -1))
        extra = of_run
        if about is not None:
            extra = about["extra"] = object_of(about.get("extra"))
        extra[NOTE] = [*list_of(extra.get(NOTE)), told(note)]


def _empty() -> JsonObject:
    # A trajectory has at least one step.
    return {"step_id": 1, "source": "system", "message": "nothing was recorded"}


def _arguments(call: Call) -> JsonObject:
    return call.arguments if isinstance(call.arguments, dict) else {"input": call.arguments}


def _metrics(turn: Turn) -> JsonObject:
    metrics: JsonObject = {}
    if turn.tokens_in >= 0:
        metrics["prompt_tokens"] = turn.tokens_in
    if turn.tokens_out >= 0:
        metrics["completion_tokens"] = turn.tokens_out
    cached = next((turn.usage[key] for key in _CACHED if type(turn.usage.get(key)) is int), None)
    if cached is not None:
        metrics["cached_tokens"] = cached
    cost = turn.usage.get("cost_usd")
    if isinstance(cost, int | float):
        metrics["cost_usd"] = cost
    return metrics


def _totals(turns: list[Turn]) -> JsonObject:
    own = [turn for turn in turns if not turn.inherited]
    return {
        "total_prompt_tokens": sum(max(0, turn.tokens_in) for turn in own),
        "total_completion_tokens": sum(max(0, turn.tokens_out) for turn in own),
        "total_steps": len(turns),
    }


def _judged(trace: Trace) -> JsonObject:
    """What evaluators said, and how the run ended."""
    found: JsonObject = {}
    judged = [
        {"evaluator": each.evaluator_id, "decision": each.decision, "score": each.score}
        for record in trace
        if isinstance(each := record.event, Evaluation)
    ]
    if judged:
        found["evaluations"] = judged
    if (ended := trace.ended) is not None:
        found["status"] = ended.status
    if session := text_of(trace.stream.metadata.get("session_id")):
        found["source_session_id"] = session
    return found


def moment(nanoseconds: int) -> str:
    """A time as ISO 8601 in UTC, to the microsecond."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + (
        f"{rest // 1000:06d}Z"
    )
