"""The objects of one store in a remote: read again when damaged on their way, never believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from transit.config import Settings
from transit.errors import (
    CorruptError,
    InvalidInputError,
    NotFoundError,
    RemoteUnavailableError,
    UnsuitableRemoteError,
)
from transit.format.commit import (
    COMMIT_BYTES_MAX,
    Commit,
    SegmentRef,
    TreeState,
    decode_commit,
    encode_commit,
    encode_format,
)
from transit.format.digest import digest
from transit.format.head import HEAD_BYTES_MAX, Head, encode_head
from transit.store import ObjectStore, open_store
from transit.testing.doors import FaultDoor
from transit.tier.remote import TRIES, Remote, commit_key, index_key, segment_key

STORE = bytes(range(16))
OTHER = STORE[::-1]
SETTINGS = Settings(remote_timeout_s=0.05)
NAME = "ab" * 32


def commit(number: int, **changes: Any) -> bytes:
    lsn = number * 10
    values: dict[str, Any] = {
        "format": 1,
        "store": STORE.hex(),
        "number": number,
        "epoch": 3,
        "write_id": "0f" * 16,
        "previous": "ef" * 32 if number else "",
        "segments": (
            SegmentRef(
                digest=NAME, footer="cd" * 32, chunks="0a" * 32, bytes=9, records=10,
                streams=2,
                lsn=(lsn, lsn + 9), time=(0, 1), written=(0, 1),
            ),
        ),
        "tree": TreeState(size=number, range=("12" * 32,) * number.bit_count()),
    }  # fmt: skip
    return encode_commit(Commit(**{**values, **changes}))


def flipped(data: bytes) -> bytes:
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


Change = Callable[[bytes | None], bytes | None]


class Answers(FaultDoor):
    """A store whose first answers to reads are changed; the others are as they are."""

    def __init__(self, store: ObjectStore, *changes: Change) -> None:
        super().__init__(store)
        self.changes = list(changes)

    def get(self, key: str, bytes_max: int) -> bytes | None:
        data = super().get(key, bytes_max)
        return self.changes.pop(0)(data) if self.changes else data


def damaged(data: bytes | None) -> bytes | None:
    return flipped(data) if data else data


def other_damage(data: bytes | None) -> bytes | None:
    return bytes([data[0] ^ 1]) + data[1:] if data else data


def lost(data: bytes | None) -> bytes | None:
    return None


def as_it_is(data: bytes | None) -> bytes | None:
    return data


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_store(tmp_path / "remote")


def remote_of(store: ObjectStore) -> Remote:
    return Remote(store, SETTINGS)


# Names


def test_keys_are_made_of_numbers_and_digests() -> None:
    assert commit_key(7) == "commits/00000000000000000007.json"
    assert segment_key(NAME) == f"segments/{NAME}.seg"
    assert index_key(NAME) == f"index/{NAME}.idx"


def test_an_object_is_named_by_the_remotes_address_and_its_key(store: ObjectStore) -> None:
    remote = remote_of(store)
    assert remote.url == store.url
    assert remote.place("commits/x") == f"{store.url}/commits/x"


# Whose store it is


def test_an_empty_remote_holds_no_store(store: ObjectStore) -> None:
    assert remote_of(store).store_id() is None
    assert remote_of(store).store_id(STORE) is None
    for expected in (b"", STORE):
        with pytest.raises(NotFoundError, match="no store here"):
            remote_of(store).existing_store_id(expected)


@pytest.mark.parametrize(("expected", "reads"), [(b"", 2), (STORE, 1), (OTHER, 2)])
def test_an_id_is_read_twice_unless_it_is_the_one_expected(
    store: ObjectStore, expected: bytes, reads: int
) -> None:
    store.put("FORMAT", encode_format(STORE))
    door = FaultDoor(store)
    assert remote_of(door).store_id(expected) == STORE
    assert door.requests == [("get", "FORMAT")] * reads
    assert remote_of(door).existing_store_id(expected) == STORE


def test_an_id_damaged_on_its_way_is_not_taken_for_anothers(store: ObjectStore) -> None:
    def other_id(data: bytes | None) -> bytes:
        return encode_format(OTHER)

    store.put("FORMAT", encode_format(STORE))
    assert remote_of(Answers(store, other_id)).store_id() == STORE
    assert remote_of(Answers(store, other_id)).store_id(STORE) == STORE


def test_a_format_object_that_is_none_is_corrupt(store: ObjectStore) -> None:
    store.put("FORMAT", b"{}")
    with pytest.raises(CorruptError) as caught:
        remote_of(store).store_id()
    assert caught.value.place == f"{store.url}/FORMAT"


def test_claiming_marks_an_empty_remote_as_ours_and_may_be_done_again(store: ObjectStore) -> None:
    for _ in range(2):
        remote_of(store).claim(STORE)
        assert store.get("FORMAT", 1000) == encode_format(STORE)
        # What it is tried out on is one and the same.
        assert [key for key, _ in store.list("probes/")] == ["probes/exclusion"]


def test_claiming_without_an_id_gives_a_new_one_or_that_of_the_store_there(tmp_path: Path) -> None:
    ids = []
    for name in ("one", "two"):
        store = open_store(tmp_path / name)
        ids.append(remote_of(store).claim(None))
        assert store.get("FORMAT", 1000) == encode_format(ids[-1])
        assert remote_of(store).claim(None) == ids[-1]
    assert len(set(ids)) == 2
    assert {len(each) for each in ids} == {16}


def test_what_is_as_expected_is_asked_for_once(store: ObjectStore) -> None:
    remote_of(store).claim(STORE)
    store.put(commit_key(0), commit(0))
    door = FaultDoor(store)
    remote = remote_of(door)
    assert remote.claim(STORE) == STORE
    assert remote.has_commit(0, commit(0))
    asked = [key for kind, key in door.requests if kind == "get"]
    assert asked.count("FORMAT") == asked.count(commit_key(0)) == 1


def test_claiming_what_another_holds_is_refused_and_changes_nothing(store: ObjectStore) -> None:
    remote_of(store).claim(OTHER)
    with pytest.raises(InvalidInputError, match=f"holds store {OTHER.hex()}, not {STORE.hex()}"):
        remote_of(store).claim(STORE)
    assert store.get("FORMAT", 1000) == encode_format(OTHER)


def test_a_remote_where_two_can_win_is_not_claimed(store: ObjectStore) -> None:
    class Overwriting(FaultDoor):
        def create(self, key: str, data: bytes) -> None:
            self.put(key, data)

    for name in (None, encode_format(STORE)):
        if name:
            store.put("FORMAT", name)
        with pytest.raises(UnsuitableRemoteError):
            remote_of(Overwriting(store)).claim(STORE)
        assert store.get("FORMAT", 1000) == name


# Commits


@pytest.mark.parametrize(
    ("there", "ours", "same"),
    [
        (None, None, False),
        (None, commit(0), False),
        (commit(0), commit(0), True),
        (commit(0), commit(0, epoch=4), False),
        (commit(0), None, False),
    ],
)
def test_a_commit_is_there_when_it_has_just_our_bytes(
    store: ObjectStore, there: bytes | None, ours: bytes | None, same: bool
) -> None:
    if there is not None:
        store.put(commit_key(0), there)
    assert remote_of(store).has_commit(0, ours) is same


def test_another_commit_is_another_whichever_sorts_first(store: ObjectStore) -> None:
    one, other = sorted([commit(0), commit(0, epoch=4)])
    for there, ours in ((one, other), (other, one)):
        store.put(commit_key(0), there)
        assert remote_of(store).has_commit(0, ours) is False
        assert remote_of(store).create_commit(0, ours) == there


def test_a_commit_of_ours_that_was_damaged_on_its_way_is_there(store: ObjectStore) -> None:
    store.put(commit_key(0), commit(0))
    assert remote_of(Answers(store, damaged)).has_commit(0, commit(0)) is True
    assert remote_of(Answers(store, damaged, other_damage)).has_commit(0, commit(0)) is True


@pytest.mark.parametrize(
    ("changes", "reads"),
    [((), 1), ((damaged,), 3), ((damaged, other_damage), 4), ((damaged, damaged, as_it_is), 4)],
)
def test_a_commit_damaged_on_its_way_is_read_until_two_reads_agree(
    store: ObjectStore, changes: tuple[Change, ...], reads: int
) -> None:
    data = commit(3)
    store.put(commit_key(3), data)
    door = Answers(store, *changes)
    assert remote_of(door).checked_commit(3) == (data, decode_commit(data, "here"))
    assert door.requests == [("get", commit_key(3))] * reads


def test_a_commit_that_is_not_there_is_none(store: ObjectStore) -> None:
    assert remote_of(store).checked_commit(0) is None
    store.put(commit_key(0), commit(0))
    # Damaged on its way at first, and gone when it is asked for again.
    assert remote_of(Answers(store, damaged, lost)).checked_commit(0) is None


def test_a_commit_that_is_damaged_in_the_remote_is_corrupt(store: ObjectStore) -> None:
    store.put(commit_key(0), flipped(commit(0)))
    with pytest.raises(CorruptError) as caught:
        remote_of(store).checked_commit(0)
    assert caught.value.place == f"{store.url}/{commit_key(0)}"


@pytest.mark.parametrize("number", [2, 4])
def test_a_commit_under_another_number_is_corrupt(store: ObjectStore, number: int) -> None:
    store.put(commit_key(3), commit(number))
    with pytest.raises(CorruptError) as caught:
        remote_of(store).checked_commit(3)
    error = caught.value
    assert (error.place, error.expected, error.found) == (
        f"{store.url}/{commit_key(3)}", "number 3", str(number),
    )  # fmt: skip


def test_the_largest_commit_is_read_and_a_larger_one_is_not(store: ObjectStore) -> None:
    store.put(commit_key(0), b"[" * (COMMIT_BYTES_MAX + 1))
    with pytest.raises(CorruptError):
        remote_of(store).checked_commit(0)
    one = msgspec.json.decode(commit(0), type=Commit)
    (segment,) = one.segments
    # The numbers of records take a few digits more than in the one segment that is measured.
    count = COMMIT_BYTES_MAX // (len(msgspec.json.encode(segment)) + 8)
    many = tuple(msgspec.structs.replace(segment, lsn=(10 * n, 10 * n + 9)) for n in range(count))
    data = encode_commit(msgspec.structs.replace(one, segments=many))
    assert COMMIT_BYTES_MAX * 0.9 < len(data) <= COMMIT_BYTES_MAX
    store.put(commit_key(0), data)
    found = remote_of(store).checked_commit(0)
    assert found is not None
    assert found[0] == data


def test_creating_a_commit_says_what_is_there_instead(store: ObjectStore) -> None:
    remote = remote_of(store)
    assert remote.create_commit(0, commit(0)) is None
    assert store.get(commit_key(0), 100_000) == commit(0)
    assert remote.create_commit(0, commit(0)) is None
    assert remote.create_commit(0, commit(0, epoch=9)) == commit(0)


# The hint


def test_the_hint_is_read_once_and_is_what_was_put(store: ObjectStore) -> None:
    remote = remote_of(store)
    assert remote.head(STORE) is None
    remote.put_head(STORE, 9, 4)
    assert store.get("HEAD", 1000) == encode_head(STORE, 9, 4)
    door = FaultDoor(store)
    head = Head(kind="transit-head", format=1, store=STORE.hex(), number=9, index=4)
    assert remote_of(door).head(STORE) == head
    assert door.requests == [("get", "HEAD")]
    assert remote.head(OTHER) is None


@pytest.mark.parametrize("size", [1, HEAD_BYTES_MAX, HEAD_BYTES_MAX + 1, 2_000_000])
def test_a_hint_that_is_none_is_none_whatever_its_size(store: ObjectStore, size: int) -> None:
    store.put("HEAD", b"x" * size)
    assert remote_of(store).head(STORE) is None


def test_a_remote_that_does_not_answer_is_not_one_without_a_hint(store: ObjectStore) -> None:
    door = FaultDoor(store, lambda at, kind, key: "lost_before")
    with pytest.raises(RemoteUnavailableError):
        remote_of(door).head(STORE)


def head_of(number: int) -> Head:
    return Head(kind="transit-head", format=1, store=STORE.hex(), number=number, index=None)


@pytest.mark.parametrize("number", [None, 0, 2])
def test_no_gap_is_looked_for_where_the_hint_names_no_later_commit(
    store: ObjectStore, number: int | None
) -> None:
    store.put(commit_key(3), commit(3))
    door = FaultDoor(store)
    head = None if number is None else head_of(number)
    assert remote_of(door).check_no_gap(3, head) is False
    assert door.requests == []


def test_a_later_commit_that_is_there_proves_a_gap(store: ObjectStore) -> None:
    remote = remote_of(store)
    # HEAD alone proves nothing.
    assert remote.check_no_gap(3, head_of(4)) is False
    store.put(commit_key(4), commit(4))
    with pytest.raises(CorruptError, match="there is commit 4") as caught:
        remote.check_no_gap(3, head_of(4))
    assert caught.value.place == f"{store.url}/{commit_key(3)}"
    assert caught.value.found == "no object"


@pytest.mark.parametrize("number", [3, 4])
def test_a_commit_that_came_late_is_no_gap(store: ObjectStore, number: int) -> None:
    for there in {3, number}:
        store.put(commit_key(there), commit(there))
    door = FaultDoor(store)
    assert remote_of(door).check_no_gap(3, head_of(number)) is True
    # The one in question is asked for last: commits are made in order.
    keys = [commit_key(4), commit_key(3)] if number == 4 else [commit_key(3)]
    assert door.requests == [("get", key) for key in keys]


# Objects named by their digest


DATA = b"an object" * 20
DIGEST = digest(DATA).hex()
KEY = index_key(DIGEST)


@pytest.mark.parametrize(
    ("changes", "reads"),
    [
        ((), 1),
        ((damaged,), 2),
        ((damaged, damaged), 3),
        ((lost,), 2),
        ((lost, damaged), 3),
        ((damaged, lost), 3),
    ],
)
def test_an_object_damaged_on_its_way_is_read_up_to_three_times(
    store: ObjectStore, changes: tuple[Change, ...], reads: int
) -> None:
    store.put(KEY, DATA)
    door = Answers(store, *changes)
    assert remote_of(door).snapshot(DIGEST, len(DATA)) == DATA
    assert door.requests == [("get", KEY)] * reads
    assert remote_of(store).whole(KEY, DIGEST, len(DATA)) == DATA


@pytest.mark.parametrize("there", [None, flipped(DATA)])
def test_an_object_that_is_not_what_its_name_says_is_corrupt(
    store: ObjectStore, there: bytes | None
) -> None:
    if there is not None:
        store.put(KEY, there)
    door = FaultDoor(store)
    with pytest.raises(CorruptError) as caught:
        remote_of(door).whole(KEY, DIGEST, len(DATA))
    error = caught.value
    found = "no object" if there is None else digest(there).hex()
    assert (error.place, error.expected, error.found) == (f"{store.url}/{KEY}", DIGEST, found)
    assert len(door.requests) == TRIES == 3


def test_an_object_of_another_digest_is_refused_whichever_sorts_first(store: ObjectStore) -> None:
    datas = sorted([bytes([n]) * 9 for n in range(3)], key=lambda data: digest(data).hex())
    for there in datas:
        store.put(KEY, there)
        for wanted in datas:
            name = digest(wanted).hex()
            if wanted == there:
                assert remote_of(store).whole(KEY, name, 9) == there
            else:
                with pytest.raises(CorruptError, match=f"expected {name}"):
                    remote_of(store).whole(KEY, name, 9)


def test_what_was_found_last_is_told(store: ObjectStore) -> None:
    store.put(KEY, DATA)
    door = Answers(store, damaged, damaged, lost)
    with pytest.raises(CorruptError, match=f"found {digest(flipped(DATA)).hex()}"):
        remote_of(door).whole(KEY, DIGEST, len(DATA))
