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


def in_a_batch(step: Callable[[transit.Log, transit.WriteBatch], object]) -> Ask:
    def ask(log: transit.Log, durability: str) -> None:
        with log.batch(durability=durability) as batch:
            step(log, batch)

    return ask


ASKED: dict[str, Ask] = {
    "a merge by its id": merge,
    "a merge without an id": merge_without_id,
    "a cursor": advance,
    "a merge in a batch": in_a_batch(
        lambda log, batch: batch.merge("m", ["a", "b"], policy="append", merge_id="id")
    ),
    "a cursor in a batch": in_a_batch(
        lambda log, batch: batch.advance(log.stream("a").cursor("c"), 1, state=b"one")
    ),
    "an end in a batch": in_a_batch(lambda log, batch: batch.finish("a")),
    "a hidden stream in a batch": in_a_batch(
        lambda log, batch: batch.hide(next(log.hidden(), "b"))
    ),
}


THERE: dict[str, Callable[[transit.Log], bool]] = {
    "a merge by its id": lambda copy: "m" in copy,
    "a merge without an id": lambda copy: "m" in copy,
    "a cursor": lambda copy: copy.stream("a").cursor("c").position == 1,
    "a merge in a batch": lambda copy: "m" in copy,
    "a cursor in a batch": lambda copy: copy.stream("a").cursor("c").state == b"one",
    "an end in a batch": lambda copy: copy.stream("a").finished,
    "a hidden stream in a batch": lambda copy: "b" not in copy,
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
        assert THERE[ask](copy)
