"""Requests that mean harm, or that broke comparable servers. None is answered by 500."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tests.server.api.calling import JSON, MSGPACK, Server
from transit import Log
from transit.protocol import calls
from transit.server.api.serving import PAGE_MAX
from transit.server.lives import CONTENT_TYPE, DEFAULT_TYPE

SENDER = {"Producer-Id": "p", "Producer-Epoch": "0", "Producer-Seq": "0"}
DEEP = 100_000


@pytest.fixture(autouse=True)
def stream(log: Log) -> None:
    log.create("a").append_many([b"0", b"1"])


def frame(inside: str) -> bytes:
    return b'{"steps":[%s]}' % inside.encode("utf-8", "surrogateescape")


BODIES = {
    "nothing": b"",
    "half": b'{"steps":[',
    "null": b"null",
    "a list": b"[]",
    "nan": frame('{"op":"append","stream":"a","text":"x","timestamp":NaN}'),
    "a byte order mark": b"\xef\xbb\xbf" + frame('{"op":"append","stream":"a","text":"x"}'),
    "no UTF-8": frame('{"op":"append","stream":"a","text":"\udcff"}'),
    "half a character": frame('{"op":"append","stream":"a","text":"\\ud800"}'),
    "a control character": frame('{"op":"append","stream":"a","text":"\n"}'),
    "deep lists": b"[" * DEEP,
    "deep steps": b'{"steps":' + b"[" * DEEP,
    "deep metadata": frame('{"op":"create","name":"x","metadata":{"k":%s}}' % ("[" * DEEP)),
    "metadata that is no scalar": frame('{"op":"create","name":"x","metadata":{"k":[1]}}'),
    "a number that is too large": frame('{"op":"create","name":"x","metadata":{"k":1e400}}'),
    "an offset in text": frame('{"op":"append","stream":"a","text":"x","expect":"1"}'),
    "an offset below 0": frame('{"op":"append","stream":"a","text":"x","expect":-1}'),
    "a huge offset": frame('{"op":"append","stream":"a","text":"x","expect":' + str(2**70) + "}"),
    "a huge time": frame('{"op":"append","stream":"a","text":"x","timestamp":' + str(2**64) + "}"),
    "a huge number": frame('{"op":"create","name":"x","metadata":{"k":' + str(10**400) + "}}"),
    "no base64": frame('{"op":"append","stream":"a","payload":"%"}'),
    "headers that are no text": frame('{"op":"append","stream":"a","text":"x","headers":{"k":1}}'),
    "a name that is too long": frame('{"op":"create","name":"%s"}' % ("x" * 513)),
    "a name that turns text around": frame('{"op":"create","name":"a\u202eb"}'),
    "a parent in pieces": frame('{"op":"merge","name":"m","policy":"append","parents":[["a"]]}'),
    "a parent of itself": frame('{"op":"merge","name":"m","policy":"append","parents":["m","a"]}'),
    "a codec there is not": frame('{"op":"create","name":"x","codec":"pickle"}'),
    "a uid that is none": frame('{"op":"create","name":"x","uid":"../x"}'),
    "a stream by a uid that is none": frame('{"op":"append","stream":"$$..","text":"x"}'),
    "the store's own stream": frame('{"op":"append","stream":"$lineage","text":"x"}'),
    "a long reason": frame('{"op":"finish","stream":"a","reason":"%s"}' % ("é" * 1000)),
    "a long op": frame('{"op":"' + "x" * 100_000 + '"}'),
    "a long field": frame('{"op":"append","' + "x" * 100_000 + '":1}'),
    "a long policy": frame(
        '{"op":"merge","name":"m","policy":"' + "x" * 100_000 + '","parents":["a"]}'
    ),
    "a long codec": frame('{"op":"create","name":"x","codec":"' + "x" * 100_000 + '"}'),
    "a field that is not known": frame('{"op":"append","stream":"a","text":"x","expekt":1}'),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("headers", [{}, SENDER], ids=["plain", "producer"])
def test_a_bad_body_is_refused_and_nothing_is_written(
    server: Server, log: Log, body: bytes, headers: dict[str, str]
) -> None:
    before = log.status().records
    reply = server.call("POST", "/v1/frames", body, {"content-type": JSON, **headers})
    assert reply.status in (400, 403, 404, 414), reply.body
    assert reply.headers["content-type"] == "application/problem+json"
    assert len(reply.body) < 4_000
    assert log.status().records == before


@pytest.mark.parametrize("size", range(0, 60, 3))
def test_msgpack_that_is_cut_short_is_refused(server: Server, log: Log, size: int) -> None:
    step = calls.Append(stream="a", payload=b"x" * 20, headers={"k": "v"})
    body = calls.encode(calls.FrameRequest([step]), MSGPACK)
    reply = server.call("POST", "/v1/frames", body[:size], {"content-type": MSGPACK})
    assert reply.status == 400
    deep = b"\x81\xa5steps" + b"\x91" * DEEP
    assert server.call("POST", "/v1/frames", deep, {"content-type": MSGPACK}).status == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Producer-Id": "p"},
        {"Producer-Id": "p", "Producer-Epoch": "0"},
        {**SENDER, "Producer-Seq": "-1"},
        {**SENDER, "Producer-Seq": "1e3"},
        {**SENDER, "Producer-Seq": "9" * 30},
        {**SENDER, "Producer-Epoch": "٣".encode().decode("latin-1")},
        {**SENDER, "Producer-Id": ""},
        {**SENDER, "Producer-Id": "x" * 257},
        {"Prefer": "durability=always"},
    ],
)
def test_bad_header_fields_are_refused(server: Server, headers: dict[str, str]) -> None:
    reply = server.frame({"op": "append", "stream": "a", "text": "x"}, headers=headers)
    assert reply.status == 400


QUERIES = [
    ("/v1/records/a", "start=-1"),
    ("/v1/records/a", "start=1.5"),
    ("/v1/records/a", "start=%EF%BC%91"),
    ("/v1/records/a", "start=1&start=2"),
    ("/v1/records/a", f"start={2**63}"),
    ("/v1/records/a", "start=9"),
    ("/v1/records/a", "limit=0"),
    ("/v1/records/a", "max_bytes=-1"),
    ("/v1/records/a", "wait=nan"),
    ("/v1/records/a", "wait=inf"),
    ("/v1/records/a", "wait=-1"),
    ("/v1/records/a", "times=x"),
    ("/v1/records/a", f"times={2**64}"),
    ("/v1/records/a", "where=[]"),
    ("/v1/records/a", "where={"),
    ("/v1/records/a", "where=" + "[" * 10_000),
    ("/v1/records/a", 'where={"k":[[]]}'),
    ("/v1/records/a", 'where={"k":"' + "x" * 9_000 + '"}'),
    ("/v1/records/a", "%ff=1"),
    ("/v1/records/%ff", ""),
    ("/v1/records/%00", ""),
    ("/v1/records/$lineage", ""),
    ("/v1/records/$$x", ""),
    ("/v1/records/$$", ""),
    ("/v1/streams", f"limit={PAGE_MAX + 1}"),
    ("/v1/streams", "limit=0"),
    ("/v1/streams", "after=%00"),
    ("/v1/streams", "hidden=maybe"),
    ("/v1/streams", "hidden=true&where={}"),
    ("/v1/streams", "layer=lineage"),
    ("/v1/streams", "layer=../x"),
    ("/v1/streams", "uid=a"),
    ("/v1/streams", 'where={"k":{}}'),
    ("/v1/cursors", "after=/"),
    ("/v1/cursors", "after=" + "0" * 32 + "/c"),
    ("/v1/cursors/a", "cursor="),
    ("/v1/cursors/a", "cursor=%0A"),
    ("/v1/lineage/why", "stream=a&offset=2"),
    ("/v1/lineage/why", "stream=a&offset=-1"),
    ("/v1/lineage/why", "stream=a"),
    ("/v1/lineage/spans", "of=a&at=7"),
    ("/v1/lineage/diff", "a=a"),
    ("/v1/lineage/diff", "a=a&b=a&c=a"),
    ("/v1/store", "x=1"),
]


@pytest.mark.parametrize(("path", "query"), QUERIES)
def test_a_bad_query_is_refused(server: Server, path: str, query: str) -> None:
    reply = server.call("GET", path, raw_query=query)
    assert reply.status in (400, 403, 404, 414), reply.body
    assert len(reply.body) < 4_000


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST"])
def test_a_method_that_a_route_has_not_is_refused(server: Server, method: str) -> None:
    reply = server.call(method, "/v1/records/a")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, OPTIONS")
    assert server.call("GET", "/v1/frames").status == 405
    assert server.call("GET", "/v1/records/").status == 404
    assert server.call("GET", "/v1/nothing").status == 404


def test_an_answer_is_kept_by_no_cache(server: Server) -> None:
    # Clients of electric read on from an answer that a cache had kept: electric 1838, 3782.
    for path in ("/v1/records/a", "/v1/streams", "/v1/status", "/v1/openapi.json", "/v1/none"):
        assert server.get(path).headers.get("cache-control", "no-store") == "no-store"
    assert server.get("/v1/records/a").headers["x-content-type-options"] == "nosniff"


def test_a_head_of_a_read_has_no_body(server: Server) -> None:
    reply = server.call("HEAD", "/v1/records/a")
    assert (reply.status, reply.body, reply.headers["stream-next-offset"]) == (200, b"", "2")
    assert server.call("HEAD", "/v1/changes").body == b""


def test_two_expectations_of_one_frame_are_of_two_moments(server: Server, log: Log) -> None:
    # EventStoreDB wrote both and answered that the second expectation failed: dotnet client 159.
    first = {"op": "append", "stream": "a", "text": "x", "expect": 2}
    assert server.frame(first, first).status == 409
    assert len(log.stream("a")) == 2
    assert server.frame(first, {**first, "expect": 3}).status == 200
    many = {"op": "append_many", "stream": "a", "payloads": ["eA==", "eA=="], "expect": 4}
    assert server.frame(many, {"op": "create", "name": "x"}).status == 200
    assert len(log.stream("a")) == 6


def test_a_retried_request_is_not_judged_by_what_it_expected(server: Server, log: Log) -> None:
    # EventStoreDB wrote it twice where the expectation held again, or told of a conflict: 1898.
    step = {"op": "append", "stream": "a", "text": "x", "expect": 2}
    first = server.frame(step, headers=SENDER)
    log.stream("a").append(b"between")
    again = server.frame(step, headers=SENDER)
    assert again.headers["transit-repeated"] == "true"
    assert again.value["receipts"] == first.value["receipts"]
    overlapping = server.frame(step, {"op": "append", "stream": "a", "text": "y"}, headers=SENDER)
    assert overlapping.status == 422
    assert len(log.stream("a")) == 4


def test_a_retried_create_makes_no_second_stream(server: Server, log: Log) -> None:
    # The token of a request was taken and not looked at: s2 15.
    step = {"op": "create", "name": "x"}
    first = server.frame(step, headers=SENDER)
    log.hide("x")
    again = server.frame(step, headers=SENDER)
    assert again.value["made"][0]["uid"] == first.value["made"][0]["uid"]
    assert "x" not in log


def test_the_last_of_two_equal_keys_counts_for_rights_and_for_writing(
    server: Server, log: Log
) -> None:
    # Kafka's proxy took both: kafka-rest 126. Here what is allowed is what is written.
    log.create("b")
    body = b'{"steps":[{"op":"append","stream":"b","stream":"a","text":"x"}]}'
    assert server.call("POST", "/v1/frames", body, {"content-type": JSON}).status == 200
    assert (len(log.stream("a")), len(log.stream("b"))) == (3, 0)


def test_bytes_that_are_no_text_are_read_by_every_reader(server: Server, log: Log) -> None:
    # A reader of JSON met other bytes, and read no further: kafka-rest 620.
    log.stream("a").append(b"\x00\xff")
    lines = server.get("/v1/records/a").lines
    assert [sorted(each.keys() & {"payload", "payload_base64"}) for each in lines] == [
        ["payload"], ["payload"], ["payload_base64"],
    ]  # fmt: skip


@pytest.mark.parametrize("given", ["text/plain\r\nset-cookie: x", "é/x", "x", "", 7, "a/b;\n"])
def test_a_content_type_that_cannot_be_a_header_field_is_not_sent(
    server: Server, log: Log, given: Any
) -> None:
    step = {"op": "create", "name": "x", "metadata": {CONTENT_TYPE: given}}
    assert server.frame(step).status == 200
    assert server.app.streams.lives.find("x").configuration.content_type == DEFAULT_TYPE


def test_a_lot_of_steps_is_done_in_a_moment(server: Server, log: Log) -> None:
    steps: list[dict[str, Any]] = [{"op": "create", "name": f"s{n}"} for n in range(500)]
    steps += [{"op": "append", "stream": f"s{n}", "text": "x"} for n in range(500)]
    reply = server.call(
        "POST",
        "/v1/frames",
        json.dumps({"steps": steps}).encode(),
        {"content-type": JSON, **SENDER},
    )
    assert reply.status == 200
    assert len(msgspec.json.decode(reply.body)["receipts"]) == 500
