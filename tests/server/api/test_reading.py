"""Records, listings, cursors and lineage, against what the engine itself says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

from tests.server.api.calling import MSGPACK, Reply, Server
from transit import Log, Position
from transit.protocol import calls
from transit.protocol.lines import decode_record
from transit.server.access import APPEND, READ, Grant
from transit.server.api import records
from transit.server.settings import ServerSettings


def pages(server: Server, path: str, key: str, **query: Any) -> Iterator[Reply]:
    """All pages, each asked for as the one before says."""
    reply = server.get(path, **query)
    yield reply
    while (after := reply.headers.get("transit-next")) is not None:
        reply = server.get(path, **query, **{key: unquote(after)})
        yield reply


@pytest.fixture
def history(log: Log) -> Log:
    """A stream `a`, a branch `b` at 1, their merge `m`; a cursor on `a`."""
    a = log.create("a", {"kind": "main", "n": 1})
    a.append_many([b"0", b"1", b"2"], headers=[{"k": "x"}, {"k": "y"}, None])
    b = log.stream("a").branch("b", 1)
    b.append(b"\xff")
    log.merge("m", ["a", "b"], policy="append")
    log.layer("room").create("hid")
    log.stream("a").cursor("c").advance(2, state=b"here")
    return log


def test_records_are_told_with_all_that_the_engine_knows(server: Server, history: Log) -> None:
    reply = server.get("/v1/records/m")
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.headers["transit-next"] == reply.headers["stream-next-offset"] == "4"
    told = [decode_record(line) for line in reply.body.splitlines()]
    for line, record in zip(told, history.stream("m"), strict=True):
        assert line.data == record.payload
        assert (line.offset, line.timestamp) == (record.offset, record.timestamp)
        assert line.origin is not None
        assert Position(line.origin.stream, line.origin.offset) == record.origin
        assert line.headers == record.headers


def test_records_in_msgpack_are_the_same(server: Server, history: Log) -> None:
    reply = server.get("/v1/records/m", {"accept": MSGPACK})
    count = int(reply.headers["transit-count"])
    told = calls.decode_page(reply.body, MSGPACK, calls.RecordData, count)
    assert [each.payload for each in told] == [each.payload for each in history.stream("m")]


@pytest.mark.parametrize("query", [{"limit": 1}, {"max_bytes": 1}, {"max_bytes": 150}])
def test_pages_of_records_hold_one_at_least_and_all_in_the_end(
    server: Server, history: Log, query: dict[str, int]
) -> None:
    start, found = 0, []
    while start < 4:
        reply = server.get("/v1/records/m", start=start, **query)
        assert reply.lines
        found += [each["offset"] for each in reply.lines]
        start = int(reply.headers["transit-next"])
    assert found == [0, 1, 2, 3]


def test_records_are_picked_by_headers(
    server: Server, history: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = server.get("/v1/records/a", where={"k": ["x", "y"]})
    assert [each["offset"] for each in reply.lines] == [0, 1]
    assert reply.headers["transit-next"] == "3"
    monkeypatch.setattr(records, "SCAN", 1)
    reply = server.get("/v1/records/a", start=2, where={"k": "x"})
    assert (reply.lines, reply.headers["transit-next"]) == ([], "3")


def test_a_range_ends_where_it_is_asked_to(server: Server, history: Log) -> None:
    reply = server.get("/v1/records/a", start=1, stop=2)
    assert [each["offset"] for each in reply.lines] == [1]
    assert server.get("/v1/records/a", start=3).lines == []
    assert server.get("/v1/records/a", start=2, stop=1).lines == []
    assert server.get("/v1/records/a", start=4).value["error"] == "OffsetError"
    assert server.get("/v1/records/a", times=0).value == {"offset": 0}
    assert server.get("/v1/records/a", times=2**62).value == {"offset": 3}


def test_a_read_that_waits_is_answered_by_the_next_record(server: Server, history: Log) -> None:
    waiting = server.begin("GET", "/v1/records/a", query={"start": 3, "wait": 30})
    server.frame({"op": "append", "stream": "a", "text": "more"})
    reply = waiting.result(60)
    assert [each["payload"] for each in reply.lines] == ["more"]
    assert "stream-closed" not in reply.headers


def test_a_read_that_waits_ends_when_the_stream_is_finished(server: Server, history: Log) -> None:
    waiting = server.begin("GET", "/v1/records/a", query={"start": 3, "wait": 30})
    server.frame({"op": "finish", "stream": "a"})
    reply = waiting.result(60)
    assert (reply.lines, reply.headers["stream-closed"]) == ([], "true")
    assert "stream-closed" not in server.get("/v1/records/a", limit=1).headers


def test_a_read_that_waits_ends_when_its_time_or_the_server_does(log: Log) -> None:
    log.create("a")
    server = Server(log, ServerSettings(long_poll_s=0.01))
    assert server.get("/v1/records/a", wait=3600).lines == []
    server.close()
    server = Server(log)
    waiting = server.begin("GET", "/v1/records/a", query={"wait": 3600})
    while not server.app.streams.tails.count:
        pass
    server.loop.call_soon_threadsafe(server.app.end)
    assert waiting.result(60).lines == []
    assert server.get("/v1/records/a", wait=1).status == 503
    server.close()


def test_streams_come_in_pages(server: Server, history: Log) -> None:
    names = [each["name"] for reply in pages(server, "/v1/streams", "after", limit=1)
             for each in reply.lines]  # fmt: skip
    assert names == ["a", "b", "m"]
    assert [each["name"] for each in server.get("/v1/streams", after="b").lines] == ["m"]
    assert [each["name"] for each in server.get("/v1/streams", layer="room").lines] == ["$room/hid"]
    where = server.get("/v1/streams", where={"n": 1, "kind": "main"}).lines
    assert [each["name"] for each in where] == ["a"]
    packed = server.get("/v1/streams", {"accept": MSGPACK})
    count = int(packed.headers["transit-count"])
    told = calls.decode_page(packed.body, MSGPACK, calls.Description, count)
    assert [each.name for each in told] == names


def test_hidden_streams_are_listed_when_asked_for(server: Server, history: Log) -> None:
    for _ in range(3):
        history.create("h")
        history.hide("h")
    found = [each for reply in pages(server, "/v1/streams", "after", limit=1, hidden="true")
             for each in reply.lines]  # fmt: skip
    assert [each["name"] for each in found] == ["h"] * 3
    assert server.get("/v1/streams", uid=found[1]["uid"]).value["id"] == found[1]["id"]
    assert server.get("/v1/streams/h").status == 404


def test_a_description_says_what_the_stream_says(server: Server, history: Log) -> None:
    told = server.get("/v1/streams/m", {"accept": MSGPACK})
    shown = calls.decode(told.body, MSGPACK, calls.Description)
    stream = history.stream("m")
    for name in calls.Description.__struct_fields__:
        assert getattr(shown, name) == getattr(stream, name), name
    assert server.get("/v1/streams", uid=stream.uid).value["name"] == "m"


def test_names_of_any_kind_are_found(server: Server, log: Log) -> None:
    for name in ("a/b c", "é", "e\u0301", "..", "a//b", "%41", "?x=1", "$room/é", "{name}"):
        steps = [{"op": "create", "name": name}, {"op": "append", "stream": name, "text": name}]
        assert server.frame(*steps).status == 200
        uid = log.stream(name).uid
        assert server.get("/v1/records/$$" + uid).lines[0]["payload"] == name
        if "%" not in name:
            assert server.get("/v1/streams/" + name).value["uid"] == uid


def test_cursors_come_in_pages(server: Server, history: Log) -> None:
    for name in ("é/1", "d"):
        history.stream("b").cursor(name).advance(1)
    found = [each for reply in pages(server, "/v1/cursors", "after", limit=1)
             for each in reply.lines]  # fmt: skip
    assert [(each["stream"], each["name"]) for each in found] == [
        ("a", "c"), ("b", "é/1"), ("b", "d"),
    ]  # fmt: skip
    assert found[0] == {"name": "c", "stream": "a", "position": 2, "lag": 1, "state": "aGVyZQ=="}
    assert server.get("/v1/cursors/a", cursor="c").value == found[0]
    assert server.get("/v1/cursors/a", cursor="new").value["position"] == 0
    of_b = [each["name"] for reply in pages(server, "/v1/cursors/b", "after", limit=1)
            for each in reply.lines]  # fmt: skip
    assert of_b == ["é/1", "d"]
    assert server.get("/v1/cursors", after="nothing").status == 400


@pytest.mark.parametrize(
    ("path", "query", "asked"),
    [
        ("spans", {"of": "m"}, lambda log: log.lineage.spans("m")),
        ("spans", {"of": "m", "at": 2}, lambda log: log.lineage.spans(Position("m", 2))),
        ("merge-bases", {"a": "a", "b": "b"}, lambda log: log.lineage.merge_bases("a", "b")),
        ("diff", {"a": "a", "b": "b"}, lambda log: log.lineage.diff("a", "b")),
        ("why", {"stream": "m", "offset": 3}, lambda log: log.lineage.why(Position("m", 3))),
        ("graph", {}, lambda log: log.lineage.graph()),
    ],
)
def test_lineage_is_told_as_the_engine_tells_it(
    server: Server, history: Log, path: str, query: dict[str, Any], asked: Any
) -> None:
    told = server.get("/v1/lineage/" + path, **query)
    assert told.value == msgspec.json.decode(msgspec.json.encode(asked(history)))


def test_relatives_are_told_by_their_descriptions(server: Server, history: Log) -> None:
    def names(path: str, **query: Any) -> list[str]:
        return [each["name"] for each in server.get("/v1/lineage/" + path, **query).value]

    assert names("parents", of="m") == ["a", "b"]
    assert names("ancestors", of="b") == ["a"]
    assert names("children", of="a") == ["b", "m"]
    assert names("children", of="a", at=2) == ["m"]
    history.hide("b")
    assert names("children", of="a") == ["m"]
    assert names("children", of="a", hidden="true") == ["b", "m"]
    assert server.get("/v1/lineage/is-ancestor", a="a", a_at=0, b="m").value == {
        "is_ancestor": True
    }


def test_a_plan_is_what_the_merge_will_be(server: Server, history: Log) -> None:
    asked = {"parents": ["a", ["b", 2]], "policy": "append"}
    told = server.post("/v1/plan", asked).value
    expected = history.plan(["a", Position("b", 2)], policy="append")
    assert told == msgspec.json.decode(msgspec.json.encode(expected))
    assert server.post("/v1/plan", {**asked, "base": ["nobody", 1]}).status == 404


def test_a_token_sees_what_it_may_read(server: Server, history: Log) -> None:
    server.app.granted = Grant("t", (("b", frozenset({READ})), ("w", frozenset({APPEND}))))
    assert [each["name"] for each in server.get("/v1/streams").lines] == ["b"]
    assert server.get("/v1/cursors").lines == []
    assert server.get("/v1/lineage/parents", of="b").value == []
    graph = server.get("/v1/lineage/graph").value
    assert [each["name"] for each in graph["nodes"]] == ["b"]
    assert graph["edges"] == []
    uid = history.stream("a").uid
    for path, query in (
        ("/v1/records/a", {}),
        ("/v1/records/$$" + uid, {}),
        ("/v1/streams/a", {}),
        ("/v1/streams", {"uid": uid}),
        ("/v1/streams", {"after": "a"}),
        ("/v1/cursors/a", {}),
        ("/v1/cursors", {"after": uid + "/c"}),
        ("/v1/lineage/diff", {"a": "b", "b": "a"}),
        ("/v1/lineage/why", {"stream": "m", "offset": 0}),
    ):
        assert server.get(path, **query).status == 403, path
    assert server.post("/v1/plan", {"parents": ["b", "a"], "policy": "append"}).status == 403
    for path in ("sync", "seal", "publish", "verify"):
        assert server.post("/v1/" + path).status == 403
    server.app.granted = Grant("w", (("w", frozenset({APPEND})),))
    assert server.get("/v1/status").status == server.get("/v1/store").status == 403
