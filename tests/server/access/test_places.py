"""Where a request comes from, and whom it was meant for: hosts, origins, names of streams."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .raw import SERVERS, TEXT, Client, Reply, Served, ask, create, served

PAGE = "http://page.example"


@pytest.fixture(params=SERVERS, scope="module")
def server(request: pytest.FixtureRequest) -> Iterator[Served]:
    with served(request.param, cors=(PAGE,)) as found:
        create(found, "a", b"hi")
        yield found


def _with_host(server: Served, *hosts: str, version: str = "1.1") -> Reply:
    with Client(server.address) as client:
        lines = "".join(f"host: {host}\r\n" for host in hosts)
        client.send(f"GET /v1/stream/a HTTP/{version}\r\n{lines}\r\n".encode())
        return client.reply()


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:80", "localhost.evil.example", "localhost@evil.example",
        "127.0.0.1.evil.example", "[evil]", "evil.example#localhost",
    ],
)  # fmt: skip
def test_a_host_that_is_not_ours_is_421(server: Served, host: str) -> None:
    assert _with_host(server, host).status in ({400, 421} if "@" in host else {421})


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "localhost.", "127.0.0.1:80", "[::1]:80", "192.0.2.1"]
)
def test_a_host_that_is_this_machine_or_a_number_is_served(server: Served, host: str) -> None:
    assert _with_host(server, host).status == 200


def test_no_host_and_two_hosts_are_400(server: Served) -> None:
    assert _with_host(server).status == 400
    assert _with_host(server, "").status == 400
    assert _with_host(server, "localhost", "evil.example").status == 400


def test_a_name_of_its_own_is_served_when_it_is_given() -> None:
    with served(hosts=("logs.example",)) as server:
        create(server, "a", b"hi")
        assert _with_host(server, "logs.example:443").status == 200
        assert _with_host(server, "evil.example").status == 421


# Origins


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "", "http://localhost:1", "x"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_a_page_of_another_origin_writes_nothing(server: Served, method: str, origin: str) -> None:
    """A POST of plain text needs no preflight, so the browser does not ask first."""
    count = len(server.log.stream("a"))
    reply = ask(server, method, "/v1/stream/a", TEXT | {"origin": origin}, b"x")
    assert reply.status == 403
    assert "access-control-allow-origin" not in reply.headers
    assert len(server.log.stream("a")) == count


def test_a_page_of_the_server_itself_writes(server: Served) -> None:
    host, port = server.address
    own = TEXT | {"origin": f"http://{host}:{port}"}
    assert ask(server, "POST", "/v1/stream/a", own, b"x").status == 204
    assert ask(server, "POST", "/v1/stream/a", own | {"origin": f"https://{host}:{port}"}, b"x")


def test_a_page_that_is_allowed_reads_and_writes(server: Served) -> None:
    reply = ask(server, "POST", "/v1/stream/a", TEXT | {"origin": PAGE}, b"x")
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == PAGE
    assert reply.headers["vary"] == "origin"
    reply = ask(server, "GET", "/v1/stream/none", {"origin": PAGE})
    assert (reply.status, reply.headers["access-control-allow-origin"]) == (404, PAGE)


def test_a_preflight_of_an_allowed_page_is_told_what_it_may(server: Served) -> None:
    asked = {"origin": PAGE, "access-control-request-method": "PUT"}
    reply = ask(server, "OPTIONS", "/v1/stream/a", asked)
    assert reply.status == 204
    assert reply.headers["access-control-allow-origin"] == PAGE
    allowed = reply.headers["access-control-allow-headers"].split(", ")
    assert {
        "authorization", "if-none-match", "content-type", "stream-seq", "stream-ttl",
        "stream-expires-at", "stream-closed", "stream-forked-from", "stream-fork-offset",
        "producer-id", "producer-epoch", "producer-seq",
    } <= set(allowed)  # fmt: skip
    assert reply.headers["vary"] == "origin"


def test_a_preflight_of_another_page_is_told_nothing(server: Served) -> None:
    asked = {"origin": "http://evil.example", "access-control-request-method": "PUT"}
    reply = ask(server, "OPTIONS", "/v1/stream/a", asked)
    assert reply.status == 403
    assert not [name for name in reply.headers if name.startswith("access-control-")]


def test_a_page_of_another_origin_cannot_read_what_it_is_sent(server: Served) -> None:
    reply = ask(server, "GET", "/v1/stream/a", {"origin": "http://evil.example"})
    assert "access-control-allow-origin" not in reply.headers
    assert reply.headers["cross-origin-resource-policy"] == "same-origin"


# Names of streams and offsets


def test_a_name_may_be_of_any_script(server: Served) -> None:
    create(server, "%C3%A9", b"one")
    create(server, "e%CC%81", b"two")
    assert ask(server, "GET", "/v1/stream/%c3%a9").body == b"one"
    assert ask(server, "GET", "/v1/stream/e%CC%81").body == b"two"


def test_a_slash_is_a_slash_however_it_is_written(server: Served) -> None:
    create(server, "x%2Fy", b"here")
    assert ask(server, "GET", "/v1/stream/x/y").body == b"here"
    assert ask(server, "PUT", "/v1/stream/x%2fy", TEXT).status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("..", 400), ("a/../b", 400), ("a//b", 400), ("a/", 400), (".", 400), ("%2e%2e", 400),
        ("a%00b", 400), ("a%0Ab", 400), ("a%7Fb", 400), ("%ff", 400), ("%fe", 400), ("%", 400),
        ("%zz", 400), ("%c0%ae%c0%ae", 400), ("%ed%a0%80", 400), ("$lineage", 400),
        ("%24lineage", 400), ("__ds", 404), ("__ds/x", 404), ("", 400), ("x" * 513, 400),
        ("%E2%80%AE", 400),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_what_is_no_name_is_refused(server: Served, method: str, path: str, status: int) -> None:
    assert ask(server, method, f"/v1/stream/{path}", TEXT, b"x").status == status


@pytest.mark.parametrize(
    "query",
    [
        "offset=", "offset=-1&offset=0", "offset=../x", "offset=1,2", "offset=1%202", "offset=+1",
        "offset=111111111111111111111", "offset=00000000000000009999", "offset=%ff", "offset=now2",
        "offset=-2", "offset=0x1", "offset=%D9%A1", "offset=-1&live=yes", "live=sse",
        "live=long-poll",
    ],
)  # fmt: skip
def test_what_is_no_offset_is_400(server: Served, query: str) -> None:
    assert ask(server, "GET", f"/v1/stream/a?{query}").status == 400
