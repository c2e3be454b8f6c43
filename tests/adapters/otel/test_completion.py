"""The completion hook: content once, whole when it is read."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from tests.conftest import ROOT
from transit import trace
from transit.adapters.otel import TransitCompletionHook, TransitSpanProcessor, spans
from transit.trace import dropped

from .conftest import MakeTracer


class Modality(StrEnum):
    IMAGE = "image"


@dataclass
class Blob:
    content: bytes
    modality: Modality
    type: str = "blob"


@dataclass
class Text:
    content: str
    type: str = "text"


@dataclass
class Message:
    role: str
    parts: list[Any]


def said(stream: transit.Stream) -> list[list[Any]]:
    """The inputs of each completion of a trace, as they are read."""
    found = []
    for span in spans(stream):
        for event in span.events:
            if event.name == "gen_ai.client.inference.operation.details":
                found.append(msgspec.json.decode(str(event.attributes["gen_ai.input.messages"])))
    return found


def test_a_conversation_is_written_once(log: transit.Log, tracer: MakeTracer) -> None:
    hook = TransitCompletionHook(log)
    made = tracer(TransitSpanProcessor(log))
    messages: list[Message] = []
    system = [Text("you are careful " * 50)]
    with made.start_as_current_span("agent"):
        for n in range(40):
            messages.append(Message("user", [Text(f"question {n} " * 50)]))
            with made.start_as_current_span(
                "chat", attributes={"gen_ai.operation.name": "chat"}
            ) as span:
                answer = Message("assistant", [Text(f"answer {n} " * 50)])
                hook.on_completion(
                    inputs=list(messages), outputs=[answer], system_instruction=system, span=span
                )
            messages.append(answer)
    (stream,) = log.streams("otel/")
    written = sum(len(r.payload) for r in stream if r.headers["kind"] == "completion")
    unique = sum(len(str(m)) for m in messages)
    assert written < 3 * unique
    found = said(stream)
    assert [len(each) for each in found] == list(range(1, 80, 2))
    assert found[-1] == [
        {"role": m.role, "parts": [{"content": p.content, "type": "text"} for p in m.parts]}
        for m in messages[:-1]
    ]
    assert not dropped
    call = next(s for s in trace.read(log, stream.name).steps() if s.kind == "model")
    request = call.first.event.request  # type: ignore[union-attr]
    assert request["messages"][0]["role"] == "system"
    assert call.last.event.response["content"] == "answer 0 " * 50  # type: ignore[union-attr]


def test_two_processes_need_not_know_of_each_other(log: transit.Log, tracer: MakeTracer) -> None:
    made = tracer(TransitSpanProcessor(log))
    hooks = [TransitCompletionHook(log), TransitCompletionHook(log)]
    messages: list[object] = []
    with made.start_as_current_span("agent"):
        for n in range(6):
            messages.append({"role": "user", "parts": [{"content": f"m{n}"}]})
            with made.start_as_current_span("chat") as span:
                hooks[n % 2].on_completion(
                    inputs=list(messages), outputs=[], system_instruction=[], span=span
                )
    (stream,) = log.streams("otel/")
    assert [len(each) for each in said(stream)] == [1, 2, 3, 4, 5, 6]
    assert said(stream)[-1] == messages


def test_a_message_that_was_changed_in_place_is_written_again(
    log: transit.Log, tracer: MakeTracer
) -> None:
    made = tracer(TransitSpanProcessor(log))
    hook = TransitCompletionHook(log)
    message = {"role": "user", "parts": [{"content": "before"}]}
    with made.start_as_current_span("agent"):
        for text in ("before", "after"):
            message["parts"][0]["content"] = text  # type: ignore[index]
            with made.start_as_current_span("chat") as span:
                hook.on_completion(inputs=[message], outputs=[], system_instruction=[], span=span)
    (stream,) = log.streams("otel/")
    assert [each[0]["parts"][0]["content"] for each in said(stream)] == ["before", "after"]


def test_what_refers_to_lost_content_is_whole(
    store: Path, tracer: MakeTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that could not be written is not one that later completions go on from."""
    with transit.open(store) as log:
        made = tracer(TransitSpanProcessor(log))
        hook = TransitCompletionHook(log)
        with made.start_as_current_span("agent"):
            for n in range(3):
                inputs = [{"role": "user", "parts": [{"content": f"m{k}"}]} for k in range(n + 1)]
                with made.start_as_current_span("chat") as span, monkeypatch.context() as patch:
                    if n == 1:
                        patch.setattr(hook, "_put", lambda item: dropped.add("x", OSError("full")))
                        patch.setattr("transit.trace.failures.warn", lambda *_: None)
                    hook.on_completion(inputs=inputs, outputs=[], system_instruction=[], span=span)
        (stream,) = log.streams("otel/")
        assert [len(each) for each in said(stream)] == [1, 3]


def test_content_of_any_kind(log: transit.Log) -> None:
    hook = TransitCompletionHook(log)
    hook.on_completion(
        inputs=[Message("user", [Blob(b"\x00\xff", Modality.IMAGE), Text("half \ud800")])],
        outputs=[Message("assistant", [object()])],
        system_instruction=[],
        tool_definitions=[{"name": "f", "parameters": {1: {2}}}],
    )
    assert not dropped
    (record,) = log.stream("otel/logs")
    found = msgspec.json.decode(record.payload)["completion"]
    assert found["inputs"][0]["parts"][0] == {
        "content": "AP8=", "modality": "image", "type": "blob",
    }  # fmt: skip
    assert found["tools"] == [{"name": "f", "parameters": {"1": [2]}}]


def test_the_span_says_where_its_content_is(log: transit.Log, tracer: MakeTracer) -> None:
    made = tracer(TransitSpanProcessor(log))
    hook = TransitCompletionHook(log)
    with made.start_as_current_span("chat") as span:
        hook.on_completion(inputs=[], outputs=[], system_instruction=[], span=span)
    (stream,) = log.streams("otel/")
    (found,) = spans(stream)
    assert found.attributes["transit.completions"] == f"transit:{stream.name}"


def test_the_entry_points_name_what_is_there() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    for group, name in (
        ("opentelemetry_genai_completion_hook", "TransitCompletionHook"),
        ("opentelemetry_traces_exporter", "TransitSpanExporter"),
        ("opentelemetry_logs_exporter", "TransitLogRecordExporter"),
    ):
        made = EntryPoint("transit", declared[group]["transit"], group).load()()
        assert type(made).__name__ == name
