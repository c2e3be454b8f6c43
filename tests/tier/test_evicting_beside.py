"""Evicting while other threads and processes go on."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from transit.format.digest import digest
from transit.format.names import index_name
from transit.format.snapshot import Snapshot, decode_snapshot, encode_snapshot
from transit.log.snapshots import Snapshots


def filled(path: Path, remote: Path, mode: str = "exclusive") -> transit.Log:
    log = transit.open(path, remote=remote, mode=mode)
    stream = log.create("s")
    for number in range(3):
        stream.append(b"%d" % number)
        log.seal()
    log.publish()
    return log


def test_a_commit_taken_up_while_segments_are_evicted_makes_no_wrong_snapshot(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = Snapshots._layers

    def and_a_commit_comes(snapshots: Snapshots, *arguments: object) -> object:
        found = layers(snapshots, *arguments)
        other.stream("s").append(b"3")
        other.seal()
        # As any look of another thread would.
        log._handle.catalog.load_commits()
        return found

    with (
        filled(path, tmp_path / "remote", "shared") as log,
        transit.open(path, mode="shared") as other,
    ):
        with monkeypatch.context() as patches:
            patches.setattr(Snapshots, "_layers", and_a_commit_comes)
            assert log.evict(bytes_max=0).segments == 3
        (index,) = (path / "index").iterdir()
        store_id = bytes.fromhex(log.store_id)
        assert decode_snapshot(index.read_bytes(), store_id, str(index)).last == 2
    with transit.open(path, mode="read", remote=tmp_path / "remote") as reader:
        assert [record.payload for record in reader.stream("s")] == [b"0", b"1", b"2", b"3"]


def test_a_snapshot_in_the_folder_that_is_none_is_done_without(path: Path, tmp_path: Path) -> None:
    with filled(path, tmp_path / "remote") as log:
        log.evict(bytes_max=0)
        (index,) = (path / "index").iterdir()
        store_id = bytes.fromhex(log.store_id)
        right = decode_snapshot(index.read_bytes(), store_id, str(index))
    # Of commits that it does not have, and under its own digest.
    wrong = Snapshot(store_id, right.first, right.last + 1, right.layers, right.segments)
    index.unlink()
    data = encode_snapshot(wrong)
    (path / "index" / index_name(digest(data))).write_bytes(data)
    (path / "index" / index_name(digest(b"no"))).write_bytes(b"no")
    for mode in ("read", "exclusive"):
        with transit.open(path, mode=mode, remote=tmp_path / "remote") as log:
            assert [record.payload for record in log.stream("s")] == [b"0", b"1", b"2"]
            assert log.verify().ok
