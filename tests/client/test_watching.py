"""One connection that watches many streams of a server."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from rigs.server.serving import Serving
from transit.client.connection import Connection
from transit.protocol.changes import WATCHED_MAX
from transit.server.exchange import Served
from transit.server.run import serving as served
from transit.server.settings import ServerSettings
from transit.server.tokens import new_token, remove_token

DEADLINE_S = 120
MANY = 5_000
FRAME = 1_000


def make(log: transit.Log, names: list[str]) -> None:
    """Create many streams, a thousand a frame."""
    for begin in range(0, len(names), FRAME):
        with log.batch() as batch:
            for name in names[begin : begin + FRAME]:
                batch.create(name)


class Heard:
    """What a watch was called with: names, in the order in which they came."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[list[str]] = queue.SimpleQueue()

    def __call__(self, streams: tuple[transit.Stream, ...]) -> None:
        self.calls.put([stream.name for stream in streams])

    def until(self, last: str) -> list[str]:
        """All names up to the call with `last` in it."""
        found: list[str] = []
        while last not in found:
            found += self.calls.get(timeout=DEADLINE_S)
        return found


class Again:
    """A server of a store that ends and is there again, at the same port."""

    def __init__(self, log: transit.Log, settings: ServerSettings | None = None) -> None:
        self._log = log
        self._settings = settings
        self.asked: list[Served] = []
        self.serving = Serving(log, settings)
        self.serving.app.observers.append(self.asked.append)

    def end(self) -> None:
        """The server is gone."""
        self.serving.close()

    def begin(self) -> None:
        """It is there again."""
        self.serving = Serving(self._log, self._settings, self.serving.port)
        self.serving.app.observers.append(self.asked.append)


@pytest.fixture
def again(opened: transit.Log) -> Iterator[Again]:
    server = Again(opened)
    yield server
    server.end()


@pytest.mark.slow
def test_one_connection_watches_five_thousand_streams_over_a_restart_of_the_server(
    opened: transit.Log, again: Again
) -> None:
    names = [f"run-{number:04}" for number in range(MANY)]
    make(opened, [*names, "other"])
    with transit.connect(again.serving.url, timeout_s=DEADLINE_S) as log:
        heard = Heard()
        watch = log.watch(heard, names)
        # All of them once at first, in one call, in order of creation.
        assert heard.calls.get(timeout=DEADLINE_S) == names
        assert again.serving.app.streams.tails.count == 1
        some = names[7::500]
        for name in [*some, "other"]:
            opened.stream(name).append(b"x")
        opened.stream(names[3]).finish()
        opened.stream(names[-1]).append(b"last")
        assert sorted(heard.until(names[-1])) == sorted([*some, names[3], names[-1]])
        # Nobody asked for each stream.
        assert {each.template for each in again.asked} <= {"/v1/store", "/v1/changes"}
        again.end()
        meanwhile = [names[11], names[12], names[4_000]]
        for name in meanwhile:
            opened.stream(name).append(b"y")
        opened.stream(names[12]).finish()
        opened.hide(names[13])
        again.begin()
        assert sorted(heard.until(names[4_000])) == sorted([*meanwhile, names[13]])
        opened.stream(names[0]).append(b"z")
        assert heard.until(names[0]) == [names[0]]
        watch.close()
        assert watch.error is None
    # What did not change was not sent again.
    again.end()
    sizes = [each.bytes_out for each in again.asked if each.template == "/v1/changes"]
    assert len(sizes) == 2
    assert sizes[1] < 5_000 < sizes[0]


def test_a_watch_whose_connection_is_ended_again_and_again_is_told_of_changes_alone(
    opened: transit.Log,
) -> None:
    make(opened, ["a", "b", "c"])
    server, pause = Again(opened, ServerSettings(sse_s=0.05, ping_s=0.02)), threading.Event()
    with transit.connect(server.serving.url, timeout_s=DEADLINE_S) as log:
        heard, all_heard = Heard(), Heard()
        log.watch(heard, ["a", "b"])
        log.watch(all_heard)
        assert heard.calls.get(timeout=DEADLINE_S) == ["a", "b"]
        for name in ("a", "b"):
            opened.stream(name).append(b"begun")
            heard.until(name)
            all_heard.until(name)
        for number in range(20):
            while len(server.asked) < 3 * number:
                pause.wait(0.01)
            opened.stream("b").append(str(number).encode())
            assert heard.until("b") == ["b"]
            assert all_heard.until("b") == ["b"]
    server.end()


def test_a_watch_of_all_over_a_restart_is_told_what_was_made_changed_and_hidden(
    opened: transit.Log, again: Again
) -> None:
    make(opened, ["a", "b", "c"])
    with transit.connect(again.serving.url, timeout_s=DEADLINE_S) as log:
        heard = Heard()
        log.watch(heard)
        for name in ("a", "b", "c"):
            opened.stream(name).append(b"x")
        heard.until("c")
        again.end()
        opened.create("new")
        opened.stream("a").append(b"y")
        opened.hide("b")
        again.begin()
        assert sorted(heard.until("new")) == ["a", "b", "new"]


def test_a_watch_of_no_streams_is_told_nothing(opened: transit.Log, again: Again) -> None:
    make(opened, ["a"])
    with transit.connect(again.serving.url, timeout_s=DEADLINE_S) as log:
        heard, other = Heard(), Heard()
        log.watch(heard, [])
        log.watch(other)
        opened.stream("a").append(b"x")
        other.until("a")
        assert heard.calls.empty()


def test_more_streams_than_one_watch_may_name_are_refused(
    opened: transit.Log, again: Again
) -> None:
    with transit.connect(again.serving.url, timeout_s=DEADLINE_S) as log:
        with pytest.raises(transit.InvalidInputError, match="watches all"):
            log.watch(print, [f"x{number}" for number in range(WATCHED_MAX + 1)])
        with pytest.raises(transit.NotFoundError):
            log.watch(print, ["missing"])


def test_a_name_that_another_stream_took_is_not_what_is_watched(
    opened: transit.Log, again: Again
) -> None:
    """Both are watched in turn: the hidden one by its uid, the one that took its name."""
    first = opened.create("a")
    with transit.connect(again.serving.url, timeout_s=DEADLINE_S) as log:
        handle = log.stream("a")
        opened.hide("a")
        second = opened.create("a")
        told: queue.SimpleQueue[tuple[transit.Stream, ...]] = queue.SimpleQueue()
        log.watch(told.put, [handle, "a"])
        assert [each.uid for each in told.get(timeout=DEADLINE_S)] == [first.uid, second.uid]
        again.end()
        second.append(b"x")
        again.begin()
        assert [each.uid for each in told.get(timeout=DEADLINE_S)] == [second.uid]
        first.append(b"x")
        assert [each.uid for each in told.get(timeout=DEADLINE_S)] == [first.uid]


def test_a_token_for_a_prefix_is_told_of_it_alone(path: Path, tmp_path: Path) -> None:
    tokens = str(tmp_path / "tokens.toml")
    secret = new_token(tokens, "ci", {"mine/": ["read"]})
    with transit.open(path, durability="os") as opened, served(opened, tokens=tokens) as running:
        make(opened, ["mine/a", "other/a"])
        with transit.connect(running.url, token=secret, timeout_s=DEADLINE_S) as log:
            heard = Heard()
            log.watch(heard)
            for name in ("other/a", "mine/a"):
                opened.stream(name).append(b"x")
            # Streams that are made later too.
            opened.create("other/b").append(b"x")
            opened.create("mine/b").append(b"x")
            assert sorted(set(heard.until("mine/b"))) == ["mine/a", "mine/b"]
            with pytest.raises(transit.StorePermissionError):
                log.watch(heard, ["mine/a", "other/a"])


def test_a_watch_whose_token_was_taken_back_ends_and_says_so(path: Path, tmp_path: Path) -> None:
    """Elsewhere such watches went on in silence (etcd-io/etcd, 12385)."""
    tokens = str(tmp_path / "tokens.toml")
    secret = new_token(tokens, "ci", {"": ["read"]})
    settings = ServerSettings(sse_s=0.2)
    with (
        transit.open(path, durability="os") as opened,
        served(opened, tokens=tokens, settings=settings) as running,
        transit.connect(running.url, token=secret, timeout_s=DEADLINE_S) as log,
    ):
        heard = Heard()
        watch = log.watch(heard)
        remove_token(tokens, "ci")
        assert heard.calls.get(timeout=DEADLINE_S) == []
        assert isinstance(watch.error, transit.StorePermissionError)


def test_a_watch_whose_look_at_all_streams_fails_goes_on_and_looks_again(
    opened: transit.Log, again: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere it died there (open-telemetry/opentelemetry-collector-contrib, 49962)."""
    make(opened, ["a", "b"])
    with transit.connect(again.serving.url, timeout_s=DEADLINE_S) as log:
        heard = Heard()
        log.watch(heard)
        again.end()
        opened.stream("b").append(b"x")
        page, failed = Connection.page, list[bool]()

        def fails_twice(connection: Connection, *given: object) -> object:
            if len(failed) < 2:
                failed.append(True)
                raise transit.StoreUnavailableError("status 500")
            return page(connection, *given)  # type: ignore[arg-type]

        monkeypatch.setattr(Connection, "page", fails_twice)
        again.begin()
        heard.until("b")
        assert len(failed) == 2
