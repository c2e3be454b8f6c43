"""A served store that is soaked for some seconds; and servers with bugs, which that finds."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.kills.rounds import scratch
from rigs.seeds import run_seed
from rigs.server.arena import Sample, grown, soak
from rigs.server.clients import parse, payload

PLANTS = {
    "acknowledged_before_the_write": ("lost",),
    "producers_forgotten": ("409",),
    "frames_forgotten": ("twice", "409", "Producer-Seq"),
    "events_cut_short": ("saw others",),
    "memory_leaked": ("grew: memory",),
    "descriptors_leaked": ("grew: ", "files more"),
}


@pytest.fixture
def folder() -> Iterator[Path]:
    place = scratch()
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=place.name) as made:
        place.rmdir()
        yield Path(made)


@pytest.mark.slow
def test_a_served_store_keeps_its_promises_while_it_and_its_clients_are_killed(
    folder: Path,
) -> None:
    seed = run_seed()
    tally = soak(30, seed, folder, print)
    print(f"seed {seed}: {tally}")
    assert tally.problems == []
    assert tally.servers_killed
    assert tally.clients_killed
    assert tally.records > 100
    assert len(tally.samples) > 3


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTS)
def test_a_server_with_a_bug_is_found(folder: Path, plant: str) -> None:
    seed = run_seed()
    for turn in range(5):
        place = folder / str(turn)
        place.mkdir()
        found = " ".join(soak(40, seed + turn, place, print, plant).problems)
        if found:
            assert any(word in found for word in PLANTS[plant]), found
            return
    raise AssertionError(f"{plant} was not found, seed {seed}")


# What judges


def test_a_record_proves_itself() -> None:
    data = payload("p0.1", 7, 2)
    assert parse(data) == ("p0.1", 7, 2)
    for other in (data[:-1], data + b"x", data.replace(b"7", b"8"), data.replace(b"x", b"y"), b""):
        assert parse(other) is None


def held(growth: int, files: int = 0, sockets: int = 3) -> list[str]:
    """What is said of a server that grows by so many bytes from one look to the next."""
    return grown(
        [
            Sample(20.0 * at, 50_000_000 + growth * at, 10 + files * at, sockets, 5)
            for at in range(20)
        ]
    )


def test_a_server_that_does_not_grow_is_flat_and_others_are_not() -> None:
    assert held(0) == []
    assert held(100_000) == []
    assert "memory" in held(1_000_000)[0]
    assert "files" in held(0, files=1)[0]
    assert "sockets" in held(0, sockets=4)[0]
