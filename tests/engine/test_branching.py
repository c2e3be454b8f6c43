"""What branches, merges and questions about lineage promise."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit
from transit import Log, Position, Stream

from .histories import Contents, filled, origins, parents, payloads

# Branches


def test_a_branch_shares_history_up_to_the_fork_and_then_goes_its_own_way(
    forked: tuple[Stream, Stream],
) -> None:
    main, side = forked
    assert payloads(main) == [b"m0", b"m1", b"m2", b"m3"]
    assert payloads(side) == [b"m0", b"m1", b"s2", b"s3"]
    assert origins(side) == [("main", 0), ("main", 1), ("side", 2), ("side", 3)]
    assert (side.kind, side.fork_offset, parents(side)) == ("branch", 1, [("main", 1)])
    assert side.own_start == 2


def test_a_branch_can_be_taken_at_any_offset(log: Log) -> None:
    stream = filled(log, "s", *(b"%d" % number for number in range(10)))
    for at in range(10):
        child = stream.branch(f"at {at}", at=at)
        assert payloads(child) == [b"%d" % number for number in range(at + 1)]
        assert child.append(b"own").offset == at + 1
    with pytest.raises(transit.OffsetError):
        stream.branch("past the head", at=10)
    assert "past the head" not in log
    assert len(stream) == 10


def test_branches_of_branches_trace_every_record_to_where_it_was_appended(log: Log) -> None:
    a = filled(log, "a", b"a0", b"a1")
    b = a.branch("b")
    b.append(b"b2")
    c = b.branch("c")
    c.append(b"c3")
    inherited = c.branch("d", at=0)
    assert origins(c) == [("a", 0), ("a", 1), ("b", 2), ("c", 3)]
    assert origins(inherited) == [("a", 0)]
    assert parents(inherited) == [("c", 0)]


def test_an_empty_stream_can_be_branched_at_its_head_only(log: Log) -> None:
    empty = log.create("empty")
    child = empty.branch("child")
    assert (child.kind, len(child), parents(child)) == ("branch", 0, [("empty", -1)])
    empty.append(b"later")
    assert payloads(child) == []
    assert child.append(b"own").offset == child.own_start == 0
    for at in (0, -1):
        with pytest.raises(transit.OffsetError):
            log.create(f"empty {at}").branch(f"child {at}", at=at)


def test_a_branch_of_a_merge_keeps_the_merged_order(
    forked: tuple[Stream, Stream], log: Log
) -> None:
    merged = log.merge("merged", list(forked), policy="interleave")
    merged.append(b"own")
    for at in range(7):
        child = merged.branch(f"at {at}", at=at)
        assert payloads(child) == payloads(merged)[: at + 1]
        assert origins(child) == origins(merged)[: at + 1]


def test_branching_does_not_read_or_copy_the_history(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        stream = log.create("s")
        stream.append_many([b"x" * 1000] * 2000)
        log.sync()
        before = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        for number in range(100):
            stream.branch(f"b{number}")
        log.sync()
        after = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    # Files may be allocated ahead in large steps, but 100 copies would be 200 MB.
    assert after - before < 70_000_000


# Merges


@pytest.mark.parametrize(
    ("policy", "params", "expected"),
    [
        ("select", {"selected": "main"}, [b"m0", b"m1", b"m2", b"m3"]),
        ("select", {"selected": "side"}, [b"m0", b"m1", b"s2", b"s3"]),
        ("append", None, [b"m0", b"m1", b"m2", b"m3", b"s2", b"s3"]),
        ("interleave", None, [b"m0", b"m1", b"m2", b"s2", b"m3", b"s3"]),
        ("base", None, [b"m0", b"m1"]),
        ("custom:surface-last-first", None, [b"m0", b"m1", b"s3", b"s2", b"m3", b"m2"]),
        ("custom:surface-every", {"step": 2}, [b"m0", b"m1", b"m2", b"s2"]),
    ],
)
def test_every_policy_makes_its_history_and_plan_shows_it_first(
    log: Log,
    forked: tuple[Stream, Stream],
    policy: str,
    params: dict[str, str | int] | None,
    expected: list[bytes],
) -> None:
    plan = log.plan(list(forked), policy=policy, params=params)
    assert [stream.name for stream in log.streams()] == ["main", "side"]
    merged = log.merge("merged", list(forked), policy=policy, params=params)
    assert payloads(merged) == expected
    assert (merged.kind, parents(merged)) == ("merge", [("main", 3), ("side", 3)])
    assert plan.base == Position("main", 1)
    assert (plan.policy, plan.version, plan.count) == (policy, 1, len(expected))
    assert [(p.stream, p.offset + i) for p, n in plan.spans for i in range(n)] == origins(merged)
    assert merged.own_start == plan.count
    assert merged.append(b"own").offset == merged.own_start
    assert log.stream("main").own_start == 0
    assert merged[-1].origin == Position("merged", len(expected))
    assert len(forked[0]) == len(forked[1]) == 4


transit.register_policy(
    "surface-last-first",
    lambda suffixes, params: [r for suffix in suffixes[::-1] for r in suffix[::-1]],
)
transit.register_policy(
    "surface-every",
    lambda suffixes, params: (r for suffix in suffixes for r in suffix[:: params["step"]]),
)


def test_a_custom_policy_is_called_with_the_suffixes_as_records_and_the_params(
    log: Log, forked: tuple[Stream, Stream]
) -> None:
    calls: list[tuple[object, object]] = []

    def order(suffixes: object, params: object) -> list[transit.Record]:
        calls.append((suffixes, params))
        return []

    transit.register_policy("surface-records", order, version=3)
    plan = log.plan(list(forked), policy="custom:surface-records", params={"k": 1})
    assert plan.version == 3
    (suffixes, params) = calls[0]
    assert [[record.payload for record in suffix] for suffix in suffixes] == [  # type: ignore[attr-defined]
        [b"m2", b"m3"],
        [b"s2", b"s3"],
    ]
    assert dict(params) == {"k": 1}  # type: ignore[call-overload]
    assert all(isinstance(r, transit.Record) for suffix in suffixes for r in suffix)  # type: ignore[attr-defined]


def test_interleave_never_changes_the_order_of_one_parent(log: Log) -> None:
    one, two = log.create("one"), log.create("two")
    for time_ in (10, 1, 2, 11):
        one.append(b"one %d" % time_, timestamp=time_)
    for time_ in (5, 10, 11):
        two.append(b"two %d" % time_, timestamp=time_)
    merged = log.merge("merged", [one, two], policy="interleave")
    expected = [b"two 5", b"one 10", b"one 1", b"one 2", b"two 10", b"one 11", b"two 11"]
    assert payloads(merged) == expected


def test_fast_forward_takes_the_head_that_contains_the_others(log: Log) -> None:
    main = filled(log, "main", b"m0", b"m1")
    side = main.branch("side")
    side.append(b"s2")
    for order in ([main, side], [side, main]):
        name = "+".join(stream.name for stream in order)
        assert payloads(log.merge(name, order, policy="fast-forward")) == [b"m0", b"m1", b"s2"]
    main.append(b"m2")
    with pytest.raises(transit.NotFastForwardError):
        log.merge("diverged", [main, side], policy="fast-forward")
    assert "diverged" not in log
    position = Position("main", 1)
    assert payloads(log.merge("earlier", [position, side], policy="fast-forward")) == [
        b"m0",
        b"m1",
        b"s2",
    ]


def test_a_merge_contains_its_parents(log: Log, forked: tuple[Stream, Stream]) -> None:
    merged = log.merge("merged", list(forked), policy="select", params={"selected": "side"})
    for parent in forked:
        again = log.merge(f"{parent.name} on", [parent, merged], policy="fast-forward")
        assert payloads(again) == payloads(merged)


def test_parents_may_be_positions_before_the_head(log: Log, forked: tuple[Stream, Stream]) -> None:
    _, side = forked
    merged = log.merge("merged", [Position("main", 2), side], policy="append")
    assert payloads(merged) == [b"m0", b"m1", b"m2", b"s2", b"s3"]
    assert parents(merged) == [("main", 2), ("side", 3)]


def test_a_merge_of_three_without_a_common_record_takes_each_record_once(log: Log) -> None:
    one = filled(log, "one", b"a0", b"a1")
    two = filled(log, "two", b"b0", first_timestamp=1)
    three = one.branch("three", at=0)
    three.append(b"c1", timestamp=9)
    merged = log.merge("merged", [three, two, one], policy="append")
    assert payloads(merged) == [b"a0", b"c1", b"b0", b"a1"]
    assert log.plan([three, two, one], policy="append").base is None


def test_empty_streams_merge(log: Log) -> None:
    one, two = log.create("one"), log.create("two")
    full = filled(log, "full", b"0")
    for policy in ("append", "interleave", "base"):
        merged = log.merge(policy, [one, two], policy=policy)
        assert (payloads(merged), parents(merged)) == ([], [("one", -1), ("two", -1)])
        assert merged.append(b"own").offset == 0
    assert payloads(log.merge("mixed", [one, full, two], policy="append")) == [b"0"]


def test_a_base_may_be_given_and_a_wrong_one_is_refused(
    log: Log, forked: tuple[Stream, Stream], contents: Contents
) -> None:
    base = Position("main", 0)
    merged = log.merge("merged", list(forked), policy="append", base=base)
    assert payloads(merged) == [b"m0", b"m1", b"m2", b"m3", b"s2", b"s3"]
    assert payloads(log.merge("base", list(forked), policy="base", base=base)) == [b"m0"]
    same_record = Position("side", 1)
    assert log.plan(list(forked), policy="base", base=same_record).base == Position("main", 1)
    before = contents(log)
    for wrong in (Position("main", 2), Position("side", 2), Position("merged", 5)):
        for call in (log.plan, lambda *a, **k: log.merge("refused", *a, **k)):
            with pytest.raises(transit.MergeBaseError):
                call(list(forked), policy="append", base=wrong)
    assert contents(log) == before


def test_merging_again_with_the_same_id_returns_the_stream_and_writes_nothing(
    path: Path, contents: Contents
) -> None:
    with transit.open(path) as log:
        main = filled(log, "main", b"m0")
        side = main.branch("side")
        heads = [Position("main", 0), Position("side", 0)]
        first = log.merge("by default", [main, side], policy="append")
        given = log.merge("given", [main, side], policy="append", merge_id="merge-1")
        main.append(b"m1")
        before = contents(log)
        assert log.merge("by default", heads, policy="append").id == first.id
        again = log.merge("given", [main, side], policy="append", merge_id="merge-1")
        assert again.id == given.id
        assert contents(log) == before
        log.seal()
    with transit.open(path) as log:
        sealed = [log.stream("main"), log.stream("side")]
        assert log.merge("by default", heads, policy="append").id == first.id
        assert log.merge("given", sealed, policy="append", merge_id="merge-1").id == given.id
        assert contents(log) == before


def test_a_merge_under_a_taken_name_is_refused(log: Log, forked: tuple[Stream, Stream]) -> None:
    log.merge("merged", list(forked), policy="append")
    for name, policy in (("main", "append"), ("merged", "interleave")):
        with pytest.raises(transit.AlreadyExistsError):
            log.merge(name, list(forked), policy=policy)
    assert len(list(log.streams())) == 3


def test_a_merge_id_never_names_a_second_stream(
    log: Log, forked: tuple[Stream, Stream], contents: Contents
) -> None:
    log.merge("merged", list(forked), policy="append", merge_id="merge-1")
    before = contents(log)
    with pytest.raises(transit.AlreadyExistsError):
        log.merge("other", list(forked), policy="append", merge_id="merge-1")
    assert contents(log) == before


def test_provenance_is_kept_through_three_levels_of_merges(path: Path) -> None:
    with transit.open(path) as log:
        a = filled(log, "a", b"a0", first_timestamp=0)
        b = filled(log, "b", b"b0", first_timestamp=1)
        ab = log.merge("ab", [a, b], policy="append")
        ab.append(b"ab2", timestamp=2)
        c = filled(log, "c", b"c0", first_timestamp=3)
        abc = log.merge("abc", [c, ab], policy="append")
        abc.append(b"abc4", timestamp=4)
        child = abc.branch("child", at=3)
        child.append(b"child4", timestamp=5)
        last = log.merge("last", [child, abc], policy="interleave")
        before = origins(last)
        log.seal()
    expected = [("c", 0), ("a", 0), ("b", 0), ("ab", 2), ("abc", 4), ("child", 4)]
    assert before == expected
    with transit.open(path) as log:
        last = log.stream("last")
        assert origins(last) == expected
        for record in last:
            source = log.stream(record.origin.stream)[record.origin.offset]
            assert (source.payload, source.timestamp) == (record.payload, record.timestamp)
            assert source.origin == record.origin


# Lineage


def test_lineage_answers_over_a_criss_cross(log: Log) -> None:
    a = filled(log, "a", b"a0")
    b = a.branch("b")
    a.append(b"a1")
    b.append(b"b1")
    left = log.merge("left", [a, b], policy="append")
    right = log.merge("right", [b, a], policy="append")
    lineage = log.lineage
    assert [stream.name for stream in lineage.ancestors(b)] == ["a"]
    assert {stream.name for stream in lineage.ancestors(left)} == {"a", "b"}
    assert [stream.name for stream in lineage.children(a)] == ["b", "left", "right"]
    assert [stream.name for stream in lineage.parents(right)] == ["b", "a"]
    assert lineage.merge_base(a, b) == Position("a", 0)
    assert lineage.merge_bases(left, right) == (Position("b", 1), Position("a", 1))
    assert lineage.merge_base(left, right) == Position("b", 1)
    assert lineage.is_ancestor(Position("a", 0), b)
    assert lineage.is_ancestor(Position("b", 0), a)
    assert not lineage.is_ancestor(a, b)
    assert lineage.is_ancestor(a, left)
    assert lineage.is_ancestor(b, right)
    assert not lineage.is_ancestor(left, a)
    assert lineage.merge_base(a, filled(log, "stranger", b"x")) is None


def test_ancestors_come_nearest_first(log: Log) -> None:
    stream = filled(log, "0", b"")
    for number in range(1, 5):
        stream = stream.branch(str(number))
        stream.append(b"")
    assert [s.name for s in log.lineage.ancestors(stream)] == ["3", "2", "1", "0"]


def test_no_merge_base_is_an_ancestor_of_another(log: Log) -> None:
    a, b = filled(log, "a", b"a0"), filled(log, "b", b"b0")
    selected = log.merge("selected", [a, b], policy="select", params={"selected": "a"})
    a.append(b"a1")
    left = log.merge("left", [selected, a], policy="append")
    right = log.merge("right", [a, selected], policy="append")
    assert log.lineage.merge_bases(left, right) == (Position("a", 1),)


def test_ancestors_of_a_place_inside_a_merge_are_those_of_the_records_before_it(log: Log) -> None:
    a, b = filled(log, "a", b"a0"), filled(log, "b", b"b0")
    merged = log.merge("merged", [a.branch("child"), b], policy="append")
    inside, whole = Position("merged", 0), merged
    assert {stream.name for stream in log.lineage.ancestors(inside)} == {"a"}
    assert {stream.name for stream in log.lineage.ancestors(whole)} == {"a", "b", "child"}


def test_the_graph_has_every_stream_and_every_parent(
    log: Log, forked: tuple[Stream, Stream]
) -> None:
    log.merge("merged", list(forked), policy="append")
    graph = log.lineage.graph()
    assert len(graph.nodes) == 3
    assert len(graph.edges) == 3
