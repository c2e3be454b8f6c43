"""The graph against the naive model, and the shapes that go wrong most easily."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transit.errors import NotFoundError, OffsetError
from transit.lineage.graph import Graph
from transit.lineage.spans import Span

# A world takes as long as it takes; `max_examples` is left to the profile in use.
UNHURRIED = settings(deadline=None)


def well_formed(spans):
    """The records of `spans`, which count from offset 0 on and could not be fewer."""
    records = []
    for span in spans:
        assert span.first == len(records)
        assert span.count >= 1
        assert not records or records[-1] != (span.stream, span.origin - 1)
        records += [(span.stream, span.origin + i) for i in range(span.count)]
    return records


def test_a_branch_inherits_up_to_its_fork_and_goes_on_itself(world):
    parent = world.root(5)
    child = world.branch(parent, 2, own=2)
    assert world.graph.start(child) == 3
    assert world.graph.history(child, 5) == (Span(0, parent, 0, 3), Span(3, child, 3, 2))
    assert world.graph.history(child, 2) == (Span(0, parent, 0, 2),)


def test_what_a_parent_appends_after_the_fork_is_not_inherited(world):
    parent = world.root(2)
    child = world.branch(parent, 1, own=1)
    world.append(parent, 5)
    assert well_formed(world.graph.history(child, 3)) == [(parent, 0), (parent, 1), (child, 2)]


def test_a_branch_of_a_branch_below_its_fork_inherits_from_the_grandparent_only(world):
    grandparent = world.root(5)
    parent = world.branch(grandparent, 3, own=3)
    child = world.branch(parent, 1, own=1)
    assert world.graph.history(child, 3) == (Span(0, grandparent, 0, 2), Span(2, child, 2, 1))
    assert world.graph.ancestry(child, 2) == {child: 2, parent: 1, grandparent: 1}
    assert not world.graph.is_ancestor((parent, 4), (child, 2))


def test_a_branch_from_inside_a_merged_history_has_only_the_merged_records_it_took(world):
    a, b = world.root(2), world.root(2)
    merged = world.merge([(a, 1), (b, 1)], [(a, 0), (b, 0), (a, 1), (b, 1)], own=1)
    inside = world.branch(merged, 1)
    assert world.graph.ancestry(inside, 1) == {inside: 1, merged: 1, a: 0, b: 0}
    assert world.graph.ancestry(merged, 3) == {merged: 3, a: 1, b: 1}
    assert world.graph.origin(inside, 1) == (b, 0)


def test_a_merge_that_drops_a_parent_still_descends_from_it(world):
    kept, lost = world.root(2), world.root(2)
    merged = world.merge([(kept, 1), (lost, 1)], [(kept, 0), (kept, 1)])
    assert world.graph.is_ancestor((lost, 1), (merged, 1))
    assert not world.graph.is_ancestor((lost, 0), (merged, 0))


def test_of_two_ways_to_a_stream_the_one_that_reaches_further_counts(world):
    root = world.root(4)
    far, near = world.branch(root, 3), world.branch(root, 1)
    merged = world.merge([(far, 3), (near, 1)], world.history((root, 3)))
    assert world.graph.ancestry(merged, 3) == {merged: 3, near: 1, far: 3, root: 3}


def test_a_short_way_to_a_stream_does_not_hide_what_the_longer_way_brings(world):
    root = world.root(3)
    parent = world.branch(root, 2, own=4)
    child = world.branch(parent, 5, own=1)
    merged = world.merge([(parent, 1), (child, 6)], world.history((child, 6)))
    assert world.graph.ancestry(merged, 6) == {merged: 6, child: 6, parent: 5, root: 2}


def test_part_of_a_merge_that_turned_records_around_descends_from_the_highest(world):
    a, b = world.root(2), world.root(1)
    merged = world.merge([(a, 1), (b, 0)], [(a, 1), (a, 0), (b, 0)])
    assert world.graph.ancestry(merged, 1) == {merged: 1, a: 1}


def test_streams_that_share_nothing_have_no_merge_base(world):
    a, b = world.root(2), world.root(2)
    assert world.graph.merge_bases([(a, 1), (b, 1)]) == ()
    assert world.graph.merge_base([(a, 1), (b, 1)]) is None


def test_empty_streams_have_no_merge_base_and_are_ancestors_of_everything(world):
    parent = world.root()
    a, b = world.branch(parent, -1), world.branch(parent, -1, own=1)
    assert world.graph.history(a, 0) == ()
    assert world.graph.merge_base([(a, -1), (b, 0)]) is None
    assert world.graph.is_ancestor((a, -1), (b, 0))


def test_two_branches_meet_at_the_lower_fork_named_in_the_parent(world):
    parent = world.root(9)
    low, high = world.branch(parent, 3, own=2), world.branch(parent, 6, own=2)
    heads = [world.head(low), world.head(high)]
    assert world.graph.merge_bases(heads) == ((parent, 3),)


def test_branches_without_own_records_meet_at_one_record_not_at_each_of_its_names(world):
    parent = world.root(4)
    child = world.branch(parent, 3)
    a, b = world.branch(child, 3, own=1), world.branch(child, 2, own=1)
    assert world.graph.merge_bases([(a, 4), (b, 3)]) == ((parent, 2),)


def test_a_branch_without_own_records_between_two_others_is_no_merge_base(world):
    root = world.root(1)
    child = world.branch(world.branch(root, 0), 0, own=1)
    a, b = world.branch(child, 1, own=1), world.branch(child, 1, own=1)
    assert world.graph.merge_bases([(a, 2), (b, 2)]) == ((child, 1),)


def test_a_second_name_of_a_lower_record_of_the_parent_is_no_merge_base(world):
    parent = world.root(4)
    child = world.branch(parent, 1)
    history = world.history((parent, 3))
    a, b = (world.merge([(child, 1), (parent, 3)], history, own=1) for _ in range(2))
    assert world.graph.merge_bases([(a, 4), (b, 4)]) == ((parent, 3),)


def test_a_parent_past_the_fork_of_a_shared_child_is_a_merge_base_beside_the_child(world):
    parent = world.root(4)
    child = world.branch(parent, 1, own=1)
    history = world.history((parent, 3))
    a, b = (world.merge([(child, 2), (parent, 3)], history, own=1) for _ in range(2))
    assert world.graph.merge_bases([(a, 4), (b, 4)]) == ((child, 2), (parent, 3))


def test_a_criss_cross_has_both_crossed_heads_as_merge_bases_latest_first(world):
    root = world.root(1)
    a, b = world.branch(root, 0, own=1), world.branch(root, 0, own=1)
    one = world.merge([(a, 1), (b, 1)], [(root, 0), (a, 1), (b, 1)], own=1)
    two = world.merge([(b, 1), (a, 1)], [(root, 0), (b, 1), (a, 1)], own=1)
    heads = [world.head(one), world.head(two)]
    assert world.graph.common(heads) == {root: 0, a: 1, b: 1}
    assert world.graph.merge_bases(heads) == ((b, 1), (a, 1))
    assert world.graph.merge_base(heads) == (b, 1)


def test_two_attempts_from_a_merge_meet_at_the_merge_with_its_whole_history(world):
    a, b = world.root(2), world.root(2)
    merged = world.merge([(a, 1), (b, 1)], [(a, 0), (a, 1), (b, 0), (b, 1)])
    one, two = world.branch(merged, 3, own=1), world.branch(merged, 3, own=1)
    assert world.graph.merge_bases([(one, 4), (two, 4)]) == ((merged, 3),)


def test_a_merged_prefix_that_is_its_origin_s_prefix_goes_by_the_origin_s_name(world):
    a, b = world.root(2), world.root(2)
    merged = world.merge([(a, 1), (b, 1)], [(a, 0), (a, 1), (b, 0), (b, 1)])
    one, two = world.branch(merged, 1, own=1), world.branch(merged, 1, own=1)
    assert world.graph.merge_bases([(one, 2), (two, 2)]) == ((a, 1),)


def test_a_merge_contains_its_parents_and_is_contained_in_neither(world):
    a, b = world.root(1), world.root(1)
    merged = world.merge([(a, 0), (b, 0)], [(a, 0), (b, 0)])
    assert world.graph.containing([(a, 0), (b, 0)]) is None
    assert world.graph.containing([(b, 0), (merged, 1), (a, 0)]) == (merged, 1)


def test_an_unknown_stream_is_not_found(world):
    with pytest.raises(NotFoundError):
        world.graph.history(7, 1)


def test_before_the_first_record_there_is_no_origin(world):
    with pytest.raises(OffsetError):
        world.graph.origin(world.root(3), -1)


def test_a_chain_of_5000_branches_is_walked_once_without_recursion(world):
    depth, tip = 5_000, world.root(1)
    world.histories = {tip: world.histories[tip]}
    for offset in range(depth - 1):
        world.histories = {tip: world.histories[tip]}
        tip = world.branch(tip, offset, own=1)
    asked = []
    graph = Graph(lambda stream: asked.append(stream) or world.records[stream])
    assert graph.history(tip, depth) == tuple(Span(i, i + 1, i, 1) for i in range(depth))
    assert len(asked) == depth
    assert graph.origin(tip, 0) == (1, 0)
    asked.clear()
    ancestry = graph.ancestry(tip, depth - 1)
    assert len(asked) == depth
    assert ancestry == {i + 1: i for i in range(depth)}
    asked.clear()
    assert graph.merge_base([(tip, depth - 1), (tip - 1, depth - 2)]) == (tip - 1, depth - 2)
    assert len(asked) < 5 * depth


def test_a_merge_of_100_parents_has_them_all_as_ancestors(world):
    root = world.root(1)
    heads = [world.head(world.branch(root, 0, own=2)) for _ in range(100)]
    merged = world.merge(heads, [(root, 0)] + [(s, i) for s, _ in heads for i in (1, 2)])
    assert well_formed(world.graph.history(merged, 201)) == world.histories[merged]
    assert all(world.graph.is_ancestor(head, world.head(merged)) for head in heads)
    assert world.graph.merge_bases(heads) == ((root, 0),)


@UNHURRIED
@given(data=st.data())
def test_histories_and_origins_equal_the_model(data, worlds):
    world = data.draw(worlds)
    for stream, records in world.histories.items():
        stop = data.draw(st.integers(0, len(records)))
        assert well_formed(world.graph.history(stream, stop)) == records[:stop]
        assert [world.graph.origin(stream, i) for i in range(len(records))] == records


@pytest.mark.slow
@UNHURRIED
@given(data=st.data())
def test_ancestors_equal_the_model(data, worlds, heads_of):
    world = data.draw(worlds)
    if len(world.records) < 2:
        return
    a, b = data.draw(heads_of(world, distinct=False))[:2]
    names = world.names(b)
    expected = {stream: max(i for s, i in names if s == stream) for stream, _ in names}
    assert world.graph.ancestry(*b) == expected
    assert world.graph.is_ancestor(a, b) == world.is_ancestor(a, b)


@UNHURRIED
@given(data=st.data())
def test_merge_bases_equal_the_model_and_are_ancestors_of_every_head(data, worlds, heads_of):
    world = data.draw(worlds)
    if len(world.records) < 2:
        return
    heads = data.draw(heads_of(world, distinct=False))
    bases = world.graph.merge_bases(heads)
    assert list(bases) == world.merge_bases(heads)
    assert world.graph.merge_base(heads) == (bases[0] if bases else None)
    assert all(world.is_ancestor(base, head) for base in bases for head in heads)


@UNHURRIED
@given(data=st.data())
def test_the_canonical_name_has_the_same_history(data, worlds):
    world = data.draw(worlds)
    for stream, records in world.histories.items():
        for offset in range(len(records)):
            name = world.graph.canonical(stream, offset)
            assert name == world.canonical((stream, offset))
            assert world.history(name) == records[: offset + 1]
