"""Snapshots of the index as commits come: when one is due, what is in it, and what it stands on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from transit.format.commit import Commit, decode_commit
from transit.format.digest import digest
from transit.format.names import Places
from transit.format.snapshot import Snapshot, decode_snapshot
from transit.log import snapshots as module
from transit.log.snapshots import SNAPSHOT_COMMITS, Snapshots

DUE = SNAPSHOT_COMMITS


class Store:
    """An open store to which commits are added one by one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places = Places(str(path))
        self.log = transit.open(path, durability="os")
        self.store_id = bytes.fromhex(self.log.store_id)
        self._stream = self.log.create("s")
        self._count = 0

    @property
    def snapshots(self) -> Snapshots:
        """What takes the snapshots of the store."""
        return Snapshots(self.log._handle.catalog)

    def grow(self, count: int) -> Store:
        """So many commits more."""
        for _ in range(count):
            self._stream.append(b"%d" % self._count)
            self.log.seal()
            self._count += 1
        return self

    def commit(self, number: int) -> Commit:
        path = Path(self.places.commit(number))
        return decode_commit(path.read_bytes(), str(path))

    def commits(self) -> list[Commit]:
        """All commits of the folder."""
        return [self.commit(number) for number in range(self._count)]

    def named(self) -> dict[int, Snapshot]:
        """The snapshot that each commit names, of those that name one, whole and as named."""
        found = {}
        for commit in self.commits():
            if commit.index is not None:
                data = Path(self.places.snapshot(commit.index.digest)).read_bytes()
                assert len(data) == commit.index.bytes
                assert digest(data).hex() == commit.index.digest
                found[commit.number] = self.decoded(data)
        return found

    def decoded(self, data: bytes) -> Snapshot:
        return decode_snapshot(data, self.store_id, "here")

    def covered(self, snapshot: Snapshot) -> list[str]:
        """The segments of a snapshot and of those it stands on, in order."""
        found = []
        for layer in snapshot.layers:
            data = Path(self.places.snapshot(layer.digest.hex())).read_bytes()
            assert len(data) == layer.bytes
            older = self.decoded(data)
            assert (older.first, older.last) == (layer.first, layer.last)
            found += [entry.ref.digest for entry in older.segments]
        return found + [entry.ref.digest for entry in snapshot.segments]

    def segments(self, count: int) -> list[str]:
        """The segments of the first `count` commits."""
        return [ref.digest for commit in self.commits()[:count] for ref in commit.segments]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store")
    yield made
    made.log.close()


def test_every_eighth_commit_names_a_snapshot_of_all_before_it(store: Store) -> None:
    named = store.grow(6 * DUE).named()
    assert list(named) == [8, 16, 24, 32, 40]
    for number, snapshot in named.items():
        assert snapshot.last == number - 1
        assert store.covered(snapshot) == store.segments(number)


def test_a_snapshot_stands_on_few_others_and_is_written_again_seldom(store: Store) -> None:
    named = store.grow(9 * DUE).named()
    for number, snapshot in named.items():
        sizes = [layer.last - layer.first + 1 for layer in snapshot.layers]
        sizes.append(snapshot.last - snapshot.first + 1)
        assert sum(sizes) == number
        assert all(older > 2 * newer for older, newer in itertools.pairwise(sizes))
    # Whole each time, it would be a sum of squares.
    assert any(snapshot.layers for snapshot in named.values())


def test_layers_that_would_make_a_large_snapshot_stay_apart(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.grow(DUE + 1).commit(DUE).index
    assert first is not None
    monkeypatch.setattr(module, "LAYER_BYTES_MAX", first.bytes - 1)
    second = store.grow(DUE).commit(2 * DUE).index
    assert second is not None
    assert [layer.digest.hex() for layer in store.named()[2 * DUE].layers] == [first.digest]
    store.grow(DUE - 1)
    both = first.bytes + second.bytes
    for room, begins, apart in (
        (second.bytes - 1, 2 * DUE, [first.digest, second.digest]),
        (second.bytes, DUE, [first.digest]),
        (both - 1, DUE, [first.digest]),
        (both, 0, []),
    ):
        monkeypatch.setattr(module, "LAYER_BYTES_MAX", room)
        snapshot = store.decoded(store.snapshots.encode())
        assert (snapshot.first, snapshot.last) == (begins, 3 * DUE - 1)
        assert [layer.digest.hex() for layer in snapshot.layers] == apart
        assert store.covered(snapshot) == store.segments(3 * DUE)


@pytest.mark.parametrize(("commits", "absorbed"), [(3, False), (4, False), (5, True), (6, True)])
def test_a_layer_is_written_again_once_it_is_at_most_twice_what_is_new(
    store: Store, monkeypatch: pytest.MonkeyPatch, commits: int, absorbed: bool
) -> None:
    monkeypatch.setattr(module, "SNAPSHOT_COMMITS", 9)
    # The layer is of nine commits, and the one that names it is new.
    store.grow(9 + commits)
    snapshot = store.decoded(store.snapshots.encode())
    assert snapshot.first == (0 if absorbed else 9)
    assert len(snapshot.layers) == (0 if absorbed else 1)
    assert store.covered(snapshot) == store.segments(9 + commits)


@pytest.mark.parametrize("damage", ["gone", "of a smaller digest", "of a larger digest"])
def test_without_the_last_snapshot_the_next_is_made_from_the_segments_alone(
    store: Store, damage: str
) -> None:
    store.grow(DUE + 1)
    (path,) = Path(store.places.index).iterdir()
    expected = digest(path.read_bytes())
    others = (b"%d" % number for number in itertools.count())
    path.chmod(0o600)
    if damage == "gone":
        path.unlink()
    elif damage == "of a smaller digest":
        path.write_bytes(next(data for data in others if digest(data) < expected))
    else:
        path.write_bytes(next(data for data in others if digest(data) > expected))
    store.grow(DUE)
    index = store.commit(2 * DUE).index
    assert index is not None
    snapshot = store.decoded(Path(store.places.snapshot(index.digest)).read_bytes())
    assert (snapshot.first, snapshot.last, snapshot.layers) == (0, 2 * DUE - 1, ())
    assert [entry.ref.digest for entry in snapshot.segments] == store.segments(2 * DUE)


def test_a_snapshot_that_cannot_be_made_now_keeps_no_commit_from_being_made(
    store: Store,
) -> None:
    store.grow(DUE)
    missing = Path(store.places.segment(store.segments(1)[0]))
    aside = missing.rename(store.path / "aside")
    store.grow(2)
    assert all(commit.index is None for commit in store.commits())
    # With the next commit after it can be made, it is there.
    aside.rename(missing)
    store.grow(2)
    assert list(store.named()) == [DUE + 2]


def test_a_disk_that_is_full_for_a_snapshot_keeps_no_commit_from_being_made(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.grow(DUE)
    with monkeypatch.context() as patch:
        patch.setattr(module, "put_if_absent", _full)
        store.grow(1)
    assert store.commit(DUE).index is None
    assert store.grow(1).commit(DUE + 1).index is not None


def _full(*_: object) -> bool:
    raise transit.StorageFullError("planted")


def test_nothing_is_made_in_a_folder_that_came_in_the_stores_place(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.grow(2)
    snapshots, catalog = store.snapshots, store.log._handle.catalog
    data = snapshots.encode()

    def moved() -> None:
        raise transit.StoreMovedError("elsewhere")

    with monkeypatch.context() as patch:
        patch.setattr(catalog, "check_place", moved)
        with pytest.raises(transit.StoreMovedError):
            snapshots.put(data)
    assert not Path(store.places.index).exists()


def test_a_snapshot_holds_what_readers_need_of_each_segment(store: Store) -> None:
    store.grow(3)
    index = store.snapshots.keep()
    snapshot = store.decoded(Path(store.places.snapshot(index.digest)).read_bytes())
    segments = store.log._handle.catalog.view.segments
    assert [entry.commit for entry in snapshot.segments] == [0, 1, 2]
    for entry, segment in zip(snapshot.segments, segments, strict=True):
        guide = segment.guide()
        assert (entry.ref, entry.footer, entry.index) == (segment.ref, guide.footer, guide.index)
