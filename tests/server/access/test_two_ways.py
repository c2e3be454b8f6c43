"""The same bytes are answered with the same bytes at once, and by messages of ASGI in a task.

But for dates, ids of requests and uids, which differ between any two servers.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from transit.server import connections
from transit.server.exchange import GONE
from transit.server.tokens import new_token

from .raw import Client, Served, served, until

HOST: Final = b"Host: 127.0.0.1:1\r\n"
TEXT: Final = b"Content-Type: text/plain\r\n"
JSON: Final = b"Content-Type: application/json\r\n"
PAGE: Final = b"Origin: https://page.example\r\n"
SETTINGS: Final[dict[str, object]] = {
    "body_bytes_max": 4096,
    "cors": ("https://page.example",),
    "linger_s": 0.2,
}
_DIFFERS: Final = (
    (re.compile(rb"\r\ndate: [^\r]*"), b""),
    (re.compile(rb"\r\nserver: [^\r]*"), b""),
    (re.compile(rb"\b[0-9a-f]{10}-[0-9a-f]+\b"), b"ID"),
    (re.compile(rb"\b[0-9a-f]{32}\b"), b"UID"),
    (re.compile(rb"retry-after: \d+"), b"retry-after: N"),
)


class Case(NamedTuple):
    """Packets of one connection, and how many answers come.

    is_now: whether all of them are given at once, where they can be. bodiless: to HEAD.
    """

    packets: list[bytes]
    answers: int = 1
    is_now: bool = True
    bodiless: bool = False


def asked(
    method: str, path: str, fields: bytes = b"", body: bytes | None = None, host: bytes = HOST
) -> bytes:
    """A request; body: None for one without."""
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    start = f"{method} {path} HTTP/1.1\r\n".encode()
    return start + host + fields + length + b"\r\n" + (body or b"")


def post(name: str, body: bytes, fields: bytes = TEXT) -> bytes:
    """An append."""
    return asked("POST", f"/v1/stream/{name}", fields, body)


def get(name: str, fields: bytes = b"") -> bytes:
    """A read."""
    return asked("GET", f"/v1/stream/{name}", fields)


def put(name: str, fields: bytes = TEXT, body: bytes = b"") -> bytes:
    """A new stream."""
    return asked("PUT", f"/v1/stream/{name}", fields, body)


def producer(seq: int, epoch: int = 0) -> bytes:
    """Fields of a producer's request."""
    return TEXT + b"Producer-Id: p\r\nProducer-Epoch: %d\r\nProducer-Seq: %d\r\n" % (epoch, seq)


CHUNKED: Final = TEXT + b"Transfer-Encoding: chunked\r\n"
IN_CHUNKS: Final = asked("POST", "/v1/stream/a", CHUNKED) + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
MANY: Final = b"".join(b"X-%d: 1\r\n" % n for n in range(300))
CASES: Final = {
    "streams are made": Case([put("a"), put("j", JSON), put("c"), put("d")], 4),
    "a stream is made again, and otherwise": Case([put("a") + put("a", JSON)], 2),
    "a stream of a body": Case([put("b", TEXT, b"first")]),
    "an append": Case([post("a", b"one")]),
    "appends with the same head": Case([post("a", b"two")] * 3, 3),
    "appends of other lengths": Case([post("a", b"x" * n) for n in (1, 9, 10, 11, 100, 9)], 6),
    "an append of one packet, then two": Case(
        [post("a", b"1"), post("a", b"22")[:-1], b"2", post("a", b"333")], 3
    ),
    "JSON messages": Case([post("j", b'[{"a": 1}, 2, "three"]', JSON), post("j", b"4", JSON)], 2),
    "no JSON": Case([post("j", b'[{"a": 1}, nul]', JSON), post("j", b"[]", JSON)], 2),
    "an id of the client's": Case([post("a", b"one", TEXT + b"X-Request-Id: mine-1\r\n")] * 2, 2),
    "an expected offset": Case([post("a", b"x", TEXT + b"Transit-Expect-Offset: 3\r\n")]),
    "a producer": Case(
        [
            post("c", b"1", producer(0)),
            post("c", b"1", producer(0)),
            post("c", b"2", producer(5)),
            post("c", b"3", producer(1, 3)),
            post("c", b"3", producer(0, 3)),
        ],
        5,
    ),
    "an older epoch": Case([post("c", b"4", producer(1))]),
    "a closed stream": Case(
        [post("d", b"last", TEXT + b"Stream-Closed: true\r\n"), post("d", b"more")], 2
    ),
    "durability of another kind": Case(
        [post("a", b"x", TEXT + b"Prefer: durability=local\r\n")] * 2, 2, is_now=False
    ),
    "durable appends in one packet": Case(
        [
            post("a", b"x", TEXT + b"Prefer: durability=local\r\n") * 3,
            post("a", b"y", TEXT + b"Prefer: durability=local\r\n") + get("a"),
        ],
        5,
        is_now=False,
    ),
    "durability of no kind": Case([post("a", b"x", TEXT + b"Prefer: durability=best\r\n")]),
    "metadata": Case([asked("HEAD", f"/v1/stream/{name}") for name in "ajd"], 3, bodiless=True),
    "metadata of nothing": Case([asked("HEAD", "/v1/stream/none")], bodiless=True),
    "reads": Case([get("a"), get("j"), get("d"), get("a?offset=" + "2".zfill(20))], 4),
    "a read again": Case([get("a")] * 3, 3),
    "a read of the end": Case([get("a?offset=now"), get("d?offset=" + "1".zfill(20))], 2),
    "a read of what is known": Case([get("a", b"If-None-Match: *\r\n")] * 2, 2),
    "reads that are refused": Case(
        [get("a?offset=x"), get("a?offset=-1&offset=-1"), get("a?live=1&offset=-1")], 3, False
    ),
    "a poll": Case([get("d?offset=" + "1".zfill(20) + "&live=long-poll")], is_now=False),
    "no such stream": Case([post("none", b"x"), get("none")], 2),
    "a name that is none": Case([post("a//b", b"x"), post("a%ff", b"x"), post("%24a", b"x")], 3),
    "a name in escapes": Case([put("%C3%A9"), post("%C3%A9", b"x"), get("%c3%a9")], 3),
    "a stream that went on in a fork": Case(
        [
            put("g", TEXT, b"x"),
            put("h", b"Stream-Forked-From: /v1/stream/g\r\n"),
            asked("DELETE", "/v1/stream/g"),
            get("g"),
            post("g", b"x"),
        ],
        5,
    ),
    "another content type": Case([post("a", b"1", JSON), post("a", b"1", b"")], 2),
    "no body": Case([post("a", b""), asked("POST", "/v1/stream/a", TEXT)], 2),
    "a body over the limit": Case([post("a", b"x" * 5000)], is_now=True),
    "a chunked body over the limit": Case(
        [asked("POST", "/v1/stream/a", CHUNKED) + b"1388\r\n" + b"x" * 5000 + b"\r\n0\r\n\r\n"]
    ),
    "an encoding": Case([post("a", b"x", TEXT + b"Content-Encoding: br\r\n")]),
    "no gzip": Case([post("a", b"x", TEXT + b"Content-Encoding: gzip\r\n")], is_now=False),
    "no host": Case([asked("POST", "/v1/stream/a", TEXT, b"x", b"")]),
    "another host": Case([asked("POST", "/v1/stream/a", TEXT, b"x", b"Host: evil.example\r\n")]),
    "another origin": Case([post("a", b"x", TEXT + b"Origin: http://evil\r\n")]),
    "a page that may": Case([post("a", b"x", TEXT + PAGE), get("a", PAGE), get("none", PAGE)], 3),
    "a preflight": Case(
        [
            asked("OPTIONS", "/v1/stream/a", PAGE + b"Access-Control-Request-Method: POST\r\n"),
            asked("OPTIONS", "/v1/stream/a", b"Origin: http://evil\r\n"),
            asked("OPTIONS", "/v1/stream/a"),
        ],
        3,
    ),
    "a method that is none": Case([asked("PATCH", "/v1/stream/a", TEXT, b"x")]),
    "too many fields": Case([post("a", b"x", TEXT + MANY)]),
    "a long URL": Case([post("a" * 20_000, b"x")]),
    "a route beside": Case([asked("GET", "/v1/store/none"), post("a", b"x")], 2, is_now=False),
    "a control route": Case([asked("GET", "/v1/stream/__ds/x")], is_now=False),
    "the last request": Case([post("a", b"x", TEXT + b"Connection: close\r\n")]),
    "a request after the last": Case(
        [post("a", b"x", TEXT + b"Connection: close\r\n") + post("a", b"never")]
    ),
    "a request after one that ends the connection": Case(
        [asked("POST", "/v1/stream/a", TEXT, b"x", b"") + post("a", b"never")]
    ),
    "an older HTTP": Case([post("a", b"x").replace(b"HTTP/1.1", b"HTTP/1.0")]),
    "requests in one packet": Case([post("a", b"x") + get("j") + post("none", b"y")], 3),
    "many requests in one packet": Case([post("a", b"x") * 40], 40, is_now=False),
    "requests cut anywhere": Case(
        [
            part
            for stop in range(7, 120, 37)
            for part in (post("a", b"x" * 30)[:stop], post("a", b"x" * 30)[stop:])
        ],
        4,
    ),
    "a body in two packets": Case([post("a", b"one two")[:-4], b" two"]),
    "a head and a body": Case([post("a", b"one two")[:-7], b"one two"]),
    "a large body in two packets": Case(
        [post("a", b"x" * 4096)[:-1000], b"x" * 1000], is_now=True
    ),
    "a chunked body": Case([IN_CHUNKS] * 2, 2),
    "a chunked body in two packets": Case([IN_CHUNKS[:-9], IN_CHUNKS[-9:]], is_now=False),
    "a client that asks whether to send": Case(
        [post("a", b"x", TEXT + b"Expect: 100-continue\r\n")], is_now=False
    ),
    "what comes to be": Case([get("j"), get("c"), get("d"), get("h")], 4),
    "many records": Case([get("a"), get("a")], 2, is_now=False),
}  # fmt: skip


class Talk(NamedTuple):
    """What came of all cases. ways: for each case, whether each answer was given at once."""

    answers: dict[str, bytes]
    ways: dict[str, list[bool]]
    counts: dict[tuple[str, str, int], int]


def talk(server: Served, cases: dict[str, Case], fields: Callable[[str], bytes]) -> Talk:
    """Ask a server everything."""
    found, ways = Talk({}, {}, {}), list[bool]()
    server.app.observers.append(lambda _: ways.append(_is_at_once()))
    for name, case in cases.items():
        before = len(ways)
        parts: list[bytes] = []
        with Client(server.address) as client:
            for number, packet in enumerate(case.packets):
                client.send(
                    packet.replace(b"\r\n", b"\r\n" + fields(name), 1) if fields(name) else packet
                )
                if case.answers == len(case.packets):
                    parts += _answer(client, case)
                elif number + 1 < len(case.packets):
                    time.sleep(0.01)
            while len(parts) < 2 * case.answers:
                parts += _answer(client, case)
        told = before + case.answers
        until(lambda told=told: len(ways) >= told)  # type: ignore[misc]
        found.ways[name] = ways[before:]
        found.answers[name] = _alike(b"\r\n\r\n".join(parts))
    found.counts.update(server.app.counts.now().requests)
    return found


def _is_at_once() -> bool:
    try:
        return asyncio.current_task() is None
    except RuntimeError:
        return False


def _answer(client: Client, case: Case) -> list[bytes]:
    reply = client.reply(has_body=not case.bodiless)
    head = client.last_head
    if b'"request_id"' in reply.body:
        # Ids are counted on, and get longer.
        head = re.sub(rb"content-length: \d+", b"content-length: N", head)
    return [head, reply.body]


def _alike(data: bytes) -> bytes:
    for pattern, shown in _DIFFERS:
        data = pattern.sub(shown, data)
    return data


@contextmanager
def running(kind: str, is_now: bool, tokens: str | None = None, **more: object) -> Iterator[Served]:
    """A server; is_now: whether it may answer at once."""
    with served(kind, tokens, **{**SETTINGS, **more}) as server:
        if not is_now:
            server.app.may_be_now = lambda path, query: False  # type: ignore[method-assign]
        yield server


def no_fields(name: str) -> bytes:
    """No more fields."""
    return b""


WAYS: Final = ("now", "asgi")


@pytest.fixture(scope="module")
def talks() -> Iterator[dict[str, Talk]]:
    """All cases, at once and in tasks."""
    with ExitStack() as stack:
        yield {
            way: talk(stack.enter_context(running("uvicorn", way == "now")), CASES, no_fields)
            for way in WAYS
        }


@pytest.mark.parametrize("name", CASES)
def test_a_request_is_answered_at_once_as_it_is_by_messages(
    talks: dict[str, Talk], name: str
) -> None:
    assert talks["now"].answers[name] == talks["asgi"].answers[name]
    assert not any(talks["asgi"].ways[name])
    if CASES[name].is_now:
        assert all(talks["now"].ways[name])


def test_both_ways_are_counted_alike(talks: dict[str, Talk]) -> None:
    assert talks["now"].counts == talks["asgi"].counts


# Connections


def test_a_connection_whose_requests_were_answered_at_once_is_closed_when_it_rests() -> None:
    with running("uvicorn", is_now=True, idle_s=1.0) as server, Client(server.address) as client:
        for _ in range(3):
            client.send(get("none"))
            assert client.reply().status == 404
            time.sleep(0.4)
        assert client.is_closed()


def test_a_request_whose_body_is_slow_is_answered_in_a_task() -> None:
    request, ways = put("a", TEXT, b"body"), list[bool]()
    with running("uvicorn", is_now=True) as server, Client(server.address) as client:
        server.app.observers.append(lambda _: ways.append(_is_at_once()))
        client.send(request[:-4])
        time.sleep(0.2)
        client.send(request[-4:])
        assert client.reply().status == 201
        until(lambda: ways == [False])


def test_a_server_that_ends_answers_a_request_whose_body_it_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "_SOON_S", 3600.0)
    request, ending = put("a", TEXT, b"body"), ExitStack()
    server = ending.enter_context(running("uvicorn", is_now=True))
    thread = threading.Thread(target=ending.close)
    with Client(server.address) as client:
        client.send(request[:-4])
        time.sleep(0.2)
        thread.start()
        time.sleep(0.3)
        client.send(request[-4:])
        assert client.reply().status == 201
    thread.join()


def test_a_request_like_the_one_before_it_may_have_to_wait() -> None:
    ways = list[bool]()
    with running("uvicorn", is_now=True) as server, Client(server.address) as client:
        client.send(put("a", TEXT, b"x"))
        assert client.reply().status == 201
        server.app.observers.append(lambda _: ways.append(_is_at_once()))
        for count in (1, 1, 200, 200, 200):
            stream = server.log.stream("a")
            for _ in range(count - len(stream)):
                stream.append(b"x")
            client.send(get("a"))
            assert client.reply().body == b"x" * count
        until(lambda: ways == [True, True, False, True, True])


def test_a_client_that_goes_before_its_body_is_told_of() -> None:
    told = list[int]()
    with running("uvicorn", is_now=True) as server:
        server.app.observers.append(lambda served: told.append(served.status))
        with Client(server.address) as client:
            client.send(post("a", b"body")[:-1])
        until(lambda: told == [GONE])


def test_a_client_that_takes_no_answers_gets_no_more_of_them_at_once() -> None:
    ways = list[bool]()
    with running("uvicorn", is_now=True, body_bytes_max=2**20) as server:
        with Client(server.address) as client:
            client.send(put("a", TEXT, b"x" * 500_000))
            assert client.reply().status == 201
        server.app.observers.append(lambda _: ways.append(_is_at_once()))
        with Client(server.address, receive_bytes=4096) as client:
            # So many answers that no system keeps them.
            for _ in range(50):
                client.send(get("a"))
                time.sleep(0.02)
            assert 0 < len(ways) < 30
            for _ in range(50):
                assert len(client.reply().body) == 500_000
        # The request before them may be told of after its answer, so as one more.
        until(lambda: len(ways) >= 50)


def test_many_requests_in_one_read_are_no_large_head() -> None:
    count = 5_000
    with running("uvicorn", is_now=True) as server, Client(server.address) as client:
        thread = threading.Thread(target=client.send, args=(get("none") * count,))
        thread.start()
        for _ in range(count):
            assert client.reply().status == 404
        thread.join()


BEFORE: Final = {
    "the rest of a head and many requests": (
        get("none")[:20],
        get("none")[20:] + get("none") * 2000,
    ),
    "a request with a large body": (b"", post("none", b"x" * 100_000)),
    "the rest of a large body": (
        post("none", b"x" * 100_000)[:-90_000],
        post("none", b"x" * 100_000)[-90_000:],
    ),
    "a large body in chunks": (
        b"",
        asked("POST", "/v1/stream/none", TEXT + b"Transfer-Encoding: chunked\r\n")
        + b"%x\r\n%b\r\n0\r\n\r\n" % (100_000, b"x" * 100_000),
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("before", BEFORE)
def test_a_head_that_begins_behind_other_requests_is_as_large_as_it_is(
    before: str, way: str
) -> None:
    first, rest = BEFORE[before]
    count = (first + rest).count(b" HTTP/1.1\r\n")
    more = {"head_bytes_max": 8192, "body_bytes_max": 1 << 20}
    with running("uvicorn", way == "now", **more) as server, Client(server.address) as client:
        if first:
            client.send(first)
            # What is sent next comes in a read of its own.
            time.sleep(0.1)
        last = get("none")
        client.send(rest + last[:30])
        for _ in range(count):
            assert client.reply().status == 404
        client.send(last[30:])
        assert client.reply().status == 404
        # And it is not forgotten what came of one before.
        client.send(last + last[:-2])
        assert client.reply().status == 404
        client.send(b"x: " + b"y" * 8192)
        assert client.reply().status == 431


def test_a_request_is_answered_though_a_head_behind_it_is_refused() -> None:
    limited = running("uvicorn", is_now=True, head_bytes_max=8192)
    with limited as server, Client(server.address) as client:
        client.send(put("late"))
        assert client.reply().status == 201
        client.send(get("late?offset=-1&live=long-poll") + get("none")[:30])
        client.send(b"x" * 8193)
        time.sleep(0.2)
        server.log.stream("late").append(b"at last")
        reply = client.reply()
        assert (reply.status, reply.body) == (200, b"at last")
        assert client.reply().status == 431
        assert client.is_closed()


@pytest.mark.parametrize("count", [1, 3])
def test_requests_over_the_limit_of_connections_are_refused_once(count: int) -> None:
    limited = running("uvicorn", is_now=True, connections_max=1)
    with limited as server, Client(server.address) as first, Client(server.address) as client:
        first.send(get("none"))
        assert first.reply().status == 404
        client.send(get("none") * count)
        assert client.everything().count(b"HTTP/1.1 503") == 1


# With tokens

BEARER: Final = {
    "a token of all": b"all",
    "no token": b"",
    "an unknown token": b"transit_unknown",
    "a token that may not": b"reader",
    "too many requests": b"slow",
}
GUARDED: Final = {
    "a token of all": Case([put("a"), post("a", b"x"), post("a", b"y"), get("a")], 4),
    "no token": Case([post("a", b"x"), post("a", b"x"), get("a?token=x")], 3),
    "an unknown token": Case([post("a", b"x")] * 2, 2),
    "a token that may not": Case([post("a", b"x"), get("a"), post("a", b"x")], 3),
    "too many requests": Case([post("a", b"x")] * 3, 3),
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Talk]]:
    """The cases with tokens, at once and in tasks."""
    path = str(tmp_path_factory.mktemp("tokens") / "tokens.toml")
    secrets = {
        "all": new_token(path, "all", {"": ["all"]}),
        "reader": new_token(path, "reader", {"": ["read"]}),
        "slow": new_token(path, "slow", {"": ["all"]}),
    }
    with open(path, "a") as file:
        # To the last table, which is that of "slow".
        file.write("rate_max = 0.001\n")

    def fields(name: str) -> bytes:
        shown = BEARER[name].decode()
        return f"Authorization: Bearer {secrets.get(shown, shown)}\r\n".encode() if shown else b""

    with ExitStack() as stack:
        yield {
            way: talk(stack.enter_context(running("uvicorn", way == "now", path)), GUARDED, fields)
            for way in WAYS
        }


@pytest.mark.parametrize("name", GUARDED)
def test_a_token_is_looked_at_both_ways_alike(guarded: dict[str, Talk], name: str) -> None:
    now, asgi = guarded["now"], guarded["asgi"]
    assert now.answers[name] == asgi.answers[name]
    assert all(now.ways[name])
    assert not any(asgi.ways[name])
    assert now.counts == asgi.counts
    status = {"too many requests": b"429", "a token that may not": b"403", "a token of all": b"204"}
    assert b"HTTP/1.1 " + status.get(name, b"401") in now.answers[name]


def test_a_token_that_is_taken_back_is_refused_on_a_connection_that_showed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transit.server.tokens.LOOK_S", 0.0)
    path = str(tmp_path / "tokens.toml")
    secret = new_token(path, "one", {"": ["all"]})
    request = post("a", b"x", TEXT + f"Authorization: Bearer {secret}\r\n".encode())
    with running("uvicorn", is_now=True, tokens=path) as server, Client(server.address) as client:
        for status in (404, 404, 401, 401):
            if status == 401:
                Path(path).write_text("")
            client.send(request)
            assert client.reply().status == status
