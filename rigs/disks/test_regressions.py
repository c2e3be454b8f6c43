"""Bugs that were found on real disks, each with the least that shows it.

After a failed sync, what only the page cache held was built on. On a full disk nothing could be let
go, a store could not be opened, and what was written was not synced.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit
from rigs.kills.mounts import (
    FILE_SYSTEMS,
    BreakingDisk,
    FileSystem,
    disk_of,
    disk_that_breaks,
    fill,
)
from transit.disk import File

Open = Callable[..., transit.Log]

SLOW_FLUSH = transit.Settings(flush_interval_ms=60_000)


def write_until_a_sync_fails(store: Path) -> int:
    """Append until a sync fails, with several blocks in doubt; how many records were durable."""
    log = transit.open(store, settings=SLOW_FLUSH)
    stream = log.stream("s")
    durable = 0
    try:
        while True:
            for _ in range(10):
                stream.append(os.urandom(4000), durability="os")
            durable = stream.append(b"local", durability="local").offset + 1
    except transit.OutcomeUnknownError:
        pass
    close_whatever_failed(log)
    return durable


def append_after(store: Path) -> list[bytes]:
    """Open the store and append one record; all that was there then, this one too."""
    with transit.open(store, settings=SLOW_FLUSH) as log:
        stream = log.stream("s")
        found = [record.payload for record in stream]
        assert stream.append(b"after", durability="local").offset == len(found)
    return [*found, b"after"]


def read(store: Path) -> list[bytes]:
    """All records there are."""
    with transit.open(store, mode="read") as log:
        assert log.verify().ok
        return [record.payload for record in log.stream("s")]


@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_a_store_opened_after_a_failed_sync_does_not_build_on_what_only_the_cache_holds(
    kind: FileSystem, room: Path
) -> None:
    with disk_that_breaks(kind, room) as broken:
        store = broken.at / "store"
        with transit.open(store, settings=SLOW_FLUSH) as log:
            log.create("s")
        del log
        with broken.broken_down():
            durable = write_until_a_sync_fails(store)
        there = append_after(store)
        assert len(there) > durable
        # What the kernel remembers of the disk is gone.
        broken.disk.remount()
        assert read(store) == there


@pytest.mark.parametrize("kind", FILE_SYSTEMS)
def test_a_process_does_not_build_on_what_a_sync_of_another_process_failed_to_keep(
    kind: FileSystem, room: Path
) -> None:
    with disk_that_breaks(kind, room) as broken:
        store = broken.at / "store"
        there = share_until_a_sync_fails(store, broken)
        broken.disk.remount()
        assert read(store) == there


def share_until_a_sync_fails(store: Path, broken: BreakingDisk) -> list[bytes]:
    """One of two writers fails on a WAL file that the other did not open yet; all that is there."""
    with contextlib.ExitStack() as stack:
        opened = [transit.open(store, mode="shared", settings=SLOW_FLUSH) for _ in range(2)]
        for log in opened:
            stack.callback(close_whatever_failed, log)
        first, second = opened
        second.create("s")
        first.stream("s").append(b"first")
        first.seal()
        with broken.broken_down(), pytest.raises(transit.OutcomeUnknownError):
            append_much(first.stream("s"))
        second.stream("s").append(b"after", durability="local")
        return [record.payload for record in second.stream("s")]


def append_much(stream: transit.Stream) -> None:
    """More than there is room for in what was allocated ahead of the file."""
    for _ in range(30):
        stream.append_many([os.urandom(4000) for _ in range(500)])


def close_whatever_failed(log: transit.Log) -> None:
    with contextlib.suppress(transit.PoisonedError):
        log.close()


# Full disks


@pytest.fixture
def disk(room: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    with disk_of("tmpfs", room) as at:
        yield at


@pytest.fixture
def reopen(disk: Path, room: Path) -> Open:
    """A function that opens the store on that disk, with a remote on another."""

    def opened(mode: str = "exclusive") -> transit.Log:
        return transit.open(
            disk / "store",
            mode=mode,
            remote=str(room / "remote"),
            settings=SLOW_FLUSH,
            durability="os",
        )

    return opened


def begin(log: transit.Log) -> transit.Stream:
    """A published segment, and a WAL file that has no space reserved and some in its last page."""
    stream = log.create("s")
    stream.append(os.urandom(100_000))
    log.publish()
    stream.append(b"second")
    while log.status().wal_bytes % 4096 > 2000:
        stream.append(bytes(100))
    return stream


def test_evicting_needs_no_room_for_what_it_notes(disk: Path, reopen: Open) -> None:
    with reopen() as log:
        stream = begin(log)
        fill(disk)
        assert log.evict(bytes_max=0).segments == 1
        assert (disk / "store" / "REMOTE").exists()
        assert len(stream[0].payload) == 100_000


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
def test_a_store_whose_last_wal_has_ended_opens_on_a_full_disk_and_can_evict(
    mode: str, disk: Path, reopen: Open
) -> None:
    with reopen() as log:
        there = [record.payload for record in begin(log)]
        fill(disk)
        with pytest.raises(transit.StorageFullError):
            log.seal()
    fill(disk)
    with reopen(mode) as log:
        stream = log.stream("s")
        assert [record.payload for record in stream] == there
        with pytest.raises(transit.StorageFullError):
            stream.append(bytes(100_000))
        assert log.evict(bytes_max=0).segments == 1
        assert stream.append(b"after").offset == len(there)
        assert [record.payload for record in stream] == [*there, b"after"]


def test_records_in_memory_that_find_no_room_do_not_keep_others_from_being_synced(
    disk: Path, reopen: Open
) -> None:
    with reopen() as log:
        stream = begin(log)
        fill(disk)
        stream.append(b"written")
        stream.append(bytes(100_000), durability="memory")
        with pytest.raises(transit.StorageFullError):
            log.sync()
        (disk / "ballast").unlink()
        assert 100_000 < log.status().unsynced_bytes < 100_200


# Syncs of one file at once


def test_no_two_threads_sync_the_same_file_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells only one of two that ask at once that a write failed."""
    under_way: list[str] = []
    overlaps: list[str] = []
    sync = File.sync_data

    def watched(file: File) -> None:
        overlaps.extend(path for path in under_way if path == file.path)
        under_way.append(file.path)
        time.sleep(0.001)
        sync(file)
        under_way.remove(file.path)

    monkeypatch.setattr(File, "sync_data", watched)
    settings = transit.Settings(seal_bytes=4096, flush_interval_ms=1)
    with transit.open(tmp_path / "store", settings=settings) as log:
        stream = log.create("s")

        def write(durability: str) -> None:
            for _ in range(100):
                stream.append(bytes(500), durability=durability)

        threads = [threading.Thread(target=write, args=(each,)) for each in ("os", "local", "os")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert overlaps == []


def second_sync_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> list[str]:
    """From here on, the names of the files that are synced, in order; the second is not."""
    synced: list[str] = []
    sync = File.sync_data

    def watched(file: File) -> None:
        synced.append(Path(file.path).name)
        if len(synced) == 2:
            raise error
        sync(file)

    monkeypatch.setattr(File, "sync_data", watched)
    return synced


def test_an_end_frame_that_another_process_failed_to_sync_is_synced_before_the_next_file_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    with transit.open(store, mode="shared", settings=SLOW_FLUSH) as second:
        second.create("s")
        with contextlib.ExitStack() as stack:
            first = transit.open(store, mode="shared", settings=SLOW_FLUSH)
            stack.callback(close_whatever_failed, first)
            first.stream("s").append(b"first", durability="os")
            synced = second_sync_raises(monkeypatch, transit.SyncFailedError("the end frame"))
            with pytest.raises(transit.OutcomeUnknownError):
                first.seal()
        second.stream("s").append(b"after")
        assert second.verify().ok
    assert synced[1] == synced[2] == synced[3] < synced[4]


def test_an_end_frame_whose_writer_was_interrupted_is_synced_before_the_next_file_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    with transit.open(store, mode="shared", settings=SLOW_FLUSH) as log:
        log.create("s").append(b"first", durability="os")
        synced = second_sync_raises(monkeypatch, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            log.seal()
        log.stream("s").append(b"after")
        assert log.verify().ok
    ended, following = synced[1], synced[-1]
    assert ended < following
    assert ended in synced[2 : synced.index(following)]
