"""Inspect AI's evaluations and samples as typed events.

an evaluation begins, ends         Manifest, RunEnd
a sample is told of a model        ModelCall; told again: Custom
of a tool                          ToolResult, with the arguments beside the result
of a span                          CallRequest, CallResult
of a score                         Evaluation
of an error, a limit               Checkpoint
a sample ends                      RunEnd
all else                           Custom
"""

from __future__ import annotations

import json
from typing import Any

from transit import Stream
from transit.adapters.typed.pieces import (
    count_of,
    duration_between,
    error_of,
    text_of,
    viewed,
)
from transit.trace import (
    CallRequest,
    CallResult,
    Checkpoint,
    ErrorInfo,
    Evaluation,
    Event,
    Manifest,
    ModelCall,
    RunEnd,
    ToolResult,
)
from transit.trace.views import Take

_ENDED = {"success": "completed", "error": "failed"}


def view(stream: Stream) -> Take:
    """Events of an evaluation, or of a sample."""
    sample = stream.metadata.get("sample_uuid")
    return viewed(stream, _SampleView(stream.name).event if sample else _evaluation)


def view_of_run(stream: Stream) -> Take:
    """Events of a run of several evaluations."""
    return viewed(stream, _nothing)


def _nothing(kind: str, value: Any) -> Event | None:
    return None


def _evaluation(kind: str, value: Any) -> Event | None:
    if kind == "task_start":
        return Manifest(data=value["spec"])
    if kind == "task_end":
        log = value["log"]
        return _end(text_of(log.get("status")), log.get("error"))
    return None


def _end(status: str, error: Any) -> RunEnd:
    info = error_of("inspect_ai.EvalError", error)
    if _ENDED.get(status) == "failed":
        return RunEnd(status="failed", error=info)
    return RunEnd(status="completed" if status == "success" else "cancelled", error=info)


class _SampleView:
    """One reading of a sample."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told: set[str] = set()
        self._spans: dict[str, str] = {}

    def event(self, kind: str, value: Any) -> Event | None:
        if kind == "sample":
            error = value["sample"].get("error")
            return _end("error" if error else "success", error)
        if kind != "event" or not isinstance(value.get("event"), str):
            return None
        uuid = text_of(value.get("uuid"))
        if uuid and uuid in self._told:
            # More is known of it: that counts where a file is made. A call is counted once.
            return None
        self._told.add(uuid)
        make = getattr(self, f"_{value['event']}", None)
        made: Event | None = None if make is None else make(value)
        return made

    def _model(self, event: dict[str, Any]) -> Event:
        output = event.get("output") or {}
        choices, usage = output.get("choices") or [], output.get("usage")
        choice = choices[0] if choices else {}
        keys = ("tools", "tool_choice", "config")
        request = {key: event[key] for key in keys if event.get(key)}
        return ModelCall(
            request_model=text_of(event.get("model")),
            response_model=text_of(output.get("model")),
            finish_reasons=tuple(filter(None, (text_of(choice.get("stop_reason")),))),
            input_tokens=count_of(usage, "input_tokens"),
            output_tokens=count_of(usage, "output_tokens"),
            request={"messages": event.get("input"), **request},
            response=choice.get("message"),
            duration_ns=duration_between(event.get("timestamp"), event.get("completed")),
        )

    def _tool(self, event: dict[str, Any]) -> Event:
        error = event.get("error")
        is_late = isinstance(error, dict) and error.get("type") == "timeout"
        status = "timeout" if is_late else "failure" if error or event.get("failed") else "success"
        return ToolResult(
            tool_call_id=text_of(event.get("id")),
            tool_name=text_of(event.get("function")),
            tool_status=status,  # type: ignore[arg-type]
            result={"arguments": event.get("arguments"), "result": event.get("result")},
            error=error_of("inspect_ai.ToolCallError", error),
            duration_ns=duration_between(event.get("timestamp"), event.get("completed")),
        )

    def _span_begin(self, event: dict[str, Any]) -> Event:
        name = ":".join(filter(None, (text_of(event.get("type")), text_of(event.get("name")))))
        self._spans[text_of(event.get("id"))] = name
        return CallRequest(
            call_id=text_of(event.get("id")), call_name=name, arguments={}, arguments_digest=""
        )

    def _span_end(self, event: dict[str, Any]) -> Event:
        identity = text_of(event.get("id"))
        return CallResult(
            call_id=identity, call_name=self._spans.get(identity, ""), call_status="success"
        )

    def _score(self, event: dict[str, Any]) -> Event:
        score = event.get("score") or {}
        value = score.get("value")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return Evaluation(
            evaluator_id=text_of(event.get("scorer")) or "score",
            subject_ref=self._name,
            decision=value if isinstance(value, str) else json.dumps(value),
            score=float(str(value)) if is_number else None,
            reason=text_of(score.get("explanation")),
        )

    def _error(self, event: dict[str, Any]) -> Event:
        info = error_of("inspect_ai.EvalError", event.get("error")) or ErrorInfo(type="error")
        return Checkpoint(checkpoint_kind="intermediate", status="failed", reason=info.message)

    def _sample_limit(self, event: dict[str, Any]) -> Event:
        reason = text_of(event.get("message")) or text_of(event.get("type"))
        return Checkpoint(checkpoint_kind="intermediate", status="incomplete", reason=reason)
