"""The forwarder: nothing is lost while a collector is away, and it says what it did."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from transit import InvalidInputError
from transit.adapters.otel import (
    OtlpForwarder,
    TransitCompletionHook,
    TransitSpanExporter,
    TransitSpanProcessor,
)

from .conftest import MakeTracer


class Collector:
    """A collector in this process; `answers` decides, by path and document, what it says."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.taken: list[str] = []
        self.decide: Callable[[str, dict[str, Any]], tuple[int, bytes]] = lambda *_: (200, b"{}")
        self.headers: dict[str, str] = {}
        self.more: dict[str, str] = {}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.headers = {k.lower(): v for k, v in self.headers.items()}
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                document = msgspec.json.decode(body)
                outer.requests.append((self.path, document))
                status, said = outer.decide(self.path, document)
                if status == 200:
                    outer.taken += names_in(document)
                self.send_response(status)
                for key, value in outer.more.items():
                    self.send_header(key, value)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def names_in(document: dict[str, Any]) -> list[str]:
    found = []
    for kind, scopes, each in (
        ("resourceSpans", "scopeSpans", "spans"), ("resourceLogs", "scopeLogs", "logRecords"),
    ):  # fmt: skip
        for resource in document.get(kind, ()):
            for scope in resource[scopes]:
                found += [one.get("name") or one.get("eventName", "log") for one in scope[each]]
    return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


class Clock:
    """Time that passes when it is waited for; `ends` says when that is enough."""

    def __init__(self, ends: Callable[[float], bool]) -> None:
        self.now = 0.0
        self.waits: list[float] = []
        self._ends = ends

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return self._ends(self.now)


def span(made: Any, name: str) -> None:
    with made.start_as_current_span(name):
        pass


def test_ended_spans_are_sent_once(
    log: transit.Log, tracer: MakeTracer, collector: Collector
) -> None:
    made = tracer(TransitSpanProcessor(log))
    for n in range(600):
        span(made, f"s{n}")
    still = made.start_span("still open")
    with OtlpForwarder(log, collector.url + "/", headers={"x-key": "k"}) as forwarder:
        assert forwarder.forward() == (600, 0, False)
        assert sorted(collector.taken) == sorted(f"s{n}" for n in range(600))
        assert len(collector.requests) == 3
        assert collector.headers["x-key"] == "k"
        assert forwarder.forward() == (0, 0, False)
        still.end()
        span(made, "later")
        assert forwarder.forward() == (2, 0, False)
    assert collector.taken[600:] == ["still open", "later"]
    assert {path for path, _ in collector.requests} == {"/v1/traces"}


def test_another_forwarder_goes_on_where_this_one_was(
    store: Path, tracer: MakeTracer, collector: Collector
) -> None:
    for n in range(3):
        # Each in a process's life of its own, as it were.
        with TransitSpanProcessor.open(store) as processor:
            span(tracer(processor), f"s{n}")
            with OtlpForwarder(processor.log, collector.url) as forwarder:
                assert forwarder.forward().sent == 1
    assert collector.taken == ["s0", "s1", "s2"]
    with transit.open(store) as log, OtlpForwarder(log, collector.url, name="other") as forwarder:
        assert forwarder.forward().sent == 3


def test_a_collector_that_is_away_for_ten_minutes(
    log: transit.Log, tracer: MakeTracer, collector: Collector
) -> None:
    made = tracer(TransitSpanProcessor(log))
    told: list[str] = []

    def ends(now: float) -> bool:
        if now < 700:
            told.append(f"s{len(told)}")
            span(made, told[-1])
        return now > 720

    clock = Clock(ends)

    def away(path: str, document: dict[str, Any]) -> tuple[int, bytes]:
        return (200, b"{}") if clock.now > 600 else (503, b"away")

    collector.decide = away
    forwarder = OtlpForwarder(log, collector.url, clock=clock)
    forwarder.run()
    forwarder.close()
    assert sorted(collector.taken) == sorted(told)
    # It asked ever less often, and not more than once a minute in the end.
    assert max(clock.waits) <= 60
    assert len([1 for _, document in collector.requests if document]) < 120
    assert "503" in forwarder.errors[-1]


def test_an_answer_that_is_lost_means_the_same_again(
    log: transit.Log, tracer: MakeTracer, collector: Collector
) -> None:
    span(tracer(TransitSpanProcessor(log)), "a")
    first = OtlpForwarder(log, collector.url)
    # It dies after the collector took it, before the cursor moved.
    first._advance = lambda batch: None  # type: ignore[method-assign]
    first.forward()
    first.close()
    with OtlpForwarder(log, collector.url) as second:
        second.forward()
    ids = [
        one["spanId"]
        for _, document in collector.requests
        for one in document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    ]
    assert len(ids) == 2
    assert len(set(ids)) == 1


def test_nobody_listens(log: transit.Log, tracer: MakeTracer, collector: Collector) -> None:
    span(tracer(TransitSpanProcessor(log)), "a")
    url = collector.url
    collector.close()
    with OtlpForwarder(log, url) as forwarder:
        assert forwarder.forward() == (0, 0, True)
        assert forwarder.forward() == (0, 0, True)
        assert "Connection refused" in forwarder.errors[-1]
    collector._server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    collector._thread = threading.Thread(target=collector._server.serve_forever, daemon=True)
    collector._thread.start()


def test_it_waits_as_long_as_it_is_asked_to(
    log: transit.Log, tracer: MakeTracer, collector: Collector
) -> None:
    span(tracer(TransitSpanProcessor(log)), "a")
    collector.decide = lambda *_: (429, b"")
    collector.more = {"retry-after": "333"}
    clock = Clock(lambda now: True)
    forwarder = OtlpForwarder(log, collector.url, clock=clock)
    forwarder.run()
    forwarder.close()
    assert clock.waits == [333]


def test_one_bad_span_does_not_hold_up_the_others(
    log: transit.Log, tracer: MakeTracer, collector: Collector
) -> None:
    made = tracer(TransitSpanProcessor(log))
    for n in range(10):
        span(made, f"s{n}")
    collector.decide = lambda path, document: (
        (400, b"bad") if "s7" in names_in(document) else (200, b"{}")
    )
    with OtlpForwarder(log, collector.url) as forwarder:
        assert forwarder.forward() == (9, 1, False)
        assert forwarder.forward() == (0, 0, False)
    assert sorted(collector.taken) == sorted(f"s{n}" for n in range(10) if n != 7)


def test_a_partial_success_is_told(
    log: transit.Log, tracer: MakeTracer, collector: Collector
) -> None:
    made = tracer(TransitSpanProcessor(log))
    for n in range(3):
        span(made, f"s{n}")
    said = b'{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}'
    collector.decide = lambda *_: (200, said)
    with OtlpForwarder(log, collector.url) as forwarder:
        assert forwarder.forward() == (1, 2, False)
        assert forwarder.errors == ["rejected 2: too old"]


@pytest.mark.parametrize("status", [401, 404, 500])
def test_what_may_be_set_right_waits(
    log: transit.Log, tracer: MakeTracer, collector: Collector, status: int
) -> None:
    span(tracer(TransitSpanProcessor(log)), "a")
    collector.decide = lambda *_: (status, b"no")
    with OtlpForwarder(log, collector.url) as forwarder:
        assert forwarder.forward() == (0, 0, True)
        collector.decide = lambda *_: (200, b"{}")
        assert forwarder.forward() == (1, 0, False)


def test_completions_are_sent_where_that_is_asked_for(
    log: transit.Log, tracer: MakeTracer, collector: Collector
) -> None:
    made, hook = tracer(TransitSpanProcessor(log)), TransitCompletionHook(log)
    messages: list[object] = []
    with OtlpForwarder(log, collector.url, completions=True) as forwarder:
        with made.start_as_current_span("agent"):
            for n in range(3):
                messages.append({"role": "user", "parts": [{"content": f"m{n}"}]})
                with made.start_as_current_span("chat") as call:
                    hook.on_completion(
                        inputs=list(messages), outputs=[], system_instruction=[], span=call
                    )
                forwarder.forward()
        forwarder.forward()
    logs = [document for path, document in collector.requests if path == "/v1/logs"]
    assert len(logs) == 3
    (record,) = logs[-1]["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    (said,) = [
        a["value"]["stringValue"]
        for a in record["attributes"]
        if a["key"] == "gen_ai.input.messages"
    ]
    assert msgspec.json.decode(said) == messages


def test_a_backend_without_logs_gets_its_spans(
    log: transit.Log, tracer: MakeTracer, collector: Collector
) -> None:
    made, hook = tracer(TransitSpanProcessor(log)), TransitCompletionHook(log)
    with made.start_as_current_span("chat") as call:
        hook.on_completion(inputs=[{"a": 1}], outputs=[], system_instruction=[], span=call)
    collector.decide = lambda path, _: (404, b"") if path == "/v1/logs" else (200, b"{}")
    with OtlpForwarder(log, collector.url, completions=True) as forwarder:
        assert forwarder.forward() == (1, 1, False)
        assert forwarder.forward() == (0, 0, False)


def test_a_thread_sends_as_it_goes(
    log: transit.Log, tracer: MakeTracer, collector: Collector
) -> None:
    made = tracer(TransitSpanProcessor(log))
    came = threading.Event()

    def decide(path: str, document: dict[str, Any]) -> tuple[int, bytes]:
        came.set()
        return 200, b"{}"

    collector.decide = decide
    with OtlpForwarder(log, collector.url, interval_s=0.01).start():
        span(made, "a")
        assert came.wait(120)


def test_what_another_process_recorded_is_sent_too(
    store: Path, tracer: MakeTracer, collector: Collector
) -> None:
    with transit.open(store, mode="shared") as reader, OtlpForwarder(reader, collector.url) as sent:
        sent.forward()
        with TransitSpanExporter.open(store) as exporter, TransitSpanProcessor.open(store) as own:
            assert exporter.log is not own.log
            span(tracer(own), "a")
        assert sent.forward().sent == 1


def test_an_address_that_is_none() -> None:
    with pytest.raises(InvalidInputError, match="log must be"):
        OtlpForwarder("store", "http://x")  # type: ignore[arg-type]


def test_an_endpoint_that_is_none(log: transit.Log) -> None:
    with pytest.raises(InvalidInputError, match="endpoint must be"):
        OtlpForwarder(log, "localhost:4318")
