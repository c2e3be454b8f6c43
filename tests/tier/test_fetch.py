"""Segments read from the remote: each byte checked, few requests, and a cache within its bound."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit.format.commit import SegmentRef
from transit.format.digest import digest
from transit.format.segment import TAIL, Footer
from transit.log.guides import GuideShelf
from transit.log.segments import Guide
from transit.store import ObjectStore, open_store
from transit.testing.doors import FaultDoor
from transit.tier import fetch
from transit.tier.fetch import DiskCache, Fetcher
from transit.tier.remote import TRIES, Remote, segment_key

SETTINGS = transit.Settings(remote_timeout_s=0.05, disk_cache_bytes_max=10**6)
BLOCK = 4096
# Blocks of records in the segment; the last block is the index.
BLOCKS = 40


class Scene:
    """One segment of many blocks in a remote, and its bytes."""

    def __init__(self, path: Path) -> None:
        self.store: ObjectStore = open_store(path / "remote")
        settings = transit.Settings(compression="none", block_bytes=BLOCK)
        with transit.open(
            path / "store", remote=self.store, durability="os", settings=settings
        ) as log:
            log.create("s").append_many([bytes([n]) * (BLOCK - 500) for n in range(BLOCKS)])
            log.publish()
            (segment,) = log._handle.catalog.view.segments
            self.store_id = bytes.fromhex(log.store_id)
            self.ref: SegmentRef = segment.ref
            self.footer: Footer = segment.footer
            self.guide: Guide = segment.guide()
            self.data = Path(segment.path).read_bytes()
        self.key = segment_key(self.ref.digest)
        assert len(self.footer.blocks) > BLOCKS

    def block(self, number: int) -> bytes:
        """The stored bytes of a block."""
        entry = self.footer.blocks[number]
        return self.data[entry.position :][: entry.stored_bytes]

    def fetcher(
        self, store: ObjectStore, path: Path, cache: str | None = None, room: int = 10**6
    ) -> Fetcher:
        """What reads segments, with nothing in the folder."""
        settings = transit.Settings(remote_timeout_s=0.05, disk_cache_bytes_max=room)
        return Fetcher(Remote(store, settings), GuideShelf(str(path), self.store_id), cache)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


class Door(FaultDoor):
    """Notes the ranges that are asked for; some answers are changed."""

    def __init__(
        self, store: ObjectStore, change: Callable[[int, bytes], bytes] = lambda number, data: data
    ) -> None:
        super().__init__(store)
        self.ranges: list[tuple[int, int]] = []
        self._change = change

    def get_range(self, key: str, position: int, size: int) -> bytes:
        self.ranges.append((position, size))
        return self._change(len(self.ranges) - 1, super().get_range(key, position, size))


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


# Guides


def test_a_guide_is_right_however_much_of_it_the_first_request_brings(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tail = TAIL.size + len(scene.guide.footer)
    whole = tail + len(scene.guide.index)
    for size, requests in (
        (TAIL.size, 3), (TAIL.size + 1, 3), (tail - 1, 3), (tail, 2), (tail + 1, 2),
        (whole - 1, 2), (whole, 1), (whole + 1, 1), (len(scene.data), 1), (10**7, 1),
    ):  # fmt: skip
        monkeypatch.setattr(fetch, "GUIDE_BYTES", size)
        door = Door(scene.store)
        assert scene.fetcher(door, tmp_path).guide(scene.ref) == scene.guide
        assert len(door.ranges) == requests, size
        assert all(at >= 0 and at + count <= len(scene.data) for at, count in door.ranges)


def test_a_guide_that_was_fetched_is_kept_in_the_cache(scene: Scene, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    scene.fetcher(scene.store, tmp_path, cache).guide(scene.ref)
    kept = {path.name: path.read_bytes() for path in Path(cache).iterdir()}
    assert sorted(kept.values()) == sorted((scene.guide.footer, scene.guide.index))
    assert all(digest(data).hex() == name for name, data in kept.items())
    door = Door(scene.store)
    assert scene.fetcher(door, tmp_path, cache).guide(scene.ref) == scene.guide
    assert door.ranges == []


@pytest.mark.parametrize("part", ["footer", "index"])
@pytest.mark.parametrize("damage", ["gone", "flipped", "short", "long", "empty"])
def test_a_guide_damaged_in_the_cache_is_fetched_again(
    scene: Scene, tmp_path: Path, part: str, damage: str
) -> None:
    cache = tmp_path / "cache"
    scene.fetcher(scene.store, tmp_path, str(cache)).guide(scene.ref)
    data: bytes = getattr(scene.guide, part)
    path = cache / digest(data).hex()
    changed = {"flipped": flipped(data), "short": data[:-1], "long": data + b"x", "empty": b""}
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(changed[damage])
    door = Door(scene.store)
    assert scene.fetcher(door, tmp_path, str(cache)).guide(scene.ref) == scene.guide
    assert len(door.ranges) == 1
    assert path.read_bytes() == data


@pytest.mark.parametrize("times", range(TRIES + 1))
@pytest.mark.parametrize("place", ["footer", "index", "tail"])
def test_a_guide_damaged_on_its_way_is_right_by_the_third_time(
    scene: Scene, tmp_path: Path, times: int, place: str
) -> None:
    at = {"tail": 1, "footer": TAIL.size + 1, "index": TAIL.size + len(scene.guide.footer) + 1}

    def change(number: int, data: bytes) -> bytes:
        if number >= times:
            return data
        changed = bytearray(data)
        changed[-at[place]] ^= 1
        return bytes(changed)

    fetcher = scene.fetcher(Door(scene.store, change), tmp_path)
    if times == TRIES:
        with pytest.raises(transit.FormatError, match=scene.ref.digest):
            fetcher.guide(scene.ref)
    else:
        assert fetcher.guide(scene.ref) == scene.guide


# Blocks


ORDERS: dict[str, list[int]] = {
    "on": list(range(BLOCKS)),
    "back": list(range(BLOCKS))[::-1],
    "twice": [*range(BLOCKS), *range(BLOCKS)],
    "about": [number * 17 % BLOCKS for number in range(2 * BLOCKS)],
    "on, back, on": [*range(20), *range(10), *range(15, BLOCKS)],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("room", [0, 20_000, 10**6])
def test_blocks_are_right_in_any_order(
    scene: Scene, tmp_path: Path, order: str, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "AHEAD_BYTES_MIN", 10_000)
    monkeypatch.setattr(fetch, "AHEAD_BYTES_MAX", 40_000)
    cache = tmp_path / "cache"
    fetcher = scene.fetcher(scene.store, tmp_path, str(cache), room)
    for number in ORDERS[order]:
        assert fetcher.stored(scene.ref, scene.footer, number) == scene.block(number)
    kept = [path.stat().st_size for path in cache.iterdir()] if room else []
    assert sum(kept) <= room


def test_a_reader_that_goes_on_gets_twice_as_much_each_time_up_to_a_limit(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    least, most = 3 * BLOCK, 12 * BLOCK
    monkeypatch.setattr(fetch, "AHEAD_BYTES_MIN", least)
    monkeypatch.setattr(fetch, "AHEAD_BYTES_MAX", most)
    door = Door(scene.store)
    fetcher = scene.fetcher(door, tmp_path)
    for number in range(BLOCKS):
        fetcher.stored(scene.ref, scene.footer, number)
    # What is asked for besides the block itself.
    first = scene.footer.blocks[0].stored_bytes
    ahead = [size - first for _, size in door.ranges]
    assert ahead[0] == 0
    for size, limit in zip(ahead[1:], (least, 2 * least, *[most] * BLOCKS), strict=False):
        assert size <= limit
    for size, limit in zip(ahead[1:-1], (least, 2 * least, *[most] * BLOCKS), strict=False):
        assert size > limit - BLOCK - 100
    # Each byte once, in order, and no byte of the index.
    at = scene.footer.blocks[0].position
    for position, size in door.ranges:
        assert position == at
        at += size
    last = len(scene.footer.blocks) - 1
    assert at <= scene.footer.blocks[last].position
    assert fetcher._ahead_bytes == sum(map(len, fetcher._ahead.values()))


def test_a_reader_that_jumps_gets_one_block_at_a_time(scene: Scene, tmp_path: Path) -> None:
    door = Door(scene.store)
    fetcher = scene.fetcher(door, tmp_path)
    for number in (5, 30, 7, 20, 0):
        fetcher.stored(scene.ref, scene.footer, number)
    assert [size for _, size in door.ranges] == [
        scene.footer.blocks[number].stored_bytes for number in (5, 30, 7, 20, 0)
    ]


def test_what_is_read_ahead_and_not_asked_for_is_within_a_bound(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 4 * BLOCK
    monkeypatch.setattr(fetch, "AHEAD_BYTES_MIN", most)
    monkeypatch.setattr(fetch, "AHEAD_BYTES_MAX", most)
    fetcher = scene.fetcher(scene.store, tmp_path)
    for number in range(0, BLOCKS - 1, 6):
        for each in (number, number + 1):
            assert fetcher.stored(scene.ref, scene.footer, each) == scene.block(each)
        assert fetcher._ahead_bytes == sum(map(len, fetcher._ahead.values())) <= 2 * most
    assert fetcher._ahead


@pytest.mark.parametrize("times", range(TRIES + 1))
def test_a_block_damaged_on_its_way_is_right_by_the_third_time(
    scene: Scene, tmp_path: Path, times: int
) -> None:
    door = Door(scene.store, lambda number, data: flipped(data) if number < times else data)
    fetcher = scene.fetcher(door, tmp_path)
    if times < TRIES:
        assert fetcher.stored(scene.ref, scene.footer, 3) == scene.block(3)
        return
    with pytest.raises(transit.CorruptError) as caught:
        fetcher.stored(scene.ref, scene.footer, 3)
    entry = scene.footer.blocks[3]
    place = f"{scene.store.url}/{scene.key}, byte {entry.position}"
    assert (caught.value.place, caught.value.expected) == (place, entry.digest.hex())
    assert len(door.ranges) == TRIES


def test_damage_in_a_block_read_ahead_is_told_of_that_block(scene: Scene, tmp_path: Path) -> None:
    door = Door(scene.store, lambda number, data: flipped(data) if number else data)
    fetcher = scene.fetcher(door, tmp_path)
    fetcher.stored(scene.ref, scene.footer, 0)
    with pytest.raises(transit.CorruptError) as caught:
        fetcher.stored(scene.ref, scene.footer, 1)
    # The last of those asked for with it.
    position, size = door.ranges[-1]
    (number,) = [
        n for n, b in enumerate(scene.footer.blocks)
        if b.position + b.stored_bytes == position + size
    ]  # fmt: skip
    assert number > 1
    assert caught.value.place.endswith(f", byte {scene.footer.blocks[number].position}")


@pytest.mark.parametrize("damage", ["flipped", "short", "empty", "gone"])
def test_a_block_damaged_in_the_cache_is_fetched_again(
    scene: Scene, tmp_path: Path, damage: str
) -> None:
    cache = tmp_path / "cache"
    scene.fetcher(scene.store, tmp_path, str(cache)).stored(scene.ref, scene.footer, 3)
    (path,) = cache.iterdir()
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes({"flipped": flipped(data), "short": data[:-1], "empty": b""}[damage])
    door = Door(scene.store)
    fetcher = scene.fetcher(door, tmp_path, str(cache))
    assert fetcher.stored(scene.ref, scene.footer, 3) == data == scene.block(3)
    assert len(door.ranges) == 1
    if damage != "gone":
        assert path.read_bytes() == data


# Plain ranges


def test_an_answer_of_another_size_is_told(scene: Scene, tmp_path: Path) -> None:
    size = len(scene.data)
    fetcher = scene.fetcher(scene.store, tmp_path)
    assert fetcher.read(scene.ref, 10, 20) == scene.data[10:30]
    # Fewer at the end.
    assert fetcher.read(scene.ref, size - 5, 20) == scene.data[-5:]
    assert fetcher.read(scene.ref, size - 5, 5) == scene.data[-5:]
    for change in (lambda number, data: data[:-1], lambda number, data: data + b"x"):
        with pytest.raises(transit.CorruptError) as caught:
            scene.fetcher(Door(scene.store, change), tmp_path).read(scene.ref, 10, 20)
        assert caught.value.place == f"{scene.store.url}/{scene.key}, byte 10"
        assert caught.value.expected == "20 bytes"


@pytest.mark.parametrize("size", [0, -1])
def test_no_remote_is_asked_for_no_bytes(scene: Scene, tmp_path: Path, size: int) -> None:
    door = Door(scene.store)
    with pytest.raises(transit.CorruptError, match=scene.key):
        scene.fetcher(door, tmp_path).read(scene.ref, 10, size)
    assert door.ranges == []
    assert scene.fetcher(door, tmp_path).read(scene.ref, 10, 1) == scene.data[10:11]


def test_a_segment_that_is_gone_is_told_unless_the_folder_is_what_is_gone(
    scene: Scene, tmp_path: Path
) -> None:
    empty = open_store(tmp_path / "empty")
    with pytest.raises(transit.CorruptError) as caught:
        scene.fetcher(empty, tmp_path).read(scene.ref, 0, 5)
    assert (caught.value.place, caught.value.found) == (f"{empty.url}/{scene.key}", "no object")

    def moved() -> None:
        raise transit.StoreMovedError("elsewhere")

    remote = Remote(empty, SETTINGS)
    shelf = GuideShelf(str(tmp_path), scene.store_id)
    with pytest.raises(transit.StoreMovedError):
        Fetcher(remote, shelf, None, moved).read(scene.ref, 0, 5)


# The cache


def name(number: int) -> str:
    return f"{number:064x}"


def sizes(folder: Path) -> dict[int, int]:
    return {int(path.name, 16): path.stat().st_size for path in folder.iterdir()}


def test_the_one_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = DiskCache(str(tmp_path), 30)
    for number in range(3):
        cache.put(name(number), bytes([number]) * 10)
    assert cache.get(name(0)) == bytes(10)
    cache.put(name(3), b"3" * 10)
    assert sizes(tmp_path) == {0: 10, 2: 10, 3: 10}
    assert cache.get(name(1)) is None
    # One that needs the room of two.
    cache.put(name(4), b"4" * 11)
    assert sizes(tmp_path) == {3: 10, 4: 11}
    cache.put(name(5), b"5" * 9)
    assert sizes(tmp_path) == {3: 10, 4: 11, 5: 9}


def test_what_is_larger_than_all_the_room_is_not_kept_and_drives_nothing_out(
    tmp_path: Path,
) -> None:
    cache = DiskCache(str(tmp_path), 30)
    cache.put(name(1), b"1" * 10)
    cache.put(name(2), b"2" * 31)
    assert sizes(tmp_path) == {1: 10}
    cache.put(name(3), b"3" * 30)
    assert sizes(tmp_path) == {3: 30}


def test_what_is_there_already_counts_once(tmp_path: Path) -> None:
    cache = DiskCache(str(tmp_path), 30)
    for _ in range(5):
        cache.put(name(1), b"1" * 20)
    cache.put(name(2), b"2" * 10)
    assert sizes(tmp_path) == {1: 20, 2: 10}


def test_what_another_process_left_counts_too(tmp_path: Path) -> None:
    DiskCache(str(tmp_path), 100).put(name(1), b"1" * 20)
    DiskCache(str(tmp_path), 100).put(name(2), b"2" * 10)
    cache = DiskCache(str(tmp_path), 30)
    assert cache.get(name(2)) == b"2" * 10
    cache.put(name(3), b"3")
    assert sizes(tmp_path) == {2: 10, 3: 1}


def test_what_is_dropped_makes_room(tmp_path: Path) -> None:
    cache = DiskCache(str(tmp_path), 30)
    cache.put(name(1), b"1" * 15)
    cache.put(name(2), b"2" * 15)
    cache.drop(name(1))
    cache.drop(name(7))
    assert cache.get(name(1)) is None
    cache.put(name(3), b"3" * 15)
    assert sizes(tmp_path) == {2: 15, 3: 15}
    assert cache.get(name(2)) == b"2" * 15


def test_a_file_that_was_removed_meanwhile_is_not_there(tmp_path: Path) -> None:
    cache = DiskCache(str(tmp_path), 30)
    cache.put(name(1), b"1")
    (tmp_path / name(1)).unlink()
    assert cache.get(name(1)) is None
    cache.drop(name(1))
    cache.put(name(1), b"1")
    assert cache.get(name(1)) == b"1"


def test_a_disk_that_fails_means_that_nothing_is_cached(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = DiskCache(str(tmp_path / "file"), 30)
    assert cache.get(name(1)) is None
    cache.put(name(1), b"1")
    assert cache.get(name(1)) is None
    cache.drop(name(1))


def test_nothing_is_written_or_dropped_in_a_folder_that_came_in_its_place(tmp_path: Path) -> None:
    here = [True]

    def check() -> None:
        if not here[0]:
            raise transit.StoreMovedError("elsewhere")

    cache = DiskCache(str(tmp_path), 30, check)
    cache.put(name(1), b"1")
    here[0] = False
    cache.put(name(2), b"2")
    cache.drop(name(1))
    assert sizes(tmp_path) == {1: 1}
    assert not os.path.exists(tmp_path / name(2))
