"""Replicas in their order: stopped at any request; what is erased before, meanwhile, after."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit.store import ObjectStore, open_store
from transit.testing.doors import Fault, FaultDoor
from transit.tier.remote import commit_key

from ..engine.canary import CANARY, has
from .conftest import Contents, Place
from .copies import (
    erase,
    grow,
    is_beginning,
    published,
    read,
    same,
    with_canary,
    write_secrets,
)

ALL: list[Fault] = ["lost_before", "lost_after", "exists_after", "die_before", "die_after"]
IN_TURN = transit.Settings(remote_timeout_s=0.01, transfers_max=1)


@pytest.fixture
def target(tmp_path: Path) -> ObjectStore:
    return open_store(tmp_path / "replica")


def follow(place: Place, replica: object, name: str = "a") -> transit.ReplicaStatus:
    """One try to bring the replica what the first has."""
    remotes = [place.door(), replica]
    with place.open(name, remote=remotes, settings=IN_TURN) as log:
        (told,) = log.publish().replicas
        return told


def stopped_at_each(
    place: Place,
    tmp_path: Path,
    faults: list[Fault],
    begin: Callable[[ObjectStore], object],
    level: str,
    wanted: Contents,
    least_requests: int,
) -> None:
    """Follow once for each request that it takes, which fails; then once more.

    For one fault only, every third request.
    """
    for fault in faults:
        number = 0
        while True:
            target = open_store(tmp_path / f"replica-{fault}-{number}")
            begin(target)
            stop = number
            door = FaultDoor(target, lambda at, *_, s=stop, f=fault: f if at == s else None)
            told = follow(place, door)
            was_stopped = len(door.requests) > number
            if told.error:
                assert was_stopped
                commits = is_beginning(target, wanted, level)
                assert told.published is None or told.published <= commits
            if was_stopped:
                # Without an error it was the hint that failed, which is brought the next time.
                assert follow(place, target).error == ""
            same(place, target)
            shutil.rmtree(tmp_path / f"replica-{fault}-{number}")
            if not was_stopped:
                break
            number += 1 if len(faults) > 1 else 3
        assert number > least_requests


@pytest.mark.parametrize(
    "faults", [["die_after"], pytest.param(ALL, marks=pytest.mark.slow)], ids=str
)
def test_following_that_fails_at_any_request_leaves_a_store_and_goes_on(
    place: Place, tmp_path: Path, faults: list[Fault]
) -> None:
    published(place, 2)
    grow(place, 2)
    stopped_at_each(place, tmp_path, faults, lambda target: None, "bodies", read(place.store), 20)


@pytest.mark.parametrize(
    "faults", [["die_after"], pytest.param(ALL, marks=pytest.mark.slow)], ids=str
)
def test_an_erasure_that_a_replica_missed_fails_at_any_request_and_goes_on(
    place: Place, tmp_path: Path, faults: list[Fault]
) -> None:
    with place.open() as log:
        write_secrets(log)
    wanted = read(place.store)
    shutil.copytree(place.remote_path, tmp_path / "before")
    erase(place)

    def begin(target: ObjectStore) -> None:
        transit.copy(tmp_path / "before", target, level=None)
        assert with_canary(target)

    # At no moment an auditor meets a gap that no record explains.
    stopped_at_each(place, tmp_path, faults, begin, "bodies", wanted, 20)


def test_objects_that_a_stopped_round_brought_are_not_brought_again(
    place: Place, target: ObjectStore
) -> None:
    published(place, 2)
    door = FaultDoor(
        target,
        lambda _, kind, key: "lost_before" if (kind, key[:8]) == ("create", "commits/") else None,
    )
    assert follow(place, door).published == 0
    assert list(target.list("segments/"))
    door = FaultDoor(target)
    assert follow(place, door).behind == 0
    assert [key for kind, key in door.requests if kind == "put" and "segments" in key] == []
    same(place, target)


def test_what_is_erased_goes_from_a_replica_that_is_there_at_once(
    place: Place, target: ObjectStore
) -> None:
    remotes = [place.door(), FaultDoor(target)]
    with place.open(remote=remotes) as log:
        write_secrets(log)
        assert len(with_canary(target)) == len(with_canary(place.store)) == 2
        log.delete("secret", reason="asked", basis="gdpr-17")
        erased = log.erase()
        assert (erased.segments, erased.versions, erased.waiting) == (2, 4, ())
        assert with_canary(target) == with_canary(place.store) == []
        assert log.publish().replicas[0].behind == 0
    same(place, target)
    assert transit.audit(target, "bodies").counts["erased_records"] == 21


def test_what_is_erased_while_a_replica_is_away_is_said_and_goes_when_it_follows(
    place: Place, target: ObjectStore
) -> None:
    is_away = False
    door = FaultDoor(target, lambda *_: "lost_before" if is_away else None)
    with place.open(remote=[place.door(), door]) as log:
        write_secrets(log)
        is_away = True
        log.delete("secret", reason="asked", basis="gdpr-17")
        assert log.erase().waiting == (target.url,)
        # There is nothing left to erase here, but what waits is still said.
        log.create("after").append(b"after")
        assert log.publish().replicas[0].behind > 0
        assert len(with_canary(target)) == 2
        is_away = False
        assert log.publish().replicas[0].behind == 0
        assert with_canary(target) == []
        same(place, target)
        # Once more, other chunks of the same segments, and of a new one.
        log.delete("s1", reason="asked", basis="gdpr-17")
        is_away = True
        assert log.erase().waiting == (target.url,)
    assert follow(place, target).behind == 0
    same(place, target)
    assert transit.audit(target, "bodies").findings == ()


@pytest.mark.parametrize("stop", range(0, 40, 3))
def test_a_replica_that_fails_while_something_is_erased_holds_nothing_up(
    place: Place, target: ObjectStore, stop: int
) -> None:
    at = 10**6
    door = FaultDoor(target, lambda number, *_: "lost_before" if number >= at else None)
    with place.open(remote=[place.door(), door], settings=IN_TURN) as log:
        write_secrets(log)
        log.delete("secret", reason="asked", basis="gdpr-17")
        log.publish()
        at = len(door.requests) + stop
        erased = log.erase()
        assert erased.segments == 2
        assert with_canary(place.store) == []
        assert (erased.waiting == ()) == (log.status().replicas[0].behind == 0)
        at = 10**6
        assert log.publish().replicas[0].error == ""
        assert with_canary(target) == []
    same(place, target)


def test_commits_before_those_that_say_what_was_erased_come_first(
    place: Place, target: ObjectStore
) -> None:
    """Both for what the replica had, and for what is new to it and erased already."""
    with place.open() as log:
        write_secrets(log)
    assert follow(place, target).behind == 0
    with place.open() as log:
        for name in ("new", "newer"):
            log.create(name).append_many([b"plain"] * 9)
            log.stream("secret").append(CANARY)
            log.seal()
    erase(place)
    last = len(list(place.store.list("commits/"))) - 1
    old = [key for key, _ in target.list("segments/")]
    seen: list[str] = []
    wrong: list[str] = []

    def check(at: int, kind: str, key: str) -> None:
        # What is raised here would be taken for a replica that fails.
        is_old = key.replace("redacted", "segments") in old
        if (kind == "put" and key.startswith("redacted/") and is_old) or kind == "delete":
            is_right = target.size(commit_key(last - 1)) and not target.size(commit_key(last))
            wrong.extend([] if is_old and is_right else [key])
            seen.append(key)
        if (kind, key) == ("create", commit_key(4)):
            # The first that names a gap: with all that comes after at hand.
            wrong.extend(
                found for found, _ in place.store.list("segments/") if target.size(found) is None
            )
            seen.append(key)

    assert follow(place, FaultDoor(target, check)).error == ""
    assert wrong == []
    assert len(seen) == 5
    same(place, target)


def test_originals_in_the_folder_of_what_was_erased_elsewhere_are_not_brought(
    place: Place, target: ObjectStore
) -> None:
    """Another machine erased; this folder took up its commits, and still has the segments."""
    with place.open("a") as log:
        write_secrets(log)
    with place.open("b") as log:
        log.delete("secret", reason="asked", basis="gdpr-17")
        log.erase()
    assert any(CANARY in path.read_bytes() for path in (place.path / "a").rglob("*.seg"))
    brought: list[str] = []

    class Watched(FaultDoor):
        def put(self, key: str, data: bytes) -> None:
            # Not even for a moment: a bucket with versions would keep it.
            brought.extend([key] * has(data))
            super().put(key, data)

    assert follow(place, Watched(target), "a").behind == 0
    assert with_canary(target) == brought == []
    same(place, target)
