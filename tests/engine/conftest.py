"""Stores, snapshots and child processes for the tests of the public surface."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit

Snapshot = dict[str, tuple[object, ...]]


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    """An open store with nothing in it; records that need a power cut to be lost are not synced."""
    opened = transit.open(path, durability="os")
    yield opened
    opened.close()


@pytest.fixture
def contents() -> Callable[[transit.Log], Snapshot]:
    """A function that returns all a store shows, in plain values that compare."""

    def snapshot(log: transit.Log) -> Snapshot:
        return {
            stream.name: (
                stream.id,
                stream.kind,
                dict(stream.metadata),
                stream.codec,
                [(parent.stream, parent.offset) for parent in stream.parents],
                stream.fork_offset,
                stream.next_offset,
                [
                    (
                        record.offset,
                        record.timestamp,
                        record.payload,
                        dict(record.headers),
                        (record.origin.stream, record.origin.offset),
                    )
                    for record in stream.read()
                ],
            )
            for stream in log.streams()
        }

    return snapshot


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def run(start: Start) -> Callable[..., str]:
    """A function that runs a script to its end and returns what it printed."""

    def run_script(script: str, *arguments: object, timeout: float = 60) -> str:
        child = start(script, *arguments)
        printed, complaint = child.communicate(timeout=timeout)
        assert child.returncode == 0, complaint
        return printed

    return run_script
