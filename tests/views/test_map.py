from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from rigs.seeds import run_seed
from rigs.views.models import MemoryNodes, crafted
from tests.views import make_golden, second_builder
from transit import InvalidInputError
from transit.views.maps import differing
from transit.views.maps.map import EMPTY, Change, Map, Shelf, merge
from transit.views.maps.node import Node


def build(*pairs: tuple[bytes, bytes]) -> Map:
    return Map.build(MemoryNodes(), pairs)


def many(count: int = 3000) -> list[tuple[bytes, bytes]]:
    return [(b"%06d" % n, b"v%d" % n) for n in range(count)]


def nodes_of(nodes: MemoryNodes, pairs: list[tuple[bytes, bytes]]) -> list[Node]:
    return list(nodes.below(Map.build(nodes, pairs).root).values())


# An empty map


def test_an_empty_map_has_the_empty_root_and_answers_all_the_same() -> None:
    made = Map(MemoryNodes())
    assert made.root == EMPTY == Map.build(MemoryNodes(), []).root
    assert (len(made), made.count(), made.count(b"a", b"b"), made.get(b"a")) == (0, 0, 0, None)
    assert b"a" not in made
    assert list(made.items()) == list(made.items(reverse=True)) == list(made.diff(made)) == []
    assert made.edit({b"a": None}).root == made.edit({}).root == EMPTY


def test_a_map_whose_entries_all_go_is_the_empty_one() -> None:
    made = Map.build(MemoryNodes(), many())
    assert made.edit(dict.fromkeys(key for key, _ in many())).root == EMPTY


# History


def test_the_order_of_edits_leaves_no_trace() -> None:
    seed = run_seed()
    print("seed", seed)
    pairs = many(1500)
    nodes = MemoryNodes()
    expected = Map.build(nodes, pairs).root
    random.Random(seed).shuffle(pairs)
    made = Map(nodes)
    for start in range(0, len(pairs), 50):
        made = made.edit(dict(pairs[start : start + 50]))
        made = made.edit({b"gone": b"x", b"000000gone": b"y"})
        made = made.edit({b"gone": None, b"000000gone": None})
    assert made.root == expected


def test_an_edit_leaves_the_map_it_was_made_from_as_it_was() -> None:
    nodes = MemoryNodes()
    made = Map.build(nodes, many())
    made.edit({b"000100": b"changed", b"000200": None, b"zzz": b"new"})
    assert list(made.items()) == many()


def test_an_edit_that_changes_nothing_has_the_same_root_and_saves_nothing() -> None:
    nodes = MemoryNodes()
    made = Map.build(nodes, many())
    nodes.saved = 0
    assert made.edit({b"000100": b"v100", b"not there": None}).root == made.root
    assert nodes.saved == 0


def test_an_edit_that_fails_has_saved_nothing() -> None:
    nodes = MemoryNodes()
    root = Map.build(nodes, many()).root
    lost = next(digest for digest, node in nodes.below(root).items() if b"002500" in node.keys)
    before = nodes.data.copy()
    del nodes.data[lost]
    with pytest.raises(LookupError):
        Map(nodes, root).edit({b"000100": b"changed", b"002500": b"changed"})
    assert nodes.data.keys() == before.keys() - {lost}


def test_a_leaf_that_is_whole_is_kept_when_the_map_grows_by_a_level() -> None:
    """It stayed as it was, and was lost."""
    nodes = MemoryNodes()
    whole = min(
        (node for node in nodes_of(nodes, many()) if not node.level), key=lambda node: node.keys[0]
    )
    first = Map.build(nodes, zip(whole.keys, whole.values, strict=True))
    more = dict(many()[len(whole.keys) :])
    assert list(first.edit(more).items()) == many()
    assert first.edit(more).root == Map.build(nodes, many()).root


# Sharing


def test_one_change_of_many_entries_makes_one_node_a_level() -> None:
    nodes = MemoryNodes()
    made = Map.build(nodes, many(30_000))
    levels = {node.level for node in nodes.below(made.root).values()}
    nodes.saved = 0
    made.edit({b"012345": b"v-----"})
    assert nodes.saved == len(levels) == 3


def test_maps_of_one_shelf_share_what_is_decoded() -> None:
    nodes = MemoryNodes()
    root = Map.build(nodes, many()).root
    shelf = Shelf(nodes)
    assert Map(shelf, root).get(b"000100") == b"v100"
    nodes.loaded = 0
    assert Map(shelf, root).get(b"000100") == b"v100"
    assert Map(shelf, root).edit({b"000100": b"x"}).get(b"000100") == b"x"
    assert nodes.loaded == 0


# Ranges


def test_ranges_begin_with_their_start_and_end_before_their_stop() -> None:
    made = build((b"a", b"1"), (b"b", b"2"), (b"c", b"3"))
    assert list(made.items(b"a", b"c")) == [(b"a", b"1"), (b"b", b"2")]
    assert list(made.items(b"aa", reverse=True)) == [(b"c", b"3"), (b"b", b"2")]
    assert list(made.items(stop=b"a")) == list(made.items(b"c", b"a")) == []
    assert (made.count(b"a", b"c"), made.count(b"b"), made.count(b"c", b"a")) == (2, 2, 0)


def test_a_count_loads_as_many_nodes_as_the_tree_is_high() -> None:
    nodes = MemoryNodes()
    root = Map.build(nodes, many(30_000)).root
    nodes.loaded = 0
    assert len(Map(nodes, root)) == 30_000
    assert nodes.loaded == 1
    assert Map(nodes, root).count(b"000100", b"020100") == 20_000
    assert nodes.loaded <= 1 + 5


# Differences and merges


def test_a_diff_of_equal_maps_loads_two_roots() -> None:
    nodes = MemoryNodes()
    root = Map.build(nodes, many()).root
    nodes.loaded = 0
    assert list(Map(nodes, root).diff(Map(nodes, root))) == []
    assert nodes.loaded == 2


def test_a_diff_is_in_the_order_of_keys_and_says_both_values() -> None:
    before = build((b"a", b"1"), (b"b", b"2"), (b"c", b"3"))
    after = before.edit({b"c": None, b"aa": b"9", b"b": b"8"})
    changes = [Change(b"aa", None, b"9"), Change(b"b", b"2", b"8"), Change(b"c", b"3", None)]
    assert list(before.diff(after)) == changes


def test_a_diff_of_maps_of_other_heights_is_complete() -> None:
    low, high = Map.build(MemoryNodes(), many(5)), Map.build(MemoryNodes(), many(30_000))
    assert [change.key for change in low.diff(high)] == [key for key, _ in many(30_000)[5:]]
    assert [change.after for change in high.diff(low)] == [None] * 29_995


def test_a_diff_can_be_left_early_and_loads_no_more() -> None:
    nodes = MemoryNodes()
    made = Map.build(nodes, many(30_000))
    nodes.loaded = 0
    assert next(Map(nodes).diff(Map(nodes, made.root))).key == b"000000"
    assert nodes.loaded <= 4


def test_a_merge_asks_for_what_both_changed_differently_and_for_nothing_else() -> None:
    base = build((b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"d", b"4"))
    one = base.edit({b"a": b"one", b"b": b"both", b"c": None, b"x": b"one"})
    two = base.edit({b"b": b"both", b"c": b"two", b"d": None, b"x": b"two", b"y": b"two"})
    asked: list[tuple[bytes | None, ...]] = []

    def resolve(*question: bytes | None) -> bytes | None:
        asked.append(question)
        return question[3]

    made = merge(base, one, two, resolve)
    assert asked == [(b"c", b"3", None, b"two"), (b"x", None, b"one", b"two")]
    assert dict(made.items()) == {
        b"a": b"one", b"b": b"both", b"c": b"two", b"x": b"two", b"y": b"two",
    }  # fmt: skip


def test_a_merge_with_a_side_that_did_nothing_is_the_other_side() -> None:
    base = Map.build(MemoryNodes(), many())
    other = base.edit({b"a": b"1"})

    def never(*question: object) -> bytes:
        raise AssertionError("asked")

    for one, two in ((base, other), (other, base), (other, other)):
        assert merge(base, one, two, never).root == other.root


# Input


@pytest.mark.parametrize(
    "changes",
    [
        {"text": b""},
        {b"key": "text"},
        {b"key": 5},
        {b"k" * 1025: b""},
        {b"key": bytes(65_537)},
        {b"a": b"", "b": b""},
        {bytearray(b"a").decode(): None},
    ],
)
def test_keys_and_values_that_cannot_be_are_refused(changes: dict[bytes, bytes | None]) -> None:
    made = Map(MemoryNodes())
    with pytest.raises(InvalidInputError):
        made.edit(changes)
    with pytest.raises(InvalidInputError):
        Map.build(MemoryNodes(), changes.items())  # type: ignore[arg-type]


@pytest.mark.parametrize("at", [1, 4095, 4096, 4097])
@pytest.mark.parametrize("back", [0, 1])
def test_a_build_of_keys_that_do_not_ascend_is_refused(at: int, back: int) -> None:
    pairs = many(5000)
    pairs[at] = (pairs[at - 1][0][: 6 - back], b"")
    with pytest.raises(InvalidInputError, match="ascend"):
        Map.build(MemoryNodes(), pairs)


def test_the_longest_key_and_value_and_the_empty_ones_are_taken() -> None:
    pairs = [(b"", b""), (b"k" * 1024, bytes(65_536))]
    assert list(build(*pairs).items()) == pairs
    assert dict(Map(MemoryNodes()).edit(dict(pairs)).items()) == dict(pairs)


@pytest.mark.parametrize(
    "write", [lambda m, c: m.edit(c), lambda m, c: Map.build(m._shelf, sorted(c.items()))]
)
def test_keys_that_would_pile_up_too_many_levels_are_refused(
    write: Callable[[Map, dict[bytes, bytes]], Map], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two million such keys make nine levels; with fewer levels allowed, so do fewer keys."""
    monkeypatch.setattr("transit.views.maps.cutting.LEVEL_MAX", 2)
    changes = {key * 85: b"" for key in crafted(0, 3000, low=True)}
    nodes = MemoryNodes()
    with pytest.raises(InvalidInputError, match="levels"):
        write(Map(nodes), changes)


# Golden bytes


def test_the_golden_map_is_read_to_what_it_was_made_of_and_is_made_again() -> None:
    golden = json.loads(make_golden.GOLDEN.read_text(encoding="ascii"))
    kept = make_golden.Kept()
    kept.nodes = golden["nodes"]
    pairs = make_golden.entries()
    root = bytes.fromhex(golden["root"])
    assert (
        list(Map(kept, root).items()) == pairs == second_builder.read(golden["nodes"], root.hex())
    )
    again = make_golden.Kept()
    assert Map.build(again, pairs).root == root
    assert again.nodes == golden["nodes"]
    assert second_builder.build(pairs) == (golden["root"], golden["nodes"])


def test_a_second_builder_makes_the_same_nodes_of_random_entries() -> None:
    seed = run_seed()
    print("seed", seed)
    chance = random.Random(seed)
    for most in (3, 90, 900, 65_537):
        pairs = sorted(
            {
                chance.randbytes(chance.randrange(1, 40)): bytes(chance.randrange(most))
                for _ in range(min(3000, 9_000_000 // most))
            }.items()
        )
        nodes = make_golden.Kept()
        root = Map.build(nodes, pairs).root
        assert second_builder.build(pairs) == (root.hex(), nodes.nodes)


def test_the_change_of_a_diff_is_one_name() -> None:
    assert Change is differing.Change
