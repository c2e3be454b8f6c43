"""Reading through the remote: bucket alone, followers, ranges, caches; and letting segments go."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import transit
from transit.testing.doors import FaultDoor

from .conftest import Place, contents, write_history


def published(place: Place, rounds: int = 12) -> dict[str, object]:
    with place.open() as log:
        write_history(log, rounds)
        log.publish()
        return dict(contents(log))


def test_bucket_is_read_with_no_folder(place: Place) -> None:
    wanted = published(place)
    with transit.open(place.store.url, mode="read") as log:
        assert contents(log) == wanted
        assert log.path == place.store.url
        assert log.status().commits == 12
        assert log.verify().ok
        with pytest.raises(transit.ReadOnlyError):
            log.create("x")
    for options in ({}, {"mode": "exclusive"}, {"mode": "read", "remote": "x"}):
        with pytest.raises(transit.InvalidInputError):
            transit.open(place.store.url, **options)  # type: ignore[arg-type]
    with pytest.raises(transit.NotFoundError):
        transit.open("memory://nobody-home", mode="read")


def test_follower_sees_what_is_published_when_it_looks(place: Place) -> None:
    door = place.door()
    with place.open() as log:
        stream = log.create("s")
        stream.append(b"1")
        log.publish()
        transit.restore(place.door(), place.path / "copy")
        followers = [
            transit.open(place.store.url, mode="read"),
            place.open("copy", remote=door, mode="read"),
        ]
        stream.append(b"2")
        log.create("t").append(b"t")
        log.publish()
        for follower in followers:
            assert len(follower.stream("s")) == 1
            assert "t" not in follower
            assert follower.refresh() == 1
            assert [r.payload for r in follower.stream("s").read()] == [b"1", b"2"]
            assert "t" in follower
            assert follower.refresh() == 0
        before = len(door.requests)
        for _ in range(10):
            len(followers[1].stream("s"))
        assert len(door.requests) == before
        for follower in followers:
            follower.close()


def test_tail_on_a_bucket_waits_for_what_others_publish(place: Place) -> None:
    settings = transit.Settings(refresh_interval_s=0.02)
    with place.open() as log:
        stream = log.create("s")
        stream.append(b"0")
        log.publish()

        def write() -> None:
            for n in range(1, 4):
                time.sleep(0.05)
                stream.append(str(n).encode(), durability="tiered")

        with transit.open(place.store.url, mode="read", settings=settings) as reader:
            thread = threading.Thread(target=write)
            thread.start()
            tail = reader.stream("s").tail(start=0, timeout=20)
            assert [next(tail).payload for _ in range(4)] == [b"0", b"1", b"2", b"3"]
            thread.join()
            tail.close()  # type: ignore[attr-defined]


def test_evicted_segments_are_read_from_the_remote(place: Place) -> None:
    published(place)
    with place.open() as log:
        wanted = contents(log)
        log.stream("task-0").append(b"not published")
        log.seal()
        local = len(list((place.path / "a" / "segments").iterdir()))
        evicted = log.evict(bytes_max=0)
        assert evicted.segments == local - 1
        assert len(list((place.path / "a" / "segments").iterdir())) == 1
        assert log.evict(bytes_max=0).segments == 0
        got = contents(log)
        assert got.pop("task-0")[:-1] == wanted.pop("task-0")
        assert got == wanted
        assert log.verify().ok
    with place.open() as log:
        assert log.stream("task-0")[-1].payload == b"not published"
        assert log.stream("task-5/final")[3].payload
        log.publish()
    assert place.restored()["task-0"][-1][1] == b"not published"


def test_evict_by_bytes_and_age(place: Place) -> None:
    published(place)
    with place.open() as log:
        total = log.status().segment_bytes
        assert log.evict(older_than=3600).segments == 0
        half = log.evict(bytes_max=total // 2)
        assert 0 < half.segments < 12
        assert log.evict(older_than=0).segments == 12 - half.segments
        for options in ({}, {"bytes_max": -1}, {"older_than": -0.5}, {"bytes_max": True}):
            with pytest.raises(transit.InvalidInputError):
                log.evict(**options)


def test_evict_drops_nothing_that_the_remote_lost(place: Place) -> None:
    published(place)
    key, _ = next(iter(place.store.list("segments/")))
    with place.open() as log:
        place.store.delete(key)
        with pytest.raises(transit.CorruptError, match=key):
            log.evict(bytes_max=0)
        assert len(list((place.path / "a" / "segments").iterdir())) == 12


def test_evicted_store_without_its_remote_is_unavailable_not_shorter(place: Place) -> None:
    published(place)
    door = place.door()
    settings = transit.Settings(disk_cache_bytes_max=0, cache_bytes_max=0, remote_timeout_s=0.05)
    with place.open(remote=door, settings=settings) as log:
        log.evict(bytes_max=0)
        door.rule = lambda number, kind, key: "lost_before"
        with pytest.raises(transit.StoreUnavailableError):
            list(log.stream("task-3").read())
        log.create("new").append(b"goes on")
        assert [r.payload for r in log.stream("new").read()] == [b"goes on"]
        door.rule = None
        assert len(list(log.stream("task-3").read())) == 50


def test_first_record_of_a_stream_takes_few_requests(place: Place) -> None:
    with place.open() as log:
        for number in range(40):
            for n in range(50):
                log.create(f"s{number}-{n}").append(b"x" * 100)
            log.publish()
    door = place.door()
    with transit.open(place.path / "cold", remote=place.door()) as log:
        log.close()
    log = place.open("cold", remote=door, mode="read")
    before = len(door.requests)
    assert log.stream("s17-31")[0].payload == b"x" * 100
    assert len(door.requests) - before <= 4
    log.close()


def test_bucket_of_many_commits_opens_with_few_requests(place: Place) -> None:
    with place.open() as log:
        for number in range(100):
            log.create(f"s{number}").append(b"x")
            log.seal()
        log.publish()
        wanted = contents(log)
    door = Opened(place)
    with transit.open(door.url, mode="read") as log:
        assert log.stream("s42")[0].payload == b"x"
        traffic = log._handle._side._store.traffic  # type: ignore[union-attr]
        assert traffic.requests < 40
        assert contents(log) == wanted


class Opened:
    def __init__(self, place: Place) -> None:
        self.url = place.store.url


def large(place: Place) -> bytes:
    settings = transit.Settings(compression="none", block_bytes=4096)
    with place.open(settings=settings) as log:
        stream = log.create("s")
        for n in range(40):
            stream.append_many([bytes([n]) * 1000 for _ in range(40)])
        log.publish()
        return b"".join(r.payload for r in stream.read())


def test_sequential_replay_reads_ahead(place: Place) -> None:
    wanted = large(place)
    transit.restore(place.door(), place.path / "r", lazy=True)
    door = place.door()
    with place.open("r", remote=door, mode="read") as log:
        before = len(door.requests)
        assert b"".join(r.payload for r in log.stream("s").read()) == wanted
        blocks = len(log._handle.catalog.view.segments[0].footer.blocks)
        assert blocks > 300
        assert len(door.requests) - before < 20
    with place.open("r", remote=(again := place.door()), mode="read") as log:
        before = len(again.requests)
        assert b"".join(r.payload for r in log.stream("s").read()) == wanted
        assert len(again.requests) == before  # all of it was cached on disk


def test_disk_cache_stays_within_its_bound_and_trusts_nothing(place: Place) -> None:
    wanted = large(place)
    transit.restore(place.door(), place.path / "r", lazy=True)
    settings = transit.Settings(disk_cache_bytes_max=200_000)
    cache = place.path / "r" / "cache"

    def read() -> bytes:
        with place.open("r", mode="read", settings=settings) as log:
            return b"".join(r.payload for r in log.stream("s").read())

    assert read() == wanted
    files = list(cache.iterdir())
    assert files
    assert sum(path.stat().st_size for path in files) <= 200_000
    for path in files:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    assert read() == wanted
    for path in cache.iterdir():
        path.write_bytes(b"")
    assert read() == wanted


def test_damaged_block_in_the_remote_is_corrupt_with_its_place(place: Place) -> None:
    large(place)
    key, size = next(iter(place.store.list("segments/")))
    data = bytearray(place.store.get(key, size) or b"")
    data[len(data) // 3] ^= 4
    place.store.put(key, bytes(data))
    log = transit.open(place.store.url, mode="read")
    with pytest.raises(transit.CorruptError) as caught:
        list(log.stream("s").read())
    log.close()
    assert key in caught.value.place
    assert "byte" in caught.value.place


def test_block_damaged_on_its_way_is_read_again(place: Place) -> None:
    wanted = large(place)

    class Flipping(FaultDoor):
        calls = 0

        def get_range(self, key: str, position: int, size: int) -> bytes:
            data = super().get_range(key, position, size)
            self.calls += 1
            if self.calls % 3 == 2 and size < 64 * 1024 - 1:
                return bytes([data[0] ^ 1]) + data[1:]
            return data

    with place.open("x", remote=Flipping(place.store)) as log:
        assert b"".join(r.payload for r in log.stream("s").read()) == wanted


def test_segment_gone_from_the_remote_is_corrupt(place: Place) -> None:
    large(place)
    for key, _ in list(place.store.list("segments/")):
        place.store.delete(key)
    log = transit.open(place.store.url, mode="read")
    with pytest.raises(transit.CorruptError, match="no object"):
        log.stream("s")
    log.close()


def test_reader_of_a_store_with_another_remote_is_refused(place: Place) -> None:
    published(place, 1)
    transit.open(place.path / "other").close()
    with pytest.raises(transit.InvalidInputError, match="holds store"):
        place.open("other", mode="read")


def test_reader_of_a_folder_takes_a_commit_of_an_older_wal_for_its_own(tmp_path: Path) -> None:
    """One WAL file was sealed and published while the next one goes on."""
    with transit.open(tmp_path / "a", remote=tmp_path / "remote", durability="os") as log:
        stream, handle = log.create("s"), log._handle
        with handle.sealer.paused:
            stream.append(b"sealed")
            handle.writer.rotate()
            stream.append(b"in the next file")
            reader = transit.open(tmp_path / "a", mode="read", remote=tmp_path / "remote")
            reader.refresh()
        handle.sealer.seal_ended()
        handle.tiering.publisher.publish()
        with reader:
            assert reader.refresh() == 0
            assert [r.payload for r in reader.stream("s").read()] == [
                b"sealed",
                b"in the next file",
            ]
