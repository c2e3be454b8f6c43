"""/mcp over HTTP: the package's own client, and raw requests, against a server in a thread."""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

import transit
from transit import Log
from transit.server.mcp.calling import Caller

from .clients import (
    DEADLINE_S,
    LONG_S,
    READER,
    WRITER,
    ask,
    client_at,
    client_of,
    fill,
    opened,
    refused,
    run,
    served,
)

CANARY = "tok-canary-5f1f0c"
TOKENS = {CANARY: READER, f"{CANARY}-write": WRITER}
ASKING = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
    "authorization": f"Bearer {CANARY}",
}
LIST = b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}'


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    with opened(tmp_path / "store") as log:
        yield log


class Said:
    """An answer to a raw request."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.body = answer.read()


def request(url: str, body: bytes = LIST, method: str = "POST", **headers: str | None) -> Said:
    """Send one request; a header that is None is left out."""
    parts = urlsplit(url)
    given = {**ASKING, **{key.replace("_", "-"): value for key, value in headers.items()}}
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=DEADLINE_S)
    try:
        connection.putrequest(method, parts.path, skip_host="host" in given)
        for key, value in given.items():
            if value is not None:
                connection.putheader(key, value)
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        return Said(connection.getresponse())
    finally:
        connection.close()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_token_decides_which_tools_there_are(log: Log, mode: str) -> None:
    async def work() -> None:
        with served(log, TOKENS) as url:
            async with client_at(url, CANARY, mode) as client:
                names = [tool.name for tool in (await client.list_tools()).tools]
                assert "append" not in names
                found = await ask(client, "read", stream="notes", limit=2)
                assert [each["text"] for each in found["records"]] == ["note 0", "note 1"]
            async with client_at(url, f"{CANARY}-write", mode) as client:
                names = [tool.name for tool in (await client.list_tools()).tools]
                assert {"append", "fork_here", "merge"} < set(names)
                await ask(client, "append", stream="notes", text="over the wire")
                assert "NotFoundError" in await refused(client, "read", stream="none")
                address = (await client.list_resources()).resources[0].uri
                assert (await client.read_resource(address)).contents
        assert (log.stream("notes")[-1].payload, log.stream("notes")[-1].writer) == (
            b"over the wire",
            "writer",
        )

    run(work())


def test_a_stream_that_was_deleted_is_told_as_the_protocol_tells_it(log: Log) -> None:
    async def work() -> None:
        log.create("short", {"http.ttl": 1, "http.expires-at": 1})
        with served(log, TOKENS) as url:
            async with client_at(url, f"{CANARY}-write") as client:
                assert "there is no stream" in await refused(client, "read", stream="short")
                made = await ask(client, "append", stream="short", text="x", create=True)
                assert made["created"] is True

    run(work())


def test_the_token_is_in_no_answer_and_no_log(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "payload-canary-77a1"

    async def work() -> None:
        with served(log, TOKENS) as url:
            async with client_at(url, f"{CANARY}-write") as client:
                shown = [
                    str(await client.list_tools()),
                    str(await client.call_tool("append", {"stream": "notes", "text": secret})),
                    await refused(client, "append", stream="$x", text=secret),
                    await refused(client, "append", stream="notes", text=secret, expect=0),
                    await refused(client, "read", stream="notes", bogus=1),
                    str(await client.list_resources()),
                ]
            answers = [
                request(url, b"{"),
                request(url, host="evil.example"),
                request(url, origin="http://evil.example"),
                request(url, accept="text/plain"),
                request(url, content_type="text/plain"),
                request(url, mcp_protocol_version="1999-01-01"),
                request(url, method="GET"),
            ]
            assert all(400 <= each.status < 500 for each in answers), [
                each.status for each in answers
            ]
            shown += [f"{each.headers}{each.body!r}" for each in answers]
            assert not [each for each in shown if CANARY in each]

    run(work())
    # What the client's own packages say of their requests is not ours.
    ours = [
        record.getMessage()
        for record in caplog.records
        if not record.name.startswith(("httpx2", "httpcore2", "httpx", "httpcore", "mcp.client"))
    ]
    assert ours
    assert not [each for each in ours if CANARY in each]
    assert not [each for each in ours if secret in each]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:80"}, 200),
        ({"host": "[::1]:80"}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "localhost.evil.example:1"}, 421),
        ({"host": "evil.example:80@127.0.0.1"}, 400),
        ({"host": "["}, 421),
        ({"host": None}, 400),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost.evil.example"}, 403),
        ({"origin": "http://localhost:1"}, 403),
        ({"origin": "https://allowed.example"}, 200),
        ({"host": "localhost", "origin": "http://localhost"}, 200),
    ],
)
def test_a_foreign_name_or_page_is_refused(
    log: Log, headers: dict[str, str | None], status: int
) -> None:
    with served(log, TOKENS, cors=("https://allowed.example",)) as url:
        assert request(url, **headers).status == status


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_there_are_no_sessions_and_no_streams_of_events(log: Log, method: str) -> None:
    with served(log, TOKENS) as url:
        answer = request(url, method=method)
        assert answer.status == 405
        assert answer.headers["allow"] == "OPTIONS, POST"
        said = request(url)
        assert said.headers["mcp-session-id"] is None
        assert said.headers["content-type"].startswith("application/json")
        assert said.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28"])
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"1", b"\xff", b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":[]}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}',
        b'{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{}}',
        b'{"jsonrpc":"2.0","id":{},"method":"tools/list"}',
        b"[" * 100_000,
        b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read","arguments":'
        + b'{"a":' * 3000 + b"1" + b"}" * 3000 + b"}}",
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\\ud800"}}',
    ],
    ids=range(15),
)  # fmt: skip
def test_a_body_that_is_no_request_is_answered_and_harms_nobody(
    log: Log, body: bytes, version: str
) -> None:
    with served(log, TOKENS) as url:
        answer = request(url, body, mcp_protocol_version=version)
        assert 200 <= answer.status < 500
        if answer.body:
            assert "result" not in json.loads(answer.body)
        assert request(url).status == 200


def test_a_body_over_the_limit_is_refused_before_it_is_read(log: Log) -> None:
    with served(log, TOKENS, body_bytes_max=1000) as url:
        assert request(url, b" " * 1001).status == 413


def call(tool: str, **given: Any) -> bytes:
    params = {"name": tool, "arguments": given}
    said = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return json.dumps(said).encode()


@pytest.mark.parametrize("accept", ["application/json", "*/*", "application/*", None])
@pytest.mark.parametrize("version", ["2025-06-18", "2026-07-28", None])
def test_what_clients_accept_is_enough_where_json_is_in_it(
    log: Log, accept: str | None, version: str | None
) -> None:
    with served(log, TOKENS) as url:
        answer = request(url, accept=accept, mcp_protocol_version=version)
        assert answer.status == 200 or b"_meta" in answer.body


def test_a_slash_at_the_end_makes_no_difference(log: Log) -> None:
    with served(log, TOKENS) as url:
        assert request(f"{url}/").status == 200


def test_a_client_that_goes_away_waits_no_more(log: Log) -> None:
    with served(log, TOKENS) as url:
        parts = urlsplit(url)
        for _ in range(20):
            connection = http.client.HTTPConnection(str(parts.hostname), parts.port)
            connection.request(
                "POST", "/mcp", call("wait", stream="notes", timeout_s=LONG_S), ASKING
            )
            connection.close()
        # Each is let go once the server sees that it is gone.
        room = url.app.mcp.room
        while room._waiting:
            time.sleep(0.01)
        found = request(url, call("wait", stream="notes", timeout_s=0.01))
        # Nothing of those requests is left.
        gc.collect()
        kinds = (StreamableHTTPSessionManager, Caller)
        assert not [each for each in gc.get_objects() if isinstance(each, kinds)]
        result = json.loads(found.body)["result"]
        assert result["structuredContent"]["timed_out"] is True


def test_calls_that_wait_end_with_the_server(log: Log) -> None:
    async def work() -> None:
        with served(log, TOKENS) as url:
            waiting = asyncio.create_task(
                asyncio.to_thread(request, url, call("wait", stream="notes", timeout_s=LONG_S))
            )
            room = url.app.mcp.room
            while not room._waiting:
                await asyncio.sleep(0.01)
        answer = await waiting
        assert answer.status == 200

    run(work())


def test_a_writing_server_in_shared_mode_sees_other_writers(tmp_path: Path) -> None:
    async def work() -> None:
        with transit.open(tmp_path / "store", mode="shared", durability="local") as log:
            fill(log)
            with (
                transit.open(tmp_path / "store", mode="shared") as other,
                served(log, TOKENS) as url,
            ):
                async with client_at(url, f"{CANARY}-write") as client:
                    other.stream("notes").append(b"theirs")
                    given = {"stream": "notes", "text": "ours"}
                    assert "ConflictError" in await refused(client, "append", **given, expect=30)
                    made = await ask(client, "append", **given, expect=31)
                    assert made["durability"] == "local"
                assert other.stream("notes")[-1].payload == b"ours"

    run(work())


def test_two_servers_over_one_store_do_not_share_their_callers(log: Log) -> None:
    async def work() -> None:
        async with client_of(log, READER) as first, client_of(log, WRITER) as second:
            for client, can_write in ((first, False), (second, True), (first, False)):
                names = [tool.name for tool in (await client.list_tools()).tools]
                assert ("append" in names) is can_write

    run(work())
