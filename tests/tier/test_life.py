"""What was finished or hidden stays so in a rebase, in the remote and in a partial restore."""

from __future__ import annotations

import shutil

import pytest

import transit

from .conftest import Place


def test_a_rebase_finishes_and_hides_what_was_finished_and_hidden_here(place: Place) -> None:
    with place.open("a") as log:
        for name in ("x", "y", "z"):
            log.create(name).append(b"0")
        log.release()
    shutil.copytree(place.path / "a", place.path / "b")
    with place.open("b") as log:
        with place.open("a") as other:
            other.stream("x").append(b"theirs")
            other.publish()
        log.stream("x").finish()
        log.stream("y").append(b"1")
        log.stream("y").finish()
        log.hide("z")
        log.create("z").append(b"new")
        with pytest.raises(transit.FencedError):
            log.publish()
        moved = log.rebase_onto_remote().streams
    assert moved["z"] == "z"
    with place.open("b") as log:
        assert {s.name: (s.finished, [r.payload for r in s]) for s in log.streams()} == {
            "x": (False, [b"0", b"theirs"]),
            "y": (False, [b"0"]),
            "z": (False, [b"new"]),
            moved["x"]: (True, [b"0"]),
            moved["y"]: (True, [b"0", b"1"]),
        }
        assert [stream.name for stream in log.hidden()] == ["z"]
        assert log.verify().ok
        log.publish()
    assert transit.audit(place.remote_path).ok
    transit.restore(place.store, place.path / "part", streams=[moved["y"]])
    with transit.open(place.path / "part", mode="read") as log:
        assert log.stream(moved["y"]).finished
