"""The span processor: what is recorded, when, and what it does to the program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry import context
from opentelemetry import trace as api
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

import transit
from tests.conftest import Start
from transit import trace
from transit.adapters.otel import TransitSpanProcessor, count, spans
from transit.trace import TraceWarning, dropped

from .conftest import MakeTracer


def recorded(log: transit.Log) -> list[transit.Record]:
    return [record for stream in log.streams("otel/") for record in stream]


def kinds(log: transit.Log) -> list[str]:
    return [record.headers["kind"] for record in recorded(log)]


def the_span(record: transit.Record) -> dict[str, Any]:
    document = msgspec.json.decode(record.payload)
    return document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]  # type: ignore[no-any-return]


def test_a_span_is_there_when_it_starts_and_when_it_ends(
    log: transit.Log, tracer: MakeTracer
) -> None:
    span = tracer(TransitSpanProcessor(log)).start_span("chat")
    assert kinds(log) == ["start"]
    span.end()
    assert kinds(log) == ["start", "end"]
    stream = next(log.streams("otel/"))
    assert stream.name == f"otel/{span.context.trace_id:032x}"
    assert stream.metadata["service"] == "agent"
    assert {r.headers["span"] for r in stream} == {f"{span.context.span_id:016x}"}


def test_documents_are_whole(log: transit.Log, tracer: MakeTracer) -> None:
    made = tracer(TransitSpanProcessor(log), zone="z")
    with made.start_as_current_span("outer") as outer:
        link = api.Link(outer.context, {"why": "cause"})
        with (
            contextlib.suppress(ValueError),
            made.start_as_current_span(
                "inner", kind=api.SpanKind.CLIENT, links=[link], attributes={"at start": True}
            ) as inner,
        ):
            inner.set_attributes({"i": 2**53 + 1, "f": 0.5, "l": ["a", "b"]})
            # The oldest SDK leaves bytes out.
            inner._attributes._dict["b"] = b"\x00\xff"
            inner.add_event("tick", {"n": 1}, timestamp=5)
            raise ValueError("broken")
    found = {the_span(r)["name"]: the_span(r) for r in recorded(log) if r.headers["kind"] == "end"}
    assert found["inner"]["parentSpanId"] == found["outer"]["spanId"]
    values = {each["key"]: each["value"] for each in found["inner"]["attributes"]}
    assert values["i"] == {"intValue": "9007199254740993"}
    assert values["f"] == {"doubleValue": 0.5}
    assert values["b"] == {"bytesValue": "AP8="}
    assert values["at start"] == {"boolValue": True}
    assert values["l"] == {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}
    assert found["inner"]["kind"] == 3
    assert found["inner"]["status"] == {"code": 2, "message": "ValueError: broken"}
    assert [each["name"] for each in found["inner"]["events"]] == ["tick", "exception"]
    assert found["inner"]["events"][0]["timeUnixNano"] == "5"
    assert found["inner"]["links"][0]["spanId"] == found["outer"]["spanId"]
    inner_read = next(s for s in spans(next(log.streams("otel/"))) if s.name == "inner")
    assert inner_read.resource["zone"] == "z"
    assert inner_read.scope == {"name": "tests", "version": "1.0"}
    assert inner_read.problem == "ValueError: broken"


def test_it_is_read_as_a_run(log: transit.Log, tracer: MakeTracer) -> None:
    made = tracer(TransitSpanProcessor(log))
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    with made.start_as_current_span("agent", attributes={"gen_ai.operation.name": "invoke_agent"}):
        with made.start_as_current_span("chat m", attributes=chat) as call:
            call.set_attribute(
                "gen_ai.input.messages",
                '[{"role":"user","parts":[{"type":"text","content":"hello"}]}]',
            )
            call.set_attribute("gen_ai.usage.input_tokens", 7)
        tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "ls"}
        with made.start_as_current_span("tool", attributes=tool) as call:
            call.set_attribute("gen_ai.tool.call.arguments", '{"path": "/"}')
    (run,) = trace.runs(log)
    assert run.status == "completed"
    found = trace.read(log, run.name)
    assert [(s.kind, s.name, s.status) for s in found.steps()][1:3] == [
        ("model", "m", "success"), ("tool", "ls", "success"),
    ]  # fmt: skip
    events = [record.event for record in found]
    assert events[1].request == {"messages": [{"role": "user", "content": "hello"}]}
    assert events[3].arguments == {"path": "/"}
    assert found.tokens == (7, None)


def test_a_call_under_way_is_an_open_call(log: transit.Log, tracer: MakeTracer) -> None:
    made = tracer(TransitSpanProcessor(log))
    outer = made.start_span("agent")
    under = context.attach(api.set_span_in_context(outer))
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "sleep"}
    made.start_span("execute_tool sleep", attributes=tool)
    context.detach(under)
    (run,) = trace.runs(log)
    assert run.status == "unfinished"
    assert [each.event.tool_name for each in trace.read(log, run.name).open_calls] == ["sleep"]


def test_spans_that_are_not_sampled_are_not_recorded(log: transit.Log) -> None:
    class RecordOnly(sampling.Sampler):
        def should_sample(self, *given: Any, **more: Any) -> sampling.SamplingResult:
            return sampling.SamplingResult(sampling.Decision.RECORD_ONLY)

        def get_description(self) -> str:
            return "record only"

    provider = TracerProvider(sampler=RecordOnly(), shutdown_on_exit=False)
    provider.add_span_processor(TransitSpanProcessor(log))
    with provider.get_tracer("t").start_as_current_span("a"):
        pass
    assert recorded(log) == []


def test_values_that_json_has_no_place_for(log: transit.Log, tracer: MakeTracer) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    ring: list[object] = []
    ring.append(ring)
    given = {"nan": float("nan"), "inf": float("-inf"), "half": "a\ud800b", "big": 2**70}
    made = tracer(TransitSpanProcessor(log))
    with made.start_as_current_span("half \udfff", attributes=given) as span:
        # As instrumentations do that write past what the SDK checks.
        span._attributes._dict |= {"odd": Odd(), "ring": ring, "map": {1: {"x": None}}, 5: "five"}
    last = the_span(recorded(log)[-1])
    values = {each["key"]: each["value"] for each in last["attributes"]}
    assert values["nan"] == {"doubleValue": "NaN"}
    assert values["inf"] == {"doubleValue": "-Infinity"}
    assert values["half"] == {"stringValue": "a\\ud800b"}
    assert values["big"] == {"stringValue": str(2**70)}
    assert values["odd"] == {"stringValue": "[Odd]"}
    assert "arrayValue" in values["ring"]
    assert values["5"] == {"stringValue": "five"}
    assert not dropped


def test_a_span_larger_than_a_record(store: Path, tracer: MakeTracer) -> None:
    settings = transit.Settings(record_bytes_max=100_000)
    with transit.open(store, settings=settings) as log:
        made = tracer(TransitSpanProcessor(log))
        with made.start_as_current_span("large", attributes={"text": "x" * 250_000}):
            pass
        assert [r.headers.get("piece") for r in recorded(log)] == ["0/3", "1/3", "2/3"] * 2
        (span,) = spans(next(log.streams("otel/")))
        assert len(span.attributes["text"]) == 250_000  # type: ignore[arg-type]
        assert trace.runs(log)[0].status == "completed"


KILLED = """
import os, signal, sys
from opentelemetry.sdk.trace import TracerProvider
from transit.adapters.otel import TransitSpanProcessor
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(TransitSpanProcessor.open(sys.argv[1]))
tracer = provider.get_tracer("killed")
with tracer.start_as_current_span("outer"):
    for n in range(100):
        with tracer.start_as_current_span(f"span {n}"):
            pass
    still = [tracer.start_span(f"open {n}") for n in range(3)]
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_spans_survive_a_kill_open_ones_too(store: Path, start: Start) -> None:
    child = start(KILLED, store)
    assert child.wait() == -signal.SIGKILL, child.stderr.read() if child.stderr else ""
    assert count(store) == (100, 4)
    assert TransitSpanProcessor.count(store) == (100, 4)


def test_after_fork_both_go_on(store: Path, tracer: MakeTracer) -> None:
    with TransitSpanProcessor.open(store) as processor:
        made = tracer(processor)
        with made.start_as_current_span("parent"):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    with made.start_as_current_span("in the child"):
                        pass
                    code = 0 if processor.force_flush() and not dropped else 2
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
            with made.start_as_current_span("in the parent"):
                pass
        (stream,) = processor.log.streams("otel/")
        assert [(s.name, s.end_ns is not None) for s in spans(stream)] == [
            ("parent", True), ("in the child", True), ("in the parent", True),
        ]  # fmt: skip


def test_a_lock_that_another_thread_held_at_the_fork_is_not_the_childs(
    store: Path, tracer: MakeTracer
) -> None:
    with TransitSpanProcessor.open(store) as processor:
        made = tracer(processor)
        made.start_span("parent").end()
        held, go_on = threading.Event(), threading.Event()
        lock = processor._writer._lock  # type: ignore[union-attr]

        def hold() -> None:
            with lock:
                held.set()
                go_on.wait()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                # A child that hangs is killed, and that is told.
                signal.alarm(60)
                made.start_span("in the child").end()
                code = 0
            finally:
                os._exit(code)
        status = os.waitpid(child, 0)[1]
        go_on.set()
        holder.join()
        assert status == 0
    assert count(store) == (2, 0)


def test_a_given_store_is_the_parents_alone(log: transit.Log, tracer: MakeTracer) -> None:
    made = tracer(TransitSpanProcessor(log))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            import warnings

            warnings.simplefilter("ignore")
            with made.start_as_current_span("lost"):
                pass
            code = 0 if dropped.count == 2 else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert recorded(log) == []


def test_threads_share_traces(log: transit.Log, tracer: MakeTracer) -> None:
    made = tracer(TransitSpanProcessor(log))
    parents = [made.start_span(f"trace {n}") for n in range(5)]
    ready = threading.Barrier(8)

    def work() -> None:
        ready.wait()
        for n in range(40):
            under = api.set_span_in_context(parents[n % 5])
            with made.start_as_current_span("in a thread", context=under):
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for each in parents:
        each.end()
    assert not dropped
    assert len(list(log.streams("otel/"))) == 5
    assert len([k for k in kinds(log) if k == "end"]) == 8 * 40 + 5


def test_tasks_of_an_event_loop(log: transit.Log, tracer: MakeTracer) -> None:
    made = tracer(TransitSpanProcessor(log))

    async def work(n: int) -> None:
        with made.start_as_current_span(f"task {n}"):
            await asyncio.sleep(0)
            with made.start_as_current_span("inside"):
                await asyncio.sleep(0)

    async def main() -> None:
        await asyncio.gather(*(work(n) for n in range(20)))

    asyncio.run(main())
    for stream in log.streams("otel/"):
        outer, inner = spans(stream)
        assert inner.parent_id == outer.span_id


SHARING = """
import sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from transit.adapters.otel import TransitSpanProcessor
provider = TracerProvider(shutdown_on_exit=False)
with TransitSpanProcessor.open(sys.argv[1]) as processor:
    provider.add_span_processor(processor)
    parent = trace.NonRecordingSpan(trace.SpanContext(0xabc, 0xdef, True, trace.TraceFlags(1)))
    tracer = provider.get_tracer("sharing")
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(50):
        with tracer.start_as_current_span(f"{n}", context=trace.set_span_in_context(parent)):
            pass
    print(processor.force_flush(), flush=True)
"""


def test_several_processes_share_a_trace(store: Path, start: Start) -> None:
    children = [start(SHARING, store) for _ in range(3)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", child.stderr and child.stderr.read()
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n", child.stderr and child.stderr.read()
        assert child.wait() == 0
    with transit.open(store, mode="read") as log:
        (stream,) = log.streams("otel/")
        assert len(spans(stream)) == 150


def test_a_store_that_fails_is_not_the_programs_affair(
    store: Path, tracer: MakeTracer, tmp_path: Path
) -> None:
    log = transit.open(store)
    processor = TransitSpanProcessor(log)
    made = tracer(processor)
    log.close()
    with (
        pytest.warns(TraceWarning, match="an event is not recorded"),
        made.start_as_current_span("lost") as span,
    ):
        span.set_attribute("a", 1)
    assert dropped.count == 2
    # What was lost was not flushed.
    assert processor.force_flush() is False


def test_force_flush_says_no_once_for_what_was_lost(log: transit.Log, tracer: MakeTracer) -> None:
    processor = TransitSpanProcessor(log)
    made = tracer(processor)
    with made.start_as_current_span("a"):
        pass
    assert processor.force_flush() is True
    with made.start_as_current_span("b") as span:
        log.stream(f"otel/{span.context.trace_id:032x}").finish()
        with pytest.warns(TraceWarning), made.start_as_current_span("too late"):
            pass
        dropped.reset()
        assert processor.force_flush() is False
        assert processor.force_flush() is True
        with pytest.warns(TraceWarning):
            span.end()


def test_force_flush_is_true_when_a_crash_of_the_machine_would_lose_nothing(
    store: Path, tracer: MakeTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TransitSpanProcessor.open(store) as processor:
        with tracer(processor).start_as_current_span("a"):
            pass
        levels: list[str] = []
        sync = transit.Log.sync

        def noted(self: transit.Log, level: str = "local") -> None:
            sync(self, level)
            levels.append(level)

        monkeypatch.setattr(transit.Log, "sync", noted)
        assert processor.force_flush() is True
        assert levels == ["local"]

        def failing(self: transit.Log, level: str = "local") -> None:
            raise OSError("the disk is gone")

        monkeypatch.setattr(transit.Log, "sync", failing)
        assert processor.force_flush() is False


def test_force_flush_gives_up_in_time(
    store: Path, tracer: MakeTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with TransitSpanProcessor.open(store) as processor:
        with tracer(processor).start_as_current_span("a"):
            pass
        go_on = threading.Event()
        sync = transit.Log.sync

        def slow(self: transit.Log, level: str = "local") -> None:
            go_on.wait()
            sync(self, level)

        monkeypatch.setattr(transit.Log, "sync", slow)
        assert processor.force_flush(10) is False
        go_on.set()
        monkeypatch.setattr(transit.Log, "sync", sync)


def test_after_shutdown_nothing_is_recorded(store: Path, tracer: MakeTracer) -> None:
    processor = TransitSpanProcessor.open(store)
    made = tracer(processor)
    span = made.start_span("a")
    processor.shutdown()
    processor.shutdown()
    span.end()
    made.start_span("b").end()
    assert not dropped
    assert count(store) == (0, 1)


def test_the_processes_store_is_named_by_the_environment(
    store: Path, tracer: MakeTracer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transit.adapters.opening import PROCESS

    monkeypatch.delenv("TRANSIT_STORE", raising=False)
    processor = TransitSpanProcessor()
    made = tracer(processor)
    with pytest.warns(TraceWarning, match="TRANSIT_STORE names no store"):
        made.start_span("lost").end()
    monkeypatch.setenv("TRANSIT_STORE", str(store))
    try:
        made.start_span("kept").end()
        assert count(store) == (1, 0)
    finally:
        PROCESS.close()


def test_spans_that_a_finalizer_ends_in_the_middle_of_an_append(
    log: transit.Log, tracer: MakeTracer
) -> None:
    """The collector runs at any place: also where this thread is writing to the store."""
    processor = TransitSpanProcessor(log)
    made = tracer(processor)
    left = [made.start_span(f"left {n}") for n in range(3)]
    writing = log.create("other")
    # The turn to write is this thread's while spans end.
    with log.batch() as batch:
        batch.append(writing, b"x")
        batch._steps.insert(0, lambda staging: [each.end() for each in left] and None)
    with made.start_as_current_span("next"):
        pass
    assert processor.force_flush()
    assert not dropped
    assert kinds(log).count("end") == 4


def test_a_name_that_is_taken(log: transit.Log, tracer: MakeTracer) -> None:
    """As when a server received spans of the same trace from another service."""

    class Ids(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            return 0xABC

    made = tracer(TransitSpanProcessor(log))
    made.id_generator = Ids()
    log.create(f"otel/{0xABC:032x}", {"source_format": "otlp-received"}).append(b"{}")
    with made.start_as_current_span("a"):
        pass
    assert len(log.stream(f"otel/{0xABC:032x}/recorded")) == 2
    assert not dropped


def test_what_the_stores_own_threads_do_is_not_recorded(
    log: transit.Log, tracer: MakeTracer
) -> None:
    made = tracer(TransitSpanProcessor(log))

    def upload() -> None:
        with made.start_as_current_span("PUT bucket"):
            pass

    thread = threading.Thread(target=upload, name="transit-publisher")
    thread.start()
    thread.join()
    assert recorded(log) == []


def test_a_store_whose_folder_was_removed_is_made_again(store: Path, tracer: MakeTracer) -> None:
    """As a long-lived worker sees it whose disk somebody tidied."""
    with TransitSpanProcessor.open(store) as processor:
        made = tracer(processor)
        made.start_span("before").end()
        shutil.rmtree(store)
        span = made.start_span("after")
        assert not dropped
        assert count(store) == (0, 1)
        span.end()
        assert processor.force_flush() is True
    assert count(store) == (1, 0)
