"""What is due by the limits of streams, and what a store does not need."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from transit.engine import retaining

DAY = 86_400


@pytest.fixture
def log(tmp_path: Path) -> Iterator[transit.Log]:
    with transit.open(tmp_path / "store") as opened:
        yield opened


def limited(log: transit.Log, name: str, count: int = 10, **limits: int) -> transit.Stream:
    stream = log.create(name, retention=transit.Retention(**limits))
    for number in range(count):
        stream.append(b"%03d" % number)
    return stream


def later(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    """Let it be so many seconds later, for those who ask what is due."""
    now = time.time_ns() + seconds * 10**9
    monkeypatch.setattr(retaining.time, "time_ns", lambda: now)


def test_nothing_is_due_without_limits(log: transit.Log) -> None:
    log.create("a").append(b"x")
    limited(log, "b", expire_after=DAY, count_max=10, bytes_max=30)
    assert log.retain() == ()


def test_what_is_over_a_limit_is_trimmed(log: transit.Log) -> None:
    by_count = limited(log, "count", count_max=4)
    by_bytes = limited(log, "bytes", bytes_max=10)
    tried = log.retain(dry_run=True)
    assert [(due.stream, due.before, due.limit, due.refused) for due in tried] == [
        ("count", 6, "count_max", ""),
        ("bytes", 7, "bytes_max", ""),
    ]
    assert by_count.first_offset == 0
    assert log.retain() == tried
    assert (by_count.first_offset, by_bytes.first_offset) == (6, 7)
    assert log.retain() == ()
    by_count.append(b"more")
    assert [due.before for due in log.retain()] == [7]
    with pytest.raises(transit.ErasedError) as caught:
        by_count[0]
    assert (caught.value.basis, caught.value.reason) == ("retention", "count_max")
    assert log.verify().ok


def test_what_has_expired_goes_the_oldest_first(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer, older = limited(log, "z", 3, expire_after=DAY), limited(log, "y", 3, expire_after=DAY)
    finished = limited(log, "x", 3, expire_after=DAY)
    finished.finish()
    empty = limited(log, "w", 0, expire_after=DAY)
    later(monkeypatch, 2 * DAY)
    done = log.retain()
    assert [(due.stream, due.before) for due in done] == [("z", 3), ("y", 3), ("x", None)]
    assert [due.since for due in done] == sorted(due.since for due in done)
    assert newer.first_offset == older.first_offset == 3
    assert not newer.deleted
    assert finished.deleted
    assert not empty.deleted
    assert log.retain() == ()


def test_what_must_be_kept_stays(log: transit.Log, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = limited(log, "kept", count_max=2, keep_for=3 * DAY)
    held, parent = limited(log, "held", count_max=2), limited(log, "parent", count_max=2)
    held.hold("case")
    parent.branch("child")
    later(monkeypatch, DAY)
    for dry_run in (True, False):
        done = {due.stream: due.refused for due in log.retain(dry_run=dry_run)}
        assert done.keys() == {"held", "parent"}
        assert "case" in done["held"]
        assert "child" in done["parent"]
    assert kept.first_offset == held.first_offset == parent.first_offset == 0
    later(monkeypatch, 4 * DAY)
    assert [due.stream for due in log.retain(dry_run=True)] == ["kept", "held", "parent"]


def test_what_is_not_needed_is_found_and_removed(tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    with transit.open(tmp_path / "a", remote=remote) as log:
        for number in range(30):
            log.create(f"s{number}").append(b"x")
            log.seal()
        log.publish()
        stray = "0" * 64
        for folder, suffix in (("segments", "seg"), ("redacted", "seg"), ("index", "idx")):
            for root in (tmp_path / "a", remote):
                (root / folder).mkdir(exist_ok=True)
                (root / folder / f"{stray}.{suffix}").write_bytes(b"stray")
        (remote / "segments" / "notes.txt").write_bytes(b"not ours")
        (tmp_path / "a" / "diverged" / "old" / "wal").mkdir(parents=True)
        (tmp_path / "a" / "diverged" / "old" / "wal" / "file").write_bytes(b"12345")
        found = log.gc()
        kinds = [each.kind for each in found if stray in each.place]
        assert sorted(kinds) == sorted(2 * ["segment", "redacted", "snapshot"])
        assert [each.bytes for each in found if each.kind == "diverged"] == [5]
        old = [e for e in found if e.kind == "snapshot" and stray not in e.place]
        assert old
        assert log.gc() == found
        assert log.gc(dry_run=False) == found
        assert log.gc() == ()
        assert (remote / "segments" / "notes.txt").exists()
        assert log.verify().ok
        log.create("more").append(b"x")
        log.publish()
    assert transit.audit(remote).ok
    with transit.open(tmp_path / "a") as log:
        assert len(list(log.streams())) == 31
