"""Heads of requests that are too large, too slow, or two requests in one."""

from __future__ import annotations

import gc
import socket
import struct
from collections.abc import Iterator

import pytest

from transit.server.connections import Connection

from .raw import SERVERS, WAIT_S, Client, Served, ask, create, served, until


@pytest.fixture(params=SERVERS, scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(request.param) as found:
        create(found, "a", b"hi")
        yield found


@pytest.fixture(params=SERVERS, scope="module")
def impatient(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(request.param, head_s=0.3, linger_s=0.3, head_bytes_max=16 * 1024) as found:
        create(found, "a", b"hi")
        yield found


def _get(client: Client, *fields: str, path: str = "/v1/stream/a") -> None:
    head = "\r\n".join([f"GET {path} HTTP/1.1", "host: localhost", *fields])
    client.send(f"{head}\r\n\r\n".encode())


@pytest.mark.parametrize(
    "fields",
    [
        [f"x-large: {'x' * 100_000}"],
        [f"x-{number}: y" for number in range(2_000)],
        [f"x-{number}: {'y' * 1000}" for number in range(100)],
    ],
)
def test_a_head_that_is_too_large_is_431(server: Served, fields: list[str]) -> None:
    with Client(server.address) as client:
        _get(client, *fields)
        assert client.reply().status == 431
        assert client.is_closed()


def test_a_head_without_end_is_refused_before_it_ends() -> None:
    limited = served(head_bytes_max=16 * 1024, linger_s=0.3)
    with limited as server, Client(server.address) as client:
        client.send(b"GET / HTTP/1.1\r\nx: ")
        for _ in range(64):
            client.send(b"y" * 1024)
        assert client.reply().status == 431
        assert client.is_closed()


def test_a_url_that_is_too_long_is_414(server: Served) -> None:
    with Client(server.address) as client:
        _get(client, path=f"/v1/stream/{'x' * 60_000}")
        assert client.reply().status == 414
    with Client(server.address) as client:
        _get(client, path=f"/v1/stream/a?offset={'1' * 60_000}")
        assert client.reply().status == 414


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"GET /v1/stream/a HTTP/1.1\r\nho"])
def test_a_connection_that_asks_for_nothing_is_closed(impatient: Served, begun: bytes) -> None:
    with Client(impatient.address) as client:
        client.send(begun)
        assert client.is_closed()
    assert ask(impatient, "GET", "/v1/stream/a").status == 200


@pytest.mark.parametrize("bit", [b"x", b"\r\n"])
@pytest.mark.parametrize("begun", [b"", b"GET /v1/stream/a HTTP/1.1\r\nhost: localhost\r\nx: "])
def test_a_head_that_trickles_is_cut(bit: bytes, begun: bytes) -> None:
    """Each byte of it would begin the time anew."""
    with served(head_s=0.3, linger_s=0.3, head_bytes_max=1 << 20) as server:
        with Client(server.address) as client:
            client.send(begun)
            client.socket.settimeout(0.02)
            for _ in range(3000):
                if bit == b"\r\n" and begun:
                    # That would end the head.
                    bit = b"x: y\r\n"
                client.send(bit)
                if client.is_closed():
                    return
        raise AssertionError("it was never cut")


def test_a_second_request_that_trickles_is_cut(impatient: Served) -> None:
    with Client(impatient.address) as client:
        _get(client)
        assert client.reply().status == 200
        client.send(b"GET /v1/stream/a HTT")
        assert client.is_closed()


def test_an_idle_connection_is_kept_longer_than_a_head_may_take() -> None:
    """Not so by granian: there one deadline is for both."""
    with served(head_s=0.3) as server, Client(server.address) as client:
        create(server, "a", b"hi")
        for _ in range(2):
            _get(client)
            assert client.reply().status == 200
            client.socket.settimeout(0.5)
            with pytest.raises(TimeoutError):
                client.socket.recv(1)
            client.socket.settimeout(WAIT_S)


def test_an_idle_connection_is_closed_in_the_end() -> None:
    with served(idle_s=1.0) as server, Client(server.address) as client:
        create(server, "a", b"hi")
        _get(client)
        assert client.reply().status == 200
        assert client.is_closed()


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"POST /v1/stream/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/stream/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n"
        b"content-length: 6\r\n\r\nhello!",
        b"POST /v1/stream/a HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n"
        b"transfer-encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
        b"GET /v1/stream/a HTTP/1.1\r\nhost: localhost\r\nx: a\rb\r\n\r\n",
        b"GET /v1/stream/a HTTP/1.1\r\nhost: localhost\r\nx: a\x00b\r\n\r\n",
        b"GET /v1/stream/\xc3\xa9 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /v1/stream/a b HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /v1/stream/a HTTP/1.1\r\nhost: localhost\r\n folded: x\r\n\r\n",
        b"POST /v1/stream/a HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: gzip\r\n\r\nx",
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_two_requests_in_one_and_other_nonsense_is_400_and_closed(request_bytes: bytes) -> None:
    with served(head_s=0.3, linger_s=0.3) as server:
        create(server, "a", b"hi")
        with Client(server.address) as client:
            client.send(request_bytes)
            assert b"HTTP/1.1 400 " in client.everything().splitlines()[0] + b" "
        assert len(server.log.stream("a")) == 1


def test_a_bare_line_feed_smuggles_nothing() -> None:
    with served(head_s=0.3, linger_s=0.3) as server:
        create(server, "a", b"hi")
        with Client(server.address) as client:
            client.send(
                b"GET /v1/stream/a HTTP/1.1\nhost: localhost\n\n"
                b"POST /v1/stream/a HTTP/1.1\nhost: localhost\ncontent-length: 1\n\nx"
            )
            client.is_closed()
        assert len(server.log.stream("a")) == 1


def test_requests_sent_ahead_are_answered_in_their_order() -> None:
    with served() as server:
        create(server, "a", b"hi")
        with Client(server.address) as client:
            for _ in range(20):
                _get(client)
            assert [client.reply().body for _ in range(20)] == [b"hi"] * 20


def test_a_connection_that_is_reset_leaves_no_timer_behind() -> None:
    """A timer for the next request would keep it, and all its headers, for its time."""
    with served(idle_s=3600.0) as server:
        create(server, "a", b"hi")
        before = {id(each) for each in gc.get_objects() if isinstance(each, Connection)}
        for _ in range(5):
            with Client(server.address) as client:
                _get(client)
                assert client.reply().status == 200
                linger = struct.pack("ii", 1, 0)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

        def is_forgotten() -> bool:
            gc.collect()
            found = [each for each in gc.get_objects() if isinstance(each, Connection)]
            return {id(each) for each in found} <= before or not found

        until(is_forgotten)
