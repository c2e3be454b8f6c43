"""What a policy hides is nowhere: not in the WAL, the segments, the bucket; for no processor."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace as api
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import transit
from transit import InvalidInputError
from transit.adapters.otel import (
    RedactingSpanProcessor,
    TransitCompletionHook,
    TransitLogRecordExporter,
    TransitLogRecordProcessor,
    TransitSpanExporter,
    TransitSpanProcessor,
    spans,
)
from transit.trace import Redaction, dropped

CANARY = "CANARY-4711"
POLICY = Redaction(patterns=[CANARY], fields=["password"])
BY_NAME = "hidden-by-name"


def tell_everywhere(tracer: Any) -> None:
    """A span with the canary in each place that a program can write to."""
    context = api.SpanContext(
        7, 8, True, api.TraceFlags(1), api.TraceState([("vendor", f"x{CANARY}")])
    )
    link = api.Link(context, {f"k{CANARY}": f"v {CANARY}", "password": BY_NAME})
    parent = api.set_span_in_context(api.NonRecordingSpan(context))
    with (
        contextlib.suppress(ValueError),
        tracer.start_as_current_span(
            f"span {CANARY}", context=parent, links=[link], attributes={"early": CANARY}
        ) as span,
    ):
        span.set_attribute(f"key {CANARY}", f"value {CANARY}")
        span.set_attribute("list", ["a", f"b{CANARY}"])
        span.set_attribute("bytes", f"raw {CANARY}".encode())
        span.set_attribute("user.password", BY_NAME)
        span.set_attribute("json", f'[{{"password": "{BY_NAME}", "text": "\\u0043ANARY-4711"}}]')
        span.add_event(f"event {CANARY}", {"e": CANARY, f"k{CANARY}": 1, "password": BY_NAME})
        raise ValueError(f"failed with {CANARY}")


def resource() -> Resource:
    return Resource({"service.name": f"svc {CANARY}", f"res {CANARY}": CANARY, "password": BY_NAME})


def record_everything(log: transit.Log, policy: Redaction) -> None:
    tracers = TracerProvider(shutdown_on_exit=False, resource=resource())
    tracers.add_span_processor(TransitSpanProcessor(log, redact=policy))
    tracers.add_span_processor(SimpleSpanProcessor(TransitSpanExporter(log, redact=policy)))
    tracer = tracers.get_tracer(f"scope {CANARY}", f"v{CANARY}", attributes={"a": CANARY})
    tell_everywhere(tracer)
    loggers = LoggerProvider(shutdown_on_exit=False, resource=resource())
    loggers.add_log_record_processor(TransitLogRecordProcessor(log, redact=policy))
    loggers.add_log_record_processor(
        SimpleLogRecordProcessor(TransitLogRecordExporter(log, redact=policy))
    )
    logger = loggers.get_logger(f"scope {CANARY}", f"v{CANARY}")
    hidden = {"password": BY_NAME, "more": [CANARY]}
    with tracer.start_as_current_span("logs"):
        logger.emit(body=f"said {CANARY}", attributes=hidden, severity_text=f"BAD {CANARY}")
    body = {"body": {CANARY: CANARY}, "password": BY_NAME, "raw": CANARY.encode()}
    logger.emit(body=body, event_name=f"event {CANARY}")
    hook = TransitCompletionHook(log, redact=policy)
    with tracer.start_as_current_span("chat") as span:
        message = {"role": "user", "parts": [{"type": "text", "content": f"hi {CANARY}"}]}
        hook.on_completion(
            inputs=[message], outputs=[{"password": BY_NAME, CANARY: f"{CANARY}".encode()}],
            system_instruction=[{"content": CANARY}], tool_definitions=[{"name": CANARY}],
            span=span,
        )  # fmt: skip


def files_with(folder: Path, needle: bytes) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and needle in path.read_bytes():
            yield str(path.relative_to(folder))


def test_a_canary_is_in_no_file(tmp_path: Path) -> None:
    store, bucket = tmp_path / "store", tmp_path / "bucket"
    with transit.open(store, remote=str(bucket)) as log:
        record_everything(log, POLICY)
        assert not dropped
        whole = [record for stream in log.streams("otel/") for record in stream]
        kinds = {record.headers["kind"] for record in whole}
        assert kinds == {"start", "end", "log", "completion"}
        assert all(int(record.headers["redacted"]) > 0 for record in whole)
        for record in whole:
            assert CANARY.encode() not in record.payload
            assert BY_NAME.encode() not in record.payload
        assert any(b"[redacted]" in record.payload for record in whole)
        for needle in (CANARY.encode(), BY_NAME.encode()):
            assert list(files_with(tmp_path, needle)) == []
        log.seal()
        log.publish()
        found = [span for stream in log.streams("otel/") for span in spans(stream)]
        assert len(found) >= 3
    assert list(bucket.rglob("*.seg"))
    for needle in (CANARY.encode(), BY_NAME.encode()):
        assert list(files_with(tmp_path, needle)) == []


def test_without_a_policy_it_is_there(tmp_path: Path) -> None:
    """The test above looks where content is."""
    with transit.open(tmp_path / "store") as log:
        record_everything(log, Redaction())
    assert list(files_with(tmp_path, CANARY.encode()))
    assert list(files_with(tmp_path, BY_NAME.encode()))


def test_the_same_policy_twice_gives_the_same(tmp_path: Path) -> None:
    payloads = []
    for name in ("one", "two"):
        with transit.open(tmp_path / name) as log:
            hook = TransitCompletionHook(log, redact=POLICY)
            message = {"role": "user", "parts": [{"content": CANARY}]}
            for _ in range(2):
                hook.on_completion(inputs=[message], outputs=[], system_instruction=[])
            payloads.append([len(r.payload) for r in log.stream("otel/logs")])
    assert payloads[0] == payloads[1]


def test_a_policy_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class Broken(Redaction):
        def text(self, text: str) -> tuple[str, int]:
            raise RuntimeError("broken")

    with transit.open(tmp_path / "store") as log:
        record_everything(log, Broken())
        kept = [span for stream in log.streams("otel/") for span in spans(stream)]
        assert kept
        assert {span.name for span in kept} == {"[redaction failed]"}
        assert all(span.end_ns and span.start_ns for span in kept)
    assert list(files_with(tmp_path, CANARY.encode())) == []


def test_the_policy_of_the_process_is_taken(tmp_path: Path) -> None:
    transit.trace.set_redaction(POLICY)
    try:
        with transit.open(tmp_path / "store") as log:
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(TransitSpanProcessor(log))
            tell_everywhere(provider.get_tracer("t"))
    finally:
        transit.trace.set_redaction(None)
    assert list(files_with(tmp_path, CANARY.encode())) == []


def test_a_span_is_changed_for_every_processor() -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False, resource=resource())
    provider.add_span_processor(RedactingSpanProcessor(POLICY))
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tell_everywhere(provider.get_tracer("t"))
    (span,) = kept.get_finished_spans()
    told = span.to_json()
    # Its trace state is what other services were told already.
    told = told.replace(f"x{CANARY}", "")
    assert CANARY not in told
    assert BY_NAME not in told
    assert span.attributes["early"] == "[redacted]"
    assert span.attributes["list"] == ("a", "b[redacted]")
    assert span.status.description == "ValueError: failed with [redacted]"
    assert [event.name for event in span.events] == ["event [redacted]", "exception"]
    assert span.links[0].attributes["password"] == "[redacted]"
    assert span.resource.attributes["service.name"] == "svc [redacted]"


def test_redaction_for_all_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    policy = Redaction(patterns=[CANARY])
    provider.add_span_processor(RedactingSpanProcessor(policy))
    provider.add_span_processor(SimpleSpanProcessor(kept))

    def broken(text: str) -> tuple[str, int]:
        raise RuntimeError("broken")

    monkeypatch.setattr(policy, "text", broken)
    tell_everywhere(provider.get_tracer("t"))
    (span,) = kept.get_finished_spans()
    assert span.name == "[redaction failed]"
    assert not span.attributes
    assert not span.events
    assert span.end_time is not None
    assert not span.status.description


def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"must be a transit\.trace\.Redaction"):
        RedactingSpanProcessor("no policy")  # type: ignore[arg-type]
