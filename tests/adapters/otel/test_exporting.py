"""Exporters and log records: what they write, and that they say the truth about it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    InMemoryLogRecordExporter,
    LogRecordExportResult,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import transit
from tests.conftest import SOURCE
from transit import trace
from transit.adapters.otel import (
    TransitLogRecordExporter,
    TransitLogRecordProcessor,
    TransitSpanExporter,
    TransitSpanProcessor,
    count,
    spans,
)
from transit.trace import TraceWarning, dropped

from .conftest import MakeTracer


def test_a_batch_is_one_write(log: transit.Log, tracer: MakeTracer) -> None:
    kept = InMemorySpanExporter()
    made = tracer(SimpleSpanProcessor(kept))
    with made.start_as_current_span("a"), made.start_as_current_span("b"):
        pass
    with made.start_as_current_span("c"):
        pass
    exporter = TransitSpanExporter(log)
    assert exporter.export(kept.get_finished_spans()) is SpanExportResult.SUCCESS
    assert exporter.export([]) is SpanExportResult.SUCCESS
    assert exporter.force_flush() is True
    found = sorted(span.name for stream in log.streams("otel/") for span in spans(stream))
    assert found == ["a", "b", "c"]
    assert {run.status for run in trace.runs(log)} <= {"completed", "unfinished"}


def test_success_is_as_durable_as_the_store(
    log: transit.Log, tracer: MakeTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = InMemorySpanExporter()
    tracer(SimpleSpanProcessor(kept)).start_span("a").end()
    reached = []
    batch = transit.Log.batch

    def noted(self: transit.Log, **given: object) -> transit.WriteBatch:
        made = batch(self, **given)  # type: ignore[arg-type]
        reached.append(made._level.durability)
        return made

    monkeypatch.setattr(transit.Log, "batch", noted)
    TransitSpanExporter(log).export(kept.get_finished_spans())
    assert reached == [log.durability] == ["local"]


def test_what_failed_is_told_as_failed(store: Path, tracer: MakeTracer) -> None:
    kept = InMemorySpanExporter()
    tracer(SimpleSpanProcessor(kept)).start_span("a").end()
    log = transit.open(store)
    exporter = TransitSpanExporter(log)
    log.close()
    with pytest.warns(TraceWarning):
        assert exporter.export(kept.get_finished_spans()) is SpanExportResult.FAILURE
    assert exporter.force_flush() is False
    own = TransitSpanExporter.open(store)
    own.shutdown()
    assert own.export(kept.get_finished_spans()) is SpanExportResult.FAILURE


def test_without_a_store_each_export_fails(
    tracer: MakeTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRANSIT_STORE", raising=False)
    kept = InMemorySpanExporter()
    tracer(SimpleSpanProcessor(kept)).start_span("a").end()
    with pytest.warns(TraceWarning, match="TRANSIT_STORE names no store"):
        assert TransitSpanExporter().export(kept.get_finished_spans()) is SpanExportResult.FAILURE


AUTO = """
from opentelemetry import trace
from opentelemetry.sdk._configuration import _initialize_components
_initialize_components()
with trace.get_tracer("auto").start_as_current_span("told by name"):
    pass
"""


def test_the_sdk_finds_exporters_by_name(store: Path) -> None:
    if not entry_points(group="opentelemetry_traces_exporter", name="transit"):
        pytest.skip("transit was installed here before it had entry points")
    names = ("OTEL_TRACES_EXPORTER", "OTEL_LOGS_EXPORTER")
    more = {
        "OTEL_METRICS_EXPORTER": "none", "TRANSIT_STORE": str(store), "PYTHONPATH": SOURCE,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", AUTO], env={**os.environ, **dict.fromkeys(names, "transit"), **more},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert count(store) == (1, 0), done.stderr


def logger_of(*processors: Any) -> Any:
    provider = LoggerProvider(shutdown_on_exit=False)
    for each in processors:
        provider.add_log_record_processor(each)
    return provider.get_logger("tests")


def test_log_records_are_with_their_trace(log: transit.Log, tracer: MakeTracer) -> None:
    made = tracer(TransitSpanProcessor(log))
    logger = logger_of(TransitLogRecordProcessor(log))
    with made.start_as_current_span("a"):
        logger.emit(body="inside", attributes={"n": 1}, severity_text="ERROR")
    logger.emit(body="outside")
    stream, others = log.streams("otel/")
    assert [r.headers["kind"] for r in stream] == ["start", "log", "end"]
    (span,) = spans(stream)
    assert [event.attributes["content"] for event in span.events] == ["inside"]
    assert others.name == "otel/logs"
    events = [record.event for record in trace.read(log, stream.name)]
    assert events[1].name == "otel.log"
    assert events[1].data["severity"] == "ERROR"


def test_an_exporter_of_log_records(log: transit.Log) -> None:
    kept = InMemoryLogRecordExporter()
    logger_of(SimpleLogRecordProcessor(kept)).emit(body="one")
    batch = kept.get_finished_logs()
    exporter = TransitLogRecordExporter(log)
    assert exporter.export(batch) is LogRecordExportResult.SUCCESS
    assert len(log.stream("otel/logs")) == 1
    exporter.shutdown()
    assert exporter.export(batch) is LogRecordExportResult.FAILURE


def test_recording_a_log_record_that_fails_does_not_log_for_ever(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = TransitLogRecordProcessor(log)
    logger = logger_of(processor)
    calls = []

    def failing(item: object) -> None:
        calls.append(item)
        logger.emit(body="the recorder complains")
        raise OSError("full")

    monkeypatch.setattr(processor, "_put", failing)
    with pytest.warns(TraceWarning):
        logger.emit(body="one")
    assert len(calls) == 1
    assert dropped.count == 1
