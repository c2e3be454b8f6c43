"""Which streams have more, as events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.server.api.calling import Server, messages, scope_of
from transit import Log
from transit.protocol.calls import Changes
from transit.server.access import READ, Grant
from transit.server.settings import ServerSettings

WAIT_S = 120


async def told(server: Server, query: bytes) -> AsyncIterator[Changes | None]:
    """What a watch is told; None for a sign that it is there."""
    scope = {**scope_of("GET", "/v1/changes"), "query_string": query}
    async for message in messages(server.app, scope):
        body: bytes = message.get("body", b"")
        if message["type"] == "http.response.start":
            assert message["status"] == 200
        elif body.startswith(b"event: changes\ndata: "):
            data = body.removeprefix(b"event: changes\ndata: ")
            yield msgspec.json.decode(data, type=Changes)
        elif body:
            assert body == b": \n\n"
            yield None


def run(server: Server, work: Any) -> Any:
    return server.start(asyncio.wait_for(work, WAIT_S)).result(WAIT_S)


def test_a_watch_of_streams_tells_all_of_them_and_then_those_that_changed(
    server: Server, log: Log
) -> None:
    for name in ("a", "b", "é"):
        log.create(name)

    async def work() -> None:
        events = told(server, b"stream=a&stream=%C3%A9")
        first = await anext(events)
        assert first is not None
        assert sorted(first.streams) == ["a", "é"]
        log.stream("b").append(b"1")
        log.stream("é").append(b"1")
        assert await anext(events) == Changes(["é"])
        log.stream("a").finish()
        assert await anext(events) == Changes(["a"])
        await events.aclose()

    run(server, work())


def test_a_watch_of_all_tells_streams_that_are_new_and_none_of_a_layer(
    server: Server, log: Log
) -> None:
    async def work() -> None:
        events = told(server, b"")
        assert await anext(events) == Changes(all=True)
        log.layer("room").create("x").append(b"1")
        log.create("new").append(b"1")
        assert await anext(events) == Changes(["new"])
        await events.aclose()

    run(server, work())


def test_a_token_is_told_of_what_it_may_read(server: Server, log: Log) -> None:
    server.app.granted = Grant("t", (("mine/", frozenset({READ})),))
    log.create("other")
    log.create("mine/a")

    async def work() -> None:
        events = told(server, b"")
        assert await anext(events) == Changes(all=True)
        log.stream("other").append(b"1")
        log.stream("mine/a").append(b"1")
        assert await anext(events) == Changes(["mine/a"])
        await events.aclose()

    run(server, work())
    assert server.call("GET", "/v1/changes", query={"stream": "other"}).status == 403
    server.app.granted = Grant()
    assert server.get("/v1/changes").status == 403


def test_an_idle_watch_says_that_it_is_there_and_ends_after_its_time(log: Log) -> None:
    server = Server(log, ServerSettings(ping_s=0.01, sse_s=0.5))

    async def work() -> None:
        found = [event async for event in told(server, b"")]
        assert found[0] == Changes(all=True)
        assert None in found

    run(server, work())
    assert server.app.streams.tails.count == 0
    server.close()


def test_a_watch_ends_with_the_server_and_says_when_the_store_was_closed(log: Log) -> None:
    log.create("a")
    server = Server(log)

    async def until_end(stop: Any) -> list[Changes | None]:
        events = told(server, b"")
        found = [await anext(events)]
        stop()
        return found + [event async for event in events]

    assert run(server, until_end(server.app.end)) == [Changes(all=True)]
    server.close()
    server = Server(log)
    last = run(server, until_end(log.close))[-1]
    assert last is not None
    assert "closed" in last.ended
    server.close()


@pytest.mark.parametrize("query", [b"x=1", b"stream=a&x", b"stream=%ff", b"stream=%"])
def test_a_query_that_is_none_is_refused(server: Server, log: Log, query: bytes) -> None:
    log.create("a")
    scope = {**scope_of("GET", "/v1/changes"), "query_string": query}

    async def status() -> int:
        return next(iter([m async for m in messages(server.app, scope)]))["status"]

    assert run(server, status()) == 400


def test_so_many_readers_wait_and_no_more(log: Log) -> None:
    log.create("a")
    server = Server(log, ServerSettings(readers_max=1))

    async def work() -> int:
        events = told(server, b"")
        await anext(events)
        scope = scope_of("GET", "/v1/changes")
        start = await anext(messages(server.app, scope))
        await events.aclose()
        return start["status"]

    assert run(server, work()) == 503
    server.close()
