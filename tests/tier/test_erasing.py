"""Erasing with a remote: what is freed there, and readers that come by it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import transit
from transit.store import open_store
from transit.testing.doors import ProcessDiedError

from ..engine.canary import CANARY, has, places_with
from .conftest import Place, contents


def write(log: transit.Log) -> None:
    for number in range(6):
        stream = log.create(f"s{number}")
        stream.append_many([b"plain %d %d" % (number, n) for n in range(20)])
    log.create("secret").append_many([CANARY + b" %d" % n for n in range(20)])
    log.seal()
    log.create("late").append(b"late")
    log.stream("s0").append(b"more")
    log.seal()
    log.stream("secret").append(CANARY)


def others(log: transit.Log) -> dict[str, list[bytes]]:
    return {name: [r[1] for r in rows] for name, rows in contents(log).items()}


def test_the_bytes_go_here_and_in_the_remote(place: Place) -> None:
    with place.open("a") as log:
        write(log)
        log.publish()
        assert places_with(place.path)
        log.delete("secret", reason="asked", basis="gdpr-17")
        before = others(log)
        done = log.erase()
        assert (done.streams, done.records, done.versions) == (("secret",), 21, 2)
        assert places_with(place.path) == []
        assert others(log) == before
        assert log.verify().ok
    report = transit.audit(place.store)
    assert report.findings == ()
    assert report.counts["erased_records"] == 21
    assert report.counts["unnamed_objects"] == 0
    with transit.open(place.store.url, mode="read") as reader:
        assert others(reader) == before
    for number, options in enumerate(({}, {"lazy": True}, {"streams": ["s0"]}, {"at": 1}), start=1):
        folder = place.path / f"restored-{number}"
        transit.restore(place.store, folder, **options)
        with transit.open(folder, remote=place.store, settings=place.settings) as restored:
            assert others(restored) == before
            assert restored.verify().ok
            with pytest.raises(transit.NotFoundError):
                restored.stream("secret")
        assert places_with(folder) == []


def test_evicted_segments_are_erased_and_what_is_left_is_evicted(place: Place) -> None:
    with place.open("a") as log:
        write(log)
        log.publish()
        log.evict(bytes_max=0)
        log.delete("secret", reason="r")
        before = others(log)
        assert log.erase().records == 21
        assert places_with(place.path) == []
        assert others(log) == before
        log.stream("late").append(b"again")
        log.delete("s3", reason="r")
        log.publish()
        log.erase()
        log.evict(bytes_max=0)
        assert list((place.path / "a" / "segments").iterdir()) == []
        del before["s3"]
        before["late"].append(b"again")
        assert others(log) == before
        assert log.verify().ok
    assert transit.audit(place.store).ok


def test_what_was_erased_without_the_remote_is_erased_there_later(place: Place) -> None:
    with place.open("a") as log:
        write(log)
        log.publish()
    with transit.open(place.path / "a") as log:
        log.delete("secret", reason="r")
        log.erase()
        before = others(log)
    assert places_with(place.path / "a") == []
    assert places_with(place.path / "remote")
    with place.open("a") as log:
        log.publish()
        log.erase()
        assert places_with(place.path) == []
        assert others(log) == before
    assert transit.audit(place.store).ok


def test_a_store_that_was_erased_from_is_published_to_a_new_remote(place: Place) -> None:
    with transit.open(place.path / "a") as log:
        write(log)
        log.delete("secret", reason="r")
        log.erase()
        before = others(log)
    with place.open("a") as log:
        log.publish()
    assert places_with(place.path) == []
    report = transit.audit(place.store)
    assert report.ok
    assert report.counts["erased_records"] == 21
    with transit.open(place.store.url, mode="read") as reader:
        assert others(reader) == before


def test_an_erasure_that_is_cut_short_anywhere_goes_on(place: Place, tmp_path: Path) -> None:
    """Each request of it fails once, before and after it was carried out."""
    number = 0
    for fault in ("die_before", "die_after", "lost_before", "lost_after"):
        step = 0
        while True:
            number += 1
            here = Place(tmp_path / str(number))
            here.path.mkdir()
            door = here.door()
            with here.open("a", door) as log:
                write(log)
                log.publish()
                log.delete("secret", reason="r")
                before = others(log)
                begun = len(door.requests)
                door.rule = lambda at, kind, key, stop=begun + step, f=fault: (
                    f if at == stop else None
                )
                try:
                    log.erase()
                    cut = len(door.requests) > begun + step
                except (ProcessDiedError, transit.TransitError):
                    cut = True
                door.rule = None
                assert others(log) == before
            assert transit.audit(here.store).ok
            with here.open("a", door) as log:
                assert others(log) == before
                log.erase()
                assert places_with(here.path) == [], (fault, step)
                assert others(log) == before
                assert log.verify().ok
            report = transit.audit(here.store)
            assert report.ok
            assert report.counts["erased_records"] == 21
            if not cut:
                break
            step += 3


def test_a_reader_of_the_bucket_that_is_behind_is_told(place: Place) -> None:
    with place.open("a") as log:
        write(log)
        log.publish()
        with transit.open(place.store.url, mode="read") as reader:
            stream, kept = reader.stream("secret"), reader.stream("s1")
            log.delete("secret", reason="r")
            log.erase()
            # It has not heard of the deletion, and does not have the bytes.
            with pytest.raises(transit.CorruptError, match=r"no record of \$names known here"):
                list(stream)
            assert len(list(kept)) == 20
            reader.refresh()
            with pytest.raises(transit.ErasedError):
                list(stream)


def test_a_folder_that_takes_up_an_erasure_of_another_erases_its_own_copies(place: Place) -> None:
    with place.open("a") as log:
        write(log)
        log.release()
    shutil.copytree(place.path / "a", place.path / "b")
    with place.open("b") as log:
        log.delete("secret", reason="r")
        log.erase()
        log.release()
    with place.open("a") as log:
        before = others(log)
        assert "secret" not in before
        found = {finding.found for finding in log.verify().findings}
        assert found == {"erased, but present"}
        assert places_with(place.path / "a")
        done = log.erase()
        assert done.records == 21
        assert places_with(place.path) == []
        assert others(log) == before
        assert log.verify().ok
        assert log.erase() == transit.Erased()
    assert transit.audit(place.store).ok


def test_bytes_that_are_put_back_are_found(place: Place) -> None:
    with place.open("a") as log:
        write(log)
        log.publish()
        kept = {key: place.store.get(key, size) for key, size in place.store.list("segments/")}
        log.delete("secret", reason="r")
        log.erase()
        for key, data in kept.items():
            if place.store.size(key) is None:
                place.store.put(key, data)
        report = transit.audit(place.store)
        assert [finding.found for finding in report.findings] == ["erased, but present"]
        assert log.verify().ok


def test_caches_of_what_was_fetched_go(place: Place) -> None:
    with place.open("a") as log:
        write(log)
        log.publish()
        log.evict(bytes_max=0)
        assert len(list(log.stream("secret"))) == 21
        assert any(has(file.read_bytes()) for file in (place.path / "a" / "cache").iterdir())
        log.delete("secret", reason="r")
        log.erase()
        assert places_with(place.path) == []
    assert open_store(place.remote_path).size("FORMAT")
