"""Tools of views, SQL and reconcilers, asked by the package's own client."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.shared.exceptions import MCPError

import transit
from tests.server.views.declared import DECLARED, count, event, fill
from transit import Log, views
from transit.server.access import ADMIN, EVERYTHING, READ, Grant
from transit.server.mcp.arguments import ANSWER_BYTES
from transit.server.mcp.calling import Room, found_in
from transit.server.mcp.serving import make_server
from transit.server.mcp.tools import OF_VIEWS
from transit.server.service import Service
from transit.server.settings import ServerSettings
from transit.server.views.room import ViewRoom

from .clients import ask, child, refused, run

_READ = frozenset((READ,))
SOME = Grant("some", (("runs/", _READ), ("$views/tally", _READ), ("$views/reconcilers/", _READ)))


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with transit.open(tmp_path / "store", durability="os") as log:
        fill(log)
        with views.runner(log, [count]) as runner:
            for _ in range(3):
                runner.tick("count")
        yield log


@contextlib.asynccontextmanager
async def client_of(log: Log, grant: Grant = EVERYTHING) -> AsyncIterator[Client]:
    service = Service(log, ServerSettings())
    room = ViewRoom(service, DECLARED)
    try:
        async with Client(make_server(Room(service, found_in(log), room), grant)) as client:
            yield client
    finally:
        await asyncio.to_thread(room.close)
        service.close()


def test_tools_are_there_where_there_is_something_to_ask(log: Log) -> None:
    async def names(grant: Grant) -> set[str]:
        async with client_of(log, grant) as client:
            tools = (await client.list_tools()).tools
            for tool in tools:
                assert tool.input_schema["additionalProperties"] is False
                assert "$ref" not in json.dumps(tool.input_schema)
                assert "UNTRUSTED" in (tool.description or "")
            return {tool.name for tool in tools}

    async def work() -> None:
        own = {"list_views", "read_table", "list_reconcilers", "tell_reconciler"}
        assert own <= await names(EVERYTHING)
        assert await names(SOME) & own == own - {"tell_reconciler"}
        assert not await names(Grant("r", (("runs/", _READ),))) & own
        assert not await names(Grant())

    run(work())


def test_an_argument_that_is_not_known_is_refused(log: Log) -> None:
    async def work() -> None:
        async with client_of(log) as client:
            for tool in OF_VIEWS:
                message = await refused(client, tool, bogus=1)
                assert "unknown field `bogus`" in message
                assert "the arguments are: " in message

    run(work())


def test_a_table_is_read_at_any_offset_in_bounded_pages(log: Log) -> None:
    long = "x" * 100
    log.create("runs/many").append_many([event(f"run-{n:04}-{long}") for n in range(300)])

    async def work() -> None:
        async with client_of(log, SOME) as client:
            listed = await ask(client, "list_views")
            assert [each["view"] for each in listed["views"]] == ["tally"]
            assert listed["views"][0]["tables"][1]["key"] == ["run", "number"]
            given = {"view": "tally", "table": "runs", "stream": "runs/task"}
            first = await ask(client, "read_table", **given, at=1)
            assert first["rows"] == [{"name": "run-0", "status": "error", "tokens": 10}]
            assert (first["at"], first["count"]) == (1, 1)
            one = await ask(client, "read_table", **given, key=["run-1"])
            assert [row["name"] for row in one["rows"]] == ["run-1"]
            some = await ask(client, "read_table", **given, where={"status": "error"})
            assert [row["name"] for row in some["rows"]] == ["run-1"]
            visit = await ask(
                client, "read_table", **{**given, "table": "visits"}, key=["run-1", 4]
            )
            assert visit["rows"] == [{"run": "run-1", "number": 4, "offset": 4}]
            found, more = [], {}
            many = {**given, "stream": "runs/many", "limit": 100}
            while True:
                page = await ask(client, "read_table", **{**many, **more})
                assert len(json.dumps(page, separators=(",", ":")).encode()) <= ANSWER_BYTES
                found += page["rows"]
                if page["next"] is None:
                    break
                more = page["next"]
            assert len({row["name"] for row in found}) == len(found) == 300
            assert "no table" in await refused(client, "read_table", **{**given, "table": "no"})
            hidden = {**given, "stream": "secret/plan"}
            assert "not allow" in await refused(client, "read_table", **hidden)
            other = {**given, "view": "other"}
            assert "no view" in await refused(client, "read_table", **other)
            assert "unknown" in await refused(client, "read_table", **given, more=1)

    run(work())


def test_sql_sees_what_the_caller_may_read(log: Log) -> None:
    pytest.importorskip("duckdb")

    async def work() -> None:
        async with client_of(log, SOME) as client:
            query = "SELECT _stream, count(*) AS n FROM events GROUP BY 1 ORDER BY 1"
            answer = await ask(client, "sql", query=query)
            assert answer["columns"] == ["_stream", "n"]
            assert answer["rows"] == [
                {"_stream": "runs/retry", "n": 4}, {"_stream": "runs/task", "n": 6},
            ]  # fmt: skip
            assert answer["next"] is None
            pages = await ask(client, "sql", query="SELECT range FROM range(50)", limit=10)
            assert pages["next"] == {"skip": 10}
            again = await ask(client, "sql", query="SELECT range FROM range(50)", skip=45)
            assert [row["range"] for row in again["rows"]] == [45, 46, 47, 48, 49]
            assert again["next"] is None
            long = await ask(client, "sql", query="SELECT repeat('x', 100000) AS x, 1 AS x")
            assert long["truncated"]
            assert long["columns"] == ["x", "x_2"]
            state = await ask(
                client, "sql", query="SELECT count(*) AS n FROM runs", view="tally",
                stream="runs/retry",
            )  # fmt: skip
            assert state["rows"] == [{"n": 4}]
            for bad in ("DROP TABLE events", "SELECT * FROM '/etc/passwd'"):
                assert "InvalidInputError" in await refused(client, "sql", query=bad)
            named = await refused(client, "sql", query="SELECT 1", streams=["secret/plan"])
            assert "not allow" in named

    run(work())


def test_reconcilers_are_read_and_told(log: Log) -> None:
    async def work() -> None:
        async with client_of(log) as client:
            listed = await ask(client, "list_reconcilers")
            assert [each["name"] for each in listed["reconcilers"]] == ["count"]
            one = await ask(client, "list_reconcilers", name="count", limit=2)
            assert [each["n"] for each in one["ticks"]] == [2, 1]
            assert one["ticks"][0]["lines"] == ["info: there are 3 streams"]
            assert one["next"] == {"skip": 2}
            told = await ask(client, "tell_reconciler", name="count", action="disable")
            assert told["action"] == "disable"
            assert not views.reconcilers(log).list()[0].enabled
            asked = await ask(client, "tell_reconciler", name="count", action="tick")
            assert isinstance(asked["number"], int)
            wrong = await refused(client, "tell_reconciler", name="count", action="delete")
            assert "delete" in wrong
            assert "no reconciler" in await refused(client, "list_reconcilers", name="no")
        async with client_of(log, SOME) as client:
            with pytest.raises(MCPError, match="Unknown tool"):
                await client.call_tool("tell_reconciler", {"name": "count", "action": "tick"})
            # Of ticks it has no right.
            assert "no reconciler" in await refused(client, "list_reconcilers", name="count")
        both = Grant("a", (("$views/reconcilers/other", frozenset((READ, ADMIN))),))
        async with client_of(log, both) as client:
            refusal = await refused(client, "tell_reconciler", name="count", action="tick")
            assert "not allow" in refusal

    run(work())


@pytest.mark.slow
def test_the_command_serves_views_too(tmp_path: Path, log: Log) -> None:
    async def work() -> None:
        words = ("--views", "tests.server.views.declared")
        async with Client(child(tmp_path / "store", *words)) as client:
            listed = await ask(client, "list_views")
            assert [each["view"] for each in listed["views"]] == ["tally", "other"]
            given = {"view": "tally", "table": "runs", "stream": "runs/task", "at": 1}
            assert (await ask(client, "read_table", **given))["count"] == 1

    run(work())
