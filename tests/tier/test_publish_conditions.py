"""Put-if-absent request by request: how often it asks, how long it waits, and when it gives up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from transit.errors import (
    AlreadyExistsError,
    CorruptError,
    OutcomeUnknownError,
    RemoteUnavailableError,
    StorePermissionError,
    TransitError,
    UnsuitableRemoteError,
)
from transit.store import ObjectStore, open_store
from transit.testing.doors import FaultDoor
from transit.tier.conditional import put_if_absent, read_twice

from .conftest import Place

KEY, OURS, OTHERS = "commits/x", b"ours", b"others"
TIMEOUT_S = 10.0

Answer = bytes | TransitError | None


class Scripted(FaultDoor):
    """A store that answers creates and reads as it is told; then as it is."""

    def __init__(
        self,
        store: ObjectStore,
        creates: list[TransitError | None] | None = None,
        reads: list[Answer] | None = None,
    ) -> None:
        super().__init__(store)
        self.creates = creates or []
        self.reads = reads or []

    def create(self, key: str, data: bytes) -> None:
        answer = self.creates.pop(0) if self.creates else None
        if answer is not None:
            self.requests.append(("create", key))
            raise answer
        super().create(key, data)

    def get(self, key: str, bytes_max: int) -> bytes | None:
        found = super().get(key, bytes_max)
        answer = self.reads.pop(0) if self.reads else found
        if isinstance(answer, TransitError):
            raise answer
        return answer

    @property
    def asked(self) -> str:
        """The requests, as letters: c for a create, g for a get."""
        return "".join(kind[0] for kind, _ in self.requests)


class Clock:
    """Time that passes only when a call sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("time.sleep", made.sleep)
    monkeypatch.setattr("time.monotonic", lambda: made.now)
    return made


def lost() -> RemoteUnavailableError:
    return RemoteUnavailableError("timeout")


def taken() -> AlreadyExistsError:
    return AlreadyExistsError("412")


def put(store: ObjectStore, timeout_s: float = TIMEOUT_S) -> bytes | None:
    return put_if_absent(store, KEY, OURS, 100, timeout_s)


# How often it asks


def test_a_plain_yes_takes_one_request(place: Place, clock: Clock) -> None:
    door = Scripted(place.store)
    assert put(door) is None
    assert door.asked == "c"
    assert clock.slept == []


def test_a_yes_of_a_store_that_takes_damage_is_read_back(place: Place, clock: Clock) -> None:
    class Careless(Scripted):
        refuses_damage = False  # type: ignore[assignment]

    door = Careless(place.store)
    assert put(door) is None
    assert door.asked == "cg"
    # It says yes, and nothing is there: asked again.
    place.store.delete(KEY)
    with pytest.raises(OutcomeUnknownError, match="expected our bytes, found no object"):
        put(Careless(place.store, reads=[None] * 5), 0.0)
    assert place.store.get(KEY, 100) == OURS


@pytest.mark.parametrize("answer", [lost, taken])
def test_any_other_answer_is_found_out_by_one_read_of_our_bytes(
    place: Place, clock: Clock, answer: Callable[[], TransitError]
) -> None:
    place.store.create(KEY, OURS)
    door = Scripted(place.store, [answer()])
    assert put(door) is None
    assert door.asked == "cg"


@pytest.mark.parametrize("others", [OTHERS, b"", b"our", b"ours and more", b"\0", b"\xff" * 9])
@pytest.mark.parametrize("answer", [lost, taken])
def test_other_bytes_are_read_twice_and_then_lost_whatever_they_are(
    place: Place, clock: Clock, answer: Callable[[], TransitError], others: bytes
) -> None:
    place.store.create(KEY, others)
    door = Scripted(place.store, [answer()])
    assert put(door) == others
    assert door.asked == "cgg"
    assert clock.slept == []


def test_pauses_double_up_to_a_second_until_the_deadline(place: Place, clock: Clock) -> None:
    door = Scripted(place.store, [lost() for _ in range(100)])
    with pytest.raises(OutcomeUnknownError) as caught:
        put(door)
    assert clock.slept[:6] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0]
    assert set(clock.slept[5:]) == {1.0}
    # The last request is the first after the deadline.
    assert sum(clock.slept[:-1]) < TIMEOUT_S <= sum(clock.slept)
    assert door.asked == "cg" * (len(clock.slept) + 1)
    assert str(caught.value) == (
        f"{place.store.url}/{KEY}: whether it was created is not known (timeout); publish again"
    )
    assert isinstance(caught.value.__cause__, RemoteUnavailableError)


def test_a_deadline_that_is_just_reached_is_over(place: Place, clock: Clock) -> None:
    door = Scripted(place.store, [lost() for _ in range(100)])
    with pytest.raises(OutcomeUnknownError):
        put(door, 0.0)
    assert door.asked == "cg"
    door = Scripted(place.store, [lost() for _ in range(100)])
    with pytest.raises(OutcomeUnknownError):
        put(door, 0.05)
    assert door.asked == "cgcg"


@pytest.mark.parametrize("tries", [1, 2, 5])
def test_a_create_that_works_in_the_end_is_won(place: Place, clock: Clock, tries: int) -> None:
    door = Scripted(place.store, [lost() for _ in range(tries)])
    assert put(door) is None
    assert door.asked == "cg" * tries + "c"
    assert len(clock.slept) == tries


# When it gives up


@pytest.mark.parametrize("error", [StorePermissionError("403"), UnsuitableRemoteError("501")])
def test_a_first_request_that_is_refused_is_said_to_be(
    place: Place, clock: Clock, error: TransitError
) -> None:
    door = Scripted(place.store, [error])
    with pytest.raises(type(error)) as caught:
        put(door)
    assert caught.value is error
    assert door.asked == "c"


def test_a_refusal_after_a_request_that_may_have_arrived_says_nothing_of_that(
    place: Place, clock: Clock
) -> None:
    refused = StorePermissionError("403")
    door = Scripted(place.store, [lost(), refused], [None])
    place.store.create(KEY, OURS)
    assert put(door) is None
    assert door.asked == "cgcg"
    place.store.delete(KEY)
    with pytest.raises(OutcomeUnknownError, match=r"is not known \(403\)"):
        put(Scripted(place.store, [lost(), *[refused] * 99]))


@pytest.mark.parametrize("error", [lost(), StorePermissionError("403")])
def test_reads_that_fail_leave_the_outcome_unknown_at_once(
    place: Place, clock: Clock, error: TransitError
) -> None:
    door = Scripted(place.store, [taken()], [error])
    with pytest.raises(OutcomeUnknownError, match=str(error)) as caught:
        put(door)
    assert caught.value.__cause__ is error
    assert door.asked == "cg"
    assert clock.slept == []


# Reading until two agree


@pytest.mark.parametrize(
    ("answers", "found", "reads"),
    [
        ([None], None, 1),
        ([OURS], OURS, 1),
        ([OTHERS, OTHERS], OTHERS, 2),
        ([OTHERS, OURS], OURS, 2),
        ([OTHERS, None], None, 2),
        ([b"1", b"2", b"2"], b"2", 3),
        ([b"1", b"2", b"1", b"1"], b"1", 4),
        ([b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"7"], b"7", 8),
        ([b"1", b"2", b"3", b"4", b"5", b"6", b"7", OURS], OURS, 8),
    ],
)
def test_bytes_are_believed_once_expected_or_read_twice_in_a_row(
    place: Place, answers: list[Answer], found: bytes | None, reads: int
) -> None:
    door = Scripted(place.store, reads=[*answers, b"never asked for"])
    assert read_twice(door, KEY, 100, OURS) == found
    assert door.asked == "g" * reads


def test_eight_reads_that_differ_are_corrupt(place: Place) -> None:
    door = Scripted(place.store, reads=[b"%d" % n for n in range(100)])
    with pytest.raises(CorruptError) as caught:
        read_twice(door, KEY, 100, OURS)
    error = caught.value
    assert (error.place, error.expected, error.found) == (
        f"{place.store.url}/{KEY}", "the same bytes twice", "others",
    )  # fmt: skip
    assert door.asked == "g" * 8


def test_a_folder_is_read_no_further_than_asked_for(place: Place) -> None:
    store = open_store(place.remote_path)
    store.create(KEY, b"x" * 101)
    with pytest.raises(CorruptError):
        read_twice(store, KEY, 100, OURS)
    assert read_twice(store, KEY, 101, OURS) == b"x" * 101
