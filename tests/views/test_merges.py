"""Merges whose start is made of the states of their parents."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

import transit
from transit import views


class Item(msgspec.Struct, frozen=True):
    """A row."""

    key: str
    count: int = 0
    mail: str | None = None


class Write(msgspec.Struct):
    """An event: a row, or the removal of one."""

    key: str
    count: int = 0
    mail: str | None = None
    gone: bool = False


Rows = dict[str, Item]


def summed(base: Item | None, one: Item | None, other: Item | None) -> Item | None:
    """What both sides added; gone where one side took it away."""
    if one is None or other is None:
        return None
    start = 0 if base is None else base.count
    return Item(one.key, one.count + other.count - start, one.mail)


items = views.table("items", Item, key="key", index=["count"], unique=["mail"], merge=summed)


@views.reducer(items, reads=Write, merge="three-way")
def three(items: Any, event: Write, at: views.At) -> None:
    """Write the row."""
    if event.gone:
        items.delete(event.key)
    else:
        items.put(Item(event.key, event.count, event.mail))


def write(stream: transit.Stream, key: str, count: int = 0, **more: object) -> None:
    """Append an event."""
    stream.append(json.dumps({"key": key, "count": count, **more}).encode())


def plain(stream: transit.Stream, first: int, stop: int, start: Rows) -> Rows:
    """A plain fold."""
    rows = dict(start)
    for record in stream.read(first, stop):
        event = msgspec.json.decode(record.payload, type=Write)
        rows.pop(event.key, None)
        if not event.gone:
            rows[event.key] = Item(event.key, event.count, event.mail)
    return rows


def merged(base: Rows, sides: Sequence[Rows]) -> Rows:
    """What the docs say: side after side, what it changed since the base."""
    held = dict(sides[0])
    changed = {key for key in {*base, *held} if base.get(key) != held.get(key)}
    for side in sides[1:]:
        for key in {key for key in {*base, *side} if base.get(key) != side.get(key)}:
            row = side.get(key)
            if key in changed:
                row = summed(base.get(key), held.get(key), row)
            changed.add(key)
            held.pop(key, None)
            if row is not None:
                held[key] = row
    return held


def rows_of(state: views.State) -> Rows:
    """The rows of a state by their keys."""
    return {row.key: row for row in state.items}


def test_disjoint_keys_are_taken_over_from_each_side(log: transit.Log) -> None:
    root = log.create("root")
    write(root, "a", 1)
    one, two = root.branch("one"), root.branch("two")
    write(one, "b", 2)
    write(two, "c", 3)
    write(two, "a", gone=True)
    both = log.merge("both", [one, two], policy="interleave")
    state = views.open(log, three).of(both)
    assert rows_of(state) == {"b": Item("b", 2), "c": Item("c", 3)}
    assert [row.key for row in state.items.where(count=3)] == ["c"]
    assert (state.position, state.applied) == (4, 4)


def test_a_row_that_both_changed_goes_to_the_tables_merge(log: transit.Log) -> None:
    root = log.create("root")
    write(root, "a", 10)
    one, two = root.branch("one"), root.branch("two")
    write(one, "a", 11)
    write(two, "a", 15)
    write(one, "new", 1)
    write(two, "new", 1)
    both = log.merge("both", [one, two], policy="append")
    view = views.open(log, three)
    assert rows_of(view.of(both)) == {"a": Item("a", 16), "new": Item("new", 2)}
    assert rows_of(view.of(both, 4)) == {"a": Item("a", 15), "new": Item("new", 1)}


@views.reducer(items, reads=Write, merge="three-way", on_error="skip")
def lenient(items: Any, event: Write, at: views.At) -> None:
    """Write the row; what is none is skipped."""
    items.put(Item(event.key, event.count, event.mail))


@pytest.mark.parametrize("policy", ["append", "interleave"])
@pytest.mark.parametrize("every", [2, 100])
def test_what_the_sides_skipped_is_named_where_the_merge_has_it(
    policy: str, every: int, log: transit.Log
) -> None:
    root = log.create("root")
    write(root, "a", 1)
    root.append(b"none of the root")
    one, two = root.branch("one"), root.branch("two")
    for turn in range(6):
        for name, side in (("one", one), ("two", two)):
            write(side, f"{name}-{turn}")
            if turn % 3 == 0:
                side.append(f"none of {name} {turn}".encode())
    inner = two.branch("inner")
    inner.append(b"none of inner")
    both = log.merge("both", [one, inner], policy=policy)
    both.append(b"none of the merge itself")
    write(both, "z")
    expected = [record.offset for record in both.read() if record.payload.startswith(b"none")]
    assert len(expected) == 7
    view = views.open(log, lenient, savepoint_records=every)
    assert [offset for offset, _ in view.skipped(both)] == expected
    assert [offset for offset, _ in view.skipped(both, both.own_start)] == expected[:-1]
    assert [offset for offset, _ in view.skipped(both, 3)] == [
        each for each in expected if each < 3
    ]
    view.save(both)
    again = views.open(log, lenient, savepoint_records=every)
    assert [offset for offset, _ in again.skipped(both)] == expected
    assert again.of(both).applied == len(both) - len(expected)


def test_a_unique_value_may_go_from_one_row_to_another(log: transit.Log) -> None:
    root = log.create("root")
    write(root, "b", mail="b@x")
    write(root, "c", mail="c@x")
    one, two = root.branch("one"), root.branch("two")
    write(one, "z")
    write(two, "b", gone=True)
    write(two, "a", mail="b@x")
    write(two, "c", mail="d@x")
    write(two, "b", mail="c@x")
    both = log.merge("both", [one, two], policy="append")
    state = views.open(log, three).of(both)
    assert {row.key: row.mail for row in state.items} == {
        "a": "b@x", "b": "c@x", "c": "d@x", "z": None,
    }  # fmt: skip
    assert [row.key for row in state.items.where(mail="c@x")] == ["b"]


def test_a_unique_value_that_both_sides_gave_stops_the_view_before_the_merge(
    log: transit.Log,
) -> None:
    root = log.create("root")
    write(root, "a")
    one, two = root.branch("one"), root.branch("two")
    write(one, "b", mail="x@x")
    write(two, "c", mail="x@x")
    both = log.merge("both", [one, two], policy="append")
    view = views.open(log, three)
    with pytest.raises(views.ReducerError, match="same mail") as raised:
        view.of(both)
    assert raised.value.offset == 3
    assert rows_of(view.of(both, 2)) == {"a": Item("a"), "b": Item("b", 0, "x@x")}
    assert rows_of(view.of(two)) == {"a": Item("a"), "c": Item("c", 0, "x@x")}


@pytest.mark.parametrize("answer", [lambda *_: Item("other"), lambda *_: "text", lambda *_: 1 / 0])
def test_a_merge_that_gives_no_row_of_the_key_is_a_typed_error(
    answer: Callable[..., Any], log: transit.Log
) -> None:
    table = views.table("items", Item, key="key", merge=answer)
    declare = views.reducer(table, reads=Write, merge="three-way", code="x")
    root = log.create("root")
    write(root, "a")
    one, two = root.branch("one"), root.branch("two")
    write(one, "a", 1)
    write(two, "a", 2)
    both = log.merge("both", [one, two], policy="append")
    with pytest.raises(views.ReducerError, match="three-way"):
        views.open(log, declare(three.function)).of(both)


def test_without_a_base_the_sides_have_nothing_in_common(log: transit.Log) -> None:
    one, two = log.create("one"), log.create("two")
    write(one, "a", 1)
    write(two, "a", 2)
    both = log.merge("both", [one, two], policy="append")
    assert rows_of(views.open(log, three).of(both)) == {"a": Item("a", 3)}


@pytest.mark.parametrize("policy", ["select", "fast-forward", "base"])
def test_a_merge_that_leaves_records_out_is_folded(policy: str, log: transit.Log) -> None:
    root = log.create("root")
    write(root, "a", 1)
    one = root.branch("one")
    two = root if policy == "fast-forward" else root.branch("two")
    write(one, "a", 2)
    if two is not root:
        write(two, "a", 5)
    params = {"selected": "two"} if policy == "select" else None
    both = log.merge("both", [two, one], policy=policy, params=params)
    view = views.open(log, three)
    assert rows_of(view.of(both)) == plain(both, 0, len(both), {})


def test_a_custom_policy_that_leaves_records_out_is_folded(log: transit.Log) -> None:
    transit.register_policy("without-the-last", lambda sides, _: [r for s in sides for r in s[:-1]])
    root = log.create("root")
    write(root, "a", 1)
    one, two = root.branch("one"), root.branch("two")
    for stream, number in ((one, 2), (two, 5)):
        write(stream, "a", number)
        write(stream, "a", number + 1)
    both = log.merge("both", [one, two], policy="custom:without-the-last")
    assert rows_of(views.open(log, three).of(both)) == {"a": Item("a", 5)}


def test_several_bases_are_folded(log: transit.Log) -> None:
    root = log.create("root")
    write(root, "a", 1)
    one, two = root.branch("one"), root.branch("two")
    write(one, "a", 2)
    write(two, "a", 3)
    left = log.merge("left", [one, two], policy="append")
    right = log.merge("right", [two, one], policy="append")
    write(left, "a", 10)
    write(right, "a", 20)
    assert len(log.lineage.merge_bases(left, right)) > 1
    both = log.merge("both", [left, right], policy="append")
    state = views.open(log, three).of(both)
    assert state.items["a"].count == 20


def random_side(stream: transit.Stream, chance: random.Random, count: int) -> None:
    """Writes of a few keys."""
    for _ in range(count):
        key = chance.choice("abcdefgh")
        write(stream, key, chance.randrange(9), gone=chance.random() < 0.3)


@pytest.mark.parametrize("every", [3, 10_000])
@pytest.mark.parametrize("policy", ["append", "interleave"])
def test_random_merges_are_what_their_definition_says(
    policy: str, every: int, persist: str, log: transit.Log, chance: random.Random
) -> None:
    for turn in range(3):
        root = log.create(f"root-{turn}")
        random_side(root, chance, 6)
        sides = [root.branch(f"side-{turn}-{number}") for number in range(chance.choice((2, 2, 3)))]
        for side in sides:
            random_side(side, chance, chance.randrange(9))
        both = log.merge(f"both-{turn}", sides, policy=policy)
        random_side(both, chance, 5)
        view = views.open(log, three, persist=persist, savepoint_records=every)
        base = plain(root, 0, 6, {})
        start = merged(base, [plain(side, 0, len(side), {}) for side in sides])
        places = list(range(len(both) + 1))
        chance.shuffle(places)
        for at in places:
            first = both.own_start
            expected = plain(both, 0, at, {}) if at < first else plain(both, first, at, start)
            assert rows_of(view.of(both, at)) == expected, (turn, at)
        branch = both.branch(f"branch-{turn}", at=len(both) - 2)
        random_side(branch, chance, 6)
        expected = plain(branch, both.own_start, len(branch), start)
        assert rows_of(view.of(branch)) == expected
        again = log.merge(f"again-{turn}", [branch, both], policy="interleave")
        random_side(again, chance, 6)
        for stream in (again, branch, both, *sides):
            cold = views.open(log, three, persist=persist, savepoint_records=every)
            assert cold.of(stream).root == view.of(stream).root
    if persist == "logged":
        assert view.verify(again).ok


def test_numbers_go_on_above_those_of_every_side(log: transit.Log) -> None:
    class Numbered(msgspec.Struct, frozen=True):
        id: int | None
        by: str = ""

    table = views.table("rows", Numbered, key="id", auto=True, merge=lambda base, one, other: one)

    @views.reducer(table, reads=Write, merge="three-way")
    def number(rows: Any, event: Write, at: views.At) -> None:
        if event.gone:
            rows.delete(event.count)
        else:
            rows.insert(Numbered(None, event.key))

    root = log.create("root")
    write(root, "root")
    sides = [root.branch(name) for name in ("one", "two", "three")]
    for side, count in zip(sides, (1, 4, 2), strict=True):
        for _ in range(count):
            write(side, side.name)
    write(sides[1], "", 5, gone=True)
    both = log.merge("both", sides, policy="append")
    write(both, "both")
    state = views.open(log, number).of(both)
    assert [(row.id, row.by) for row in state.rows] == [
        (1, "root"), (2, "one"), (3, "two"), (4, "two"), (6, "both"),
    ]  # fmt: skip
