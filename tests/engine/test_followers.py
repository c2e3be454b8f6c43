"""Followers of a store's folder: many at once, and where the system gives no watch."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import itertools
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit
from transit import watches
from transit.handle.hub import Hub
from transit.handle.listeners import Listener
from transit.handle.waiting import Folder
from transit.watches import Watcher

TIMEOUT_S = 120.0


def no_instance(folder: str) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def no_room_for_a_watch(folder: str) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_such_call(folder: str) -> int:
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))


def no_such_function(folder: str) -> int:
    raise AttributeError("inotify_init1")


def no_ctypes(folder: str) -> int:
    raise ImportError("ctypes")


BLIND = [no_instance, no_room_for_a_watch, no_such_call, no_such_function, no_ctypes]


@pytest.fixture
def writer(path: Path) -> Iterator[transit.Log]:
    """A store in mode "shared" with an empty stream `s`, and its remote."""
    with transit.open(path, mode="shared", durability="os", remote=path.parent / "remote") as log:
        log.create("s")
        yield log


def tail(log: transit.Log, count: int) -> list[bytes]:
    found = itertools.islice(log.stream("s").tail(0, timeout=TIMEOUT_S), count)
    return [record.payload for record in found]


def follow(log: transit.Log, count: int) -> list[bytes]:
    async def gather() -> list[bytes]:
        found: list[bytes] = []
        async for record in log.stream("s").follow(0, timeout=TIMEOUT_S):
            found.append(record.payload)
            if len(found) == count:
                break
        return found

    return asyncio.run(gather())


def seen_while_written(
    writer: transit.Log, reader: transit.Log, way: Callable[[transit.Log, int], list[bytes]]
) -> list[bytes]:
    found: list[bytes] = []

    def see() -> None:
        # A thread that a planted mistake leaves waiting ends with the store.
        with contextlib.suppress(transit.ClosedError):
            found.extend(way(reader, 5))

    thread = threading.Thread(target=see, daemon=True)
    thread.start()
    for number in range(5):
        writer.stream("s").append(b"%d" % number)
        time.sleep(0.03)
    thread.join(TIMEOUT_S)
    assert not thread.is_alive()
    return found


@pytest.mark.parametrize("reason", BLIND, ids=lambda reason: reason.__name__)
@pytest.mark.parametrize("way", [tail, follow], ids=lambda way: way.__name__)
@pytest.mark.parametrize("mode", ["read", "shared", "read with a remote"])
def test_followers_see_all_where_the_system_gives_no_watch(
    writer: transit.Log,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    way: Callable[[transit.Log, int], list[bytes]],
    reason: Callable[[str], int],
) -> None:
    monkeypatch.setattr(watches, "_inotify", reason)
    path = Path(writer.path)
    remote = path.parent / "remote" if "remote" in mode else None
    with transit.open(path, mode=mode.split(maxsplit=1)[0], remote=remote) as reader:
        assert seen_while_written(writer, reader, way) == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "inotify_init1"), reason="not Linux")
def test_a_follower_beyond_the_limit_of_a_user_follows(writer: transit.Log) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    taken = []
    try:
        while len(taken) < 1024 and (number := libc.inotify_init1(os.O_CLOEXEC)) >= 0:
            taken.append(number)
        with transit.open(writer.path, mode="read") as reader:
            assert seen_while_written(writer, reader, tail)[-1] == b"4"
    finally:
        for number in taken:
            os.close(number)


def watches_open() -> int:
    names = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return sum(os.path.exists(name) and "inotify" in os.readlink(name) for name in names)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="not Linux")
def test_many_followers_of_one_store_share_one_watch_and_miss_nothing(
    writer: transit.Log,
) -> None:
    before = watches_open()
    with transit.open(writer.path, mode="read") as reader:
        found: list[list[bytes]] = []

        def collect() -> None:
            # Threads that a planted mistake leaves waiting end with the store.
            with contextlib.suppress(transit.ClosedError):
                found.append(tail(reader, 30))

        threads = [threading.Thread(target=collect, daemon=True) for _ in range(20)]
        for thread in threads:
            thread.start()
        most = 0
        for number in range(30):
            writer.stream("s").append(b"%d" % number)
            time.sleep(0.002)
            most = max(most, watches_open() - before)
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert found == [[b"%d" % number for number in range(30)]] * 20
        # For a moment the first of them has one too, from when it was the only one.
        assert most <= 2
    assert watches_open() == before


def test_a_store_that_closes_lets_its_followers_go_and_its_watch(writer: transit.Log) -> None:
    before = watches_open()
    reader = transit.open(writer.path, mode="read")
    ended: list[object] = []

    def wait() -> None:
        try:
            tail(reader, 1)
        except transit.ClosedError as error:
            ended.append(error)

    threads = [threading.Thread(target=wait, daemon=True) for _ in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    reader.close()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert len(ended) == 5
    assert watches_open() == before


@pytest.mark.parametrize("way", ["moved", "removed"])
def test_a_follower_of_a_folder_that_went_is_told(
    path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transit.open(path) as log:
        log.create("s").append(b"0")
    with transit.open(path, mode="read") as reader:
        records = reader.stream("s").tail(0, timeout=TIMEOUT_S)
        assert next(records).payload == b"0"
        path.rename(path.with_name("moved")) if way == "moved" else shutil.rmtree(path)
        with pytest.raises(transit.StoreMovedError):
            next(records)


def the_hub_tells_no_waiter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub sees what is written, and wakes no tail."""
    monkeypatch.setattr(Hub, "_note", lambda hub, state: None)
    monkeypatch.setattr(Listener, "wait", lambda listener, timeout_s: listener._quiet.acquire())


def blind_sleeps_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a watch no thread looks."""
    monkeypatch.setattr(Watcher, "wait", lambda watcher, timeout_s: watcher._latch.wait(90))
    monkeypatch.setattr(Listener, "wait", lambda listener, timeout_s: listener._quiet.acquire())


def watch_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wait has a watch of its own, and none is let go."""
    kept: list[Folder] = []
    right = Folder.wait

    def wait(folder: Folder, timeout_s: float = Watcher.POLL_S) -> None:
        kept.append(Folder(os.path.dirname(folder._watcher._folder), folder._check_place))
        right(folder, timeout_s)

    monkeypatch.setattr(Folder, "wait", wait)


@pytest.mark.slow
@pytest.mark.parametrize(
    "plant", [the_hub_tells_no_waiter, watch_again_and_again], ids=lambda plant: plant.__name__
)
def test_a_planted_mistake_about_the_shared_watch_is_found(
    writer: transit.Log,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
) -> None:
    monkeypatch.setitem(globals(), "TIMEOUT_S", 0.2)
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        test_many_followers_of_one_store_share_one_watch_and_miss_nothing(writer)


@pytest.mark.slow
def test_a_planted_follower_that_sleeps_without_a_watch_is_found(
    writer: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "TIMEOUT_S", 2.0)
    blind_sleeps_on(monkeypatch)
    with pytest.raises(AssertionError):
        test_followers_see_all_where_the_system_gives_no_watch(
            writer, monkeypatch, "read", tail, no_instance
        )
