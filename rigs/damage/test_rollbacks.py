"""Older states put back as a whole: what tells them, and what cannot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import transit
from rigs.damage.answers import ask_all


def make(path: Path) -> tuple[Path, Path, str]:
    """A store of three commits and a copy of it after the second; the root of the third."""
    store, old = path / "store", path / "old"
    with transit.open(store, remote=path / "remote") as log:
        stream = log.create("s")
        for number in range(3):
            stream.append(b"%d" % number)
            log.publish()
            if number == 1:
                shutil.copytree(store, old)
        head = log.status().head
    return store, old, head


def test_an_older_copy_of_the_folder_is_told_by_a_root_kept_elsewhere_and_by_nothing_here(
    tmp_path: Path,
) -> None:
    _, old, head = make(tmp_path)
    with transit.open(old, mode="read") as log:
        assert log.verify().ok
        assert len(log.stream("s")) == 2
        assert log.status().head != head
    assert transit.audit(old).ok
    (finding,) = transit.audit(old, trusted_root=head).findings
    assert head in finding.expected


def test_an_older_copy_with_its_remote_takes_up_what_is_there(tmp_path: Path) -> None:
    _, old, head = make(tmp_path)
    with transit.open(old, remote=tmp_path / "remote") as log:
        assert [record.payload for record in log.stream("s").read()] == [b"0", b"1", b"2"]
        assert log.status().head == head


def test_an_older_copy_that_went_on_by_itself_is_fenced(tmp_path: Path) -> None:
    _, old, _ = make(tmp_path)
    with transit.open(old) as log:
        assert log.stream("s").append(b"another 2").offset == 2
    with transit.open(old, remote=tmp_path / "remote") as log, pytest.raises(transit.FencedError):
        log.publish()


def test_newest_commits_without_their_wal_are_missed_by_the_wal_that_follows(
    tmp_path: Path,
) -> None:
    store, _, _ = make(tmp_path)
    newest = max((store / "commits").iterdir())
    newest.unlink()
    for mode in ("read", "exclusive"):
        with pytest.raises(transit.CorruptError, match="WAL from LSN"):
            transit.open(store, mode=mode)


def test_newest_commits_and_all_wals_gone_leave_a_segment_that_nobody_names(
    tmp_path: Path,
) -> None:
    store, _, head = make(tmp_path)
    max((store / "commits").iterdir()).unlink()
    for wal in (store / "wal").iterdir():
        wal.unlink()
    with transit.open(store, mode="read") as log:
        report = log.verify()
        assert report.ok
        assert report.counts["unnamed_segments"] == 1
    assert not transit.audit(store, trusted_root=head).ok


def test_an_older_wal_under_an_open_store_is_found_by_its_verify(tmp_path: Path) -> None:
    with transit.open(tmp_path / "store") as log:
        stream = log.create("s")
        stream.append(b"0")
        (wal,) = (tmp_path / "store" / "wal").iterdir()
        old = wal.read_bytes()
        stream.append(b"1")
        new = wal.read_bytes()
        wal.write_bytes(old)
        report = log.verify()
        wal.write_bytes(new)
        assert log.verify().ok
    (finding,) = report.findings
    assert "records to LSN" in finding.expected


def test_a_remote_that_lost_its_newest_commits_gets_them_again_from_the_writer(
    tmp_path: Path,
) -> None:
    store, _, head = make(tmp_path)
    remote = tmp_path / "remote"
    max((remote / "commits").iterdir()).unlink()
    assert not transit.audit(remote, "roots", trusted_root=head).ok
    with transit.open(store, remote=remote) as log:
        expected = ask_all(log)
        log.publish()
    assert transit.audit(remote, trusted_root=head).ok
    with transit.open(remote.as_uri(), mode="read") as log:
        assert ask_all(log) == expected
