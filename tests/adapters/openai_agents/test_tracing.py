"""TransitTracingProcessor: what the SDK tells of traces and spans is in the store, whole."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from tests.adapters.conftest import EncryptedPlace
from transit import trace

agents = pytest.importorskip("agents")

from agents import set_trace_processors  # noqa: E402
from agents.testing import ScriptedModel, assistant_message, function_call  # noqa: E402
from agents.tracing import TracingProcessor, custom_span, generation_span  # noqa: E402
from agents.tracing import trace as agents_trace  # noqa: E402

from transit.adapters.openai_agents import TransitTracingProcessor  # noqa: E402

PREFIX = "agents/trace/"


CANARY = "canary-51c0"


class Seen(TracingProcessor):
    """What a processor is told, as its exports."""

    def __init__(self) -> None:
        self.ended: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def on_trace_start(self, item: Any) -> None:
        pass

    on_span_start = on_trace_start

    def on_trace_end(self, item: Any) -> None:
        with self._lock:
            self.ended.append(json.loads(json.dumps(item.export(), default=str)))

    on_span_end = on_trace_end

    def shutdown(self) -> None:
        pass

    force_flush = shutdown


@pytest.fixture(autouse=True)
def processors() -> Iterator[Callable[..., None]]:
    """A function that says which processors there are; none afterwards."""
    trace.dropped.reset()
    yield lambda *given: set_trace_processors(list(given))
    set_trace_processors([])


def flush() -> None:
    """Have all processors write what is on its way."""
    agents.tracing.get_trace_provider().force_flush()


@agents.function_tool
def weather(city: str) -> str:
    """What the weather is like."""
    return f"sunny in {city}"


def run(*steps: Any, tools: tuple[Any, ...] = (weather,)) -> Any:
    model = ScriptedModel(list(steps), emit_traces=True)
    agent = agents.Agent(name="a", instructions="be brief", model=model, tools=list(tools))
    return asyncio.run(agents.Runner.run(agent, "weather?"))


def as_set(items: Any) -> set[str]:
    return {json.dumps(each, sort_keys=True) for each in items}


def test_every_item_is_there_as_the_sdk_exports_it(
    log: transit.Log, processors: Callable[..., None]
) -> None:
    seen = Seen()
    processors(seen, TransitTracingProcessor(log))
    calls = [function_call("weather", {"city": "Oslo"}, call_id="c1")]
    assert run(calls, [assistant_message("both")]).final_output == "both"
    with agents_trace("grouped", group_id="g", metadata={"user": "u", "n": 1, "deep": {"a": []}}):
        run([assistant_message("é")])
    flush()
    found = list(TransitTracingProcessor.read(log))
    assert len(seen.ended) > 8
    assert as_set(found) == as_set(seen.ended)
    assert not trace.dropped
    grouped = next(s for s in log.streams(PREFIX) if s.metadata.get("group_id") == "g")
    assert grouped.metadata["workflow_name"] == "grouped"
    assert (grouped.metadata["user"], grouped.metadata["n"]) == ("u", 1)
    assert grouped.metadata["adapter"] == "openai-agents"
    assert grouped.metadata["library_version"] == agents.version.__version__
    of_one = list(TransitTracingProcessor.read(log, str(grouped.metadata["trace_id"])))
    assert of_one
    assert all(each.get("trace_id", each["id"]) == of_one[-1]["id"] for each in of_one)


def test_spans_that_never_end_are_seen(log: transit.Log, processors: Callable[..., None]) -> None:
    processors(TransitTracingProcessor(log))
    with agents_trace("open"):
        span = custom_span("hangs", {"input": "the one you want"})
        span.start()
        flush()
        (stream,) = log.streams(PREFIX)
        last = stream[-1]
        assert last.headers["kind"] == "span_start"
        assert json.loads(last.payload)["span_data"]["data"] == {"input": "the one you want"}
        assert list(TransitTracingProcessor.read(log)) == []


def test_spans_that_end_after_their_trace_are_recorded(
    log: transit.Log, processors: Callable[..., None]
) -> None:
    processors(TransitTracingProcessor(log))
    with agents_trace("short"):
        span = custom_span("late")
        span.start()
    span.finish()
    flush()
    kinds = [each.headers["kind"] for each in next(log.streams(PREFIX))]
    assert kinds == ["trace_start", "span_start", "trace", "span"]


def test_what_json_does_not_have_is_no_reason_to_lose_a_span(
    log: transit.Log, processors: Callable[..., None]
) -> None:
    processors(TransitTracingProcessor(log))
    circle: dict[str, Any] = {}
    circle["self"] = circle
    given = [object(), {"\ud800": "\udfff"}, {1: float("nan")}, b"bytes", {("a",): 1}, circle]
    with agents_trace("odd"):
        for value in given:
            with custom_span("odd", {"value": value}):
                pass
    flush()
    found = [each for each in TransitTracingProcessor.read(log) if each["object"] != "trace"]
    assert len(found) == len(given)
    assert found[1]["span_data"]["data"]["value"] == {"\ud800": "\udfff"}
    assert not trace.dropped


def test_a_large_result_is_an_artifact_and_comes_back_whole(
    log: transit.Log, processors: Callable[..., None]
) -> None:
    processors(TransitTracingProcessor(log))
    with agents_trace("large"), custom_span("tool", {"output": "x" * 6_000_000}):
        pass
    flush()
    span = next(TransitTracingProcessor.read(log))
    assert span["span_data"]["data"]["output"] == "x" * 6_000_000
    (stream,) = log.streams(PREFIX)
    assert max(len(each.payload) for each in stream) < 1000
    if log.path.startswith("http"):
        return
    gone = trace.delete(log, stream, reason="asked for")
    assert any(name.startswith("$trace/artifact/") for name in gone.streams)


def test_ids_that_no_name_can_hold_have_streams_of_their_own(
    log: transit.Log, processors: Callable[..., None]
) -> None:
    processors(TransitTracingProcessor(log))
    ids = ["trace_a/b", "trace_a%2Fb", "x" * 600, "", "trace\x00", " trace", "~trace"]
    for each in ids:
        # An empty one is given another by the SDK.
        with agents_trace("named", trace_id=each):
            pass
    flush()
    found = list(TransitTracingProcessor.read(log))
    assert len(list(log.streams(PREFIX))) == len(ids)
    assert {each for each in ids if each} <= {each["id"] for each in found}
    for each in ids:
        if each:
            assert [i["id"] for i in TransitTracingProcessor.read(log, each)] == [each]


def test_a_store_that_is_gone_is_not_the_programs_affair(
    path: Path, processors: Callable[..., None]
) -> None:
    log = transit.open(path)
    processor = TransitTracingProcessor(log)
    processors(processor)
    log.close()
    with pytest.warns(trace.TraceWarning, match="is not recorded"):
        assert run([assistant_message("fine")]).final_output == "fine"
    assert trace.dropped.count > 4
    with pytest.raises(transit.ClosedError):
        processor.force_flush()


def test_an_opened_one_goes_on_after_shutdown(path: Path, processors: Callable[..., None]) -> None:
    processor = TransitTracingProcessor.open(path)
    processors(processor)
    with agents_trace("first"):
        pass
    processor.shutdown()
    with agents_trace("second"):
        pass
    processor.shutdown()
    assert [each["workflow_name"] for each in TransitTracingProcessor.read(path)] == [
        "first", "second"
    ]  # fmt: skip


def test_a_child_made_by_fork_records_too(path: Path, processors: Callable[..., None]) -> None:
    processor = TransitTracingProcessor.open(path)
    processors(processor)
    with agents_trace("both") as made:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with custom_span("in the child"):
                    pass
                processor.close()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        with custom_span("in the parent"):
            pass
    processor.shutdown()
    found = list(TransitTracingProcessor.read(path, made.trace_id))
    names = [each["span_data"]["name"] for each in found[:-1]]
    assert names == ["in the child", "in the parent"]
    assert not trace.dropped


KILLED = """
import os, signal, sys
from agents import set_trace_processors
from agents.tracing import custom_span, trace
from transit.adapters.openai_agents import TransitTracingProcessor
set_trace_processors([TransitTracingProcessor.open(sys.argv[1])])
with trace("killed"):
    for n in range(50):
        with custom_span(f"step {n}"):
            pass
    with custom_span("open"):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_has_ended_and_what_is_open_survives_sigkill(path: Path, start: Any) -> None:
    child = start(KILLED, path)
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    found = list(TransitTracingProcessor.read(path))
    assert [each["span_data"]["name"] for each in found] == [f"step {n}" for n in range(50)]
    with transit.open(path, mode="read") as log:
        last = next(log.streams(PREFIX))[-1]
        assert json.loads(last.payload)["span_data"]["name"] == "open"


SEVERAL = """
import sys
from agents import set_trace_processors
from agents.tracing import custom_span, trace
from transit.adapters.openai_agents import TransitTracingProcessor
processor = TransitTracingProcessor.open(sys.argv[1])
set_trace_processors([processor])
for run in range(5):
    with trace(f"p{sys.argv[2]}", trace_id=f"trace_{run}"):
        for n in range(20):
            # Large ones refer to what others wrote.
            with custom_span(f"{sys.argv[2]} {run} {n}", {"text": "words " * (n % 2) * 2000}):
                pass
processor.shutdown()
"""


def test_processes_record_the_same_traces_at_once(path: Path, start: Any) -> None:
    children = [start(SEVERAL, path, n) for n in range(3)]
    for child in children:
        _, said = child.communicate()
        assert child.returncode == 0, said
    found = [each for each in TransitTracingProcessor.read(path) if each["object"] != "trace"]
    names = {each["span_data"]["name"] for each in found}
    assert len(found) == 300
    assert names == {f"{p} {run} {n}" for p in range(3) for run in range(5) for n in range(20)}
    with transit.open(path, mode="read") as log:
        assert len(list(log.streams(PREFIX))) == 5


def test_what_must_not_be_recorded_is_nowhere(
    path: Path, processors: Callable[..., None], everything: Callable[[], str]
) -> None:
    policy = trace.Redaction([r"CANARY\w*"], fields=["password"])
    processor = TransitTracingProcessor.open(path, redact=policy)
    processors(processor)
    metadata = {"user": "CANARY1", "password": "hunter2", "CANARY2": "x"}
    with agents_trace("CANARY3", group_id="CANARY4", trace_id="trace_CANARY5", metadata=metadata):
        data = {"in": "CANARY6" * 400_000, "password": "hunter2", "CANARY7": [b"CANARY8"]}
        with custom_span("CANARY9", data) as span:
            span.set_error({"message": "CANARY10", "data": {"x": "CANARY11"}})
    processor.shutdown()
    kept = everything()
    assert "CANARY" not in kept
    assert "hunter2" not in kept
    found = list(TransitTracingProcessor.read(path))
    assert found[0]["error"] == {"message": "[redacted]", "data": {"x": "[redacted]"}}
    assert len(list(TransitTracingProcessor.read(path, "trace_CANARY5"))) == 2
    with transit.open(path, mode="read") as log:
        (stream,) = log.streams(PREFIX)
        assert int(stream[-2].headers["redacted"]) > 5


def test_the_policy_of_the_process_counts_where_none_is_given(
    path: Path, processors: Callable[..., None]
) -> None:
    trace.set_redaction(trace.Redaction(["CANARY"]))
    try:
        processor = TransitTracingProcessor.open(path)
    finally:
        trace.set_redaction(None)
    processors(processor)
    with agents_trace("CANARY"):
        pass
    processor.shutdown()
    assert [each["workflow_name"] for each in TransitTracingProcessor.read(path)] == ["[redacted]"]


def test_a_conversation_that_every_call_repeats_is_written_once(
    log: transit.Log, processors: Callable[..., None]
) -> None:
    seen = Seen()
    processors(seen, TransitTracingProcessor(log))
    said: list[dict[str, Any]] = []
    with agents_trace("long"):
        for n in range(100):
            said.append({"role": "user", "content": f"{n} " + "many words " * 50})
            with generation_span(input=list(said), output=[{"role": "assistant", "content": "a"}]):
                pass
    flush()
    found = list(TransitTracingProcessor.read(log))
    assert as_set(found) == as_set(seen.ended)
    (stream,) = log.streams(PREFIX)
    whole = sum(len(json.dumps(each)) for each in found)
    assert sum(len(each.payload) for each in stream) < whole / 10


def test_in_an_encrypted_store_a_canary_is_in_no_file(
    encrypted: EncryptedPlace, processors: Callable[..., None]
) -> None:
    processor = TransitTracingProcessor.open(encrypted.store, **encrypted.how)
    processors(processor)
    with agents_trace(CANARY, group_id=CANARY), custom_span(CANARY, {"in": CANARY * 50_000}):
        pass
    flush()
    assert encrypted.store.exists()
    assert not encrypted.clear(CANARY)
    processor.shutdown()
    assert not encrypted.clear(CANARY)
    assert encrypted.says(CANARY)
