"""LiteLLM: what its callbacks tell becomes requests with what came of them, each once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import litellm
import pytest

import transit
from tests.adapters.conftest import EncryptedPlace
from tests.conftest import Start
from transit import trace
from transit.adapters.litellm import TransitLogger
from transit.trace import ModelRequest, ModelResponse, Redaction, dropped

pytestmark = [
    pytest.mark.usefixtures("nothing_dropped"),
    # LiteLLM's own, at exit of loops and clients.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:pydantic"),
    pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning"),
]
ASKED = [{"role": "user", "content": "hello"}]


CANARY = "canary-51c0"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def logger(store: Path) -> Iterator[TransitLogger]:
    with TransitLogger.open(store) as made:
        yield from used(made)


def used(made: TransitLogger) -> Iterator[TransitLogger]:
    # It keeps one object of a class in lists of its own.
    litellm.logging_callback_manager._reset_all_callbacks()
    litellm.callbacks = [made]
    yield made
    litellm.logging_callback_manager._reset_all_callbacks()


def call(url: str, **more: Any) -> dict[str, Any]:
    return {
        "model": "openai/model-1", "messages": ASKED, "api_base": url, "api_key": "secret-key",
        "litellm_session_id": "session", "num_retries": 0, "max_retries": 0, **more,
    }  # fmt: skip


def events(log: transit.Log, name: str = "litellm/session") -> list[Any]:
    return [record.event for record in trace.read(log, name)] if name in log else []


def until(met: Callable[[], bool]) -> None:
    """LiteLLM tells its callbacks from threads and tasks of its own."""
    tick = threading.Event()
    for _ in range(6000):
        if met():
            return
        tick.wait(0.02)
    raise AssertionError("it was not told")


def outcomes(log: transit.Log, count: int) -> list[ModelResponse]:
    def found() -> list[ModelResponse]:
        return [each for each in events(log) if isinstance(each, ModelResponse)]

    until(lambda: len(found()) >= count)
    return found()


def test_a_call(logger: TransitLogger, url: str) -> None:
    said = litellm.completion(**call(url, temperature=0.5))
    assert said.choices[0].message.content == "an answer"
    (response,) = outcomes(logger.log, 1)
    request = events(logger.log)[0]
    assert isinstance(request, ModelRequest)
    assert (request.request_model, request.provider) == ("model-1", "openai")
    assert request.request["messages"] == ASKED  # type: ignore[index]
    assert request.request["temperature"] == 0.5  # type: ignore[index]
    assert response.model_id == request.model_id
    assert response.response["choices"][0]["message"]["content"] == "an answer"  # type: ignore[index]
    assert (response.input_tokens, response.output_tokens) == (10, 20)
    assert response.duration_ns > 0


def test_the_request_is_there_before_it_is_sent(
    logger: TransitLogger, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    begin = TransitLogger.begin

    def noted(self: TransitLogger, *given: Any, **more: Any) -> Any:
        made = begin(self, *given, **more)
        seen.append(len(events(self.log)))
        return made

    monkeypatch.setattr(TransitLogger, "begin", noted)
    litellm.completion(**call(url))
    assert seen[0] == 1


def test_streams_and_errors(logger: TransitLogger, url: str) -> None:
    parts = list(litellm.completion(**call(url, stream=True)))
    assert "".join(p.choices[0].delta.content or "" for p in parts) == "an answer"
    outcomes(logger.log, 1)
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(**call(url, messages=[{"role": "user", "content": "fail"}]))
    streamed, failed = outcomes(logger.log, 2)
    assert streamed.response["choices"][0]["message"]["content"] == "an answer"  # type: ignore[index]
    assert failed.model_status == "failure"
    assert failed.error is not None
    assert "it is broken" in failed.error.message


def test_tools(logger: TransitLogger, url: str) -> None:
    tools = [{"type": "function", "function": {"name": "ls", "parameters": {"type": "object"}}}]
    asked = [{"role": "user", "content": "list it"}]
    litellm.completion(**call(url, messages=asked, tools=tools))
    list(litellm.completion(**call(url, messages=asked, tools=tools, stream=True)))
    for response in outcomes(logger.log, 2):
        (made,) = response.response["choices"][0]["message"]["tool_calls"]  # type: ignore[index]
        assert made["function"] == {"name": "ls", "arguments": '{"path": "/"}'}
    assert events(logger.log)[0].request["tools"] == tools


def test_asynchronous_calls(logger: TransitLogger, url: str) -> None:
    async def main() -> None:
        await litellm.acompletion(**call(url))
        stream = await litellm.acompletion(**call(url, stream=True))
        assert [part async for part in stream]
        with pytest.raises(litellm.BadRequestError):
            await litellm.acompletion(**call(url, messages=[{"role": "user", "content": "fail"}]))
        for _ in range(3000):
            told = [each for each in events(logger.log) if isinstance(each, ModelResponse)]
            if len(told) == 3:
                return
            await asyncio.sleep(0.02)

    asyncio.run(main())
    statuses = [each.model_status for each in outcomes(logger.log, 3)]
    assert sorted(statuses) == ["failure", "success", "success"]
    # Nothing is told twice.
    assert len(events(logger.log)) == 6


def test_without_a_session_it_is_litellms_trace(logger: TransitLogger, url: str) -> None:
    litellm.completion(**call(url, litellm_session_id=None, litellm_trace_id="t" * 600))
    until(lambda: len(list(logger.log.streams("litellm/"))) == 1)
    (run,) = logger.log.streams("litellm/")
    assert run.name.startswith("litellm/~")
    assert run.metadata["id"] == "t" * 600


def test_inside_a_run_it_is_in_that_run(logger: TransitLogger, url: str) -> None:
    with trace.task(logger.log, "fix-1") as run:
        litellm.completion(**call(url))
        until(lambda: len(run.stream) == 2)
    assert [step.kind for step in trace.read(logger.log, "fix-1").steps()] == ["model", "end"]


def test_no_content_where_that_is_turned_off(store: Path, url: str) -> None:
    log = transit.open(store)
    for made in used(TransitLogger(log, turn_off_message_logging=True)):
        litellm.completion(**call(url, messages=[{"role": "user", "content": "CANARY"}]))
        (response,) = outcomes(made.log, 1)
        assert response.output_tokens == 20
        assert response.response_model == "model-1-said"
    for made in used(TransitLogger(log)):
        litellm.turn_off_message_logging = True
        try:
            litellm.completion(**call(url, messages=[{"role": "user", "content": "CANARY"}]))
            outcomes(made.log, 2)
        finally:
            litellm.turn_off_message_logging = False
    log.close()
    found = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
    assert b"CANARY" not in found
    assert b"an answer" not in found


def test_a_canary_and_keys_are_in_no_file(store: Path, url: str) -> None:
    policy = Redaction(patterns=["CANARY-[0-9]+"], fields=["password"])
    with TransitLogger.open(store, redact=policy) as opened:
        for made in used(opened):
            asked = [{"role": "user", "content": "CANARY-1", "password": "hidden-by-name"}]
            for _ in range(2):
                litellm.completion(
                    **call(url, messages=asked, user="CANARY-2", litellm_session_id="CANARY-3")
                )
            log = opened.log
            until(lambda log=log: len(events(log, "litellm/[redacted]")) == 4)
            with pytest.raises(litellm.BadRequestError):
                litellm.completion(
                    **call(url, messages=[*asked, {"role": "user", "content": "fail"}])
                )
            outcomes(made.log, 1)
            made.log.seal()
    found = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file())
    for needle in (b"CANARY", b"hidden-by-name", b"secret-key"):
        assert needle not in found


KILLED = """
import os, signal, sys
import litellm
from transit.adapters.litellm import TransitLogger

class Dies(TransitLogger):
    def log_pre_api_call(self, model, messages, kwargs):
        super().log_pre_api_call(model, messages, kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

litellm.callbacks = [Dies.open(sys.argv[1])]
litellm.completion(
    model="openai/model-1", messages=[{"role": "user", "content": "hello"}], api_base=sys.argv[2],
    api_key="none", litellm_session_id="session",
)
"""


def test_what_was_asked_survives_a_kill(store: Path, url: str, start: Start) -> None:
    child = start(KILLED, store, url)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    with transit.open(store, mode="read") as log:
        (request,) = events(log)
        assert isinstance(request, ModelRequest)
        assert request.request["messages"] == ASKED  # type: ignore[index]


def test_processes_share_a_session(logger: TransitLogger, url: str) -> None:
    litellm.completion(**call(url))
    outcomes(logger.log, 1)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            kwargs = {
                "litellm_call_id": "c", "model": "in the child", "messages": ASKED,
                "litellm_params": {"litellm_session_id": "session"}, "optional_params": {},
            }  # fmt: skip
            logger.log_pre_api_call("in the child", ASKED, kwargs)
            logger.log_success_event(kwargs, {"id": "x"}, None, None)
            code = 0 if logger.flush() and not dropped else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    litellm.completion(**call(url))
    found = outcomes(logger.log, 3)
    assert [each.request_model for each in found].count("in the child") == 1


def test_what_comes_without_a_request_has_one(logger: TransitLogger) -> None:
    """As answers from a cache do."""
    kwargs = {
        "litellm_call_id": "c", "model": "m", "messages": ASKED, "cache_hit": True,
        "litellm_params": {"litellm_session_id": "session"}, "optional_params": None,
        "response_cost": 0.25,
    }  # fmt: skip
    for _ in range(2):
        logger.log_success_event(kwargs, {"id": "x"}, None, None)
    request, response = events(logger.log)
    assert request.request == {"messages": ASKED}
    assert response.usage == {"cost": 0.25, "cache_hit": True}


def test_odd_arguments_raise_nothing(logger: TransitLogger) -> None:
    with pytest.warns(trace.TraceWarning):
        logger.log_pre_api_call(None, None, None)
    logger.log_success_event(None, None, None, None)
    assert dropped.count == 2
    dropped.reset()


def test_in_an_encrypted_store_a_canary_is_in_no_file(encrypted: EncryptedPlace, url: str) -> None:
    with TransitLogger.open(encrypted.store, **encrypted.how) as made:
        for _ in used(made):
            asked = [{"role": "user", "content": CANARY}]
            litellm.completion(**call(url, messages=asked, litellm_session_id=CANARY))
        assert not encrypted.clear(CANARY)
    assert not encrypted.clear(CANARY)
    assert encrypted.says(CANARY)
