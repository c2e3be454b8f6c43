"""Streams found by name wherever a stream is taken, by metadata, and in pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit
from transit.engine import finding


@pytest.fixture
def full(log: transit.Log) -> transit.Log:
    """A root, a branch, another root and a merge, with metadata; and a stream of a layer."""
    a = log.create("a", metadata={"kind": "run", "n": 1, "done": True})
    a.append_many([b"1", b"2"])
    a.branch("a/b", at=0, metadata={"kind": "retry", "n": 1.0, "done": 1}).append(b"3")
    log.create("c", metadata={"kind": "run", "n": None, "text": "1"}).append(b"4")
    log.merge("m", ["a", "a/b"], policy="interleave")
    log.layer("room").create("kept", metadata={"kind": "run"})
    return log


def by_name_and_by_stream(log: transit.Log) -> Iterator[tuple[str, object, object]]:
    """Each call that takes streams: what it gives for names, and for the streams themselves."""
    lineage, s = log.lineage, log.stream
    one: dict[str, Callable[..., object]] = {
        "parents": lineage.parents,
        "children": lineage.children,
        "ancestors": lineage.ancestors,
        "spans": lineage.spans,
    }
    two: dict[str, Callable[..., object]] = {
        "is_ancestor": lineage.is_ancestor,
        "merge_base": lineage.merge_base,
        "merge_bases": lineage.merge_bases,
        "diff": lineage.diff,
        "plan": lambda x, y: log.plan([x, y], policy="append"),
    }
    for call, give in one.items():
        yield call, give("m"), give(s("m"))
    for call, give in two.items():
        yield call, give("a", "a/b"), give(s("a"), s("a/b"))
        yield f"{call}, one of each", give("a", s("a/b")), give(s("a"), "a/b")
    yield "after", *(list(log.streams(after=after)) for after in ("a/b", s("a/b")))


def test_a_name_is_taken_wherever_a_stream_is(full: transit.Log) -> None:
    for call, named, given in by_name_and_by_stream(full):
        assert named == given, call


def test_a_merge_takes_names_beside_streams_and_positions(full: transit.Log) -> None:
    merged = full.merge("new", ["a", full.stream("c"), transit.Position("a/b", 1)], policy="append")
    assert [parent.stream for parent in merged.parents] == ["a", "c", "a/b"]
    assert full.merge("new", [full.stream("a"), "c", ("a/b", 1)], policy="append") == merged


def test_a_layer_branches_from_a_name(full: transit.Log) -> None:
    assert full.layer("room").branch("a", "copy").parents == (transit.Position("a", 1),)


def test_a_batch_takes_names_of_what_is_there_and_of_what_it_makes(full: transit.Log) -> None:
    with full.batch() as batch:
        batch.append("a", b"5")
        batch.create("new")
        batch.append("new", b"6")
        batch.branch("new", "new/b")
        batch.append_many("new/b", [b"7", b"8"])
        with pytest.raises(transit.NotFoundError):
            batch.append("nobody", b"9")
    assert [receipt.stream for receipt in batch.receipts] == ["a", "new", "new/b", "new/b"]
    assert [record.payload for record in full.stream("new/b")] == [b"6", b"7", b"8"]
    assert full.stream("a")[-1].payload == b"5"


@pytest.mark.parametrize("given", [None, 5, b"a", ["a"], ("a",)], ids=repr)
def test_what_is_no_stream_and_no_name_is_refused(full: transit.Log, given: object) -> None:
    with full.batch() as batch:
        for call in (
            lambda: full.lineage.spans(given),  # type: ignore[arg-type]
            lambda: full.plan([given, "a"], policy="append"),  # type: ignore[list-item]
            lambda: batch.append(given, b"1"),  # type: ignore[arg-type]
        ):
            with pytest.raises(transit.InvalidInputError, match="not a stream"):
                call()


def test_a_name_that_nothing_has_is_not_found(full: transit.Log) -> None:
    for call in (
        lambda: full.lineage.diff("a", "nobody"),
        lambda: full.plan(["a", "nobody"], policy="append"),
        lambda: full.streams(after="nobody"),
    ):
        with pytest.raises(transit.NotFoundError, match="nobody"):
            call()


def test_a_stream_of_another_open_store_is_refused(full: transit.Log, tmp_path: Path) -> None:
    with transit.open(tmp_path / "other") as other:
        stranger = other.create("a")
        with full.batch() as batch:
            for call in (
                lambda: full.lineage.spans(stranger),
                lambda: full.plan([stranger, "c"], policy="append"),
                lambda: batch.append(stranger, b"1"),
                lambda: full.streams(after=stranger),
            ):
                with pytest.raises(transit.InvalidInputError, match="another open store"):
                    call()


def names(streams: Iterator[transit.Stream]) -> list[str]:
    return [stream.name for stream in streams]


WHERE: dict[str, tuple[dict[str, transit.Scalar], list[str]]] = {
    "nothing": ({}, ["a", "a/b", "c", "m"]),
    "one": ({"kind": "run"}, ["a", "c"]),
    "both": ({"kind": "run", "n": 1}, ["a"]),
    "numbers are equal whatever their kind": ({"n": 1}, ["a", "a/b"]),
    "true is not 1": ({"done": True}, ["a"]),
    "1 is not true": ({"done": 1}, ["a/b"]),
    "none is there": ({"n": None}, ["c"]),
    "not there is not none": ({"nothing": None}, []),
    "text is not a number": ({"text": 1}, []),
}


@pytest.mark.parametrize("given", WHERE)
def test_streams_are_found_by_their_metadata(full: transit.Log, given: str) -> None:
    where, found = WHERE[given]
    assert names(full.streams(where=where)) == found
    full.seal()
    assert names(full.streams(where=where)) == found
    assert names(full.streams("a/", where=where)) == [name for name in found if name == "a/b"]


def test_streams_come_in_pages(full: transit.Log) -> None:
    assert names(full.streams(limit=2)) == ["a", "a/b"]
    assert names(full.streams(after="a/b", limit=2)) == ["c", "m"]
    assert names(full.streams(after="m")) == []
    assert names(full.streams(limit=0)) == []
    assert names(full.streams(where={"kind": "run"}, after="a", limit=1)) == ["c"]
    assert names(full.layer("room").streams(where={"kind": "run"}, limit=5)) == ["$room/kept"]
    assert names(full.layer("room").streams(after="kept")) == []


def test_a_page_asked_for_again_shows_what_was_made_meanwhile(full: transit.Log) -> None:
    assert names(full.streams(after="m", limit=5)) == []
    full.create("z")
    assert names(full.streams(after="m", limit=5)) == ["z"]


@pytest.mark.parametrize("bad", [-1, True, 1.5, "2"], ids=repr)
def test_a_limit_that_is_no_count_is_refused(full: transit.Log, bad: int) -> None:
    with pytest.raises(transit.InvalidInputError, match="limit"):
        full.streams(limit=bad)


@pytest.mark.parametrize("bad", ["kind", {"kind": b"run"}, {1: "a"}], ids=repr)
def test_metadata_that_no_stream_can_have_is_refused(full: transit.Log, bad: object) -> None:
    with pytest.raises(transit.InvalidInputError, match="where"):
        full.streams(where=bad)  # type: ignore[arg-type]


# The same checks, with a bug put in.


PLANTS: dict[str, Callable[..., object]] = {
    "any of the metadata is enough": lambda metadata, wanted: any(
        metadata.get(key) == value for key, value in wanted.items()
    ),
    "true is 1": lambda metadata, wanted: wanted.items() <= metadata.items(),
    "what is not there is none": lambda metadata, wanted: all(
        metadata.get(key) == value for key, value in wanted.items()
    ),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_bug_is_found(
    full: transit.Log, monkeypatch: pytest.MonkeyPatch, plant: str
) -> None:
    monkeypatch.setattr(finding, "_has", PLANTS[plant])
    assert any(names(full.streams(where=where)) != found for where, found in WHERE.values())
