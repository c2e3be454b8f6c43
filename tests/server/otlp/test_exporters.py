"""The exporters of OpenTelemetry's own SDK, against a server on a socket.

They ask for versions of other packages that transit does not: `scripts/readers.sh` has them.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace
from transit.server.app import App

exporters = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
sdk = pytest.importorskip("opentelemetry.sdk.trace")
uvicorn = pytest.importorskip("uvicorn")


@contextmanager
def served(log: transit.Log) -> Iterator[str]:
    """The URL of a server on `log`, which runs in a thread."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(App(log), log_level="warning", lifespan="on", loop="asyncio")
    )
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.mark.parametrize("compression", ["NoCompression", "Gzip"])
def test_a_program_that_traces_itself_becomes_a_run(path: Path, compression: str) -> None:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    with transit.open(path, durability="os") as log, served(log) as url:
        exporter = exporters.OTLPSpanExporter(
            endpoint=f"{url}/v1/traces", compression=getattr(Compression, compression)
        )
        provider = sdk.TracerProvider(resource=Resource.create({"service.name": "shop"}))
        provider.add_span_processor(BatchSpanProcessor(exporter))
        tracer = provider.get_tracer("library", "1.2")
        with tracer.start_as_current_span("outer", attributes={"a": [1, 2], "b": True}) as outer:
            with tracer.start_as_current_span("inner") as inner:
                inner.add_event("noted", {"x": 1.5})
            # In a request of its own, before the span that it is in.
            assert provider.force_flush()
        provider.shutdown()
        name = f"otel/{outer.get_span_context().trace_id:032x}"
        events: list[Any] = [record.event for record in trace.read(log, name)]
        assert [each.call_name for each in events] == ["inner", "inner", "outer", "outer"]
        assert events[2].arguments == {"a": [1, 2], "b": True}
        stream = log.stream(name)
        assert stream.metadata["service"] == "shop"
        assert len(log.stream(f"$otlp/spans/{stream.uid}")) == 2


def test_a_batch_that_is_exported_twice_is_there_once(path: Path) -> None:
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    provider = sdk.TracerProvider()
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider.add_span_processor(SimpleSpanProcessor(kept))
    for number in range(20):
        with provider.get_tracer("x").start_as_current_span(f"span {number}"):
            pass
    with transit.open(path, durability="os") as log, served(log) as url:
        exporter = exporters.OTLPSpanExporter(endpoint=f"{url}/v1/traces")
        for _ in range(2):
            assert exporter.export(kept.get_finished_spans()) is SpanExportResult.SUCCESS
        assert len(list(log.streams("otel/"))) == 20
        assert sum(len(each) for each in log.streams("otel/")) == 40


def test_log_records_are_with_the_run_of_their_span(path: Path) -> None:
    logs = pytest.importorskip("opentelemetry.exporter.otlp.proto.http._log_exporter")
    sdk_logs = pytest.importorskip("opentelemetry.sdk._logs")
    export = pytest.importorskip("opentelemetry.sdk._logs.export")
    with transit.open(path, durability="os") as log, served(log) as url:
        provider = sdk_logs.LoggerProvider()
        exporter = logs.OTLPLogExporter(endpoint=f"{url}/v1/logs")
        provider.add_log_record_processor(export.BatchLogRecordProcessor(exporter))
        tracer = sdk.TracerProvider().get_tracer("x")
        with tracer.start_as_current_span("outer") as outer:
            record = {"body": "said", "severity_text": "INFO", "timestamp": 5}
            provider.get_logger("x").emit(**record)
        provider.shutdown()
        name = f"otel/{outer.get_span_context().trace_id:032x}"
        (only,) = [record.event for record in trace.read(log, name)]
        assert (only.name, only.data["content"]) == ("otlp.log", "said")
