"""What becomes of layers' streams in a restore of some streams, and in a rebase."""

from __future__ import annotations

import shutil

import pytest

import transit

from .conftest import Place


def held(log: transit.Log, prefix: str = "$") -> dict[str, list[bytes]]:
    return {s.name: [r.payload for r in s.read()] for s in log.streams(prefix)}


def test_a_partial_restore_brings_the_layers_it_names(place: Place) -> None:
    with place.open("a") as log:
        for name in ("run-1", "run-2"):
            log.create(name).append(b"r" * 100)
            log.seal()
        for layer in ("trace", "views"):
            log.layer(layer).create("x").append(layer.encode())
            log.seal()
        log.release()
    # The first segment says what stream 0 is: it always comes along.
    for wanted, count in ((["run-1"], 1), (["run-1", "$trace/"], 2), (["$views/x"], 2)):
        target = place.path / "-".join(wanted).replace("/", "_")
        restored = transit.restore(place.store, target, streams=wanted)
        assert (restored.segments, restored.segments_remote) == (count, 4 - count), wanted
    with transit.open(place.path / "run-1-$trace_", mode="read") as log:
        assert log.stream("run-1")[0].payload == b"r" * 100
        assert log.stream("$trace/x")[0].payload == b"trace"
        with pytest.raises(transit.RetentionGapError):
            log.stream("$views/x").read().__next__()


@pytest.mark.parametrize("wanted", ["$cursors/", "$A/", "$/", "$lineage", "$trace"])
def test_a_restore_of_what_is_no_layer_is_refused(place: Place, wanted: str) -> None:
    with pytest.raises(transit.InvalidInputError):
        transit.restore(place.store, place.path / "r", streams=[wanted])


def test_a_rebase_brings_along_what_cannot_be_made_again(place: Place) -> None:
    with place.open("a") as log:
        log.create("run").append(b"0")
        log.layer("trace").create("both").append(b"both")
        log.layer("views").create("totals", derived=True).append(b"0")
        log.release()
    shutil.copytree(place.path / "a", place.path / "b")
    with place.open("b") as log:
        with place.open("a") as other:
            other.stream("run").append(b"theirs")
            other.publish()
        log.stream("run").append(b"ours")
        log.layer("trace").create("artifact").append(b"artifact")
        log.stream("$trace/both").append(b"more")
        totals = log.stream("$views/totals")
        totals.append(b"1")
        totals.cursor("c").advance(1)
        left = log.layer("views").create("left", derived=True)
        left.append(b"left")
        left.cursor("c").advance(1)
        needed = log.layer("views").create("needed", derived=True)
        needed.append(b"needed")
        needed.branch("user's own").append(b"after")
        with pytest.raises(transit.FencedError):
            log.publish()
        rebased = log.rebase_onto_remote()
    tag = rebased.kept.split("/")[1]
    assert rebased.streams == {
        "run": f"run@{tag}",
        "$trace/both": f"$trace/both@{tag}",
        "$trace/artifact": "$trace/artifact",
        "$views/needed": "$views/needed",
        "user's own": "user's own",
    }
    with place.open("b") as log:
        log.publish()
        assert held(log) == {
            "$trace/both": [b"both"],
            f"$trace/both@{tag}": [b"both", b"more"],
            "$trace/artifact": [b"artifact"],
            "$views/totals": [b"0"],
            "$views/needed": [b"needed"],
        }
        assert held(log, "user")["user's own"] == [b"needed", b"after"]
        assert log.stream("$views/totals").cursor("c").position == 1
        assert log.verify().ok
