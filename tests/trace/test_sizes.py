"""What a long run costs: an agent whose every model call repeats all that was said."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import transit
from transit import trace

STEPS = 200
WORDS = [
    "".join(chance.choices("etaoinshrdlucmfwyp", k=chance.randint(2, 11)))
    for chance in [random.Random(1867)]
    for _ in range(3000)
]


def text(chance: random.Random) -> str:
    """About 1 KB, as what is said and what commands print."""
    words = chance.choices(WORDS, k=chance.randint(100, 180))
    return " ".join(words) + chance.choice(["\n", "\n    return None\n", "…"])


def size(value: object) -> int:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


class Call(NamedTuple):
    """A model call, and the bytes in it that no call before had."""

    request: object
    response: object
    unique: int


def plain(chance: random.Random) -> Iterator[Call]:
    messages: list[Any] = [{"role": "system", "content": text(chance)}]
    held = size(messages[0])
    for _ in range(STEPS):
        messages.append({"role": "user", "content": text(chance)})
        answer = {"role": "assistant", "content": text(chance)}
        yield Call(list(messages), answer, held + size(messages[-1]) + size(answer))
        messages.append(answer)
        held = 0


TOOLS = [
    {"type": "function", "function": {"name": name, "description": "d" * 400, "strict": True}}
    for name in ("bash", "edit", "search")
]


def openai(chance: random.Random) -> Iterator[Call]:
    messages: list[Any] = [{"role": "system", "content": text(chance)}]
    held = size(messages[0]) + size(TOOLS)
    for n in range(STEPS):
        # Sometimes several tools answer.
        new = [
            {"role": "tool", "tool_call_id": f"call_{n}_{k}", "content": text(chance)}
            for k in range(chance.choice([1, 1, 1, 2]))
        ]
        messages += new
        request = {
            "model": "gpt-4o", "temperature": 0.2, "messages": list(messages), "tools": TOOLS
        }  # fmt: skip
        answer = {
            "role": "assistant", "content": text(chance), "refusal": None,
            "tool_calls": [{"id": f"call_{n}", "function": {"name": "bash", "arguments": "{}"}}],
        }  # fmt: skip
        around = {
            "id": f"chatcmpl-{chance.randbytes(12).hex()}", "object": "chat.completion",
            "created": 1_700_000_000 + n, "model": "gpt-4o-2024-08-06",
            "usage": {"prompt_tokens": 100 * n, "completion_tokens": n},
        }  # fmt: skip
        choices = [{"index": 0, "message": answer, "finish_reason": "tool_calls"}]
        said = sum(map(size, [*new, answer, around]))
        yield Call(request, around | {"choices": choices}, held + said)
        messages.append(answer)
        held = 0


def anthropic(chance: random.Random) -> Iterator[Call]:
    system, tools = text(chance), [{"name": "bash", "input_schema": {"what": "w" * 300}}]
    messages: list[Any] = []
    held = size(system) + size(tools)
    for n in range(STEPS):
        messages.append({"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": f"toolu_{n}", "content": text(chance)}
        ]})  # fmt: skip
        content = [
            {"type": "text", "text": text(chance)},
            {"type": "tool_use", "id": f"toolu_{n + 1}", "name": "bash", "input": {"cmd": "ls"}},
        ]
        request = {
            "model": "some-model", "max_tokens": 4096, "system": system, "tools": tools,
            "messages": list(messages),
        }  # fmt: skip
        around = {
            "id": f"msg_{chance.randbytes(12).hex()}", "type": "message", "model": "some-model",
            "stop_reason": "tool_use", "usage": {"input_tokens": 100 * n, "output_tokens": n},
        }  # fmt: skip
        answer = {"role": "assistant", "content": content}
        said = sum(map(size, [messages[-1], answer, around]))
        yield Call(request, around | answer, held + said)
        messages.append(answer)
        held = 0


SHAPES: list[Callable[[random.Random], Iterator[Call]]] = [plain, openai, anthropic]


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_200_calls_that_repeat_their_history_are_stored_once(
    log: transit.Log, path: Path, shape: Callable[[random.Random], Iterator[Call]]
) -> None:
    calls = list(shape(random.Random(1867)))
    task = trace.task(log, "t")
    for call in calls:
        task.model_call(
            model="gpt-4o-2024-08-06",
            request=call.request,
            response=call.response,
            usage={"input_tokens": 1000, "output_tokens": 100},
            provider="openai",
        )
    unique = sum(call.unique for call in calls)
    repeated = sum(size(call.request) + size(call.response) for call in calls)
    stored = sum(len(record.payload) for record in task.stream)
    log.seal()
    sealed = sum(file.stat().st_size for file in (path / "segments").iterdir())
    print(
        f"{shape.__name__}: {repeated:,} bytes repeated, {unique:,} unique, {stored:,} stored "
        f"({stored / unique:.3f}), {sealed:,} sealed ({sealed / unique:.3f})"
    )
    assert repeated > 50 * unique
    assert stored <= 1.2 * unique
    assert sealed <= 1.2 * unique
    for record, call in zip(trace.read(log, "t"), calls, strict=True):
        assert isinstance(record.event, trace.ModelCall)
        assert json.dumps(record.event.request) == json.dumps(call.request)
        assert json.dumps(record.event.response) == json.dumps(call.response)


def test_messages_recorded_beside_the_calls_are_stored_once_too(log: transit.Log) -> None:
    chance = random.Random(3)
    task = trace.task(log, "t")
    said: list[dict[str, str]] = []
    for _ in range(50):
        said.append({"role": "user", "content": text(chance)})
        task.message(**said[-1])
        answer = {"role": "assistant", "content": text(chance)}
        task.model_call(model="m", request=list(said), response=answer)
        task.message(**answer)
        said.append(answer)
    stored = sum(len(record.payload) for record in task.stream)
    assert stored <= 1.3 * sum(map(size, said))


def test_a_branch_refers_to_what_its_parent_holds(log: transit.Log) -> None:
    chance = random.Random(4)
    task = trace.task(log, "t")
    said = [{"role": "user", "content": text(chance)} for _ in range(50)]
    task.model_call(model="m", request=said)
    for branch in (task.retry(), task.retry().critique()):
        branch.model_call(model="m", request=[*said, {"role": "user", "content": "go"}])
        assert len(branch.stream[-1].payload) < 300
