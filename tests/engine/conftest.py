"""Stores, snapshots and child processes for the tests of the public surface."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit
from transit import Log, Stream

from .histories import filled
from .refusals import SETTINGS, Store

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
                stream.own_start,
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


@pytest.fixture
def forked(log: Log) -> tuple[Stream, Stream]:
    """`main` with m0 to m3, and `side`, forked at 1, with s2 and s3; all at different times."""
    main = filled(log, "main", b"m0", b"m1")
    side = main.branch("side")
    for time_, stream, body in (
        (20, main, b"m2"),
        (30, side, b"s2"),
        (40, main, b"m3"),
        (50, side, b"s3"),
    ):
        stream.append(body, timestamp=time_)
    return main, side


@pytest.fixture
def store(path: Path, contents: Callable[[Log], Snapshot]) -> Iterator[Store]:
    """A store that must be the same after the test as before it, and take appends."""
    with transit.open(path, durability="os", settings=SETTINGS) as log:
        s = log.create("s", {"k": 1})
        s.append_many([b"0", b"1", b"2"])
        child = s.branch("child", at=1)
        child.append(b"own")
        opened = Store(log, s, child, log.create("empty"))
        opened.cursor.advance(1)
        before = contents(log)
        yield opened
        assert contents(log) == before
        assert opened.cursor.position == 1
        assert s.append(b"still usable").offset == 3
        after = contents(log)
        assert log.verify().ok
    with transit.open(path, settings=SETTINGS) as log:
        assert contents(log) == after
        assert log.stream("s").cursor("c").position == 1
