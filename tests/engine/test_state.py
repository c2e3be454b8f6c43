"""What sealing, verifying and the state of a store promise."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from transit import Log, Stream, errors

from .histories import Contents, payloads

# State of the store


def test_seal_moves_records_to_segments_and_nothing_changes_for_readers(
    log: Log, path: Path, forked: tuple[Stream, Stream], contents: Contents
) -> None:
    before = contents(log)
    log.seal()
    assert list((path / "segments").iterdir())
    assert list((path / "commits").iterdir())
    assert contents(log) == before
    forked[0].append(b"after")
    assert forked[0][-1].payload == b"after"
    log.seal()
    log.seal()
    with transit.open(path, mode="read") as reader:
        assert contents(reader) == contents(log)


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_sealed_records_are_read_whatever_the_compression(path: Path, compression: str) -> None:
    settings = transit.Settings(compression=compression, block_bytes=4096)
    bodies = [bytes([number % 256]) * (number % 97) for number in range(3000)]
    with transit.open(path, durability="os", settings=settings) as log:
        log.create("s").append_many(bodies)
        log.seal()
    with transit.open(path) as log:
        assert payloads(log.stream("s")) == bodies


def test_verify_of_a_healthy_store_is_ok_and_counts(
    log: Log, forked: tuple[Stream, Stream]
) -> None:
    log.merge("merged", list(forked), policy="interleave")
    assert log.verify().ok
    log.seal()
    forked[0].append(b"in the WAL")
    report = log.verify()
    assert report.ok
    assert list(report.findings) == []
    assert report.counts
    assert report.level


def test_verify_works_on_a_reader_and_on_an_empty_store(log: Log, path: Path) -> None:
    assert log.verify().ok
    with transit.open(path, mode="read") as reader:
        assert reader.verify().ok


def test_status_is_frozen_and_tells_of_the_store(log: Log, forked: tuple[Stream, Stream]) -> None:
    status = log.status()
    with pytest.raises(AttributeError):
        status.anything = 1  # type: ignore[attr-defined]
    assert repr(status)


def test_the_package_exports_the_surface_and_every_error() -> None:
    names = {"open", "Log", "Stream", "Record", "Batch", "Receipt", "Position", "Cursor"}
    for name in names | {"Settings", "register_policy", *errors.__all__}:
        assert hasattr(transit, name), name
        assert name in transit.__all__, name
