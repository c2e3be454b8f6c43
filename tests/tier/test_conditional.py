"""Put-if-absent: won, lost, unknown, whatever the store answers."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from transit.errors import (
    AlreadyExistsError,
    CorruptError,
    InvalidInputError,
    OutcomeUnknownError,
    RemoteUnavailableError,
    StorePermissionError,
    UnsuitableRemoteError,
)
from transit.store import ObjectStore, open_store
from transit.testing.doors import FaultDoor
from transit.tier.conditional import put_if_absent
from transit.tier.probe import PROBE_KEY, probe_exclusion

from .conftest import Place, objects

OURS, OTHERS = b"ours", b"others"


class Answering(FaultDoor):
    """A store whose `create` does one thing and answers another."""

    def __init__(self, store: ObjectStore, *steps: Callable[[Answering, str, bytes], None]) -> None:
        super().__init__(store)
        self.steps = list(steps)

    def create(self, key: str, data: bytes) -> None:
        if self.steps:
            self.steps.pop(0)(self, key, data)
        else:
            super().create(key, data)

    def really(self, key: str, data: bytes) -> None:
        super().create(key, data)


def conflict_409(store: Answering, key: str, data: bytes) -> None:
    raise RemoteUnavailableError("409, try again")


def done_then_lost(store: Answering, key: str, data: bytes) -> None:
    store.really(key, data)
    raise RemoteUnavailableError("connection reset")


def done_then_exists(store: Answering, key: str, data: bytes) -> None:
    store.really(key, data)
    raise AlreadyExistsError("412 for our own write")


def exists(store: Answering, key: str, data: bytes) -> None:
    raise AlreadyExistsError("412")


def not_done(store: Answering, key: str, data: bytes) -> None:
    raise RemoteUnavailableError("timeout")


def refused(store: Answering, key: str, data: bytes) -> None:
    raise StorePermissionError("403")


def cannot(store: Answering, key: str, data: bytes) -> None:
    raise UnsuitableRemoteError("501")


def put(place: Place, *steps: Callable[[Answering, str, bytes], None]) -> bytes | None:
    return put_if_absent(Answering(place.store, *steps), "commits/x", OURS, 100, 1.0)


def test_a_plain_yes_is_won(place: Place) -> None:
    assert put(place) is None
    assert place.store.get("commits/x", 100) == OURS


@pytest.mark.parametrize(
    "steps",
    [
        (done_then_lost,),
        (done_then_exists,),
        (conflict_409,),
        (conflict_409, conflict_409, conflict_409),
        (not_done, done_then_lost),
        (conflict_409, done_then_exists),
        (not_done, refused),
    ],
)
def test_own_write_is_never_taken_for_a_conflict(
    place: Place, steps: tuple[Callable[[Answering, str, bytes], None], ...]
) -> None:
    assert put(place, *steps) is None
    assert place.store.get("commits/x", 100) == OURS


@pytest.mark.parametrize("steps", [(), (exists,), (conflict_409,), (not_done,), (not_done, exists)])
def test_conflict_is_never_taken_for_success(
    place: Place, steps: tuple[Callable[[Answering, str, bytes], None], ...]
) -> None:
    place.store.create("commits/x", OTHERS)
    assert put(place, *steps) == OTHERS
    assert place.store.get("commits/x", 100) == OTHERS


def test_no_answer_until_the_deadline_is_unknown(place: Place) -> None:
    door = FaultDoor(place.store, lambda number, kind, key: "lost_before")
    with pytest.raises(OutcomeUnknownError):
        put_if_absent(door, "commits/x", OURS, 100, 0.05)
    door = FaultDoor(place.store, lambda n, kind, key: "lost_before" if kind == "create" else None)
    with pytest.raises(OutcomeUnknownError):
        put_if_absent(door, "commits/x", OURS, 100, 0.05)


def test_refusals_are_said_as_they_are(place: Place) -> None:
    with pytest.raises(StorePermissionError):
        put(place, refused)
    with pytest.raises(UnsuitableRemoteError):
        put(place, cannot)


class Flipping(Answering):
    """A store whose first `flips` reads are damaged, all of them alike."""

    flips = 0

    def get(self, key: str, bytes_max: int) -> bytes | None:
        data = super().get(key, bytes_max)
        if data is not None and self.flips:
            self.flips -= 1
            return bytes([data[0] ^ 1]) + data[1:]
        return data


def test_one_damaged_read_is_no_conflict(place: Place) -> None:
    store = Flipping(place.store, done_then_lost)
    store.flips = 1
    assert put_if_absent(store, "commits/x", OURS, 100, 1.0) is None


def test_reads_that_never_agree_are_corrupt(place: Place) -> None:
    class Noise(Answering):
        count = 0

        def get(self, key: str, bytes_max: int) -> bytes | None:
            self.count += 1
            return b"%d" % self.count

    with pytest.raises(CorruptError, match="twice"):
        put_if_absent(Noise(place.store, exists), "commits/x", OURS, 100, 1.0)


def test_probes_of_one_store_use_one_object_and_delete_nothing(place: Place) -> None:
    for _ in range(3):
        probe_exclusion(place.store, 1.0)
        (left,) = objects(place.store)
        assert left == PROBE_KEY
    assert place.store.traffic.delete == 0


def test_probe_refuses_a_store_that_overwrites_what_an_earlier_probe_left(place: Place) -> None:
    def overwrite(store: Answering, key: str, data: bytes) -> None:
        store.put(key, data)

    probe_exclusion(place.store, 1.0)
    with pytest.raises(UnsuitableRemoteError, match="keeps versions"):
        probe_exclusion(Answering(place.store, overwrite), 1.0)
    steps = [exists, exists, overwrite]
    with pytest.raises(UnsuitableRemoteError, match="ignores the condition"):
        probe_exclusion(Answering(place.store, *steps), 1.0)
    # It may have been the bucket's versioning, which its owner set right.
    probe_exclusion(place.store, 1.0)


@pytest.mark.parametrize("error", [UnsuitableRemoteError("501"), InvalidInputError("400")])
def test_probe_refuses_a_store_that_refuses_conditions_by_now(
    place: Place, error: Exception
) -> None:
    def refuse(_store: Answering, _key: str, _data: bytes) -> None:
        raise error

    probe_exclusion(place.store, 1.0)
    with pytest.raises(UnsuitableRemoteError):
        probe_exclusion(Answering(place.store, refuse), 1.0)


def test_probe_takes_no_damaged_read_for_a_verdict(place: Place) -> None:
    store = Flipping(place.store)
    store.flips = 3
    probe_exclusion(store, 5.0)
    assert store.flips == 0


def test_probe_refuses_a_store_that_never_gives_back_what_was_written(place: Place) -> None:
    store = Flipping(place.store)
    store.flips = sys.maxsize
    with pytest.raises(UnsuitableRemoteError, match="does not give back"):
        probe_exclusion(store, 0.2)


def test_probe_refuses_a_store_that_overwrites(place: Place) -> None:
    def overwrite(store: Answering, key: str, data: bytes) -> None:
        store.put(key, data)

    store = Answering(place.store, *[overwrite] * 10)
    with pytest.raises(UnsuitableRemoteError, match="ignores the condition"):
        probe_exclusion(store, 1.0)


def test_probe_refuses_a_store_that_says_no_and_overwrites(place: Place) -> None:
    def overwrite(store: Answering, key: str, data: bytes) -> None:
        store.put(key, data)
        raise AlreadyExistsError("412")

    with pytest.raises(UnsuitableRemoteError, match="ignores the condition"):
        probe_exclusion(Answering(place.store, Answering.really, *[overwrite] * 10), 1.0)


def test_probe_refuses_a_store_that_excludes_one_by_one_but_not_at_once(place: Place) -> None:
    def overwrite(store: Answering, key: str, data: bytes) -> None:
        store.put(key, data)

    steps = [Answering.really, exists, exists, overwrite]
    with pytest.raises(UnsuitableRemoteError, match="ignores the condition"):
        probe_exclusion(Answering(place.store, *steps), 1.0)


def test_remote_that_cannot_exclude_is_refused_for_writing_and_read(place: Place) -> None:
    with place.open() as log:
        log.create("s").append(b"x")
        log.publish()

    def overwrite(store: Answering, key: str, data: bytes) -> None:
        store.put(key, data)

    bad = Answering(place.store, *[overwrite] * 100)
    with pytest.raises(UnsuitableRemoteError, match="it can be read, not written"):
        place.open(remote=bad)
    with place.open(remote=Answering(place.store, *[overwrite] * 100), mode="read") as log:
        assert [r.payload for r in log.stream("s").read()] == [b"x"]


def test_folder_store_lets_one_win(place: Place) -> None:
    store = open_store(place.remote_path)
    store.create("commits/y", b"1")
    with pytest.raises(AlreadyExistsError):
        store.create("commits/y", b"2")
