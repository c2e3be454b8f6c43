"""Events of OpenHands' software agent SDK (V1): each says its `kind`."""

from __future__ import annotations

from typing import Final

from transit.trace.events import ToolStatus
from transit.trace.files.runs import Events, list_of, object_of, objects_of, text_of
from transit.trace.files.source import JsonObject, Source

_OF_ALL: Final = ("id", "timestamp", "source", "kind")


def is_sdk_event(value: JsonObject) -> bool:
    """Whether it is an event of the SDK's."""
    kind = value.get("kind")
    return isinstance(kind, str) and "timestamp" in value and "source" in value


class SdkEvents:
    """Turns them into the events of one run."""

    def __init__(self, source: Source, events: Events) -> None:
        self._source = source
        self._events = events
        self._answers: set[str] = set()

    def add(self, event: JsonObject) -> None:
        """One event."""
        kind = text_of(event.get("kind"))
        if kind == "SystemPromptEvent":
            self._events.message("system", event.get("system_prompt"))
            self._events.rest(event, (*_OF_ALL, "system_prompt"))
        elif kind == "MessageEvent":
            self._message(event)
        elif kind == "ActionEvent":
            self._action(event)
        elif "tool_call_id" in event:
            self._observation(kind, event)
        elif kind == "ConversationStateUpdateEvent":
            self._events.context({text_of(event.get("key")) or "state": event.get("value")})
        elif kind.startswith("Condensation"):
            self._events.checkpoint("intermediate", "incomplete", kind)
            self._events.rest(event, _OF_ALL)
        else:
            self._source.tally.raw += 1
            self._events.custom(kind, event)

    def _message(self, event: JsonObject) -> None:
        message = object_of(event.get("llm_message"))
        role = text_of(message.get("role")) or text_of(event.get("source")) or "user"
        more = {k: v for k, v in message.items() if k not in ("role", "content") and v}
        if role == "assistant":
            self._answer(event, {"role": role, "content": message.get("content"), **more})
        else:
            self._events.message(role, message.get("content"), more)
        self._events.rest(event, (*_OF_ALL, "llm_message", "llm_response_id"))

    def _answer(self, event: JsonObject, response: JsonObject) -> None:
        """A model call, once for all the actions of one answer."""
        identity = text_of(event.get("llm_response_id"))
        if identity and identity in self._answers:
            return
        self._answers.add(identity)
        self._events.model_call(model="", response=response, response_id=identity)

    def _action(self, event: JsonObject) -> None:
        thought = {"role": "assistant", "content": list_of(event.get("thought"))}
        for key in ("reasoning_content", "thinking_blocks"):
            if event.get(key):
                thought[key] = event[key]  # type: ignore[assignment]
        self._answer(event, dict(thought))
        call = object_of(event.get("tool_call"))
        arguments = call.get("arguments", object_of(call.get("function")).get("arguments"))
        if arguments is None:
            arguments = event.get("action")
        self._events.tool_request(event.get("tool_call_id"), event.get("tool_name"), arguments)
        known = ("thought", "reasoning_content", "thinking_blocks", "tool_call", "tool_call_id",
                 "tool_name", "llm_response_id")  # fmt: skip
        self._events.rest(event, (*_OF_ALL, *known))

    def _observation(self, kind: str, event: JsonObject) -> None:
        found = object_of(event.get("observation"))
        text = "\n".join(text_of(part.get("text")) for part in objects_of(found.get("content")))
        code = found.get("exit_code")
        problem = text_of(event.get("error")) or text_of(event.get("rejection_reason"))
        if code:
            problem = problem or f"exit code {code}"
        failed = bool(problem) or kind == "AgentErrorEvent" or found.get("is_error") is True
        status: ToolStatus = "failure" if failed else "success"
        result = text or found.get("content")
        self._events.tool_result(
            event.get("tool_call_id"), result, status=status, name=event.get("tool_name"),
            error=problem,
        )  # fmt: skip
        self._events.rest(
            {**event, "observation": {k: v for k, v in found.items() if k != "content"} or None},
            (*_OF_ALL, "tool_call_id", "tool_name", "error"),
        )
