"""What exporters send is kept, once, whole and typed, and durable before the answer."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

import transit
from transit import Log, Settings, trace
from transit.disk import File
from transit.server import access
from transit.server.app import App
from transit.server.otlp_wire import message_of
from transit.server.refusals import RefusedError
from transit.server.settings import ServerSettings
from transit.trace.files import arriving

from ..asked import Answered, answer
from .requests import JSON, OTHER, PROTOBUF, RUN, TRACE, as_json, fill, logs, traces

QUIET = Settings(flush_interval_ms=60_000)
SOURCE = Path(__file__).parents[3]


@pytest.fixture
def log(path: Path) -> Iterator[Log]:
    opened = transit.open(path, durability="os", settings=QUIET)
    yield opened
    opened.close()


def send(
    log: Log, body: Any, headers: dict[str, str] = PROTOBUF, kind: str = "traces", **more: Any
) -> Answered:
    """What a new server on `log` answers."""
    data = body if isinstance(body, bytes) else body.SerializeToString()
    return answer(App(log, ServerSettings(**more)), "POST", f"/v1/{kind}", data, headers)


def kept(log: Log, run: str = RUN) -> list[dict[str, Any]]:
    """The documents that were kept of a run."""
    stream = log.stream(f"$otlp/spans/{log.stream(run).uid}")
    return [json.loads(record.payload) for record in stream.read()]


def spans(log: Log) -> list[dict[str, Any]]:
    return [each["resourceSpans"][0]["scopeSpans"][0]["spans"][0] for each in kept(log)]


def events(log: Log, run: str = RUN) -> list[Any]:
    return [record.event for record in trace.read(log, run)]


def kinds(log: Log, run: str = RUN) -> list[str]:
    return [type(each).__name__ for each in events(log, run)]


def partial(answered: Answered) -> tuple[int, str]:
    assert answered.status == 200
    response = ExportTraceServiceResponse.FromString(answered.body).partial_success
    return response.rejected_spans, response.error_message


# What is kept


def test_spans_are_typed_events_of_one_run_and_kept_as_they_came(log: Log) -> None:
    request = traces(1, 2, text="x", flag=True, part=0.5, raw=b"\xff\x00", items=["a", "b"])
    answered = send(log, request)
    assert (answered.status, answered.body) == (200, b"")
    assert answered.headers["content-type"] == "application/x-protobuf"
    assert answered.headers["transit-durability"] == "local"
    assert kinds(log) == ["CallRequest", "CallRequest", "CallResult", "CallResult"]
    first = events(log)[0]
    assert first.call_name == "span 1"
    assert first.arguments == {
        "number": 1, "text": "x", "flag": True, "part": 0.5, "raw": "/wA=", "items": ["a", "b"],
    }  # fmt: skip
    metadata = log.stream(RUN).metadata
    assert (metadata["service"], metadata["trace_id"]) == ("shop", TRACE)
    times = [record.timestamp for record in log.stream(RUN).read()]
    assert times == sorted(times)
    assert times[0] == 1_700_000_000_000_001_000


def test_json_and_protobuf_are_kept_alike(path: Path, tmp_path: Path) -> None:
    request = traces(1, 2, nothing=None, wide=2**62, part=float("nan"))
    with transit.open(path) as one, transit.open(tmp_path / "other") as other:
        send(one, request)
        answered = send(other, as_json(request), JSON)
        assert (answered.status, answered.body) == (200, b"{}")
        assert kept(one) == kept(other)
        assert events(one) == events(other)
        # The same spans, in another spelling.
        before = one.metrics().records
        send(one, as_json(request), JSON)
        assert one.metrics().records == before


def test_snake_case_numbers_and_base64_ids_are_read(log: Log) -> None:
    given = {"resource_spans": [{"scope_spans": [{"spans": [{
        "trace_id": "CvdlGRbNQ92ESOshHIAxnA==", "span_id": "AAAAAAAAAAE=", "name": "x",
        "start_time_unix_nano": 5, "end_time_unix_nano": "9", "kind": "SPAN_KIND_SERVER",
        "attributes": [
            {"key": "a", "value": {"int_value": 3}}, {"key": "b"}, {"key": "c", "value": {}}],
    }]}]}]}  # fmt: skip
    assert send(log, json.dumps(given).encode(), JSON).body == b"{}"
    assert events(log)[0].arguments == {"a": 3, "b": None, "c": None}
    assert kept(log) == [
        {"resourceSpans": [{"scopeSpans": given["resource_spans"][0]["scope_spans"]}]}
    ]


def test_what_protobuf_has_beyond_the_conversion_is_kept(log: Log) -> None:
    request = traces(1)
    span = request.resource_spans[0].scope_spans[0].spans[0]
    span.trace_state, span.flags, span.kind = "a=b", 257, 3
    span.dropped_attributes_count, span.dropped_events_count = 4, 5
    span.links.add(trace_id=bytes.fromhex(OTHER), span_id=b"12345678", trace_state="c=d")
    span.events.add(name="e", time_unix_nano=7, dropped_attributes_count=1)
    span.status.code, span.status.message = 2, "broke"
    request.resource_spans[0].schema_url = "https://a/1"
    request.resource_spans[0].scope_spans[0].schema_url = "https://a/2"
    send(log, request)
    found = kept(log)[0]["resourceSpans"][0]
    assert found["schemaUrl"] == "https://a/1"
    assert found["scopeSpans"][0]["schemaUrl"] == "https://a/2"
    assert found["scopeSpans"][0]["scope"] == {"name": "library", "version": "1.2"}
    only = spans(log)[0]
    assert (only["traceState"], only["flags"], only["kind"]) == ("a=b", 257, 3)
    assert (only["droppedAttributesCount"], only["droppedEventsCount"]) == (4, 5)
    assert only["links"] == [{"traceId": OTHER, "spanId": b"12345678".hex(), "traceState": "c=d"}]
    assert only["events"] == [{"timeUnixNano": "7", "name": "e", "droppedAttributesCount": 1}]
    assert only["status"] == {"message": "broke", "code": 2}


def test_fields_of_a_later_version_are_told(log: Log) -> None:
    # Field 99 of the request: a text.
    body = traces(1).SerializeToString() + b"\x9a\x06\x05later"
    rejected, message = partial(send(log, body))
    assert rejected == 0
    assert "8 bytes of fields" in message
    assert len(spans(log)) == 1


def test_what_was_kept_is_a_file_that_can_be_imported(log: Log, tmp_path: Path) -> None:
    send(log, traces(1, 2, 3))
    answered = answer(App(log), "GET", f"/v1/traces/{TRACE}")
    assert answered.headers["content-type"] == "application/x-ndjson"
    file = tmp_path / "traces.jsonl"
    file.write_bytes(answered.body)
    done = trace.import_file(log, file, format="otlp")
    assert done.records == 3
    assert events(log, done.runs[0]) == events(log)
    assert answer(App(log), "GET", f"/v1/traces/{OTHER}").status == 404


def test_the_writer_of_the_records_is_the_token(log: Log) -> None:
    every = access.Grant("exporter", (("", frozenset(access.RIGHTS)),))
    receiver = arriving.Arrivals(log, "otel/")
    receiver.take_spans(message_of(traces(1)), every.name, lambda name: None)
    assert {record.writer for record in log.stream(RUN).read()} == {"exporter"}


# Once


def test_a_trace_that_comes_in_several_requests_is_one_run(log: Log) -> None:
    for number in (3, 2, 1):
        send(log, traces(number))
    assert [each.name for each in log.streams()] == [RUN]
    assert [each["name"] for each in spans(log)] == ["span 3", "span 2", "span 1"]
    assert kinds(log) == ["CallRequest", "CallResult"] * 3


def test_several_traces_in_one_request_are_a_run_each(log: Log) -> None:
    request = traces(1, 2)
    request.MergeFrom(traces(1, trace=OTHER))
    before = log.metrics().appends
    send(log, request)
    # In one frame.
    assert log.metrics().appends - before == 1
    assert {each.name for each in log.streams()} == {RUN, f"otel/{OTHER}"}


def _counts_once(log: Log) -> bool:
    """Whether what is sent again, in whatever parts, changes nothing."""
    server = App(log)
    for numbers in ((1, 2), (2, 1), (1,), (2, 2, 3), (1, 2, 3)):
        answer(server, "POST", "/v1/traces", traces(*numbers).SerializeToString(), PROTOBUF)
        # And with nothing remembered.
        send(log, traces(*numbers))
    return (
        sorted(each["name"] for each in spans(log)) == ["span 1", "span 2", "span 3"]
        and len(events(log)) == 6
    )


def test_a_span_that_is_sent_again_counts_once(log: Log) -> None:
    assert _counts_once(log)


def _forget_keys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(arriving._Run, "note", lambda run, key: None)


def _know_only_own(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(arriving, "KEY", "other")
    load = arriving.Arrivals._load

    def forgetful(arrivals: Any, trace_id: str) -> Any:
        run = load(arrivals, trace_id)
        run.keys.clear()
        return run

    patch.setattr(arriving.Arrivals, "_load", forgetful)


def _take_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(arriving.Arrivals, "_fresh", lambda arrivals, run, items, done: list(items))


@pytest.mark.parametrize("plant", [_forget_keys, _know_only_own, _take_all])
def test_planted_bugs_in_what_is_known_are_found(
    log: Log, monkeypatch: pytest.MonkeyPatch, plant: Callable[[pytest.MonkeyPatch], None]
) -> None:
    plant(monkeypatch)
    assert not _counts_once(log)


def test_another_span_with_an_id_that_was_there_is_kept_and_told(log: Log) -> None:
    # As a client's and its server's in Zipkin, or one that is sent before it ends.
    send(log, traces(1))
    send(log, traces(1, more="x"))
    send(log, traces(1, more="x"))
    assert len(spans(log)) == 2
    assert kinds(log) == ["CallRequest", "CallResult", "Custom"]
    assert events(log)[-1].name == "otlp.again"
    assert events(log)[-1].data["attributes"]["more"] == "x"


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_is_sent_again_after_a_kill_is_there_once(path: Path, moment: str) -> None:
    """The process dies after the frame was written, before the sync or before the answer."""
    script = f"""
import os, signal, sys
import transit
from transit.server.app import App
from transit.server.service import Service
reach = Service.reach
async def die(service, durability):
    if {moment!r} == "after":
        await reach(service, durability)
    os.kill(os.getpid(), signal.SIGKILL)
Service.reach = die
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("asked", {str(Path(__file__).parents[1] / "asked.py")!r})
asked = module_from_spec(spec)
sys.modules["asked"] = asked
spec.loader.exec_module(asked)
log = transit.open({str(path)!r}, durability="os")
body = sys.stdin.buffer.read()
asked.answer(App(log), "POST", "/v1/traces", body, {PROTOBUF!r})
"""
    body = traces(1, 2).SerializeToString()
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script], input=body, env=environment, check=False, timeout=120
        )
        assert done.returncode == -9
    with transit.open(path, durability="os", settings=QUIET) as log:
        assert send(log, body).status == 200
        assert len(spans(log)) == 2
        assert len(events(log)) == 4
        assert log.verify().ok


def test_two_processes_that_receive_the_same_keep_it_once(path: Path) -> None:
    with (
        transit.open(path, mode="shared", durability="os") as one,
        transit.open(path, mode="shared", durability="os") as other,
    ):
        servers = [App(one), App(other)]
        answers: list[int] = []

        def work(server: App) -> None:
            for number in range(1, 16):
                body = traces(number, number + 1).SerializeToString()
                answers.append(answer(server, "POST", "/v1/traces", body, PROTOBUF).status)

        threads = [threading.Thread(target=work, args=(each,)) for each in servers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [200] * 30
        assert sorted(int(each["name"][5:]) for each in spans(one)) == list(range(1, 17))
        assert len(events(one)) == 32


# Runs of agents


AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper"}
CHAT = {
    "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt",
    "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [
        {"type": "text", "content": "hello " * 20}]}]),
    "gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 2,
}  # fmt: skip


def test_calls_of_models_that_come_before_their_agent_are_of_its_run(log: Log) -> None:
    # Messages repeat over requests, so that later records refer to earlier ones.
    for number in (2, 3, 4):
        send(log, traces(number, **CHAT))
    send(log, traces(1, **AGENT))
    found = events(log)
    assert [type(each).__name__ for each in found if type(each).__name__ != "Custom"] == [
        "ModelCall", "ModelCall", "ModelCall", "RunEnd",
    ]  # fmt: skip
    texts = {each.request["messages"][0]["content"] for each in found if hasattr(each, "request")}
    assert texts == {"hello " * 20}
    end = found[-1]
    assert (end.status, end.totals.model_calls, end.totals.tokens) == (
        "completed", 3, {"gpt": (21, 6)},
    )  # fmt: skip
    (told,) = trace.runs(log, "otel/")
    assert (told.name, told.status) == (RUN, "completed")


def test_an_agent_inside_another_does_not_end_the_run(log: Log) -> None:
    send(log, traces(2, **AGENT))
    assert "RunEnd" not in kinds(log)


def test_log_records_that_come_before_their_span_are_read_as_its_messages(log: Log) -> None:
    request = logs("x", event="gen_ai.user.message")
    record = request.resource_logs[0].scope_logs[0].log_records[0]
    record.body.ClearField("value")
    fill(record.body.kvlist_value.values, {"content": "from a log"})
    send(log, request, kind="logs")
    # Another server, which has to read it again.
    send(log, traces(1, **{**CHAT, "gen_ai.input.messages": None}))
    (call,) = [each for each in events(log) if type(each).__name__ == "ModelCall"]
    assert call.request["messages"] == [{"role": "user", "content": "from a log"}]


# Logs


def test_logs_are_kept_with_the_run_they_name_and_count_once(log: Log) -> None:
    answered = send(log, logs("one", "two", "two"), kind="logs")
    assert ExportLogsServiceResponse.FromString(answered.body) == ExportLogsServiceResponse()
    before = log.metrics().records
    send(log, logs("one", "two", "two"), kind="logs")
    assert log.metrics().records == before
    assert [each.name for each in events(log)] == ["otlp.log"] * 3
    assert events(log)[0].data == {"name": "", "content": "one", "severity": "INFO"}
    assert len(kept(log)) == 3


def test_logs_without_a_trace_or_a_body_are_kept(log: Log) -> None:
    given = {"resourceLogs": [{"scopeLogs": [{"logRecords": [
        {"timeUnixNano": "5", "severityText": "WARN"},
        {"observedTimeUnixNano": "6", "body": {"stringValue": "x"}, "traceId": ""},
        {},
    ]}]}]}  # fmt: skip
    for _ in range(2):
        assert send(log, json.dumps(given).encode(), JSON, kind="logs").body == b"{}"
    assert len(log.stream("otel/logs")) == 3
    assert len(kept(log, "otel/logs")) == 3


# Refusals


def status_of(answered: Answered) -> tuple[int, str]:
    """Code and message of a `google.rpc.Status`."""
    if answered.headers["content-type"] == "application/json":
        told = json.loads(answered.body)
        return told["code"], told["message"]
    assert answered.body[0] == 8
    assert answered.body[2] == 0x12
    at = 4 if answered.body[3] < 128 else 5
    return answered.body[1], answered.body[at:].decode()


@pytest.mark.parametrize(
    "given", ["application/x-protobuf", "Application/X-Protobuf; charset=utf-8",
              "application/protobuf"],
)  # fmt: skip
def test_protobuf_is_known_in_every_spelling(log: Log, given: str) -> None:
    answered = send(log, traces(1), {"content-type": given})
    assert (answered.status, answered.headers["content-type"]) == (200, "application/x-protobuf")


@pytest.mark.parametrize(
    "given", ["", "text/plain", "application/json; charset=utf-16", "application/grpc"]
)
def test_another_content_type_is_refused(log: Log, given: str) -> None:
    answered = send(log, traces(1), {"content-type": given} if given else {})
    assert answered.status == 415
    assert "application/x-protobuf" in status_of(answered)[1]


@pytest.mark.parametrize("given", ["application/json", 'Application/JSON; charset="UTF-8"'])
def test_json_is_answered_in_json(log: Log, given: str) -> None:
    answered = send(log, as_json(traces(1)), {"content-type": given})
    assert (answered.status, answered.headers["content-type"]) == (200, "application/json")


def test_gzip_is_unpacked_in_one_or_several_members(log: Log) -> None:
    body = traces(1).SerializeToString()
    for packed in (gzip.compress(body), gzip.compress(body[:9]) + gzip.compress(body[9:])):
        assert send(log, packed, {**PROTOBUF, "content-encoding": "GZIP"}).status == 200
    assert len(spans(log)) == 1
    assert send(log, body, {**PROTOBUF, "content-encoding": "identity"}).status == 200


@pytest.mark.parametrize("encoding", ["deflate", "br", "zstd", "gzip, gzip", "snappy"])
def test_another_encoding_is_refused_and_told_what_is_taken(log: Log, encoding: str) -> None:
    answered = send(log, zlib.compress(b""), {**PROTOBUF, "content-encoding": encoding})
    assert (answered.status, answered.headers["accept-encoding"]) == (415, "gzip, identity")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"no gzip", gzip.compress(b"x" * 100, mtime=0)[:-4],
        gzip.compress(b"", mtime=0) + b"rest",
    ],
    ids=["empty", "none", "cut", "rest"],
)  # fmt: skip
def test_gzip_that_is_not_whole_is_refused(log: Log, body: bytes) -> None:
    assert send(log, body, {**PROTOBUF, "content-encoding": "gzip"}).status == 400


def test_what_unpacks_to_more_than_the_limit_is_refused(log: Log) -> None:
    bomb = gzip.compress(bytes(3_000_000))
    answered = send(log, bomb, {**PROTOBUF, "content-encoding": "gzip"}, unpacked_bytes_max=100_000)
    assert answered.status == 413
    many = b"".join([gzip.compress(bytes(60_000))] * 2)
    answered = send(log, many, {**PROTOBUF, "content-encoding": "gzip"}, unpacked_bytes_max=100_000)
    assert answered.status == 413


def test_a_body_of_64_mib_is_refused_before_it_is_read(log: Log) -> None:
    headers = {**PROTOBUF, "content-length": str(64 * 2**20)}
    answered = answer(App(log), "POST", "/v1/traces", [], headers)
    assert answered.status == 413
    assert status_of(answered)[0] == 8
    parts = [b"x" * 60_000] * 3
    app = App(log, ServerSettings(body_bytes_max=100_000))
    assert answer(app, "POST", "/v1/traces", parts, PROTOBUF).status == 413


@pytest.mark.parametrize(
    "body", [b"garbage", b"\xff" * 40, traces(1).SerializeToString()[:-3], b"\x0a\x02\x0a"]
)
def test_protobuf_that_cannot_be_read_is_refused(log: Log, body: bytes) -> None:
    answered = send(log, body)
    assert answered.status == 400
    assert status_of(answered)[0] == 3
    assert "protobuf" in status_of(answered)[1]


DEEP = b'{"resourceSpans":' + b'[{"resource":' * 3000 + b"1" + b"}]" * 3000 + b"}"


@pytest.mark.parametrize(
    "body",
    [b"nul", b"[]", b"7", b'{"resourceSpans": 5}', b'{"resourceLogs": []}', b'{"spans": []}',
     b'{"resourceSpans": [}', b"\xff\xfe", DEEP],
)  # fmt: skip
def test_json_that_is_no_request_is_refused(log: Log, body: bytes) -> None:
    answered = send(log, body, JSON)
    assert answered.status == 400
    assert status_of(answered)[0] == 3


@pytest.mark.parametrize("body", [b"{}", b'{"resourceSpans": []}', b""])
def test_nothing_is_taken(log: Log, body: bytes) -> None:
    answered = send(log, body, JSON)
    assert (answered.status, answered.body) == (200, b"{}")
    assert send(log, b"").status == 200
    assert list(log.streams()) == []


HOSTILE: list[object] = [
    None, 5, "x", [], {}, {"traceId": 5}, {"traceId": TRACE, "spanId": "00"},
    {"traceId": "0" * 32, "spanId": "1" * 16}, {"traceId": TRACE[:-1] + "g", "spanId": "1" * 16},
]  # fmt: skip


@pytest.mark.parametrize("given", HOSTILE)
def test_a_span_without_ids_is_told_and_the_others_are_kept(log: Log, given: object) -> None:
    document = json.loads(as_json(traces(1)))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"].append(given)
    told = json.loads(send(log, json.dumps(document).encode(), JSON).body)
    assert told["partialSuccess"]["rejectedSpans"] == "1"
    assert "span 1" in told["partialSuccess"]["errorMessage"]
    assert len(spans(log)) == 1


@pytest.mark.parametrize(
    "change",
    [{"name": 5}, {"attributes": {"a": 1}}, {"attributes": "x"}, {"events": [5, {}]},
     {"startTimeUnixNano": "-1"}, {"endTimeUnixNano": str(2**64)}, {"links": [{}]},
     {"status": 5}, {"kind": "x"}, {"name": "\ud800"}, {"name": "a\x00b"},
     {"attributes": [{"value": {"stringValue": "x"}}]}],
)  # fmt: skip
def test_members_of_other_types_are_kept_and_never_an_error(
    log: Log, change: dict[str, Any]
) -> None:
    document = json.loads(as_json(traces(1)))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0].update(change)
    answered = send(log, json.dumps(document).encode(), JSON)
    assert (answered.status, answered.body) == (200, b"{}")
    only = spans(log)[0]
    assert {key: only[key] for key in change} == change


def test_a_span_that_is_too_large_is_told_and_the_others_are_kept(path: Path) -> None:
    settings = Settings(record_bytes_max=5000, frame_bytes_max=40_000, flush_interval_ms=60_000)
    with transit.open(path, durability="os", settings=settings) as log:
        request = traces(1)
        request.MergeFrom(traces(2, large="x" * 6000))
        rejected, message = partial(send(log, request))
        assert rejected == 1
        assert "record_bytes_max is 5000" in message
        assert [each["name"] for each in spans(log)] == ["span 1"]
        # Whole as it came, while its events would be larger than a record.
        send(log, traces(3, large="x" * 4400))
        assert [each["name"] for each in spans(log)] == ["span 1", "span 3"]
        # More than fits into a frame.
        send(log, traces(*range(10, 90), large="x" * 1000))
        assert len(spans(log)) == 82
        assert len(events(log)) == 164


def test_a_run_that_was_finished_or_is_another_streams_is_told(log: Log) -> None:
    send(log, traces(1))
    log.stream(RUN).finish()
    rejected, message = partial(send(log, traces(1, 2)))
    assert (rejected, "is finished" in message) == (2, True)
    log.create(f"otel/{OTHER}").append(b"mine")
    request = traces(3, trace=OTHER)
    rejected, message = partial(send(log, request))
    assert (rejected, "not received as OTLP" in message) == (1, True)
    assert [each.payload for each in log.stream(f"otel/{OTHER}").read()] == [b"mine"]


def test_a_trace_that_an_adapter_records_too_is_received_beside_it(log: Log) -> None:
    """As when one service of a trace records itself, and another one sends its spans."""
    log.create(RUN, {"adapter": "otel"}).append(b"{}")
    for _ in range(2):
        assert send(log, traces(1, 2)).status == 200
    apart = f"{RUN}/received"
    assert len(kept(log, apart)) == 2
    assert len(log.stream(RUN)) == 1
    told = answer(App(log), "GET", f"/v1/traces/{TRACE}")
    assert len(told.body.splitlines()) == 2


def test_a_run_that_was_hidden_begins_anew(log: Log) -> None:
    server = App(log)
    for _ in range(2):
        answer(server, "POST", "/v1/traces", traces(1).SerializeToString(), PROTOBUF)
        assert len(spans(log)) == 1
        log.hide(RUN)
    assert len(list(log.hidden())) == 2


def test_a_token_for_other_streams_is_refused(log: Log) -> None:
    grant = access.Grant("one", (("mine/", frozenset((access.APPEND,))),))
    with pytest.raises(RefusedError):
        arriving.Arrivals(log, "otel/").take_spans(
            message_of(traces(1)), grant.name, lambda name: grant.check(access.APPEND, name)
        )
    assert list(log.streams()) == []


def test_exporters_may_send_again_what_a_broken_store_did_not_keep(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: File) -> None:
        raise transit.SyncFailedError("planted")

    log = transit.open(path, durability="os", settings=QUIET)
    monkeypatch.setattr(File, "sync_data", fail)
    for _ in range(2):
        answered = send(log, traces(1))
        assert answered.status == 503
        assert answered.headers["retry-after"] == "5"
        assert status_of(answered)[0] == 14
    monkeypatch.undo()
    with pytest.raises(transit.PoisonedError):
        log.close()


def test_a_full_disk_is_not_an_end(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: File, position: int, data: bytes) -> None:
        raise transit.StorageFullError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(File, "write_at", fail)
        assert send(log, traces(1)).status == 503
    assert send(log, traces(1)).status == 200
    assert len(spans(log)) == 1


def test_a_store_that_is_read_only_refuses_for_good(path: Path) -> None:
    transit.open(path).close()
    with transit.open(path, mode="read") as log:
        assert send(log, traces(1)).status == 403
