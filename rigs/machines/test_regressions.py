"""What the machines and the histories found, each by itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import transit


def test_append_to_a_closed_shared_store_says_that_it_is_closed(tmp_path: Path) -> None:
    log = transit.open(tmp_path / "store", mode="shared")
    stream = log.create("s")
    log.close()
    for durability in ("memory", "os", "local"):
        with pytest.raises(transit.ClosedError):
            stream.append(b"late", durability=durability)


def test_merge_after_a_rebase_is_never_taken_for_an_older_one_of_other_streams(
    tmp_path: Path,
) -> None:
    """Stream ids shift in a rebase, and the id of a merge that was given none is made of them."""
    remote = tmp_path / "remote"
    with transit.open(tmp_path / "ours", remote=remote) as log:
        log.create("common")
        log.release()
    shutil.copytree(tmp_path / "ours", tmp_path / "theirs")
    with transit.open(tmp_path / "theirs", remote=remote) as log:
        theirs = [log.create(name) for name in ("x", "y")]
        for stream in theirs:
            stream.append(b"theirs")
        log.release()
    with transit.open(tmp_path / "ours") as log:
        ours = [log.create(name) for name in ("a", "b")]
        for stream in ours:
            stream.append(b"ours")
        log.merge("merged", ours, policy="append")
    transit.open(tmp_path / "ours", remote=remote).rebase_onto_remote()
    with transit.open(tmp_path / "ours", remote=remote) as log:
        assert [record.payload for record in log.stream("merged").read()] == [b"ours"] * 2
        with pytest.raises(transit.AlreadyExistsError):
            log.merge("merged", [log.stream("x"), log.stream("y")], policy="append")
        asked_again = log.merge("merged", [log.stream("a"), log.stream("b")], policy="append")
        assert asked_again == log.stream("merged")
        assert log.verify().ok


def test_a_sync_covers_the_file_that_another_process_has_ended(tmp_path: Path) -> None:
    settings = transit.Settings(seal_bytes=32768, flush_interval_ms=60_000)
    with (
        transit.open(tmp_path, mode="shared", settings=settings) as one,
        transit.open(tmp_path, mode="shared", settings=settings) as other,
        one._handle.sealer.paused,
        other._handle.sealer.paused,
    ):
        one.create("s").append_many([b"long" * 10_000])
        other.stream("s").append(b"in the next file")
        assert one.status().wal_files == 2
        one.sync()
        assert one.status().unsynced_bytes == 0
