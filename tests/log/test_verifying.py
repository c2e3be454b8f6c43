"""Verifying beside a writer: what is sealed meanwhile is read once, as a file or as a segment."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit
from transit.log.catalog import Catalog
from transit.log.files import WalFiles
from transit.log.segments import Segment
from transit.verify import local

Patch = pytest.MonkeyPatch


@pytest.fixture
def writer(path: Path) -> Iterator[transit.Log]:
    """A store with a sealed history, and a WAL file that makes a stream and appends to it."""
    with transit.open(path, durability="os") as log:
        for name in ("a", "b"):
            log.create(name).append(b"sealed")
            log.seal()
        log.create("c").append(b"in a WAL")
        yield log


def elsewhere(work: Callable[[], object]) -> None:
    """Do `work` in another thread, to its end."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    # A daemon: where it waits for this thread, the test fails and does not hang.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    if failed:
        raise failed[0]


def seal_once(
    patch: Patch, owner: object, name: str, seal: Callable[[], object], nth: int = 1
) -> list[str]:
    """Have `seal` done right after this thread's n-th call of a function; notes that it was.

    It is done by another thread, as a sealer's is, and waited for. The sealer's thread calls some
    of the functions too, and must not be asked to seal while it seals.
    """
    right = getattr(owner, name)
    caller = threading.get_ident()
    calls = itertools.count(1)
    sealed: list[str] = []

    def then_seal(*arguments: object, **options: object) -> object:
        result = right(*arguments, **options)
        if threading.get_ident() == caller and next(calls) == nth:
            elsewhere(seal)
            sealed.append(name)
        return result

    patch.setattr(owner, name, then_seal)
    return sealed


def verified(path: Path) -> transit.Report:
    with transit.open(path, mode="read") as reader:
        return reader.verify()


def more(log: transit.Log, count: int) -> None:
    """Records of a new stream in each of so many WAL files, the last of which is written to."""
    for number in range(count):
        log.create(f"more {number}").append(b"more")
        if number < count - 1:
            log._handle.writer.rotate()


WHERE: list[tuple[object, str, int]] = [
    (local, "whole_file", 1),
    (Catalog, "follow", 1),
    (Catalog, "follow", 2),
    (Catalog, "wal_numbers", 1),
    (Catalog, "wal_numbers", 2),
    (Catalog, "load_commits", 2),
    (Catalog, "load_commits", 3),
    (WalFiles, "open", 1),
    (Segment, "read", 1),
]


@pytest.mark.parametrize(
    ("owner", "name", "nth"), WHERE, ids=[f"{name}-{nth}" for _, name, nth in WHERE]
)
@pytest.mark.parametrize("files", [0, 1, 3])
def test_what_is_sealed_meanwhile_is_no_finding_and_is_counted_once(
    path: Path,
    writer: transit.Log,
    monkeypatch: Patch,
    owner: object,
    name: str,
    nth: int,
    files: int,
) -> None:
    reader = transit.open(path, mode="read")
    with reader, writer._handle.sealer.paused:
        more(writer, files)
        before = reader.verify()
        assert before.ok

    def seal() -> None:
        writer.seal()
        writer.stream("c").append(b"after")

    with transit.open(path, mode="read") as reader:
        sealed = seal_once(monkeypatch, owner, name, seal, nth)
        report = reader.verify()
    assert sealed == [name]
    assert report.findings == ()
    assert before.counts["records"] <= report.counts["records"] <= before.counts["records"] + 1
    assert verified(path).counts["records"] == before.counts["records"] + 1


def test_a_wal_file_that_is_gone_and_not_sealed_is_a_finding(
    path: Path, writer: transit.Log, monkeypatch: Patch
) -> None:
    copy = path.with_name("copy")
    with writer._handle.sealer.paused:
        more(writer, 3)
        shutil.copytree(path, copy)
    files = sorted((copy / "wal").iterdir())
    with transit.open(copy, mode="read") as reader:
        gone = seal_once(monkeypatch, WalFiles, "open", files[1].unlink)
        report = reader.verify()
    assert gone == ["open"]
    assert not report.ok
    assert report.counts["wal_files"] == 2


def test_what_is_missing_is_found_once(path: Path, writer: transit.Log) -> None:
    copy = path.with_name("copy")
    with writer._handle.sealer.paused:
        more(writer, 3)
        shutil.copytree(path, copy)
    gone = sorted((copy / "wal").iterdir())[-2]
    with transit.open(copy, mode="read") as reader:
        gone.unlink()
        report = reader.verify()
    assert len(report.findings) == len(set(report.findings))
    assert report.counts["findings"] == len(report.findings) > 0
