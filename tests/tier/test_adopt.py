"""What a writer takes up of a remote before it writes: all that follows its own, or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit.format.head import encode_head
from transit.format.names import Places
from transit.format.snapshot import decode_snapshot
from transit.log.guides import read_marker
from transit.store import ObjectStore
from transit.testing.doors import FaultDoor
from transit.tier.adopt import adopt_commits
from transit.tier.remote import TRIES, Remote, commit_key, index_key

from .publishing import SETTINGS, Scene, others

COUNT = 10
# The first that names a snapshot: of those before it.
NAMING = 8
HERE = [0, 1, 3, NAMING, NAMING + 1, COUNT]


class Handover:
    """A store of `COUNT` commits in a remote, and copies of its folder as it was before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.scene = Scene(path, 1)
        self.store_id = self.scene.store_id
        self._copy(1)
        for count in range(2, COUNT + 1):
            self.scene.grow(1)
            self._copy(count)
        empty = Places(str(path / "at-0"))
        for folder in (empty.wal, empty.segments, empty.commits):
            Path(folder).mkdir(parents=True)
        self.store = self.scene.remote()
        remote = Remote(self.store, SETTINGS)
        remote.claim(self.store_id)
        publisher = self.scene.publisher(self.store)
        publisher.locate()
        publisher.publish()
        remote.put_head(self.store_id, COUNT - 1, NAMING)

    def _copy(self, count: int) -> None:
        shutil.copytree(self.scene.root, self._path / f"at-{count}")

    def folder(self, path: Path, count: int) -> Path:
        """A folder of the first `count` commits, to be changed."""
        return Path(shutil.copytree(self._path / f"at-{count}", path / f"at-{count}"))

    def adopt(self, folder: Path, store: ObjectStore | None = None) -> int:
        """What the writer of `folder` takes up."""
        remote = Remote(store or self.store, SETTINGS)
        return adopt_commits(str(folder), self.store_id, SETTINGS, remote)


@pytest.fixture(scope="module")
def handover(tmp_path_factory: pytest.TempPathFactory) -> Handover:
    return Handover(tmp_path_factory.mktemp("handover"))


def files(folder: Path) -> dict[str, bytes]:
    """All files of a folder, but for its locks."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in found
        if not path.name.startswith("LOCK")
    }


def holds_all(handover: Handover, folder: Path) -> bool:
    """Whether all commits of the remote are in the folder, byte for byte."""
    kept = sorted((folder / "commits").iterdir())
    wanted = [handover.scene.commit(number) for number in range(COUNT)]
    return [path.read_bytes() for path in kept] == wanted


class Hidden(FaultDoor):
    """A remote that does not show one object the first times it is asked for."""

    def __init__(self, store: ObjectStore, key: str, times: int) -> None:
        super().__init__(store)
        self._key, self._times = key, times

    def get(self, key: str, bytes_max: int) -> bytes | None:
        found = super().get(key, bytes_max)
        if key == self._key and self._times:
            self._times -= 1
            return None
        return found


class Replaced(FaultDoor):
    """A remote with other bytes in the place of one object."""

    def __init__(self, store: ObjectStore, key: str, data: bytes | None) -> None:
        super().__init__(store)
        self._key, self._data = key, data

    def get(self, key: str, bytes_max: int) -> bytes | None:
        found = super().get(key, bytes_max)
        return self._data if key == self._key else found


@pytest.mark.parametrize("count", HERE)
def test_a_folder_that_is_behind_takes_up_all_that_follows(
    handover: Handover, tmp_path: Path, count: int
) -> None:
    folder = handover.folder(tmp_path, count)
    assert handover.adopt(folder) == COUNT - count
    assert holds_all(handover, folder)
    # There is nothing more the second time.
    assert handover.adopt(folder) == 0


def test_what_was_taken_up_is_read_where_its_segments_are(
    handover: Handover, tmp_path: Path
) -> None:
    folder = handover.folder(tmp_path, 1)
    handover.adopt(folder)
    with (
        transit.open(folder, mode="read") as log,
        pytest.raises(transit.RetentionGapError, match="remote="),
    ):
        list(log.stream("s").read())
    with transit.open(folder, mode="read", remote=handover.store) as log:
        assert len(list(log.stream("s").read())) == COUNT


@pytest.mark.parametrize("count", HERE)
def test_a_folder_says_that_segments_are_elsewhere_only_if_they_are(
    handover: Handover, tmp_path: Path, count: int
) -> None:
    folder = handover.folder(tmp_path, count)
    handover.adopt(folder)
    wanted = handover.store.url if count < COUNT else None
    assert read_marker(str(folder)) == wanted


def test_the_note_that_segments_are_elsewhere_is_made_before_any_commit_names_them(
    handover: Handover, tmp_path: Path
) -> None:
    """A process that dies in between must not leave commits whose segments seem lost."""
    folder = handover.folder(tmp_path, 3)
    door = Replaced(handover.store, commit_key(4), b"no commit")
    with pytest.raises(transit.FormatError, match=commit_key(4)):
        handover.adopt(folder, door)
    assert len(list((folder / "commits").iterdir())) == 4
    assert read_marker(str(folder)) == handover.store.url


def own_records(folder: Path) -> None:
    with transit.open(folder, durability="os") as log:
        log.stream("s").append(b"of its own")


def own_commit(folder: Path) -> None:
    with transit.open(folder, durability="os") as log:
        log.stream("s").append(b"of its own")
        log.seal()


@pytest.mark.parametrize("write", [own_records, own_commit])
@pytest.mark.parametrize("count", [1, 3, COUNT])
def test_a_folder_with_records_of_its_own_is_left_as_it_is(
    handover: Handover, tmp_path: Path, count: int, write: Callable[[Path], None]
) -> None:
    folder = handover.folder(tmp_path, count)
    write(folder)
    before = files(folder)
    assert handover.adopt(folder) == 0
    assert files(folder) == before


def test_a_folder_whose_last_commit_is_another_is_left_as_it_is(
    handover: Handover, tmp_path: Path
) -> None:
    folder = handover.folder(tmp_path, 3)
    before = files(folder)
    door = Replaced(handover.store, commit_key(2), others(handover.scene.commit(2)))
    assert handover.adopt(folder, door) == 0
    assert handover.adopt(folder, Replaced(handover.store, commit_key(2), None)) == 0
    assert files(folder) == before


def test_another_history_in_the_remote_is_not_taken_up_after_ours(
    handover: Handover, tmp_path: Path
) -> None:
    folder = handover.folder(tmp_path, 3)
    door = Replaced(
        handover.store, commit_key(3), others(handover.scene.commit(3), previous="ee" * 32)
    )
    with pytest.raises(transit.CorruptError, match=commit_key(3)):
        handover.adopt(folder, door)
    assert len(list((folder / "commits").iterdir())) == 3


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.parametrize("number", [0, 3, 5, COUNT - 1])
def test_a_commit_that_was_not_there_a_moment_ago_does_not_end_the_history(
    handover: Handover, tmp_path: Path, count: int, number: int
) -> None:
    if number < count:
        return
    folder = handover.folder(tmp_path, count)
    assert handover.adopt(folder, Hidden(handover.store, commit_key(number), 1)) == COUNT - count
    assert holds_all(handover, folder)


@pytest.mark.parametrize("number", [3, 5])
def test_a_commit_that_is_gone_from_between_others_is_told(
    handover: Handover, tmp_path: Path, number: int
) -> None:
    folder = handover.folder(tmp_path, 3)
    with pytest.raises(transit.CorruptError, match=commit_key(number)):
        handover.adopt(folder, Replaced(handover.store, commit_key(number), None))
    assert len(list((folder / "commits").iterdir())) == number


def test_a_hint_beyond_the_end_ends_the_search_all_the_same(
    handover: Handover, tmp_path: Path
) -> None:
    for number in (COUNT, COUNT + 1, 2**62):
        folder = handover.folder(tmp_path / str(number), 3)
        door = Replaced(handover.store, "HEAD", encode_head(handover.store_id, number, None))
        assert handover.adopt(folder, door) == COUNT - 3
        assert holds_all(handover, folder)


def test_a_remote_that_shows_and_hides_a_commit_is_asked_a_few_times_only(
    handover: Handover, tmp_path: Path
) -> None:
    class Flickering(FaultDoor):
        asked = 0

        def get(self, key: str, bytes_max: int) -> bytes | None:
            found = super().get(key, bytes_max)
            if key != commit_key(5):
                return found
            self.asked += 1
            return found if self.asked % 2 == 0 else None

    folder = handover.folder(tmp_path, 3)
    door = Flickering(handover.store)
    assert handover.adopt(folder, door) == 2
    assert door.asked == 2 * TRIES


@pytest.mark.parametrize("count", [0, 3, NAMING])
def test_the_newest_snapshot_of_the_index_comes_along(
    handover: Handover, tmp_path: Path, count: int
) -> None:
    folder = handover.folder(tmp_path, count)
    shutil.rmtree(folder / "index", ignore_errors=True)
    handover.adopt(folder)
    (path,) = (folder / "index").iterdir()
    assert index_key(path.stem) == f"index/{path.name}"
    snapshot = decode_snapshot(path.read_bytes(), handover.store_id, str(path))
    assert (snapshot.first, snapshot.last) == (0, NAMING - 1)


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_writer_does_without_a_snapshot_that_the_remote_does_not_have(
    handover: Handover, tmp_path: Path, damage: str
) -> None:
    folder = handover.folder(tmp_path, 3)
    ((key, size),) = handover.store.list("index/")
    data = None if damage == "gone" else bytes(size)
    assert handover.adopt(folder, Replaced(handover.store, key, data)) == COUNT - 3
    assert holds_all(handover, folder)


def test_a_writer_that_takes_up_nothing_asks_for_no_snapshot(
    handover: Handover, tmp_path: Path
) -> None:
    folder = handover.folder(tmp_path, COUNT)
    shutil.rmtree(folder / "index")
    door = FaultDoor(handover.store)
    assert handover.adopt(folder, door) == 0
    assert [key for _, key in door.requests] == [
        commit_key(COUNT - 1), "HEAD", commit_key(COUNT),
    ]  # fmt: skip
