"""`Log.metrics`: what a store did, exact whatever way records went, and there when things fail."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import transit
from transit import Log, Settings
from transit.disk import File, NewFile
from transit.log.framing import Framing
from transit.log.rotation import Rotation
from transit.log.timings import BOUNDS_S, Timings
from transit.testing.doors import FaultDoor

from .test_interrupted_writes import after, before, stopped, within

QUIET = Settings(flush_interval_ms=60_000)
Count = tuple[int, int]


def counted(log: Log) -> Count:
    """Records and frames that were written."""
    found = log.metrics()
    return found.records, found.appends


def grown(log: Log, work: Callable[[], object]) -> Count:
    """Records and frames that `work` writes."""
    before, appends = counted(log)
    work()
    after, more = counted(log)
    return after - before, more - appends


@pytest.fixture(params=["exclusive", "shared"])
def store(path: Path, request: pytest.FixtureRequest) -> Iterator[Log]:
    log = transit.open(path, mode=request.param, durability="os", settings=QUIET)
    log.create("s")
    yield log
    log.close()


def _batch(log: Log) -> None:
    with log.batch() as batch:
        made = batch.create("made")
        batch.append(made, b"1")
        batch.append(log.stream("s"), b"2")


def _refused(log: Log) -> None:
    with pytest.raises(transit.ConflictError):
        log.stream("s").append(b"x", expect=99)


WAYS: dict[str, tuple[Callable[[Log], object], Count]] = {
    "append": (lambda log: log.stream("s").append(b"1"), (1, 1)),
    "append_many": (lambda log: log.stream("s").append_many([b"1"] * 7), (7, 1)),
    "local": (lambda log: log.stream("s").append(b"1", durability="local"), (1, 1)),
    "submit": (lambda log: log.stream("s").submit(b"1"), (1, 1)),
    # A lineage record, and two of data.
    "batch": (_batch, (3, 1)),
    "create": (lambda log: log.create("t"), (1, 1)),
    "cursor": (lambda log: log.stream("s").cursor("c").advance(1), (2, 1)),
    "branch": (lambda log: log.stream("s").branch("b"), (1, 1)),
    "refused": (_refused, (0, 0)),
    "seal": (Log.seal, (0, 0)),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_write_counts_its_records_and_frames(store: Log, way: str) -> None:
    store.stream("s").append(b"0")
    work, expected = WAYS[way]
    assert grown(store, lambda: work(store)) == expected


def test_records_accepted_as_memory_count_when_they_are_framed(path: Path) -> None:
    with transit.open(path, durability="memory", settings=QUIET) as log:
        s = log.create("s")

        def work() -> None:
            for _ in range(50):
                s.append(b"x")
            # Takes them up.
            assert len(s) == 50

        assert grown(log, work) == (50, 1)


def test_counts_and_bytes_go_on_over_files_of_the_log(store: Log) -> None:
    s = store.stream("s")

    def work() -> None:
        for _ in range(5):
            s.append(b"x" * 1000)
            s.append_many([b"x" * 1000] * 3)
            store.seal()

    began = store.metrics().bytes
    assert grown(store, work) == (20, 10)
    found = store.metrics()
    assert 20_000 < found.bytes - began < 24_000
    assert (found.seals.count, found.segments, found.commits) == (5, 5, 5)
    assert found.syncs.count >= 5


def test_what_another_process_wrote_is_not_counted_here(path: Path) -> None:
    with (
        transit.open(path, mode="shared", durability="os") as one,
        transit.open(path, mode="shared", durability="os") as other,
    ):
        s = one.create("s")
        t = other.stream("s")
        for _ in range(10):
            s.append(b"x" * 500)
            t.append_many([b"y" * 500] * 4)
        ours, theirs = one.metrics(), other.metrics()
        # The lineage stream's first record and the stream's are the first one's.
        assert (ours.records, ours.appends) == (12, 12)
        assert (theirs.records, theirs.appends) == (40, 10)
        assert 5000 < ours.bytes < 7500
        assert 20_000 < theirs.bytes < 23_000


def test_what_was_there_before_is_not_counted(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        log.create("s").append_many([b"x"] * 100)
    with transit.open(path, durability="os") as log:
        assert counted(log) == (0, 0)
        assert log.metrics().bytes == 0
        log.stream("s").append(b"x")
        assert counted(log) == (1, 1)


def _frame(log: Log) -> None:
    log.stream("s").append_many([b"x"] * 9)


def _one(log: Log) -> None:
    log.stream("s").append(b"x")


@pytest.mark.parametrize("work", [_one, _frame], ids=["one", "many"])
@pytest.mark.parametrize("how", [before, within, after])
def test_an_interrupted_write_counts_once_if_it_is_there(
    path: Path, how: Callable[..., None], work: Callable[[Log], None]
) -> None:
    with transit.open(path, durability="os", settings=QUIET) as log:
        log.create("s")
        began = counted(log)
        with stopped(how):
            work(log)
        work(log)
        whole = 9 if work is _frame else 1
        there = 2 if how is after else 1
        found = counted(log)
        assert len(log.stream("s")) == there * whole
        assert (found[0] - began[0], found[1] - began[1]) == (there * whole, there)


def _is_exact_beside_threads(path: Path) -> bool:
    """Whether counts never go back, and are right in the end, while threads write."""
    with transit.open(path, durability="os", settings=QUIET) as log:
        streams = [log.create(f"s{number}") for number in range(3)]
        began = counted(log)
        ended = threading.Event()

        def write(stream: transit.Stream) -> None:
            for number in range(300):
                stream.append(b"x")
                stream.append_many([b"x"] * 20)
                if number % 100 == 99:
                    log.seal()

        threads = [threading.Thread(target=write, args=(each,)) for each in streams]
        seen: list[tuple[int, int, int]] = []

        def watch() -> None:
            while not ended.is_set():
                found = log.metrics()
                seen.append((found.records, found.appends, found.bytes))

        watcher = threading.Thread(target=watch)
        for thread in (*threads, watcher):
            thread.start()
        for thread in threads:
            thread.join()
        ended.set()
        watcher.join()
        found = counted(log)
        is_growing = all(
            one[place] <= other[place] for one, other in pairwise(seen) for place in range(3)
        )
        return is_growing and (found[0] - began[0], found[1] - began[1]) == (3 * 300 * 21, 3 * 600)


def test_counts_never_go_back_while_threads_write(path: Path) -> None:
    assert _is_exact_beside_threads(path)


def test_a_planted_count_that_forgets_frames_is_found(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Framing.counted.fget
    assert counted is not None

    def wrong(writer: Framing) -> object:
        found = counted(writer)
        return found._replace(appends=found.records)

    monkeypatch.setattr(Framing, "counted", property(wrong))
    assert not _is_exact_beside_threads(path)


def test_a_planted_count_that_begins_anew_with_each_file_is_found(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(rotation: Rotation, wal: object) -> None:
        rotation.grown = (0, rotation.wal.tail if hasattr(rotation, "wal") else 0, wal)  # type: ignore[assignment]

    monkeypatch.setattr(Rotation, "_note_growth", wrong)
    assert not _is_exact_beside_threads(path)


def test_waits_are_counted_by_durability(path: Path, tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    with transit.open(path, remote=remote, durability="os", settings=QUIET) as log:
        s = log.create("s")
        s.append(b"x")
        s.append(b"x", durability="local")
        s.append(b"x", durability="local")
        s.append(b"x", durability="tiered")
        found = log.metrics()
        waits = {key: each.count for key, each in found.waits.items()}
        assert waits == {"local": 2, "tiered": 1, "replicated": 0}
        assert found.publishes.count == 1
        assert found.remote is not None
        assert found.remote.requests["create"] > 0
        assert found.remote.latencies["create"].count == found.remote.requests["create"]
        assert found.remote.bytes_out > 0
        assert found.publish_lag == transit.PublishLag(records=0, bytes=0, age_s=0.0)
        s.append(b"later")
        lag = log.metrics().publish_lag
        assert lag is not None
        assert lag.records == 1
        assert lag.bytes > 0
        assert lag.age_s >= 0


def test_lag_says_how_old_the_oldest_record_is_that_is_not_published(
    path: Path, tmp_path: Path
) -> None:
    with transit.open(path, remote=str(tmp_path / "r"), durability="os", settings=QUIET) as log:
        s = log.create("s")
        log.publish()
        s.append(b"oldest")
        log.seal()
        s.append(b"newer")
        first = log.metrics().publish_lag
        second = log.metrics().publish_lag
        assert first is not None
        assert second is not None
        assert first.records == second.records == 2
        ages = [first.age_s, second.age_s]
        assert ages[0] > 0
        assert sorted(ages) == ages


def test_requests_that_a_remote_does_not_answer_are_counted(path: Path, tmp_path: Path) -> None:
    door = FaultDoor(transit.open_store(str(tmp_path / "r")))
    with transit.open(path, remote=door, durability="os", settings=QUIET) as log:
        log.create("s").append(b"x")
        door.rule = lambda number, kind, key: "lost_before"
        with pytest.raises(transit.RemoteUnavailableError):
            log.publish()
        found = log.metrics()
        assert found.publish_failures == 1
        assert found.remote is not None
        assert (found.remote.failed, found.remote.unanswered) == (1, 1)
        assert found.publish_lag is not None
        assert found.publish_lag.records > 0
        door.rule = None


def test_a_store_that_refuses_writes_says_why_and_is_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(file: File) -> None:
        raise transit.SyncFailedError("planted")

    log = transit.open(path, durability="os", settings=QUIET)
    s = log.create("s")
    s.append(b"x")
    assert log.metrics().refusal == ""
    monkeypatch.setattr(File, "sync_data", fail)
    with pytest.raises(transit.OutcomeUnknownError):
        s.append(b"x", durability="local")
    monkeypatch.undo()
    found = log.metrics()
    assert "planted" in found.refusal
    assert found.records == 4
    with pytest.raises(transit.PoisonedError):
        log.close()


def test_sealing_that_fails_is_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with transit.open(path, durability="os", settings=QUIET) as log:
        log.create("s").append(b"x")
        with monkeypatch.context() as patch:

            def fail(file: NewFile, data: bytes) -> None:
                raise transit.StorageFullError("planted")

            patch.setattr(NewFile, "write", fail)
            with pytest.raises(transit.StorageFullError):
                log.seal()
        found = log.metrics()
        assert found.seal_failures >= 1
        assert found.seals.count == 0
        log.seal()
        assert log.metrics().seals.count == 1


def test_a_reader_has_the_same_numbers_with_nothing_written(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        log.create("s").append_many([b"x"] * 2)
        log.stream("s").cursor("c").advance(1)
        with transit.open(path, mode="read") as reader:
            found = reader.metrics()
            assert (found.records, found.appends, found.bytes) == (0, 0, 0)
            assert found.refusal == 'opened in mode "read"'
            assert found.cursors == transit.CursorLag(cursors=1, behind=1, records=1, records_max=1)
            assert found.wal_files == 1


def test_a_closed_store_is_refused(path: Path) -> None:
    log = transit.open(path)
    log.close()
    with pytest.raises(transit.ClosedError):
        log.metrics()


def test_cursors_are_found_once_and_their_lag_is_of_now(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        assert log.metrics().cursors == transit.CursorLag()
        a, b = log.create("a"), log.create("b")
        a.append_many([b"x"] * 10)
        b.append_many([b"x"] * 10)
        a.cursor("one").advance(4)
        b.cursor("two").advance(10)
        expected = transit.CursorLag(cursors=2, behind=1, records=6, records_max=6)
        assert log.metrics().cursors == expected
        b.append_many([b"x"] * 9)
        a.cursor("three").advance(1)
        expected = transit.CursorLag(cursors=3, behind=3, records=24, records_max=9)
        assert log.metrics().cursors == expected
        log.hide("a")
        assert log.metrics().cursors == transit.CursorLag(
            cursors=1, behind=1, records=9, records_max=9
        )
        hidden = next(iter(log.hidden()))
        log.show(hidden)
        assert log.metrics().cursors == expected


def test_a_cursor_made_while_its_stream_was_hidden_is_found_once_it_is_shown(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        a = log.create("a")
        a.append_many([b"x"] * 2)
        log.hide(a)
        a.cursor("c").advance(1)
        assert log.metrics().cursors == transit.CursorLag()
        log.show(a)
        assert log.metrics().cursors == transit.CursorLag(
            cursors=1, behind=1, records=1, records_max=1
        )


def test_followers_that_wait_are_counted(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        log.create("a")
        assert log.metrics().waiting == 0
        watch = log.watch(lambda streams: None)
        assert log.metrics().waiting == 1
        watch.close()
        assert log.metrics().waiting == 0


def test_reads_of_sealed_records_hit_the_cache(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        s = log.create("s")
        s.append_many([b"x" * 100] * 1000)
        log.seal()
        assert [each.payload for each in s.read()] == [b"x" * 100] * 1000
        first = log.metrics().cache
        assert first.loads > 0
        assert first.bytes > 0
        for _ in range(3):
            assert log.stream("s")[500].payload == b"x" * 100
            list(log.stream("s").read())
        assert log.metrics().cache.loads == first.loads


def test_durations_go_into_the_bucket_whose_bound_they_reach() -> None:
    timings = Timings()
    for seconds in (0.0, BOUNDS_S[0], BOUNDS_S[0] * 1.01, BOUNDS_S[-1], BOUNDS_S[-1] * 2):
        timings.add(seconds)
    found = timings.histogram()
    assert found.counts[0] == 2
    assert found.counts[1] == 1
    assert found.counts[-2:] == (1, 1)
    assert found.count == 5
    assert found.sum_s == pytest.approx(BOUNDS_S[0] * 2.01 + BOUNDS_S[-1] * 3)
    with pytest.raises(RuntimeError), timings.timed():
        raise RuntimeError
    assert timings.histogram().count == 5


def test_a_child_process_made_by_fork_does_not_get_the_parents_numbers(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        read, write = os.pipe()
        child = os.fork()
        if not child:
            try:
                log.metrics()
                os.write(write, b"counted")
            except transit.ForkedError:
                os.write(write, b"refused")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(read, 100) == b"refused"
        os.close(read)
        os.close(write)


def test_the_numbers_are_frozen_values(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        found = log.metrics()
        with pytest.raises(AttributeError):
            found.records = 1  # type: ignore[misc]
        assert pickle.loads(pickle.dumps(found)) == found
