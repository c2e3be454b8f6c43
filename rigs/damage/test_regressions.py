"""Bugs that damaged bytes found, each with the least that shows it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import transit
from rigs.resources import open_files
from transit.log.snapshots import Snapshots


def make_ended_wal(path: Path) -> Path:
    """A copy of a store, made as a killed process leaves it: a WAL that ended, and one after it."""
    copy = path / "copy"
    log = transit.open(path / "store")
    with log._handle.sealer.paused:
        stream = log.create("s")
        stream.append_many([b"a", b"b"])
        log._handle.writer.rotate()
        stream.append(b"c")
        shutil.copytree(path / "store", copy)
    log.close()
    return copy


def test_garbage_after_an_end_frame_is_found_by_verify(tmp_path: Path) -> None:
    copy = make_ended_wal(tmp_path)
    ended = sorted((copy / "wal").iterdir())[0]
    data = ended.read_bytes().rstrip(b"\0")
    ended.write_bytes(data + b"garbage")
    with transit.open(copy, mode="read") as log:
        report = log.verify()
        assert [record.payload for record in log.stream("s").read()] == [b"a", b"b", b"c"]
    (finding,) = report.findings
    assert finding.place == f"{ended}, byte {len(data)}"
    assert finding.expected == "nothing after the end frame"


def test_damage_in_a_wal_that_ended_is_reported_with_its_range(tmp_path: Path) -> None:
    copy = make_ended_wal(tmp_path)
    ended = sorted((copy / "wal").iterdir())[0]
    frames = [p for p in transit.inspect_file(ended).parts if p.kind in ("frame", "end")]
    data = bytearray(ended.read_bytes())
    damaged, following = frames[1], frames[2]
    data[damaged.place + 60] ^= 1
    ended.write_bytes(data)
    for mode in ("read", "exclusive"):
        with pytest.raises(transit.CorruptError) as caught:
            transit.open(copy, mode=mode)
        assert caught.value.place == f"{ended}, byte {damaged.place}"
        assert caught.value.found == f"damage before byte {following.place}"


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("text", [b"rebased-\xb401234567", b"../../elsewhere", b"", b"a\0b"])
def test_a_damaged_ready_file_is_corrupt_and_moves_nothing(text: bytes, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with transit.open(store) as log:
        log.create("s").append(b"1")
    place = store / "rebase"
    with transit.open(place) as log:
        log.create("t").append(b"2")
    (place / "READY").write_bytes(text)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(transit.CorruptError, match="READY"):
        transit.open(store)
    assert sorted(str(path) for path in tmp_path.rglob("*") if "LOCK" not in path.name) == [
        name for name in before if "LOCK" not in name
    ]


def test_a_segment_lost_here_and_kept_in_the_remote_does_not_keep_a_writer_out(
    tmp_path: Path,
) -> None:
    store, remote = tmp_path / "store", tmp_path / "remote"
    with transit.open(store, remote=remote) as log:
        log.create("s").append(b"1")
        log.publish()
    (segment,) = (store / "segments").iterdir()
    segment.unlink()
    with transit.open(store, remote=remote, mode="read") as log:
        assert log.stream("s")[0].payload == b"1"
    with transit.open(store, remote=remote) as log:
        assert log.stream("s")[0].payload == b"1"


def test_a_snapshot_damaged_in_the_folder_is_no_layer_of_the_next(tmp_path: Path) -> None:
    store = tmp_path / "store"
    settings = transit.Settings(flush_interval_ms=60_000)
    with transit.open(store, settings=settings, durability="os") as log:
        stream = log.create("s")
        for number in range(26):
            stream.append(b"%d" % number)
            log.seal()
        indexed = log._handle.catalog.commits.indexed
        assert indexed is not None
        assert indexed.index is not None
        path = store / "index" / f"{indexed.index.digest}.idx"
        flip(path, path.stat().st_size - 3)  # in the last guide, which no checksum covers
        for number in range(8):
            stream.append(b"%d" % number)
            log.seal()
        catalog = log._handle.catalog
        layers = Snapshots(catalog)._layers(catalog.commits.indexed) or []
        named = {p.name[:64] for p in (store / "index").iterdir()}
        assert all(layer.digest.hex() in named for layer in layers)
    report = transit.audit(store)
    assert not [f for f in report.findings if "layer" in f.place], report.findings


def test_a_missing_commit_between_others_is_named(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with transit.open(store) as log:
        stream = log.create("s")
        for number in range(3):
            stream.append(b"%d" % number)
            log.seal()
    missing = sorted((store / "commits").iterdir())[1]
    missing.unlink()
    for mode in ("read", "exclusive"):
        with pytest.raises(transit.CorruptError) as caught:
            transit.open(store, mode=mode)
        assert caught.value.place == str(missing)


def test_an_error_that_is_kept_keeps_no_segment_open(tmp_path: Path) -> None:
    with transit.open(tmp_path / "store") as log:
        log.create("s").append(b"x" * 1000)
        log.seal()
    (segment,) = (tmp_path / "store" / "segments").iterdir()
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    with transit.open(tmp_path / "store", mode="read") as log:
        before = open_files()
        errors = []
        for _ in range(5):
            with pytest.raises(transit.CorruptError) as caught:
                log.stream("s")
            errors.append(caught.value)
        assert open_files() - before == set()
    assert len(errors) == 5
