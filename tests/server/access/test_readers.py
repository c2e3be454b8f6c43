"""Readers that do not read, that vanish, and that are too many."""

from __future__ import annotations

import asyncio
import gc
import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from transit.server.connections import Connection
from transit.server.stalling import Stall

from .raw import SERVERS, TEXT, Client, Served, ask, create, served, until

SSE = "/v1/stream/a?offset=-1&live=sse"
MIB = 1024 * 1024


def _read(server: Served, path: str = SSE, receive_bytes: int | None = None) -> Client:
    client = Client(server.address, receive_bytes)
    client.begin("GET", path)
    return client


def _is_over(server: Served) -> bool:
    return server.app.streams.tails.count == 0 and server.app.gate.count == 0


@pytest.mark.parametrize("kind", SERVERS)
@pytest.mark.parametrize("live", ["sse", "long-poll"])
def test_a_reader_that_closes_is_forgotten_long_before_its_time(kind: str, live: str) -> None:
    with served(kind, long_poll_s=3600.0, sse_s=3600.0, ping_s=3600.0) as server:
        create(server, "a")
        threads = []
        for _ in range(5):
            with _read(server, f"/v1/stream/a?offset=now&live={live}"):
                until(lambda: server.app.streams.tails.count == 1)
            until(lambda: _is_over(server))
            names = [each.name for each in threading.enumerate()]
            threads.append(sum(name.startswith("transit") for name in names))
        # The store has one thread that wakes all who wait.
        assert threads[-1] <= threads[0] + 1


def test_a_reader_that_is_reset_is_forgotten() -> None:
    with served(long_poll_s=3600.0, sse_s=3600.0, ping_s=3600.0) as server:
        create(server, "a")
        with _read(server) as client:
            until(lambda: server.app.streams.tails.count == 1)
            linger = struct.pack("ii", 1, 0)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        until(lambda: _is_over(server))


@pytest.mark.parametrize("path", [SSE, "/v1/stream/a?offset=-1"])
def test_a_reader_that_never_reads_is_cut_and_costs_little(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"stall_s": 0.5, "body_bytes_max": 8 * MIB, "sse_s": 3600.0}
    with served(**settings) as server:
        create(server, "a")
        for _ in range(4):
            ask(server, "POST", "/v1/stream/a", TEXT, b"x" * (4 * MIB))
        buffered = _buffers(monkeypatch)
        with _read(server, path, 4096):
            until(lambda: bool(buffered))
            until(lambda: _is_over(server) and not _connections(server))
        assert max(buffered, default=0) <= 16 * MIB
        assert ask(server, "HEAD", "/v1/stream/a").status == 200


def _buffers(patch: pytest.MonkeyPatch) -> list[int]:
    """What connections hold unsent, whenever one is looked at."""
    found: list[int] = []
    look = Stall._look

    def looked(self: Stall) -> None:
        found.append(self._transport.get_write_buffer_size())
        look(self)

    patch.setattr(Stall, "_look", looked)
    return found


@pytest.mark.parametrize("kind", SERVERS)
def test_a_reader_that_never_reads_new_records_is_cut(kind: str) -> None:
    with served(kind, stall_s=0.5, sse_s=3600.0, body_bytes_max=8 * MIB) as server:
        create(server, "a")
        with _read(server, "/v1/stream/a?offset=now&live=sse", 4096) as client:
            assert client.head().status == 200
            until(lambda: server.app.streams.tails.count == 1)
            until(lambda: bool(_append(server)) and _is_over(server))


def _append(server: Served) -> bool:
    return ask(server, "POST", "/v1/stream/a", TEXT, b"x" * MIB).status == 204


def test_a_reader_that_falls_behind_is_sent_all_in_order_and_little_is_held_for_it() -> None:
    with served(stall_s=60.0, sse_s=3600.0) as server:
        create(server, "a")
        with _read(server, "/v1/stream/a?offset=now&live=sse", 4096) as client:
            assert client.head().status == 200
            until(lambda: server.app.streams.tails.count == 1)
            until(lambda: len(_connections(server)) == 1)
            (reading,) = _connections(server)
            count, unsent = 0, []
            while not reading.flow.write_paused or count < 100:
                body = b"<%d>" % count + b"x" * (MIB // 16)
                assert ask(server, "POST", "/v1/stream/a", TEXT, body).status == 204
                unsent.append(reading.transport.get_write_buffer_size())
                count += 1
            closed = TEXT | {"stream-closed": "true"}
            assert ask(server, "POST", "/v1/stream/a", closed).status == 204
            data = b""
            while b'"streamClosed":true' not in data[-1024:]:
                part = client.socket.recv(1 << 20)
                assert part, f"cut after {len(data)} bytes"
                data += part
            # Whoever sent them, they are counted.
            until(lambda: server.app.counts.bytes_out > count * (MIB // 16))
        assert max(unsent) <= 2 * MIB
        found = [int(number) for number in re.findall(rb"<(\d+)>", data)]
        assert found == list(range(count))


@pytest.mark.slow
def test_a_reader_that_is_slow_but_reads_is_kept() -> None:
    with served(stall_s=0.8, sse_s=3600.0, body_bytes_max=8 * MIB) as server:
        create(server, "a", b"x" * (6 * MIB))
        with _read(server, SSE, 65536) as client:
            size = 0
            client.socket.settimeout(None)
            pause = threading.Event()
            for _ in range(40):
                size += len(client.socket.recv(65536))
                pause.wait(0.05)
            assert server.app.streams.tails.count == 1
            while size < 6 * MIB:
                part = client.socket.recv(1 << 20)
                assert part, f"cut after {size} bytes"
                size += len(part)


@contextmanager
def _vanishing(client: Client) -> Iterator[None]:
    """Close a connection without a word to the other end, as when a machine loses its power."""
    repair = getattr(socket, "TCP_REPAIR", 19)
    try:
        client.socket.setsockopt(socket.IPPROTO_TCP, repair, 1)
    except OSError:
        pytest.skip("the system does not let this process drop a connection silently")
    client.socket.close()
    yield


def test_a_reader_that_vanishes_without_a_word_is_found() -> None:
    settings = {"ping_s": 0.3, "stall_s": 1.0, "sse_s": 3600.0, "long_poll_s": 3600.0}
    with served(**settings) as server:
        create(server, "a")
        client = _read(server)
        until(lambda: server.app.streams.tails.count == 1)
        with _vanishing(client):
            until(lambda: _is_over(server))


def test_what_is_accepted_looks_for_peers_that_are_gone() -> None:
    with served(ping_s=15.0, stall_s=30.0) as server:
        create(server, "a")
        with _read(server):
            until(lambda: server.app.streams.tails.count == 1)
            found = []
            for each in _connections(server):
                accepted = each.transport.get_extra_info("socket")
                found.append(
                    (
                        accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                        accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
                        accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
                    )
                )
            assert (1, 15, 30_000) in found


def _connections(server: Served) -> list[Connection]:
    return [
        each
        for each in gc.get_objects()
        if isinstance(each, Connection)
        and each.settings is server.app.settings
        and not each.transport.is_closing()
    ]


# Too many


def test_a_connection_too_many_is_503_and_told_when_to_come_again() -> None:
    with served(connections_max=8) as server:
        create(server, "a", b"hi")
        until(lambda: not _connections(server))
        held = [Client(server.address) for _ in range(8)]
        for each in held:
            assert each.ask("GET", "/v1/stream/a").status == 200
        with Client(server.address) as client:
            reply = client.ask("GET", "/v1/stream/a")
            assert reply.status == 503
            assert "retry-after" in reply.headers
            assert client.is_closed()
        for each in held:
            assert each.ask("GET", "/v1/stream/a").status == 200
            each.socket.close()
        until(lambda: ask(server, "GET", "/v1/stream/a").status == 200)


@pytest.mark.parametrize("kind", SERVERS)
def test_a_reader_too_many_is_503(kind: str) -> None:
    with served(kind, readers_max=2) as server:
        create(server, "a", b"hi")
        held = [_read(server), _read(server)]
        until(lambda: server.app.streams.tails.count == 2)
        reply = ask(server, "GET", SSE)
        assert reply.status == 503
        assert "retry-after" in reply.headers
        for each in held:
            each.socket.close()
        until(lambda: _is_over(server))


def test_no_task_is_left_of_readers_that_went() -> None:
    with served(long_poll_s=3600.0, sse_s=3600.0) as server:
        create(server, "a")
        clients = [_read(server) for _ in range(20)]
        until(lambda: server.app.streams.tails.count == 20)
        loop = _connections(server)[0].loop
        for each in clients:
            each.socket.close()
        until(lambda: _is_over(server))

        def tasks() -> int:
            future = asyncio.run_coroutine_threadsafe(_count(), loop)
            with suppress(TimeoutError):
                return future.result(60)
            return -1

        until(lambda: tasks() <= 4)


async def _count() -> int:
    return len(asyncio.all_tasks())
