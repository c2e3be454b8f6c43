"""SQL over HTTP: what a client may read, what a query may do, and how much it may take."""

from __future__ import annotations

import http.client
import os
import threading
from collections.abc import Iterator
from concurrent.futures import as_completed
from itertools import islice
from typing import Any

import msgspec
import pytest

from rigs.server.serving import Serving
from tests.server.api.calling import JSON, MSGPACK, Reply, Server
from transit import Log
from transit.protocol.views import ARROW
from transit.server.access import READ, Grant
from transit.server.settings import ServerSettings

from .declared import DECLARED, event

pa = pytest.importorskip("pyarrow")
pytest.importorskip("duckdb")

from transit.views.scans import apart  # noqa: E402 - needs pyarrow

SECRET = b"hidden-run"
COUNT = "SELECT count(*) FROM events"


def ask(server: Server, query: str, headers: dict[str, str] | None = None, **more: Any) -> Reply:
    return server.post("/v1/sql", {"query": query, **more}, headers)


def rows(reply: Reply) -> list[Any]:
    assert reply.status == 200, reply.body
    head, *lines = reply.lines
    assert head["rows"] == len(lines) == int(reply.headers["transit-count"])
    return lines


def told(reply: Reply, status: int = 400) -> str:
    assert reply.status == status, reply.body
    return str(reply.value["detail"])


@pytest.fixture
def reader(server: Server) -> Server:
    """The server, for a client that may read `runs/` and the view `tally`."""
    read = frozenset((READ,))
    server.app.granted = Grant("t", (("runs/", read), ("$views/tally", read)))
    return server


# What it gives


def test_rows_come_with_their_columns_in_three_media_types(server: Server) -> None:
    query = "SELECT _stream, count(*) AS n, min(_time) AS t FROM events GROUP BY 1 ORDER BY 1"
    reply = ask(server, query)
    head = reply.lines[0]
    assert [each["name"] for each in head["columns"]] == ["_stream", "n", "t"]
    assert head["more"] is False
    assert [row[:2] for row in rows(reply)] == [
        ["runs/retry", 4], ["runs/task", 6], ["secret/plan", 1],
    ]  # fmt: skip
    packed = ask(server, query, {"accept": MSGPACK, "content-type": JSON})
    unpacker = msgspec.msgpack.Decoder()
    count = int(packed.headers["transit-count"])
    whole = b"\xdd" + (count + 1).to_bytes(4) + packed.body
    assert [row[:2] for row in unpacker.decode(whole)[1:]] == [r[:2] for r in rows(reply)]
    arrow = ask(server, query, {"accept": ARROW, "content-type": JSON})
    assert arrow.headers["content-type"] == ARROW
    table = pa.ipc.open_stream(arrow.body).read_all()
    assert table["n"].to_pylist() == [4, 6, 1]


def test_values_that_json_has_no_word_for_are_told_all_the_same(server: Server) -> None:
    query = (
        "SELECT 170141183460469231731687303715884105727::HUGEINT, 'a'::BLOB, DATE '2020-01-01',"
        " INTERVAL 1 MONTH, {'a': [1, NULL]}, MAP {'k': 2}, 'nan'::DOUBLE, 1.50::DECIMAL(4,2),"
        " uuid '00000000-0000-0000-0000-000000000001', 1 = 1, NULL"
    )
    ((*values,),) = rows(ask(server, query))
    assert values[0] in (170141183460469231731687303715884105727, str(2**127 - 1))
    assert values[1] == "YQ=="
    assert values[2] == "2020-01-01"
    assert values[4] == {"a": [1, None]}
    assert values[7] == "1.50"
    assert values[9:] == [True, None]


def test_records_streams_times_and_columns_are_chosen(server: Server) -> None:
    tokens = {"run": [["run"], "text"], "tokens": [["tokens"], "int"]}
    query = "SELECT run, sum(tokens) FROM results GROUP BY 1 ORDER BY 1"
    found = rows(ask(server, query, streams=["runs/task"], columns=tokens, table="results"))
    assert found == [["run-0", 20], ["run-1", 20], ["run-2", 20]]
    at = rows(ask(server, query, streams=["runs/task"], columns=tokens, table="results", at=1))
    assert at == [["run-0", 10]]
    assert rows(ask(server, COUNT, streams=["runs/*"], at={"runs/task": 2})) == [[6]]
    assert rows(ask(server, COUNT, at="2100-01-01T00:00:00Z")) == [[11]]
    assert rows(ask(server, COUNT, at="1999-01-01T00:00:00Z")) == [[0]]
    assert rows(ask(server, COUNT, since=0, until=1)) == [[0]]
    both = "SELECT count(event), count(payload) FROM events JOIN records USING (_stream, _offset)"
    assert rows(ask(server, both, columns="runs")) == [[0, 11]]
    last = "SELECT _stream, LAST(payload) FROM events WHERE _stream LIKE 'runs/%' GROUP BY 1"
    assert dict(rows(ask(server, last)))["runs/retry"] == event("run-9", "late", 5).decode()
    for bad in ({"at": "yesterday"}, {"at": "2020-01-01T00:00"}, {"table": "x"}, {"streams": [""]}):
        assert ask(server, COUNT, **bad).status == 400


def test_tables_of_a_view_at_any_offset(server: Server) -> None:
    query = "SELECT name, status, tokens FROM runs WHERE tokens > 5 ORDER BY name"
    found = rows(ask(server, query, view="tally", stream="runs/task"))
    assert found[0] == ["run-0", "ok", 20]
    assert rows(ask(server, query, view="tally", stream="runs/task", at=1)) == [
        ["run-0", "error", 10]
    ]
    joined = "SELECT count(*) FROM runs JOIN visits ON visits.run = runs.name"
    assert rows(ask(server, joined, view="tally", stream="runs/task")) == [[6]]
    assert rows(ask(server, joined + ", events", view="tally", stream="runs/task")) == [[66]]
    assert "go together" in told(ask(server, query, view="tally"))
    assert told(ask(server, query, view="no", stream="runs/task"), 404)
    assert told(ask(server, query, view="tally", stream="runs/task", at="commit:1"))
    clash = ask(server, query, view="tally", stream="runs/task", columns={"a": [["a"], "int"]},
                table="runs")  # fmt: skip
    assert "two tables" in told(clash)


def test_a_limit_cuts_and_limits_of_the_server_refuse(log: Log, server: Server) -> None:
    reply = ask(server, "SELECT range FROM range(50)", limit=10)
    assert (len(rows(reply)), reply.lines[0]["more"]) == (10, True)
    assert reply.headers["transit-more"] == "true"
    assert "more than 20 rows" in told(ask(server, "SELECT * FROM range(21)", rows_max=20))
    small = Server(log, ServerSettings(sql_rows_max=5, sql_bytes_max=1_000), DECLARED)
    try:
        assert "more than 5 rows" in told(ask(small, "SELECT * FROM range(6)", rows_max=100))
        assert "more than 1000 bytes" in told(ask(small, "SELECT repeat('x', 2000)"))
        assert rows(ask(small, "SELECT * FROM range(1000000)", limit=3)) == [[0], [1], [2]]
    finally:
        small.close()


# Who may read what


def test_what_a_client_may_not_read_is_in_no_answer(reader: Server) -> None:
    """Streams without a right have no rows, whatever the query says."""
    queries = [
        "SELECT * FROM events", "SELECT * FROM records", "SELECT LAST(payload) FROM events",
        "SELECT _stream, LAST(payload) FROM events GROUP BY 1",
        "SELECT * FROM events a JOIN events b ON a._offset = b._offset",
        "SELECT * FROM events WHERE _stream IN (SELECT _stream FROM records)",
        "SELECT (SELECT string_agg(payload, '') FROM events)",
        "WITH e AS (SELECT * FROM events) SELECT * FROM e UNION ALL SELECT * FROM records",
        "SUMMARIZE events", "SELECT * FROM events FULL JOIN records USING (_stream, _offset)",
        "SELECT DISTINCT _stream FROM events",
    ]  # fmt: skip
    for query in queries:
        for more in ({}, {"streams": ["*"]}, {"streams": ["*/*", "sec*"]}, {"at": 1}, {"since": 0},
                     {"columns": "runs"}, {"view": "tally", "stream": "runs/task"}):  # fmt: skip
            reply = ask(reader, query, limit=1000, **more)
            # Where columns are declared there may be none of that name.
            assert reply.status == 200 or "columns" in more, (query, more, reply.body)
            assert SECRET not in reply.body
            assert b"secret" not in reply.body
    assert rows(ask(reader, COUNT)) == [[10]]
    assert rows(ask(reader, COUNT, streams=["secret/*"])) == [[0]]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"streams": ["secret/plan"]}, 403), ({"streams": ["runs/task", "secret/plan"]}, 403),
        ({"streams": ["secret/none"]}, 403), ({"streams": ["$lineage"]}, 404),
        ({"streams": ["$views/names"]}, 404), ({"streams": ["runs/none"]}, 404),
        ({"at": {"secret/plan": 1}}, 404), ({"view": "tally", "stream": "secret/plan"}, 403),
        ({"view": "other", "stream": "runs/task"}, 404), ({"at": "commit:0"}, 200),
    ],
)  # fmt: skip
def test_a_name_without_the_right_refuses_the_query(
    reader: Server, more: dict[str, Any], status: int
) -> None:
    assert ask(reader, COUNT, **more).status == status


def test_a_stream_by_its_uid_needs_the_right_too(reader: Server, log: Log) -> None:
    uid = log.stream("secret/plan").uid
    assert ask(reader, COUNT, streams=[f"$${uid}"]).status == 403
    assert rows(ask(reader, COUNT, streams=[f"$${log.stream('runs/task').uid}"])) == [[6]]


def test_a_stream_named_as_a_pattern_tells_nothing(reader: Server, log: Log) -> None:
    log.create("secret/*").append(b"hidden-run")
    assert rows(ask(reader, COUNT, streams=["secret/*"])) == [[0]]
    log.create("runs/*").append(b"x")
    assert rows(ask(reader, COUNT, streams=["runs/*"])) == [[1]]


def test_who_may_read_nothing_asks_nothing(server: Server) -> None:
    server.app.granted = Grant()
    assert ask(server, "SELECT 1").status == 403


# What a query may do


FORBIDDEN = [
    "SELECT * FROM information_schema.tables", "SELECT * FROM duckdb_tables()",
    "SELECT * FROM duckdb_secrets()", "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_functions()", "SELECT * FROM pg_catalog.pg_tables",
    "SELECT * FROM sqlite_master", "SELECT * FROM pragma_database_list", "SHOW TABLES",
    "SHOW ALL TABLES", "PRAGMA database_list", "PRAGMA table_info('events')",
    "COPY events TO '/tmp/x.csv'", "COPY (SELECT 1) TO '/tmp/x'", "ATTACH '/tmp/x.db'",
    "ATTACH ':memory:' AS x", "DETACH memory", "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM read_blob('/etc/*')",
    "SELECT * FROM read_parquet('/x')", "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'", "SELECT * FROM 'https://example.com/x.csv'",
    "SELECT * FROM glob('/*')", "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('/x')", "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('events')", "INSTALL httpfs", "LOAD httpfs",
    "SELECT getenv('HOME')", "SELECT current_setting('secret_directory')",
    "SELECT getvariable('x')", "SELECT write_log('x')", "SELECT nextval('s')",
    "SET threads = 8", "SET enable_external_access = true", "RESET threads",
    "CREATE TABLE x (a INT)", "CREATE SECRET s (TYPE s3)", "INSERT INTO events VALUES (1)",
    "UPDATE events SET payload = ''", "DELETE FROM events", "DROP TABLE events",
    "EXPORT DATABASE '/x'",
    "CALL pragma_version()", "CHECKPOINT", "VACUUM", "EXPLAIN SELECT 1", "SELECT 1; SELECT 2",
    "PREPARE p AS SELECT 1", "EXECUTE p", "SELECT * FROM which_secret('s3://x', 's3')",
    "SELECT * FROM json_execute_serialized_sql('x')", "SELECT json_serialize_plan('SELECT 1')",
    "SELECT * FROM events, LATERAL (SELECT * FROM read_csv('/etc/passwd'))",
    "WITH x AS (SELECT * FROM read_csv('/etc/passwd')) SELECT * FROM x",
    "SELECT (SELECT content FROM read_text('/etc/passwd'))",
    "SELECT * FROM events WHERE payload IN (SELECT content FROM read_text('/etc/passwd'))",
    'SELECT * FROM "events; DROP TABLE x"', "SELECT * FROM events AS OF 1", "", ";", "\x00",
    "SELECT * FROM memory.main.events", "SELECT * FROM system.main.duckdb_tables",
]  # fmt: skip


def test_what_is_no_select_over_the_tables_is_refused(server: Server) -> None:
    # One server for all: each has an engine of its own, which takes long to begin.
    for query in FORBIDDEN:
        reply = ask(server, query)
        assert reply.status == 400, query
        assert "query" in told(reply), query
        assert b"root:" not in reply.body, query


def test_names_with_quotes_and_statements_in_them_are_names(server: Server, log: Log) -> None:
    name = "runs/\"; DROP TABLE events; --'"
    log.create(name).append(event('x"; SELECT 1; --'))
    assert rows(ask(server, COUNT, streams=[name])) == [[1]]
    found = rows(ask(server, "SELECT name FROM runs", view="tally", stream=name))
    assert found == [['x"; SELECT 1; --']]
    for table in ('a"b', "a b", "a;b", "é", "1"):
        reply = ask(server, COUNT, columns={"a": [["a"], "int"]}, table=table)
        assert reply.status == 400
    assert ask(server, COUNT, columns={'a" INT, b': [["a"], "int"]}).status == 400


# How much a query may take


ENDLESS = [
    "WITH RECURSIVE t AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM t) SELECT count(*) FROM t",
    "SELECT count(*) FROM range(1000000000000)",
    # One call of a function, which hears nothing until it has ended.
    "SELECT levenshtein(repeat('a', 1000000), repeat('b', 1000000))",
]


@pytest.fixture
def tight(log: Log) -> Iterator[Server]:
    server = Server(log, ServerSettings(sql_s=2.0, sql_memory_bytes_max=64 << 20), DECLARED)
    yield server
    server.close()


def test_a_query_without_end_is_stopped(tight: Server) -> None:
    assert "takes more than 2.0 s" in told(ask(tight, ENDLESS[0]))
    for query in ENDLESS:
        assert "takes more than 0.5 s" in told(ask(tight, query, seconds_max=0.5))
        # The engine begins anew, which may take longer than that.
        assert rows(again(tight, "SELECT 1")) == [[1]]


def again(server: Server, query: str) -> Reply:
    """The answer to a query that needs little, where the machine is slow too."""
    while (reply := ask(server, query)).status == 400:
        assert "takes more than" in told(reply)
    return reply


def test_a_query_has_so_much_memory_and_the_server_none_of_it(log: Log) -> None:
    server = Server(log, ServerSettings(sql_s=60.0, sql_memory_bytes_max=64 << 20), DECLARED)
    try:
        assert rows(ask(server, "SELECT 1")) == [[1]]
        before = resident()
        for query in (
            "SELECT length(repeat('x', 3000000000))", "SELECT len(range(1000000000))",
            "SELECT count(*) FROM (SELECT * FROM range(100000000) ORDER BY random())",
            "SELECT list(range) FROM range(100000000)",
            "SELECT string_agg(payload, '') FROM events, range(10000000)",
        ):  # fmt: skip
            assert "memory" in told(ask(server, query)), query
        assert resident() - before < 64 << 20
    finally:
        server.close()


def resident() -> int:
    """Bytes of memory that this process has in use."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.slow
def test_a_million_records_are_read_in_bounded_memory(log: Log, server: Server) -> None:
    many = log.create("runs/many")
    for _ in range(20):
        many.append_many([event(f"run-{number}") for number in range(50_000)])
    columns = {"run": [["run"], "text"], "tokens": [["tokens"], "int"]}
    query = "SELECT count(*), count(DISTINCT run), sum(tokens) FROM events"
    before = resident()
    found = ask(server, query, streams=["runs/many"], columns=columns, seconds_max=10)
    if found.status == 400:
        # A slow machine: what was made of the records is kept, and is there the next time.
        assert "takes more than" in told(found)
        return
    assert rows(found) == [[1_000_000, 50_000, 10_000_000]]
    assert resident() - before < 512 << 20
    more = ask(server, "SELECT payload FROM records", streams=["runs/many"])
    assert "more than 100000 rows" in told(more)


def test_a_table_read_too_often_at_once_is_refused(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transit.views.scans.apart.SCANS_MAX", 0)
    assert "too often" in told(ask(server, COUNT))


def watched(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Set when a query was handed to a process, and when that had ended."""
    begun, ended = threading.Event(), threading.Event()
    answered = apart._Process._answered

    def answering(self: Any, *given: Any) -> Any:
        begun.set()
        try:
            return answered(self, *given)
        finally:
            ended.set()

    monkeypatch.setattr(apart._Process, "_answered", answering)
    return begun, ended


def test_a_client_that_goes_ends_its_query(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = watched(monkeypatch)
    asked = server.begin(
        "POST", "/v1/sql", msgspec.json.encode({"query": ENDLESS[1], "seconds_max": 9}),
        {"content-type": JSON},
    )  # fmt: skip
    assert begun.wait(60)
    asked.cancel()
    assert ended.wait(60)
    assert rows(ask(server, "SELECT 1")) == [[1]]
    assert server.app.views.queries._waiting == 0


def test_a_client_that_closes_its_connection_ends_its_query(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a socket: nothing else tells a server that nobody waits any more."""
    begun, ended = watched(monkeypatch)
    serving = Serving(log, ServerSettings(sql_s=3_600.0), declared=DECLARED)
    try:
        connection = http.client.HTTPConnection("127.0.0.1", serving.port)
        body = msgspec.json.encode({"query": ENDLESS[1]})
        connection.request("POST", "/v1/sql", body, {"content-type": JSON})
        assert begun.wait(60)
        connection.close()
        assert ended.wait(60)
    finally:
        serving.close()


def test_queries_wait_for_their_turn_and_too_many_are_refused(log: Log) -> None:
    settings = ServerSettings(sql_queries_max=1, sql_waiting_max=2, sql_s=600.0)
    server = Server(log, settings, DECLARED)
    try:
        body = msgspec.json.encode({"query": ENDLESS[1]})
        asked = [server.begin("POST", "/v1/sql", body, {"content-type": JSON}) for _ in range(4)]
        # None of them ends by itself: the first to be answered are those that found no place.
        refused = list(islice(as_completed(asked, 120), 2))
        assert [each.result().status for each in refused] == [503, 503]
        for each in asked:
            each.cancel()
        # One that waited has its place now.
        assert rows(ask(server, "SELECT 1")) == [[1]]
    finally:
        server.close()


def test_a_process_that_dies_is_told_and_replaced(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rows(ask(server, "SELECT 1")) == [[1]]
    room = server.app.views.queries._apart
    assert room is not None
    (process,) = room._idle
    process._process.kill()
    process._process.wait()
    assert rows(ask(server, "SELECT 2")) == [[2]]
    answered = apart._Process._answered

    def dying(self: Any, *given: Any) -> Any:
        self._process.kill()
        return answered(self, *given)

    monkeypatch.setattr(apart._Process, "_answered", dying)
    assert "memory" in told(ask(server, "SELECT 3"))
    monkeypatch.undo()
    assert rows(ask(server, "SELECT 4")) == [[4]]


def test_a_process_has_nothing_of_the_servers(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden-run")
    assert rows(ask(server, "SELECT 1")) == [[1]]
    room = server.app.views.queries._apart
    assert room is not None
    pid = room._idle[0]._process.pid
    with open(f"/proc/{pid}/environ", "rb") as file:
        assert SECRET not in file.read()
    opened = {os.readlink(f"/proc/{pid}/fd/{each}") for each in os.listdir(f"/proc/{pid}/fd")}
    assert not any(str(server.log.path) in each for each in opened)


def test_a_server_can_answer_no_sql(log: Log) -> None:
    server = Server(log, ServerSettings(sql=False))
    try:
        assert ask(server, "SELECT 1").status == 501
    finally:
        server.close()
