"""What users of other instrumentations of these clients reported, on ours."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

import transit
from transit import trace
from transit.adapters.clients import TransitClients
from transit.trace import ModelRequest, ModelResponse

pytestmark = pytest.mark.usefixtures("nothing_dropped")
ASKED = [{"role": "user", "content": "hello"}]


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[TransitClients]:
    with TransitClients.open(tmp_path / "store") as made:
        yield made.instrument()


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as made:
        yield made


def outcomes(log: transit.Log) -> list[ModelResponse]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()
    found = [record.event for run in log.streams("clients/") for record in trace.read(log, run)]
    assert len([each for each in found if isinstance(each, ModelRequest)]) == len(found) / 2
    return [each for each in found if isinstance(each, ModelResponse)]


def text_of(stream: Any) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream)


def test_a_stream_as_a_context_manager(clients: TransitClients, client: Any) -> None:
    """openinference#591: `with create(…) as stream`, as LangChain does, escaped the wrapper."""
    with client.chat.completions.create(model="m", messages=ASKED, stream=True) as stream:
        assert text_of(stream) == "an answer"
    (response,) = outcomes(clients.log)
    assert response.response["choices"][0]["message"]["content"] == "an answer"  # type: ignore[index]


def test_a_raw_response_of_a_stream(clients: TransitClients, client: Any) -> None:
    """opentelemetry-python-contrib#4032, openllmetry#4476: parse() is gone, or crashes."""
    made = client.chat.completions.with_raw_response
    raw = made.create(model="m", messages=ASKED, stream=True)
    assert raw.headers["content-type"] == "text/event-stream"
    stream = raw.parse()
    assert isinstance(stream, openai.Stream)
    assert text_of(stream) == "an answer"
    assert raw.parse() is stream
    (response,) = outcomes(clients.log)
    assert response.response["choices"][0]["message"]["content"] == "an answer"  # type: ignore[index]


def test_raw_responses_of_asynchronous_clients(clients: TransitClients, url: str) -> None:
    """braintrust-sdk-python#607, azure-sdk-for-python#48646: parse() is awaited no more."""

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            raw = await client.chat.completions.with_raw_response.create(
                model="m", messages=ASKED, stream=True
            )
            parts = [c.choices[0].delta.content or "" async for c in raw.parse()]
            assert "".join(parts) == "an answer"
            later = client.chat.completions.with_streaming_response
            async with later.create(model="m", messages=ASKED) as response:
                said = await response.parse()
                assert said.choices[0].message.content == "an answer"

    asyncio.run(main())
    for response in outcomes(clients.log):
        message = response.response["choices"][0]["message"]  # type: ignore[index]
        assert message["content"] == "an answer"


def test_a_task_that_is_cancelled_within_a_stream(clients: TransitClients, url: str) -> None:
    """Spans that never end, because CancelledError is no Exception."""

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            begun = asyncio.Event()

            async def read() -> None:
                stream = await client.chat.completions.create(
                    model="m", messages=ASKED, stream=True
                )
                async for _ in stream:
                    begun.set()
                    await asyncio.Event().wait()

            task = asyncio.create_task(read())
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    (response,) = outcomes(clients.log)
    assert response.finish_reasons == ("abandoned",)


def test_a_client_that_was_copied(clients: TransitClients, client: Any) -> None:
    """with_options() makes another client, whose calls nobody saw."""
    client.with_options(timeout=60).chat.completions.create(model="m", messages=ASKED)
    assert len(outcomes(clients.log)) == 1


def test_a_retried_request_is_one_call(clients: TransitClients, url: str) -> None:
    """Each attempt told as a call of its own, with tokens counted twice."""
    from openai import _base_client

    tries = []
    with openai.OpenAI(base_url=url, api_key="none", max_retries=2) as client:
        send = client._client.send

        def failing(*given: Any, **more: Any) -> Any:
            tries.append(1)
            response = send(*given, **more)
            if len(tries) == 1:
                response.status_code = 503
            return response

        client._client.send = failing
        client.chat.completions.create(model="m", messages=ASKED)
    assert len(tries) == 2
    assert _base_client.SyncAPIClient.request is not None
    assert len(outcomes(clients.log)) == 1


def test_many_threads_with_one_client(clients: TransitClients, client: Any) -> None:
    """Answers that are told under another thread's call."""

    def ask(n: int) -> None:
        client.chat.completions.create(
            model=f"m{n}", messages=[{"role": "user", "content": f"question {n}"}]
        )

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    found = outcomes(clients.log)
    assert sorted(each.request_model for each in found) == sorted(f"m{n}" for n in range(12))


def test_messages_that_are_changed_after_they_were_sent(
    clients: TransitClients, client: Any
) -> None:
    """What is recorded is what was sent, also where the program goes on with the same list."""
    messages: list[Any] = [{"role": "user", "content": "before"}]
    stream = client.chat.completions.create(model="m", messages=messages, stream=True)
    messages[0]["content"] = "after"
    text_of(stream)
    outcomes(clients.log)
    (run,) = clients.log.streams("clients/")
    request = next(iter(trace.read(clients.log, run))).event
    assert request.request["messages"] == [{"role": "user", "content": "before"}]  # type: ignore[union-attr,index]
