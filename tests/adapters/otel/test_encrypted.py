"""Stores that are encrypted whole: no span, log record or completion is in the clear."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.adapters.conftest import EncryptedPlace
from transit.adapters.otel import (
    TransitCompletionHook,
    TransitLogRecordExporter,
    TransitLogRecordProcessor,
    TransitSpanExporter,
    TransitSpanProcessor,
)
from transit.trace import dropped

from .conftest import MakeTracer

CANARY = "canary-51c0"
LARGE = CANARY + " of many words" * 40_000


def by_spans(place: EncryptedPlace, tracer: MakeTracer) -> Any:
    processor = TransitSpanProcessor.open(place.store, **place.how)
    with tracer(processor).start_as_current_span(CANARY, attributes={"a": LARGE}) as span:
        span.add_event(CANARY)
    return processor


def by_exported_spans(place: EncryptedPlace, tracer: MakeTracer) -> Any:
    kept = InMemorySpanExporter()
    tracer(SimpleSpanProcessor(kept)).start_span(CANARY, attributes={"a": LARGE}).end()
    exporter = TransitSpanExporter.open(place.store, **place.how)
    exporter.export(kept.get_finished_spans())
    return exporter


def logged(*processors: Any) -> None:
    provider = LoggerProvider(shutdown_on_exit=False)
    for each in processors:
        provider.add_log_record_processor(each)
    logger = logging.Logger("tests")
    logger.addHandler(LoggingHandler(logger_provider=provider))
    logger.warning("%s", LARGE)


def by_logs(place: EncryptedPlace, tracer: MakeTracer) -> Any:
    processor = TransitLogRecordProcessor.open(place.store, **place.how)
    logged(processor)
    return processor


def by_exported_logs(place: EncryptedPlace, tracer: MakeTracer) -> Any:
    kept = InMemoryLogRecordExporter()
    logged(SimpleLogRecordProcessor(kept))
    exporter = TransitLogRecordExporter.open(place.store, **place.how)
    exporter.export(kept.get_finished_logs())
    return exporter


def by_completions(place: EncryptedPlace, tracer: MakeTracer) -> Any:
    hook = TransitCompletionHook.open(place.store, **place.how)
    said: Any = [{"role": "user", "parts": [{"type": "text", "content": LARGE}]}]
    with tracer().start_as_current_span("chat") as span:
        hook.on_completion(inputs=said, outputs=said, system_instruction=[], span=span)
    return hook


WAYS = [by_spans, by_exported_spans, by_logs, by_exported_logs, by_completions]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_canary_is_in_no_file(encrypted: EncryptedPlace, tracer: MakeTracer, way: Any) -> None:
    adapter = way(encrypted, tracer)
    adapter.force_flush()
    assert encrypted.store.exists()
    assert not encrypted.clear(CANARY)
    adapter.shutdown() if hasattr(adapter, "shutdown") else adapter.close()
    assert not dropped, dropped.errors
    assert not encrypted.clear(CANARY)
    assert encrypted.says(CANARY)
