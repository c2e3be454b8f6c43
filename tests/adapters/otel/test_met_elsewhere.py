"""What users of other processors, exporters and loggers reported, on ours."""

from __future__ import annotations

import logging
import multiprocessing
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace import ConcurrentMultiSpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import transit
from tests.conftest import SOURCE
from transit import trace
from transit.adapters.otel import (
    TransitLogRecordProcessor,
    TransitSpanExporter,
    TransitSpanProcessor,
    count,
    spans,
)
from transit.trace import TraceWarning, dropped

from .conftest import MakeTracer


def test_the_programs_exception_is_not_replaced(store: Path, tracer: MakeTracer) -> None:
    """opentelemetry-python#5624: what a processor raises takes the place of the program's error."""
    log = transit.open(store)
    made = tracer(TransitSpanProcessor(log))
    log.close()
    with (
        pytest.warns(TraceWarning),
        pytest.raises(ValueError, match="the program's"),
        made.start_as_current_span("a"),
    ):
        raise ValueError("the program's")


def test_one_span_that_cannot_be_encoded_takes_no_other_with_it(
    log: transit.Log, tracer: MakeTracer
) -> None:
    """openai-agents-python#4983: one value drops a batch with unrelated traces in it."""
    kept = InMemorySpanExporter()
    made = tracer(SimpleSpanProcessor(kept))
    for name in ("good", "bad", "good too"):
        made.start_span(name).end()
    batch = list(kept.get_finished_spans())
    batch[1]._start_time = object()  # type: ignore[assignment]
    batch[1]._context = None
    exporter = TransitSpanExporter(log)
    with pytest.warns(TraceWarning):
        assert exporter.export(batch) is SpanExportResult.FAILURE
    found = sorted(span.name for stream in log.streams("otel/") for span in spans(stream))
    assert found == ["good", "good too"]
    assert dropped.count == 1


def test_keys_that_have_no_text(log: transit.Log, tracer: MakeTracer) -> None:
    """openai-agents-python#4984: keys of mappings, too, may be what JSON does not know."""

    class Key:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    with tracer(TransitSpanProcessor(log)).start_as_current_span("a") as span:
        span._attributes._dict["map"] = {Key(): 1, None: 2, 1.5: 3}
        span._attributes._dict[Key()] = "x"
    assert not dropped
    assert count(Path(log.path)) == (1, 0)


def test_a_name_of_a_service_that_is_cut_within_a_character(
    log: transit.Log, tracer: MakeTracer
) -> None:
    """datadog-labs/trajectory#77: text cut by bytes is no text, and stops everything after it."""
    made = tracer(TransitSpanProcessor(log), **{"service.name": "a" + "é" * 300})
    made.start_span("a").end()
    (stream,) = log.streams("otel/")
    assert str(stream.metadata["service"]).startswith("aé")
    assert not dropped


def test_half_characters_are_read_back(log: transit.Log, tracer: MakeTracer) -> None:
    """mlflow#24123: written, and then no trace beside it can be read any more."""
    made = tracer(TransitSpanProcessor(log))
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m\udc00"}
    with made.start_as_current_span("chat", attributes=chat) as span:
        span.set_attribute(
            "gen_ai.input.messages", '[{"role": "user", "parts": [{"content": "\ud83e"}]}]'
        )
    (run,) = trace.runs(log)
    assert run.status == "completed"
    assert trace.read(log, run.name).steps()


def test_warnings_that_become_log_records_end_somewhere(store: Path) -> None:
    """opentelemetry-python#4323, #2701: what a recorder complains of is recorded, and so on."""
    log = transit.open(store)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(TransitLogRecordProcessor(log))
    made = provider.get_logger("t")

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            made.emit(body=record.getMessage())

    handler = Handler()
    logger = logging.getLogger("py.warnings")
    logger.addHandler(handler)
    log.close()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)
            made.emit(body="lost")
            made.emit(body="lost too")
    finally:
        logging.captureWarnings(False)
        logger.removeHandler(handler)
    assert dropped.count == 2


def test_processors_that_a_pool_calls(log: transit.Log) -> None:
    """opentelemetry-python#5568: a pool is closed before what waits in it was written."""
    several = ConcurrentMultiSpanProcessor(2)
    provider = TracerProvider(active_span_processor=several, shutdown_on_exit=False)
    provider.add_span_processor(TransitSpanProcessor(log))
    provider.add_span_processor(TransitSpanProcessor(log))
    for n in range(20):
        provider.get_tracer("t").start_span(f"{n}").end()
    kinds = [r.headers["kind"] for stream in log.streams("otel/") for r in stream]
    assert kinds.count("end") == 40
    assert count(Path(log.path)) == (20, 0)
    several._executor.shutdown()


def _work(made: Any) -> None:
    for n in range(10):
        made.start_span(f"{n}").end()


def test_children_that_leave_without_a_word(store: Path, tracer: MakeTracer) -> None:
    """reflex#7155: children of multiprocessing end by os._exit, and nobody flushes."""
    with TransitSpanProcessor.open(store) as processor:
        made = tracer(processor)
        made.start_span("parent").end()
        forking = multiprocessing.get_context("fork")
        children = [forking.Process(target=_work, args=(made,)) for _ in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
    assert count(store) == (31, 0)


AWAY = """
import sys
import transit
from opentelemetry.sdk.trace import TracerProvider
from rigs.server.serving import Serving
from transit.adapters.otel import TransitSpanProcessor, recorder
recorder._CLOSING_S = 0.2
log = transit.open(sys.argv[1])
server = Serving(log)
provider = TracerProvider()
provider.add_span_processor(TransitSpanProcessor.open(server.url))
tracer = provider.get_tracer("t")
tracer.start_span("there").end()
assert provider.force_flush()
server.close()
tracer.start_span("lost").end()
print("leaving", flush=True)
"""


def test_a_server_that_is_away_does_not_keep_the_process_from_ending(store: Path) -> None:
    """opentelemetry-python#2284, posthog#70964: exit waits for a collector that does not answer."""
    pytest.importorskip("uvicorn")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AWAY, str(store)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": SOURCE}, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "leaving\n"


def test_the_sdk_turned_off(log: transit.Log, monkeypatch: pytest.MonkeyPatch) -> None:
    """opentelemetry-python#4255: with OTEL_SDK_DISABLED nothing may be recorded, nor fail."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(TransitSpanProcessor(log))
    with provider.get_tracer("t").start_as_current_span("a"):
        pass
    assert list(log.streams("otel/")) == []
    assert not dropped
