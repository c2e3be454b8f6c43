"""Watches of any number of streams, of a prefix, and of all, that go on where they broke off."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import msgspec
import pytest

from rigs.server.serving import Serving
from tests.server.api.calling import JSON, Server, messages, scope_of
from transit import Log
from transit.protocol.changes import Known, Told, WatchRequest
from transit.server.access import READ, Grant
from transit.server.api import changes, recent
from transit.server.settings import ServerSettings

WAIT_S = 120
_EVENT = b"event: changes\ndata: "


async def told(server: Server, asked: WatchRequest) -> AsyncIterator[Told | None]:
    """What a watch is told; None for a sign that it is there."""
    body = msgspec.json.encode(asked)
    scope = scope_of("POST", "/v1/changes", {"content-type": JSON})
    async for message in messages(server.app, scope, body):
        part: bytes = message.get("body", b"")
        if message["type"] == "http.response.start":
            assert message["status"] == 200
        elif part.startswith(_EVENT):
            yield msgspec.json.decode(part.removeprefix(_EVENT), type=Told)
        elif part:
            assert part == b": \n\n"
            yield None


@pytest.fixture
def serve(log: Log) -> Iterator[Callable[..., Server]]:
    """A function that serves the store with other settings; it ends with the test."""
    servers: list[Server] = []

    def served(**settings: Any) -> Server:
        servers.append(Server(log, ServerSettings(**settings)))
        return servers[-1]

    yield served
    while servers:
        servers.pop().close()


def run(server: Server, work: Any) -> Any:
    return server.start(asyncio.wait_for(work, WAIT_S)).result(WAIT_S)


async def first(server: Server, asked: WatchRequest) -> Told:
    """The first event of a watch, which ends then."""
    events = told(server, asked)
    found = await anext(events)
    await events.aclose()  # type: ignore[attr-defined]
    assert found is not None
    return found


def names(event: Told | None) -> list[str]:
    assert event is not None
    return sorted(each.name for each in event.streams)


def test_named_streams_are_told_unless_they_stand_as_they_are_known_to(
    server: Server, log: Log
) -> None:
    for name in ("a", "b", "c", "d", "e"):
        log.create(name).append(b"1")
    log.stream("b").append(b"2")
    log.stream("c").finish()
    uid = "$$" + log.stream("d").uid
    log.hide("d")
    known = [Known(name, 1) for name in ("a", "b", "c", uid)]
    asked = WatchRequest([*known, Known("e")])

    async def work() -> None:
        events = told(server, asked)
        assert names(await anext(events)) == ["b", "c", "d", "e"]
        log.stream("a").append(b"2")
        event = await anext(events)
        assert names(event) == ["a"]
        assert event is not None
        assert event.streams[0].next_offset == 2
        await events.aclose()  # type: ignore[attr-defined]

    run(server, work())
    same = WatchRequest(
        [Known("a", 2), Known("b", 2), Known("c", 1, True), Known(uid, 1, False, True)]
    )
    assert run(server, first(server, same)) == Told()


def test_a_prefix_is_told_of_streams_made_later_and_goes_on_from_its_position(
    server: Server, log: Log
) -> None:
    log.create("runs/a")
    log.create("other")

    async def work() -> None:
        events = told(server, WatchRequest(prefix="runs/"))
        begun = await anext(events)
        assert begun is not None
        assert begun.all
        log.stream("other").append(b"1")
        log.create("runs/b").append(b"1")
        event = await anext(events)
        assert names(event) == ["runs/b"]
        assert event is not None
        await events.aclose()  # type: ignore[attr-defined]
        # While nobody is there.
        log.stream("runs/a").append(b"1")
        log.create("runs/c")
        log.stream("other").append(b"1")
        events = told(server, WatchRequest(prefix="runs/", since=event.position))
        found: list[str] = []
        while len(found) < 2:
            found += names(await anext(events))
        assert found == ["runs/a", "runs/c"]
        await events.aclose()  # type: ignore[attr-defined]

    run(server, work())


@pytest.mark.parametrize("since", ["", "abc.1", ".", "x" * 64, "0" * 12 + ".99"])
def test_a_position_that_is_not_known_begins_with_all(server: Server, log: Log, since: str) -> None:
    """No empty answer that ends at once (kubernetes/kubernetes, 104171)."""

    async def work() -> None:
        begun = await first(server, WatchRequest(since=since))
        assert begun.all
        epoch, _, number = begun.position.partition(".")
        ahead = await first(server, WatchRequest(since=f"{epoch}.{int(number) + 9}"))
        assert ahead.all
        assert not (await first(server, WatchRequest(since=begun.position))).all

    run(server, work())


def test_a_position_from_before_what_is_kept_begins_with_all(
    server: Server, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recent, "KEPT_MAX", 3)

    async def work() -> None:
        events = told(server, WatchRequest())
        begun = await anext(events)
        assert begun is not None
        for number in range(4):
            log.create(f"s{number}")
            await anext(events)
        await events.aclose()  # type: ignore[attr-defined]
        assert (await first(server, WatchRequest(since=begun.position))).all

    run(server, work())


def test_a_watch_that_is_told_nothing_says_its_place_so_that_it_does_not_grow_old(
    log: Log, serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Filtered watches elsewhere kept an old place (etcd-io/etcd, 17566; ligato/cn-infra, 265)."""
    monkeypatch.setattr(recent, "KEPT_MAX", 3)
    server = serve(ping_s=0.02)

    async def work() -> None:
        events = told(server, WatchRequest(prefix="quiet/"))
        event = await anext(events)
        last = event
        for number in range(8):
            log.create(f"busy{number}")
            while event is None or event is last:
                event = await anext(events)
            last = event
            assert event.streams == []
        await events.aclose()  # type: ignore[attr-defined]
        assert last is not None
        assert not (await first(server, WatchRequest(prefix="quiet/", since=last.position))).all

    run(server, work())


def test_a_watch_of_a_quiet_prefix_in_a_busy_store_says_that_it_is_there(
    log: Log, serve: Callable[..., Server]
) -> None:
    server = serve(ping_s=0.3, sse_s=8.0)
    log.create("mine/a")
    busy = log.create("busy")

    async def appends() -> None:
        while True:
            busy.append(b"x")
            await asyncio.sleep(0.005)

    async def work(query: bytes) -> None:
        scope = {**scope_of("GET", "/v1/changes"), "query_string": query}
        appending = asyncio.create_task(appends())
        try:
            async for message in messages(server.app, scope):
                if message.get("body") == b": \n\n":
                    return
        finally:
            appending.cancel()
        raise AssertionError("it ended, and nothing said that it is there")

    server.app.granted = Grant("t", (("mine/", frozenset({READ})),))
    run(server, work(b""))
    run(server, work(b"stream=mine/a"))


def test_a_token_is_told_of_what_it_may_read_whatever_it_asks_for(server: Server, log: Log) -> None:
    server.app.granted = Grant("t", (("mine/", frozenset({READ})),))
    log.create("other")

    async def work(prefix: str) -> None:
        events = told(server, WatchRequest(prefix=prefix))
        await anext(events)
        log.stream("other").append(b"1")
        log.create(f"other/{prefix}new")
        made = f"mine/{prefix.replace('/', '-')}"
        log.create(made)
        assert names(await anext(events)) == [made]
        await events.aclose()  # type: ignore[attr-defined]

    for prefix in ("", "m", "mine/"):
        run(server, work(prefix))
    assert post(server, {"streams": [{"stream": "other"}]}).status == 403
    # Before it is said whether there is such a stream.
    assert post(server, {"streams": [{"stream": "nowhere"}]}).status == 403
    server.app.granted = Grant()
    assert post(server, {}).status == 403
    assert post(server, {"streams": []}).status == 403


def post(server: Server, asked: Mapping[str, object]) -> Any:
    return server.post("/v1/changes", asked)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"streams": [{"stream": "missing"}]}, 404),
        ({"streams": [{"stream": "$lineage"}]}, 404),
        ({"streams": [{"stream": "a", "next_offset": -1}]}, 400),
        ({"streams": ["a"]}, 400),
        ({"streams": [{"stream": "a"}], "prefix": "a"}, 400),
        ({"streams": [{"stream": "a"}], "since": "a.1"}, 400),
        ({"streams": [{"stream": "a"}] * 100_001}, 400),
        ({"prefix": "$trace/"}, 400),
        ({"unknown": 1}, 400),
        ({"since": "x" * 65}, 400),
    ],
)
def test_what_cannot_be_watched_is_refused(
    server: Server, log: Log, asked: Mapping[str, object], status: int
) -> None:
    log.create("a")
    assert post(server, asked).status == status


def test_so_many_streams_are_watched_and_no_more(
    server: Server, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "WATCHED_MAX", 3)
    for name in "abcd":
        log.create(name)
    asked = WatchRequest([Known("a"), Known("b")])

    async def work() -> None:
        events = told(server, asked)
        await anext(events)
        scope = scope_of("POST", "/v1/changes", {"content-type": JSON})
        start = await anext(messages(server.app, scope, msgspec.json.encode(asked)))
        assert start["status"] == 503
        await events.aclose()  # type: ignore[attr-defined]
        # What was given up is there for others.
        while server.app.streams.tails.count:
            await asyncio.sleep(0.001)
        await first(server, asked)

    run(server, work())


def test_large_events_come_in_parts_and_only_the_last_has_the_position(
    server: Server, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "EVENT_BYTES", 1_000)

    async def work() -> None:
        events = told(server, WatchRequest())
        await anext(events)
        with log.batch() as batch:
            for number in range(50):
                batch.create(f"s{number}", {"about": "x" * 200})
        found = [await anext(events)]
        while found[-1] is None or found[-1].more:
            found.append(await anext(events))
        assert len(found) > 5
        assert [each.position for each in found[:-1] if each] == [""] * (len(found) - 1)
        assert sum(len(each.streams) for each in found if each) == 50
        await events.aclose()  # type: ignore[attr-defined]

    run(server, work())


@pytest.mark.slow
def test_a_reader_that_takes_nothing_for_long_is_told_all_that_changed_as_it_stands(
    log: Log,
) -> None:
    """Watches on one connection lost wakes while it was full (etcd-io/etcd, 17529)."""
    count, rounds = 5_000, 12
    names_ = [f"s{number}" for number in range(count)]
    with log.batch() as batch:
        for name in names_:
            batch.create(name, {"about": "x" * 500})
    serving = Serving(log, ServerSettings(sse_s=WAIT_S))
    connection = http.client.HTTPConnection("127.0.0.1", serving.port, timeout=WAIT_S)
    connection.connect()
    assert connection.sock is not None
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    body = json.dumps({"streams": [{"stream": name, "next_offset": 0} for name in names_]})
    connection.request("POST", "/v1/changes", body, {"content-type": JSON})
    answer = connection.getresponse()
    assert answer.read(1) == b"e"
    # Every stream changes again and again while nothing is taken; some are finished.
    for number in range(rounds):
        with log.batch() as batch:
            for name in names_:
                batch.append(name, b"%d" % number)
    for name in names_[::100]:
        log.stream(name).finish()
    standing: dict[str, tuple[int, bool]] = {}
    size, waiting = 0, b""
    whole = {name: (rounds, name in names_[::100]) for name in names_}
    while standing != whole:
        part = answer.read1(1 << 20)
        assert part
        size += len(part)
        *events, waiting = (waiting + part).split(b"\n\n")
        for event in events:
            for about in msgspec.json.decode(event[event.index(b"{") :], type=Told).streams:
                standing[about.name] = about.next_offset, about.finished
    # Coalesced: not told once for each change.
    assert size < rounds * count * 500
    connection.close()
    serving.close()


def _forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A position is taken for one of this server's life, whatever it is."""
    monkeypatch.setattr(recent.Recent, "number_of", lambda self, position: self.number)


@pytest.mark.parametrize("plant", [_forgets], ids=lambda plant: plant.__name__)
def test_a_planted_position_that_is_believed_is_found(
    server: Server, log: Log, monkeypatch: pytest.MonkeyPatch, plant: Callable[..., None]
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        test_a_position_that_is_not_known_begins_with_all(server, log, "abc.1")
