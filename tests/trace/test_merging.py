"""Merges of tasks: references lead to the parts of the stream they were written in."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace


def ask(task: trace.Task, *contents: str) -> list[dict[str, str]]:
    """A model call with these messages; its request."""
    request = [{"role": "user", "content": content * 10} for content in contents]
    task.model_call(model="m", request=request)
    return request


def requests(log: transit.Log, name: str) -> list[Any]:
    return [
        record.event.request
        for record in trace.read(log, name)
        if isinstance(record.event, trace.ModelCall)
    ]


def family(log: transit.Log) -> tuple[list[trace.Task], list[list[Any]]]:
    """A task and two branches that all ask on; the requests each asked itself."""
    task = trace.task(log, "t")
    shared = [ask(task, "base"), ask(task, "base", "more")]
    one, other = task.retry(), task.critique(at=0)
    asked: list[list[Any]] = [[], [], []]
    for n in range(4):
        for own, branch, name in zip(asked, (task, one, other), ("t", "one", "other"), strict=True):
            own.append(ask(branch, "base", name, f"{name} {n}", "more"))
    return [task, one, other], [[*shared, *asked[0]], asked[1], asked[2]]


def expected(policy: str, asked: list[list[Any]]) -> list[Any]:
    root, one, other = asked
    return {
        "select": [*root[:2], *one],
        "base": root[:1],
        "append": [*root, *one, *other],
        "interleave": [
            *root[:2],
            *[each for trio in zip(root[2:], one, other, strict=True) for each in trio],
        ],
    }[policy]


@pytest.mark.parametrize("policy", ["select", "append", "interleave", "base"])
def test_a_merge_gives_every_request_as_it_was_asked(log: transit.Log, policy: str) -> None:
    tasks, asked = family(log)
    selected = tasks[1] if policy == "select" else None
    merged = trace.merge(log, tasks, policy=policy, selected=selected, reason="because")
    wanted = expected(policy, asked)
    assert requests(log, merged.name) == wanted
    # What is asked there refers to what the merge holds, in its own numbers.
    for n in range(2):
        wanted.append(ask(merged, "base", "one", "other", f"new {n}"))
    assert requests(log, merged.name) == wanted
    branch = merged.retry(at=merged.last)
    inner = merged.critique(at=0)
    wanted_there = [*wanted, ask(branch, "other", f"new {1}", "late")]
    ask(merged, "late")
    assert requests(log, branch.name) == wanted_there
    assert requests(log, inner.name) == wanted[:1]
    assert ask(inner, "one", "new 0") == requests(log, inner.name)[-1]
    resumed = trace.resume(log, branch.name)
    assert ask(resumed, "late", "one", "base") == requests(log, branch.name)[-1]
    assert trace.read(log, merged.stream).policy == policy
    assert log.verify().ok


def test_a_fast_forward_goes_on_where_the_longest_is(log: transit.Log) -> None:
    task = trace.task(log, "t")
    shared = ask(task, "base")
    retry = task.retry()
    own = ask(retry, "base", "own")
    merged = trace.merge(log, [task, retry], policy="fast-forward")
    assert requests(log, merged.name) == [shared, own]
    assert ask(merged, "own", "new") == requests(log, merged.name)[-1]
    ask(task, "elsewhere")
    with pytest.raises(transit.NotFastForwardError):
        trace.merge(log, [task, retry], policy="fast-forward")


@pytest.mark.parametrize("policy", ["append", "fast-forward"])
def test_the_end_of_a_parents_run_is_not_that_of_the_merge(log: transit.Log, policy: str) -> None:
    with trace.task(log, "t") as task:
        ask(task, "base")
    parents = [task, task.retry()]
    merged = trace.merge(log, parents, policy=policy)
    assert (end := trace.read(log, "t").ended) is not None
    assert end.status == "completed"
    assert trace.read(log, merged.name).ended is None
    with merged:
        ask(merged, "more")
    assert (end := trace.read(log, merged.name).ended) is not None
    assert (end.status, end.totals.events) == ("completed", 2)


def test_a_policy_that_turns_histories_around_gives_every_request_as_it_was_asked(
    log: transit.Log,
) -> None:
    def backwards(suffixes: Any, params: Any) -> Any:
        return [record for suffix in suffixes for record in reversed(suffix)]

    transit.register_policy("backwards", backwards)
    tasks, asked = family(log)
    merged = trace.merge(log, tasks, policy="custom:backwards", base=transit.Position("t", 0))
    root, one, other = asked
    wanted = [root[0], *root[:0:-1], *one[::-1], *other[::-1]]
    assert requests(log, merged.name) == wanted
    assert ask(merged, "one", "base", "new") == requests(log, merged.name)[-1]


@pytest.mark.parametrize("policy", ["append", "fast-forward", "interleave"])
def test_what_a_parent_was_made_with_and_began_is_not_the_merges(
    log: transit.Log, policy: str
) -> None:
    with trace.task(log, "t", manifest=trace.manifest(prompt="brief", git=None)) as task:
        with trace.task(log, "inner") as inner:
            ask(inner, "base")
        ask(task, "base")
    merged = trace.merge(log, [task, task.retry()], policy=policy)
    assert trace.read(log, "t").manifest is not None
    assert [each.name for each in trace.read(log, "t").children] == [inner.name]
    with merged:
        found = trace.read(log, merged.name)
        assert (found.manifest, found.children, found.totals.children) == (None, (), 0)
        with trace.task(log, "own") as own:
            ask(own, "more")
    found = trace.read(log, merged.name)
    assert [each.name for each in found.children] == [own.name]
    assert found.totals.children == 1


@pytest.mark.parametrize("first", ["append", "interleave"])
@pytest.mark.parametrize("second", ["append", "interleave"])
def test_a_merge_of_merges_gives_every_request_as_it_was_asked(
    log: transit.Log, first: str, second: str
) -> None:
    tasks, asked = family(log)
    one = trace.merge(log, tasks[:2], policy=first)
    in_one = [ask(one, "one", "t", f"in one {n}") for n in range(2)]
    other = trace.merge(log, tasks[1:], policy=first)
    in_other = [ask(other, "other", "one", f"in other {n}") for n in range(2)]
    branch = one.retry()
    in_branch = [ask(branch, "in one 0", "branch")]
    merged = trace.merge(log, [one, other, branch, tasks[0]], policy=second)
    found = requests(log, merged.name)
    everything = [*chain(*asked), *in_one, *in_other, *in_branch]
    assert sorted(map(str, found)) == sorted(map(str, everything)), "each once"
    own = [ask(merged, "in other 1", "branch", "t 3", "base"), ask(merged, "t 3")]
    last = merged.retry()
    own.append(ask(last, "in one 1", "t 3", "new"))
    assert requests(log, last.name) == found + own
    origins = {record.origin.stream for record in trace.read(log, last.stream)}
    assert {task.name for task in (one, other, branch, *tasks)} <= origins


def test_a_merge_goes_through_sealing_and_another_process_s_eyes(log: transit.Log) -> None:
    tasks, asked = family(log)
    merged = trace.merge(log, tasks, policy="interleave")
    wanted = [*expected("interleave", asked), ask(merged, "one", "t")]
    log.seal()
    with transit.open(log.path, mode="read") as other:
        assert requests(other, merged.name) == wanted


# Which is selected


def test_the_newest_decision_selects(log: transit.Log) -> None:
    task = trace.task(log, "t")
    ask(task, "base")
    one, other = task.retry(), task.retry()
    one.evaluate("judge", decision="selected")
    one.evaluate("judge", decision="rejected", subject=f"{other.name}@0")
    assert chosen(log, [task, one, other]) == one.name
    other.evaluate("judge", decision="selected")
    assert chosen(log, [task, one, other]) == other.name
    # It is about another than it stands in.
    task.evaluate("judge", decision="selected", subject=f"{one.name}@0")
    assert chosen(log, [task, one, other]) == one.name
    # What it is about is not merged: then it selects where it stands.
    assert chosen(log, [other, task]) == "t"
    assert trace.merge(log, [one, other], policy="select", selected=other).last == other.last


def test_the_last_of_decisions_of_one_moment_selects(log: transit.Log) -> None:
    task = trace.task(log, "t")
    retry = task.retry()
    moment = 2**62
    for branch in (task, retry, retry, task):
        about = (
            b'{"event":"evaluation","evaluator_id":"j","decision":"selected","subject_ref":"%s@0"}'
        )
        task.stream.append(about % branch.name.encode(), timestamp=moment)
    assert chosen(log, [task, retry]) == "t"
    task.stream.append(about % b"t/retry-1", timestamp=moment)
    assert chosen(log, [retry, task]) == retry.name


def chosen(log: transit.Log, tasks: list[trace.Task]) -> object:
    plan = trace.merge(log, tasks, policy="select").stream.merge_plan
    assert plan is not None
    return plan.params["selected"]


def test_a_merge_is_named_after_its_task_or_as_it_is_told(log: transit.Log) -> None:
    task = trace.task(log, "t")
    ask(task, "base")
    retry = task.retry()
    names = [
        trace.merge(log, [task, retry], policy="append", name=name).name
        for name in (None, None, "mine")
    ]
    assert names[0] == "t/merge-1"
    assert names[2] == "mine"
    assert trace.read(log, names[0]).trace_kind == "merge"


def test_a_merge_that_cannot_be_is_refused_and_leaves_nothing(log: transit.Log) -> None:
    task = trace.task(log, "t")
    ask(task, "base")
    retry = task.retry()
    bad: list[dict[str, Any]] = [
        {"tasks": [], "policy": "append"},
        {"tasks": task, "policy": "append"},
        {"tasks": "t", "policy": "append"},
        {"tasks": [task, b"t/retry-1"], "policy": "append"},
        {"tasks": [task, retry], "policy": "select"},
        {"tasks": [task, retry], "policy": "select", "selected": 5},
        {"tasks": [task, retry], "policy": "append", "selected": retry},
    ]
    for arguments in bad:
        with pytest.raises(transit.InvalidInputError):
            trace.merge(log, **arguments)
    outside = trace.task(log, "u")
    with pytest.raises(transit.TransitError):
        trace.merge(log, [task, retry], policy="select", selected=outside)
    with pytest.raises(transit.NotFoundError):
        trace.merge(log, [task, retry], policy="vote")
    assert not any(stream.kind == "merge" for stream in log.streams())


def test_finished_runs_are_merged_by_name_stream_or_trace_and_stay_ended(path: Path) -> None:
    with transit.open(path, durability="os") as log:
        with trace.task(log, "t", reason="asked") as task:
            ask(task, "base")
            with task.retry(name="again") as retry:
                ask(retry, "better")
                retry.evaluate("judge", decision="selected")
        before = {stream.name: len(stream) for stream in log.streams()}
    with transit.open(path, durability="os") as log:
        stood = {run.name: run for run in trace.runs(log)}
        several: list[list[Any]] = [
            ["t", "again"],
            [log.stream("t"), trace.read(log, "again")],
            [trace.read(log, "t"), log.stream("again")],
        ]
        for tasks in several:
            merged = trace.merge(log, tasks, policy="select", reason="the next day")
            assert merged.stream.parents == (("t", before["t"] - 1), ("again", before["again"] - 1))
            assert [record.payload for record in merged.stream] == [
                record.payload for record in log.stream("again")
            ]
            assert merged.task_id == "t"
        assert merged.name == "t/merge-3"
        chosen = trace.merge(log, ["t", "again"], policy="select", selected="t", name="mine")
        assert len(chosen.stream) == before["t"]
        assert {name: len(log.stream(name)) for name in before} == before
        now = {run.name: run for run in trace.runs(log)}
        assert {name: now[name] for name in stood} == stood
        assert now["mine"].status == "unfinished"
        with pytest.raises(transit.NotFoundError):
            trace.merge(log, ["t", "nobody"], policy="append")


def test_a_merge_by_name_is_answered_in_a_replay(log: transit.Log) -> None:
    for name in ("a", "b"):
        with trace.task(log, name) as task:
            ask(task, name)

    def program(place: transit.Log) -> str:
        merged = trace.merge(place, ["a", "b"], policy="append")
        return merged.name

    with trace.task(log, "t"):
        wanted = program(log)
    count = len(list(log.streams()))
    with trace.replay(log, "t"):
        assert program(log) == wanted
    assert len(list(log.streams())) == count
