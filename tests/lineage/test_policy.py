"""Merge policies against the naive model, and what they refuse."""

from __future__ import annotations

from itertools import chain, repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transit.errors import (
    InvalidInputError,
    MergeBaseError,
    NotFastForwardError,
    NotFoundError,
)
from transit.lineage.policy import POLICIES, check_params, check_policy, resolve_base

# A world takes as long as it takes; `max_examples` is left to the profile in use.
UNHURRIED = settings(deadline=None)


@pytest.fixture
def fork(world):
    """A root of two records and two branches of its end, with two own records each."""
    root = world.root(2)
    world.a, world.b = world.branch(root, 1, own=2), world.branch(root, 1, own=2)
    world.heads, world.base = [(world.a, 3), (world.b, 3)], (root, 1)
    world.shared = [(root, 0), (root, 1)]
    return world


def clocked(world, times):
    """Give single records their timestamps; the others keep 0."""
    world.time = lambda record: times.get(record, 0)


def test_append_puts_each_suffix_after_the_base_in_declared_order(fork):
    a, b = fork.a, fork.b
    assert fork.plan("append", fork.heads, fork.base) == [
        *fork.shared, (a, 2), (a, 3), (b, 2), (b, 3)
    ]  # fmt: skip
    assert fork.plan("append", fork.heads[::-1], fork.base) == [
        *fork.shared, (b, 2), (b, 3), (a, 2), (a, 3)
    ]  # fmt: skip


def test_without_a_base_the_shared_records_come_once_with_the_first_parent(fork):
    assert fork.plan("append", fork.heads) == fork.plan("append", fork.heads, fork.base)


def test_base_keeps_the_base_only(fork):
    assert fork.plan("base", fork.heads, fork.base) == fork.shared
    assert fork.plan("base", fork.heads) == []


def test_select_keeps_one_parent_s_history(fork):
    assert fork.plan("select", fork.heads, fork.base, selected=1) == fork.history(fork.heads[1])


def test_interleave_orders_by_timestamp_and_ties_by_parent(fork):
    a, b = fork.a, fork.b
    clocked(fork, {(a, 2): 5, (a, 3): 9, (b, 2): 4, (b, 3): 9})
    assert fork.plan("interleave", fork.heads, fork.base) == [
        *fork.shared, (b, 2), (a, 2), (a, 3), (b, 3)
    ]  # fmt: skip


def test_interleave_never_moves_a_record_before_one_of_its_own_parent(fork):
    a, b = fork.a, fork.b
    clocked(fork, {(a, 2): 8, (a, 3): 1, (b, 2): 2, (b, 3): 9})
    assert fork.plan("interleave", fork.heads, fork.base) == [
        *fork.shared, (b, 2), (a, 2), (a, 3), (b, 3)
    ]  # fmt: skip


def test_fast_forward_takes_the_head_that_contains_the_others(fork):
    ahead = fork.branch(fork.a, 3, own=1)
    assert fork.plan("fast-forward", [(fork.a, 3), (ahead, 4)]) == fork.history((ahead, 4))
    assert fork.plan("fast-forward", [(fork.a, 3), (fork.b, 1)]) == fork.history((fork.a, 3))


def test_fast_forward_of_diverged_heads_is_refused(fork):
    with pytest.raises(NotFastForwardError):
        fork.plan("fast-forward", fork.heads)


def test_fast_forward_to_a_parent_of_a_merge_keeps_what_the_merge_brought(world):
    a, b = world.root(1), world.root(1)
    merged = world.merge([(a, 0), (b, 0)], [(a, 0), (b, 0)])
    assert world.plan("fast-forward", [(b, 0), (merged, 1)]) == [(a, 0), (b, 0)]


def test_fast_forward_counts_an_empty_head_as_contained(world):
    empty, full = world.root(), world.root(2)
    assert world.plan("fast-forward", [(empty, -1), (full, 1)]) == world.history((full, 1))


def test_two_attempts_from_a_merge_keep_its_order_as_their_base(world):
    a, b = world.root(1), world.root(1)
    merged = world.merge([(a, 0), (b, 0)], [(a, 0), (b, 0)])
    heads = [(world.branch(merged, 1, own=1), 2), (world.branch(merged, 1, own=1), 2)]
    base = resolve_base(world.graph, heads, None)
    assert world.plan("append", heads, base) == [(a, 0), (b, 0), *heads]
    assert world.plan("base", heads, base) == [(a, 0), (b, 0)]


def test_a_criss_cross_merge_has_every_record_once(world):
    root = world.root(1)
    a, b = world.branch(root, 0, own=1), world.branch(root, 0, own=1)
    one = world.merge([(a, 1), (b, 1)], [(root, 0), (a, 1), (b, 1)], own=1)
    two = world.merge([(b, 1), (a, 1)], [(root, 0), (b, 1), (a, 1)], own=1)
    heads = [(one, 3), (two, 3)]
    base = resolve_base(world.graph, heads, None)
    assert base == (b, 1)
    assert world.plan("append", heads, base) == [(root, 0), (b, 1), (a, 1), (one, 3), (two, 3)]


def test_a_hundred_parents_merge_under_every_policy_that_takes_diverged_heads(world):
    root = world.root(1)
    heads = [world.head(world.branch(root, 0, own=2)) for _ in range(100)]
    base = resolve_base(world.graph, heads, None)
    expected = [(root, 0)] + [(s, i) for s, _ in heads for i in (1, 2)]
    assert world.plan("append", heads, base) == expected
    assert world.plan("interleave", heads, base) == expected
    clocked(world, {(s, i): i for s, _ in heads for i in (1, 2)})
    assert world.plan("interleave", heads, base) == sorted(expected, key=lambda r: r[1])


# Custom orders.


def test_a_custom_order_may_reorder_and_leave_out(fork):
    chosen = [(fork.b, 3), (fork.a, 2)]
    records = fork.plan("custom:mine", fork.heads, fork.base, order=lambda parts: chosen, depth=2)
    assert records == fork.shared + chosen


def test_a_custom_order_is_given_the_suffixes_without_the_base(fork):
    given_parts = []
    fork.plan("custom:mine", fork.heads, fork.base, order=lambda p: given_parts.extend(p) or [])
    assert [[(s.stream, s.origin, s.count) for s in part] for part in given_parts] == [
        [(fork.a, 2, 2)],
        [(fork.b, 2, 2)],
    ]


def test_a_custom_order_with_a_record_of_the_base_is_refused(fork):
    with pytest.raises(InvalidInputError, match="none of the suffixes"):
        fork.plan("custom:mine", fork.heads, fork.base, order=lambda parts: [fork.base])


def test_a_custom_order_with_a_record_past_a_head_is_refused(fork):
    fork.append(fork.a, 1)
    with pytest.raises(InvalidInputError, match="none of the suffixes"):
        fork.plan("custom:mine", fork.heads, fork.base, order=lambda parts: [(fork.a, 4)])


def test_a_custom_order_with_a_record_twice_is_refused(fork):
    twice = [(fork.a, 2), (fork.b, 2), (fork.a, 2)]
    with pytest.raises(InvalidInputError, match="more than once"):
        fork.plan("custom:mine", fork.heads, fork.base, order=lambda parts: twice)


def test_a_custom_order_that_starts_over_after_the_last_record_is_refused(fork):
    again = [(fork.a, 2), (fork.a, 3), (fork.b, 2), (fork.b, 3), (fork.a, 2)]
    with pytest.raises(InvalidInputError, match="more than once"):
        fork.plan("custom:mine", fork.heads, fork.base, order=lambda parts: again)


def test_an_endless_custom_order_is_refused(fork):
    with pytest.raises(InvalidInputError, match="more than once"):
        fork.plan(
            "custom:mine",
            fork.heads,
            fork.base,
            order=lambda parts: repeat((fork.a, 2)),
        )


def test_a_custom_policy_without_its_callable_is_not_found(fork):
    with pytest.raises(NotFoundError, match="custom:mine"):
        fork.plan("custom:mine", fork.heads, fork.base)


# Names and parameters.


@pytest.mark.parametrize("policy", ["", "merge", "custom", "custom:", "Append"])
def test_an_unknown_policy_is_not_found_and_the_known_ones_are_named(policy):
    with pytest.raises(NotFoundError, match="fast-forward, select, append, interleave, base"):
        check_policy(policy)


def test_every_built_in_policy_is_at_version_1():
    assert dict(POLICIES) == dict.fromkeys(
        ["fast-forward", "select", "append", "interleave", "base"], 1
    )


@pytest.mark.parametrize(
    "params",
    [{}, {"selected": -1}, {"selected": 2}, {"selected": "a"}, {"selected": True},
     {"selected": 0, "more": 1}, {"other": 0}],
)  # fmt: skip
def test_select_without_one_parent_in_range_is_refused(params):
    with pytest.raises(InvalidInputError):
        check_params("select", params, 2)


@pytest.mark.parametrize("policy", sorted(set(POLICIES) - {"select"}))
def test_parameters_for_a_policy_that_takes_none_are_refused(policy):
    assert check_params(policy, {}, 2) == {}
    with pytest.raises(InvalidInputError, match="takes no parameters"):
        check_params(policy, {"selected": 0}, 2)


def test_custom_parameters_are_any_scalars_and_nothing_else():
    params = {"a": 1, "b": "x", "c": None, "d": 1.5, "e": True}
    assert check_params("custom:mine", params, 2) == params
    for wrong in ({"a": [1]}, {"a": float("nan")}, {1: 1}):
        with pytest.raises(InvalidInputError):
            check_params("custom:mine", wrong, 2)


# Bases.


def test_a_given_base_below_the_nearest_is_taken_by_its_origin_s_name(fork):
    root = fork.base[0]
    assert resolve_base(fork.graph, fork.heads, (fork.a, 0)) == (root, 0)
    assert resolve_base(fork.graph, fork.heads, None) == (root, 1)


@pytest.mark.parametrize("offset", [-1, 2, 3])
def test_a_given_base_that_not_every_head_has_is_refused(fork, offset):
    with pytest.raises(MergeBaseError):
        resolve_base(fork.graph, fork.heads, (fork.a, offset))


def test_a_given_base_of_an_unrelated_stream_is_refused(fork):
    with pytest.raises(MergeBaseError):
        resolve_base(fork.graph, fork.heads, (fork.root(3), 1))


def test_a_given_base_inside_a_merge_that_every_head_has_keeps_the_merge_s_history(world):
    a, b = world.root(1), world.root(1)
    merged = world.merge([(a, 0), (b, 0)], [(a, 0), (b, 0)], own=1)
    one, two = world.branch(merged, 2, own=1), world.branch(merged, 1, own=1)
    assert resolve_base(world.graph, [(one, 3), (two, 2)], (one, 1)) == (merged, 1)


def test_a_given_base_inside_a_merge_that_not_every_head_has_stands_for_its_record(world):
    a, b = world.root(1), world.root(1)
    merged = world.merge([(a, 0), (b, 0)], [(b, 0), (a, 0)])
    heads = [(a, 0), (merged, 1)]
    assert resolve_base(world.graph, heads, (merged, 1)) == (a, 0)


# Against the model.


def expected_bases(world, heads, given):
    """What a given base may become, in order of preference."""
    names = [world.names(head) for head in heads]
    choices = [world.canonical(given), world.history(given)[-1]]
    return [choice for choice in choices if all(choice in each for each in names)]


@UNHURRIED
@given(data=st.data())
def test_given_bases_equal_the_model(data, worlds, heads_of):
    world = data.draw(worlds)
    if len(world.records) < 2 or not any(world.histories.values()):
        return
    heads = data.draw(heads_of(world, distinct=True))
    stream = data.draw(st.sampled_from([s for s, records in world.histories.items() if records]))
    asked = (stream, data.draw(st.integers(0, world.head(stream)[1])))
    expected = expected_bases(world, heads, asked)
    assert bool(expected) == all(world.is_ancestor(asked, head) for head in heads)
    if expected:
        assert resolve_base(world.graph, heads, asked) == expected[0]
    else:
        with pytest.raises(MergeBaseError):
            resolve_base(world.graph, heads, asked)


@UNHURRIED
@given(data=st.data())
def test_every_policy_equals_the_model(data, worlds, heads_of):
    world = data.draw(worlds)
    if len(world.records) < 2:
        return
    heads = data.draw(heads_of(world, distinct=True))
    base = data.draw(st.sampled_from([None, *world.merge_bases(heads)]))
    parts = world.suffixes(heads, base)
    before, after = world.history(base), list(chain.from_iterable(parts))

    assert world.plan("base", heads, base) == before
    assert world.plan("append", heads, base) == before + after
    for place, head in enumerate(heads):
        assert world.plan("select", heads, base, selected=place) == world.history(head)

    late = [
        (max(map(world.time, part[: i + 1])), parent, i, record)
        for parent, part in enumerate(parts)
        for i, record in enumerate(part)
    ]
    mixed = world.plan("interleave", heads, base)
    assert mixed == before + [record for *_, record in sorted(late)]
    for part in parts:
        assert [record for record in mixed if record in part] == part

    chosen = data.draw(st.permutations(after))[: data.draw(st.integers(0, 20))]
    custom = world.plan("custom:any", heads, base, order=lambda _: iter(chosen))
    assert custom == before + chosen


@UNHURRIED
@given(data=st.data())
def test_fast_forward_equals_the_model(data, worlds, heads_of):
    world = data.draw(worlds)
    if len(world.records) < 2:
        return
    heads = data.draw(heads_of(world, distinct=True))
    every = set().union(*map(world.own, heads))
    full = [head for head in heads if world.own(head) == every]
    if full:
        assert world.plan("fast-forward", heads) == world.history(full[0])
    else:
        with pytest.raises(NotFastForwardError):
            world.plan("fast-forward", heads)
