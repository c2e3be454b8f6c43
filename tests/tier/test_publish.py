"""Publishing: what is uploaded, in which order, and what a stop at any request leaves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import blake3
import pytest

import transit
from transit.store import open_store
from transit.testing.doors import FaultDoor, ProcessDiedError, fail_at

from .conftest import Place, contents, objects, write_history

Fill = Callable[[transit.Log], None]


def test_published_store_is_rebuilt_from_the_remote_alone(place: Place, fill: Fill) -> None:
    with place.open() as log:
        fill(log)
        published = log.publish()
        wanted = contents(log)
        assert log.status().published == log.status().commits == published.commits
    assert place.restored() == wanted


def test_segments_in_the_remote_are_named_by_their_blake3(place: Place, fill: Fill) -> None:
    with place.open() as log:
        fill(log)
        log.publish()
    segments = {k: v for k, v in objects(place.store).items() if k.startswith("segments/")}
    assert segments
    for key, data in segments.items():
        assert key == f"segments/{blake3.blake3(data).hexdigest()}.seg"


def test_publish_uploads_only_what_the_remote_lacks(place: Place, fill: Fill) -> None:
    with place.open() as log:
        fill(log)
        log.publish()
    door = place.door()
    with place.open(remote=door) as log:
        before = len(door.requests)
        assert log.publish().commits == 0
        assert door.requests[before:] == []
        log.stream("task-0").append(b"more")
        before = len(door.requests)
        log.publish()
        kinds = [kind for kind, _ in door.requests[before:]]
        # A look at the commit before, beside the segment; the commit; HEAD.
        assert (sorted(kinds[:2]), kinds[2:]) == (["put", "size"], ["create", "put"])


def test_idle_store_makes_no_request(place: Place, fill: Fill) -> None:
    door = place.door()
    settings = transit.Settings(publish_interval_s=0.01, publish_bytes=1, seal_interval_s=0.02)
    with place.open(remote=door, settings=settings) as log:
        fill(log)
        log.publish()
        before = len(door.requests)
        time.sleep(0.3)
        assert door.requests[before:] == []


def test_background_publishes_by_age(place: Place) -> None:
    settings = transit.Settings(publish_interval_s=0.02)
    with place.open(settings=settings) as log:
        log.create("s").append(b"x")
        deadline = time.monotonic() + 30
        while log.status().published == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        wanted = contents(log)
    assert place.restored() == wanted


def test_background_publishes_by_size(place: Place) -> None:
    settings = transit.Settings(publish_bytes=100_000)
    with place.open(settings=settings) as log:
        stream = log.create("s")
        log.publish()
        published = log.status().published
        stream.append(b"small")
        time.sleep(0.2)
        assert log.status().published == published
        stream.append(b"x" * 200_000)
        deadline = time.monotonic() + 30
        while log.status().published == published and time.monotonic() < deadline:
            time.sleep(0.01)
        assert log.status().published > published


def test_failing_background_publisher_does_not_hurt_appends(place: Place) -> None:
    door = place.door()
    settings = transit.Settings(publish_interval_s=0.01, remote_timeout_s=0.05)
    with place.open(remote=door, settings=settings) as log:
        stream = log.create("s")
        door.rule = lambda number, kind, key: "lost_before"
        deadline = time.monotonic() + 30
        while not log.status().remote_error and time.monotonic() < deadline:
            stream.append(b"x", durability="local")
            time.sleep(0.01)
        assert "lost" in log.status().remote_error
        door.rule = None
        log.publish()
        assert log.status().remote_error == ""
        wanted = contents(log)
    assert place.restored() == wanted


def test_attaching_later_publishes_the_whole_history(place: Place, fill: Fill) -> None:
    with transit.open(place.path / "a", durability="os") as log:
        fill(log)
    with place.open() as log:
        log.publish()
        wanted = contents(log)
    assert place.restored() == wanted


def test_another_stores_remote_is_refused(place: Place) -> None:
    with place.open("a") as log:
        log.create("s").append(b"x")
        log.publish()
    transit.open(place.path / "b").close()
    with pytest.raises(transit.InvalidInputError, match="holds store"):
        place.open("b")


def test_damaged_local_segment_is_not_published(place: Place, fill: Fill) -> None:
    with place.open() as log:
        fill(log)
        path = sorted((place.path / "a" / "segments").iterdir())[0]
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        with pytest.raises(transit.CorruptError) as caught:
            log.publish()
        assert path.name in caught.value.place
    assert f"segments/{path.name}" not in objects(place.store)


def test_object_with_the_right_name_and_wrong_bytes_is_replaced(place: Place, fill: Fill) -> None:
    with transit.open(place.path / "a", durability="os") as log:
        fill(log)
        log.seal()
    name = sorted((place.path / "a" / "segments").iterdir())[0]
    place.store.put(f"segments/{name.name}", b"\0" * name.stat().st_size)
    with place.open() as log:
        log.publish()
        wanted = contents(log)
    assert place.restored() == wanted


def test_progress_counts_up_to_the_totals(place: Place, fill: Fill) -> None:
    seen: list[transit.Progress] = []
    with place.open() as log:
        fill(log)
        log.publish(seen.append)
        size = log.status().segment_bytes
    assert [p.objects for p in seen] == list(range(1, len(seen) + 1))
    last = seen[-1]
    assert (last.objects, last.bytes) == (last.objects_total, last.bytes_total)
    assert last.bytes >= size
    assert last.step == "publish"


def test_memory_for_uploads_is_bounded_by_the_setting(place: Place) -> None:
    settings = transit.Settings(transfer_bytes_max=1024 * 1024, compression="none")
    held = 0
    most = 0
    lock = threading.Lock()

    class Watching(FaultDoor):
        def put(self, key: str, data: bytes) -> None:
            nonlocal held, most
            with lock:
                held += len(data)
                most = max(most, held)
            time.sleep(0.002)
            super().put(key, data)
            with lock:
                held -= len(data)

    with place.open(remote=Watching(place.store), settings=settings) as log:
        stream = log.create("s")
        for _ in range(12):
            stream.append(b"x" * 400_000)
            log.seal()
        log.publish()
    # The budget may be passed by the objects of one commit.
    assert 400_000 < most <= 1024 * 1024 + 500_000


def test_publish_without_a_remote_is_refused(tmp_path: Path) -> None:
    with transit.open(tmp_path / "s") as log:
        with pytest.raises(transit.InvalidInputError, match="remote="):
            log.publish()
        with pytest.raises(transit.InvalidInputError, match="remote="):
            log.create("s").append(b"x", durability="tiered")
    with pytest.raises(transit.InvalidInputError, match="remote="):
        transit.open(tmp_path / "s", durability="tiered")


def requests_of_a_publish(base: Path) -> list[tuple[str, str]]:
    place = Place(base)
    door = place.door()
    with place.open(remote=door) as log:
        write_history(log, 10)
        start = len(door.requests)
        log.publish()
        return door.requests[start:]


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["lost_before", "lost_after", "exists_after"])
def test_publish_that_fails_at_any_request_finishes_when_run_again(
    tmp_path: Path, fault: str
) -> None:
    count = len(requests_of_a_publish(tmp_path / "whole"))
    assert count > 20
    for number in range(count):
        place = Place(tmp_path / f"{number}")
        door = place.door()
        settings = transit.Settings(remote_timeout_s=0.01, transfers_max=1)
        with place.open(remote=door, settings=settings) as log:
            write_history(log, 10)
            door.rule = fail_at(len(door.requests) + number, fault)  # type: ignore[arg-type]
            try:
                log.publish()
            except (transit.RemoteUnavailableError, transit.OutcomeUnknownError):
                log.publish()
            status, wanted = log.status(), contents(log)
        assert status.published == status.commits
        check_bucket(place, status.commits)
        assert place.restored() == wanted


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["die_before", "die_after"])
def test_process_that_dies_at_any_request_leaves_a_publish_to_go_on_with(
    tmp_path: Path, fault: str
) -> None:
    count = len(requests_of_a_publish(tmp_path / "whole"))
    for number in range(count):
        place = Place(tmp_path / f"{number}")
        door = place.door()
        settings = transit.Settings(remote_timeout_s=0.01, transfers_max=1)
        log = place.open(remote=door, settings=settings)
        write_history(log, 10)
        wanted = contents(log)
        door.rule = fail_at(len(door.requests) + number, fault)  # type: ignore[arg-type]
        with pytest.raises(ProcessDiedError):
            log.publish()
        log.close()
        with place.open() as again:
            again.publish()
            commits = again.status().commits
        check_bucket(place, commits)
        assert place.restored() == wanted


def check_bucket(place: Place, commits: int) -> None:
    """The remote has these commits, each segment they name once, and one probe."""
    found = objects(place.store)
    keys = [key for key in found if key.startswith("commits/")]
    assert sorted(keys) == [f"commits/{number:020d}.json" for number in range(commits)]
    segments = [key for key in found if key.startswith("segments/")]
    assert len(segments) == commits
    assert [key for key in found if key.startswith("probes/")] == ["probes/exclusion"]


def test_store_that_does_not_refuse_damage_is_read_back(place: Place, fill: Fill) -> None:
    class Damaging(FaultDoor):
        refuses_damage = False  # type: ignore[assignment]
        damage = True

        def put(self, key: str, data: bytes) -> None:
            if self.damage and key.startswith("segments/"):
                data = bytes([data[0] ^ 1]) + data[1:]
            super().put(key, data)

    door = Damaging(place.store)
    with place.open(remote=door) as log:
        fill(log)
        with pytest.raises(transit.CorruptError, match="segments/"):
            log.publish()
        assert log.status().published == 0
        door.damage = False
        log.publish()
        wanted = contents(log)
    assert place.restored() == wanted


def test_head_hint_that_lies_costs_requests_and_nothing_else(place: Place) -> None:
    with place.open() as log:
        write_history(log, 20)
        log.publish()
        wanted = contents(log)
    store = open_store(place.remote_path)
    commits = len([key for key, _ in store.list("commits/")])
    old = store.get("HEAD", 1024) or b""
    for hint in (b"", b"junk", old.replace(b'"number":', b'"number":9'), b"\xff" * 300):
        store.put("HEAD", hint)
        with transit.open(store.url, mode="read") as log:
            assert log.status().commits == commits
            assert contents(log) == wanted
        with place.open() as log:
            assert log.status().published == commits
