"""A store that a server has: calls go there from a thread."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

pytest.importorskip("uvicorn")
pytest.importorskip("urllib3")

import transit
from rigs.server.serving import Serving
from transit import trace
from transit.adapters import aside
from transit.adapters.clients import TransitClients
from transit.trace import ModelRequest, ModelResponse, TraceWarning, dropped


@pytest.fixture(autouse=True)
def counted() -> Iterator[None]:
    dropped.reset()
    yield
    dropped.reset()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[transit.Log]:
    with transit.open(tmp_path / "store", durability="os") as log:
        yield log


@pytest.fixture
def serving(served: transit.Log) -> Iterator[Serving]:
    server = Serving(served)
    yield server
    server.close()


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as made:
        yield made


def events(log: transit.Log) -> list[Any]:
    return [record.event for run in log.streams("clients/") for record in trace.read(log, run)]


def test_calls_arrive_as_they_were_when_they_were_made(
    served: transit.Log, serving: Serving, client: Any
) -> None:
    with TransitClients.open(serving.url) as made:
        made.instrument("openai")
        messages: list[Any] = [{"role": "user", "content": "first"}]
        client.chat.completions.create(model="m", messages=messages)
        messages[0]["content"] = "second"
        client.chat.completions.create(model="m", messages=messages)
        assert made.flush(120)
        found = events(served)
        assert [type(each) for each in found] == [ModelRequest, ModelResponse] * 2
        assert [each.request["messages"][0]["content"] for each in found[::2]] == [
            "first", "second",
        ]  # fmt: skip
    assert not dropped
    assert [run.status for run in trace.runs(served)] == ["completed"]


def test_a_request_is_recorded_as_it_was(
    served: transit.Log, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    with TransitClients.open(serving.url) as made:
        run = made._run
        monkeypatch.setattr(made, "_run", lambda run_id: (go_on.wait(), run(run_id))[1])
        messages = [{"role": "user", "content": "first"}]
        call = made.begin("run", "m", {"messages": messages})
        messages[0]["content"] = "second"
        go_on.set()
        call.response({"id": "x"})
        assert made.flush(120)
    assert events(served)[0].request == {"messages": [{"role": "user", "content": "first"}]}


def test_what_waits_has_a_bound(
    serving: Serving, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aside, "JOBS_MAX", 4)
    go_on = threading.Event()
    with TransitClients.open(serving.url) as made:
        made.instrument("openai")
        monkeypatch.setattr(made, "_run", lambda run_id: go_on.wait() and None)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", TraceWarning)
            for _ in range(5):
                client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "hello"}]
                )
        assert "wait for the server" in str(told[0].message)
        assert dropped.count >= 5
        monkeypatch.undo()
        go_on.set()


def test_a_child_made_by_fork_sends_its_own(
    served: transit.Log, serving: Serving, client: Any, url: str
) -> None:
    with TransitClients.open(serving.url) as made:
        made.instrument("openai")
        client.chat.completions.create(model="p", messages=[{"role": "user", "content": "hello"}])
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as own:
                    own.chat.completions.create(
                        model="c", messages=[{"role": "user", "content": "hello"}]
                    )
                code = 0 if made.flush(60) and not dropped else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert made.flush(120)
    found = [each.request_model for each in events(served) if isinstance(each, ModelResponse)]
    assert sorted(found) == ["c", "p"]
