"""Streams of layers: made, listed, found and written apart from the user's, in the same frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import transit
from transit import Position


def names(streams: object) -> list[str]:
    return [stream.name for stream in streams]  # type: ignore[attr-defined]


def test_a_layers_streams_are_listed_when_they_are_asked_for_alone(log: transit.Log) -> None:
    log.create("run")
    views, rooms = log.layer("views"), log.layer("a-room-2")
    views.create("totals/1")
    views.create("other")
    rooms.create("totals/1")
    log.stream("run").cursor("c").advance(0)
    log.stream("run").append(b"x")
    log.stream("run").cursor("c").advance(1)
    assert names(log.streams()) == ["run"]
    assert names(views.streams()) == ["$views/totals/1", "$views/other"]
    assert names(views.streams("tot")) == ["$views/totals/1"]
    assert names(rooms.streams()) == ["$a-room-2/totals/1"]
    assert names(log.streams("$views/o")) == ["$views/other"]
    assert names(log.streams("$")) == [*names(views.streams()), *names(rooms.streams())]
    assert [node.name for node in log.lineage.graph().nodes] == ["run"]
    assert log.status().streams == 1


def test_a_layers_stream_is_found_by_either_name(log: transit.Log) -> None:
    views = log.layer("views")
    made = views.create("t", {"v": 1}, codec="json")
    made.append_value({"n": 1})
    assert views.stream("t") == log.stream("$views/t") == made
    assert (made.metadata, made.codec, views.local_name(made)) == ({"v": 1}, "json", "t")
    assert "t" in views
    assert "$views/t" in log
    assert "u" not in views
    assert "" not in views
    assert "t" not in log
    assert log.lineage.spans(Position("$views/t", 0))[0].origin == Position("$views/t", 0)
    with pytest.raises(transit.NotFoundError):
        views.stream("u")
    with pytest.raises(transit.AlreadyExistsError):
        views.create("t")
    with pytest.raises(transit.InvalidInputError):
        log.layer("other").local_name(made)
    with pytest.raises(transit.InvalidInputError):
        _ = 5 in views


def test_layers_of_one_name_and_store_are_equal(log: transit.Log) -> None:
    assert log.layer("views") == log.layer("views") != log.layer("other")
    assert len({log.layer("views"), log.layer("views")}) == 1
    assert log.layer("views") != "views"
    assert "'views'" in repr(log.layer("views"))


def test_a_frame_holds_streams_of_layers_and_the_users(log: transit.Log) -> None:
    run = log.create("run")
    before = log.status().records
    with log.batch() as batch:
        batch.append(run, b"input")
        made = batch.create("savepoint", {"of": "run"}, layer="views")
        batch.append(made, b"state")
        batch.branch(run, "copy", layer="views")
    assert log.status().records == before + 4
    assert made.stream.name == "$views/savepoint"
    assert names(log.layer("views").streams()) == ["$views/savepoint", "$views/copy"]
    assert log.stream("$views/copy")[0].payload == b"input"
    assert log.stream("$views/copy").parents == (Position("run", 0),)
    with pytest.raises(transit.AlreadyExistsError), log.batch() as batch:
        batch.create("savepoint", layer="views")
    with log.batch() as batch:
        batch.create("savepoint", layer="other")


def test_a_branch_goes_from_anything_into_a_layer_and_out_of_it(log: transit.Log) -> None:
    run = log.create("run")
    run.append(b"a")
    views = log.layer("views")
    inside = views.branch(run, "inside", metadata={"k": "v"})
    inside.append(b"b")
    outside = inside.branch("outside")
    assert [record.payload for record in outside] == [b"a", b"b"]
    assert outside.parents == (Position("$views/inside", 1),)
    assert names(log.lineage.children(run)) == ["$views/inside"]
    with pytest.raises(transit.InvalidInputError):
        views.branch(b"run", "x")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["$views/x", "$x", "$", "$cursors/1/c", "$lineage", "$names"])
def test_a_users_stream_has_no_layers_name(log: transit.Log, name: str) -> None:
    run = log.create("run")
    for call in (log.create, run.branch, log.layer("views").create):
        with pytest.raises(transit.InvalidInputError):
            call(name)  # type: ignore[operator]
    with log.batch() as batch:
        with pytest.raises(transit.InvalidInputError):
            batch.create(name)
        with pytest.raises(transit.InvalidInputError):
            batch.branch(run, name)
    with pytest.raises(transit.InvalidInputError):
        log.merge(name, [run, run.branch("b")], policy="append")


@pytest.mark.parametrize("name", ["$lineage", "$names", "$cursors/1/c", "$cursors/", "$", "$A/x"])
def test_the_stores_own_streams_are_not_handed_out(log: transit.Log, name: str) -> None:
    run = log.create("run")
    run.append(b"x")
    run.cursor("c").advance(1)
    with pytest.raises((transit.InvalidInputError, transit.NotFoundError)):
        log.stream(name)
    assert name not in log
    assert names(log.streams("$")) == []
    assert names(log.streams("$cursors/")) == []


@pytest.mark.parametrize(
    "name", ["", "cursors", "lineage", "names", "A", "a/b", "$a", "1a", "a" * 33, "ä", None, 5]
)
def test_what_is_no_layers_name_is_refused(log: transit.Log, name: str) -> None:
    with pytest.raises(transit.InvalidInputError, match="layer"):
        log.layer(name)
    if name is not None:
        with log.batch() as batch, pytest.raises(transit.InvalidInputError, match="layer"):
            batch.create("x", layer=name)


@pytest.mark.parametrize("name", ["", " x", "x\n", "$x", "x" * 506])
def test_a_layers_stream_has_a_name_as_a_users_may(log: transit.Log, name: str) -> None:
    views = log.layer("views")
    with pytest.raises(transit.InvalidInputError):
        views.create(name)
    whole = views.create("x" * (512 - len("$views/"))).name
    assert log.stream(whole).name == whole


def test_names_and_streams_of_layers_survive_sealing_and_opening(
    path: Path, contents: Callable[[transit.Log], object]
) -> None:
    with transit.open(path, durability="os") as log:
        log.create("run").append(b"r")
        log.layer("views").create("a", derived=True).append(b"1")
        log.seal()
        log.layer("views").create("b").append(b"2")
    with transit.open(path, mode="read") as log:
        views = log.layer("views")
        assert names(views.streams()) == ["$views/a", "$views/b"]
        assert views.stream("a").metadata == {"derived": True}
        assert [views.stream(name)[0].payload for name in "ab"] == [b"1", b"2"]
        assert log.verify().ok
        with pytest.raises(transit.ReadOnlyError):
            views.create("c")
