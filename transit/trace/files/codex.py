"""Codex's rollouts: JSON lines of a session, in today's form and in that of 2025's first versions.

What a model gave between two inputs (reasoning, a message, calls of tools) is one model call, with
the counts that the next `token_count` line tells; a line that tells the same totals again counts
nothing. What the program shows a person (`event_msg`) is left out where it repeats what was said.
Folder, model, policies and the like are `codex.context` events, where they change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from blake3 import blake3

from transit import InvalidInputError
from transit.trace.events import ToolStatus
from transit.trace.files.runs import (
    Events,
    ImportedEvent,
    ImportedRun,
    Names,
    list_of,
    member,
    object_of,
    objects_of,
    read_arguments,
    read_time,
    scalars,
    text_of,
)
from transit.trace.files.source import JsonObject, Source

NAME: Final = "codex"
_KINDS: Final = ("session_meta", "response_item", "event_msg", "turn_context", "compacted")
_ITEMS: Final = (
    "message", "reasoning", "function_call", "function_call_output", "custom_tool_call",
     "custom_tool_call_output", "local_shell_call", "web_search_call", "ghost_snapshot",
     "compaction", "image_generation_call", "tool_search_call", "tool_search_output"
)  # fmt: skip
_CALLS: Final = ("function_call", "custom_tool_call", "local_shell_call", "web_search_call",
     "image_generation_call", "tool_search_call")  # fmt: skip
_REPEATED: Final = {
    "user_message": "message", "agent_message": "message",
    "agent_reasoning": "text", "agent_reasoning_raw_content": "text",
}  # fmt: skip
_SECOND_NS: Final = 1_000_000_000
_EXIT: Final = re.compile(r"^(?:Exit code:|Process exited with code) (\d{1,9})$", re.MULTILINE)
_LOOKED_AT: Final = 2000


def detect(source: Source) -> bool:
    """Whether the first lines are a session's beginning, or its items."""
    for line in source.first_objects:
        if line.get("type") in _KINDS and isinstance(line.get("payload"), dict):
            return True
        if "record_type" in line or (line.get("type") in _ITEMS and "call_id" in line):
            return True
        if "type" not in line and "timestamp" in line and "id" in line and (
            "instructions" in line or "git" in line
        ):  # fmt: skip
            return True
    return False


def runs(source: Source) -> Iterator[ImportedRun]:
    """The session."""
    said: set[bytes] = set()
    metadata: JsonObject = {}
    # What the program shows is compared with what was said, before it or after.
    for line in source.lines():
        kind, payload = _kind_of(_look(source, line.data))
        if kind == "response_item":
            said.update(map(_digest, _texts(payload)))
        elif kind == "session_meta" and not metadata:
            metadata = payload
    known = ("id", "cwd", "originator", "cli_version", "model_provider", "forked_from_id")
    yield ImportedRun(
        name=Names().give(source.stem),
        events=_Rollout(source, said).events(),
        metadata=scalars(metadata, known),
    )


def _look(source: Source, data: bytes) -> JsonObject:
    """A line as it is where it can be read; the second reading tells of those that cannot."""
    try:
        return object_of(source.value_of(data))
    except InvalidInputError:
        return {}


def _kind_of(line: JsonObject) -> tuple[str, JsonObject]:
    """What a line is, and what it holds; in the first versions items stood alone."""
    if isinstance(payload := line.get("payload"), dict):
        return text_of(line.get("type")), payload
    if line.get("type") in _ITEMS:
        return "response_item", line
    if "record_type" in line:
        return "state", line
    if "type" not in line and "id" in line and "timestamp" in line:
        return "session_meta", line
    return text_of(line.get("type")), line


def _texts(payload: JsonObject) -> Iterator[str]:
    for key in ("content", "summary"):
        parts = [text_of(part.get("text")) for part in objects_of(payload.get(key))]
        yield from parts
        yield "\n".join(parts)


def _digest(text: str) -> bytes:
    return blake3(text.strip().encode("utf-8", "surrogatepass")).digest(16)


class _Rollout:
    """One session being read."""

    def __init__(self, source: Source, said: set[bytes]) -> None:
        self._source = source
        self._said = said
        self._events = Events(NAME)
        # An answer and the results after it wait for the counts, which come after one or both.
        self._answer: list[tuple[str, int | None, JsonObject]] = []
        self._results: list[tuple[str, int | None, JsonObject]] = []
        self._model = self._provider = ""
        self._totals: object = None

    def events(self) -> Iterator[ImportedEvent]:
        """The events, answers where they ended."""
        for number, _, line in self._source.objects():
            kind, payload = _kind_of(line)
            place = f"line {number}"
            if not kind:
                self._source.bad(place, "no type")
                continue
            self._events.at(place, read_time(line.get("timestamp")))
            self._line(kind, payload, line)
            yield from self._events.take()
        self._flush(None)
        yield from self._events.take()

    def _line(self, kind: str, payload: JsonObject, line: JsonObject) -> None:
        events = self._events
        if kind == "response_item":
            self._item(payload, line)
        elif kind == "event_msg":
            self._shown(payload, line)
        elif kind in ("turn_context", "session_meta"):
            self._flush(None)
            self._model = text_of(payload.get("model")) or self._model
            self._provider = text_of(payload.get("model_provider")) or self._provider
            events.context({k: v for k, v in payload.items() if k != "timestamp"})
        elif kind == "state":
            events.context({k: v for k, v in payload.items() if k != "record_type"})
        elif kind == "compacted":
            self._flush(None)
            events.checkpoint("intermediate", "incomplete", text_of(payload.get("message")))
            events.rest(payload, ("message",))
        else:
            self._keep(kind, line)

    def _keep(self, kind: str, line: JsonObject) -> None:
        self._flush(None)
        self._source.tally.raw += 1
        self._events.custom(kind, line)

    def _item(self, item: JsonObject, line: JsonObject) -> None:
        kind = text_of(item.get("type"))
        waiting = (self._events.place, self._events.time, item)
        if kind in _CALLS or kind == "reasoning" or item.get("role") == "assistant":
            if self._results:
                self._flush(None)
            self._answer.append(waiting)
        elif kind.endswith("_output"):
            self._results.append(waiting)
        elif kind == "message":
            self._flush(None)
            more = {k: v for k, v in item.items() if k not in ("type", "role", "content")}
            self._events.message(text_of(item.get("role")) or "user", item.get("content"), more)
        elif kind in ("ghost_snapshot", "compaction"):
            self._flush(None)
            self._events.checkpoint("intermediate", "incomplete", kind)
            self._events.rest(item, ("type",))
        else:
            self._keep(kind or "response_item", line)

    def _shown(self, payload: JsonObject, line: JsonObject) -> None:
        """An event that the program showed or noted."""
        events, kind = self._events, text_of(payload.get("type"))
        if kind == "token_count":
            self._count(payload)
        elif kind in _REPEATED:
            text = text_of(payload.get(_REPEATED[kind]))
            if text and _digest(text) not in self._said:
                self._flush(None)
                events.message("user" if kind == "user_message" else "assistant", text)
        elif kind in ("turn_aborted", "error", "stream_error"):
            self._flush(None)
            reason = text_of(payload.get("reason")) or text_of(payload.get("message")) or kind
            events.checkpoint("intermediate", "failed", reason)
            events.rest(payload, ("type", "reason", "message"))
        elif kind in ("task_complete", "turn_complete"):
            self._flush(None)
            events.checkpoint("intermediate", "success", kind)
            events.rest(payload, ("type", "last_agent_message"))
        elif kind in ("task_started", "turn_started", "context_compacted", "thread_rolled_back"):
            self._flush(None)
            events.checkpoint("intermediate", "incomplete", kind)
            events.rest(payload, ("type",))
        elif kind in ("thread_name_updated", "thread_settings_applied"):
            events.context({key: value for key, value in payload.items() if key != "type"})
        else:
            self._keep(kind or "event_msg", line)

    def _count(self, payload: JsonObject) -> None:
        info = object_of(payload.get("info"))
        totals, usage = info.get("total_token_usage"), info.get("last_token_usage")
        if totals is None or totals != self._totals:
            if usage is None and isinstance(totals, dict):
                usage = _difference(totals, object_of(self._totals))
            self._totals = totals if totals is not None else self._totals
            if isinstance(usage, dict) and usage:
                self._flush(usage)
        about = {"rate_limits": payload.get("rate_limits"),
                 "model_context_window": info.get("model_context_window")}  # fmt: skip
        self._events.context({key: value for key, value in about.items() if value})

    def _flush(self, usage: JsonObject | None) -> None:
        """The answer that waits, with its counts, and the results after it."""
        if not self._answer and not self._results and usage is None:
            return
        events = self._events
        at = (events.place, events.time, events.source_id)
        items = [item for _, _, item in self._answer]
        if self._answer or usage is not None:
            if self._answer:
                events.at(*self._answer[-1][:2])
            events.model_call(
                model=self._model, response=_response(items) if items else None, usage=usage,
                provider=self._provider,
            )  # fmt: skip
        for place, time, item in self._answer:
            events.at(place, time)
            if item.get("type") in _CALLS:
                self._call(item)
        for place, time, item in self._results:
            events.at(place, time)
            self._result(item)
        self._answer, self._results = [], []
        events.at(*at)

    def _call(self, item: JsonObject) -> None:
        kind = text_of(item.get("type"))
        name = text_of(item.get("name")) or kind.removesuffix("_call")
        given = next(
            (item[key] for key in ("arguments", "input", "action") if item.get(key) is not None),
            None,
        )
        call = self._events.tool_request(item.get("call_id") or item.get("id"), name, given)
        if kind in ("web_search_call", "image_generation_call"):
            # The service does these: what it found is in the answer alone.
            failed = item.get("status") == "failed"
            status: ToolStatus = "failure" if failed else "success"
            self._events.tool_result(call, item.get("result"), status=status)

    def _result(self, item: JsonObject) -> None:
        output = item.get("output")
        whole = read_arguments(output) if isinstance(output, str) else output
        about = object_of(member(whole, "metadata"))
        code, seconds = about.get("exit_code"), about.get("duration_seconds")
        if (
            code is None
            and isinstance(output, str)
            and (found := _EXIT.search(output[:_LOOKED_AT]))
        ):
            code = int(found[1])
        failed = bool(code) or member(whole, "success") is False
        self._events.tool_result(
            item.get("call_id"),
            output,
            status="failure" if failed else "success",
            error=f"exit code {code}" if code else "",
            duration_ns=(
                round(seconds * _SECOND_NS)
                if isinstance(seconds, int | float) and 0 <= seconds < 10**9
                else 0
            ),
        )


def _response(items: list[JsonObject]) -> JsonObject:
    """What a model gave, as one message."""
    content: list[object] = []
    for item in items:
        if item.get("type") == "message":
            content += list_of(item.get("content"))
    response: JsonObject = {"role": "assistant", "content": content}
    reasoning = [item for item in items if item.get("type") == "reasoning"]
    if reasoning:
        response["reasoning"] = reasoning
    calls = [item.get("call_id") for item in items if item.get("type") in _CALLS]
    if calls:
        response["calls"] = calls
    return response


def _difference(totals: JsonObject, before: JsonObject) -> JsonObject:
    """The counts of the last call, where only totals are told."""
    found: JsonObject = {}
    for key, value in totals.items():
        earlier = before.get(key, 0)
        if type(value) is int and type(earlier) is int:
            found[key] = max(0, value - earlier)
    return found
