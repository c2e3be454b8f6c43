"""What a publisher sends and in which order, what may be missing, and when it leaves a hint."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit.format.commit import Commit, decode_commit
from transit.format.head import decode_head
from transit.log.catalog import Catalog
from transit.log.guides import NotHere
from transit.store import ObjectStore, open_store
from transit.testing.doors import FaultDoor
from transit.tier.publish import HINT_COMMITS, Publisher
from transit.tier.remote import Remote, commit_key

from .publishing import COMMITS, Scene, others

DEADLINE_S = 30


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture
def own(tmp_path: Path) -> Scene:
    """A scene that the test may change."""
    return Scene(tmp_path)


@pytest.fixture(scope="module")
def published(scene: Scene) -> ObjectStore:
    """A remote that has all there is."""
    store = scene.remote()
    publisher = scene.publisher(store)
    publisher.locate()
    publisher.publish()
    return store


# What is sent, and in which order


def test_the_objects_of_a_commit_are_there_before_it(scene: Scene) -> None:
    door = FaultDoor(scene.remote())
    publisher = scene.publisher(door)
    publisher.publish()
    assert publisher.published == COMMITS
    assert publisher.published_lsn == decode_commit(scene.commit(COMMITS - 1), "x").next_lsn
    stored: set[str] = set()
    created = []
    for kind, key in door.requests:
        if kind == "put":
            stored.add(key)
        if kind == "create":
            commit = decode_commit(scene.commit(len(created)), "here")
            created.append(key)
            assert named_by(commit) <= stored
    assert created == [commit_key(number) for number in range(COMMITS)]


def named_by(commit: Commit) -> set[str]:
    index = {f"index/{commit.index.digest}.idx"} if commit.index else set()
    return {f"segments/{segment.digest}.seg" for segment in commit.segments} | index


def test_what_is_published_already_is_not_looked_at(scene: Scene, published: ObjectStore) -> None:
    door = FaultDoor(published)
    publisher = scene.publisher(door)
    publisher.locate()
    before = len(door.requests)
    publisher.publish()
    assert door.requests[before:] == []


def test_commits_made_before_attaching_are_looked_for_and_later_ones_just_sent(
    own: Scene,
) -> None:
    store = own.remote()
    commit = decode_commit(own.commit(3), "here")
    (key,) = named_by(commit) - {f"index/{commit.index.digest}.idx" if commit.index else ""}
    store.put(key, (Path(own.root) / key).read_bytes())
    door = FaultDoor(store)
    publisher = own.publisher(door)
    own.grow(3)
    publisher._catalog.follow(write=False)
    publisher.publish()
    assert publisher.published == COMMITS + 3
    fresh = {
        f"segments/{segment.digest}.seg"
        for number in range(COMMITS, COMMITS + 3)
        for segment in decode_commit(own.commit(number), "here").segments
    }
    assert len(fresh) == 3
    looked = [asked for kind, asked in door.requests if kind == "size"]
    sent = [asked for kind, asked in door.requests if kind == "put"]
    assert fresh <= set(sent)
    assert not fresh & set(looked)
    assert key in looked
    assert key not in sent


@pytest.mark.parametrize("settings", [{}, {"transfer_bytes_max": 1024 * 1024}])
def test_objects_of_later_commits_are_sent_while_earlier_ones_wait(
    scene: Scene, settings: dict[str, int]
) -> None:
    puts = threading.Semaphore(0)
    late: list[str] = []

    class Waiting(FaultDoor):
        def put(self, key: str, data: bytes) -> None:
            super().put(key, data)
            puts.release()

        def create(self, key: str, data: bytes) -> None:
            if key == commit_key(0):
                # All commits together are smaller than what may be in memory at once.
                for _ in range(COMMITS):
                    if not puts.acquire(timeout=DEADLINE_S):
                        late.append(key)
            super().create(key, data)

    chosen = transit.Settings(remote_timeout_s=1, **settings)  # type: ignore[arg-type]
    scene.publisher(Waiting(scene.remote()), chosen).publish()
    assert late == []


def test_beyond_the_memory_that_may_be_used_a_commit_waits_for_the_one_before(
    tmp_path: Path,
) -> None:
    root, size = str(tmp_path / "large"), 600_000
    options = transit.Settings(compression="none", transfer_bytes_max=1024 * 1024)
    with transit.open(root, durability="os", settings=options) as log:
        stream = log.create("s")
        for number in range(6):
            stream.append(bytes([number]) * size)
            log.seal()
        store_id = bytes.fromhex(log.status().store_id)
    catalog = Catalog(root, store_id, options, NotHere(root, store_id))
    catalog.follow(write=False)
    door = FaultDoor(open_store(tmp_path / "remote"))
    Publisher(Remote(door, options), catalog).publish()
    begun, created, ahead = 0, 0, set()
    for kind, key in door.requests:
        begun += kind == "put" and key.startswith("segments/")
        created += kind == "create"
        ahead.add(begun - created)
    # Two are 1.2 MB, over the limit: the second still begins, the third waits.
    assert max(ahead) == 2


# What may be missing or damaged


def first_segment(scene: Scene, number: int) -> Path:
    (segment,) = decode_commit(scene.commit(number), "here").segments
    return Path(scene.root) / "segments" / f"{segment.digest}.seg"


@pytest.mark.parametrize("fresh", [False, True])
def test_a_segment_that_is_not_here_but_there_is_published(own: Scene, fresh: bool) -> None:
    store = own.remote()
    publisher = own.publisher(store)
    own.grow(1)
    publisher._catalog.follow(write=False)
    path = first_segment(own, COMMITS if fresh else 2)
    store.put(f"segments/{path.name}", path.read_bytes())
    path.unlink()
    publisher.publish()
    assert publisher.published == COMMITS + 1


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda data: None, "no file"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "another digest"),
        (lambda data: data + b"\0", "another digest"),
        (lambda data: data[:-1], "another digest"),
        (lambda data: b"", "another digest"),
    ],
    ids=["gone", "flipped", "longer", "shorter", "empty"],
)
def test_a_segment_that_is_neither_here_nor_there_as_it_was_is_corrupt_and_ends_publishing(
    own: Scene, fresh: bool, spoil: Callable[[bytes], bytes | None], found: str
) -> None:
    store = own.remote()
    publisher = own.publisher(store)
    own.grow(1)
    publisher._catalog.follow(write=False)
    number = COMMITS if fresh else 2
    path = first_segment(own, number)
    data = spoil(path.read_bytes())
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(transit.CorruptError) as caught:
        publisher.publish()
    error = caught.value
    assert (error.place, error.expected, error.found) == (str(path), path.stem, found)
    assert publisher.published == number
    assert store.get(commit_key(number), 100_000) is None
    assert store.get(f"segments/{path.name}", 100_000) is None


def test_damage_here_is_corrupt_although_the_remote_has_the_object_when_it_is_fresh(
    own: Scene,
) -> None:
    store = own.remote()
    publisher = own.publisher(store)
    own.grow(1)
    publisher._catalog.follow(write=False)
    path = first_segment(own, COMMITS)
    store.put(f"segments/{path.name}", path.read_bytes())
    path.write_bytes(b"damaged")
    with pytest.raises(transit.CorruptError, match="another digest"):
        publisher.publish()


@pytest.mark.parametrize("damage", [None, b"damaged"])
def test_an_index_snapshot_that_is_not_as_it_was_is_left_out(
    own: Scene, damage: bytes | None
) -> None:
    store = own.remote()
    indexed = [n for n in range(COMMITS) if decode_commit(own.commit(n), "here").index]
    assert indexed
    for path in (Path(own.root) / "index").iterdir():
        path.unlink()
        if damage:
            path.write_bytes(damage)
    seen: list[transit.Progress] = []
    publisher = own.publisher(store)
    publisher.publish(seen.append)
    assert publisher.published == COMMITS
    assert list(store.list("index/")) == []
    # It is not counted as sent.
    assert seen[-1].objects == COMMITS
    assert seen[-1].objects_total == COMMITS + len(indexed)


def test_a_commit_that_is_not_here_is_corrupt_and_ends_publishing(own: Scene) -> None:
    publisher = own.publisher(own.remote())
    (Path(own.root) / commit_key(4)).unlink()
    with pytest.raises(transit.CorruptError) as caught:
        publisher.publish()
    assert caught.value.place == f"commit 4 of {own.root}"
    assert (caught.value.expected, caught.value.found) == ("a commit", "no file")


def test_a_commit_that_another_made_meanwhile_fences_and_nothing_more_is_created(
    own: Scene,
) -> None:
    store = own.remote()
    publisher = own.publisher(store)
    publisher.locate()
    theirs = others(own.commit(3), epoch=7)
    store.create(commit_key(3), theirs)
    with pytest.raises(transit.FencedError) as caught:
        publisher.publish()
    assert (caught.value.number, caught.value.epoch) == (3, 7)
    assert publisher.published == 3
    assert publisher.published_lsn == decode_commit(own.commit(2), "here").next_lsn
    assert store.get(commit_key(3), 100_000) == theirs
    assert store.get(commit_key(4), 100_000) is None


def test_an_upload_that_fails_is_told_and_its_commit_not_created(scene: Scene) -> None:
    store = scene.remote()
    (segment,) = decode_commit(scene.commit(6), "here").segments
    door = FaultDoor(
        store,
        lambda at, kind, key: "lost_before" if kind == "put" and segment.digest in key else None,
    )
    publisher = scene.publisher(door)
    with pytest.raises(transit.RemoteUnavailableError):
        publisher.publish()
    assert publisher.published == 6
    ended = len(door.requests)
    time.sleep(0.02)
    assert len(door.requests) == ended
    door.rule = None
    publisher.publish()
    assert publisher.published == COMMITS


# Objects are read back where a yes does not mean that they arrived


class Careless(FaultDoor):
    """A store that says yes and damages the first objects it is given, each so many times."""

    refuses_damage = False  # type: ignore[assignment]

    def __init__(self, store: ObjectStore, times: int) -> None:
        super().__init__(store)
        self.times = times
        self.ranges: list[tuple[int, int]] = []

    def put(self, key: str, data: bytes) -> None:
        done = [asked for kind, asked in self.requests if kind == "put"].count(key)
        if key.startswith("segments/") and done < self.times:
            data = data[:-1] + bytes([data[-1] ^ 1])
        super().put(key, data)

    def get_range(self, key: str, position: int, size: int) -> bytes:
        self.ranges.append((position, size))
        return super().get_range(key, position, size)


@pytest.mark.parametrize("times", [0, 1, 2])
def test_an_object_damaged_on_its_way_is_sent_again_twice_at_most(own: Scene, times: int) -> None:
    store = own.remote()
    door = Careless(store, times)
    publisher = own.publisher(door)
    own.grow(1)
    publisher._catalog.follow(write=False)
    publisher.publish()
    key = f"segments/{first_segment(own, COMMITS).name}"
    assert [asked for kind, asked in door.requests if kind == "put"].count(key) == times + 1
    assert store.get(key, 100_000) == (Path(own.root) / key).read_bytes()


def test_an_object_that_is_damaged_each_time_is_corrupt(scene: Scene) -> None:
    store = scene.remote()
    door = Careless(store, 99)
    publisher = scene.publisher(door)
    with pytest.raises(transit.CorruptError, match="other bytes") as caught:
        publisher.publish()
    name = first_segment(scene, 0).name
    assert caught.value.place == f"{store.url}/segments/{name}"
    assert [key for kind, key in door.requests if kind == "put"].count(f"segments/{name}") == 3
    assert publisher.published == 0


def test_a_large_object_is_read_back_in_parts_that_cover_it(tmp_path: Path) -> None:
    root, part = str(tmp_path / "large"), 8 * 1024 * 1024
    options = transit.Settings(compression="none")
    with transit.open(root, durability="os", settings=options) as log:
        log.create("s").append(bytes(part + 1000))
        log.seal()
        store_id = bytes.fromhex(log.status().store_id)
    catalog = Catalog(root, store_id, options, NotHere(root, store_id))
    catalog.follow(write=False)
    door = Careless(open_store(tmp_path / "remote"), 1)
    Publisher(Remote(door, options), catalog).publish()
    assert catalog.commits.head is not None
    size = catalog.commits.head.segments[0].bytes
    assert part < size < 2 * part
    assert door.ranges == [(0, part), (part, size - part)] * 2


# The hint


def hint_in(store: ObjectStore, scene: Scene) -> tuple[int, int | None] | None:
    data = store.get("HEAD", 1024)
    head = decode_head(data, scene.store_id, "here") if data else None
    return None if head is None else (head.number, head.index)


@pytest.mark.parametrize("count", [HINT_COMMITS - 1, HINT_COMMITS])
def test_the_hint_is_written_every_so_many_commits_and_when_asked_for(
    tmp_path: Path, count: int
) -> None:
    scene = Scene(tmp_path, count)
    door = FaultDoor(scene.remote())
    publisher = scene.publisher(door)
    publisher.publish()
    written = hint_in(door, scene) is not None
    assert written == (count == HINT_COMMITS)
    before = len(door.requests)
    publisher.hint()
    assert door.requests[before:] == [("put", "HEAD")] * (not written)
    before = len(door.requests)
    publisher.hint()
    publisher.publish()
    assert door.requests[before:] == []
    found = hint_in(door, scene)
    assert found is not None
    assert found[0] == count - 1


def test_a_hint_that_is_asked_for_is_brought_up_to_each_commit(own: Scene) -> None:
    store = own.remote()
    publisher = own.publisher(store)
    for count in range(COMMITS, COMMITS + 3):
        publisher._catalog.follow(write=False)
        publisher.publish()
        publisher.hint()
        found = hint_in(store, own)
        assert found is not None
        assert found[0] == count - 1
        own.grow(1)


def test_no_hint_is_given_before_anything_is_published(scene: Scene) -> None:
    door = FaultDoor(scene.remote())
    publisher = scene.publisher(door)
    assert (publisher.published, publisher.published_lsn) == (0, 0)
    publisher.hint()
    assert door.requests == []


def test_the_hint_names_the_last_snapshot_that_is_published(scene: Scene) -> None:
    indexed = [n for n in range(COMMITS) if decode_commit(scene.commit(n), "here").index]
    last = indexed[-1]
    for count in (last - 1, last, last + 1, COMMITS):
        store = scene.remote()
        publisher = scene.publisher(store)
        publisher.published = count
        publisher.hint()
        # The hint never names a snapshot that is not published yet.
        assert hint_in(store, scene) == (count - 1, last if count > last else None)


def test_a_hint_that_cannot_be_written_is_written_the_next_time(scene: Scene) -> None:
    store = scene.remote()
    door = FaultDoor(store, lambda at, kind, key: "lost_before" if key == "HEAD" else None)
    publisher = scene.publisher(door)
    publisher.publish()
    assert publisher.published == COMMITS
    assert hint_in(store, scene) is None
    door.rule = None
    publisher.hint()
    found = hint_in(store, scene)
    assert found is not None
    assert found[0] == COMMITS - 1


def test_progress_names_its_step_and_counts_what_is_there_already(
    scene: Scene, published: ObjectStore
) -> None:
    seen: list[transit.Progress] = []
    publisher = scene.publisher(published)
    publisher.publish(seen.append)
    assert {progress.step for progress in seen} == {"publish"}
    assert (seen[-1].objects, seen[-1].bytes) == (seen[-1].objects_total, seen[-1].bytes_total)
    sizes = [size for folder in ("segments/", "index/") for _, size in published.list(folder)]
    assert (seen[-1].objects, seen[-1].bytes) == (len(sizes), sum(sizes))
