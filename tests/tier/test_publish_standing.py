"""How a publisher finds what the remote has, and when it stands behind another writer for good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit.format.commit import decode_commit
from transit.format.head import encode_head
from transit.store import ObjectStore
from transit.testing.doors import FaultDoor
from transit.tier.remote import commit_key

from .publishing import COMMITS, Scene, others


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


class Short(FaultDoor):
    """A remote that has only the first commits, then perhaps another's, and any hint."""

    def __init__(self, store: ObjectStore, count: int, head: bytes | None) -> None:
        super().__init__(store)
        self.count = count
        self.head = head
        self.next: bytes | None = None

    def get(self, key: str, bytes_max: int) -> bytes | None:
        found = super().get(key, bytes_max)
        if key == "HEAD":
            return self.head
        if key == commit_key(self.count):
            return self.next
        return found if key < commit_key(self.count) else None


# Where the remote stands


HINTS: dict[str, Callable[[int], int | None]] = {
    "none": lambda count: None,
    "right": lambda count: count - 1,
    "stale": lambda count: count // 2 - 1,
    "ahead": lambda count: count + 2,
    "absurd": lambda count: 2**62,
}


@pytest.mark.parametrize("hint", HINTS.values(), ids=HINTS)
@pytest.mark.parametrize("count", range(COMMITS + 1))
def test_a_publisher_finds_how_much_is_published_whatever_the_hint_says(
    scene: Scene, published: ObjectStore, count: int, hint: Callable[[int], int | None]
) -> None:
    number = hint(count)
    head = None if number is None or number < 0 else encode_head(scene.store_id, number, None)
    door = Short(published, count, head)
    publisher = scene.publisher(door)
    publisher.locate()
    assert publisher.published == count
    lsn = decode_commit(scene.commit(count - 1), "here").next_lsn if count else 0
    assert publisher.published_lsn == lsn
    publisher.check()
    # By halving: HEAD, three guesses, what halving takes, and the commit after the last.
    assert len(door.requests) <= 1 + 2 * (3 + COMMITS.bit_length()) + 1


@pytest.mark.parametrize("count", range(1, COMMITS + 1))
def test_with_the_right_hint_few_commits_are_asked_for(
    scene: Scene, published: ObjectStore, count: int
) -> None:
    door = Short(published, count, encode_head(scene.store_id, count - 1, None))
    scene.publisher(door).locate()
    asked = [key for _, key in door.requests]
    last, after = commit_key(count - 1), commit_key(count)
    # The newest of ours, the hint's, the one after it, and once more what may be another's.
    wanted = ["HEAD", commit_key(COMMITS - 1), last, after, after]
    if count == COMMITS - 1:
        wanted = ["HEAD", after, last, after]
    if count == COMMITS:
        wanted = ["HEAD", last, after]
    assert asked == wanted


def test_a_right_hint_is_not_written_again_and_a_stale_one_is(
    scene: Scene, published: ObjectStore
) -> None:
    for number, written in ((COMMITS - 1, False), (COMMITS - 2, True), (COMMITS + 1, True)):
        door = Short(published, COMMITS, encode_head(scene.store_id, number, None))
        publisher = scene.publisher(door)
        publisher.locate()
        publisher.hint()
        assert ([kind for kind, _ in door.requests].count("put") == 1) is written


@pytest.mark.parametrize("count", [0, 1, 7, COMMITS - 1, COMMITS])
def test_another_writers_commit_after_ours_fences_for_good(own: Scene, count: int) -> None:
    store = own.remote()
    publisher = own.publisher(store)
    publisher.publish()
    door = Short(store, count, None)
    own.grow(1)
    door.next = others(own.commit(count), epoch=99)
    publisher = own.publisher(door)
    publisher.locate()
    assert publisher.published == count
    asked = len(door.requests)
    for _ in range(2):
        for call in (publisher.check, publisher.publish):
            with pytest.raises(transit.FencedError, match="nothing was overwritten") as caught:
                call()
            error = caught.value
            assert (error.store, error.number, error.epoch) == (store.url, count, 99)
            assert error is not publisher.fenced
    assert len(door.requests) == asked


def test_a_history_that_parted_long_ago_is_fenced_where_it_parted(
    scene: Scene, published: ObjectStore
) -> None:
    class Parted(FaultDoor):
        def get(self, key: str, bytes_max: int) -> bytes | None:
            data = super().get(key, bytes_max)
            parted = key.startswith("commits/") and key >= commit_key(5)
            return others(data, epoch=4) if parted and data else data

    publisher = scene.publisher(Parted(published))
    publisher.locate()
    assert publisher.published == 5
    assert publisher.fenced is not None
    assert (publisher.fenced.number, publisher.fenced.epoch) == (5, 4)


def test_a_commit_of_ours_that_came_late_is_ours_and_no_rivals(
    scene: Scene, published: ObjectStore
) -> None:
    """Three commits are not there while the chain is halved, and are when what follows is asked."""

    class Late(Short):
        def get(self, key: str, bytes_max: int) -> bytes | None:
            found = super().get(key, bytes_max)
            if self.requests.count(("get", commit_key(5))) == 2:
                self.count = 8
            return found if key != commit_key(5) or self.count < 8 else scene.commit(5)

    door = Late(published, 5, encode_head(scene.store_id, 5, None))
    publisher = scene.publisher(door)
    publisher.locate()
    assert publisher.published == 8
    assert publisher.published_lsn == decode_commit(scene.commit(7), "here").next_lsn
    publisher.check()
