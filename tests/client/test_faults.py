"""A connection whose other side goes away, forgets, refuses, or answers what nobody hears."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import transit
from rigs.server.between import Between
from rigs.server.serving import Serving
from transit.client.link import Link, Reply
from transit.protocol.problems import refusal
from transit.server.refusals import RefusedError
from transit.server.settings import ServerSettings

FOREVER_S = 120


@pytest.fixture
def between(serving: Serving) -> Iterator[Between]:
    """What loses answers, before the server."""
    made = Between(serving.port)
    yield made
    made.close()


@pytest.fixture
def lossy(between: Between) -> Iterator[transit.Log]:
    """A connection through it."""
    with transit.connect(between.url, timeout_s=FOREVER_S) as log:
        yield log


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def test_a_frame_whose_answer_is_lost_is_written_once(lossy: transit.Log, between: Between) -> None:
    stream = lossy.create("a")
    between.lose = 3
    receipt = stream.append(b"one")
    assert between.lose == 0
    assert receipt.offset == 0
    assert [record.payload for record in stream] == [b"one"]
    assert stream.append(b"two").offset == 1


@pytest.mark.parametrize("plant", ["another producer", "another number"])
def test_a_frame_that_goes_again_as_another_is_found(
    lossy: transit.Log, between: Between, monkeypatch: pytest.MonkeyPatch, plant: str
) -> None:
    """What the tests above hold: without what names a frame, it is written twice or refused."""
    right, count = Link.once, itertools.count()

    def once(
        link: Link, method: str, path: str, body: bytes | None, headers: Mapping[str, str],
        timeout_s: float, *, waits: bool = False,
    ) -> Reply:  # fmt: skip
        if headers and plant == "another producer":
            headers = {**headers, "producer-id": f"planted-{next(count)}", "producer-seq": "0"}
        elif headers:
            headers = {**headers, "producer-seq": str(next(count))}
        return right(link, method, path, body, headers, timeout_s, waits=waits)

    monkeypatch.setattr(Link, "once", once)
    with pytest.raises(AssertionError):
        test_a_frame_whose_answer_is_lost_is_written_once(lossy, between)


def test_a_stream_whose_making_was_not_heard_of_is_the_one_that_was_made(
    lossy: transit.Log, between: Between
) -> None:
    between.lose = 1
    with lossy.batch() as batch:
        made = batch.create("a")
        batch.append(made, b"x")
    assert made.stream == lossy.stream("a")
    assert batch.receipts[0].offset == 0
    between.lose = 1
    assert lossy.merge("m", [made.stream, lossy.create("b")], policy="append").kind == "merge"


def test_submitted_records_are_written_once_and_in_order(
    lossy: transit.Log, between: Between
) -> None:
    stream = lossy.create("a")
    between.lose = 2
    futures = [stream.submit(str(number).encode()) for number in range(500)]
    offsets = [future.result(FOREVER_S).offset for future in futures]
    assert offsets == list(range(500))
    assert [int(record.payload) for record in stream] == offsets


def test_threads_that_lose_answers_write_each_record_once(
    lossy: transit.Log, between: Between
) -> None:
    streams = [lossy.create(f"s{number}") for number in range(4)]
    between.lose = 6

    def write(stream: transit.Stream) -> None:
        for number in range(20):
            assert stream.append(str(number).encode()).offset == number

    threads = [threading.Thread(target=write, args=(stream,)) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(stream) for stream in streams] == [20] * 4


def test_when_no_answer_comes_until_the_deadline_nobody_knows(
    between: Between, opened: transit.Log
) -> None:
    with transit.connect(between.url, timeout_s=1.5) as log:
        stream = log.create("a")
        between.lose = 10**6
        with pytest.raises(transit.OutcomeUnknownError, match="may or may not be written"):
            stream.append(b"x")
        between.lose = 0
        assert len(stream) == 1
        assert stream.append(b"y").offset == 1
    assert len(opened.stream("a")) == 2


def test_where_no_server_is_nothing_was_written() -> None:
    with pytest.raises(transit.RemoteUnavailableError, match="does not answer"):
        transit.connect(f"http://127.0.0.1:{closed_port()}", timeout_s=FOREVER_S)


def test_a_server_that_went_away_is_not_an_unknown_outcome(opened: transit.Log) -> None:
    serving = Serving(opened)
    log = transit.connect(serving.url, timeout_s=0.5)
    stream = log.create("a")
    serving.close()
    with pytest.raises(transit.RemoteUnavailableError, match="does not answer"):
        stream.append(b"x")
    with pytest.raises(transit.RemoteUnavailableError):
        len(stream)
    with pytest.raises(transit.RemoteUnavailableError):
        stream.submit(b"x").result(FOREVER_S)
    log.close()
    assert len(opened.stream("a")) == 0


def test_a_server_that_was_restarted_goes_on_where_it_was(path: Path) -> None:
    with transit.open(path, durability="os") as opened:
        first = Serving(opened)
        log = transit.connect(first.url, timeout_s=FOREVER_S)
        stream = log.create("a")
        stream.append(b"0")
        tailing = stream.tail(0)
        assert next(tailing).payload == b"0"
        first.close()
    with transit.open(path, durability="os") as opened:
        second = Serving(opened, port=first.port)
        assert stream.append(b"1").offset == 1
        assert next(tailing).payload == b"1"
        assert [stream.submit(b"2").result(FOREVER_S).offset, len(stream)] == [2, 3]
        log.close()
        second.close()


def test_a_producer_that_the_server_forgot_goes_on_as_another(opened: transit.Log) -> None:
    settings = ServerSettings(frame_producers_max=1)
    serving = Serving(opened, settings)
    with transit.connect(serving.url) as log:
        stream = log.create("a")
        for number in range(40):
            # Many others, so that each slot's one producer is another one by now.
            with transit.connect(serving.url) as other:
                other.stream("a").append(b"other")
            assert stream.append(b"mine").offset == 2 * number + 1
    serving.close()


def test_a_closed_connection_says_so_whatever_it_is_asked(serving: Serving) -> None:
    log = transit.connect(serving.url)
    stream, cursor = log.create("a"), log.create("b").cursor("c")
    log.close()
    log.close()
    assert log.closed
    for call in (
        lambda: stream.append(b""),
        lambda: stream.submit(b""),
        lambda: list(stream.read()),
        lambda: stream.next_offset,
        lambda: log.create("c"),
        log.batch,
        lambda: log.layer("room"),
        lambda: "a" in log,
        lambda: log.watch(print),
        lambda: cursor.position,
        log.lineage.graph,
        log.status,
        log.__enter__,
    ):
        with pytest.raises(transit.ClosedError):
            call()


def test_closing_wakes_those_who_wait_and_sends_what_was_submitted(serving: Serving) -> None:
    log = transit.connect(serving.url)
    stream = log.create("a")
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            list(stream.tail())
        except transit.ClosedError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    futures = [stream.submit(b"x") for _ in range(100)]
    log.close()
    thread.join()
    assert [future.result(0).offset for future in futures] == list(range(100))
    assert len(errors) == 1


def test_a_forked_child_is_told_to_connect_itself(log: transit.Log) -> None:
    stream = log.create("a")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            stream.append(b"from the child")
        except transit.ForkedError as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        assert b"transit.connect() in the child" in file.read()
    os.waitpid(child, 0)
    assert stream.append(b"from the parent").offset == 0


def refusing(serving: Serving, status: int, after: int = 0) -> None:
    """Have a server refuse all requests but the first few."""
    route, count = serving.app.routes.find, [after]

    def find(request: object) -> object:
        count[0] -= 1
        if count[0] < 0:
            raise RefusedError(status, "refused for a test")
        return route(request)  # type: ignore[arg-type]

    serving.app.routes.find = find  # type: ignore[assignment,method-assign]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, transit.StorePermissionError),
        (403, transit.StorePermissionError),
        (404, transit.RemoteSetupError),
        (413, transit.InvalidInputError),
        (429, transit.RemoteUnavailableError),
        (500, transit.StoreUnavailableError),
        (503, transit.RemoteUnavailableError),
    ],
)
def test_a_refusal_is_the_error_that_says_what_to_do(
    serving: Serving, status: int, kind: type[transit.TransitError]
) -> None:
    log = transit.connect(serving.url, timeout_s=0.3, token="not-a-secret")
    stream = log.create("a")
    refusing(serving, status)
    for call in (lambda: stream.append(b"x"), lambda: list(stream.read())):
        with pytest.raises(kind, match="refused for a test") as found:
            call()
        assert type(found.value) is kind
        assert "not-a-secret" not in str(found.value)
    assert refusal(status, "").status == status
    log.close()


def test_a_server_that_is_busy_is_asked_again(serving: Serving) -> None:
    with transit.connect(serving.url, timeout_s=FOREVER_S) as log:
        stream = log.create("a")
        route, count = serving.app.routes.find, [3]

        def find(request: object) -> object:
            count[0] -= 1
            if count[0] >= 0:
                raise RefusedError(503, "not now", ((b"retry-after", b"0"),))
            return route(request)  # type: ignore[arg-type]

        serving.app.routes.find = find  # type: ignore[assignment,method-assign]
        assert stream.append(b"x").offset == 0
        count[0] = 3
        assert len(stream) == 1


@pytest.mark.parametrize(
    "url",
    ["", "ftp://x", "http://", "http://u:p@host", "http://host?x=1", "http://host/#x",
     "http://ho st", "http://host:70000", "127.0.0.1:80", "http://[::1"],
)  # fmt: skip
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(transit.InvalidInputError) as found:
        transit.connect(url)
    assert "p@" not in str(found.value)


@pytest.mark.parametrize("token", ["", "two words", "line\r\nbreak", "ü", 7])
def test_what_is_no_token_is_refused_unshown(token: str) -> None:
    with pytest.raises(transit.InvalidInputError) as found:
        transit.connect("http://127.0.0.1:9", token=token)
    assert "break" not in str(found.value)


def test_an_unknown_host_is_not_tried_again() -> None:
    with pytest.raises(transit.RemoteSetupError, match="no such host"):
        transit.connect("http://nobody.invalid", timeout_s=FOREVER_S)


def test_plain_bytes_on_a_tls_port_are_a_setup_error(serving: Serving) -> None:
    url = serving.url.replace("http://", "https://")
    with pytest.raises(transit.RemoteSetupError, match="ca_file"):
        transit.connect(url, timeout_s=FOREVER_S)
