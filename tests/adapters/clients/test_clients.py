"""Clients of OpenAI and Anthropic: calls are recorded, and the program notices nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

import transit
from tests.adapters.conftest import EncryptedPlace
from tests.conftest import Start
from transit import InvalidInputError, trace
from transit.adapters.clients import TransitClients
from transit.adapters.instrumenting import instrument
from transit.trace import ModelRequest, ModelResponse, Redaction, dropped

pytestmark = pytest.mark.usefixtures("nothing_dropped")
ASKED = [{"role": "user", "content": "hello"}]
ANSWER = {"role": "assistant", "content": "an answer"}


CANARY = "canary-51c0"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def clients(store: Path) -> Iterator[TransitClients]:
    with TransitClients.open(store) as made:
        yield made.instrument()


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def claude(url: str) -> Iterator[Any]:
    with anthropic.Anthropic(base_url=url, api_key="none", max_retries=0) as made:
        yield made


def collect() -> None:
    """A stream is in a cycle with what reads it. What else goes may warn of itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


def events(log: transit.Log) -> list[Any]:
    return [record.event for run in log.streams("clients/") for record in trace.read(log, run)]


def the_call(log: transit.Log) -> tuple[ModelRequest, ModelResponse]:
    request, response = events(log)
    assert isinstance(request, ModelRequest)
    assert isinstance(response, ModelResponse)
    assert response.model_id == request.model_id
    return request, response


def test_a_call(clients: TransitClients, client: Any) -> None:
    said = client.chat.completions.create(model="model-1", messages=ASKED, temperature=0.5)
    assert said.choices[0].message.content == "an answer"
    request, response = the_call(clients.log)
    assert (request.request_model, request.provider, request.operation) == (
        "model-1", "openai", "chat",
    )  # fmt: skip
    assert request.request == {"messages": ASKED, "temperature": 0.5}
    assert response.response["choices"][0]["message"]["content"] == "an answer"  # type: ignore[index]
    assert (response.input_tokens, response.output_tokens) == (10, 20)
    assert response.response_model == "model-1-said"
    assert response.finish_reasons == ("stop",)


def test_a_stream_is_put_together(clients: TransitClients, client: Any) -> None:
    stream = client.chat.completions.create(model="model-1", messages=ASKED, stream=True)
    assert isinstance(stream, openai.Stream)
    assert "".join(c.choices[0].delta.content or "" for c in stream) == "an answer"
    _, response = the_call(clients.log)
    assert response.model_status == "success"
    (choice,) = response.response["choices"]  # type: ignore[index]
    assert choice["message"] == ANSWER
    assert response.finish_reasons == ("stop",)


def test_tools_of_a_stream(clients: TransitClients, client: Any) -> None:
    tools = [{"type": "function", "function": {"name": "ls", "parameters": {"type": "object"}}}]
    asked = [{"role": "user", "content": "list it"}]
    for _ in client.chat.completions.create(
        model="model-1", messages=asked, tools=tools, stream=True
    ):
        pass
    request, response = the_call(clients.log)
    assert request.request["tools"] == tools  # type: ignore[index]
    (call,) = response.response["choices"][0]["message"]["tool_calls"]  # type: ignore[index]
    assert call["function"] == {"name": "ls", "arguments": '{"path": "/"}'}
    assert call["id"] == "call_1"


def test_an_error_is_the_programs_and_recorded(clients: TransitClients, client: Any) -> None:
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model="model-1", messages=[{"role": "user", "content": "fail"}]
        )
    _, response = the_call(clients.log)
    assert response.model_status == "failure"
    assert response.error is not None
    assert "it is broken" in response.error.message


def test_a_stream_that_breaks_off(clients: TransitClients, client: Any) -> None:
    stream = client.chat.completions.create(
        model="model-1", messages=[{"role": "user", "content": "break off"}], stream=True
    )
    with pytest.raises(openai.APIError, match="overloaded"):
        list(stream)
    _, response = the_call(clients.log)
    assert response.model_status == "failure"


def test_a_stream_that_is_let_go_of(clients: TransitClients, client: Any) -> None:
    stream = client.chat.completions.create(model="model-1", messages=ASKED, stream=True)
    next(stream)
    next(stream)
    stream.close()
    del stream
    collect()
    _, response = the_call(clients.log)
    assert response.finish_reasons == ("abandoned",)
    assert response.response["choices"][0]["message"]["content"] == "an "  # type: ignore[index]


def test_asynchronous_clients(clients: TransitClients, url: str) -> None:
    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:
            made = client.chat.completions

            async def streamed() -> str:
                stream = await made.create(model="s", messages=ASKED, stream=True)
                return "".join([c.choices[0].delta.content or "" async for c in stream])

            whole, said = await asyncio.gather(made.create(model="w", messages=ASKED), streamed())
            assert (whole.choices[0].message.content, said) == ("an answer", "an answer")
            with pytest.raises(openai.BadRequestError):
                await made.create(model="f", messages=[{"role": "user", "content": "fail"}])

    asyncio.run(main())
    found = [each for each in events(clients.log) if isinstance(each, ModelResponse)]
    assert sorted((each.request_model, each.model_status) for each in found) == [
        ("f", "failure"), ("s", "success"), ("w", "success"),
    ]  # fmt: skip


def test_anthropic(clients: TransitClients, claude: Any) -> None:
    said = claude.messages.create(model="c", max_tokens=9, messages=ASKED, system="be kind")
    assert said.content[0].text == "an answer"
    request, response = the_call(clients.log)
    assert request.provider == "anthropic"
    assert request.request["system"] == "be kind"  # type: ignore[index]
    assert response.response["content"][1]["input"] == {"path": "/"}  # type: ignore[index]
    assert (response.input_tokens, response.output_tokens) == (10, 20)


@pytest.mark.parametrize("helper", [True, False])
def test_anthropic_streams(clients: TransitClients, claude: Any, helper: bool) -> None:
    if helper:
        with claude.messages.stream(model="c", max_tokens=9, messages=ASKED) as stream:
            assert stream.get_final_message().content[0].text == "an answer"
    else:
        for _ in claude.messages.create(model="c", max_tokens=9, messages=ASKED, stream=True):
            pass
    collect()
    _, response = the_call(clients.log)
    content = response.response["content"]  # type: ignore[index]
    assert content[0]["text"] == "an answer"
    assert content[1]["input"] == {"path": "/"}
    assert response.finish_reasons == ("tool_use",)
    assert (response.input_tokens, response.output_tokens) == (10, 20)


def test_embeddings_and_other_requests(clients: TransitClients, client: Any) -> None:
    client.embeddings.create(model="e", input="text", encoding_format="float")
    request, _ = the_call(clients.log)
    assert request.operation == "embeddings"
    assert request.request["input"] == "text"  # type: ignore[index]


def test_raw_responses_are_recorded_when_they_are_parsed(
    clients: TransitClients, client: Any
) -> None:
    """As LangChain has them all, for their headers."""
    raw = client.chat.completions.with_raw_response.create(model="m", messages=ASKED)
    assert raw.parse().choices[0].message.content == "an answer"
    _, response = the_call(clients.log)
    assert response.response["choices"][0]["message"]["content"] == "an answer"  # type: ignore[index]


def test_a_raw_response_that_is_not_parsed(clients: TransitClients, client: Any) -> None:
    raw = client.chat.completions.with_raw_response.create(model="m", messages=ASKED)
    assert b"an answer" in raw.http_response.content
    del raw
    collect()
    _, response = the_call(clients.log)
    assert response.response == {"raw": {"status_code": 200}}


def test_inside_a_run_it_is_in_that_run(clients: TransitClients, client: Any, store: Path) -> None:
    with trace.task(clients.log, "fix-1") as run:
        client.chat.completions.create(model="m", messages=ASKED)
    assert [step.kind for step in trace.read(clients.log, run.name).steps()] == ["model", "end"]
    assert events(clients.log) == []


def test_a_conversation_is_written_once(clients: TransitClients, client: Any) -> None:
    messages: list[Any] = []
    for n in range(30):
        messages.append({"role": "user", "content": f"question {n} " * 100})
        client.chat.completions.create(model="m", messages=messages)
    (run,) = clients.log.streams("clients/")
    written = sum(len(record.payload) for record in run)
    assert written < 2.5 * sum(len(each["content"]) for each in messages)
    last = [each for each in events(clients.log) if isinstance(each, ModelRequest)][-1]
    assert last.request == {"messages": messages}


def test_nothing_is_left_after_it_is_undone(store: Path, client: Any) -> None:
    from openai._base_client import SyncAPIClient

    before = SyncAPIClient.request
    with TransitClients.open(store) as made:
        made.instrument("openai").instrument("openai")
        assert SyncAPIClient.request is not before
        made.uninstrument()
        assert SyncAPIClient.request is before
        client.chat.completions.create(model="m", messages=ASKED)
        assert events(made.log) == []


def test_another_wrapper_around_ours_stays(store: Path, client: Any) -> None:
    from openai._base_client import SyncAPIClient

    before = SyncAPIClient.request
    made = TransitClients.open(store).instrument("openai")
    ours = SyncAPIClient.request
    called = []

    def others(self: Any, *given: Any, **more: Any) -> Any:
        called.append(1)
        return ours(self, *given, **more)

    SyncAPIClient.request = others
    try:
        made.uninstrument()
        client.chat.completions.create(model="m", messages=ASKED)
        assert called == [1]
        assert events(made.log) == []
    finally:
        SyncAPIClient.request = before
        made.close()


def test_a_canary_is_in_no_file(store: Path, client: Any) -> None:
    policy = Redaction(patterns=["CANARY-[0-9]+"], fields=["password"])
    with TransitClients.open(store, redact=policy) as made:
        made.instrument("openai")
        asked = [{"role": "user", "content": "CANARY-1", "password": "hidden-by-name"}]
        client.chat.completions.create(model="m CANARY-2", messages=asked, user="CANARY-3")
        for _ in client.chat.completions.create(model="m", messages=asked, stream=True):
            pass
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(
                model="m", messages=[*asked, {"role": "user", "content": "fail"}]
            )
        made.log.seal()
    found = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
    assert b"CANARY" not in found
    assert b"hidden-by-name" not in found


def test_a_store_that_fails_is_not_the_programs_affair(store: Path, client: Any) -> None:
    log = transit.open(store)
    made = TransitClients(log).instrument("openai")
    log.close()
    try:
        with pytest.warns(trace.TraceWarning):
            said = client.chat.completions.create(model="m", messages=ASKED)
        assert said.choices[0].message.content == "an answer"
        assert dropped.count == 1
        assert made.flush() is False
    finally:
        made.close()
        dropped.reset()


def test_after_fork_each_has_a_run_of_its_own(
    clients: TransitClients, client: Any, url: str
) -> None:
    client.chat.completions.create(model="parent", messages=ASKED)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as own:
                own.chat.completions.create(model="child", messages=ASKED)
            code = 0 if clients.flush() and not dropped else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    client.chat.completions.create(model="parent", messages=ASKED)
    runs = list(clients.log.streams("clients/"))
    assert [len(run) for run in runs] == [4, 2]


KILLED = """
import os, signal, sys
import openai
from transit.adapters.clients import TransitClients
TransitClients.open(sys.argv[1]).instrument()
client = openai.OpenAI(base_url=sys.argv[2], api_key="none", max_retries=0)
asked = [{"role": "user", "content": "hello"}]
client.chat.completions.create(model="m", messages=asked)
stream = client.chat.completions.create(model="m", messages=asked, stream=True)
next(stream)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_asked_survives_a_kill(store: Path, url: str, start: Start) -> None:
    child = start(KILLED, store, url)
    assert child.wait() == -signal.SIGKILL, child.stderr and child.stderr.read()
    with transit.open(store, mode="read") as log:
        kinds = [type(event).__name__ for event in events(log)]
        assert kinds == ["ModelRequest", "ModelResponse", "ModelRequest"]
        (run,) = trace.runs(log)
        assert run.status == "unfinished"
        assert len(trace.read(log, run.name).open_calls) == 1


def test_one_line(store: Path, client: Any) -> None:
    with instrument(store, "openai", through="clients") as done:
        assert (done.through, done.libraries) == ("clients", ("openai",))
        client.chat.completions.create(model="m", messages=ASKED)
    with transit.open(store, mode="read") as log:
        assert [run.status for run in trace.runs(log)] == ["completed"]


def test_one_line_through_opentelemetry(
    store: Path, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("opentelemetry.instrumentation.genai.openai")
    from opentelemetry.sdk.trace import TracerProvider

    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", "http")
    provider = TracerProvider(shutdown_on_exit=False)
    with instrument(store, "openai", tracer_provider=provider) as done:
        assert done.through == "otel"
        assert os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] == "http,gen_ai_latest_experimental"
        client.chat.completions.create(model="model-1", messages=ASKED)
        for _ in client.chat.completions.create(model="model-1", messages=ASKED, stream=True):
            pass
    client.chat.completions.create(model="not recorded", messages=ASKED)
    with transit.open(store, mode="read") as log:
        runs = list(log.streams("otel/"))
        assert len(runs) == 2
        for run in runs:
            (call, _) = [s for s in trace.read(log, run).steps() if s.kind in ("model", "end")]
            assert call.first.event.response["content"] == "an answer"  # type: ignore[union-attr]


@pytest.mark.parametrize("given", [("gemini",), ("openai", "x")])
def test_libraries_that_are_not_known(store: Path, given: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInputError, match="is none of openai, anthropic"):
        instrument(store, *given)
    with TransitClients.open(store) as made, pytest.raises(InvalidInputError):
        made.instrument(*given)


def test_a_way_that_is_not_known(store: Path) -> None:
    with pytest.raises(InvalidInputError, match='through must be "otel" or "clients"'):
        instrument(store, through="magic")  # type: ignore[arg-type]


def test_in_an_encrypted_store_a_canary_is_in_no_file(
    encrypted: EncryptedPlace, client: Any
) -> None:
    with TransitClients.open(encrypted.store, **encrypted.how) as made:
        made.instrument()
        asked: Any = [{"role": "user", "content": CANARY}]
        client.chat.completions.create(model="model-1", messages=asked)
        assert not encrypted.clear(CANARY)
    assert not encrypted.clear(CANARY)
    assert encrypted.says(CANARY)
