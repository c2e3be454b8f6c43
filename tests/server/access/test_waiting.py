"""Requests that wait for a sync: without a task, and what may come meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from transit.server import tokens
from transit.server.connections import Connection
from transit.server.tokens import new_token, remove_token

from .raw import TEXT, WAIT_S, Client, Served, ask, create, served, until

DURABLE = TEXT | {"prefer": "durability=local"}
PATH = "/v1/stream/a"


class Held:
    """The syncs of a server, none of which ends before `release`."""

    def __init__(self, server: Served) -> None:
        self.begun = self.ended = 0
        self._server = server
        self._gate = threading.Event()
        syncs = server.app.service.syncs
        self._work: Callable[[], object] = syncs._work
        syncs._work = self._held

    def _held(self) -> object:
        self.begun += 1
        self._gate.wait(WAIT_S)
        self.ended += 1
        return self._work()

    def release(self) -> None:
        """Let them end."""
        self._gate.set()


@contextmanager
def waiting(server: Served, token: str | None = None) -> Iterator[tuple[Client, Held]]:
    """A client whose last append waits for a sync; those before it were answered."""
    with Client(server.address) as client:
        assert client.ask("POST", PATH, DURABLE, b"0", token).status == 204
        held = Held(server)
        try:
            client.begin("POST", PATH, DURABLE, b"1", token)
            until(lambda: held.begun == 1)
            yield client, held
        finally:
            held.release()


@pytest.fixture
def made() -> Iterator[list[Connection]]:
    """The connections that are made, the newest last."""
    found: list[Connection] = []
    right = Connection.connection_made

    def connected(self: Connection, transport: asyncio.Transport) -> None:
        found.append(self)
        right(self, transport)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "connection_made", connected)
        yield found


def _tasks(connection: Connection) -> int:
    async def count() -> int:
        return len(asyncio.all_tasks())

    return asyncio.run_coroutine_threadsafe(count(), connection.loop).result(WAIT_S)


def test_requests_that_wait_for_a_sync_have_no_tasks(made: list[Connection]) -> None:
    with served() as server:
        create(server, "a")
        clients = [Client(server.address) for _ in range(8)]
        for client in clients:
            assert client.ask("POST", PATH, DURABLE, b"0").status == 204
        before = _tasks(made[-1])
        held = Held(server)
        for client in clients:
            client.begin("POST", PATH, DURABLE, b"1")
        until(lambda: server.app.gate.count == 8)
        assert _tasks(made[-1]) <= before
        held.release()
        offsets = [client.reply().headers["stream-next-offset"] for client in clients]
        assert sorted(map(int, offsets)) == list(range(9, 17))
        assert held.begun == 2
        for client in clients:
            assert client.ask("POST", PATH, DURABLE, b"2").status == 204
            client.socket.close()
        until(lambda: server.app.gate.count == 0)


def test_nothing_is_answered_before_it_is_durable_and_what_comes_behind_waits() -> None:
    with served() as server:
        create(server, "a")
        with waiting(server) as (client, held):
            client.begin("POST", PATH, DURABLE, b"2")
            client.begin("GET", f"{PATH}?offset=-1")
            # Others are answered meanwhile.
            assert ask(server, "HEAD", PATH).headers["stream-next-offset"].endswith("2")
            client.socket.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.socket.recv(1)
            client.socket.settimeout(WAIT_S)
            assert len(server.log.stream("a")) == 2
            held.release()
            first, second = client.reply(), client.reply()
            assert [first.headers["transit-durability"], first.status] == ["local", 204]
            assert first.headers["stream-next-offset"].endswith("2")
            assert second.headers["stream-next-offset"].endswith("3")
            assert client.reply().body == b"012"
            assert client.ask("POST", PATH, DURABLE, b"3").status == 204


def test_a_sync_that_fails_is_told_to_a_request_that_waits_for_it() -> None:
    with served() as server:
        create(server, "a")
        with Client(server.address) as client:
            assert client.ask("POST", PATH, DURABLE, b"0").status == 204

            def fail() -> None:
                raise OSError("the disk")

            server.app.service.syncs._work = fail
            assert client.ask("POST", PATH, DURABLE, b"1").status == 500
            assert client.ask("POST", PATH, TEXT, b"2").status == 204
        until(lambda: server.app.gate.count == 0)


def test_a_client_that_goes_while_it_waits_is_forgotten_once_it_is_durable() -> None:
    with served() as server:
        create(server, "a")
        with waiting(server) as (client, held):
            client.send(b"POST /v1/stream/a HTTP/1.1\r\n")
            client.socket.close()
            held.release()
            until(lambda: server.app.gate.count == 0)
        assert len(server.log.stream("a")) == 2


def test_a_token_that_is_taken_back_ends_a_request_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "LOOK_S", 0.0)
    file = str(tmp_path / "tokens.toml")
    secret, other = (new_token(file, name, {"": ["all"]}) for name in ("one", "other"))
    with served(tokens=file) as server:
        create(server, "a", token=other)
        with waiting(server, secret) as (client, held):
            remove_token(file, "one")
            assert ask(server, "HEAD", PATH, token=other).status == 200
            assert client.reply().status == 401
            # It was told so at once.
            assert held.ended == 0
        until(lambda: server.app.gate.count == 0)


def test_a_server_that_ends_answers_a_request_that_waits(made: list[Connection]) -> None:
    with served() as server:
        create(server, "a")
        with waiting(server) as (client, held):
            connection = made[-1]
            ended = threading.Event()

            def end() -> None:
                connection.shutdown()
                ended.set()

            connection.loop.call_soon_threadsafe(end)
            assert ended.wait(WAIT_S)
            held.release()
            assert client.reply().status == 204
            assert client.is_closed()


def test_a_connection_that_rests_after_it_waited_is_closed() -> None:
    with served(idle_s=1.0) as server:
        create(server, "a")
        with waiting(server) as (client, held):
            # Longer than a connection may rest: a request that waits does not.
            client.socket.settimeout(2.5)
            with pytest.raises(TimeoutError):
                client.socket.recv(1)
            client.socket.settimeout(WAIT_S)
            held.release()
            assert client.reply().status == 204
            assert client.is_closed()
