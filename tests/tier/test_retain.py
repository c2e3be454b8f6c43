"""Which local segments are dropped, in which order, and what is made sure of before any is."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import transit
from transit.format.snapshot import decode_snapshot
from transit.log.guides import read_marker
from transit.log.segments import Segment
from transit.log.snapshots import Snapshots
from transit.store import ObjectStore, open_store
from transit.testing.doors import FaultDoor
from transit.tier import retain
from transit.tier.remote import segment_key
from transit.tier.retain import Evicted

COUNT = 5
HOUR = 3600


class Store:
    """An open store of `COUNT` segments, each an hour newer, the first `published` published."""

    def __init__(self, path: Path) -> None:
        self.path = path / "store"
        self.bucket: ObjectStore = open_store(path / "remote")
        self.remote = FaultDoor(self.bucket)
        self.log = transit.open(self.path, remote=self.remote, durability="os")
        self._stream = self.log.create("s")
        for _ in range(COUNT):
            self.grow()
        self.log.publish()

    def grow(self) -> None:
        """One segment more, which is not published."""
        self._stream.append(b"%d" % self._stream.next_offset * 100)
        self.log.seal()

    @property
    def segments(self) -> tuple[Segment, ...]:
        return self.log._handle.catalog.view.segments

    @property
    def sizes(self) -> list[int]:
        return [segment.ref.bytes for segment in self.segments]

    @property
    def here(self) -> list[int]:
        """The numbers of the segments whose files are in the folder."""
        return [n for n, segment in enumerate(self.segments) if Path(segment.path).exists()]

    def remote_key(self, number: int) -> str:
        return segment_key(self.segments[number].ref.digest)

    def is_whole(self) -> bool:
        """Whether all records are read, with the remote."""
        return len(list(self._stream.read())) == self._stream.next_offset


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.log.close()


# Which


@pytest.mark.parametrize("kept", range(COUNT + 1))
@pytest.mark.parametrize("spare", [0, 1])
def test_the_oldest_go_until_the_others_take_no_more_than_they_may(
    store: Store, kept: int, spare: int
) -> None:
    sizes = store.sizes
    room = sum(sizes[COUNT - kept :]) + spare
    dropped = sizes[: COUNT - kept]
    assert store.log.evict(bytes_max=room) == Evicted(len(dropped), sum(dropped))
    assert store.here == list(range(COUNT - kept, COUNT))
    assert store.is_whole()
    # Those that are gone count no more.
    assert store.log.evict(bytes_max=room) == Evicted(0, 0)


def test_one_byte_too_many_drops_one_segment(store: Store) -> None:
    assert store.log.evict(bytes_max=sum(store.sizes) - 1).segments == 1
    assert store.here == [1, 2, 3, 4]


@pytest.mark.parametrize("age", range(COUNT + 1))
def test_those_go_whose_records_are_all_older_than_that(
    store: Store, monkeypatch: pytest.MonkeyPatch, age: int
) -> None:
    last = store.segments[age - 1].ref.written[1] if age else store.segments[0].ref.written[1] - 1
    now = last + HOUR * 10**9
    monkeypatch.setattr(retain, "time", SimpleNamespace(time_ns=lambda: now))
    assert store.log.evict(older_than=HOUR).segments == age
    assert store.here == list(range(age, COUNT))


def test_either_reason_is_enough(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = store.segments[2].ref.written[1] + HOUR * 10**9
    monkeypatch.setattr(retain, "time", SimpleNamespace(time_ns=lambda: now))
    assert store.log.evict(bytes_max=sum(store.sizes) - 1, older_than=HOUR).segments == 3
    assert store.log.evict(bytes_max=store.sizes[-1], older_than=HOUR).segments == 1
    assert store.here == [4]


def test_what_is_not_published_stays(store: Store) -> None:
    store.grow()
    store.grow()
    assert store.log.evict(bytes_max=0, older_than=0).segments == COUNT
    assert store.here == [COUNT, COUNT + 1]
    store.log.publish()
    assert store.log.evict(bytes_max=0).segments == 2
    assert store.is_whole()


# What is made sure of


@pytest.mark.parametrize("number", [0, 2, COUNT - 1])
@pytest.mark.parametrize(("damage", "found"), [("gone", "no object"), ("short", "7 bytes")])
def test_nothing_is_dropped_if_the_remote_lacks_any_of_them(
    store: Store, number: int, damage: str, found: str
) -> None:
    key = store.remote_key(number)
    store.bucket.delete(key)
    if damage == "short":
        store.bucket.put(key, b"7 bytes")
    with pytest.raises(transit.CorruptError) as caught:
        store.log.evict(bytes_max=0)
    assert caught.value.place == f"{store.bucket.url}/{key}"
    assert caught.value.expected == f"{store.sizes[number]} bytes"
    assert caught.value.found == found
    assert store.here == list(range(COUNT))
    assert read_marker(str(store.path)) is None
    # Those that stay are not asked for.
    if number == COUNT - 1:
        assert store.log.evict(bytes_max=store.sizes[-1]).segments == COUNT - 1


def test_each_that_goes_is_asked_for_by_size_alone(store: Store) -> None:
    before = len(store.remote.requests)
    store.log.evict(bytes_max=sum(store.sizes[2:]))
    asked = [each for each in store.remote.requests[before:] if each[1].startswith("segments/")]
    assert sorted(asked) == sorted(("size", store.remote_key(number)) for number in (0, 1))


def test_the_place_of_the_segments_and_their_guides_are_noted_before_the_first_goes(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies in between leaves a store that says where its segments are."""
    seen: list[tuple[str | None, int]] = []
    remove = retain.remove

    def noted(path: str) -> None:
        snapshots = list((store.path / "index").iterdir())
        seen.append((read_marker(str(store.path)), len(snapshots)))
        remove(path)

    monkeypatch.setattr(retain, "remove", noted)
    store.log.evict(bytes_max=0)
    assert seen == [(store.bucket.url, 1)] * COUNT
    (path,) = (store.path / "index").iterdir()
    store_id = bytes.fromhex(store.log.store_id)
    snapshot = decode_snapshot(path.read_bytes(), store_id, str(path))
    assert [entry.ref for entry in snapshot.segments] == [each.ref for each in store.segments]


def test_where_nothing_goes_nothing_is_noted(store: Store) -> None:
    assert store.log.evict(bytes_max=10**9) == Evicted(0, 0)
    assert read_marker(str(store.path)) is None
    assert not (store.path / "index").exists()


class Full:
    """A disk without room for the note, and perhaps for the guides, until so many files went."""

    def __init__(self, patch: pytest.MonkeyPatch, frees: int, guides: bool) -> None:
        self.removed = 0
        put_marker, remove, put = retain.put_marker, retain.remove, Snapshots.put

        def marker(root: str, url: str) -> None:
            self._check(frees)
            put_marker(root, url)

        def put_guides(snapshots: Snapshots, data: bytes) -> object:
            self._check(frees if guides else 0)
            return put(snapshots, data)

        def removing(path: str) -> None:
            self.removed += 1
            remove(path)

        patch.setattr(retain, "put_marker", marker)
        patch.setattr(retain, "remove", removing)
        patch.setattr(Snapshots, "put", put_guides)

    def _check(self, frees: int) -> None:
        if self.removed < frees:
            raise transit.StorageFullError("planted")


@pytest.mark.parametrize("guides", [False, True])
@pytest.mark.parametrize("frees", [1, 2, COUNT - 1, COUNT])
def test_on_a_full_disk_the_note_is_made_once_files_have_left_room_for_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, frees: int, guides: bool
) -> None:
    with monkeypatch.context() as patch:
        Full(patch, frees, guides)
        assert store.log.evict(bytes_max=0).segments == COUNT
    assert store.here == []
    assert read_marker(str(store.path)) == store.bucket.url
    assert len(list((store.path / "index").iterdir())) == 1
    assert store.is_whole()


def test_a_note_for_which_there_was_never_room_is_made_by_the_next_call(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        Full(patch, COUNT + 1, guides=True)
        with pytest.raises(transit.StorageFullError):
            store.log.evict(bytes_max=0)
    assert (store.here, read_marker(str(store.path))) == ([], None)
    assert store.log.evict(bytes_max=0) == Evicted(0, 0)
    assert read_marker(str(store.path)) == store.bucket.url


def test_guides_for_which_there_is_no_room_keep_no_file_from_going(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(snapshots: Snapshots, data: bytes) -> object:
        raise transit.StorageFullError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(Snapshots, "put", full)
        assert store.log.evict(bytes_max=0).segments == COUNT
    assert (store.here, read_marker(str(store.path))) == ([], store.bucket.url)
    assert store.is_whole()


def test_a_folder_that_is_another_by_now_loses_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is moved away while the remote is asked, and another comes in its place."""
    moved: list[Path] = []
    size, one = FaultDoor.size, threading.Lock()

    def and_it_moves(door: FaultDoor, key: str) -> int | None:
        with one:
            if key.startswith("segments/") and not moved:
                moved.append(store.path.rename(store.path.parent / "moved"))
                store.path.mkdir()
        return size(door, key)

    monkeypatch.setattr(FaultDoor, "size", and_it_moves)
    with pytest.raises(transit.StoreMovedError):
        store.log.evict(bytes_max=0)
    assert list(store.path.iterdir()) == []
    assert len(list((moved[0] / "segments").iterdir())) == COUNT
