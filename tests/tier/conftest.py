"""Stores with a remote in a folder, and what is compared of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit.store import ObjectStore, open_store
from transit.testing.doors import FaultDoor, Rule

Contents = dict[str, list[tuple[int, bytes, int, dict[str, str], tuple[str, int]]]]


def contents(log: transit.Log) -> Contents:
    """Every record of every stream of the user's."""
    return {
        stream.name: [
            (r.offset, r.payload, r.timestamp, dict(r.headers), tuple(r.origin))
            for r in stream.read()
        ]
        for stream in log.streams()
    }


def objects(store: ObjectStore) -> dict[str, bytes]:
    """All objects but HEAD, which is only a hint."""
    found = {}
    for folder in ("commits/", "segments/", "index/", "probes/"):
        for key, size in store.list(folder):
            found[key] = store.get(key, size) or b""
    return found


def write_history(log: transit.Log, rounds: int = 3) -> None:
    """Streams, a branch and a merge in each of `rounds` commits."""
    for number in range(rounds):
        stream = log.create(f"task-{number}", metadata={"round": number})
        stream.append_many([f"{number}/{n}".encode() * 40 for n in range(50)], headers={"k": "v"})
        retry = stream.branch(f"task-{number}/retry", at=20)
        retry.append(b"again")
        log.merge(f"task-{number}/final", [stream, retry], policy="interleave")
        stream.cursor("reader").advance(7)
        log.seal()


class Place:
    """A folder for local stores beside a remote."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.remote_path = path / "remote"
        self.store = open_store(self.remote_path)
        self.settings = transit.Settings(remote_timeout_s=0.3)

    def door(self, rule: Rule | None = None) -> FaultDoor:
        """The remote, with faults."""
        return FaultDoor(self.store, rule)

    def open(self, name: str = "a", remote: object = None, **options: object) -> transit.Log:
        """The store in folder `name`, attached to the remote."""
        options.setdefault("durability", "os")
        options.setdefault("settings", self.settings)
        chosen = remote if remote is not None else self.door()
        return transit.open(self.path / name, remote=chosen, **options)  # type: ignore[arg-type]

    def restored(self, name: str = "restored", **options: object) -> Contents:
        """What a full restore reads, verified."""
        transit.restore(self.door(), self.path / name, **options)  # type: ignore[arg-type]
        with transit.open(self.path / name, mode="read") as log:
            report = log.verify()
            assert report.ok, report.findings
            return contents(log)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def fill() -> Callable[[transit.Log], None]:
    return write_history
