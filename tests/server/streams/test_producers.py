"""Producers: what was taken is taken once, whatever a server forgets."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import transit
from tests.conftest import Start
from tests.server.calling import JSON, TEXT, Caller, producer, served
from transit.server.settings import ServerSettings
from transit.server.states import WHOLE

SERVER = """
import os, sys, asyncio, transit
from tests.server.calling import call
from transit.server.app import App
from transit.server.service import Service

path, dies_at = sys.argv[1], int(sys.argv[2])
log = transit.open(path, durability="local")
app = App(log)
taken = 0

async def reach(self, durability):
    # The frame is written, the answer is not: here the process dies.
    global taken
    taken += 1
    if taken == dies_at:
        print("dying", flush=True)
        os.kill(os.getpid(), 9)

Service.reach = reach

async def main():
    for number in range(dies_at + 1):
        fields = {"content-type": "text/plain", "producer-id": "p", "producer-epoch": "0",
                  "producer-seq": str(number)}
        print((await call(app, "POST", "s", b"%d," % number, fields)).status, flush=True)

asyncio.run(main())
"""


def test_a_request_whose_answer_a_kill_took_is_taken_once(tmp_path: Path, start: Start) -> None:
    with transit.open(tmp_path / "store") as log:
        log.create("s", {"http.content-type": "text/plain"})
    for dies_at in (1, 2, 3):
        child = start(SERVER, str(tmp_path / "store"), str(dies_at))
        child.communicate()
        assert child.returncode == -signal.SIGKILL
    with served(tmp_path / "store") as call:
        answers = [
            call("POST", "s", b"%d," % number, TEXT | producer("p", 0, number)).status
            for number in range(4)
        ]
        assert answers == [204, 204, 204, 200]
        assert call("GET", "s").body == b"0,1,2,3,"


@pytest.fixture
def call(tmp_path: Path) -> Caller:
    with served(tmp_path / "store") as caller:
        caller("PUT", "s", headers=TEXT)
        yield caller


def test_a_repeated_request_is_answered_with_the_last_number_that_was_taken(call: Caller) -> None:
    for number in range(3):
        assert call("POST", "s", b"x", TEXT | producer("p", 0, number)).status == 200
    again = call("POST", "s", b"x", TEXT | producer("p", 0, 0))
    assert (again.status, again.headers["producer-seq"]) == (204, "2")
    assert call("GET", "s").body == b"xxx"


def test_a_gap_is_refused_and_named(call: Caller) -> None:
    call("POST", "s", b"x", TEXT | producer("p", 0, 0))
    refused = call("POST", "s", b"x", TEXT | producer("p", 0, 2))
    numbers = refused.headers["producer-expected-seq"], refused.headers["producer-received-seq"]
    assert (refused.status, numbers) == (409, ("1", "2"))


def test_an_old_epoch_is_fenced_off_and_a_new_one_begins_at_0(call: Caller) -> None:
    call("POST", "s", b"x", TEXT | producer("p", 5, 0))
    assert call("POST", "s", b"y", TEXT | producer("p", 6, 1)).status == 400
    assert call("POST", "s", b"y", TEXT | producer("p", 6, 0)).status == 200
    zombie = call("POST", "s", b"z", TEXT | producer("p", 5, 1))
    assert (zombie.status, zombie.headers["producer-epoch"]) == (403, "6")
    assert call("GET", "s").body == b"xy"


def test_the_state_is_read_back_whole_after_many_requests(tmp_path: Path) -> None:
    count = 2 * WHOLE + 3
    with served(tmp_path / "store") as call:
        call("PUT", "s", headers=TEXT)
        call("POST", "s", b"a", TEXT | producer("early", 3, 0) | {"stream-seq": "k"})
        for number in range(count):
            call("POST", "s", b"x", TEXT | producer("p", 0, number))
    with served(tmp_path / "store") as call:
        assert call("POST", "s", b"a", TEXT | producer("early", 3, 0)).status == 204
        assert call("POST", "s", b"x", TEXT | producer("p", 0, count - 1)).status == 204
        assert call("POST", "s", b"x", TEXT | producer("p", 0, count)).status == 200
        assert call("POST", "s", b"x", TEXT | {"stream-seq": "j"}).status == 409
        assert len(call("GET", "s").body) == count + 2


def test_an_append_and_what_is_remembered_of_it_are_one_frame(tmp_path: Path) -> None:
    with served(tmp_path / "store") as call:
        call("PUT", "s", headers=TEXT)
        call("POST", "s", b"x", TEXT | producer("p", 0, 0))
        log = call.app.service.log
        data = log.stream("s")[0]
        state = next(iter(log.layer("server").streams("streams/")))[-1]
        assert state.written == data.written


def test_the_next_request_after_a_refused_one_is_taken(call: Caller) -> None:
    call("POST", "s", b"x", TEXT | producer("p", 0, 0))
    assert call("POST", "s", b"x", JSON | producer("p", 0, 1)).status == 409
    assert call("POST", "s", b"y", TEXT | producer("p", 0, 1)).status == 200


def test_a_closing_request_sent_again_is_a_success_and_another_is_refused(call: Caller) -> None:
    closing = TEXT | producer("p", 0, 0) | {"stream-closed": "true"}
    assert call("POST", "s", b"end", closing).status == 200
    again = call("POST", "s", b"end", closing)
    assert (again.status, again.headers["stream-closed"]) == (204, "true")
    other = call("POST", "s", b"more", TEXT | producer("p", 0, 1))
    assert (other.status, other.headers["stream-closed"]) == (409, "true")
    assert call("GET", "s").body == b"end"


def test_no_more_producers_are_remembered_than_the_limit_allows(tmp_path: Path) -> None:
    with served(tmp_path / "store", settings=ServerSettings(producers_max=2)) as call:
        call("PUT", "s", headers=TEXT)
        for name in ("a", "b"):
            assert call("POST", "s", b"x", TEXT | producer(name, 0, 0)).status == 200
        assert call("POST", "s", b"x", TEXT | producer("c", 0, 0)).status == 429
        assert call("POST", "s", b"x", TEXT | producer("a", 0, 1)).status == 200


def test_a_fork_has_no_producers_of_its_source(call: Caller) -> None:
    call("POST", "s", b"x", TEXT | producer("p", 7, 0))
    call("PUT", "fork", headers={"stream-forked-from": "/v1/stream/s"})
    assert call("POST", "fork", b"y", TEXT | producer("p", 0, 0)).status == 200
    assert call("GET", "fork").body == b"xy"


@pytest.mark.parametrize(
    "fields",
    [
        {"producer-id": "p"},
        {"producer-id": "p", "producer-epoch": "0"},
        {"producer-id": "", "producer-epoch": "0", "producer-seq": "0"},
        {"producer-id": "p", "producer-epoch": "-1", "producer-seq": "0"},
        {"producer-id": "p", "producer-epoch": "0", "producer-seq": "1e3"},
        {"producer-id": "p", "producer-epoch": "01", "producer-seq": "0"},
        {"producer-id": "p", "producer-epoch": "9007199254740992", "producer-seq": "0"},
        {"producer-id": "p" * 257, "producer-epoch": "0", "producer-seq": "0"},
    ],
)
def test_fields_that_name_no_producer_are_refused(call: Caller, fields: dict[str, str]) -> None:
    assert call("POST", "s", b"x", TEXT | fields).status == 400
    assert call("GET", "s").body == b""


def test_two_servers_that_share_a_store_take_a_request_once(tmp_path: Path) -> None:
    with (
        served(tmp_path / "store", mode="shared") as one,
        served(tmp_path / "store", mode="shared") as other,
    ):
        one("PUT", "s", headers=TEXT)
        for number in range(6):
            fields = TEXT | producer("p", 0, number)
            first, second = (one, other) if number % 2 else (other, one)
            assert first("POST", "s", b"%d" % number, fields).status == 200
            assert second("POST", "s", b"%d" % number, fields).status == 204
        assert other("GET", "s").body == b"012345"
