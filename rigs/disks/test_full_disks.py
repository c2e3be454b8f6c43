"""Disks that are full, for real: nothing acknowledged is lost, and there is a way on."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit
from rigs.kills.mounts import disk_of, fill, space

KINDS = ("tmpfs", "ext4", "xfs")
SMALL = transit.Settings(seal_bytes=64 * 1024, block_bytes=4096)
# Of the disk, when it begins to be filled by appends.
LEFT_BYTES = 400_000
RECORD_BYTES = 2000
# Enough that what they take is more than XFS keeps back for itself.
PUBLISHED = 500


class Store:
    """A store on a small disk, its remote on another, and what it holds."""

    def __init__(self, at: Path, remote: Path) -> None:
        self.path, self.remote, self.at = at / "store", remote, at
        self.log = self.open()
        self.acknowledged: list[bytes] = []
        self.refused: list[bytes] = []

    def open(self, mode: str = "exclusive") -> transit.Log:
        return transit.open(
            self.path, mode=mode, remote=str(self.remote), settings=SMALL, durability="os"
        )

    def reopen(self) -> None:
        with contextlib.suppress(transit.StorageFullError):
            self.log.close()
        self.log = self.open()

    @property
    def stream(self) -> transit.Stream:
        return self.log.stream("s")

    def append(self, kind: str) -> bool:
        """One append; whether it was acknowledged. Any error but that of a full disk goes on up."""
        body = os.urandom(RECORD_BYTES)
        try:
            APPENDS[kind](self, body)
        except transit.StorageFullError:
            self.refused.append(body)
            return False
        self.acknowledged.append(body)
        return True

    def publish(self, count: int) -> None:
        """Append so many records and publish them."""
        for _ in range(count):
            assert self.append("os")
        self.log.publish()

    def fill(self, kind: str) -> None:
        """Append until the disk is full, and a few times more; then take what is left of it."""
        (self.at / "ballast").touch()
        with (self.at / "first").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(space(self.at) - LEFT_BYTES, 1))
        for _ in range(1000):
            if not self.append(kind):
                break
        else:
            raise AssertionError("the disk is not full")
        fill(self.at)
        for _ in range(3):
            self.append(kind)

    def make_room(self) -> None:
        for name in ("first", "ballast"):
            (self.at / name).unlink()

    def read(self, log: transit.Log) -> list[bytes]:
        return [record.payload for record in log.stream("s").read()]


def batch(store: Store, body: bytes) -> None:
    with store.log.batch(durability="local") as staged:
        staged.append(store.stream, body)


APPENDS: dict[str, Callable[[Store, bytes], object]] = {
    "memory": lambda store, body: store.stream.append(body, durability="memory"),
    "os": lambda store, body: store.stream.append(body, durability="os"),
    "local": lambda store, body: store.stream.append(body, durability="local"),
    "many": lambda store, body: store.stream.append_many([body], durability="local"),
    "submit": lambda store, body: store.stream.submit(body, durability="local").result(60),
    "batch": batch,
    "tiered": lambda store, body: store.stream.append(body, durability="tiered"),
}


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, room: Path) -> Iterator[Store]:
    """A store whose disk has room for little; its first records are published."""
    with disk_of(request.param, room) as at:
        made = Store(at, room / "remote")
        made.log.create("s")
        for _ in range(5):
            # Not all at once: sealing may come late, and has the same disk to write to.
            made.publish(PUBLISHED // 5)
        yield made
        with contextlib.suppress(transit.TransitError):
            made.log.close()
        made.log = None  # type: ignore[assignment]
        shutil.rmtree(room / "remote")


@pytest.mark.parametrize("kind", [kind for kind in APPENDS if kind != "tiered"])
def test_a_full_disk_refuses_appends_and_loses_none(store: Store, kind: str) -> None:
    store.fill(kind)
    assert store.refused
    if kind != "memory":
        assert store.read(store.log) == store.acknowledged
    store.make_room()
    assert store.append(kind)
    assert store.read(store.log) == store.acknowledged
    store.publish(5)
    store.reopen()
    assert store.read(store.log) == store.acknowledged
    assert store.log.verify().ok
    assert transit.audit(str(store.remote), settings=SMALL).ok


def test_a_tiered_append_on_a_full_disk_may_be_in_the_local_log_and_is_there_once(
    store: Store,
) -> None:
    store.fill("tiered")
    store.make_room()
    store.publish(1)
    found = store.read(store.log)
    assert [body for body in found if body not in store.refused] == store.acknowledged
    assert len(set(found)) == len(found)


def test_reading_verifying_and_auditing_work_while_the_disk_is_full(store: Store) -> None:
    store.fill("os")
    assert store.read(store.log) == store.acknowledged
    assert store.log.verify().ok
    assert transit.audit(str(store.remote), settings=SMALL).ok
    with store.open("read") as reader:
        assert store.read(reader) == store.acknowledged
    with transit.open(str(store.remote), mode="read", settings=SMALL) as reader:
        assert store.read(reader) == store.acknowledged[: len(reader.stream("s"))]


def test_evicting_makes_room_on_a_full_disk_and_appends_go_on(store: Store) -> None:
    store.fill("os")
    evicted = store.log.evict(bytes_max=0)
    assert evicted.segments > 0
    assert not {path.name for path in (store.path / "segments").iterdir()} & published(store)
    assert store.append("local")
    assert store.read(store.log) == store.acknowledged
    store.log.close()
    # It was noted where they are, on a disk that had no room for a note.
    with pytest.raises(transit.RetentionGapError, match=str(store.remote)):
        transit.open(store.path, mode="read", settings=SMALL).stream("s")
    store.log = store.open()
    assert store.read(store.log) == store.acknowledged
    assert store.log.verify().ok


def published(store: Store) -> set[str]:
    return {path.name for path in (store.remote / "segments").iterdir()}


@pytest.mark.parametrize("kind", ["os", "local", "many"])
def test_a_store_on_a_full_disk_opens_for_writing_so_that_it_can_evict(
    store: Store, kind: str
) -> None:
    store.fill(kind)
    store.reopen()
    fill(store.at)
    assert store.read(store.log) == store.acknowledged
    store.append(kind)
    assert store.log.evict(bytes_max=0).segments > 0
    assert store.append("local")
    store.make_room()
    store.publish(3)
    assert store.read(store.log) == store.acknowledged
    assert store.log.verify().ok
