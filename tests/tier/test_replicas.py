"""Replicas: remotes that follow the first; who waits for them, and what they are told."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

import transit
from transit.format.commit import decode_commit
from transit.store import open_store
from transit.testing.doors import FaultDoor
from transit.tier.remote import commit_key, segment_key

from .conftest import Place, contents
from .copies import key_of, read, same
from .replicas import SOON_S, Away, Fill, open_with, until


@pytest.fixture
def second(tmp_path: Path) -> Away:
    return Away(open_store(tmp_path / "second"))


@pytest.fixture
def third(tmp_path: Path) -> Away:
    return Away(open_store(tmp_path / "third"))


# What is there


def test_each_replica_is_what_the_first_remote_is(
    place: Place, fill: Fill, second: Away, third: Away
) -> None:
    with open_with(place, second, third) as log:
        fill(log)
        published = log.publish()
        log.checkpoint(key_of(log.store_id))
        commits = log.status().commits
        assert published.replicas == tuple(
            transit.ReplicaStatus(each.store.url, commits, 0, "") for each in (second, third)
        )
        assert log.status().replicas == log.metrics().replicas == published.replicas
    for each in (second, third):
        same(place, each.store)


def test_a_replica_is_restored_from_and_goes_on_as_a_remote(
    place: Place, fill: Fill, second: Away
) -> None:
    with open_with(place, second) as log:
        fill(log)
        log.publish()
        wanted = contents(log)
    transit.restore(second.store, place.path / "restored")
    with transit.open(place.path / "restored", remote=second.store) as log:
        assert contents(log) == wanted
        log.create("here")
        log.publish()
    assert transit.audit(second.store, "bodies").ok


def test_a_replica_that_comes_later_gets_the_whole_history(
    place: Place, fill: Fill, second: Away
) -> None:
    """Also of segments that are not in the folder any more, or damaged there."""
    with place.open() as log:
        fill(log)
        log.publish()
        log.evict(bytes_max=0)
        fill_more(log)
        log.publish()
    segments = sorted((place.path / "a" / "segments").glob("*.seg"))
    assert segments
    for path in segments:
        path.chmod(0o600)
        data = path.read_bytes()
        path.write_bytes(data[:40] + bytes([data[40] ^ 1]) + data[41:])
    with open_with(place, second) as log:
        assert log.publish().replicas[0].behind == 0
    same(place, second.store)


def fill_more(log: transit.Log) -> None:
    log.create("more").append_many([b"more %d" % number for number in range(100)])


def test_it_follows_in_the_background(place: Place, second: Away) -> None:
    settings = transit.Settings(remote_timeout_s=0.3, publish_interval_s=0.02)
    with open_with(place, second, settings=settings) as log:
        log.create("s").append(b"x")
        until(lambda: log.status().replicas[0].published == log.status().commits == 1)
    same(place, second.store)


def test_a_tiered_append_takes_it_along_and_does_not_wait(place: Place, second: Away) -> None:
    with open_with(place, second) as log:
        second.is_away = True
        assert log.create("s").append(b"x", durability="tiered").durability == "tiered"
        second.is_away = False
        log.stream("s").append(b"y", durability="tiered")
        until(lambda: log.status().replicas[0].behind == 0 != log.status().replicas[0].published)
    same(place, second.store)


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_nothing_is_asked_of_it_before_something_is_published(
    place: Place, second: Away, mode: str
) -> None:
    second.is_away = True
    with open_with(place, second, mode=mode) as log:
        log.create("s").append(b"x", durability="local")
        log.seal()
        time.sleep(0.05)
        status = log.status().replicas[0]
        assert (status.published, status.behind, status.error) == (None, 0, "")
    assert second.door.requests == []


def test_where_nothing_is_new_no_request_is_made(place: Place, second: Away) -> None:
    with open_with(place, second) as log:
        log.create("s").append(b"x")
        log.publish()
        second.door.requests.clear()
        time.sleep(1.2)
        assert log.publish().replicas[0].behind == 0
        log.sync("replicated")
    assert second.door.requests == []


def test_one_round_in_steady_state_is_few_requests(place: Place, second: Away) -> None:
    with open_with(place, second) as log:
        log.create("s").append(b"x", durability="replicated")
        second.door.requests.clear()
        log.stream("s").append(b"y", durability="replicated")
        found = sorted((kind, key.partition("/")[0]) for kind, key in second.door.requests)
    assert found == [
        ("create", "commits"), ("put", "segments"), ("size", "commits"), ("size", "segments"),
    ]  # fmt: skip


def test_a_replica_is_never_ahead_and_a_commit_comes_after_what_it_names(
    place: Place, tmp_path: Path
) -> None:
    seen: list[str] = []
    wrong: list[str] = []

    def check(_: int, kind: str, key: str) -> None:
        # What is raised here would be taken for a replica that fails.
        if key.startswith(("segments/", "index/")) and kind == "put":
            # Objects, too, come of what the first has already.
            wrong.extend([key] * (place.store.size(key) is None))
        if key.startswith("commits/") and kind == "create":
            wrong.extend([key] * (key != commit_key(len(seen)) or place.store.size(key) is None))
            commit = decode_commit(place.store.get(key, 10**6) or b"", key)
            wrong.extend(
                f"{key} before {segment.digest}"
                for segment in commit.segments
                if second.size(segment_key(segment.digest)) != segment.bytes
            )
            seen.append(key)

    second = open_store(tmp_path / "second")
    with place.open(remote=[place.door(), FaultDoor(second, check)]) as log:
        for number in range(3):
            log.create(f"s{number}").append(b"x" * 100)
            log.seal()
            log.stream("s0").append(b"y")
            assert log.publish().replicas[0].error == ""
    assert len(seen) == 6
    assert wrong == []


def test_what_the_first_has_not_no_replica_gets(place: Place, second: Away) -> None:
    """Also where the replica comes back while the first is away."""
    first = Away(place.store)
    second.is_away = True
    with place.open(remote=[first.door, second.door]) as log:
        log.create("s").append(b"x")
        log.publish()
        first.is_away = True
        log.stream("s").append(b"y")
        with pytest.raises(transit.RemoteUnavailableError):
            log.publish()
        assert log.status().commits == 2
        second.is_away = False
        until(lambda: log.status().replicas[0].published == 1)
        with pytest.raises(transit.RemoteUnavailableError):
            log.sync("replicated")
        time.sleep(1.1)
        assert log.status().replicas[0].published == 1
        assert second.store.size(commit_key(1)) is None
        first.is_away = False
        assert log.publish().replicas[0].published == 2
    same(place, second.store)


# One that is away


def test_one_that_is_away_stops_no_other_and_catches_up(
    place: Place, second: Away, third: Away
) -> None:
    second.is_away = True
    with open_with(place, second, third) as log:
        stream = log.create("s")
        for number in range(3):
            stream.append(b"%d" % number)
            told = log.publish().replicas
        assert told[0].published is None
        assert told[0].behind == 3
        assert "request" in told[0].error
        assert (told[1].published, told[1].behind, told[1].error) == (3, 0, "")
        same(place, third.store)
        second.is_away = False
        # Without being asked again, after a pause.
        until(lambda: log.status().replicas[0].behind == 0)
        assert log.status().replicas[0].error == ""
        log.publish()
    same(place, second.store)


def test_what_is_replicated_is_in_so_many_remotes(place: Place, second: Away, third: Away) -> None:
    settings = transit.Settings(remote_timeout_s=0.3, replicated_remotes=2)
    with open_with(place, second, third, durability="replicated", settings=settings) as log:
        second.is_away = True
        assert log.create("s").append(b"1").durability == "replicated"
        assert third.store.size(commit_key(0)) is not None
        third.is_away = True
        with pytest.raises(transit.RemoteUnavailableError):
            log.stream("s").append(b"2")
        # It is in the log all the same, and in the first remote.
        assert log.stream("s").next_offset == 2
        assert [record.payload for record in log.stream("s").read()] == [b"1", b"2"]
        assert read(place.store)["s"][1][1] == b"2"
        second.is_away = False
        assert log.stream("s").append(b"3").durability == "replicated"
        assert [row[1] for row in read(second.store)["s"]] == [b"1", b"2", b"3"]
    with open_with(place, second, third) as log:
        with pytest.raises(transit.RemoteUnavailableError):
            log.sync("replicated")
        third.is_away = False
        log.sync("replicated")
    same(place, third.store)


def test_futures_end_when_it_is_replicated_or_cannot_be(place: Place, second: Away) -> None:
    with open_with(place, second, durability="replicated") as log:
        stream = log.create("s")
        futures = [stream.submit(b"%d" % number) for number in range(50)]
        assert {future.result(SOON_S).durability for future in futures} == {"replicated"}
        assert [future.result().offset for future in futures] == list(range(50))
        second.is_away = True
        failing = stream.submit(b"more")
        with pytest.raises(transit.RemoteUnavailableError):
            failing.result(SOON_S)
        second.is_away = False
        assert stream.submit(b"again").result(SOON_S).offset == 51
    same(place, second.store)


def test_futures_end_when_the_first_remote_is_away(place: Place, second: Away) -> None:
    first = Away(place.store)
    with place.open(remote=[first.door, second.door], durability="replicated") as log:
        stream = log.create("s")
        first.is_away = True
        with pytest.raises(transit.RemoteUnavailableError):
            stream.submit(b"x").result(SOON_S)
        with pytest.raises(transit.RemoteUnavailableError):
            stream.append(b"y")
    assert second.store.size(commit_key(1)) is None


def test_a_store_that_is_closed_tells_those_that_wait(place: Place, second: Away) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def wait(_: int, kind: str, key: str) -> None:
        if kind == "create" and key.startswith("commits/"):
            entered.set()
            assert go_on.wait(SOON_S)

    door = FaultDoor(second.store, wait)
    log = place.open(remote=[place.door(), door])
    future: Future[transit.Receipt] = log.create("s").submit(b"x", durability="replicated")
    assert entered.wait(SOON_S)
    closing = threading.Thread(target=log.close)
    closing.start()
    go_on.set()
    closing.join(SOON_S)
    assert not closing.is_alive()
    # Either it was in time, or it is told.
    error = future.exception(SOON_S)
    assert error is None or isinstance(error, transit.ClosedError)


def test_a_store_that_is_closed_while_a_replica_hangs_is_closed(place: Place, second: Away) -> None:
    entered, go_on = threading.Event(), threading.Event()

    def wait(_: int, kind: str, key: str) -> None:
        entered.set()
        assert go_on.wait(60)

    log = place.open(remote=[place.door(), FaultDoor(second.store, wait)])
    future = log.create("s").submit(b"x", durability="replicated")
    assert entered.wait(SOON_S)
    log.close()
    with pytest.raises(transit.ClosedError):
        future.result(0)
    go_on.set()
