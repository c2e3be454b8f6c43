"""Steps that are written as one frame."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from tests.server.api.calling import JSON, MSGPACK, Server
from transit import Log
from transit.protocol import calls
from transit.server.access import APPEND, READ, Grant
from transit.server.settings import ServerSettings


def create(name: str, **more: Any) -> dict[str, Any]:
    return {"op": "create", "name": name, **more}


def append(stream: str, text: str, **more: Any) -> dict[str, Any]:
    return {"op": "append", "stream": stream, "text": text, **more}


def uid_of(server: Server, name: str) -> str:
    uid: str = server.get("/v1/streams/" + name).value["uid"]
    return "$$" + uid


def test_one_frame_makes_a_stream_and_appends_to_it(server: Server, log: Log) -> None:
    reply = server.frame(
        create("a", metadata={"n": 1}, codec="json"),
        append("a", "1", headers={"k": "v"}, timestamp=5, expect=0),
        {"op": "append_many", "stream": "a", "payloads": ["Mg==", "Mw=="], "timestamps": [6, 7],
         "headers": [None, {"x": "y"}], "expect": 1},
    )  # fmt: skip
    assert reply.status == 200
    assert reply.headers["transit-durability"] == "os"
    assert reply.value["receipts"] == [
        {"stream": "a", "offset": 0, "timestamp": 5, "count": 1},
        {"stream": "a", "offset": 1, "timestamp": 7, "count": 2},
    ]
    (made,) = reply.value["made"]
    assert (made["name"], made["next_offset"], made["codec"]) == ("a", 3, "json")
    assert [each.payload for each in log.stream("a")] == [b"1", b"2", b"3"]
    assert [dict(each.headers) for each in log.stream("a")] == [{"k": "v"}, {}, {"x": "y"}]


def test_every_step_is_done_as_in_the_engine(server: Server, log: Log) -> None:
    made = server.frame(
        create("a"),
        append("a", "1"),
        append("a", "2"),
        {"op": "branch", "stream": "a", "name": "b", "at": 0},
        {"op": "branch", "stream": "a", "name": "none", "empty": True},
        append("b", "3"),
        {"op": "merge", "name": "m", "parents": ["a", ["b", 1]], "policy": "append",
         "base": ["a", 0], "merge_id": "one", "metadata": {"why": "test"}},
        {"op": "finish", "stream": "b", "reason": "done"},
        create("$room/x", derived=True),
    ).value["made"]  # fmt: skip
    assert [each["name"] for each in made] == ["a", "b", "none", "m", "$room/x"]
    assert [each["next_offset"] for each in made] == [2, 2, 0, 3, 0]
    assert log.stream("b").finished
    assert log.stream("$room/x").metadata == {"derived": True}
    assert [each.payload for each in log.stream("m")] == [b"1", b"2", b"3"]
    moved = server.frame(
        {"op": "advance", "stream": "a", "cursor": "c", "position": 2, "state": "eA=="}
    )
    assert moved.value["cursors"] == [{"stream": "a", "cursor": "c", "position": 2}]
    assert log.stream("a").cursor("c").state == b"x"
    uid = uid_of(server, "a")
    assert server.frame({"op": "hide", "stream": "a"}, create("a")).status == 200
    assert server.frame({"op": "hide", "stream": "a"}).status == 200
    assert server.frame({"op": "show", "stream": uid}).status == 200
    assert "$$" + log.stream("a").uid == uid


def test_a_frame_of_which_one_step_fails_writes_nothing(server: Server, log: Log) -> None:
    server.frame(create("a"))
    before = log.status().records
    for last in (append("a", "x", expect=7), append("none", "x"), create("a"), create("")):
        assert server.frame(create("b"), append("b", "1"), last).status in (400, 404, 409)
    assert log.status().records == before
    assert "b" not in log


@pytest.mark.parametrize(
    ("steps", "status", "error"),
    [
        ([append("a", "x", expect=1)], 409, "ConflictError"),
        ([append("nobody", "x")], 404, "NotFoundError"),
        ([create("a")], 409, "AlreadyExistsError"),
        ([append("f", "x")], 409, "StreamFinishedError"),
        ([{"op": "branch", "stream": "a", "name": "b", "at": 9}], 400, "OffsetError"),
        ([{"op": "merge", "name": "m", "parents": ["a", "f"], "policy": "no"}], 404,
         "NotFoundError"),
        ([{"op": "append", "stream": "a"}], 400, "InvalidInputError"),
        ([{"op": "append", "stream": "a", "text": "x", "payload": "eA=="}], 400,
         "InvalidInputError"),
        ([{"op": "append_many", "stream": "a", "payloads": []}], 400, "InvalidInputError"),
        ([{"op": "fly"}], 400, "InvalidInputError"),
        ([create("a\n")], 400, "InvalidInputError"),
        ([create("x", derived=True)], 400, "InvalidInputError"),
        ([create("$cursors/1/x")], 400, "InvalidInputError"),
        ([create("x"), {"op": "advance", "stream": "x", "cursor": "c", "position": 0}], 400,
         "InvalidInputError"),
        ([], 400, "InvalidInputError"),
        ([append("a", "x")] * (calls.STEPS_MAX + 1), 400, "InvalidInputError"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_told_as_the_engine_tells_it(
    server: Server, steps: list[dict[str, Any]], status: int, error: str
) -> None:
    server.frame(create("a"), create("f"), {"op": "finish", "stream": "f"})
    reply = server.frame(*steps, headers={"x-request-id": "mine"})
    assert (reply.status, reply.value["error"]) == (status, error)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-request-id"] == reply.value["request_id"] == "mine"


def test_a_frame_in_msgpack_is_the_same_frame(server: Server) -> None:
    frame = calls.FrameRequest([calls.Create(name="a"), calls.Append(stream="a", payload=b"\xff")])
    headers = {"content-type": MSGPACK, "accept": MSGPACK}
    reply = server.call("POST", "/v1/frames", calls.encode(frame, MSGPACK), headers)
    answer = calls.decode(reply.body, MSGPACK, calls.FrameAnswer)
    assert answer.made[0].name == "a"
    line = server.get("/v1/records/a").lines[0]
    assert base64.b64decode(line["payload_base64"]) == b"\xff"


@pytest.mark.parametrize("given", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_that_a_page_of_another_site_can_send_is_refused(server: Server, given: str) -> None:
    body = msgspec.json.encode({"steps": [create("a")]})
    assert server.call("POST", "/v1/frames", body, {"content-type": given}).status == 415
    packed = {"content-type": JSON, "content-encoding": "gzip"}
    assert server.call("POST", "/v1/frames", body, packed).status == 415


def test_the_durability_asked_for_is_reached_and_named(server: Server) -> None:
    server.frame(create("a"))
    asked = {"prefer": "durability=local"}
    assert server.frame(append("a", "1"), headers=asked).headers["transit-durability"] == "local"
    reply = server.frame(append("a", "1"), headers=asked, durability="os")
    assert reply.value["durability"] == "os"
    assert server.frame(append("a", "1"), durability="memory").value["durability"] == "os"


def test_what_cannot_be_reached_is_refused_before_anything_is_written(
    server: Server, log: Log
) -> None:
    server.frame(create("a"))
    assert server.frame(append("a", "1"), durability="tiered").status == 400
    assert server.frame(append("a", "1"), headers={"prefer": "durability=moon"}).status == 400
    assert len(log.stream("a")) == 0


def test_every_record_of_a_token_has_its_name(server: Server, log: Log) -> None:
    server.app.granted = Grant("ci", (("", frozenset({APPEND, READ})),))
    server.frame(create("a"), append("a", "1"))
    server.frame(append("a", "2"))
    server.frame({"op": "append_many", "stream": "a", "payloads": ["Mw=="]})
    assert [each.writer for each in log.stream("a")] == ["ci"] * 3


@pytest.mark.parametrize(
    "step",
    [
        create("other/x"),
        append("other/a", "x"),
        {"op": "append_many", "stream": "other/a", "payloads": ["eA=="]},
        {"op": "branch", "stream": "mine/a", "name": "mine/b"},
        {"op": "branch", "stream": "other/a", "name": "mine/b"},
        {"op": "merge", "name": "mine/m", "parents": ["mine/a", "mine/c"], "policy": "append"},
        {"op": "finish", "stream": "other/a"},
        {"op": "hide", "stream": "other/a"},
        {"op": "show", "stream": "other/a"},
        {"op": "advance", "stream": "other/a", "cursor": "c", "position": 0},
        create("$trace/x"),
        append("uid", "x"),
    ],
)
def test_a_step_that_the_token_does_not_allow_is_refused_whatever_the_others(
    server: Server, log: Log, step: dict[str, Any]
) -> None:
    server.frame(create("mine/a"), create("mine/c"), create("other/a"))
    if step.get("stream") == "uid":
        step = {**step, "stream": uid_of(server, "other/a")}
    before = log.status().records
    server.app.granted = Grant("t", (("mine/", frozenset({APPEND, READ})),))
    assert server.frame(append("mine/a", "1"), step).status == 403
    assert log.status().records == before


def test_nobody_writes_what_the_server_remembers(server: Server) -> None:
    for step in (create("$server/frames/00"), append("$server/frames/00", "x")):
        assert server.frame(step).status == 403


def test_a_frame_too_large_for_the_loop_is_written_in_a_thread(server: Server, log: Log) -> None:
    server.frame(create("a"))
    payloads = [base64.b64encode(b"%d" % n).decode() for n in range(2_000)]
    reply = server.frame({"op": "append_many", "stream": "a", "payloads": payloads}, create("b"))
    assert reply.value["receipts"][0]["count"] == len(log.stream("a")) == 2_000


def test_a_body_over_the_limit_is_refused(log: Log) -> None:
    server = Server(log, ServerSettings(body_bytes_max=1_000))
    try:
        assert server.frame(create("a", metadata={"x": "y" * 2_000})).status == 413
    finally:
        server.close()


def test_a_uid_names_its_stream_when_the_name_is_anothers(server: Server, log: Log) -> None:
    server.frame(create("a"), append("a", "old"))
    uid = uid_of(server, "a")
    server.frame({"op": "hide", "stream": "a"}, create("a"))
    assert server.frame(append(uid, "more")).status == 200
    assert server.frame({"op": "branch", "stream": uid, "name": "b"}).status == 200
    assert [each["payload"] for each in server.get("/v1/records/" + uid).lines] == ["old", "more"]
    assert len(log.stream("a")) == 0
    assert len(log.stream("b")) == 2


def test_a_hidden_stream_is_gone_from_the_protocol_too(server: Server, log: Log) -> None:
    server.frame(create("a"), append("a", "1"), {"op": "branch", "stream": "a", "name": "b"})
    lives = server.app.streams.lives
    assert lives.find("a").stream.name == "a"
    server.frame({"op": "hide", "stream": "a"})
    assert lives.is_gone("a")
