"""Replicas with another history; collecting and signing with replicas; what is refused."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

import transit
from transit.store import open_store
from transit.testing.doors import FaultDoor

from .conftest import Place, contents
from .copies import grow, key_of, other_history, read, same, state
from .replicas import Away, Fill, empty, open_with


@pytest.fixture
def second(tmp_path: Path) -> Away:
    return Away(open_store(tmp_path / "second"))


@pytest.fixture
def third(tmp_path: Path) -> Away:
    return Away(open_store(tmp_path / "third"))


# Other histories, other stores


@pytest.mark.parametrize("at", [0, 2])
def test_another_history_in_a_replica_is_told_and_left_alone(place: Place, at: int) -> None:
    grow(place, 3)
    other = other_history(place, at)
    before = state(other)
    with place.open(remote=[place.door(), other]) as log:
        log.create("s").append(b"x")
        (told,) = log.publish().replicas
        assert told.published == at + 1
        assert told.behind == 4 - told.published
        assert f"commit {at + 1} there is not ours" in told.error
        with pytest.raises(transit.ConflictError, match="nothing was changed"):
            log.create("t", durability="replicated")
        assert log.stream("t").next_offset == 0
    assert state(other) == before
    assert transit.audit(place.store, "bodies").ok


def test_a_replica_that_goes_on_by_itself_is_told_when_it_is_met(
    place: Place, second: Away
) -> None:
    with open_with(place, second) as log:
        log.create("s").append(b"x")
        log.publish()
        # Somebody takes it for a first remote.
        with transit.open(place.path / "b", remote=second.store) as theirs:
            theirs.create("theirs")
            theirs.publish()
        before = state(second.store)
        log.stream("s").append(b"y")
        (told,) = log.publish().replicas
        assert "commit 1 there is not ours" in told.error
        assert (told.published, told.behind) == (1, 1)
    after = state(second.store)
    assert {key: after[key] for key in before} == before
    # Beside it lies an object that no commit there names.
    assert [key.partition("/")[0] for key in after if key not in before] == ["segments"]


def test_another_store_in_a_replica_is_told_and_left_alone(place: Place, second: Away) -> None:
    with transit.open(place.path / "b", remote=second.store) as theirs:
        theirs.create("theirs")
        theirs.publish()
    before = state(second.store)
    with open_with(place, second) as log:
        log.create("s")
        (told,) = log.publish().replicas
        assert "holds store" in told.error
        with pytest.raises(transit.InvalidInputError):
            log.sync("replicated")
    assert state(second.store) == before


def test_a_replica_in_which_two_can_win_is_refused(place: Place, second: Away) -> None:
    class Weak(FaultDoor):
        def create(self, key: str, data: bytes) -> None:
            self.put(key, data)

    with place.open(remote=[place.door(), Weak(second.store)]) as log:
        log.create("s")
        (told,) = log.publish().replicas
        assert told.error
        with pytest.raises(transit.UnsuitableRemoteError):
            log.sync("replicated")
    assert not list(second.store.list("commits/"))


def test_a_replica_that_was_emptied_gets_everything_again(place: Place, second: Away) -> None:
    """While the store is open: what follows would be there, and could not be restored."""
    with open_with(place, second) as log:
        log.create("s").append(b"1", durability="replicated")
        log.evict(bytes_max=0)
        empty(place.path / "second")
        log.stream("s").append(b"2", durability="replicated")
    same(place, second.store)


def test_a_first_remote_that_was_emptied_is_copied_back_from_a_replica(
    place: Place, second: Away
) -> None:
    with open_with(place, second) as log:
        log.create("s").append(b"1", durability="replicated")
        log.evict(bytes_max=0)
    empty(place.remote_path)
    with open_with(place, second) as log, pytest.raises(transit.CorruptError, match="no file"):
        # What only the remote had is not here.
        log.publish()
    assert transit.copy(second.store, place.store).commits == 1
    with open_with(place, second) as log:
        assert [record.payload for record in log.stream("s").read()] == [b"1"]
        log.stream("s").append(b"2", durability="replicated")
    same(place, second.store)


def test_a_replica_whose_rights_were_taken_goes_on_when_they_are_back(
    place: Place, second: Away
) -> None:
    class Refusing(FaultDoor):
        refuses = False

        def _pass(self, kind: str, key: str, call: Any) -> Any:
            if self.refuses:
                raise transit.StorePermissionError(f"{key}: not allowed")
            return super()._pass(kind, key, call)

    door = Refusing(second.store)
    with place.open(remote=[place.door(), door]) as log:
        log.create("s").append(b"1", durability="replicated")
        door.refuses = True
        with pytest.raises(transit.StorePermissionError):
            log.stream("s").append(b"2", durability="replicated")
        for number in range(60):
            log.stream("s").append(b"%d" % number, durability="tiered")
        told = log.status().replicas[0]
        assert ("not allowed" in told.error, told.published, told.behind) == (True, 1, 61)
        door.refuses = False
        assert log.publish().replicas[0].behind == 0
    same(place, second.store)


def test_a_writer_that_was_fenced_off_leaves_the_replicas_alone(place: Place, second: Away) -> None:
    with open_with(place, second) as old:
        old.create("s").append(b"x")
        old.publish()
        with open_with(place, second, name="b") as new:
            new.stream("s").append(b"theirs")
            new.publish()
        same(place, second.store)
        before = state(second.store)
        old.stream("s").append(b"ours")
        with pytest.raises(transit.FencedError):
            old.publish()
        with pytest.raises(transit.FencedError):
            old.stream("s").append(b"ours", durability="replicated")
        with pytest.raises(transit.FencedError):
            old.stream("s").submit(b"ours", durability="replicated")
        assert state(second.store) == before
        rebased = old.rebase_onto_remote()
    assert rebased.records == 1
    with open_with(place, second) as old:
        assert old.publish().replicas[0].behind == 0
    # The first has an object too that no commit names: of the commit that was refused.
    assert read(second.store) == read(place.store)
    assert transit.audit(second.store, "bodies").findings == ()


def test_two_handles_in_mode_shared_follow_together(place: Place, second: Away) -> None:
    opened = partial(open_with, place, second, mode="shared")
    with opened() as one, opened() as two:
        one.create("s")
        for number in range(5):
            for log in (one, two):
                log.stream("s").append(b"%d" % number, durability="replicated")
        assert len({log.publish().replicas[0].published for log in (one, two)}) == 1
    same(place, second.store)


def test_a_call_from_within_a_replicas_request_is_refused(place: Place, second: Away) -> None:
    refused: list[type[BaseException]] = []

    def call(_: int, kind: str, key: str) -> None:
        for work in (log.publish, lambda: log.sync("replicated"), log.close):
            with pytest.raises(transit.ReentrantCallError):
                work()
            refused.append(transit.ReentrantCallError)
        assert log.stream("s").next_offset == 1

    log = place.open(remote=[place.door(), FaultDoor(second.store, call)])
    with log:
        log.create("s").append(b"x")
        assert log.publish().replicas[0].error == ""
    assert len(refused) > 10
    same(place, second.store)


# What is said of it


def test_what_makes_no_sense_is_refused(place: Place, second: Away, tmp_path: Path) -> None:
    def refused(match: str, **options: Any) -> None:
        with pytest.raises(transit.InvalidInputError, match=match):
            transit.open(tmp_path / "a", **options)

    first = place.remote_path
    refused("names none", remote=[])
    refused("is where", remote=[first, first])
    refused("inside", remote=[first, first / "below"])
    refused("replicated", durability="replicated")
    refused("replicated", durability="replicated", remote=first)
    refused("replicated", durability="replicated", remote=[first])
    enough = transit.Settings(replicated_remotes=3)
    refused("there are 2 remotes", remote=[first, second.store], settings=enough)
    three = [first, second.store, tmp_path / "x"]
    refused("2 entries for 3", remote=three, storage_options=[{}, {}])
    refused("given as text", remote=[first, second.store], storage_options=[None, {}])
    with pytest.raises(transit.InvalidInputError):
        transit.Settings(replicated_remotes=1)
    with pytest.raises(transit.UnsuitableRemoteError):
        transit.open(tmp_path / "a", remote=[first, tmp_path / "a" / "below"])
    assert not (tmp_path / "a").exists()
    with transit.open(tmp_path / "a", remote=[first]) as log:
        stream = log.create("s")
        append = partial(stream.append, b"x", durability="replicated")
        for call in (append, partial(log.sync, "replicated")):
            with pytest.raises(transit.InvalidInputError, match="first, another"):
                call()
        assert stream.next_offset == 0
        assert log.publish().replicas == ()


def test_a_reader_asks_the_first_alone(place: Place, fill: Fill, second: Away) -> None:
    with open_with(place, second) as log:
        fill(log)
        log.publish()
        wanted = contents(log)
        log.evict(bytes_max=0)
    second.door.requests.clear()
    with open_with(place, second, mode="read") as log:
        assert contents(log) == wanted
        assert log.status().replicas == ()
    assert second.door.requests == []


def test_a_keyring_inside_a_replica_is_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    keyring = transit.Keyring.create(tmp_path / "second" / "keys.json", passphrase="p")
    with pytest.raises(transit.InvalidInputError, match="beside what it decrypts"):
        place.open(remote=[place.door(), open_store(tmp_path / "second")], keyring=keyring)


def test_an_encrypted_store_is_replicated_as_it_is(place: Place, fill: Fill, second: Away) -> None:
    keyring = transit.Keyring.create(place.path / "keys.json", passphrase="p")
    with open_with(place, second, keyring=keyring) as log:
        fill(log)
        log.publish()
    same(place, second.store, keyring=keyring)


def test_what_no_commit_names_goes_from_replicas_too(place: Place, second: Away) -> None:
    with open_with(place, second) as log:
        log.create("s").append(b"x")
        log.publish()
        stray = f"segments/{'0' * 64}.seg"
        for store in (place.store, second.store):
            store.put(stray, b"stray")
        found = [each.place for each in log.gc(dry_run=False)]
        assert [each for each in found if each.endswith(stray)] == [
            f"{store.url}/{stray}" for store in (place.store, second.store)
        ]
        assert second.store.size(stray) is None


def test_a_checkpoint_comes_to_a_replica_once_it_has_caught_up(place: Place, second: Away) -> None:
    with open_with(place, second) as log:
        log.create("s").append(b"x")
        log.publish()
        second.is_away = True
        log.stream("s").append(b"y")
        log.checkpoint(key_of(log.store_id))
        assert second.store.size("checkpoint") is None
        second.is_away = False
        log.publish()
        log.checkpoint(key_of(log.store_id))
        same(place, second.store)
        second.door.requests.clear()
        log.checkpoint(key_of(log.store_id))
        assert second.door.requests == []


def test_a_checkpoint_of_another_history_in_a_replica_is_told(place: Place, second: Away) -> None:
    with open_with(place, second) as log:
        log.create("s").append(b"x")
        log.publish()
        with transit.open(place.path / "b") as other:
            other.create("other")
            other.seal()
            key = transit.SigningKey.generate(f"example.com/copies/{other.store_id}")
            note = other.checkpoint(key).note
        second.store.put("checkpoint", note)
        with pytest.raises(transit.SplitViewError, match="another history"):
            log.checkpoint(key_of(log.store_id))
        assert second.store.get("checkpoint", 10_000) == note
