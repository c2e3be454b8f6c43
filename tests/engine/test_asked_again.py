"""What is there already is made as durable as asked, like what is written for the first time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit

Ask = Callable[[transit.Log, str], object]

# Nothing is synced but on request.
QUIET = transit.Settings(flush_interval_ms=60_000)


def merge(log: transit.Log, durability: str) -> object:
    parents = [log.stream("a"), log.stream("b")]
    return log.merge("m", parents, policy="append", merge_id="id", durability=durability)


def merge_without_id(log: transit.Log, durability: str) -> object:
    parents = [transit.Position("a", 0), transit.Position("b", 0)]
    return log.merge("m", parents, policy="append", durability=durability)


def advance(log: transit.Log, durability: str) -> object:
    return log.stream("a").cursor("c").advance(1, durability=durability)


ASKED: dict[str, Ask] = {
    "a merge by its id": merge,
    "a merge without an id": merge_without_id,
    "a cursor": advance,
}


@pytest.fixture
def log(path: Path, tmp_path: Path) -> Iterator[transit.Log]:
    with transit.open(
        path, remote=tmp_path / "remote", durability="local", settings=QUIET
    ) as opened:
        for name in ("a", "b"):
            opened.create(name).append(b"x")
        yield opened


@pytest.mark.parametrize("ask", ASKED)
def test_what_was_written_as_os_is_durable_once_it_is_asked_for_as_local(
    log: transit.Log, ask: str
) -> None:
    ASKED[ask](log, "os")
    assert log.status().unsynced_bytes > 0
    ASKED[ask](log, "os")
    assert log.status().unsynced_bytes > 0
    ASKED[ask](log, "local")
    assert log.status().unsynced_bytes == 0


@pytest.mark.parametrize("ask", ASKED)
def test_what_was_written_as_os_is_in_the_remote_once_it_is_asked_for_as_tiered(
    log: transit.Log, tmp_path: Path, ask: str
) -> None:
    ASKED[ask](log, "os")
    assert log.status().published == 0
    ASKED[ask](log, "tiered")
    assert log.status().published == 1
    transit.restore(tmp_path / "remote", tmp_path / "copy")
    with transit.open(tmp_path / "copy", mode="read") as copy:
        if ask == "a cursor":
            assert copy.stream("a").cursor("c").position == 1
        else:
            assert "m" in copy
