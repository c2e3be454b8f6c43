"""Names of streams over the network: deleted, expired, made again, kept for forks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from tests.server.calling import JSON, TEXT, Caller, producer, served
from transit.protocol.fields import show_time
from transit.server import lives
from transit.server.lives import SECOND

FORKED = "stream-forked-from"


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Caller]:
    with served(tmp_path / "store") as caller:
        yield caller


class Clock:
    """The time of day, as the server sees it."""

    def __init__(self) -> None:
        self.now = time.time_ns()

    def time_ns(self) -> int:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lives, "time", clock)
    return clock


def fork(call: Caller, source: str, name: str, **fields: str) -> int:
    headers = {FORKED: f"/v1/stream/{source}"} | {k.replace("_", "-"): v for k, v in fields.items()}
    return call("PUT", name, headers=headers).status


def test_a_name_that_was_deleted_names_a_new_stream_with_nothing_of_the_old(call: Caller) -> None:
    call("PUT", "s", b"old", TEXT)
    tag = call("GET", "s").headers["etag"]
    call("POST", "s", b"x", TEXT | producer("p", 9, 0))
    assert call("DELETE", "s").status == 204
    assert call("GET", "s").status == 404
    assert call("PUT", "s", b"[1]", JSON).status == 201
    again = call("GET", "s", headers={"if-none-match": tag})
    assert (again.status, again.body) == (200, b"[1]")
    assert call("POST", "s", b"2", JSON | producer("p", 0, 0)).status == 200
    assert [each.name for each in call.app.service.log.hidden()] == ["s"]


def test_a_deleted_stream_is_gone_while_a_fork_of_a_fork_of_it_lives(call: Caller) -> None:
    call("PUT", "a", b"1", TEXT)
    fork(call, "a", "b")
    fork(call, "b", "c")
    for name in ("a", "b"):
        assert call("DELETE", name).status == 204
        assert call("GET", name).status == 410
        assert call("PUT", name, headers=TEXT).status == 409
    assert fork(call, "a", "d") == 409
    assert call("GET", "c").body == b"1"
    call("DELETE", "c")
    assert [call("HEAD", name).status for name in "abc"] == [404] * 3


def test_what_is_gone_is_gone_after_a_restart_too(tmp_path: Path) -> None:
    with served(tmp_path / "store") as call:
        call("PUT", "a", b"1", TEXT)
        fork(call, "a", "b")
        call("DELETE", "a")
    with served(tmp_path / "store") as call:
        assert call("GET", "a").status == 410
        call("DELETE", "b")
        assert call("GET", "a").status == 404


def test_a_fork_at_the_beginning_keeps_its_source_too(call: Caller) -> None:
    call("PUT", "a", b"1", TEXT)
    assert fork(call, "a", "b", stream_fork_offset="-1") == 201
    assert call("GET", "b").body == b""
    call("DELETE", "a")
    assert call("GET", "a").status == 410


def test_a_time_to_live_begins_anew_with_each_use_and_not_with_a_look(
    call: Caller, clock: Clock
) -> None:
    call("PUT", "s", headers=TEXT | {"stream-ttl": "10"})
    for method, body in (("GET", b""), ("POST", b"x"), ("GET", b"")):
        clock.pass_s(9)
        assert call(method, "s", body, TEXT).status < 300
    clock.pass_s(9)
    assert call("HEAD", "s").status == 200
    clock.pass_s(2)
    assert call("GET", "s").status == 404


def test_reading_writes_at_most_each_quarter_of_the_time_to_live(
    call: Caller, clock: Clock
) -> None:
    call("PUT", "s", headers=TEXT | {"stream-ttl": "100"})
    for _ in range(100):
        clock.pass_s(2)
        assert call("GET", "s").status == 200
    states = next(iter(call.app.service.log.layer("server").streams("streams/")))
    assert len(states) <= 9


def test_after_a_restart_a_stream_does_not_expire_early(tmp_path: Path, clock: Clock) -> None:
    with served(tmp_path / "store") as call:
        call("PUT", "s", headers=TEXT | {"stream-ttl": "100"})
        clock.pass_s(24)
        call("GET", "s")
    clock.pass_s(99)
    with served(tmp_path / "store") as call:
        assert call("GET", "s").status == 200
        clock.pass_s(101)
        assert call("GET", "s").status == 404


def test_a_stream_whose_time_was_over_before_a_restart_stays_gone(
    tmp_path: Path, clock: Clock
) -> None:
    with served(tmp_path / "store") as call:
        call("PUT", "s", headers=TEXT | {"stream-ttl": "10"})
    clock.pass_s(1000)
    with served(tmp_path / "store") as call:
        assert call("HEAD", "s").status == 404


def test_a_stream_expires_at_its_time_and_its_forks_with_it(call: Caller, clock: Clock) -> None:
    at = show_time(clock.now + 5 * SECOND)
    call("PUT", "s", b"x", TEXT | {"stream-expires-at": at})
    fork(call, "s", "same")
    fork(call, "s", "longer", stream_ttl="60")
    assert call("HEAD", "same").headers["stream-expires-at"] == at
    clock.pass_s(6)
    assert call("GET", "same").status == 404
    assert call("GET", "s").status == 410
    assert call("GET", "longer").body == b"x"


def test_a_stream_made_in_the_process_is_served_as_it_is(call: Caller) -> None:
    log = call.app.service.log
    log.create("typed", codec="json").append_value({"a": 1})
    log.create("bytes").append(b"\x00")
    log.stream("typed").branch("branch")
    read = call("GET", "typed")
    assert (read.headers["content-type"], read.body) == ("application/json", b'[{"a":1}]')
    assert call("GET", "branch").json == [{"a": 1}]
    assert call("GET", "bytes").headers["content-type"] == "application/octet-stream"
    log.stream("typed").finish()
    assert call("GET", "typed").headers["stream-closed"] == "true"
    assert call("POST", "typed", b"1", JSON).status == 409
    log.hide("typed")
    assert call("GET", "typed").status == 404


def test_what_others_hide_is_seen_at_once(tmp_path: Path) -> None:
    with served(tmp_path / "store", mode="shared") as call:
        call("PUT", "s", b"x", TEXT)
        assert call("GET", "s").status == 200
        with transit.open(tmp_path / "store", mode="shared") as other:
            other.hide("s")
        assert call("GET", "s").status == 404


@pytest.mark.parametrize("moved", ["seal", "restore", "lazy"])
def test_what_the_protocol_remembers_moves_with_the_store(tmp_path: Path, moved: str) -> None:
    with served(tmp_path / "store", remote=str(tmp_path / "bucket")) as call:
        call("PUT", "s", headers=TEXT)
        call("POST", "s", b"x", TEXT | producer("p", 2, 0) | {"stream-seq": "b"})
        call("PUT", "gone", b"y", TEXT)
        fork(call, "gone", "heir")
        call("DELETE", "gone")
        call.app.service.log.publish()
    folder = tmp_path / "store"
    if moved != "seal":
        folder = tmp_path / "copy"
        transit.restore(str(tmp_path / "bucket"), folder, lazy=moved == "lazy")
    with served(folder, remote=str(tmp_path / "bucket")) as call:
        assert call("POST", "s", b"x", TEXT | producer("p", 2, 0)).status == 204
        assert (
            call("POST", "s", b"z", TEXT | producer("p", 2, 1) | {"stream-seq": "a"}).status == 409
        )
        assert (
            call("POST", "s", b"z", TEXT | producer("p", 2, 1) | {"stream-seq": "c"}).status == 200
        )
        assert call("GET", "s").body == b"xz"
        assert call("GET", "gone").status == 410
        assert call("GET", "heir").body == b"y"


def test_a_store_opened_for_reading_serves_reads_and_refuses_writes(tmp_path: Path) -> None:
    with served(tmp_path / "store") as call:
        call("PUT", "s", b"x", TEXT | {"stream-ttl": "1000"})
    with served(tmp_path / "store", mode="read") as call:
        assert call("GET", "s").body == b"x"
        for method in ("PUT", "POST", "DELETE"):
            assert call(method, "s" if method != "PUT" else "t", b"x", TEXT).status == 403


def test_after_a_rebase_the_streams_of_the_remote_have_the_producers_of_the_remote(
    tmp_path: Path,
) -> None:
    bucket = str(tmp_path / "bucket")
    with served(tmp_path / "one", remote=bucket) as call:
        call("PUT", "s", headers=TEXT)
        call("POST", "s", b"0", TEXT | producer("p", 0, 0))
        call.app.service.log.publish()
    transit.restore(bucket, tmp_path / "other")
    with served(tmp_path / "other", remote=bucket) as call:
        call("POST", "s", b"1", TEXT | producer("p", 0, 1))
        call.app.service.log.publish()
    with served(tmp_path / "one") as call:
        # Without the remote it writes a history of its own.
        call("POST", "s", b"mine", TEXT | producer("q", 0, 0))
    with pytest.raises(transit.FencedError), transit.open(tmp_path / "one", remote=bucket) as log:
        log.publish()
    with transit.open(tmp_path / "one", remote=bucket) as log:
        log.rebase_onto_remote()
    with served(tmp_path / "one", remote=bucket) as call:
        assert call("GET", "s").body == b"01"
        assert call("POST", "s", b"1", TEXT | producer("p", 0, 1)).status == 204
        assert call("POST", "s", b"2", TEXT | producer("p", 0, 2)).status == 200
        (branch,) = call.app.service.log.streams("s@rebased-")
        brought = call("GET", branch.name)
        assert (brought.body, brought.headers["content-type"]) == (b"0mine", "text/plain")
        assert call("POST", branch.name, b"!", TEXT | producer("q", 0, 0)).status == 200


def test_a_store_that_takes_no_writes_is_read_on(
    call: Caller, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("PUT", "s", b"x", TEXT | {"stream-ttl": "100"})

    def full(*given: object, **more: object) -> object:
        raise transit.StorageFullError("no room")

    log = call.app.service.log
    monkeypatch.setattr(log, "batch", full)
    monkeypatch.setattr(log, "hide", full)
    clock.pass_s(60)
    assert call("GET", "s").body == b"x"
    clock.pass_s(101)
    assert call("GET", "s").status == 404
