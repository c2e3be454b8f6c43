"""What was finished or hidden stays so in a rebase, in the remote and in a partial restore."""

from __future__ import annotations

import shutil

import pytest

import transit
from transit.log import catalog as catalogs

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


def test_a_rebase_deletes_trims_and_holds_what_was_so_here(place: Place) -> None:
    with place.open("a") as log:
        for name in ("gone", "cut", "held", "needed"):
            log.create(name).append_many([b"0", b"1"])
        log.release()
    shutil.copytree(place.path / "a", place.path / "b")
    with place.open("b") as log:
        with place.open("a") as other:
            other.stream("needed").branch("child")
            other.publish()
        log.stream("cut").append_many([b"2", b"3"])
        log.stream("cut").trim(before=3, reason="old")
        log.stream("held").hold("case 7")
        log.create("own").append_many([b"mine", b"too"])
        for name in ("gone", "needed", "own"):
            log.delete(name, reason="r", basis="gdpr-17")
        with pytest.raises(transit.FencedError):
            log.publish()
        uids = {name: next(s.uid for s in log.hidden() if s.name == name) for name in ("gone",)}
        moved = log.rebase_onto_remote().streams
    with place.open("b") as log:
        assert log.stream(uid=uids["gone"]).deleted
        cut = log.stream(moved["cut"])
        assert (cut.first_offset, [r.payload for r in cut]) == (3, [b"3"])
        assert log.stream("cut").first_offset == 2
        assert log.stream("held").holds == ("case 7",)
        # The other history needs its records, so it cannot go there.
        assert sorted(s.name for s in log.hidden() if not s.deleted) == ["needed"]
        assert [r.payload for r in log.stream("child")] == [b"0", b"1"]
        assert {s.name for s in log.hidden()} >= {"gone", "needed"}
        assert log.verify().ok
        log.publish()
    assert transit.audit(place.remote_path).ok


def test_a_follower_that_forgot_the_stream_of_names_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogs, "_STATES_KEPT", 1)
    with place.open() as log:
        log.create("s")
        log.create("t")
        log.publish()
        with transit.open(place.store.url, mode="read") as reader:
            read = reader.stream("s")
            reader.stream("t")
            log.stream("s").finish()
            log.publish()
            assert reader.refresh() == 1
            assert read.finished


def test_opening_reads_no_index(place: Place) -> None:
    with place.open() as log:
        log.create("s").append(b"0")
        log.release()
    for segment in (place.path / "a" / "segments").iterdir():
        data = segment.read_bytes()
        segment.write_bytes(data[:40] + bytes(len(data) - 40))
    with transit.open(place.path / "a", mode="read") as log:
        assert not log.verify().ok
        with pytest.raises(transit.CorruptError):
            log.stream("s")
