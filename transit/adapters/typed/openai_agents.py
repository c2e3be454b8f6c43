"""The OpenAI Agents SDK's traces and sessions as typed events.

a trace begins, ends               Manifest, RunEnd
a span of a model ends             ModelCall
a span of a tool begins, ends      ToolRequest, ToolResult
any other span begins, ends        CallRequest, CallResult
an item of a session with a role   Message
a tool called, its output          ToolRequest, ToolResult
all else                           Custom
"""

from __future__ import annotations

from typing import Any, Final

from transit import Stream
from transit.adapters.typed.pieces import (
    count_of,
    duration_between,
    error_of,
    from_json,
    text_of,
    viewed,
)
from transit.trace import (
    CallRequest,
    CallResult,
    Event,
    Manifest,
    Message,
    ModelCall,
    ModelResponse,
    RunEnd,
    ToolRequest,
    ToolResult,
)
from transit.trace.views import Take

_MODELS: Final = ("generation", "response")


def view(stream: Stream) -> Take:
    """Events of a trace, or of a session."""
    return viewed(stream, _event)


def _event(kind: str, value: Any) -> Event | None:
    if kind == "trace_start":
        return Manifest(data=value)
    if kind == "trace":
        return RunEnd(status="completed")
    if kind == "item":
        return _item(value)
    data = value.get("span_data")
    if not isinstance(data, dict) or kind not in ("span_start", "span"):
        return None
    return _begun(value, data) if kind == "span_start" else _ended(value, data)


def _name(data: dict[str, Any]) -> str:
    return ":".join(filter(None, (text_of(data.get("type")), text_of(data.get("name")))))


def _begun(span: dict[str, Any], data: dict[str, Any]) -> Event | None:
    identity = text_of(span.get("id"))
    if data.get("type") in _MODELS:
        # What it is asked is told at the end.
        return None
    if data.get("type") == "function":
        return ToolRequest(
            tool_call_id=identity,
            tool_name=text_of(data.get("name")),
            arguments=from_json(data.get("input")),
        )
    return CallRequest(call_id=identity, call_name=_name(data), arguments=data, arguments_digest="")


def _ended(span: dict[str, Any], data: dict[str, Any]) -> Event:
    identity, error = text_of(span.get("id")), error_of("agents.SpanError", span.get("error"))
    duration = duration_between(span.get("started_at"), span.get("ended_at"))
    if data.get("type") in _MODELS:
        return _model(identity, data, error, duration)
    if data.get("type") == "function":
        return ToolResult(
            tool_call_id=identity,
            tool_name=text_of(data.get("name")),
            tool_status="failure" if error else "success",
            result=data.get("output"),
            error=error,
            duration_ns=duration,
        )
    return CallResult(
        call_id=identity,
        call_name=_name(data),
        call_status="failure" if error else "success",
        result=data,
        error=error,
        duration_ns=duration,
    )


def _model(identity: str, data: dict[str, Any], error: Any, duration: int) -> Event:
    usage, output = data.get("usage"), data.get("output")
    response = output[0] if isinstance(output, list) and len(output) == 1 else output
    model = text_of(data.get("model"))
    read, wrote = count_of(usage, "input_tokens"), count_of(usage, "output_tokens")
    if error is not None:
        return ModelResponse(
            model_id=identity, model_status="failure", request_model=model, input_tokens=read,
            output_tokens=wrote, response=response, error=error, duration_ns=duration,
        )  # fmt: skip
    request = {"messages": data.get("input"), **(data.get("model_config") or {})}
    return ModelCall(
        request_model=model,
        response_id=text_of(data.get("response_id")),
        input_tokens=read,
        output_tokens=wrote,
        request=request,
        response=response,
        duration_ns=duration,
    )


def _item(item: dict[str, Any]) -> Event | None:
    call = text_of(item.get("call_id"))
    if item.get("type") == "function_call":
        return ToolRequest(
            tool_call_id=call,
            tool_name=text_of(item.get("name")),
            arguments=from_json(item.get("arguments")),
        )
    if item.get("type") == "function_call_output":
        return ToolResult(
            tool_call_id=call, tool_name="", tool_status="success", result=item.get("output")
        )
    return Message(message=item) if "role" in item else None
