"""A full disk, a child made by fork(2), and how much memory a view takes."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from rigs.kills.mounts import fill, memory_disk, why_unavailable
from rigs.views.programs import event, everything, folded, rows_of
from transit import views

pytestmark = pytest.mark.slow

# What a process takes that folds 200,000 records of as many keys, above what it takes that only
# reads them; the rows are 60 MB as Python objects.
MEMORY_BYTES_MAX = 300 << 20
RECORDS = 200_000


def fill_up(disk: Path, log: transit.Log) -> None:
    """Leave no room, neither on the disk nor in the file that is written to."""
    (disk / "ballast").touch()
    fill(disk)
    other = log.create("other") if "other" not in log else log.stream("other")
    for size in (4096, 512, 64, 1):
        for _ in range(5_000):
            try:
                other.append(os.urandom(size))
            except transit.StorageFullError:
                break
        else:
            raise AssertionError("the disk is not full")


def test_a_disk_that_is_full_keeps_no_savepoint_and_the_states_are_right(tmp_path: Path) -> None:
    if reason := why_unavailable():
        pytest.skip(reason)
    chance = random.Random(1)
    # Nothing is sealed meanwhile, which would make room.
    settings = transit.Settings(seal_bytes=64 << 20, seal_interval_s=None)
    with (
        memory_disk(tmp_path, 4 << 20) as disk,
        transit.open(disk / "store", settings=settings) as log,
    ):
        stream = log.create("s")
        stream.append_many([event(chance) for _ in range(100)])
        view = views.open(log, everything, savepoint_records=20)
        view.of(stream, 40)
        assert view.savepoints(stream) == (20, 40)
        fill_up(disk, log)
        for at in (100, 57, 0, 99):
            assert rows_of(view.of(stream, at)) == folded(stream, at).rows()
        assert isinstance(view.unsaved, transit.StorageFullError)
        with pytest.raises(transit.StorageFullError):
            view.save(stream)
        # So little may still find room: where a file was cut, or sealed and dropped.
        with contextlib.suppress(transit.StorageFullError):
            next(view.changes(stream, "sub")).done()
        (disk / "ballast").unlink()
        for _ in range(3):
            try:
                view.save(stream)
                break
            except transit.OutcomeUnknownError:
                # What was on its way when there was no room is named once.
                continue
        assert view.unsaved is None
        assert view.savepoints(stream)[-1] == 100
        cold = views.open(log, everything)
        assert rows_of(cold.of(stream)) == folded(stream).rows()
        assert cold.verify(stream).ok


def in_child(work: Callable[[], object]) -> None:
    """Run `work` in a child made by fork()."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_child_made_by_fork_is_told_and_may_open_the_store_again(tmp_path: Path) -> None:
    chance = random.Random(2)
    path = tmp_path / "store"
    with transit.open(path, mode="shared") as log:
        stream = log.create("s")
        stream.append_many([event(chance) for _ in range(60)])
        view = views.open(log, everything, savepoint_records=20)
        state, expected = view.of(stream), folded(stream).rows()
        stop = threading.Event()

        def busy() -> None:
            while not stop.is_set():
                view.of(stream, 31)
                view.of(stream, 59)

        def child() -> None:
            assert rows_of(state) == expected
            with pytest.raises(transit.ForkedError):
                view.of(stream)
            with pytest.raises(transit.ForkedError):
                view.save("s")
            with transit.open(path, mode="shared") as again:
                own = views.open(again, everything, savepoint_records=20)
                assert rows_of(own.of("s")) == folded(again.stream("s")).rows()
                again.stream("s").append(event(chance))
                own.save("s")

        thread = threading.Thread(target=busy)
        thread.start()
        try:
            for _ in range(10):
                in_child(child)
        finally:
            stop.set()
            thread.join()
        assert rows_of(view.of(stream)) == folded(stream).rows()
        assert len(stream) == 70
        assert view.verify(stream).ok


def test_threads_share_a_view(tmp_path: Path) -> None:
    chance = random.Random(3)
    with transit.open(tmp_path / "store", durability="memory") as log:
        stream = log.create("s")
        stream.append_many([event(chance) for _ in range(150)])
        branch = stream.branch("b", at=99)
        branch.append_many([event(chance) for _ in range(50)])
        places: list[tuple[transit.Stream, int]] = [
            (each, at) for each in (stream, branch) for at in range(0, len(each) + 1, 10)
        ]
        expected = [folded(each, at).rows() for each, at in places]
        view = views.open(log, everything, savepoint_records=15)
        problems: list[object] = []

        def look(seed: int) -> None:
            order = list(range(len(places)))
            random.Random(seed).shuffle(order)
            try:
                problems.extend(
                    places[number] for number in order
                    if rows_of(view.of(*places[number])) != expected[number]
                )  # fmt: skip
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=look, args=(seed,)) for seed in range(6)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert problems == []


class Row(msgspec.Struct, frozen=True):
    """One of many."""

    key: str
    text: str


many = views.table("many", Row, key="key")


@views.reducer(many, reads=Row)
def each_its_own(many: Any, event: Row, at: views.At) -> None:
    """Each record is a row."""
    many.put(event)


def taken(path: str, is_folded: bool) -> int:
    """The most memory a process takes, in bytes."""
    code = f"from rigs.views.test_limits import main; main({path!r}, {is_folded})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=True, timeout=900,
    )  # fmt: skip
    return int(done.stdout)


def main(path: str, is_folded: bool) -> None:
    """Say how much memory it took to read, or fold, a stream."""
    with transit.open(path) as log:
        stream = log.stream("s")
        if is_folded:
            assert len(views.open(log, each_its_own).of(stream).many) == RECORDS
        else:
            assert sum(len(batch) for batch in stream.batches(0, len(stream))) == RECORDS
    sys.stdout.write(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


def test_a_view_of_many_keys_takes_a_bounded_amount_of_memory(tmp_path: Path) -> None:
    path = str(tmp_path / "store")
    with transit.open(path, durability="memory") as log:
        stream = log.create("s")
        for start in range(0, RECORDS, 10_000):
            numbers = range(start, start + 10_000)
            stream.append_many(
                [msgspec.json.encode(Row(f"key-{n * 7919 % RECORDS}", "x" * 100)) for n in numbers]
            )
    above = taken(path, True) - taken(path, False)
    print(f"{above / 2**20:.0f} MB above reading")
    assert above <= MEMORY_BYTES_MAX
    # Once it is kept, a state takes next to nothing until its rows are read.
    again = taken(path, True) - taken(path, False)
    assert again <= MEMORY_BYTES_MAX / 4
