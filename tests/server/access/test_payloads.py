"""What payloads may hold, and what must come of it: JSON, events, pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .raw import SERVERS, Client, Served, ask, create, served

JSON = {"content-type": "application/json"}


@pytest.fixture(params=SERVERS, scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(request.param) as found:
        assert ask(found, "PUT", "/v1/stream/json", JSON).status == 201
        yield found


@pytest.mark.parametrize(
    "body",
    [
        b"[]", b"NaN", b"[NaN]", b"[1,]", b"", b" ", b"\xff", b'"\xc3\x28"', b"\xef\xbb\xbf[1]",
        b"[1", b'{"a":}', b"nul", b'"\x01"', b"\x00", b"[" * 100_000, b"-", b"01", b"1 2",
        b'"\\ud800"',
    ],
)  # fmt: skip
def test_what_is_no_json_is_400_and_nothing_is_kept(server: Served, body: bytes) -> None:
    count = len(server.log.stream("json"))
    assert ask(server, "POST", "/v1/stream/json", JSON, body).status == 400
    assert len(server.log.stream("json")) == count


@pytest.mark.parametrize(
    "body",
    [
        b"1e400", b'"\\u0000"', b"123456789012345678901234567890", b"-0.0",
        b'{"a":1,"a":2}', b'"</script><img src=x onerror=alert(1)>"', b"1E+2",
        b'"\xf0\x9f\x98\x80"',
    ],
)  # fmt: skip
def test_what_is_json_is_kept_byte_for_byte(server: Served, body: bytes) -> None:
    assert ask(server, "POST", "/v1/stream/json", JSON, body).status == 204
    assert server.log.stream("json")[-1].payload == body
    last = len(server.log.stream("json")) - 1
    reply = ask(server, "GET", f"/v1/stream/json?offset={last:020d}")
    assert reply.body == b"[" + body + b"]"


def test_json_of_great_depth_is_kept_or_refused_but_breaks_nothing(server: Served) -> None:
    for depth in (100, 10_000, 1_000_000):
        body = b"[" * depth + b"1" + b"]" * depth
        assert ask(server, "POST", "/v1/stream/json", JSON, body).status in (204, 400)
    assert ask(server, "GET", "/v1/stream/json").status == 200


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_text_makes_no_event_of_its_own(server: Served, end: str) -> None:
    text = f"a{end}{end}event: control{end}data: {{}}{end}{end}id: 7{end}retry: 1{end}b"
    name = f"text{ord(end[0])}{len(end)}"
    create(server, name, text.encode())
    with Client(server.address) as client:
        client.begin("GET", f"/v1/stream/{name}?offset=-1&live=sse")
        assert client.head().status == 200
        sent = next(client.chunks()).decode()
    lines = sent.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert [line for line in lines if line.startswith("event:")] == [
        "event: data",
        "event: control",
    ]
    data = [line.removeprefix("data:") for line in lines[: lines.index("event: control")]]
    kept = "\n".join(line for line in data[1:-1])
    assert kept == text.replace("\r\n", "\n").replace("\r", "\n")
    # The id is the server's own, behind the control event.
    (own,) = [line for line in lines if line.startswith(("id", "retry"))]
    assert lines.index(own) > lines.index("event: control")


def test_bytes_that_are_no_text_are_valid_utf8_over_events(server: Served) -> None:
    fields = {"content-type": "application/octet-stream"}
    assert ask(server, "PUT", "/v1/stream/bytes", fields, bytes(range(256))).status == 201
    with Client(server.address) as client:
        client.begin("GET", "/v1/stream/bytes?offset=-1&live=sse")
        assert client.head().headers["stream-sse-data-encoding"] == "base64"
        next(client.chunks()).decode()


@pytest.mark.parametrize("kind", ["text/html", "image/svg+xml", "text/html; charset=utf-8"])
def test_a_page_as_payload_is_not_run(server: Served, kind: str) -> None:
    name = f"page-{abs(hash(kind))}"
    body = b"<script>alert(1)</script>"
    assert ask(server, "PUT", f"/v1/stream/{name}", {"content-type": kind}, body).status == 201
    headers = ask(server, "GET", f"/v1/stream/{name}").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-disposition"] == "attachment"
    assert "sandbox" in headers["content-security-policy"]


def test_an_error_does_not_repeat_a_payload(server: Served) -> None:
    secret = b'{"password": "hunter2", oops'
    reply = ask(server, "POST", "/v1/stream/json", JSON, secret)
    assert reply.status == 400
    assert b"hunter2" not in reply.body
    assert reply.headers["x-content-type-options"] == "nosniff"
