"""Stores with runs and streams, and clients of the package's own that ask about them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

import transit
from transit import Log, trace
from transit.server.access import APPEND, BRANCH, EVERYTHING, MERGE, READ, Grant
from transit.server.app import App
from transit.server.mcp.calling import Room, found_in
from transit.server.mcp.serving import make_server
from transit.server.service import Service
from transit.server.settings import ServerSettings

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 120
# Only a test that hangs waits so long.
LONG_S = 45.0
READER = Grant("reader", (("", frozenset((READ,))),))
WRITER = Grant("writer", (("", frozenset((READ, APPEND, BRANCH, MERGE))),))
Answered = dict[str, Any]


def run(work: Awaitable[None]) -> None:
    """Do asynchronous work; what hangs fails."""

    async def bounded() -> None:
        async with asyncio.timeout(DEADLINE_S):
            await work

    asyncio.run(bounded())


def fill(log: Log) -> None:
    """Two streams and two runs, of which one failed."""
    plain = log.create("notes", {"about": "everything"})
    for number in range(30):
        plain.append(f"note {number}".encode(), headers={"n": str(number)})
    plain.branch("notes/other", at=4).append(b"another way")
    with trace.task(log, "build-1", actor="agent", reason="first") as task:
        task.message("user", "Build the thing, please.")
        with task.tool("bash", {"cmd": "make"}) as call:
            call.result("make: *** No rule to make target")
    with (
        contextlib.suppress(ValueError),
        trace.task(log, "build-2", actor="agent", reason="second"),
    ):
        raise ValueError("the disk was full")


@contextlib.asynccontextmanager
async def client_of(
    log: Log, grant: Grant = EVERYTHING, mode: str = "auto"
) -> AsyncIterator[Client]:
    """A client in this process of a server over `log`."""
    service = Service(log, ServerSettings())
    room = Room(service, found_in(log))
    try:
        async with Client(make_server(room, grant), mode=mode) as client:
            yield client
    finally:
        room.end()
        service.close()


async def ask(client: Client, name: str, /, **given: object) -> Answered:
    """What a tool answers, which must be no error; its text and its structure are the same."""
    result = await client.call_tool(name, given)
    assert not result.is_error, result.content
    found: Answered = result.structured_content
    assert transit_json(result) == found
    return found


def transit_json(result: Any) -> Answered:
    """The text of a tool's answer, decoded."""
    found: Answered = json.loads(text_of(result))
    return found


def text_of(result: Any) -> str:
    """The text of a tool's answer."""
    (content,) = result.content
    text: str = content.text
    return text


async def refused(client: Client, name: str, /, **given: object) -> str:
    """The message of a tool's failure."""
    result = await client.call_tool(name, given)
    assert result.is_error, result.structured_content
    return text_of(result)


def child(store: Path, *words: str) -> StdioServerParameters:
    """`transit mcp` as a program starts it."""
    env = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": str(store.parent)}
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "transit", "mcp", "--store", str(store), *words],
        env=env,
        cwd=store.parent,
    )


def tokens_file(folder: str, tokens: Mapping[str, Grant]) -> str:
    """A file that gives each token the rights of a grant."""
    parts = []
    for token, grant in tokens.items():
        digest = hashlib.sha256(token.encode()).hexdigest()
        allow = ", ".join(
            f"{json.dumps(prefix)} = {json.dumps(sorted(rights))}"
            for prefix, rights in grant._rights
        )
        parts.append(f'[tokens.{grant.name}]\nsha256 = "{digest}"\nallow = {{ {allow} }}\n')
    path = Path(folder) / "tokens.toml"
    path.touch(0o600)
    path.write_text("\n".join(parts), encoding="utf-8")
    return str(path)


class Address(str):
    """Where a server is, and its application."""

    app: App


@contextlib.contextmanager
def served(log: Log, tokens: Mapping[str, Grant], **settings: Any) -> Iterator[Address]:
    """The address of a server over `log`, in a thread."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server(("127.0.0.1", 0)) as bound,
    ):
        app = App(log, ServerSettings(**settings), tokens_file(folder, tokens))
        server = uvicorn.Server(uvicorn.Config(app, log_level="info", timeout_graceful_shutdown=5))
        port = bound.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            address = Address(f"http://127.0.0.1:{port}/mcp")
            address.app = app
            yield address
        finally:
            app.end()
            server.should_exit = True
            thread.join(DEADLINE_S)
            assert not thread.is_alive()


@contextlib.asynccontextmanager
async def client_at(url: str, token: str, mode: str = "auto") -> AsyncIterator[Client]:
    """A client over HTTP."""
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=DEADLINE_S) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode) as client,
    ):
        yield client


def opened(folder: Path, fills: Callable[[Log], None] = fill) -> Log:
    """A new store, filled."""
    log = transit.open(folder, durability="os")
    fills(log)
    return log
