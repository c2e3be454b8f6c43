"""OpenTelemetry spans as runs, from OTLP as JSON in its several spellings."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace
from transit.trace.files.spans import Span, runs_of_spans

from .shared_files import events_of, kinds

TRACE = "0af7651916cd43dd8448eb211c80319c"
Log = transit.Log


def span_id(number: int) -> str:
    return f"{number:016x}"


def attribute(key: str, value: object) -> dict[str, Any]:
    return {"key": key, "value": any_value(value)}


def any_value(value: object) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(each) for each in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [attribute(*each) for each in value.items()]}}
    return {"stringValue": value}


def span(
    number: int, name: str, begin: int, end: int, parent: int = 0, *, error: str = "",
    events: list[dict[str, Any]] | None = None, **attributes: object,
) -> dict[str, Any]:  # fmt: skip
    return {
        "traceId": TRACE, "spanId": span_id(number), "name": name,
        "parentSpanId": span_id(parent) if parent else "",
        "startTimeUnixNano": str(begin), "endTimeUnixNano": str(end) if end else "0",
        "attributes": [attribute(k.replace("__", "."), v) for k, v in attributes.items()],
        "events": events or [], "status": {"code": 2, "message": error} if error else {},
    }  # fmt: skip


def document(*spans: dict[str, Any]) -> dict[str, Any]:
    resource = {"attributes": [attribute("service.name", "shop")]}
    return {"resourceSpans": [
        {"resource": resource, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}
    ]}  # fmt: skip


def load(log: Log, folder: Path, *given: object, name: str = "t.json") -> list[Any]:
    """The events of the one trace in a document, or of lines of documents."""
    file = folder / name
    file.write_text("".join(json.dumps(each) + "\n" for each in given))
    done = trace.import_file(log, file)
    return events_of(log, done.runs[0])


AGENT = {"gen_ai__operation__name": "invoke_agent", "gen_ai__agent__name": "helper"}
CHAT = {
    "gen_ai__operation__name": "chat", "gen_ai__request__model": "gpt",
    "gen_ai__provider__name": "openai", "gen_ai__response__model": "gpt-1",
    "gen_ai__response__finish_reasons": ["stop"], "gen_ai__usage__input_tokens": 7,
    "gen_ai__usage__output_tokens": 2, "gen_ai__usage__cache_read__input_tokens": 5,
    "gen_ai__request__temperature": 0.5,
    "gen_ai__input__messages": json.dumps(
        [{"role": "user", "parts": [{"type": "text", "content": "hello"}]}]),
    "gen_ai__output__messages": [
        {"role": "assistant", "parts": [{"type": "text", "content": "hi"}]}],
}  # fmt: skip
TOOL = {"gen_ai__operation__name": "execute_tool", "gen_ai__tool__name": "ls",
        "gen_ai__tool__call__id": "c1", "gen_ai__tool__call__arguments": '{"a": 1}',
        "gen_ai__tool__call__result": "x"}  # fmt: skip


def test_a_trace_of_an_agent_is_a_run_with_typed_events(log: Log, tmp_path: Path) -> None:
    events = load(log, tmp_path, document(
        span(1, "invoke_agent helper", 1000, 9000, **AGENT),
        span(2, "chat gpt", 2000, 3000, 1, **CHAT),
        span(3, "execute_tool ls", 4000, 5000, 1, **TOOL),
        span(4, "GET /", 4100, 4900, 3),
    ))  # fmt: skip
    assert kinds(events) == [
        "Custom", "ModelCall", "Custom", "ToolRequest", "CallRequest", "CallResult", "ToolResult",
        "Custom", "RunEnd",
    ]  # fmt: skip
    call = events[1]
    assert (call.request_model, call.response_model, call.provider) == ("gpt", "gpt-1", "openai")
    assert (call.input_tokens, call.output_tokens) == (7, 2)
    assert call.usage == {"cache_read.input_tokens": 5}
    assert call.request == {"temperature": 0.5, "messages": [{"role": "user", "content": "hello"}]}
    assert (call.response["content"], call.finish_reasons) == ("hi", ("stop",))
    request, result = events[3], events[6]
    assert (request.tool_name, request.arguments) == ("ls", {"a": 1})
    assert (result.tool_call_id, result.result, result.duration_ns) == ("c1", "x", 1000)
    name = f"t/{TRACE}"
    times = [record.timestamp for record in trace.read(log, name)]
    assert times == [1000, 3000, 3000, 4000, 4100, 4900, 5000, 5000, 9000]
    assert log.stream(name).metadata["service"] == "shop"


def test_an_agent_within_an_agent_is_a_child_run(log: Log, tmp_path: Path) -> None:
    load(log, tmp_path, document(
        span(1, "outer", 1000, 9000, **AGENT), span(2, "step", 1500, 8500, 1),
        span(3, "inner", 2000, 8000, 2, error="broke", **AGENT),
        span(4, "chat", 3000, 4000, 3, **CHAT), span(5, "innermost", 5000, 6000, 3, **AGENT),
    ))  # fmt: skip
    name = f"t/{TRACE}"
    inner = f"{name}/helper"
    assert [s.name for s in log.streams()] == [name, inner, f"{inner}/helper"]
    begun = [e.run for e in events_of(log, name) if isinstance(e, trace.ChildRun)]
    assert begun == [inner]
    assert log.stream(inner).metadata["parent_run"] == name
    assert log.stream(f"{inner}/helper").metadata["parent_run"] == inner
    ended = trace.read(log, inner).ended
    assert ended is not None
    assert (ended.status, ended.error and ended.error.message) == ("failed", "broke")
    assert "ModelCall" in kinds(events_of(log, inner))


def test_the_conventions_of_openinference_are_known(log: Log, tmp_path: Path) -> None:
    events = load(log, tmp_path, document(
        span(1, "llm", 1000, 2000, **{
            "openinference__span__kind": "LLM", "llm__model_name": "gpt",
            "llm__token_count__prompt": 3, "llm__token_count__completion": 4,
            "llm__invocation_parameters": '{"top_p": 1}',
            "llm__input_messages__0__message__role": "user",
            "llm__input_messages__0__message__content": "go",
            "llm__output_messages__0__message__role": "assistant",
            "llm__output_messages__0__message__tool_calls__0__tool_call__id": "c",
            "llm__output_messages__0__message__tool_calls__0__tool_call__function__name": "ls",
            "llm__output_messages__0__message__tool_calls__0__tool_call__function__arguments": "{}",
        }),
        span(2, "tool", 3000, 4000, openinference__span__kind="TOOL", tool__name="ls",
             input__value="{}", output__value="x"),
    ))  # fmt: skip
    call = next(e for e in events if isinstance(e, trace.ModelCall))
    assert (call.input_tokens, call.output_tokens) == (3, 4)
    assert call.request["messages"] == [{"role": "user", "content": "go"}]
    assert call.response["tool_calls"] == [
        {"type": "function", "id": "c", "function": {"name": "ls", "arguments": "{}"}}
    ]
    result = next(e for e in events if isinstance(e, trace.ToolResult))
    assert (result.tool_name, result.result) == ("ls", "x")


def test_messages_in_events_and_in_log_records_are_found(log: Log, tmp_path: Path) -> None:
    older = [
        {"name": "gen_ai.user.message", "timeUnixNano": "1100",
         "attributes": [attribute("content", "go")]},
        {"name": "gen_ai.choice", "timeUnixNano": "1900",
         "attributes": [attribute("message", '{"content": "done"}')]},
    ]  # fmt: skip
    model = {"gen_ai__operation__name": "chat", "gen_ai__request__model": "gpt"}
    record = {
        "traceId": TRACE, "spanId": span_id(2), "timeUnixNano": "3500",
        "eventName": "gen_ai.client.inference.operation.details",
        "attributes": [
            attribute("gen_ai.input.messages", [{"role": "user", "parts": [
                {"type": "text", "content": "later"}]}])],
    }  # fmt: skip
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    events = load(
        log, tmp_path,
        document(span(1, "chat", 1000, 2000, events=older, **model)),
        document(span(2, "chat", 3000, 4000, **model)), logs, name="lines.jsonl",
    )  # fmt: skip
    first, second = (e for e in events if isinstance(e, trace.ModelCall))
    assert first.request["messages"][0]["content"] == "go"
    assert first.response["content"] == "done"
    assert second.request["messages"] == [{"role": "user", "content": "later"}]


def test_failed_and_open_spans_are_seen(log: Log, tmp_path: Path) -> None:
    thrown = {"name": "exception", "timeUnixNano": "1500",
              "attributes": [attribute("exception.message", "no")]}  # fmt: skip
    events = load(log, tmp_path, document(
        span(1, "work", 1000, 2000, error=" ", events=[thrown]),
        span(2, "tool", 1100, 0, 1, **TOOL), span(3, "open", 1200, 0, 1),
    ))  # fmt: skip
    failed = next(e for e in events if isinstance(e, trace.CallResult))
    assert (failed.call_status, bool(failed.error)) == ("failure", True)
    assert [r.event for r in trace.read(log, f"t/{TRACE}").open_calls] == [
        e for e in events if getattr(e, "tool_call_id", getattr(e, "call_id", "")) in
        ("c1", span_id(3)) and not isinstance(e, trace.ToolResult)
    ]  # fmt: skip


def test_the_other_spellings_come_to_the_same(log: Log, tmp_path: Path) -> None:
    plain = span(1, "work", 1000, 2000, a=1)
    snake = {
        "resource_spans": [{"instrumentation_library_spans": [{"spans": [{
            "trace_id": base64.b64encode(bytes.fromhex(TRACE)).decode(),
            "span_id": base64.b64encode(bytes.fromhex(span_id(1))).decode(),
            "name": "work", "start_time_unix_nano": 1000, "end_time_unix_nano": 2000,
            "attributes": [{"key": "a", "value": {"int_value": 1}}],
            "status": {"code": "STATUS_CODE_OK"},
        }]}]}]
    }  # fmt: skip
    console = {
        "name": "work", "context": {"trace_id": f"0x{TRACE}", "span_id": f"0x{span_id(1)}"},
        "parent_id": None, "start_time": "1970-01-01T00:00:00.000001Z",
        "end_time": "1970-01-01T00:00:00.000002Z", "attributes": {"a": 1},
        "status": {"status_code": "UNSET"},
    }  # fmt: skip
    found = [
        load(log, tmp_path, given, name=f"{n}.json")[0]
        for n, given in enumerate((document(plain), snake, [document(plain)], console))
    ]
    assert all(each == found[0] for each in found)
    assert found[0].arguments == {"a": 1}


def test_spans_without_ids_are_bad_and_repeated_ones_count_once(log: Log, tmp_path: Path) -> None:
    nameless = {**span(1, "x", 1, 2), "traceId": "0" * 32}
    file = tmp_path / "t.json"
    file.write_text(json.dumps(document(span(1, "a", 1, 2), span(1, "a", 1, 2), nameless)))
    with pytest.raises(transit.InvalidInputError, match=r"document 0, span 2: no trace id"):
        trace.import_file(log, file)
    done = trace.import_file(log, file, skip_bad=True)
    assert (done.records, done.skipped) == (3, 1)
    assert kinds(events_of(log, done.runs)) == ["CallRequest", "CallResult"]


@pytest.mark.parametrize("shift", range(4))
def test_parents_in_a_circle_or_missing_lose_no_span(shift: int) -> None:
    parents = [(1 + shift) % 4, 2, 0, 9]
    spans = [
        Span(trace_id="t", span_id=str(n), parent_id=str(parent), name=str(n), start_ns=n + 1,
             end_ns=10 + n, attributes={"gen_ai.operation.name": "invoke_agent"} if n == 2 else {})
        for n, parent in enumerate(parents)
    ]  # fmt: skip
    names = {
        event.event.call_name
        for run in runs_of_spans(spans, lambda trace_id: trace_id)
        for event in run.events
        if isinstance(event.event, trace.CallRequest)
    }
    assert names == {"0", "1", "3"}


def test_a_trace_that_is_deep_or_wide_is_turned_into_events_in_order() -> None:
    count = 5_000
    spans = [
        Span(trace_id="t", span_id=str(n), parent_id=str(n - 1), name="n", start_ns=n + 1,
             end_ns=2 * count - n)
        for n in range(count)
    ]  # fmt: skip
    (run,) = runs_of_spans(reversed(spans), lambda trace_id: trace_id)
    events = list(run.events)
    assert len(events) == 2 * count
    times = [event.timestamp or 0 for event in events]
    assert times == sorted(times)


def test_spans_that_begin_and_end_at_one_moment_lie_within_one_another() -> None:
    spans = [
        Span(trace_id="t", span_id=str(n), parent_id=str(n - 1), name=str(n), start_ns=5, end_ns=9)
        for n in range(3)
    ]
    (run,) = runs_of_spans(reversed(spans), lambda trace_id: trace_id)
    events: list[Any] = [each.event for each in run.events]
    assert [event.call_name for event in events] == ["0", "1", "2", "2", "1", "0"]
    assert kinds(events) == [*["CallRequest"] * 3, *["CallResult"] * 3]


def test_traces_of_one_file_are_runs_of_their_own(log: Log, tmp_path: Path) -> None:
    other = {**span(1, "b", 3, 4), "traceId": "f" * 32}
    file = tmp_path / "two.json"
    file.write_text(json.dumps(document(span(1, "a", 1, 2), other)))
    assert trace.import_file(log, file).runs == (f"two/{TRACE}", f"two/{'f' * 32}")
