"""Conversations, read as typed events."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import transit
from transit import trace

pytest.importorskip("pydantic_ai.conversation_store")

from pydantic_ai.conversation import Conversation
from pydantic_ai.messages import (
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)

from transit.adapters.pydantic_ai import TransitConversationStore


def _text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def test_a_conversation_is_read_as_messages(log: transit.Log) -> None:
    messages: list[Any] = [
        ModelRequest(parts=[SystemPromptPart("be brief")]),
        ModelRequest(parts=[UserPromptPart(content=["weather?"])]),
        ModelResponse(
            parts=[TextPart("let me see"), ToolCallPart("weather", '{"city": "Oslo"}', "c1")],
            model_name="m",
        ),
        ModelRequest(parts=[ToolReturnPart("weather", "sunny", "c1")]),
    ]

    async def work() -> None:
        store = TransitConversationStore(log)
        await store.save(Conversation(conversation_id="c", messages=messages))

    asyncio.run(work())
    events = [each.event for each in trace.read(log, "pydantic-ai/c")]
    assert events[:4] == [
        trace.Message(message={"role": "system", "content": [_text("be brief")]}),
        trace.Message(message={"role": "user", "content": [_text("weather?")]}),
        trace.Message(
            message={
                "role": "assistant",
                "content": [
                    _text("let me see"),
                    {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Oslo"}},
                ],
                "model": "m",
            }
        ),
        trace.Message(
            message={
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "sunny"}],
            }
        ),
    ]  # fmt: skip
    assert isinstance(events[4], trace.Custom)
    assert events[4].name == "record"
