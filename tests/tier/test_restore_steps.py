"""A restore step by step: which commits it asks for, what it keeps, and what it says."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

import transit
from transit.format.head import encode_head
from transit.store import ObjectStore, open_store
from transit.testing.doors import FaultDoor, ProcessDiedError
from transit.tier import restore
from transit.tier.remote import TRIES, commit_key, segment_key

COUNT = 11
ONE_BY_ONE = transit.Settings(transfers_max=1, remote_timeout_s=0.05)


class Scene:
    """A store of `COUNT` commits in a remote, with one segment each."""

    def __init__(self, path: Path) -> None:
        self.store: ObjectStore = open_store(path / "remote")
        self.roots: list[str] = []
        with transit.open(path / "store", remote=self.store, durability="os") as log:
            self.store_id = bytes.fromhex(log.status().store_id)
            stream = log.create("s")
            for number in range(COUNT):
                stream.append(b"%d " % number * 100)
                log.publish()
                self.roots.append(log.status().head or "")
        self.sizes = dict(self.store.list("segments/"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


class Door(FaultDoor):
    """A remote that shows other bytes for some objects, the first `times` that they are read."""

    def __init__(self, store: ObjectStore, key: str, data: bytes | None, times: int = -1) -> None:
        super().__init__(store)
        self._key, self._data, self._times = key, data, times

    def _shown(self, key: str, found: bytes | None) -> bytes | None:
        if key != self._key or not self._times:
            return found
        self._times -= 1
        return self._data

    def get(self, key: str, bytes_max: int) -> bytes | None:
        return self._shown(key, super().get(key, bytes_max))

    def get_range(self, key: str, position: int, size: int) -> bytes:
        found = super().get_range(key, position, size)
        shown = self._shown(key, found)
        if shown is None:
            raise transit.NotFoundError(key)
        return shown


def payloads(path: Path) -> list[bytes]:
    with transit.open(path, mode="read") as log:
        assert log.verify().ok
        return [record.payload.split()[0] for record in log.stream("s").read()]


def numbers(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


# Which commits


@pytest.mark.parametrize("at", [0, 1, 2, 5, COUNT - 1])
def test_no_commit_behind_the_cut_is_asked_for(scene: Scene, tmp_path: Path, at: int) -> None:
    door = FaultDoor(scene.store)
    result = transit.restore(door, tmp_path / "r", at=at)
    asked = sorted(key for _, key in door.requests if key.startswith("commits/"))
    assert asked == [commit_key(number) for number in range(at + 1)]
    assert (result.commits, result.root) == (at + 1, scene.roots[at])
    assert payloads(tmp_path / "r") == numbers(at + 1)


@pytest.mark.parametrize("at", [0, 1, 2, 5, COUNT - 1])
def test_a_cut_by_root_keeps_no_commit_behind_it(scene: Scene, tmp_path: Path, at: int) -> None:
    result = transit.restore(scene.store, tmp_path / "r", at=scene.roots[at])
    assert (result.commits, result.root) == (at + 1, scene.roots[at])
    assert len(list((tmp_path / "r" / "commits").iterdir())) == at + 1
    assert len(list((tmp_path / "r" / "segments").iterdir())) == at + 1


def test_all_commits_are_asked_for_once_and_the_one_after_the_last(
    scene: Scene, tmp_path: Path
) -> None:
    door = FaultDoor(scene.store)
    transit.restore(door, tmp_path / "r", settings=ONE_BY_ONE)
    asked = [key for _, key in door.requests if key.startswith("commits/")]
    # Several at once, and in order: those behind the first that is absent are for nothing.
    assert asked[: COUNT + 1] == [commit_key(number) for number in range(COUNT + 1)]
    assert len(asked) == len(set(asked)) <= 2 * COUNT


@pytest.mark.parametrize("at", [None, COUNT - 1])
@pytest.mark.parametrize("number", [0, 1, 4, COUNT - 1])
def test_a_commit_that_was_not_there_a_moment_ago_does_not_end_the_history(
    scene: Scene, tmp_path: Path, number: int, at: int | None
) -> None:
    door = Door(scene.store, commit_key(number), None, times=1)
    assert transit.restore(door, tmp_path / "r", at=at).commits == COUNT
    assert payloads(tmp_path / "r") == numbers(COUNT)


@pytest.mark.parametrize("at", [None, COUNT - 1])
@pytest.mark.parametrize("number", [0, 4, COUNT - 2])
def test_a_commit_that_is_gone_from_between_others_is_told(
    scene: Scene, tmp_path: Path, number: int, at: int | None
) -> None:
    with pytest.raises(transit.CorruptError, match=commit_key(number)):
        transit.restore(Door(scene.store, commit_key(number), None), tmp_path / "r", at=at)


def test_commits_behind_the_cut_may_be_gone(scene: Scene, tmp_path: Path) -> None:
    door = Door(scene.store, commit_key(5), None)
    assert transit.restore(door, tmp_path / "r", at=4).commits == 5


@pytest.mark.parametrize("missing", [COUNT, COUNT + 1, "0" * 64, ""])
def test_a_cut_that_is_not_there_is_named(scene: Scene, tmp_path: Path, missing: int | str) -> None:
    with pytest.raises(transit.NotFoundError) as caught:
        transit.restore(scene.store, tmp_path / "r", at=missing)
    assert str(caught.value) == f"{scene.store.url}: there is no commit {missing}"


def test_a_hint_beyond_the_end_ends_the_search_all_the_same(scene: Scene, tmp_path: Path) -> None:
    door = Door(scene.store, "HEAD", encode_head(scene.store_id, 2**62, None))
    assert transit.restore(door, tmp_path / "r").commits == COUNT


def test_another_cut_than_the_try_before_leaves_none_of_its_commits(
    scene: Scene, tmp_path: Path
) -> None:
    def rule(number: int, kind: str, key: str) -> str | None:
        return "die_before" if key.startswith("segments/") else None

    with pytest.raises(ProcessDiedError):
        transit.restore(FaultDoor(scene.store, rule), tmp_path / "r", at=7)  # type: ignore[arg-type]
    assert len(list((tmp_path / "r" / "commits").iterdir())) == 8
    assert transit.restore(scene.store, tmp_path / "r", at=2).root == scene.roots[2]
    assert payloads(tmp_path / "r") == numbers(3)


# The index


@pytest.mark.parametrize("damage", [None, b"damaged"])
def test_a_restore_does_without_a_snapshot_that_is_damaged_or_gone(
    scene: Scene, tmp_path: Path, damage: bytes | None
) -> None:
    ((key, _),) = scene.store.list("index/")
    for lazy in (False, True):
        path = tmp_path / f"lazy-{lazy}"
        door = Door(scene.store, key, damage)
        result = transit.restore(door, path, lazy=lazy)
        assert result.segments_remote == (COUNT if lazy else 0)
        with transit.open(path, mode="read", remote=scene.store) as log:
            assert len(list(log.stream("s").read())) == COUNT


def test_a_whole_restore_has_the_snapshot_that_the_last_commits_stand_on(
    scene: Scene, tmp_path: Path
) -> None:
    transit.restore(scene.store, tmp_path / "r")
    kept = {f"index/{path.name}": path.stat().st_size for path in (tmp_path / "r/index").iterdir()}
    assert kept == dict(scene.store.list("index/"))
    # Before the first commit that names one there is none.
    transit.restore(scene.store, tmp_path / "early", at=3)
    assert not (tmp_path / "early" / "index").exists()


def test_a_lazy_restore_knows_all_segments_without_asking_for_their_guides_again(
    scene: Scene, tmp_path: Path
) -> None:
    transit.restore(scene.store, tmp_path / "r", lazy=True)
    settings = transit.Settings(disk_cache_bytes_max=0)
    door = FaultDoor(scene.store)
    with transit.open(tmp_path / "r", mode="read", remote=door, settings=settings) as log:
        asked = len(door.requests)
        assert log.stream("s").next_offset == COUNT
        assert [key for _, key in door.requests[asked:] if key.startswith("index/")] == []
        # One request of a block for the stream's record in the lineage, and no guide.
        assert len(door.requests) - asked <= 1


# Segments


def test_progress_says_how_much_there_is_and_ends_with_all_of_it(
    scene: Scene, tmp_path: Path
) -> None:
    seen: list[transit.Progress] = []
    result = transit.restore(scene.store, tmp_path / "r", progress=seen.append, settings=ONE_BY_ONE)
    whole = sum(scene.sizes.values())
    assert result.bytes == whole
    assert {(each.step, each.objects_total, each.bytes_total) for each in seen} == {
        ("restore", COUNT, whole)
    }
    assert [each.objects for each in seen] == list(range(1, COUNT + 1))
    assert seen[-1].bytes == whole
    assert all(now.bytes > before.bytes for before, now in itertools.pairwise(seen))


@pytest.mark.parametrize("damage", ["other bytes", "cut short", "longer", "none"])
def test_a_segment_of_an_earlier_try_is_kept_only_if_it_is_whole(
    scene: Scene, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "r"
    transit.restore(scene.store, path)
    # As a restore leaves it that is cut short right before its end.
    (path / "FORMAT").unlink()
    name = sorted(scene.sizes)[3]
    data = (path / name).read_bytes()
    changed = {
        "other bytes": data[:-1] + bytes([data[-1] ^ 1]),
        "cut short": data[:-1],
        "longer": data + b"x",
        "none": data,
    }
    (path / name).chmod(0o600)
    (path / name).write_bytes(changed[damage])
    door = FaultDoor(scene.store)
    transit.restore(door, path)
    asked = {key for _, key in door.requests if key.startswith("segments/")}
    assert asked == (set() if damage == "none" else {name})
    assert (path / name).read_bytes() == data
    assert payloads(path) == numbers(COUNT)


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        (None, "no object"),
        (b"x" * 5, "5 bytes"),
        (b"", "0 bytes"),
        (b"x" * 5000, "5000 bytes"),
        (b"all", "another digest"),
    ],
)
def test_a_segment_that_is_not_what_its_commit_says_is_asked_for_a_few_times_and_told(
    scene: Scene, tmp_path: Path, shown: bytes | None, found: str
) -> None:
    key = sorted(scene.sizes)[3]
    if shown == b"all":
        shown = bytes(scene.sizes[key])
    with pytest.raises(transit.CorruptError) as caught:
        transit.restore(Door(scene.store, key, shown), tmp_path / "r", settings=ONE_BY_ONE)
    error = caught.value
    assert error.place == f"{scene.store.url}/{key}"
    assert segment_key(error.expected) == key
    assert error.found == found or (found == "another digest" and len(error.found) == 64)
    # Nothing half done is left, and the next try goes on.
    left = list((tmp_path / "r" / "segments").iterdir())
    assert all(f"segments/{path.name}" in scene.sizes for path in left)
    assert not (tmp_path / "r" / key).exists()
    transit.restore(scene.store, tmp_path / "r")
    assert payloads(tmp_path / "r") == numbers(COUNT)


def test_how_much_of_a_segment_came_in_several_pieces_is_told(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = min(scene.sizes)

    class Short(FaultDoor):
        def get_range(self, at: str, position: int, size: int) -> bytes:
            return super().get_range(at, position, size)[: 34 - position if at == key else size]

    monkeypatch.setattr(restore, "READ_BYTES", 24)
    with pytest.raises(transit.CorruptError) as caught:
        transit.restore(Short(scene.store), tmp_path / "r")
    assert (caught.value.place, caught.value.found) == (f"{scene.store.url}/{key}", "34 bytes")


@pytest.mark.parametrize("times", range(TRIES + 1))
@pytest.mark.parametrize("shown", [None, b"x" * 5])
def test_what_was_wrong_on_its_way_is_right_by_the_third_time(
    scene: Scene, tmp_path: Path, shown: bytes | None, times: int
) -> None:
    door = Door(scene.store, min(scene.sizes), shown, times)
    if times == TRIES:
        with pytest.raises(transit.CorruptError):
            transit.restore(door, tmp_path / "r", settings=ONE_BY_ONE)
    else:
        transit.restore(door, tmp_path / "r", settings=ONE_BY_ONE)
        assert payloads(tmp_path / "r") == numbers(COUNT)


@pytest.mark.parametrize("piece", [1, 7, 64, "all", "less one", "one more"])
def test_a_segment_comes_in_pieces_each_asked_for_once(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int | str
) -> None:
    """And one that is there is read by the same pieces."""
    key = min(scene.sizes)
    size = scene.sizes[key]
    shifts = {"all": 0, "less one": -1, "one more": 1}
    bytes_max = piece if isinstance(piece, int) else size + shifts[piece]
    monkeypatch.setattr(restore, "READ_BYTES", bytes_max)
    asked: list[tuple[int, int]] = []

    class Noted(FaultDoor):
        def get_range(self, at: str, position: int, size: int) -> bytes:
            if at == key:
                asked.append((position, size))
            return super().get_range(at, position, size)

    # The first segment alone.
    transit.restore(Noted(scene.store), tmp_path / "r", at=_commit_of(scene, key))
    starts = range(0, size, bytes_max)
    assert sorted(asked) == [(start, min(bytes_max, size - start)) for start in starts]
    (tmp_path / "r" / "FORMAT").unlink()
    again = FaultDoor(scene.store)
    transit.restore(again, tmp_path / "r", at=_commit_of(scene, key))
    assert not [each for _, each in again.requests if each.startswith("segments/")]


def _commit_of(scene: Scene, key: str) -> int:
    """The number of the commit that added a segment."""
    name = Path(key).stem.encode()
    found = (scene.store.get(commit_key(number), 2**20) or b"" for number in range(COUNT))
    return next(number for number, data in enumerate(found) if name in data)
