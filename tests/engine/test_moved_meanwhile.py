"""A folder that is moved in the middle of a call, before one of its system calls.

Each call runs again and again, and each time the folder goes a few system calls later. The call
must succeed, or say that the folder moved: a file that is missed by its path is no damage. What was
there is in the moved folder, and nothing is where it was.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import transit
from transit import disk
from transit.disk import NewFile
from transit.log import seal
from transit.tier import publish

SETTINGS = transit.Settings(
    seal_bytes=4096, flush_interval_ms=60_000, lock_timeout_s=5, disk_cache_bytes_max=0
)
pytestmark = pytest.mark.slow


_SYSTEM_CALLS = (
    "open", "link", "unlink", "replace", "rename", "listdir", "stat", "fstat", "fsync", "fdatasync",
    "pread", "pwrite", "mkdir", "scandir",
)  # fmt: skip

# How many system calls later the folder goes each time.
_STEP = 3


class Mover:
    """Stands for `os` in `transit.disk`, and moves the folder before system call number `at`."""

    def __init__(self, folder: Path, to: Path, at: int) -> None:
        self._folder, self._to, self._at = folder, to, at
        # Threads in the background make calls too, and one of all moves the folder.
        self._numbers = count()
        self.moved = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(os, name)
        if name not in _SYSTEM_CALLS:
            return found

        def call(*given: Any, **options: Any) -> Any:
            if next(self._numbers) == self._at:
                self._folder.rename(self._to)
                self.moved = True
            return found(*given, **options)

        return call


def _append(log: transit.Log) -> None:
    for _ in range(3):
        log.stream("s").append(bytes(3000), durability="os")


def _append_local(log: transit.Log) -> None:
    log.stream("s").append(b"x", durability="local")


def _read(log: transit.Log) -> None:
    assert len(list(log.stream("s"))) == len(log.stream("s"))


def _why(log: transit.Log) -> None:
    log.lineage.why(transit.Position("s", 0))


def _evict(log: transit.Log) -> None:
    log.evict(bytes_max=0)


CALLS: list[Callable[[transit.Log], object]] = [
    _append, _append_local, _read, _why, _evict, transit.Log.seal, transit.Log.publish,
    transit.Log.verify,
]  # fmt: skip


def _filled(top: Path) -> None:
    """A store with segments in the bucket alone, segments here alone, and records in no segment."""
    with transit.open(top / "store", remote=top / "remote", settings=SETTINGS) as log:
        stream = log.create("s")
        stream.append(b"0")
        log.publish()
        log.evict(bytes_max=0)
        for _ in range(2):
            stream.append(b"1")
            log.seal()
        stream.append(bytes(3000))


def problems(top: Path, call: Callable[[transit.Log], object], mode: str, at: int) -> str | None:
    """What is wrong when the folder goes before system call `at`; None when there are fewer."""
    source, place = top / "filled", top / f"{at}"
    shutil.copytree(source, place)
    store, moved = place / "store", place / "moved"
    mover = Mover(store, moved, at)
    wrong = []
    with pytest.MonkeyPatch.context() as patch:
        log = transit.open(store, remote=place / "remote", mode=mode, settings=SETTINGS)
        kept = [] if mode == "read" else [record.payload for record in log.stream("s")]
        patch.setattr(disk, "os", mover)
        for step in (call, transit.Log.close):
            try:
                step(log)
            except transit.StoreMovedError:
                pass
            except transit.TransitError as error:
                wrong.append(f"{getattr(step, '__name__', step)}: {error!r}")
    if store.exists() == mover.moved:
        wrong.append(f"{store} is there: {store.exists()}")
    with transit.open(moved if mover.moved else store, remote=place / "remote") as log:
        found = [record.payload for record in log.stream("s")]
        if found[: len(kept)] != kept:
            wrong.append(f"{len(found)} records, and not the {len(kept)} there were")
        wrong += [str(finding) for finding in log.verify().findings]
    shutil.rmtree(place)
    return "; ".join(wrong) if mover.moved else None


def all_problems(top: Path, call: Callable[[transit.Log], object], mode: str) -> list[str]:
    """What is wrong at each place, until the call and closing are over before the folder goes."""
    _filled(top / "filled")
    found: list[str] = []
    for at in count(0, _STEP):
        wrong = problems(top, call, mode, at)
        if wrong is None:
            # A call that asks nothing of the folder proves nothing.
            assert at >= _STEP
            return found
        if wrong:
            found.append(f"before system call {at}: {wrong}")
    raise AssertionError


@pytest.mark.parametrize("mode", ["exclusive", "shared", "read"])
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__.strip("_"))
def test_a_folder_that_goes_in_the_middle_of_a_call_is_told_and_nothing_is_lost(
    tmp_path: Path, call: Callable[[transit.Log], object], mode: str
) -> None:
    if mode == "read" and call not in (_read, _why, transit.Log.verify):
        pytest.skip("writes")
    assert all_problems(tmp_path, call, mode) == []


@pytest.mark.parametrize(
    ("room", "call"), [(publish, transit.Log.publish), (seal, transit.Log.seal)]
)
def test_a_planted_call_that_takes_a_missed_file_for_damage_is_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    room: ModuleType,
    call: Callable[[transit.Log], object],
) -> None:
    monkeypatch.setattr(room, "in_place", lambda check_place, step: step())
    assert all_problems(tmp_path, call, "exclusive")


def test_a_planted_segment_that_gets_its_name_without_a_look_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another store comes to the place while a segment is written."""
    store, moved = tmp_path / "store", tmp_path / "moved"
    publish_it = NewFile.publish

    def late(file: NewFile, name: str) -> bool:
        store.rename(moved)
        shutil.copytree(moved, store)
        return publish_it(file, name)

    made = NewFile.__init__

    def without_a_look(file: NewFile, folder: str, check_place: object) -> None:
        made(file, folder)

    for planted in (False, True):
        with transit.open(store, settings=SETTINGS) as log:
            log.create("s").append(bytes(3000), durability="local")
            monkeypatch.setattr(NewFile, "publish", late)
            if planted:
                monkeypatch.setattr(NewFile, "__init__", without_a_look)
            with pytest.raises(transit.StoreMovedError):
                log.seal()
            monkeypatch.undo()
            with suppress(transit.StoreMovedError):
                log.close()
        there = [path for path in (store / "segments").iterdir() if path.suffix == ".seg"]
        assert bool(there) == planted
        shutil.rmtree(store)
        shutil.rmtree(moved)
