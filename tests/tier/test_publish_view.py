"""The view of a remote from outside: where it starts, what it takes up, and what ends it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest

import transit
from transit.format.commit import IndexRef, decode_commit, encode_commit, root_of
from transit.format.digest import digest
from transit.format.head import encode_head
from transit.format.snapshot import Layer, Snapshot, decode_snapshot, encode_snapshot
from transit.log.catalog import Catalog
from transit.log.guides import GuideShelf
from transit.store import ObjectStore, open_store
from transit.testing.doors import FaultDoor
from transit.tier.bucket import HINT_COMMITS_MAX, STEP, Follower
from transit.tier.fetch import Fetcher
from transit.tier.pools import at_once
from transit.tier.remote import Remote, commit_key, index_key

COMMITS = 21
SETTINGS = transit.Settings(remote_timeout_s=0.05)
DEADLINE_S = 30


class Bucket:
    """A published store: its folder, its remote, and views of that."""

    def __init__(self, path: Path, count: int) -> None:
        self.root, self.path = path / "store", path / "remote"
        self.store = open_store(self.path)
        self.grow(count)
        with transit.open(self.root, mode="read") as log:
            self.store_id = bytes.fromhex(log.status().store_id)

    def grow(self, count: int) -> None:
        """More commits, published."""
        with transit.open(self.root, durability="os", remote=self.store) as log:
            stream = log.stream("s") if "s" in log else log.create("s")
            for number in range(count):
                stream.append_many([b"%d" % number * 50] * 3)
                log.seal()
            log.publish()

    def view(self, store: ObjectStore | None = None, root: str = "") -> tuple[Follower, Catalog]:
        """A view that has seen nothing yet."""
        remote = Remote(store or self.store, SETTINGS)
        shelf = GuideShelf(root, self.store_id)
        catalog = Catalog(root, self.store_id, SETTINGS, Fetcher(remote, shelf, None))
        return Follower(remote, catalog, shelf), catalog

    def commit(self, number: int) -> bytes:
        """The bytes of a commit in the remote."""
        data = self.store.get(commit_key(number), 100_000)
        assert data is not None
        return data

    @property
    def indexed(self) -> list[int]:
        """The commits that name an index snapshot."""
        return [n for n in range(COMMITS) if decode_commit(self.commit(n), "here").index]


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Bucket:
    return Bucket(tmp_path_factory.mktemp("bucket"), COMMITS)


@pytest.fixture
def own(bucket: Bucket, tmp_path: Path) -> Bucket:
    """A bucket that the test may change."""
    copied = object.__new__(Bucket)
    copied.__dict__.update(bucket.__dict__)
    copied.root, copied.path = tmp_path / "store", tmp_path / "remote"
    shutil.copytree(bucket.root, copied.root)
    shutil.copytree(bucket.path, copied.path)
    copied.store = open_store(copied.path)
    return copied


class Hiding(FaultDoor):
    """A remote that does not show some objects, and may have another hint."""

    def __init__(self, store: ObjectStore, *hidden: str, head: bytes | None = None) -> None:
        super().__init__(store)
        self.hidden = set(hidden)
        self.head = head

    def get(self, key: str, bytes_max: int) -> bytes | None:
        data = super().get(key, bytes_max)
        if key == "HEAD" and self.head is not None:
            return self.head
        return None if key in self.hidden else data

    def commits_asked(self) -> list[int]:
        """The numbers of the commits that were asked for, in order."""
        return [int(key[8:28]) for _, key in self.requests if key.startswith("commits/")]


def shows_all(catalog: Catalog, bucket: Bucket, count: int = COMMITS) -> None:
    """The catalog has every commit and every segment."""
    assert catalog.commits.count == count
    assert catalog.commits.root == root_of(bucket.commit(count - 1))
    lsns = [segment.ref.lsn for segment in catalog.view.segments]
    assert lsns[0][0] == 0
    assert [first for first, _ in lsns[1:]] == [last + 1 for _, last in lsns[:-1]]
    assert lsns[-1][1] + 1 == catalog.commits.next_lsn


# Where it starts


def test_a_view_starts_at_the_last_snapshot_and_asks_for_few_commits(bucket: Bucket) -> None:
    door = Hiding(bucket.store)
    follower, catalog = bucket.view(door)
    follower.start()
    shows_all(catalog, bucket)
    last = bucket.indexed[-1]
    assert last >= 8
    wanted = set(range(last, COMMITS + 1))
    assert set(door.commits_asked()) == wanted
    assert len(door.commits_asked()) <= len(wanted) + 1


@pytest.mark.parametrize(
    "head",
    [
        lambda bucket: b"",
        lambda bucket: b"junk",
        lambda bucket: encode_head(bucket.store_id, COMMITS - 1, None),
        lambda bucket: encode_head(bucket.store_id, COMMITS + 10**6, bucket.indexed[-1]),
        lambda bucket: encode_head(bucket.store_id, COMMITS - 1, COMMITS - 2),
        lambda bucket: encode_head(bytes(16), COMMITS - 1, bucket.indexed[-1]),
    ],
    ids=["none", "junk", "no snapshot", "too far", "a commit without a snapshot", "another's"],
)
def test_without_a_hint_of_use_all_commits_are_read(
    bucket: Bucket, head: Callable[[Bucket], bytes]
) -> None:
    assert COMMITS - 2 not in bucket.indexed
    door = Hiding(bucket.store, head=head(bucket))
    follower, catalog = bucket.view(door)
    follower.start()
    shows_all(catalog, bucket)
    assert set(range(COMMITS)) <= set(door.commits_asked())


@pytest.mark.parametrize("distance", [HINT_COMMITS_MAX - 1, HINT_COMMITS_MAX])
def test_a_hint_is_followed_up_to_a_distance(bucket: Bucket, distance: int) -> None:
    last = bucket.indexed[-1]
    door = Hiding(bucket.store, head=encode_head(bucket.store_id, last + distance, last))
    follower, catalog = bucket.view(door)
    follower.start()
    shows_all(catalog, bucket)
    followed = distance < HINT_COMMITS_MAX
    assert (0 in door.commits_asked()) != followed
    assert (last + distance in door.commits_asked()[:-2]) == followed


def test_a_stale_hint_costs_requests_and_nothing_else(bucket: Bucket) -> None:
    for number in bucket.indexed:
        door = Hiding(bucket.store, head=encode_head(bucket.store_id, number, number))
        follower, catalog = bucket.view(door)
        follower.start()
        shows_all(catalog, bucket)
        assert min(door.commits_asked()) == number
        assert set(door.commits_asked()) >= set(range(number, COMMITS + 1))


def test_an_empty_remote_shows_nothing(bucket: Bucket) -> None:
    door = Hiding(bucket.store, *map(commit_key, range(COMMITS)), head=b"")
    follower, catalog = bucket.view(door)
    follower.start()
    assert catalog.commits.count == 0
    assert catalog.view.segments == ()
    assert door.commits_asked() == [0]


def snapshots(bucket: Bucket) -> list[Path]:
    return sorted((bucket.path / "index").iterdir())


@pytest.mark.parametrize("damage", ["gone", "damaged", "cut", "another's"])
def test_without_its_snapshots_a_remote_is_read_as_a_whole(own: Bucket, damage: str) -> None:
    for path in snapshots(own):
        data = path.read_bytes()
        path.unlink()
        if damage != "gone":
            new = {"damaged": data[:-1] + b"\xff", "cut": data[:100], "another's": b"x" * 500}
            path.write_bytes(new[damage])
    door = Hiding(own.store)
    follower, catalog = own.view(door)
    follower.start()
    shows_all(catalog, own)
    assert 0 in door.commits_asked()


Misleading = tuple[int, IndexRef | None]
"""The number of a commit, and a snapshot that is not of what comes before it."""


def too_short(own: Bucket) -> Misleading:
    """The snapshot of an earlier commit: whole in itself."""
    return own.indexed[-1], decode_commit(own.commit(own.indexed[0]), "here").index


def too_long(own: Bucket) -> Misleading:
    """The snapshot of a later commit."""
    return own.indexed[0], decode_commit(own.commit(own.indexed[-1]), "here").index


def with_a_gap(own: Bucket) -> Misleading:
    """A snapshot on a layer that has fewer commits than are said of it."""
    return on_a_layer(own, said=7, true=3)


def with_an_overlap(own: Bucket) -> Misleading:
    """A snapshot on a layer that has more commits than are said of it."""
    return on_a_layer(own, said=3, true=7)


def on_a_layer(own: Bucket, said: int, true: int) -> Misleading:
    last = own.indexed[-1]
    index = decode_commit(own.commit(last), "here").index
    assert index is not None
    data = own.store.get(index_key(index.digest), index.bytes)
    whole = decode_snapshot(data or b"", own.store_id, "here")
    assert (whole.first, whole.last) == (0, last - 1)
    older = whole.segments[: true + 1]
    layer = put_snapshot(own, msgspec.structs.replace(whole, last=true, segments=older))
    layers = (Layer(bytes.fromhex(layer.digest), layer.bytes, 0, said),)
    newer = tuple(segment for segment in whole.segments if segment.commit > said)
    upper = msgspec.structs.replace(whole, first=said + 1, layers=layers, segments=newer)
    return last, put_snapshot(own, upper)


def put_snapshot(own: Bucket, snapshot: Snapshot) -> IndexRef:
    data = encode_snapshot(snapshot)
    name = digest(data).hex()
    own.store.put(index_key(name), data)
    return IndexRef(digest=name, bytes=len(data))


@pytest.mark.parametrize("make", [too_short, too_long, with_a_gap, with_an_overlap])
def test_a_snapshot_of_more_or_fewer_commits_is_not_believed(
    own: Bucket, make: Callable[[Bucket], Misleading]
) -> None:
    assert own.indexed[0] < own.indexed[-1]
    last, index = make(own)
    late = msgspec.structs.replace(decode_commit(own.commit(last), "here"), index=index)
    own.store.put(commit_key(last), encode_commit(late))
    door = Hiding(own.store, head=encode_head(own.store_id, last, last))
    follower, catalog = own.view(door)
    # Read from the start, the chain breaks after the commit that was changed.
    with pytest.raises(transit.CorruptError, match="previous root"):
        follower.start()
    assert 0 in door.commits_asked()
    assert catalog.commits.count == last + 1
    assert catalog.view.segments[0].ref.lsn[0] == 0


def test_commits_that_go_on_coming_late_do_not_hold_up_the_start(bucket: Bucket) -> None:
    class Slow(Hiding):
        """Of the hidden commits one comes whenever a gap is looked for: right after the last."""

        def get(self, key: str, bytes_max: int) -> bytes | None:
            if self.requests[-1:] == [("get", commit_key(COMMITS - 1))]:
                self.hidden.discard(key)
            return super().get(key, bytes_max)

    head = encode_head(bucket.store_id, COMMITS - 1, None)
    door = Slow(bucket.store, *map(commit_key, range(9, COMMITS - 1)), head=head)
    follower, catalog = bucket.view(door)
    follower.start()
    # Three looks, of which the last found one more commit, for which no call waits.
    shows_all(catalog, bucket, 11)
    door.hidden.clear()
    follower.refresh()
    shows_all(catalog, bucket)


def test_a_gap_that_the_hint_tells_of_is_corrupt(bucket: Bucket) -> None:
    head = encode_head(bucket.store_id, COMMITS - 1, None)
    door = Hiding(bucket.store, commit_key(9), head=head)
    follower, catalog = bucket.view(door)
    with pytest.raises(transit.CorruptError, match=f"there is commit {COMMITS - 1}"):
        follower.start()
    assert catalog.commits.count == 9


def test_a_commit_that_comes_late_is_waited_for(bucket: Bucket) -> None:
    """Commit 9 is not there when it is asked for the first times, and then it is."""

    class Late(Hiding):
        def get(self, key: str, bytes_max: int) -> bytes | None:
            if self.commits_asked().count(9) == 1:
                self.hidden.clear()
            return super().get(key, bytes_max)

    head = encode_head(bucket.store_id, COMMITS - 1, None)
    follower, catalog = bucket.view(Late(bucket.store, commit_key(9), head=head))
    follower.start()
    shows_all(catalog, bucket)


def test_the_guides_of_new_segments_are_fetched_at_the_start(bucket: Bucket) -> None:
    door = Hiding(bucket.store)
    follower, catalog = bucket.view(door)
    follower.start()
    new = catalog.view.segments[bucket.indexed[-1] :]
    assert new
    asked = {key for _, key in door.requests if key.startswith("segments/")}
    assert asked == {f"segments/{segment.ref.digest}.seg" for segment in new}


def test_a_damaged_guide_is_told_to_who_needs_it_and_not_at_the_start(own: Bucket) -> None:
    (segment,) = decode_commit(own.commit(COMMITS - 1), "here").segments
    path = own.path / "segments" / f"{segment.digest}.seg"
    path.write_bytes(bytes(path.stat().st_size))
    follower, catalog = own.view()
    follower.start()
    shows_all(catalog, own)
    with pytest.raises(transit.FormatError):
        catalog.view.segments[-1].load()


# What others publish meanwhile


def test_new_commits_are_taken_up_and_counted(own: Bucket) -> None:
    follower, catalog = own.view()
    follower.start()
    assert follower.refresh() == 0
    found = catalog.find("s")
    assert found is not None
    state = catalog.state(found)
    for count in (1, 3):
        before, offset = catalog.commits.count, state.next_offset
        own.grow(count)
        door = Hiding(own.store)
        follower._remote.store = door
        assert follower.refresh() == count
        shows_all(catalog, own, before + count)
        # A state of the stream that was taken before grows.
        assert state.next_offset == offset + 3 * count
        # One at first, in case there is no more; then several at once.
        assert door.commits_asked()[0] == before
        assert set(door.commits_asked()) == ({before, *range(before + 1, before + 1 + STEP)})


def test_nothing_new_takes_one_request(bucket: Bucket) -> None:
    door = Hiding(bucket.store)
    follower, _ = bucket.view(door)
    follower.start()
    before = len(door.requests)
    assert follower.refresh() == 0
    assert door.requests[before:] == [("get", commit_key(COMMITS))]


def test_what_comes_after_a_missing_commit_waits_for_it(bucket: Bucket) -> None:
    door = Hiding(bucket.store, commit_key(3), head=b"")
    follower, catalog = bucket.view(door)
    assert follower.refresh() == 3
    assert follower.refresh() == 0
    shows_all(catalog, bucket, 3)
    door.hidden.clear()
    assert follower.refresh() == COMMITS - 3
    shows_all(catalog, bucket)


def test_commits_before_a_damaged_one_are_taken_up_all_the_same(own: Bucket) -> None:
    data = own.commit(5)
    own.store.put(commit_key(5), encode_commit(
        msgspec.structs.replace(decode_commit(data, "here"), previous="12" * 32)
    ))  # fmt: skip
    follower, catalog = own.view(Hiding(own.store, head=b""))
    for _ in range(2):
        with pytest.raises(transit.CorruptError, match="previous root") as caught:
            follower.refresh()
        assert caught.value.place == f"{own.store.url}/{commit_key(5)}"
        shows_all(catalog, own, 5)


# The same history as the folder's


def folder_view(bucket: Bucket, store: ObjectStore | None = None) -> tuple[Follower, Catalog]:
    follower, catalog = bucket.view(store, str(bucket.root))
    catalog.follow(write=False)
    return follower, catalog


def test_a_folder_and_its_remote_have_the_same_history(bucket: Bucket) -> None:
    door = Hiding(bucket.store)
    follower, _ = folder_view(bucket, door)
    follower.check_same()
    assert door.requests == [("get", commit_key(COMMITS - 1))]


def test_a_folder_ahead_of_its_remote_or_without_commits_is_no_other(
    bucket: Bucket, tmp_path: Path
) -> None:
    follower, _ = folder_view(bucket, Hiding(bucket.store, commit_key(COMMITS - 1)))
    follower.check_same()
    door = Hiding(bucket.store)
    empty, catalog = bucket.view(door, str(tmp_path))
    empty.check_same()
    assert catalog.commits.count == 0
    assert door.requests == []


def test_a_remote_with_another_commit_in_the_place_of_the_folders_last_is_another(
    own: Bucket,
) -> None:
    last = COMMITS - 1
    other = msgspec.structs.replace(decode_commit(own.commit(last), "here"), epoch=77)
    own.store.put(commit_key(last), encode_commit(other))
    follower, _ = folder_view(own)
    with pytest.raises(transit.ConflictError, match=f"commit {last} there") as caught:
        follower.check_same()
    assert str(own.root) in str(caught.value)


def test_a_remote_that_went_on_is_another_unless_the_folder_went_along(own: Bucket) -> None:
    looked: list[int] = []
    follower, catalog = folder_view(own)
    follower.check_nothing_new(lambda: looked.append(1))
    assert looked == []
    own.grow(1)
    follower.check_nothing_new(lambda: catalog.follow(write=False))
    assert catalog.commits.count == COMMITS + 1
    own.grow(1)
    with pytest.raises(transit.ConflictError, match=f"commit {COMMITS + 1} there"):
        follower.check_nothing_new(lambda: looked.append(1))
    assert looked == [1]


# Several at once


def test_calls_come_back_in_order_and_their_threads_end() -> None:
    before = set(threading.enumerate())
    # Held, so that nothing ends only because it is forgotten.
    with patch("concurrent.futures.ThreadPoolExecutor", wraps=ThreadPoolExecutor) as made:
        assert at_once(lambda key: -key, list(range(50)), 4) == [-key for key in range(50)]
    assert made.call_count == 1
    assert set(threading.enumerate()) - before == set()
    assert at_once(lambda key: -key, [], 4) == []


def test_one_call_needs_no_thread_and_several_have_theirs() -> None:
    def name(key: int) -> str:
        return threading.current_thread().name

    assert at_once(name, [1], 4) == [threading.current_thread().name]
    assert all(found.startswith("transit-fetch") for found in at_once(name, [1, 2], 4))


@pytest.mark.parametrize(("keys", "most"), [(6, 3), (3, 8), (2, 1)])
def test_calls_overlap_up_to_the_limit(keys: int, most: int) -> None:
    expected = min(keys, most)
    together = threading.Barrier(expected)
    running, peak = 0, 0
    lock = threading.Lock()

    def call(key: int) -> None:
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        together.wait(DEADLINE_S)
        with lock:
            running -= 1

    at_once(call, list(range(keys)), most)
    assert peak == expected


def test_an_error_is_told_and_ends_what_has_not_begun() -> None:
    begun: list[int] = []

    def call(key: int) -> None:
        begun.append(key)
        raise transit.RemoteUnavailableError(str(key))

    before = set(threading.enumerate())
    with pytest.raises(transit.RemoteUnavailableError, match="0"):
        at_once(call, list(range(200)), 2)
    assert set(threading.enumerate()) - before == set()
    assert begun[0] == 0
