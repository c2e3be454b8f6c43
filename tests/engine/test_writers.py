"""On whose behalf a record was appended: kept through every way of writing and keeping it."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit

LONG = "é" * 127


@pytest.mark.parametrize("mode", ["exclusive", "shared"])
@pytest.mark.parametrize("durability", ["memory", "os", "local"])
def test_a_writer_is_kept_whatever_way_its_record_is_written(
    path: Path, mode: str, durability: str
) -> None:
    with transit.open(path, mode=mode, durability=durability, remote=str(path) + "-bucket") as log:
        stream = log.create("s")
        stream.append(b"0", writer="ann")
        stream.append(b"1")
        stream.append(b"2", headers={"k": "v"}, timestamp=5, expect=2, writer=LONG)
        stream.append_many([b"3", b"4"], writer="bob")
        with log.batch(writer="ann") as batch:
            batch.append(stream, b"5")
            batch.append(batch.create("t"), b"other")
            batch.branch(stream, "b")
        writers = ["ann", "", LONG, "bob", "bob", "ann"]
        assert [record.writer for record in stream] == writers
        log.publish()
        assert [record.writer for record in stream] == writers
        assert [record.writer for record in log.stream("b")] == writers
        assert log.stream("t")[0].writer == "ann"
        assert log.verify().ok
    transit.restore(str(path) + "-bucket", str(path) + "-copy")
    with transit.open(str(path) + "-copy", mode="read") as copy:
        assert [record.writer for record in copy.stream("s")] == writers
    assert transit.audit(str(path) + "-bucket").ok


@pytest.mark.parametrize("writer", ["é" * 128, "\ud800", 5, b"ann"])
def test_what_cannot_be_a_writer_is_refused_and_nothing_is_written(
    path: Path, writer: object
) -> None:
    with transit.open(path) as log:
        stream = log.create("s")
        with pytest.raises(transit.InvalidInputError, match="writer"):
            stream.append_many([b"x"], writer=writer)  # type: ignore[arg-type]
        with pytest.raises(transit.InvalidInputError, match="writer"):
            stream.append(b"x", writer=writer)  # type: ignore[arg-type]
        with pytest.raises(transit.InvalidInputError, match="writer"):
            log.batch(writer=writer)  # type: ignore[arg-type]
        assert len(stream) == 0


def test_a_branch_that_inherits_nothing_descends_from_its_parent(path: Path) -> None:
    with transit.open(path) as log:
        parent = log.create("parent")
        parent.append(b"x")
        with log.batch() as batch:
            made = batch.branch(parent, "child", empty=True)
            batch.append(made, b"own")
            with pytest.raises(transit.InvalidInputError, match="empty"):
                batch.branch(parent, "other", at=0, empty=True)
        child = made.stream
        assert [record.payload for record in child] == [b"own"]
        assert (child.parents, child.fork_offset) == ((("parent", -1),), None)
        assert log.lineage.children(parent) == (child,)
        assert not log.lineage.is_ancestor(parent, child)
        log.seal()
        assert log.verify().ok
    with transit.open(path, mode="read") as log:
        assert [record.origin for record in log.stream("child")] == [("child", 0)]


def test_children_that_are_hidden_are_told_when_asked_for(path: Path) -> None:
    with transit.open(path) as log:
        parent = log.create("parent")
        one, other = parent.branch("one"), parent.branch("other")
        log.hide(one)
        assert log.lineage.children(parent) == (other,)
        assert log.lineage.children(parent, hidden=True) == (one, other)
