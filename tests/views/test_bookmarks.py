"""Places of programs outside that are bound to the history they are about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import transit
from transit import views


def test_a_place_comes_back_with_what_was_kept_there(log: transit.Log) -> None:
    stream = log.create("s")
    stream.append_many([b"1", b"2", b"3"])
    place = views.bookmark(stream, "mine")
    assert place.read() == (0, b"")
    place.advance(2, b"state", expect=0)
    assert views.bookmark(stream, "mine").read() == (2, b"state")
    with pytest.raises(transit.ConflictError):
        place.advance(3, b"other", expect=0)
    assert place.read() == (2, b"state")
    place.advance(3)
    assert place.read() == (3, b"")


@pytest.mark.parametrize("position", [-1, 4, True, 1.0, "1"])
def test_a_place_that_is_none_is_refused(position: Any, log: transit.Log) -> None:
    stream = log.create("s")
    stream.append_many([b"1", b"2", b"3"])
    with pytest.raises(transit.InvalidInputError):
        views.bookmark(stream, "mine").advance(position, b"state")
    assert views.bookmark(stream, "mine").read() == (0, b"")


def test_as_much_state_as_is_said_is_kept_and_no_more(log: transit.Log) -> None:
    stream = log.create("s")
    stream.append(b"1")
    place = views.bookmark(stream, "mine")
    with pytest.raises(transit.InvalidInputError):
        place.advance(1, b"x" * (64 << 10))
    place.advance(1, b"x" * (63 << 10))
    assert place.read() == (1, b"x" * (63 << 10))


def test_what_is_no_state_of_a_bookmark_is_refused(log: transit.Log) -> None:
    stream = log.create("s")
    stream.append(b"1")
    for state in (b"", b"\x93", b"anything", b"\xff" * 100, b"\x91" * 60_000):
        name = f"cursor-{len(state)}"
        stream.cursor(name).advance(1, state=state)
        with pytest.raises(views.HistoryDiffersError):
            views.bookmark(stream, name).read()


def test_a_store_restored_to_an_earlier_moment_is_another_history(tmp_path: Path) -> None:
    remote = str(tmp_path / "remote")
    with transit.open(tmp_path / "one", remote=remote) as log:
        stream = log.create("s")
        stream.append_many([b"1", b"2"])
        place = views.bookmark(stream, "mine")
        place.advance(2, b"two")
        log.publish()
    transit.restore(remote, tmp_path / "two")
    with transit.open(tmp_path / "two") as log:
        assert views.bookmark(log.stream("s"), "mine").read() == (2, b"two")
        branch = log.stream("s").branch("b")
        assert views.bookmark(branch, "mine").read() == (0, b"")


def test_the_state_of_another_stream_is_refused(log: transit.Log) -> None:
    one, two = log.create("one"), log.create("two")
    for stream in (one, two):
        stream.append(b"same", timestamp=1)
    views.bookmark(one, "mine").advance(1, b"state")
    kept = one.cursor("mine").status().state
    two.cursor("mine").advance(1, state=kept)
    with pytest.raises(views.HistoryDiffersError, match="another history"):
        views.bookmark(two, "mine").read()
