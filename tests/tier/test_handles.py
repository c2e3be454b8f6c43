"""What a handle with a remote leaves behind: failed openings, closing, rebasing."""

from __future__ import annotations

import shutil
import threading
import time

import pytest

import transit
from transit.testing.doors import FaultDoor, ProcessDiedError

from .conftest import Place, contents, write_history
from .test_fencing import two_copies


def test_opening_that_fails_leaves_no_thread_that_writes(place: Place) -> None:
    transit.open(place.path / "a").close()
    settings = transit.Settings(
        publish_interval_s=0.02, seal_interval_s=0.02, remote_timeout_s=0.05
    )
    before = set(threading.enumerate())
    door = place.door(
        lambda n, kind, key: "lost_before" if (kind, key) == ("get", "HEAD") else None
    )
    with pytest.raises(transit.RemoteUnavailableError):
        place.open("a", remote=door, settings=settings)
    assert set(threading.enumerate()) - before == set()
    with transit.open(place.path / "a") as log:
        stream = log.create("s")
        for n in range(20):
            stream.append(b"%d" % n)
            time.sleep(0.005)
    with transit.open(place.path / "a") as log:
        assert len(log.stream("s")) == 20


def test_refresh_that_failed_is_made_good_by_the_next(place: Place) -> None:
    with place.open() as log:
        stream = log.create("s")
        stream.append(b"1")
        log.publish()
        door = place.door()
        transit.restore(place.door(), place.path / "copy")
        with place.open("copy", remote=door, mode="read") as reader:
            held = reader.stream("s")
            stream.append(b"2")
            log.publish()
            door.rule = lambda n, kind, key: "lost_before" if key.startswith("segments/") else None
            with pytest.raises(transit.RemoteUnavailableError):
                reader.refresh()
            door.rule = None
            reader.refresh()
            assert [r.payload for r in held.read()] == [b"1", b"2"]


def test_commits_before_a_damaged_one_are_taken_up(place: Place) -> None:
    with place.open() as log:
        stream = log.create("s")
        stream.append(b"1")
        log.publish()
        with transit.open(place.store.url, mode="read") as reader:
            for n in range(3):
                stream.append(b"x%d" % n)
                log.publish()
            last = log.status().commits - 1
            key = f"commits/{last:020d}.json"
            data = place.store.get(key, 1 << 16) or b""
            place.store.put(key, data[:-1])
            with pytest.raises(transit.CorruptError):
                reader.refresh()
            place.store.put(key, data)
            reader.refresh()
            assert [r.payload for r in reader.stream("s").read()] == [b"1", b"x0", b"x1", b"x2"]


def test_error_nobody_foresaw_reaches_who_waits_and_publishing_goes_on(place: Place) -> None:
    class Odd(FaultDoor):
        odd = False

        def put(self, key: str, data: bytes) -> None:
            if self.odd:
                raise ValueError("odd store")
            super().put(key, data)

    door = Odd(place.store)
    with place.open(remote=door) as log:
        stream = log.create("s")
        door.odd = True
        with pytest.raises(transit.TransitError, match="odd store"):
            stream.submit(b"1", durability="tiered").result(60)
        door.odd = False
        assert stream.submit(b"2", durability="tiered").result(60).durability == "tiered"


def test_segment_that_another_process_published_and_evicted_is_not_missing(place: Place) -> None:
    a, b = place.open("a", mode="shared"), place.open("a", mode="shared")
    a.create("s").append(b"1")
    a.publish()
    a.evict(bytes_max=0)
    b.stream("s").append(b"2", durability="tiered")
    b.publish()
    a.close()
    b.close()
    assert [r[1] for r in place.restored()["s"]] == [b"1", b"2"]


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_store_without_its_index_snapshots_is_whole(place: Place, damage: str) -> None:
    with place.open() as log:
        write_history(log, 20)
        log.publish()
        wanted = contents(log)
    keys = [key for key, _ in place.store.list("index/")]
    assert keys
    for key in keys:
        if damage == "gone":
            place.store.delete(key)
        else:
            place.store.put(key, b"\0" * 100)
    with transit.open(place.store.url, mode="read") as log:
        assert contents(log) == wanted
    assert place.restored() == wanted
    with place.open("next") as log:
        log.stream("task-0").append(b"goes on", durability="tiered")
    transit.restore(place.door(), place.path / "lazy", lazy=True)
    with place.open("lazy", mode="read") as log:
        assert len(contents(log)) == len(wanted)


def test_index_folder_may_be_deleted_before_it_is_published(place: Place) -> None:
    with transit.open(place.path / "a", durability="os") as log:
        write_history(log, 20)
    shutil.rmtree(place.path / "a" / "index")
    with place.open("a") as log:
        log.publish()
        wanted = contents(log)
    assert place.restored() == wanted


def test_restore_and_opening_do_not_end_at_a_missing_commit(place: Place) -> None:
    with place.open("a") as log:
        for n in range(7):
            log.create(f"s{n}").append(b"x")
            log.seal()
        log.publish()
    key = f"commits/{3:020d}.json"
    place.store.delete(key)
    with pytest.raises(transit.CorruptError, match=key):
        transit.restore(place.door(), place.path / "r")
    with pytest.raises(transit.CorruptError, match=key):
        transit.open(place.store.url, mode="read")
    # What was before the gap can still be had, if asked for.
    assert transit.restore(place.door(), place.path / "r2", at=2).commits == 3


def test_shared_mode_does_not_start_another_history_in_an_empty_folder(place: Place) -> None:
    with place.open("a") as log:
        log.create("s").append(b"1")
        log.release()
    with pytest.raises(transit.InvalidInputError, match="exclusive"):
        place.open("b", mode="shared")
    with place.open("b") as log:
        assert len(log.stream("s")) == 1
    with place.open("b", mode="shared") as log:
        log.stream("s").append(b"2", durability="tiered")


def test_hint_of_any_size_is_only_a_hint(place: Place) -> None:
    with place.open() as log:
        write_history(log, 2)
        log.publish()
    place.store.put("HEAD", b"x" * 5000)
    with transit.open(place.store.url, mode="read") as log:
        assert "task-1" in log
    place.open().close()


def test_appends_during_a_rebase_are_refused_or_in_the_store(place: Place) -> None:
    two_copies(place)
    with place.open("a") as a:
        a.stream("task-0").append(b"from a")
        a.release()
    settings = transit.Settings(
        seal_interval_s=0.001, publish_interval_s=0.001, seal_bytes=8192, remote_timeout_s=0.3
    )
    with transit.open(place.path / "b", durability="os") as b:
        b.create("b's")
    b = place.open("b", settings=settings)
    stream = b.stream("b's")
    acknowledged: list[bytes] = []

    def work() -> None:
        try:
            while True:
                payload = b"%d" % len(acknowledged) + b"." * 50
                stream.append(payload, durability="local")
                acknowledged.append(payload)
        except transit.ClosedError:
            pass

    with pytest.raises(transit.FencedError):
        b.publish()
    thread = threading.Thread(target=work)
    thread.start()
    while len(acknowledged) < 50:
        time.sleep(0.001)
    rebased = b.rebase_onto_remote()
    thread.join(60)
    assert not thread.is_alive()
    with place.open("b") as log:
        found = [r.payload for r in log.stream(rebased.streams["b's"]).read()]
        assert found == acknowledged
        assert log.verify().ok


def test_rebase_publishes_nothing_before_it_is_whole(place: Place) -> None:
    two_copies(place)
    with place.open("a") as a:
        a.stream("task-0").append(b"from a")
        a.release()
    with transit.open(place.path / "b", durability="os") as b:
        for n in range(50):
            b.create(f"b-{n}").append(b"x" * 1000)
    settings = transit.Settings(
        publish_interval_s=0.001, publish_bytes=1, seal_bytes=4096, remote_timeout_s=0.3
    )
    before = len(list(place.store.list("commits/")))
    b = place.open("b", settings=settings)
    with pytest.raises(transit.FencedError):
        b.publish()
    b.rebase_onto_remote()
    assert len(list(place.store.list("commits/"))) == before


def test_rebase_works_under_the_smallest_limits(place: Place) -> None:
    two_copies(place)
    with place.open("a") as a:
        a.stream("task-0").append(b"from a")
        a.release()
    with transit.open(place.path / "b", durability="os") as b:
        b.create("big").append_many([b"x" * 1000] * 300)
    settings = transit.Settings(record_bytes_max=1000, frame_bytes_max=2000, remote_timeout_s=0.3)
    b = place.open("b", settings=settings)
    with pytest.raises(transit.FencedError):
        b.publish()
    b.rebase_onto_remote()
    with place.open("b") as b:
        assert len(b.stream("big")) == 300


def test_rebase_of_a_store_that_is_not_fenced_is_refused(place: Place) -> None:
    log = place.open()
    log.create("s").append(b"1")
    with pytest.raises(transit.InvalidInputError, match="not fenced"):
        log.rebase_onto_remote()
    log.close()
    with place.open() as log:
        log.publish()


def test_reader_whose_folder_went_another_way_is_told(place: Place) -> None:
    two_copies(place)
    with place.open("a") as a:
        a.stream("task-0").append(b"from a")
        a.release()
    with transit.open(place.path / "b", durability="os") as b:
        b.stream("task-0").append(b"from b")
        b.seal()
    reader = place.open("b", mode="read")
    with pytest.raises(transit.ConflictError, match="not the one in"):
        reader.refresh()
    reader.close()


def test_reader_does_not_put_commits_over_unsealed_records(place: Place) -> None:
    two_copies(place)
    with place.open("a") as a:
        a.stream("task-0").append(b"from a")
        a.release()
    with transit.open(place.path / "b", durability="os") as b:
        b.stream("task-0").append(b"from b")
        reader = place.open("b", mode="read")
        with pytest.raises(transit.ConflictError, match="not the one in"):
            reader.refresh()
        assert reader.stream("task-0")[-1].payload == b"from b"
        b.stream("task-0").append(b"and more")
        assert reader.stream("task-0")[-1].payload == b"and more"
        reader.close()


def test_reader_beside_the_writer_of_its_folder_may_refresh(place: Place) -> None:
    with place.open("a") as a:
        stream = a.create("s")
        with place.open("a", mode="read") as reader:
            for n in range(5):
                stream.append(b"%d" % n)
                assert reader.refresh() == 0
                a.publish()
                assert reader.refresh() == 0
                assert len(reader.stream("s")) == n + 1


def test_closing_while_the_background_publishes_ends(place: Place) -> None:
    class Slow(FaultDoor):
        def put(self, key: str, data: bytes) -> None:
            time.sleep(0.2)
            super().put(key, data)

    settings = transit.Settings(publish_interval_s=0.01)
    for _ in range(3):
        log = place.open(remote=Slow(place.store), settings=settings)
        name = f"s{time.monotonic_ns()}"
        log.create(name).append(b"x")
        time.sleep(0.05)
        log.close()
        with pytest.raises(transit.ClosedError):
            log.publish()
    with place.open() as log:
        log.publish()
        wanted = contents(log)
    assert place.restored() == wanted


def test_publish_that_died_leaves_the_next_one_free(place: Place) -> None:
    door = place.door()
    with place.open(remote=door) as log:
        log.create("s").append(b"1")
        door.rule = lambda n, kind, key: "die_before" if kind == "create" else None
        with pytest.raises(ProcessDiedError):
            log.publish()
        door.rule = None
        assert log.publish().commits == 1


def test_lazy_copies_do_not_need_each_other(place: Place) -> None:
    with place.open() as log:
        write_history(log, 12)
        log.release()
    transit.restore(place.door(), place.path / "b", lazy=True)
    shutil.rmtree(place.path / "a")
    with place.open("b") as log:
        log.stream("task-3").append(b"b")
        log.release()
    assert place.restored()["task-3"][-1][1] == b"b"
