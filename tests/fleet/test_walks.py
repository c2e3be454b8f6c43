"""The way of records from store to store, and the edges of all stores."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from transit import fleet
from transit.fleet import importing, lineage
from transit.fleet.importing import import_stream
from transit.fleet.lineage import edges, why
from transit.fleet.references import (
    PARENT_REF,
    REF_HEADER,
    Reference,
    reference,
)

from .stores import Opens, filled, own_place, place_in
from .test_references import digest

# The way from store to store


def chain(agents: fleet.Fleet, member: Opens) -> list[transit.Log]:
    """Three stores: a record of the first is imported by the second, and named by the third."""
    a, b, c = member("a"), member("b"), member("c")
    run = filled(a, "run", 3)
    run.branch("try", at=1).append(b"tried")
    a.publish()
    copy = import_stream(agents, b, reference(a, "try", 1), "copy")
    copy.branch("review").append(b"reviewed")
    b.publish()
    named = str(reference(b, "review", 0))
    c.create("answer").append(b"see there", headers={REF_HEADER: named})
    c.publish()
    return [a, b, c]


def test_why_walks_through_three_stores(agents: fleet.Fleet, member: Opens) -> None:
    a, b, c = chain(agents, member)
    walk = why(agents, reference(c, "answer"))
    assert (walk.end, walk.next, walk.error) == ("origin", None, None)
    assert [(leg.store, leg.how) for leg in walk.legs] == [
        (c.store_id, "asked"), (b.store_id, "ref"), (a.store_id, "import"),
    ]  # fmt: skip
    assert [(each.store, each.step.stream) for each in walk.steps] == [
        (c.store_id, "answer"), (b.store_id, "review"), (b.store_id, "copy"),
        (a.store_id, "try"), (a.store_id, "run"),
    ]  # fmt: skip
    assert place_in((walk.origin,), walk.origin.first) == own_place(a, a.stream("run"), 0)
    assert all(leg.provenance is not None for leg in walk.legs)
    # What is not published yet is walked from the open store.
    c.stream("answer").append(b"again", headers={REF_HEADER: str(reference(b, "copy", 1))})
    local = why(agents, (c, transit.Position("answer", 1)))
    assert [leg.store for leg in local.legs] == [c.store_id, b.store_id, a.store_id]
    # What was appended after the import is the importing store's own.
    own = why(agents, (b, transit.Position("review", 2)))
    assert (own.end, len(own.legs), own.origin.store) == ("origin", 1, b.store_id)
    b.stream("copy").append(b"own")
    own = why(agents, (b, transit.Position("copy", 2)))
    assert (own.end, len(own.legs)) == ("origin", 1)
    # Any header may be called so.
    c.stream("answer").append(b"", headers={REF_HEADER: "refs/heads/main"})
    assert why(agents, (c, transit.Position("answer", 2))).end == "origin"
    for wrong in ("x", (c, "answer"), (c,), transit.Position("answer", 0), 7):
        with pytest.raises(transit.InvalidInputError):
            why(agents, wrong)  # type: ignore[arg-type]
    with pytest.raises(transit.OffsetError):
        why(agents, (c, transit.Position("answer", 9)))


def test_a_store_that_is_away_ends_the_walk_with_what_is_known(
    agents: fleet.Fleet, member: Opens, tmp_path: Path
) -> None:
    a, b, c = chain(agents, member)
    ref = reference(c, "answer")
    origin = why(agents, ref).origin
    stores = tmp_path / "fleet" / "stores"
    shutil.move(stores / a.store_id, tmp_path / "away")
    walk = why(agents, ref)
    assert (walk.end, len(walk.legs)) == ("away", 2)
    assert walk.next is not None
    assert (walk.next.store, walk.next.stream, walk.next.offset) == (a.store_id, "try", 0)
    assert isinstance(walk.error, transit.NotFoundError)
    # The import says where it was appended first.
    assert msgspec.structs.replace(walk.origin, first=0) == msgspec.structs.replace(origin, first=0)
    shutil.move(stores / b.store_id, tmp_path / "away too")
    walk = why(agents, ref)
    assert (walk.end, len(walk.legs), walk.origin.store) == ("away", 1, c.store_id)
    with pytest.raises(transit.NotFoundError):
        why(agents, reference(b, "copy", 0))


def test_what_is_not_as_it_was_ends_the_walk(agents: fleet.Fleet, member: Opens) -> None:
    a, b = member("a"), member("b")
    stream = filled(a, "run")
    a.publish()
    ref = reference(a, stream)
    # It says that it was imported, and has other records.
    metadata = {PARENT_REF: str(ref), importing.IMPORT_ORIGINS: "[[],[]]"}
    b.create("run", metadata).append_many([b"x", b"y", b"z"])
    walk = why(agents, (b, transit.Position("run", 1)))
    assert (walk.end, len(walk.legs)) == ("damaged", 1)
    assert isinstance(walk.error, transit.CorruptError)
    assert walk.next is not None
    stream.trim(before=3, reason="old")
    a.publish()
    copy = b.create("copy")
    copy.append(b"x", headers={REF_HEADER: str(ref)})
    walk = why(agents, (b, transit.Position("copy", 0)))
    assert (walk.end, type(walk.error)) == ("away", transit.ErasedError)


def test_a_walk_in_a_circle_and_one_without_end_are_bounded(
    agents: fleet.Fleet, member: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = member("a"), member("b")
    uids = {name: name * 32 for name in "ab"}
    for log, name, other in ((a, "a", b), (b, "b", a)):
        digest_of = digest(5, {}, b"same")
        ref = Reference(other.store_id, "run", uids["b" if name == "a" else "a"], 0, digest_of)
        metadata = {PARENT_REF: str(ref), importing.IMPORT_ORIGINS: "[[],[]]"}
        log.create("run", metadata, uid=uids[name]).append(b"same", timestamp=5)
        log.publish()
    walk = why(agents, (a, transit.Position("run", 0)))
    assert (walk.end, len(walk.legs)) == ("cycle", 2)
    assert walk.next is not None
    stores, named = [a, b, member("c")], ""
    for number in range(42):
        log = stores[number % 3]
        stream = log.stream("long") if "long" in log else log.create("long")
        stream.append(b"%d" % number, headers={REF_HEADER: named})
        log.publish()
        named = str(reference(log, stream))
    opened: list[transit.Log] = []

    def open_member(*given: Any) -> transit.Log:
        assert sum(not log.closed for log in opened) <= 2
        opened.append(open_store(*given))
        return opened[-1]

    open_store = lineage.open_member
    monkeypatch.setattr(lineage, "OPEN_MAX", 2)
    monkeypatch.setattr(lineage, "open_member", open_member)
    assert len(why(agents, named).legs) == 42
    assert len(opened) > 20
    assert all(log.closed for log in opened)
    monkeypatch.setattr(lineage, "LEGS_MAX", 7)
    walk = why(agents, named)
    assert (walk.end, len(walk.legs)) == ("bound", 7)
    assert walk.next is not None


# All edges


def test_the_edges_of_all_stores_are_one_table(
    agents: fleet.Fleet, member: Opens, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    assert edges(agents).table.num_rows == 0
    a, b, c = chain(agents, member)
    a.merge("both", ["run", "try"], policy="append")
    a.hide("try")
    ref = reference(a, "run", 0)
    c.create("begun", {PARENT_REF: str(ref), "import": 1})
    c.create("empty").branch("nothing")
    c.hide(c.create("hidden", {PARENT_REF: str(ref)}))
    c.create("other", {PARENT_REF: "no reference"})
    for log in (a, c):
        log.publish()
    agents.retire(c.store_id)
    found = edges(agents)
    assert found.missing == {}
    uids = {
        (log.store_id, s.name): s.uid for log in (a, b, c) for s in [*log.streams(), *log.hidden()]
    }

    def row(
        child: transit.Log, name: str, parent: transit.Log, of: str, offset: int, kind: str
    ) -> Any:
        one, two = (child.store_id, name), (parent.store_id, of)
        return (*one, uids[one], *two, uids[two], offset, kind)

    assert found.table.column_names == [
        "child_store", "child", "child_uid", "parent_store", "parent", "parent_uid", "offset",
        "kind",
    ]  # fmt: skip
    assert sorted(tuple(each.values()) for each in found.table.to_pylist()) == sorted([
        row(a, "try", a, "run", 1, "branch"),
        row(a, "both", a, "run", 2, "merge"),
        row(a, "both", a, "try", 2, "merge"),
        row(b, "copy", a, "try", 1, "import"),
        row(b, "review", b, "copy", 1, "branch"),
        row(c, "begun", a, "run", 0, "ref"),
        row(c, "nothing", c, "empty", -1, "branch"),
    ])  # fmt: skip
    shutil.rmtree(tmp_path / "fleet" / "stores" / a.store_id)
    less = edges(agents)
    assert set(less.missing) == {a.store_id}
    assert set(less.table["child_store"].to_pylist()) == {b.store_id, c.store_id}
