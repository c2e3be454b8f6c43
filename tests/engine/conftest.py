"""Stores, snapshots and child processes for the tests of the public surface."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit

# Children run with the transit under test, wherever it was imported from.
SOURCE = str(Path(transit.__file__).parents[1])

Snapshot = dict[str, tuple[object, ...]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store may be made."""
    return tmp_path / "store"


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
def start() -> Iterator[Start]:
    """A function that starts a script with arguments; what still runs at the end is killed."""
    children = []

    def start_script(script: str, *arguments: object) -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": SOURCE},
        )
        children.append(child)
        return child

    yield start_script
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture
def run(start: Start) -> Callable[..., str]:
    """A function that runs a script to its end and returns what it printed."""

    def run_script(script: str, *arguments: object, timeout: float = 60) -> str:
        child = start(script, *arguments)
        printed, complaint = child.communicate(timeout=timeout)
        assert child.returncode == 0, complaint
        return printed

    return run_script
