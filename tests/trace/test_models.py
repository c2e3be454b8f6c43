"""Model calls while they are under way, and what responses of services say of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import transit
from transit import trace


def events(log: transit.Log) -> list[Any]:
    return [record.event for record in trace.read(log, "t")]


def test_a_call_is_seen_when_it_is_sent(log: transit.Log) -> None:
    task = trace.task(log, "t")
    request = {"messages": [{"role": "user", "content": "q" * 40}]}
    call = task.model("m", request, provider="p")
    (waiting,) = trace.read(log, "t").open_calls
    assert waiting.offset == call.offset == 0
    call.chunk({"delta": "a"})
    call.chunk("b" * 40)
    call.response({"role": "assistant", "content": "ab"}, usage={"prompt_tokens": 3})
    sent, one, two, response = events(log)
    assert (sent.request_model, sent.provider, sent.request) == ("m", "p", request)
    assert (one.data, two.data) == ({"delta": "a"}, "b" * 40)
    assert sent.model_id == one.model_id == two.model_id == response.model_id == call.model_id
    assert response.response == {"role": "assistant", "content": "ab"}
    assert (response.input_tokens, response.output_tokens) == (3, -1)
    assert (response.model_status, response.request_model) == ("success", "m")
    assert response.duration_ns > 0
    assert trace.read(log, "t").open_calls == ()
    with pytest.raises(transit.InvalidInputError, match="has its response"):
        call.response()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("no"), "failure"),
        (asyncio.CancelledError(), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
    ],
)
def test_how_its_block_is_left_is_recorded(
    log: transit.Log, error: BaseException, status: str
) -> None:
    task = trace.task(log, "t")
    with task.model("m"):
        pass
    with pytest.raises(type(error)), task.model("m"):
        raise error
    task.model("m").failure("no answer")
    _, empty, _, failed, _, said = events(log)
    assert (empty.model_status, empty.response) == ("success", None)
    assert (failed.model_status, failed.error.type.rpartition(".")[2]) == (
        status, type(error).__name__
    )  # fmt: skip
    assert (said.model_status, said.error.message) == ("failure", "no answer")
    task.end()
    assert (end := trace.read(log, "t").ended) is not None
    assert (end.totals.model_calls, end.totals.failures) == (3, 2)


USAGES: list[tuple[Any, tuple[int, int], dict[str, object]]] = [
    ({"input_tokens": 1, "output_tokens": 2}, (1, 2), {}),
    (
        {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3,
         "prompt_tokens_details": {"cached_tokens": 1}},
        (1, 2), {"total_tokens": 3, "prompt_tokens_details": {"cached_tokens": 1}},
    ),
    (
        {"input_tokens": 1, "output_tokens": 0, "cache_read_input_tokens": 9},
        (1, 0), {"cache_read_input_tokens": 9},
    ),
    ({"promptTokenCount": 4, "candidatesTokenCount": 5, "totalTokenCount": 9},
     (4, 5), {"totalTokenCount": 9}),
    ({"prompt_token_count": 4, "candidates_token_count": 5}, (4, 5), {}),
    ({"prompt_tokens": -3, "output_tokens": "many"}, (-1, -1),
     {"prompt_tokens": -3, "output_tokens": "many"}),
    ({"input_tokens": True}, (-1, -1), {"input_tokens": True}),
    ({}, (-1, -1), {}),
    (None, (-1, -1), {}),
]  # fmt: skip


class Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    details: object = None


@pytest.mark.parametrize(("usage", "counts", "rest"), USAGES, ids=str)
def test_tokens_are_counted_whatever_the_service_calls_them(
    log: transit.Log, usage: Any, counts: tuple[int, int], rest: dict[str, object]
) -> None:
    task = trace.task(log, "t")
    task.model_call(model="m", usage=usage)
    task.model_call(model="m", response={"usage": usage, "content": "x"})
    for event in events(log):
        assert ((event.input_tokens, event.output_tokens), event.usage) == (counts, rest)


def test_what_a_response_says_of_itself_need_not_be_given(log: transit.Log) -> None:
    task = trace.task(log, "t")
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": "a"}}
    response = {"id": "r-1", "model": "m-2026", "usage": Usage(1, 2), "choices": [choice]}
    task.model_call(model="m", response=response)
    task.model_call(
        model="m",
        response=response,
        response_id="own",
        finish_reasons=["length"],
        usage={"input_tokens": 7},
        duration_ns=5,
        timestamp=9,
    )
    task.model_call(model="m", response={"candidates": [{"finishReason": "STOP"}]})
    task.model_call(model="m", response={"stop_reason": "end_turn", "responseId": "x"})
    task.model_call(model="m", response=SimpleNamespace(model="hidden"))
    one, two, three, four, _ = events(log)
    assert (one.response_id, one.response_model, one.finish_reasons) == ("r-1", "m-2026", ("stop",))
    assert (one.input_tokens, one.output_tokens) == (1, 2)
    assert (two.response_id, two.finish_reasons, two.input_tokens) == ("own", ("length",), 7)
    assert (two.duration_ns, list(trace.read(log, "t"))[1].timestamp) == (5, 9)
    assert three.finish_reasons == ("STOP",)
    assert (four.finish_reasons, four.response_id) == (("end_turn",), "x")
    with pytest.raises(transit.InvalidInputError, match="usage"):
        task.model_call(model="m", usage=3)


class Refusing(Mapping[str, object]):
    """Has members, and gives none."""

    def __getitem__(self, key: str) -> object:
        raise RuntimeError("no members today")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no names today")

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("said", [[1], "much", 3, SimpleNamespace(a=1), Refusing()])
def test_a_response_whose_counts_are_none_is_recorded(log: transit.Log, said: object) -> None:
    task = trace.task(log, "t")
    assert task.model_call(model="m", response={"usage": said, "content": "x"}) == 0
    assert task.model("m").response({"usage": said, "content": "x"}) == 2
    assert [event.input_tokens for event in (events(log)[0], events(log)[2])] == [-1, -1]


def test_a_response_that_refuses_its_members_is_recorded(log: transit.Log) -> None:
    task = trace.task(log, "t")
    assert task.model_call(model="m", response=Refusing()) == 0
    assert task.model("m").response(Refusing()) == 2
    assert not trace.dropped


def test_tool_calls_with_one_id_stay_two(log: transit.Log) -> None:
    task = trace.task(log, "t")
    one = task.tool("bash", {"cmd": 1}, tool_call_id="same")
    two = task.tool("bash", {"cmd": 2}, tool_call_id="same")
    assert [each.offset for each in trace.read(log, "t").open_calls] == [0, 1]
    two.result("b")
    assert [each.offset for each in trace.read(log, "t").open_calls] == [0]
    task.tool("bash", {"cmd": 3}, tool_call_id="same").result("c")
    assert [each.offset for each in trace.read(log, "t").open_calls] == [0]
    one.failure(ValueError("late"))
    assert trace.read(log, "t").open_calls == ()
    results = [event for event in events(log) if isinstance(event, trace.ToolResult)]
    assert [result.request for result in results] == [1, 3, 0]


def test_every_method_takes_the_time_of_its_source(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.message("user", "x", timestamp=1)
    call = task.tool("bash", timestamp=2)
    call.result("y", timestamp=3)
    task.tool("bash", timestamp=4).failure("no", timestamp=5)
    task.tool("bash", timestamp=6).timeout("no", timestamp=7)
    task.tool("bash", timestamp=8).partial("no", timestamp=9)
    model = task.model("m", timestamp=10)
    model.chunk("x", timestamp=11)
    model.response(timestamp=12)
    task.model("m", timestamp=13).failure("no", timestamp=14)
    task.evaluate("e", decision="d", timestamp=15)
    task.checkpoint("final", status="success", timestamp=16)
    task.artifact(b"x", kind="k", timestamp=17)
    task.custom("c", timestamp=18)
    task.end(timestamp=19)
    assert [record.timestamp for record in trace.read(log, "t")] == list(range(1, 20))
