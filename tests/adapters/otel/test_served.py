"""A store that a server has: spans go there from a thread, and the program waits for none of it."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit.adapters.otel import TransitSpanExporter, TransitSpanProcessor, count, spans
from transit.adapters.otel import queued as queued_module
from transit.trace import TraceWarning, dropped

from .conftest import MakeTracer

pytest.importorskip("uvicorn")
pytest.importorskip("urllib3")

from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from rigs.server.serving import Serving


@pytest.fixture
def served(store: Path) -> Iterator[transit.Log]:
    with transit.open(store, durability="os") as log:
        yield log


@pytest.fixture
def serving(served: transit.Log) -> Iterator[Serving]:
    server = Serving(served)
    yield server
    server.close()


def names(log: transit.Log) -> list[str]:
    return sorted(span.name for stream in log.streams("otel/") for span in spans(stream))


def test_spans_arrive(served: transit.Log, serving: Serving, tracer: MakeTracer) -> None:
    with TransitSpanProcessor.open(serving.url) as processor:
        made = tracer(processor)
        with made.start_as_current_span("outer"):
            for n in range(20):
                with made.start_as_current_span(f"inner {n}"):
                    pass
        still = made.start_span("open")
        assert processor.force_flush() is True
        assert len(names(served)) == 22
        still.end()
    assert not dropped
    # What ended before it was closed is there.
    assert all(s.end_ns for stream in served.streams("otel/") for s in spans(stream))


def test_a_given_connection(served: transit.Log, serving: Serving, tracer: MakeTracer) -> None:
    with transit.connect(serving.url) as log:
        processor = TransitSpanProcessor(log)
        with tracer(processor, SimpleSpanProcessor(TransitSpanExporter(log))).start_as_current_span(
            "a"
        ):
            pass
        assert processor.force_flush() is True
        assert names(served) == ["a"]
        processor.shutdown()
        assert not log.closed


def test_a_server_that_is_away_holds_nothing_up(
    served: transit.Log, tracer: MakeTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queued_module, "_PAUSE_S", (0.01, 0.05))
    first = Serving(served)
    with TransitSpanProcessor.open(first.url) as processor:
        made = tracer(processor)
        made.start_span("before").end()
        assert processor.force_flush() is True
        first.close()
        made.start_span("meanwhile").end()
        assert processor.force_flush(50) is False
        second = Serving(served, port=first.port)
        try:
            assert processor.force_flush(120_000) is True
            assert names(served) == ["before", "meanwhile"]
        finally:
            second.close()
            # Its end waits for what is sent, and nothing is.
            processor.shutdown()
    assert not dropped


def test_what_waits_has_a_bound(
    serving: Serving, tracer: MakeTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queued_module, "WAITING_BYTES_MAX", 10_000)
    with TransitSpanProcessor.open(serving.url) as processor:
        go_on = threading.Event()
        writer = processor._find_writer()
        monkeypatch.setattr(writer, "_send", lambda group: go_on.wait() and None)
        made = tracer(processor)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", TraceWarning)
            for _ in range(100):
                made.start_span("a").end()
        assert "wait for the server" in str(told[0].message)
        assert 0 < dropped.count < 200
        go_on.set()
        assert processor.force_flush() is False


def test_its_own_requests_are_not_traced(
    served: transit.Log, serving: Serving, tracer: MakeTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As instrumentations do: a span around each request, unless that is suppressed."""
    import urllib3
    from opentelemetry.context import get_value

    with TransitSpanProcessor.open(serving.url) as processor:
        made = tracer(processor)
        traced: list[str] = []
        urlopen = urllib3.connectionpool.HTTPConnectionPool.urlopen

        def instrumented(self: Any, method: str, url: str, *given: Any, **more: Any) -> Any:
            if get_value("suppress_instrumentation"):
                return urlopen(self, method, url, *given, **more)
            traced.append(url)
            with made.start_as_current_span(f"{method} {url}"):
                return urlopen(self, method, url, *given, **more)

        monkeypatch.setattr(urllib3.connectionpool.HTTPConnectionPool, "urlopen", instrumented)
        made.start_span("a").end()
        assert processor.force_flush() is True
        assert names(served) == ["a"]


def test_children_made_by_fork_send_their_own(
    served: transit.Log, serving: Serving, tracer: MakeTracer, store: Path
) -> None:
    with TransitSpanProcessor.open(serving.url) as processor:
        made = tracer(processor)
        made.start_span("parent").end()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                made.start_span("child").end()
                code = 0 if processor.force_flush(60_000) else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert processor.force_flush() is True
        assert names(served) == ["child", "parent"]
    assert count(store) == (2, 0)
