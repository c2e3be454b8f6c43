"""Restoring from the remote alone: whole, lazily, some streams, a cut in the past, after a kill."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit.disk import File, NewFile
from transit.testing.doors import ProcessDiedError, fail_at
from transit.tier import restore

from .conftest import Place, contents, write_history


def published(place: Place, rounds: int = 12) -> dict[str, object]:
    with place.open() as log:
        write_history(log, rounds)
        log.publish()
        return dict(contents(log))


def test_full_restore_holds_every_segment_and_verifies(place: Place) -> None:
    wanted = published(place)
    seen: list[transit.Progress] = []
    result = transit.restore(place.door(), place.path / "r", progress=seen.append)
    assert (result.segments, result.segments_remote) == (12, 0)
    assert seen[-1].bytes == seen[-1].bytes_total == result.bytes
    with transit.open(place.path / "r") as log:
        assert contents(log) == wanted
        report = log.verify()
        assert report.ok
        assert "segments_remote" not in report.counts
        assert log.status().head == result.root


def test_lazy_restore_fetches_no_segment_and_reads_through_the_remote(place: Place) -> None:
    wanted = published(place)
    door = place.door()
    result = transit.restore(door, place.path / "r", lazy=True)
    assert (result.segments, result.segments_remote) == (0, 12)
    assert list((place.path / "r" / "segments").iterdir()) == []
    with place.open("r", mode="read") as log:
        assert contents(log) == wanted
        assert log.verify().ok
    with place.open("r") as log:
        assert contents(log) == wanted
        log.stream("task-0").append(b"more", durability="tiered")


def test_lazy_store_without_its_remote_says_so_and_never_ends_early(place: Place) -> None:
    published(place)
    transit.restore(place.door(), place.path / "r", lazy=True)
    log = transit.open(place.path / "r", mode="read")
    with pytest.raises(transit.RetentionGapError, match="remote="):
        log.stream("task-0")
    log.close()
    with transit.open(place.path / "r") as log:
        with pytest.raises(transit.RetentionGapError, match="remote="):
            list(log.streams())
        counts = log.verify().counts
        assert counts["segments_remote"] == 12
        assert counts["lineage_not_checked"] == 1


def test_remote_that_went_away_is_unavailable_not_a_gap(place: Place) -> None:
    published(place)
    transit.restore(place.door(), place.path / "r", lazy=True)
    door = place.door()
    settings = transit.Settings(disk_cache_bytes_max=0)
    with place.open("r", remote=door, mode="read", settings=settings) as log:
        stream = log.stream("task-3")
        door.rule = lambda number, kind, key: "lost_before"
        with pytest.raises(transit.RemoteUnavailableError):
            list(log.stream("task-7/final").read())
        door.rule = None
        assert len(list(stream.read())) == 50


def test_restore_of_one_branch_brings_what_it_needs_and_no_more(place: Place) -> None:
    wanted = published(place)
    result = transit.restore(place.door(), place.path / "r", streams=["task-5/retry"])
    assert 0 < result.segments < 12
    with transit.open(place.path / "r") as log:  # no remote at all
        stream = log.stream("task-5/retry")
        got = [(r.offset, r.payload, r.timestamp, dict(r.headers), r.origin) for r in stream.read()]
        assert got == wanted["task-5/retry"]
        assert stream.parents == (transit.Position("task-5", 20),)
        with pytest.raises(transit.RetentionGapError, match=r"segments/\w{64}\.seg"):
            list(log.stream("task-9").read())


def test_restore_of_a_merge_brings_all_it_was_made_from(place: Place) -> None:
    wanted = published(place)
    transit.restore(place.door(), place.path / "r", streams=["task-2/final", "task-7"])
    with transit.open(place.path / "r") as log:
        for name in ("task-2/final", "task-7"):
            assert len(list(log.stream(name).read())) == len(wanted[name])  # type: ignore[arg-type]


@pytest.mark.parametrize("lazy", [False, True])
def test_restore_of_a_cut_in_the_past(place: Place, lazy: bool) -> None:
    with place.open() as log:
        cuts = []
        for number in range(10):
            log.create(f"s{number}").append(b"x")
            log.publish()
            cuts.append((log.status().head, contents(log)))
    root, wanted = cuts[4]
    for at in (4, root):
        path = place.path / f"at-{str(at)[:4]}-{lazy}"
        result = transit.restore(place.door(), path, at=at, lazy=lazy)
        assert (result.commits, result.root) == (5, root)
        with transit.open(path, mode="read", remote=place.door()) as log:
            assert contents(log) == wanted
    for missing in (10, "0" * 64):
        with pytest.raises(transit.NotFoundError, match="no commit"):
            transit.restore(place.door(), place.path / "none", at=missing)


def test_restore_refuses_a_folder_that_is_not_its_own(place: Place) -> None:
    published(place)
    transit.restore(place.door(), place.path / "r")
    with pytest.raises(transit.AlreadyExistsError):
        transit.restore(place.door(), place.path / "r")
    (place.path / "other").mkdir()
    (place.path / "other" / "letter.txt").write_text("mine")
    with pytest.raises(transit.InvalidInputError):
        transit.restore(place.door(), place.path / "other")


def test_restore_of_nothing_is_not_found(place: Place) -> None:
    with pytest.raises(transit.NotFoundError):
        transit.restore(place.door(), place.path / "r")
    assert not (place.path / "r" / "FORMAT").exists()
    published(place)
    with pytest.raises(transit.NotFoundError, match="no stream"):
        transit.restore(place.door(), place.path / "r2", streams=["nobody"])


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["lost_before", "lost_after", "die_before", "die_after"])
def test_restore_that_stops_at_any_request_goes_on(tmp_path: Path, fault: str) -> None:
    place = Place(tmp_path)
    wanted = published(place)
    door = place.door()
    transit.restore(door, place.path / "whole")
    for number in range(len(door.requests)):
        path = place.path / f"r{number}"
        failing = place.door(fail_at(number, fault))  # type: ignore[arg-type]
        with pytest.raises((transit.RemoteUnavailableError, ProcessDiedError)):
            transit.restore(failing, path)
        with pytest.raises((transit.NotFoundError, transit.InvalidInputError)):
            transit.open(path, mode="read")
        transit.restore(place.door(), path)
        with transit.open(path, mode="read") as log:
            assert contents(log) == wanted
            assert log.verify().ok


def test_interrupted_restore_fetches_no_segment_twice(place: Place) -> None:
    published(place)
    seen = 0

    def rule(number: int, kind: str, key: str) -> str | None:
        nonlocal seen
        seen += key.startswith("segments/")
        return "die_before" if seen > 6 else None

    settings = transit.Settings(transfers_max=1)
    with pytest.raises(ProcessDiedError):
        transit.restore(place.door(rule), place.path / "r", settings=settings)  # type: ignore[arg-type]
    door = place.door()
    transit.restore(door, place.path / "r")
    assert len([key for _, key in door.requests if key.startswith("segments/")]) == 12 - 6


def syncs_of_segments(
    patch: pytest.MonkeyPatch, fails: Callable[[int], bool] = lambda number: False
) -> list[int]:
    """Cut segments into pieces of 256 bytes; the size of a segment's file at each sync of it."""
    right = File.sync_data
    sizes: list[int] = []

    def noted(file: File) -> None:
        if "segments" in file.path:
            sizes.append(file.size)
            if fails(len(sizes)):
                raise transit.SyncFailedError(f"{file.path}: planted")
        right(file)

    patch.setattr(restore, "READ_BYTES", 256)
    patch.setattr(File, "sync_data", noted)
    return sizes


def test_a_segment_is_synced_while_it_comes_and_once_more_when_it_is_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(place, rounds=1)
    (segment,) = (place.remote_path / "segments").iterdir()
    size = segment.stat().st_size
    with monkeypatch.context() as patch:
        sizes = syncs_of_segments(patch)
        transit.restore(place.remote_path, place.path / "r")
    assert len(sizes) == -(-size // 256)
    assert sizes[-1] == size


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_sync_that_fails_while_a_segment_comes_ends_the_restore(
    place: Place, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    wanted = published(place, rounds=1)
    before = set(threading.enumerate())
    with monkeypatch.context() as patch:
        syncs_of_segments(patch, lambda count: count == number)
        with pytest.raises(transit.SyncFailedError, match="planted"):
            transit.restore(place.remote_path, place.path / "r")
    assert set(threading.enumerate()) <= before
    assert list((place.path / "r" / "segments").iterdir()) == []
    transit.restore(place.remote_path, place.path / "r")
    with transit.open(place.path / "r") as log:
        assert contents(log) == wanted


@pytest.mark.parametrize("plant", ["errors are dropped", "the end is not synced"])
def test_planted_bugs_in_syncs_of_a_restore_are_found(
    place: Place, monkeypatch: pytest.MonkeyPatch, plant: str
) -> None:
    if plant == "errors are dropped":

        def sync(file: NewFile) -> None:
            with contextlib.suppress(transit.SyncFailedError):
                file._file.sync_data()

        monkeypatch.setattr(NewFile, "sync", sync)
        with pytest.raises(pytest.fail.Exception):
            test_a_sync_that_fails_while_a_segment_comes_ends_the_restore(place, monkeypatch, 1)
    else:
        right = NewFile.publish

        def publish(file: NewFile, name: str) -> bool:
            with monkeypatch.context() as patch:
                patch.setattr(File, "sync_data", lambda file: None)
                return right(file, name)

        monkeypatch.setattr(NewFile, "publish", publish)
        with pytest.raises(AssertionError):
            test_a_segment_is_synced_while_it_comes_and_once_more_when_it_is_whole(
                place, monkeypatch
            )


KILLED = """
import sys, transit
transit.restore(sys.argv[1], sys.argv[2],
                settings=transit.Settings(transfers_max=1),
                progress=lambda p: (print(p.objects, flush=True), sys.stdin.readline()))
"""


def test_restore_killed_with_signal_9_goes_on(place: Place) -> None:
    wanted = published(place)
    run = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(place.remote_path), str(place.path / "r")],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        cwd=Path(transit.__file__).parents[1],
    )
    assert run.stdout is not None
    assert run.stdin is not None
    for _ in range(5):
        assert run.stdout.readline()
        run.stdin.write("\n")
        run.stdin.flush()
    run.kill()
    run.communicate()
    transit.restore(place.door(), place.path / "r")
    with transit.open(place.path / "r") as log:
        assert contents(log) == wanted


def test_damage_in_the_remote_is_found_by_restore(place: Place) -> None:
    published(place)
    key, size = next(iter(place.store.list("segments/")))
    data = bytearray(place.store.get(key, size) or b"")
    data[size // 2] ^= 1
    place.store.put(key, bytes(data))
    with pytest.raises(transit.CorruptError) as caught:
        transit.restore(place.door(), place.path / "r")
    assert key in caught.value.place


def test_damage_on_the_way_is_read_again(place: Place) -> None:
    wanted = published(place)

    class Flipping(type(place.door())):  # type: ignore[misc]
        flips = 0

        def get_range(self, key: str, position: int, size: int) -> bytes:
            data: bytes = super().get_range(key, position, size)
            self.flips += 1
            return data[:-1] + bytes([data[-1] ^ 1]) if self.flips % 2 else data

    transit.restore(
        Flipping(place.store), place.path / "r", settings=transit.Settings(transfers_max=1)
    )
    with transit.open(place.path / "r") as log:
        assert contents(log) == wanted


def test_options_that_make_no_sense_are_refused(place: Place) -> None:
    for options in ({"at": -1}, {"at": 1.5}, {"streams": "task-1"}, {"streams": ["$lineage"]}):
        with pytest.raises(transit.InvalidInputError):
            transit.restore(place.door(), place.path / "r", **options)  # type: ignore[arg-type]
