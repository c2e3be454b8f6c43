"""Tables of views over HTTP: at any offset, in pages, with tags, and only to who may read them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

import transit
from tests.server.api.calling import MSGPACK, Reply, Server
from transit import Log, views
from transit.protocol import calls
from transit.server.access import READ, Grant
from transit.server.app import App
from transit.server.settings import ServerSettings
from transit.views.loading import Declared

from .declared import DECLARED, event, runs, tally

ROWS = "/v1/views/tally/tables/runs"
VISITS = "/v1/views/tally/tables/visits"


def all_pages(server: Server, path: str, **query: Any) -> Iterator[Reply]:
    after: dict[str, str] = {}
    for _ in range(1_000):
        reply = server.get(path, **query, **after)
        assert reply.status == 200, reply.body
        yield reply
        if "transit-next" not in reply.headers:
            return
        after = {"after": unquote(reply.headers["transit-next"])}
    raise AssertionError("the pages never end")


def names(reply: Reply) -> list[str]:
    return [row["name"] for row in reply.lines]


def test_views_are_listed_with_their_tables(server: Server) -> None:
    told = server.get("/v1/views").lines
    assert [each["name"] for each in told] == ["tally", "other"]
    one = server.get("/v1/views/tally").value
    assert one == told[0]
    assert one["id"] == tally.spec.id
    table = one["tables"][0]
    assert (table["name"], table["key"], table["index"]) == ("runs", ["name"], [["status"]])
    assert table["columns"] == ["name", "status", "tokens"]
    assert "tokens" in msgspec.json.encode(table["row"]).decode()


@pytest.mark.parametrize("stream", ["runs/task", "runs/retry"])
def test_rows_at_every_offset_are_those_of_the_library(
    server: Server, log: Log, stream: str
) -> None:
    view = views.open(log, tally, persist="ephemeral")
    for at in range(len(log.stream(stream)) + 1):
        reply = server.get(ROWS, stream=stream, at=at)
        state = view.of(stream, at)
        assert reply.headers["transit-offset"] == str(at)
        assert reply.headers["transit-root"] == state.root
        assert [msgspec.convert(row, runs.row.type) for row in reply.lines] == list(state.runs)
    head = server.get(ROWS, stream=stream)
    assert head.headers["transit-offset"] == str(at)
    assert head.body == reply.body


def test_a_key_a_range_and_values_of_fields_choose_rows(server: Server) -> None:
    task = {"stream": "runs/task"}
    assert names(server.get(ROWS, **task, key='"run-1"')) == ["run-1"]
    assert names(server.get(ROWS, **task, key='"no"')) == []
    assert names(server.get(ROWS, **task, start='"run-1"', stop='"run-2"')) == ["run-1"]
    assert names(server.get(ROWS, **task, where={"status": "error"})) == ["run-1"]
    assert names(server.get(ROWS, **task, where={"tokens": 20})) == ["run-0", "run-1", "run-2"]
    assert names(server.get(ROWS, **task, where={"status": "no"})) == []
    visits = server.get(VISITS, **task, start=["run-1"], stop=["run-2"]).lines
    assert [each["number"] for each in visits] == [1, 4]
    assert server.get(VISITS, **task, key=["run-1", 4]).lines == [visits[1]]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"key": "3"}, "JSON of the field's type"), ({"key": "{"}, "JSON"),
        ({"key": '"a"', "where": '{"status":"x"}'}, "one of them"),
        ({"where": '{"no":1}'}, "no field"), ({"where": "[]"}, "where"),
        ({"where": '{"tokens":"x"}'}, "tokens"), ({"where": "{}"}, "no field"),
        ({"after": "x"}, "Transit-Next"), ({"after": "kwA"}, "Transit-Next"),
        ({"limit": "0"}, "limit"), ({"at": "-1"}, "at"), ({"at": "x"}, "at"),
        ({"start": "null"}, "null"), ({"key": '"' + "x" * 10_000 + '"'}, "longer"),
        ({"key": '"' + "x" * 1_000 + '"'}, "at most"), ({"other": "1"}, "unknown field"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(server: Server, query: dict[str, str], said: str) -> None:
    reply = server.get(ROWS, stream="runs/task", **query)
    assert reply.status == 400, reply.body
    assert said in reply.value["detail"]


def test_what_is_not_there_is_not_found(server: Server) -> None:
    for path in ("/v1/views/no", "/v1/views/no/tables/runs", "/v1/views/tally/tables/no"):
        assert (
            server.get(path, **({"stream": "runs/task"} if "tables" in path else {})).status == 404
        )
    assert server.get(ROWS, stream="no").status == 404
    assert server.get(ROWS, stream="runs/task", at=7).status == 400
    assert server.get(f"{ROWS}/more", stream="runs/task").status == 404


@pytest.mark.parametrize("query", [{}, {"where": {"status": "ok"}}, {"where": {"tokens": 10}}])
def test_pages_have_each_row_once_and_are_of_one_state(
    log: Log, server: Server, query: dict[str, Any]
) -> None:
    many = log.create("runs/many")
    many.append_many([event(f"run-{number:04}") for number in range(500)])
    whole = server.get(ROWS, stream="runs/many", limit=10_000, **query).lines
    assert len(whole) == 500
    found: list[Any] = []
    for number, reply in enumerate(all_pages(server, ROWS, stream="runs/many", limit=7, **query)):
        found += reply.lines
        if number == 1:
            many.append(event("run-0490-later"))
    assert found == whole
    small = list(all_pages(server, ROWS, stream="runs/many", at=500, max_bytes=300, **query))
    assert [row for reply in small for row in reply.lines] == whole
    assert all(len(reply.body) <= 300 for reply in small)


def test_a_page_looks_at_a_bounded_count_of_rows(
    log: Log, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transit.server.views.rows.SCAN", 10)
    many = log.create("runs/many")
    many.append_many([event(f"run-{number:04}", tokens=number) for number in range(95)])
    pages = list(all_pages(server, ROWS, stream="runs/many", where={"tokens": 94}))
    assert [len(each.lines) for each in pages] == [0] * 9 + [1]


def test_a_state_that_is_known_is_not_folded_again(
    server: Server, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = server.get(ROWS, stream="runs/task")
    tag = reply.headers["etag"]
    monkeypatch.setattr(
        views.View, "of", lambda *_, **__: (_ for _ in ()).throw(AssertionError("folded"))
    )
    again = server.get(ROWS, {"if-none-match": f'W/"x", {tag}'}, stream="runs/task")
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    monkeypatch.undo()
    log.stream("runs/task").append(event("run-1"))
    later = server.get(ROWS, {"if-none-match": tag}, stream="runs/task")
    assert later.status == 200
    assert later.headers["etag"] != tag
    assert server.get(ROWS, {"if-none-match": tag}, stream="runs/task", at=6).status == 304
    head = {"if-none-match": later.headers["etag"]}
    assert server.get(ROWS, head, stream="runs/task").status == 304
    assert server.get(ROWS, {"if-none-match": tag}, stream="runs/retry").status == 200


def test_rows_in_msgpack_are_the_same(server: Server) -> None:
    reply = server.get(ROWS, {"accept": MSGPACK}, stream="runs/task")
    count = int(reply.headers["transit-count"])
    found = calls.decode_page(reply.body, MSGPACK, dict, count)
    assert found == server.get(ROWS, stream="runs/task").lines


def test_differences_are_those_of_the_library(server: Server, log: Log) -> None:
    view = views.open(log, tally, persist="ephemeral")
    for start, stop, to in ((0, 6, None), (2, 4, None), (6, 6, None), (3, 4, "runs/retry")):
        query = {"stream": "runs/task", "start": start, "stop": stop}
        if to is not None:
            query["to"] = to
        found = server.get("/v1/views/tally/diff", **query).lines
        wanted = view.diff(view.of("runs/task", start), view.of(to or "runs/task", stop))
        assert found == [
            msgspec.json.decode(msgspec.json.encode(each._asdict())) for each in wanted
        ]
    pages = list(all_pages(server, "/v1/views/tally/diff", stream="runs/task", limit=2))
    assert [len(each.lines) for each in pages] == [2, 2, 2, 2, 1]
    whole = server.get("/v1/views/tally/diff", stream="runs/task").lines
    assert [line for each in pages for line in each.lines] == whole


def test_a_view_that_stands_says_where(server: Server, log: Log) -> None:
    log.stream("runs/task").append(b"no event")
    reply = server.get(ROWS, stream="runs/task")
    assert reply.status == 409
    assert (reply.value["error"], reply.value["offset"]) == ("EventError", 6)
    assert reply.value["stream"] == "runs/task"
    assert server.get(ROWS, stream="runs/task", at=6).status == 200
    assert server.get("/v1/views/other/tables/runs", stream="runs/task").status == 200


# Rights


def grant(*prefixes: str) -> Grant:
    return Grant("t", tuple((each, frozenset((READ,))) for each in prefixes))


def test_a_table_needs_the_right_of_its_view_and_of_its_stream(server: Server) -> None:
    app = server.app
    app.granted = grant("$views/tally", "runs/")
    assert [each["name"] for each in server.get("/v1/views").lines] == ["tally"]
    assert server.get(ROWS, stream="runs/task").status == 200
    assert server.get(ROWS, stream="secret/plan").status == 403
    assert server.get(ROWS, stream="secret/no-such").status == 403
    unknown = server.get("/v1/views/nothing", {"x-request-id": "r"}).body
    hidden = server.get("/v1/views/other", {"x-request-id": "r"})
    assert hidden.status == 404
    assert hidden.body == unknown.replace(b"nothing", b"other")
    for path in ("/v1/views/tally/diff",):
        assert server.get(path, stream="runs/task").status == 200
        assert server.get(path, stream="secret/plan").status == 403
        assert server.get(path, stream="runs/task", to="secret/plan").status == 403
    app.granted = grant("runs/")
    assert server.get("/v1/views").lines == []
    assert server.get(ROWS, stream="runs/task").status == 404
    app.granted = grant("$views/tally")
    assert server.get(ROWS, stream="runs/task").status == 403
    app.granted = Grant()
    assert server.get("/v1/views").status == 403


def test_a_tag_is_no_way_around_rights(server: Server) -> None:
    tag = server.get(ROWS, stream="secret/plan").headers["etag"]
    server.app.granted = grant("$views/tally", "runs/")
    assert server.get(ROWS, {"if-none-match": tag}, stream="secret/plan").status == 403


@pytest.mark.parametrize("name", ["a", "face", "tick", "reconcilers", "x/y", "é", "1a", "a b"])
def test_a_name_by_which_a_token_would_reach_more_is_refused(log: Log, name: str) -> None:
    declared = views.reducer(runs, reads=bytes, name=name, code="x")(lambda runs, event, at: None)
    with pytest.raises(transit.InvalidInputError, match="view"):
        App(log, declared=Declared((declared,)))


# Stores that are read, and work that takes long


def test_a_server_that_reads_folds_on_and_writes_nothing(log: Log, tmp_path: Path) -> None:
    view = views.open(log, tally, savepoint_records=3)
    view.save("runs/task")
    log.stream("runs/task").append(event("run-5"))
    before = log.status().head, [stream.name for stream in log.layer("views").streams()]
    with transit.open(tmp_path / "store", mode="read") as reading:
        server = Server(reading, declared=DECLARED)
        try:
            head = server.get(ROWS, stream="runs/task")
            assert names(head) == ["run-0", "run-1", "run-2", "run-5"]
            assert names(server.get(ROWS, stream="runs/task", at=1)) == ["run-0"]
            assert [each["name"] for each in server.get("/v1/reconcilers").lines] == []
        finally:
            server.close()
    assert before == (log.status().head, [stream.name for stream in log.layer("views").streams()])


def test_a_state_that_takes_longer_is_told_so_and_is_there_after_some_asking(log: Log) -> None:
    log.create("runs/long").append_many([event("run-1")] * 100)
    server = Server(log, ServerSettings(view_s=1e-6), DECLARED)
    try:
        view = server.app.views.views.views["tally"]
        view._records_max = 10
        replies = [server.get(ROWS, stream="runs/long") for _ in range(3)]
        assert {reply.status for reply in replies} == {503}
        assert replies[0].headers["retry-after"] == "1"
    finally:
        server.close()


def test_what_nobody_waits_for_any_more_is_folded_no_further(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.create("runs/long").append_many([event("run-1")] * 200)
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    folded: list[int] = []

    @views.reducer(runs, reads=bytes, name="slow", code="slow")
    def slow(runs: Any, data: bytes, at: views.At) -> None:
        begun.set()
        assert go_on.wait(60)
        folded.append(at.offset)

    server = Server(log, declared=Declared((slow,)))
    try:
        server.app.views.views.views["slow"]._records_max = 10
        work, stops = server.app.views.views.state, list[Any]()

        def watched(*given: Any) -> Any:
            stops.append(given[-1])
            try:
                return work(*given)
            finally:
                ended.set()

        monkeypatch.setattr(server.app.views.views, "state", watched)
        asked = server.begin("GET", "/v1/views/slow/tables/runs", query={"stream": "runs/long"})
        assert begun.wait(60)
        asked.cancel()
        while not stops[0].is_set:
            time.sleep(0.001)
        go_on.set()
        assert ended.wait(60)
        assert len(folded) <= 20
    finally:
        go_on.set()
        server.close()
