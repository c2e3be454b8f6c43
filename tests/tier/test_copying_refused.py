"""Copies that are refused, or stop: other histories, wrong places, damage, checkpoints that lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import transit
from transit import SigningKey
from transit.format.commit import decode_commit
from transit.store import ObjectStore, open_store
from transit.testing.doors import Fault, FaultDoor
from transit.tier.checkpoints import note_key
from transit.tier.remote import commit_key, segment_key

from .conftest import Place
from .copies import (
    QUIET,
    Both,
    damage,
    erase,
    grow,
    key_of,
    kinds,
    other_history,
    published,
    read,
    same,
    sign,
    state,
    write_secrets,
)


@pytest.fixture
def target(tmp_path: Path) -> ObjectStore:
    return open_store(tmp_path / "copy")


# What is refused


@pytest.mark.parametrize("at", [0, 3])
def test_another_history_in_the_target_is_told_and_left_alone(place: Place, at: int) -> None:
    published(place, 6)
    other = other_history(place, at)
    before = {key: other.get(key, size) for key, size in other.list("")}
    with pytest.raises(transit.ConflictError, match=rf"commit {at + 1} there is another than"):
        transit.copy(place.store, other, **QUIET)
    assert {key: other.get(key, size) for key, size in other.list("")} == before


def test_a_target_that_went_on_by_itself_is_told(place: Place, target: ObjectStore) -> None:
    published(place, 3)
    transit.copy(place.store, target, **QUIET)
    grow(place, 2)
    before = state(place.store)
    with pytest.raises(transit.ConflictError, match="commit 3 there is beyond the last in"):
        transit.copy(target, place.store, **QUIET)
    assert state(place.store) == before


def test_another_writer_in_the_target_is_told_when_he_is_met(
    place: Place, target: ObjectStore
) -> None:
    published(place, 4)
    other = other_history(place, 1)
    theirs = other.get(commit_key(2), 10**5) or b""
    both = Both(place, target)

    def write(at: int, kind: str, key: str) -> None:
        if (kind, key) == ("create", commit_key(2)):
            target.put(key, theirs)

    both.rule = write
    with pytest.raises(transit.ConflictError, match="commit 2 there is not the one"):
        both.copy()
    assert target.get(commit_key(2), 10**5) == theirs
    assert target.size(commit_key(3)) is None


def test_another_store_in_the_target_is_told_and_left_alone(place: Place, tmp_path: Path) -> None:
    published(place, 1)
    with transit.open(tmp_path / "s", remote=tmp_path / "copy") as log:
        log.create("x").append(b"x", durability="tiered")
    other = open_store(tmp_path / "copy")
    before = {key: other.get(key, size) for key, size in other.list("")}
    with pytest.raises(transit.InvalidInputError, match="holds store"):
        transit.copy(place.store, other)
    assert {key: other.get(key, size) for key, size in other.list("")} == before


def test_places_that_cannot_be_copied_to_or_from_are_refused(place: Place, tmp_path: Path) -> None:
    published(place, 1)
    before = state(place.store)
    for target in (place.remote_path, place.remote_path / "in", tmp_path, place.store):
        with pytest.raises(transit.InvalidInputError, match="a place of its own"):
            transit.copy(place.remote_path, target)
    address = f"memory://{uuid4().hex}"
    with pytest.raises(transit.InvalidInputError, match="a place of its own"):
        transit.copy(address, address)
    # A store's own folder has more than a remote, and a lock that a copy knows nothing of.
    for source, target in ((place.path / "a", tmp_path / "c"), (place.store, place.path / "a")):
        with pytest.raises(transit.InvalidInputError, match="a store's own folder"):
            transit.copy(source, target)
    with pytest.raises(transit.NotFoundError, match="no store here"):
        transit.copy(tmp_path / "nothing", tmp_path / "c")
    with pytest.raises(transit.InvalidInputError, match="level"):
        transit.copy(place.store, tmp_path / "c", level="some")
    assert not (tmp_path / "c").exists()
    assert not (tmp_path / "nothing").exists()
    assert state(place.store) == before


class ReadOnly(FaultDoor):
    """A source that may only be read."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store)
        self.rule = self._refuse

    def _refuse(self, at: int, kind: str, key: str) -> Fault | None:
        if kind not in ("get", "size"):
            raise transit.StorePermissionError(f"{key}: {kind} is not allowed")
        return None


def test_the_source_is_only_read_and_need_not_be_listed(place: Place, target: ObjectStore) -> None:
    published(place, 2)
    for _ in range(2):
        grow(place, 1)
        sign(place)
    copied = transit.copy(ReadOnly(place.store), target, level="bodies")
    assert copied.ok
    # Only a listing has the names of older ones.
    assert copied.checkpoints == 1
    lacking = {note_key(3), "tile/0/000.p/3", "tile/entries/000.p/3"}
    assert set(state(place.store)) - set(state(target)) == lacking


class Shy(FaultDoor):
    """A bucket that says "not allowed" of absent objects to who could not read one there yet."""

    may_read = False

    def _known(self, key: str, found: Any) -> Any:
        self.may_read = self.may_read or found is not None
        if not self.may_read:
            raise transit.StorePermissionError(f"{key}: not allowed")
        return found

    def get(self, key: str, bytes_max: int) -> bytes | None:
        found: bytes | None = self._known(key, super().get(key, bytes_max))
        return found

    def size(self, key: str) -> int | None:
        found: int | None = self._known(key, super().size(key))
        return found


def test_a_target_that_does_not_tell_what_is_absent_is_copied_to(
    place: Place, target: ObjectStore
) -> None:
    published(place, 3)
    assert transit.copy(Shy(place.store), Shy(target), **QUIET).commits == 3
    same(place, target)
    assert transit.copy(Shy(place.store), Shy(target), **QUIET).commits_there == 3
    with transit.open(place.path / "s", remote=place.path / "theirs") as log:
        log.create("x").append(b"x", durability="tiered")
    with pytest.raises(transit.InvalidInputError, match="holds store"):
        transit.copy(place.store, Shy(open_store(place.path / "theirs")), **QUIET)


def test_a_target_that_lets_two_win_is_refused(
    place: Place, ignoring_remote: tuple[str, dict[str, object]]
) -> None:
    published(place, 1)
    url, options = ignoring_remote
    with pytest.raises(transit.UnsuitableRemoteError, match="put-if-absent"):
        transit.copy(place.store, f"{url}/{uuid4().hex}", target_options=options)


# Damage


def test_a_damaged_segment_is_not_copied_and_no_commit_names_it(
    place: Place, target: ObjectStore
) -> None:
    published(place, 5)
    commit = decode_commit(place.store.get(commit_key(3), 10**5) or b"", "here")
    key = segment_key(commit.segments[0].digest)
    whole = place.store.get(key, 10**6) or b""
    for data in (whole[:-1] + b"?", whole[:-1], None):
        if data is None:
            place.store.delete(key)
        else:
            place.store.put(key, data)
        with pytest.raises(transit.CorruptError, match=key):
            transit.copy(place.store, target, **QUIET)
        assert target.size(key) is None
        assert transit.audit(target).ok
        assert len(list(target.list("commits/"))) == 2
    place.store.put(key, whole)
    assert transit.copy(place.store, target, **QUIET).ok
    same(place, target)


def test_a_segment_that_the_source_lost_later_is_told_and_stays_in_the_copy(
    place: Place, target: ObjectStore
) -> None:
    published(place, 3)
    transit.copy(place.store, target, **QUIET)
    key = sorted(key for key, _ in place.store.list("segments/"))[0]
    place.store.delete(key)
    grow(place, 2)
    with pytest.raises(transit.CorruptError, match=key):
        transit.copy(place.store, target, **QUIET)
    assert target.size(key) is not None
    assert transit.audit(target).ok


def test_what_is_damaged_on_its_way_is_read_again(place: Place, target: ObjectStore) -> None:
    published(place, 3)

    class Noisy(FaultDoor):
        def get_range(self, key: str, position: int, size: int) -> bytes:
            data = super().get_range(key, position, size)
            return data if self.requests.count(("get", key)) > 2 else data[:-1] + b"?"

    noisy = Noisy(place.store)
    assert transit.copy(noisy, target, **QUIET).segments == 3
    assert kinds(noisy.requests)["get", "segments"] == 9
    same(place, target)


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_a_snapshot_that_the_source_lacks_is_done_without(
    place: Place, target: ObjectStore, how: str
) -> None:
    published(place, 10)
    ((key, _),) = place.store.list("index/")
    if how == "gone":
        place.store.delete(key)
    else:
        damage(place.store, key)
    copied = transit.copy(place.store, target)
    assert (copied.commits, copied.snapshots, copied.snapshots_lacking) == (10, 0, 1)
    # The audit says of it what it says of the source.
    assert copied.report is not None
    assert [finding.found for finding in copied.report.findings] == ["no object"]
    assert not copied.ok
    assert target.size(key) is None
    assert read(target) == read(place.store)


def test_a_chain_that_does_not_hold_is_copied_up_to_there(
    place: Place, target: ObjectStore
) -> None:
    published(place, 6)
    other = other_history(place, 2)
    ours = place.store.get(commit_key(4), 10**5) or b""
    place.store.delete(commit_key(4))
    with pytest.raises(transit.CorruptError, match=r"because there is commit 5"):
        transit.copy(place.store, target, **QUIET)
    place.store.put(commit_key(4), other.get(commit_key(4), 10**5) or b"")
    with pytest.raises(transit.CorruptError, match="previous root"):
        transit.copy(place.store, target, **QUIET)
    assert transit.audit(target).ok
    assert 2 <= len(list(target.list("commits/"))) <= 4
    place.store.put(commit_key(4), ours)
    assert transit.copy(place.store, target).ok
    same(place, target)


def test_a_rest_of_a_segment_that_is_damaged_is_not_copied(
    place: Place, target: ObjectStore
) -> None:
    with place.open() as log:
        write_secrets(log)
    erase(place)
    key = min(key for key, _ in place.store.list("redacted/"))
    whole = place.store.get(key, 10**6) or b""
    both = Both(place, target)
    for data in (whole[:60] + b"?" + whole[61:], whole[:-1], whole + bytes(70 * 1024 * 1024)):
        place.store.put(key, data)
        both.clear()
        with pytest.raises(transit.CorruptError, match=key.partition("/")[2]):
            both.copy()
        assert target.size(key) is None
        assert transit.audit(target, "roots").ok
    # One that no memory is taken for.
    assert ("get", key) not in both.requests
    place.store.put(key, whole)
    assert transit.copy(place.store, target).ok
    same(place, target)


# Checkpoints


def test_a_checkpoint_of_another_history_is_told_and_not_copied(
    place: Place, target: ObjectStore
) -> None:
    published(place, 4)
    other = other_history(place, 1)
    with transit.open(place.path / "other", remote=other, durability="os") as log:
        for count in (1, 2):
            note = log.checkpoint(key_of(log.store_id)).note
            log.create(f"late-{count}").append(b"x")
    place.store.put("checkpoint", note)
    with pytest.raises(transit.SplitViewError, match="covers 7 commits, and 4 are there"):
        transit.copy(place.store, target, **QUIET)
    grow(place, 6)
    # With all that stands behind it, and an older one of the same history.
    theirs = [key for key in state(other) if key.startswith(("tile/", "checkpoints/"))]
    for key in theirs:
        place.store.put(key, state(other)[key])
    with pytest.raises(transit.SplitViewError, match="another history"):
        transit.copy(place.store, target, **QUIET)
    assert not any(key.startswith(("check", "tile")) for key in state(target))
    for key in theirs:
        place.store.delete(key)
    place.store.put("checkpoint", b"no note")
    with pytest.raises(transit.CorruptError, match="a signed checkpoint"):
        transit.copy(place.store, target, **QUIET)
    assert not any(key.startswith(("check", "tile")) for key in state(target))
    assert transit.audit(target).counts["commits"] == 10
    # Nor is one of a smaller size beside a good one.
    sign(place)
    place.store.put(note_key(6), other.get(note_key(6), 10**4) or b"")
    with pytest.raises(transit.SplitViewError, match=note_key(6)):
        transit.copy(place.store, target, **QUIET)
    place.store.put(note_key(5), place.store.get(note_key(10), 10**4) or b"")
    with pytest.raises(transit.CorruptError, match="a checkpoint of 5 commits"):
        transit.copy(place.store, target, **QUIET)
    place.store.delete(note_key(5))
    place.store.delete(note_key(6))
    assert transit.copy(place.store, target).checkpoints == 1
    same(place, target)


def test_signatures_that_came_later_are_brought_and_those_in_the_target_stay(
    place: Place, target: ObjectStore
) -> None:
    published(place, 3)
    with place.open() as log:
        keys = [SigningKey.generate(f"example.com/{log.store_id}") for _ in range(3)]
        log.checkpoint(keys[0])
        transit.copy(place.store, target, **QUIET)
        log.checkpoint(keys[:2])
    both = Both(place, target)
    assert both.copy().checkpoints == 1
    same(place, target)
    # Signed once more, where the copy is.
    transit.restore(target, place.path / "r")
    with transit.open(place.path / "r", remote=target, durability="os") as log:
        log.checkpoint(keys)
    both.clear()
    assert both.copy().checkpoints == 0
    assert not any(kind in ("put", "create") for kind, _ in both.requests)


def test_tiles_that_the_source_lost_are_made_again(place: Place, target: ObjectStore) -> None:
    grow(place, 5)
    sign(place)
    wanted = state(place.store)
    for key in [key for key in wanted if key.startswith("tile/")]:
        place.store.delete(key)
    assert transit.copy(place.store, target).ok
    assert state(target) == wanted
