"""Bodies that are too large, too slow, compressed, or not what was announced."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

import pytest

from .raw import SERVERS, TEXT, Client, Served, ask, create, served

LIMIT = 64 * 1024


@pytest.fixture(params=SERVERS, scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(request.param, body_bytes_max=LIMIT, body_s=0.5, linger_s=0.5) as found:
        create(found, "a")
        yield found


def _post(client: Client, *fields: str, body: bytes = b"") -> None:
    head = "\r\n".join(["POST /v1/stream/a HTTP/1.1", "host: localhost", *fields])
    client.send(f"{head}\r\ncontent-type: text/plain\r\n\r\n".encode() + body)


def test_a_body_announced_over_the_limit_is_refused_before_it_comes(server: Served) -> None:
    with Client(server.address) as client:
        _post(client, f"content-length: {LIMIT + 1}")
        assert client.reply().status == 413


def test_a_client_that_goes_on_sending_hears_that_its_body_is_too_large(server: Served) -> None:
    with Client(server.address) as client:
        _post(client, f"content-length: {64 * LIMIT}")
        for _ in range(64):
            client.send(bytes(LIMIT))
        assert client.reply().status == 413


def test_an_answer_to_a_client_that_is_sending_is_not_lost_by_a_reset() -> None:
    """A socket that is closed with bytes unread is reset: what was sent may never be read."""
    with served(body_bytes_max=LIMIT) as server, Client(server.address) as client:
        _post(client, f"content-length: {64 * LIMIT}", body=bytes(LIMIT))
        assert client.reply().status == 413
        assert client.socket.recv(1) == b""
        client.send(bytes(LIMIT))


def test_a_chunked_body_is_refused_at_the_limit_and_the_connection_closed(server: Served) -> None:
    with Client(server.address) as client:
        _post(client, "transfer-encoding: chunked")
        for _ in range(5):
            client.send(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        assert client.reply().status == 413
        assert client.is_closed()


def test_a_body_of_just_the_limit_is_taken(server: Served) -> None:
    body = b"x" * LIMIT
    assert ask(server, "POST", "/v1/stream/a", TEXT, body).status == 204
    with Client(server.address) as client:
        _post(client, "transfer-encoding: chunked", body=b"10000\r\n" + body + b"\r\n0\r\n\r\n")
        assert client.reply().status == 204


def test_half_a_body_and_then_silence_is_408_and_nothing_is_appended(
    server: Served, request: pytest.FixtureRequest
) -> None:
    count = len(server.log.stream("a"))
    with Client(server.address) as client:
        _post(client, "content-length: 10", body=b"half")
        reply = client.reply()
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        # granian may wait for the rest after all, if the body was being read when time was up.
        if request.node.callspec.params["server"] == "uvicorn":
            assert client.is_closed()
    assert len(server.log.stream("a")) == count


def test_a_body_that_trickles_is_408_however_it_goes_on(server: Served) -> None:
    with Client(server.address) as client, Client(server.address) as other:
        _post(client, "content-length: 50000")
        client.socket.settimeout(0.05)
        for _ in range(2000):
            client.send(b"x")
            try:
                status = client.reply().status
                break
            except TimeoutError:
                # Others are served meanwhile.
                assert other.ask("GET", "/v1/stream/a").status == 200
        assert status == 408


def test_a_client_that_goes_in_the_middle_of_a_body_leaves_nothing(server: Served) -> None:
    count = len(server.log.stream("a"))
    with Client(server.address) as client:
        _post(client, "content-length: 10", body=b"half")
    assert ask(server, "GET", "/v1/stream/a").status == 200
    assert len(server.log.stream("a")) == count


@pytest.mark.parametrize("length", ["-1", "1x", "0x10", "1.5", "99999999999999999999"])
def test_a_length_that_is_none_is_refused(server: Served, length: str) -> None:
    with Client(server.address) as client:
        _post(client, f"content-length: {length}", body=b"x")
        assert client.reply().status in (400, 413)


def test_a_compressed_body_is_expanded(server: Served) -> None:
    create(server, "packed")
    packed = gzip.compress(b"one ") + gzip.compress(b"two")
    fields = TEXT | {"content-encoding": "gzip"}
    assert ask(server, "POST", "/v1/stream/packed", fields, packed).status == 204
    assert ask(server, "GET", "/v1/stream/packed").body == b"one two"


def test_a_bomb_is_refused_at_the_expanded_limit(server: Served) -> None:
    fields = TEXT | {"content-encoding": "gzip"}
    bomb = gzip.compress(bytes(LIMIT * 100))
    assert len(bomb) < LIMIT
    assert ask(server, "POST", "/v1/stream/a", fields, bomb).status == 413
    parts = gzip.compress(bytes(LIMIT // 2 + 1)) * 2
    assert ask(server, "POST", "/v1/stream/a", fields, parts).status == 413


@pytest.mark.parametrize(
    "body", [b"plain", gzip.compress(b"x" * 100, mtime=0)[:-9], zlib.compress(b"x"), b"\x1f\x8b"]
)
def test_what_is_not_gzip_is_refused(server: Served, body: bytes) -> None:
    fields = TEXT | {"content-encoding": "gzip"}
    assert ask(server, "POST", "/v1/stream/a", fields, body).status == 400


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_another_encoding_is_415(server: Served, encoding: str) -> None:
    fields = TEXT | {"content-encoding": encoding}
    assert ask(server, "POST", "/v1/stream/a", fields, b"x").status == 415
