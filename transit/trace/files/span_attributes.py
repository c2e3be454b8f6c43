"""The attributes of spans for agents, models and tools, in two conventions.

"genai": OpenTelemetry's semantic conventions for generative AI. "openinference": OpenInference's,
where the members of messages are attributes each.
"""

from __future__ import annotations

from typing import Final

from transit.trace.events import ModelCall, Note, ToolRequest, ToolResult, encode_json
from transit.trace.files.judgements import metadata_of
from transit.trace.files.runs import INT64_MAX, list_of, member, object_of, objects_of, text_of
from transit.trace.files.source import JsonObject
from transit.trace.files.turns import Call, answer_in, calls_in, split_content, text_in
from transit.trace.reading import Trace

OPENINFERENCE: Final = "openinference"
# The uid of the run that a judgement is of, where one on a child run's span is of its parent's.
NOTED_RUN: Final = "transit.noted_uid"
_JSON: Final = "application/json"
_OF_REQUEST: Final = ("temperature", "top_p", "top_k", "max_tokens", "seed", "frequency_penalty",
                      "presence_penalty", "stop_sequences")  # fmt: skip


def any_value(value: object) -> JsonObject:
    """A plain value as OTLP's `AnyValue`."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)} if abs(value) <= INT64_MAX else {"stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [any_value(each) for each in value]}}
    if isinstance(value, dict):
        pairs = [{"key": str(key), "value": any_value(each)} for key, each in value.items()]
        return {"kvlistValue": {"values": pairs}}
    # What is half a character has no place in OTLP.
    return {} if value is None else {
        "stringValue": str(value).encode("utf-8", "backslashreplace").decode()
    }  # fmt: skip


def agent_attributes(convention: str, trace: Trace) -> JsonObject:
    """Of a run."""
    about: JsonObject = {"transit.run": trace.name, "transit.uid": trace.stream.uid}
    if convention == OPENINFERENCE:
        return {"openinference.span.kind": "AGENT", "agent.name": trace.task_id} | about
    return {
        "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": trace.task_id,
        "gen_ai.agent.id": trace.stream.uid,
    } | about  # fmt: skip


def model_attributes(convention: str, event: ModelCall) -> JsonObject:
    """Of a call of a model."""
    if convention == OPENINFERENCE:
        return _openinference_model(event)
    found: JsonObject = {
        "gen_ai.operation.name": event.operation,
        "gen_ai.provider.name": event.provider or "unknown",
        "gen_ai.request.model": event.request_model,
    }
    if event.response_model:
        found["gen_ai.response.model"] = event.response_model
    if event.response_id:
        found["gen_ai.response.id"] = event.response_id
    if event.finish_reasons:
        found["gen_ai.response.finish_reasons"] = list(event.finish_reasons)
    for key, count in _tokens(event).items():
        found[f"gen_ai.usage.{key}"] = count
    found |= {f"gen_ai.usage.{k}": v for k, v in event.usage.items() if isinstance(v, int | float)}
    for key in _OF_REQUEST:
        value = member(event.request, key)
        if isinstance(value, int | float | list):
            found[f"gen_ai.request.{key}"] = value
    if (request := _messages(event.request)) is not None:
        found["gen_ai.input.messages"] = _json([_with_parts(each) for each in request])
    if event.response is not None:
        answer = _with_parts(answer_in(event.response) | {"role": "assistant"})
        reason = event.finish_reasons[0] if event.finish_reasons else "stop"
        found["gen_ai.output.messages"] = _json([answer | {"finish_reason": reason}])
    return found


def _tokens(event: ModelCall) -> dict[str, int]:
    counts = {"input_tokens": event.input_tokens, "output_tokens": event.output_tokens}
    return {key: count for key, count in counts.items() if count >= 0}


def _messages(request: object) -> list[JsonObject] | None:
    """The messages of a request; None where it has none."""
    given = request if isinstance(request, list) else member(request, "messages")
    return objects_of(given) if isinstance(given, list) else None


def _with_parts(message: JsonObject) -> JsonObject:
    """A message as the conventions have it: its content as parts."""
    parts: list[object] = []
    content, reasoning, _ = split_content(message.get("content"))
    thought = text_of(message.get("reasoning_content")) or reasoning
    if thought:
        parts.append({"type": "reasoning", "content": thought})
    role, call_id = text_of(message.get("role")) or "user", message.get("tool_call_id")
    results = [each for each in objects_of(message.get("content"))
               if each.get("type") == "tool_result"]  # fmt: skip
    for result in results:
        parts.append({"type": "tool_call_response", "id": result.get("tool_use_id"),
                      "response": result.get("content")})  # fmt: skip
    if role == "tool":
        parts.append({"type": "tool_call_response", "id": call_id, "response": content})
    elif isinstance(content, str):
        parts.append({"type": "text", "content": content})
    elif content is not None:
        for each in list_of(content) or [content]:
            block = object_of(each)
            text = block.get("text")
            parts.append(
                {"type": "text", "content": text if isinstance(text, str) else text_in(each)}
                if isinstance(text, str) or not isinstance(block.get("type"), str)
                else block
            )
    parts += [
        {"type": "tool_call", "id": call.call_id or None, "name": call.name,
         "arguments": call.arguments}
        for call in calls_in(message, 0)
    ]  # fmt: skip
    return {"role": role, "parts": parts}


def _openinference_model(event: ModelCall) -> JsonObject:
    found: JsonObject = {
        "openinference.span.kind": "LLM", "llm.model_name": event.response_model
        or event.request_model,
    }  # fmt: skip
    if event.provider:
        found["llm.provider"] = event.provider
    counts = _tokens(event)
    names = {"input_tokens": "prompt", "output_tokens": "completion"}
    found |= {f"llm.token_count.{names[key]}": count for key, count in counts.items()}
    if len(counts) == len(names):
        found["llm.token_count.total"] = sum(counts.values())
    parameters = {
        key: value for key, value in object_of(event.request).items()
        if key not in ("messages", "tools", "system")
    }  # fmt: skip
    if parameters:
        found["llm.invocation_parameters"] = _json(parameters)
    for number, message in enumerate(_messages(event.request) or ()):
        found |= _flattened(f"llm.input_messages.{number}.message", message)
    if event.response is not None:
        answer = answer_in(event.response) | {"role": "assistant"}
        found |= _flattened("llm.output_messages.0.message", answer)
    return found


def _flattened(prefix: str, message: JsonObject) -> JsonObject:
    content, _, _ = split_content(message.get("content"))
    found: JsonObject = {f"{prefix}.role": text_of(message.get("role")) or "user"}
    if content is not None:
        found[f"{prefix}.content"] = text_in(content)
    if call_id := text_of(message.get("tool_call_id")):
        found[f"{prefix}.tool_call_id"] = call_id
    for number, call in enumerate(calls_in(message, 0)):
        found |= _flattened_call(f"{prefix}.tool_calls.{number}.tool_call", call)
    return found


def _flattened_call(prefix: str, call: Call) -> JsonObject:
    return {
        f"{prefix}.id": call.call_id,
        f"{prefix}.function.name": call.name,
        f"{prefix}.function.arguments": _text(call.arguments),
    }


def tool_attributes(convention: str, event: ToolRequest) -> JsonObject:
    """Of a call of a tool."""
    if convention == OPENINFERENCE:
        return {
            "openinference.span.kind": "TOOL", "tool.name": event.tool_name,
            "tool_call.id": event.tool_call_id, "input.value": _text(event.arguments),
            "input.mime_type": _JSON if not isinstance(event.arguments, str) else "text/plain",
        }  # fmt: skip
    return {
        "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": event.tool_name,
        "gen_ai.tool.call.id": event.tool_call_id,
        "gen_ai.tool.call.arguments": _text(event.arguments),
    }  # fmt: skip


def tool_result_attributes(convention: str, event: ToolResult) -> JsonObject:
    """Of what came of it."""
    if convention == OPENINFERENCE:
        return {
            "output.value": _text(event.result),
            "output.mime_type": _JSON if not isinstance(event.result, str) else "text/plain",
        }
    return {"gen_ai.tool.call.result": _text(event.result)}


def annotation_attributes(note: Note, number: int, uid: str) -> JsonObject:
    """Of a note on the run with a uid: annotation `number` of a span, as OpenInference has them.

    Who or what the author is, a person or a program, is not known, so no kind is told.
    """
    prefix = f"annotations.{number}.annotation"
    found: JsonObject = {f"{prefix}.name": note.name}
    if note.score is not None:
        # Scores are numbers there.
        is_so = isinstance(note.score, bool)
        found[f"{prefix}.score"] = int(note.score) if is_so else note.score
    said = {"label": note.label, "explanation": note.comment, "identifier": note.author}
    found |= {f"{prefix}.{key}": value for key, value in said.items() if value}
    found[f"{prefix}.metadata"] = _json(metadata_of(note) | {NOTED_RUN: uid})
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    return encode_json(value).decode("utf-8", "backslashreplace")
