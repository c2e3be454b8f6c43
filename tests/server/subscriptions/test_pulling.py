"""Workers that pull: waking, claiming, acknowledging, and what a restart keeps of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from tests.server.calling import JSON, TEXT, Caller, Reply, call, served
from transit.protocol.offsets import encode_offset
from transit.server.app import App
from transit.server.settings import ServerSettings
from transit.server.subscriptions.globs import matches
from transit.server.subscriptions.records import WHOLE, Subscription

ON = ServerSettings(subscriptions=True, base_url="http://127.0.0.1:1", webhook_loopback=True)
SUBSCRIPTION = "__ds/subscriptions/work"
ASKED = b'{"type":"pull-wake","pattern":"events/*","wake_stream":"wake","lease_ttl_ms":600000}'


@pytest.fixture
def caller(tmp_path: Path) -> Iterator[Caller]:
    with served(tmp_path / "store", settings=ON) as caller:
        caller("PUT", "wake", b"[]", JSON)
        assert caller("PUT", SUBSCRIPTION, ASKED, JSON).status == 201
        yield caller


def wakes(caller: Caller, count: int) -> list[Any]:
    """The wake events, once there are so many."""

    async def wait() -> list[Any]:
        while True:
            told: list[Any] = (await call(caller.app, "GET", "wake")).json
            if len(told) >= count:
                return told
            await asyncio.sleep(0.002)

    return caller.run(wait())


def claim(caller: Caller, worker: str = "w") -> Reply:
    return caller("POST", f"{SUBSCRIPTION}/claim", b'{"worker":"%s"}' % worker.encode(), JSON)


def say(caller: Caller, action: str, claimed: Any, body: str, token: str | None = None) -> Reply:
    fields = JSON | {"authorization": f"Bearer {token or claimed['token']}"}
    wake = f'"wake_id":"{claimed["wake_id"]}","generation":{claimed["generation"]}'
    return caller("POST", f"{SUBSCRIPTION}/{action}", f"{{{wake}{body}}}".encode(), fields)


def done(offset: int) -> str:
    acks = f'[{{"stream":"events/a","offset":"{encode_offset(offset)}"}}]'
    return f',"acks":{acks},"done":true'


def test_work_is_told_claimed_and_done_and_told_again(caller: Caller) -> None:
    caller("PUT", "events/a", b"x", TEXT)
    (event,) = wakes(caller, 1)
    assert (event["stream"], event["generation"]) == ("events/a", 1)
    claimed = claim(caller).json
    (stream,) = claimed["streams"]
    assert (stream["acked_offset"], stream["has_pending"]) == ("-1", True)
    # What comes while it is worked on is told when that is over.
    caller("POST", "events/a", b"y", TEXT)
    assert say(caller, "ack", claimed, done(1)).json == {"ok": True, "next_wake": True}
    assert [event["generation"] for event in wakes(caller, 2)] == [1, 2]
    again = claim(caller).json
    assert say(caller, "ack", again, done(2)).json == {"ok": True, "next_wake": False}
    assert claim(caller).json["error"]["code"] == "NO_PENDING_WORK"


def test_what_was_there_before_a_subscription_is_no_work_of_it(tmp_path: Path) -> None:
    with served(tmp_path / "store", settings=ON) as caller:
        caller("PUT", "events/a", b"old", TEXT)
        caller("PUT", "wake", b"[]", JSON)
        shown = caller("PUT", SUBSCRIPTION, ASKED, JSON).json
        assert shown["streams"] == [
            {"path": "events/a", "link_type": "glob", "acked_offset": encode_offset(1)}
        ]
        assert claim(caller).status == 409


def test_a_worker_that_lost_its_wake_changes_nothing(caller: Caller) -> None:
    caller("PUT", "events/a", b"x", TEXT)
    wakes(caller, 1)
    first = claim(caller).json
    busy = claim(caller, "other").json["error"]
    assert (busy["code"], busy["current_holder"]) == ("ALREADY_CLAIMED", "w")
    assert say(caller, "release", first, "").status == 204
    second = claim(caller, "other").json
    stale = say(caller, "ack", first, done(1))
    assert (stale.status, stale.json["error"]["code"]) == (409, "FENCED")
    wrong = say(caller, "ack", second, done(1), token=first["token"])
    assert (wrong.status, wrong.json["error"]["code"]) == (401, "TOKEN_INVALID")
    assert say(caller, "ack", second, done(1)).status == 200


@pytest.mark.parametrize("offset", [2, 0])
def test_an_offset_past_the_end_or_back_is_refused(caller: Caller, offset: int) -> None:
    caller("PUT", "events/a", b"x", TEXT)
    wakes(caller, 1)
    claimed = claim(caller).json
    say(caller, "ack", claimed, done(1).replace("true", "false"))
    refused = say(caller, "ack", claimed, done(offset))
    assert (refused.status, refused.json["error"]["code"]) == (409, "INVALID_OFFSET")


def test_a_lease_that_runs_out_is_work_for_another(tmp_path: Path) -> None:
    with served(tmp_path / "store", settings=ON) as caller:
        caller("PUT", "wake", b"[]", JSON)
        caller("PUT", SUBSCRIPTION, ASKED.replace(b"600000", b"1000"), JSON)
        caller("PUT", "events/a", b"x", TEXT)
        wakes(caller, 1)
        claimed = claim(caller).json
        wakes(caller, 2)
        assert say(caller, "ack", claimed, done(1)).status == 409
        assert claim(caller, "other").json["generation"] == 2


def test_a_restart_keeps_leases_tokens_and_places(tmp_path: Path) -> None:
    with served(tmp_path / "store", settings=ON) as caller:
        caller("PUT", "wake", b"[]", JSON)
        caller("PUT", SUBSCRIPTION, ASKED, JSON)
        caller("PUT", "events/a", b"x", TEXT)
        wakes(caller, 1)
        claimed = claim(caller).json
    with served(tmp_path / "store", settings=ON) as caller:
        assert claim(caller, "other").json["error"]["code"] == "ALREADY_CLAIMED"
        assert say(caller, "ack", claimed, done(1)).status == 200
    # What came while no server ran is work for the next.
    with transit.open(tmp_path / "store") as log:
        log.stream("events/a").append(b"y")
        log.create("events/b").append(b"z")
    with served(tmp_path / "store", settings=ON) as caller:
        assert wakes(caller, 2)[1]["generation"] == 2
        pending = {each["path"]: each["has_pending"] for each in claim(caller).json["streams"]}
        assert pending == {"events/a": True, "events/b": True}


def test_records_of_many_changes_are_read_back_from_the_last_whole_one(caller: Caller) -> None:
    waking = caller.app.subscriptions.waking  # type: ignore[union-attr]
    one = waking.get("work")
    for number in range(WHOLE + 40):
        caller.run(_add(waking, one, f"other/{number % 7}", is_there=number % 2 == 0))
    read = Subscription(one.id, one.stream)
    read.load()
    assert (read.links, read.next_record) == (one.links, len(one.stream))
    assert vars(read) == vars(one)


async def _add(waking: Any, one: Any, path: str, *, is_there: bool) -> None:
    if is_there:
        waking.add(one, [path])
    else:
        waking.remove(one, path)
        waking.add(one, [path])


def test_the_same_asked_for_again_is_a_success_and_another_is_refused(caller: Caller) -> None:
    assert caller("PUT", SUBSCRIPTION, ASKED, JSON).status == 200
    assert caller("PUT", SUBSCRIPTION, ASKED.replace(b"600000", b"5000"), JSON).status == 409
    assert caller("DELETE", SUBSCRIPTION).status == 204
    assert caller("DELETE", SUBSCRIPTION).status == 204
    assert caller("GET", SUBSCRIPTION).status == 404
    assert caller("PUT", SUBSCRIPTION, ASKED.replace(b"600000", b"5000"), JSON).status == 201


def test_a_stream_that_is_deleted_is_linked_no_more(caller: Caller) -> None:
    caller("PUT", "events/a", b"x", TEXT)
    wakes(caller, 1)
    caller("DELETE", "events/a")

    async def unlinked() -> None:
        while (await call(caller.app, "GET", SUBSCRIPTION)).json["streams"]:
            await asyncio.sleep(0.002)

    caller.run(unlinked())


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b'{"type":"push"}', b'{"type":"pull-wake","wake_stream":"wake"}',
        b'{"type":"pull-wake","pattern":"a/*"}', ASKED.replace(b"600000", b"999"),
        ASKED.replace(b"600000", b"600001"), ASKED.replace(b'"wake",', b'"../x",'),
        ASKED.replace(b"events/*", b"/".join([b"**"] * 40)), ASKED.replace(b'"wake",', b'"$l/x",'),
        b'{"type":"webhook","pattern":"a/*"}',
    ],
)  # fmt: skip
def test_what_is_no_subscription_is_refused(caller: Caller, body: bytes) -> None:
    assert caller("PUT", "__ds/subscriptions/other", body, JSON).status == 400
    assert caller("GET", "__ds/subscriptions/other").status == 404


@pytest.mark.parametrize("mode", ["shared", "read"])
def test_only_one_process_keeps_leases(tmp_path: Path, mode: Any) -> None:
    transit.open(tmp_path / "store").close()
    with (
        transit.open(tmp_path / "store", mode=mode) as log,
        pytest.raises(transit.InvalidInputError, match="exclusive"),
    ):
        App(log, ON)


@pytest.mark.parametrize(
    ("pattern", "path", "is_match"),
    [
        ("events/*", "events/a", True),
        ("events/*", "events/a/b", False),
        ("events/*", "events", False),
        ("events/**", "events", True),
        ("events/**", "events/a/b", True),
        ("**/a", "a", True),
        ("**/a", "x/y/a", True),
        ("*/a/**/b", "x/a/b", True),
        ("a.c", "abc", False),
        ("%2A/x", "*/x", True),
        ("**/**/**/x", "/".join("a" * 30) + "/y", False),
        ("/".join(["**/a"] * 16) + "/b", "/".join("a" * 250), False),
        ("/".join(["**/a"] * 16), "/".join("a" * 250), True),
        ("%2A%2A/x", "**/x", True),
        ("%2A%2A/x", "a/x", False),
        ("%2A%2A/x", "x", False),
    ],
)
def test_patterns_are_over_segments(pattern: str, path: str, is_match: bool) -> None:
    assert matches(pattern, path) is is_match


def test_a_disk_that_is_full_for_a_while_loses_no_wake_and_no_lease(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transit.server.subscriptions.waking.RETRY_FIRST_S", 0.01)
    log = caller.app.service.log
    caller("PUT", "events/a", headers=TEXT)
    refused: list[object] = []

    def full(**given: object) -> object:
        refused.append(given)
        raise transit.StorageFullError("no room")

    async def until_refused() -> None:
        while not refused:
            await asyncio.sleep(0.002)

    with monkeypatch.context() as disk:
        disk.setattr(log, "batch", full)
        log.stream("events/a").append(b"x")
        caller.run(until_refused())
    wakes(caller, 1)
    claimed = claim(caller).json
    with monkeypatch.context() as disk:
        disk.setattr(log, "batch", full)
        assert say(caller, "ack", claimed, done(1)).status == 507
        assert say(caller, "release", claimed, "").status == 507
    # It holds the lease still, and says so once more.
    assert say(caller, "ack", claimed, done(1)).json == {"ok": True, "next_wake": False}
