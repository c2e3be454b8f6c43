"""Summaries of runs: what their ends and what came after them say, alone and with those below."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from transit import trace
from transit.trace import ends, families, summaries, sums, tabulating
from transit.trace.ends import standing_of
from transit.trace.events import decode_event, encode_json
from transit.trace.families import rolled_up
from transit.trace.steps import tokens_of
from transit.trace.summaries import SORTS

from .page_data import data_of
from .shared_files import shared_files

DEADLINE_S = 120


def recount(log: transit.Log, name: str) -> dict[str, object]:
    """What a run did itself, counted from its records and from nothing else."""
    stream = log.stream(name)
    counts: Counter[str] = Counter()
    tools: dict[str, list[int]] = {}
    status, told = "unfinished", [0, 0]
    for record in stream:
        if record.origin.stream != name:
            continue
        event = decode_event(record.payload)
        counts["events"] += not isinstance(event, trace.Unknown)
        counts["model_calls"] += isinstance(event, trace.ModelCall | trace.ModelRequest)
        counts["tool_calls"] += isinstance(event, trace.ToolRequest)
        counts["children"] += isinstance(event, trace.ChildRun)
        if isinstance(event, trace.ToolRequest):
            tools.setdefault(event.tool_name, [0, 0])[0] += 1
        if isinstance(event, trace.ToolResult) and event.tool_status in ("failure", "timeout"):
            counts["failures"] += 1
            tools.setdefault(event.tool_name, [0, 0])[1] += 1
        if isinstance(event, trace.ModelCall | trace.ModelResponse):
            told[0] += max(event.input_tokens, 0)
            told[1] += max(event.output_tokens, 0)
        if isinstance(event, trace.RunEnd):
            status = event.status
        if isinstance(event, trace.Checkpoint) and event.checkpoint_kind == "resume":
            status = "unfinished"
    return {
        **{name: counts[name] for name in _COUNTED}, "status": status, "told": told,
        "tools": {name: tuple(used) for name, used in tools.items()},
    }  # fmt: skip


_COUNTED = ("events", "model_calls", "tool_calls", "children", "failures")


def summed(run: trace.RunSummary) -> dict[str, object]:
    """The same, of a summary."""
    told = [sum(max(each[side], 0) for each in run.own.tokens.values()) for side in (0, 1)]
    return {
        **{name: getattr(run.own, name) for name in _COUNTED}, "status": run.status, "told": told,
        "tools": run.own.tools,
    }  # fmt: skip


def work(task: trace.Task, seed: int = 0) -> None:
    """Some events of every kind that is counted."""
    rng = random.Random(seed)
    for _ in range(rng.randrange(1, 8)):
        task.message("user", "hello")
        task.model_call(model="m", usage={"input_tokens": rng.randrange(9), "output_tokens": 1})
        call = task.tool(rng.choice(("bash", "edit")), {})
        if rng.random() < 0.5:
            call.result("ok")
        else:
            call.failure("no")


def fail(log: transit.Log, name: str, error: BaseException) -> None:
    try:
        with trace.task(log, name) as task:
            work(task, 1)
            raise error
    except BaseException as raised:
        if raised is not error:
            raise


def only(log: transit.Log, name: str, **options: Any) -> trace.RunSummary:
    found = [run for run in trace.runs(log, name, **options) if run.name == name]
    assert len(found) == 1
    return found[0]


def situations(log: transit.Log) -> None:
    """Runs in every state, also such as were gone on with, or have something after the end."""
    with trace.task(log, "ended") as task:
        work(task)
    trace.task(log, "empty")
    work(trace.task(log, "open"))
    fail(log, "failed", ValueError("boom"))
    fail(log, "cancelled", KeyboardInterrupt())
    with trace.task(log, "resumed") as task:
        work(task, 2)
    work(trace.resume(log, "resumed"), 3)
    with trace.task(log, "again") as task:
        work(task, 4)
    with trace.resume(log, "again") as task:
        work(task, 5)
    with trace.task(log, "late") as task:
        work(task, 6)
    trace.Task(log, log.stream("late"), task.options).evaluate("judge", decision="good", score=1)
    with trace.task(log, "long tail") as task:
        work(task, 7)
    for _ in range(50):
        task.message("user", "after the end")
    with trace.task(log, "branched") as task:
        work(task, 8)
    branch = task.retry(name="branch")
    work(branch, 9)
    branch.end()
    task.retry(name="branch of nothing")
    merged = trace.merge(log, [task, branch], policy="append", name="merged")
    merged.message("user", "z")
    trace.merge(log, [task, branch], policy="append", name="merge of nothing")


def check(log: transit.Log) -> list[str]:
    """The runs whose summaries are not what their records say."""
    return [run.name for run in trace.runs(log) if summed(run) != recount(log, run.name)]


@pytest.mark.parametrize("sealed", [False, True], ids=["written", "sealed"])
def test_a_summary_says_what_the_records_of_the_run_say(log: transit.Log, sealed: bool) -> None:
    situations(log)
    if sealed:
        log.seal()
    assert check(log) == []
    statuses = Counter(run.status for run in trace.runs(log))
    assert set(statuses) == {"completed", "failed", "cancelled", "unfinished"}


_stands = ends._stands


def _never_resumed(*arguments: Any) -> ends.Standing:
    return msgspec.structs.replace(_stands(*arguments), resumed=False)


def _without_what_follows(
    stream: transit.Stream, found: Any, start: int, stop: int
) -> ends.Standing:
    record, end = found or (None, None)
    if end is None:
        return ends.Standing(trace.Totals())
    return ends.Standing(end.totals, end, record.timestamp)


def _without_merges(stream: transit.Stream) -> int:
    return 0 if stream.fork_offset is None else stream.fork_offset + 1


PLANTS: dict[str, tuple[Any, str, Any]] = {
    "a run that was gone on with has ended": (ends, "_stands", _never_resumed),
    "what follows an end is left out": (ends, "_stands", _without_what_follows),
    "inherited records are its own": (transit.Stream, "own_start", property(lambda stream: 0)),
    "the records of a merge's parents are its own": (
        transit.Stream, "own_start", property(_without_merges),
    ),
}  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_mistake_is_found(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch, plant: str
) -> None:
    situations(log)
    monkeypatch.setattr(*PLANTS[plant])
    assert check(log) != []


def test_of_an_ended_run_only_the_last_record_is_read(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        with trace.task(log, f"run/{number}") as task:
            work(task, number)
    whole = trace.runs(log)

    def read(*arguments: object, **options: object) -> Iterator[transit.Record]:
        raise AssertionError("more than the last record is read")

    monkeypatch.setattr(transit.Stream, "read", read)
    assert list(trace.runs(log)) == list(whole)


def test_a_run_that_was_killed_is_unfinished_and_summed_up(path: Path) -> None:
    script = (
        "import os, signal, sys, transit\n"
        "from transit import trace\n"
        "log = transit.open(sys.argv[1], durability='os')\n"
        "task = trace.task(log, 'killed')\n"
        "task.model_call(model='m', usage={'input_tokens': 7, 'output_tokens': 2})\n"
        "task.tool('bash', {}).failure('no')\n"
        "task.model('m', 'never answered')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], timeout=DEADLINE_S, check=False
    )
    assert done.returncode == -signal.SIGKILL
    prices = trace.Prices({"m": {"input": 1, "output": 1}})
    with transit.open(path, durability="os") as log:
        run = only(log, "killed", prices=prices)
        assert summed(run) == recount(log, "killed")
        assert (run.status, run.ended_at, run.duration_ns) == ("unfinished", None, None)
        assert (run.tokens_in, run.tokens_out, run.failures) == (7, 2, 1)
        assert run.cost is None, "what the last request cost is not known"
        trace.resume(log, "killed").end()
        assert only(log, "killed").status == "completed"
        assert check(log) == []


def test_the_status_and_the_error_are_those_of_the_end(log: transit.Log) -> None:
    situations(log)
    failed = only(log, "failed")
    assert failed.status == "failed"
    assert failed.error == trace.ErrorInfo(type="ValueError", message="boom")
    assert failed.duration_ns is not None
    assert failed.created_at is not None
    assert failed.ended_at is not None
    assert failed.ended_at >= failed.created_at
    trace.resume(log, "failed")
    resumed = only(log, "failed")
    assert (resumed.status, resumed.error, resumed.ended_at) == ("unfinished", None, None)


def test_a_run_has_what_the_runs_below_it_did(log: transit.Log) -> None:
    with trace.task(log, "a") as top:
        work(top, 1)
        with trace.task(log, "a/b") as middle:
            work(middle, 2)
            with trace.task(log, "a/b/c") as low:
                work(low, 3)
                low.evaluate("judge", decision="x")
        with trace.task(log, "a/d") as other:
            work(other, 4)
    found = {run.name: run for run in trace.runs(log)}
    assert found["a"].children == ("a/b", "a/d")
    assert (found["a/b/c"].parent, found["a"].parent) == ("a/b", None)
    for name, below in [("a", "a"), ("a/b", "a/b"), ("a/b/c", "a/b/c"), ("a/d", "a/d")]:
        own = [run.own for run in found.values() if run.name.startswith(below)]
        assert found[name].totals.events == sum(each.events for each in own)
        assert found[name].failures == sum(each.failures for each in own)
        assert found[name].tokens_in == sum(each.tokens["m"][0] for each in own)
    assert found["a"].scores == ()
    assert trace.read(log, "a").tokens == (found["a"].tokens_in, found["a"].tokens_out)
    assert trace.read(log, "a").totals == found["a"].own
    assert trace.read(log, "a").duration_ns == found["a"].duration_ns
    assert [run.name for run in trace.runs(log, parent="a")] == ["a/d", "a/b"]
    assert [run.name for run in trace.runs(log, parent=log.stream("a/b"))] == ["a/b/c"]
    assert only(log, "a/b").totals == found["a/b"].totals, "a prefix leaves out no child"


def test_the_cost_of_a_run_is_with_the_runs_below_it(log: transit.Log) -> None:
    usage = {"input_tokens": 1_000_000, "output_tokens": 0}
    with trace.task(log, "a") as top:
        top.model_call(model="m-1", usage=usage)
        with trace.task(log, "a/b") as low:
            low.model_call(model="n", usage=usage)
    prices = trace.Prices({"m-*": {"input": 2}, "n": {"input": 3}})
    assert only(log, "a", prices=prices).cost == 5
    assert trace.read(log, "a").cost(prices) == 5
    partly = trace.Prices({"m-1": {"input": 2}})
    assert only(log, "a", prices=partly).cost is None
    assert only(log, "a").cost is None


def test_a_call_whose_tokens_are_not_told_makes_the_cost_unknown(log: transit.Log) -> None:
    prices = trace.Prices({"m": {"input": 1, "output": 1}})
    usage = {"input_tokens": 5, "output_tokens": 5}
    calls: list[Callable[[trace.Task], object]] = [
        lambda task: task.model_call(model="m"),
        lambda task: task.model_call(model="m", usage={"input_tokens": 5}),
        lambda task: task.model("m").failure(KeyboardInterrupt()),
        lambda task: task.model("m"),
    ]
    for number, call in enumerate(calls):
        with trace.task(log, f"{number}") as task:
            task.model_call(model="m", usage=usage)
            task.model("m").response(usage=usage)
            assert trace.read(log, f"{number}").cost(prices) == 20 / 1_000_000
            call(task)
        assert trace.read(log, f"{number}").cost(prices) is None
        assert only(log, f"{number}").tokens_out == 10


def test_what_a_service_refused_costs_nothing(log: transit.Log) -> None:
    prices = trace.Prices({"m": {"input": 1, "output": 1}})
    with trace.task(log, "t") as task:
        task.model("m").failure("overloaded")
        task.model("m").response(usage={"input_tokens": 5, "output_tokens": 5})
    assert only(log, "t").failures == 1
    assert trace.read(log, "t").cost(prices) == 10 / 1_000_000


def test_tokens_in_a_cache_count_as_tokens_of_requests(log: transit.Log) -> None:
    with trace.task(log, "a") as task:
        task.model_call(
            model="m",
            usage={"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 30,
                   "cache_creation_input_tokens": 400},
        )  # fmt: skip
    with trace.task(log, "b") as task:
        task.model_call(
            model="m",
            usage={"prompt_tokens": 5, "completion_tokens": 1,
                   "prompt_tokens_details": {"cached_tokens": 4}},
        )  # fmt: skip
    assert (only(log, "a").tokens_in, only(log, "b").tokens_in) == (431, 5)
    with trace.task(log, "c") as task:
        task.model_call(model="m")
    assert (only(log, "c").tokens_in, only(log, "c").tokens_out) == (None, None)
    for name, told in (("a", (431, 2)), ("b", (5, 1)), ("c", (-1, -1))):
        # A page and `transit show` add up the same steps.
        assert tokens_of(trace.read(log, name).steps()) == told
        assert data_of(log, name).head["tokens"] == list(told)


def test_runs_are_selected_by_what_is_asked_for(log: transit.Log) -> None:
    situations(log)

    def names(**options: Any) -> set[str]:
        return {run.name for run in trace.runs(log, **options)}

    whole = trace.runs(log)
    everything = names()
    assert names(failed=True) == {"failed", "cancelled"}
    assert names(failed=False) == everything - {"failed", "cancelled"}
    for status in ("completed", "failed", "cancelled", "unfinished"):
        assert names(status=status) == {run.name for run in whole if run.status == status}
    assert names(tool="bash") == {run.name for run in whole if "bash" in run.own.tools}
    assert names(tool="none") == set()
    assert names(where={"task_id": "branched"}) == {
        "branched", "branch", "branch of nothing", "merged", "merge of nothing",
    }  # fmt: skip
    assert names(where={"task_id": "branched", "branch_kind": "retry"}) == {
        "branch", "branch of nothing",
    }  # fmt: skip
    at = only(log, "late").created_at
    assert at is not None
    before, after = names(until=at), names(since=at)
    assert before | after == everything
    assert not before & after
    assert "late" in after
    assert {run.name for run in trace.runs(log, "branch")} == {
        "branched", "branch", "branch of nothing",
    }  # fmt: skip
    assert len(trace.runs(log, limit=3)) == 3


def test_metadata_are_compared_with_their_types(log: transit.Log) -> None:
    for name, value in [("int", 1), ("bool", True), ("text", "1")]:
        trace.task(log, name, metadata={"value": value})
    for name, value in [("int", 1), ("bool", True), ("text", "1")]:
        assert [run.name for run in trace.runs(log, where={"value": value})] == [name]


@pytest.mark.parametrize("sort", SORTS)
def test_runs_are_in_order_and_the_unknown_comes_last(log: transit.Log, sort: str) -> None:
    situations(log)
    log.create("odd", {"task_id": "odd"})
    trace.task(log, "untold").model_call(model="other")
    prices = trace.Prices({"m": {"input": 1, "output": 1}})
    found = trace.runs(log, sort=sort, prices=prices)
    keys: dict[str, Callable[[trace.RunSummary], Any]] = {
        "created": lambda run: run.created_at,
        "duration": lambda run: run.duration_ns,
        "events": lambda run: run.totals.events,
        "tokens": lambda run: None if run.tokens_in is None else run.tokens_in + run.tokens_out,
        "cost": lambda run: run.cost,
        "failures": lambda run: run.failures,
        "name": lambda run: run.name,
    }
    values = [keys[sort](run) for run in found]
    known = [value for value in values if value is not None]
    assert values == known + [None] * (len(values) - len(known))
    assert known == sorted(known, reverse=sort != "name")
    assert (None in values) == (sort in ("created", "duration", "tokens", "cost"))


@pytest.mark.parametrize(
    "options",
    [
        {"prefix": 3}, {"failed": "yes"}, {"status": "odd"}, {"tool": 3}, {"since": "today"},
        {"until": 1.5}, {"where": [1]}, {"sort": "size"}, {"limit": -1}, {"limit": "3"},
        {"parent": 5}, {"prices": {"m": {"input": 1}}},
    ],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_refused(log: transit.Log, options: dict[str, Any]) -> None:
    with pytest.raises(transit.InvalidInputError):
        trace.runs(log, **options)


def test_a_parent_that_is_not_there_is_not_found(log: transit.Log) -> None:
    with pytest.raises(transit.NotFoundError):
        trace.runs(log, parent="nobody")


# What should not be


def test_streams_that_are_no_runs_are_left_out(log: transit.Log) -> None:
    log.create("plain").append(b"x")
    log.create("odd", {"task_id": 3})
    trace.task(log, "t").artifact(b"data", kind="file")
    assert [run.name for run in trace.runs(log)] == ["t"]


def test_metadata_of_wrong_types_are_passed_over(log: transit.Log) -> None:
    metadata: dict[str, transit.Scalar] = {
        "task_id": "t", "parent_uid": 3, "parent_run": 4, "parent_offset": "x", "created_at": "now",
        "actor_id": None, "reason": True, "trace_kind": 1.5,
    }  # fmt: skip
    log.create("t", metadata)
    run = only(log, "t")
    assert (run.parent, run.created_at, run.actor, run.reason) == (None, None, "", "")
    assert (run.trace_kind, run.status, run.metadata) == ("root", "unfinished", metadata)


ABSURD = [
    {"events": -5},
    {"events": 10**30},
    {"failures": 1 << 60},
    {"tokens": {"m": [-7, 3]}},
    {"tokens": {"m": [10**25, 3]}},
    {"tools": {"x": [-1, 0]}},
    {"cached": {"m": [0, -1, 0, 0]}},
    {"untold": {"m": -1}},
    {"events": "many"},
    {"tokens": {"m": 3}},
    7,
    None,
]


@pytest.mark.parametrize("absurd", ABSURD, ids=str)
def test_totals_that_cannot_be_are_counted_again(log: transit.Log, absurd: object) -> None:
    task = trace.task(log, "t")
    task.tool("bash", {}).failure("no")
    end = msgspec.json.encode({"event": "run_end", "status": "completed", "totals": absurd})
    log.stream("t").append(end)
    run = only(log, "t")
    assert (run.own.tools, run.own.failures) == ({"bash": (1, 1)}, 1)
    assert run.status == "completed"
    assert len(trace.runs(log, sort="tokens")) == 1


def test_an_end_of_a_newer_version_and_unknown_events_are_no_error(log: transit.Log) -> None:
    task = trace.task(log, "t")
    task.message("user", "x")
    stream = log.stream("t")
    for payload in (b'{"event":"run_end","status":"paused"}', b'{"event":"later"}', b"\x00", b"{"):
        stream.append(payload)
    assert (only(log, "t").status, only(log, "t").own.events) == ("unfinished", 1)
    task.end()
    for payload in (b'{"event":"later"}', b"\xff"):
        stream.append(payload)
    assert only(log, "t").status == "completed"


def test_a_parent_that_is_missing_or_hidden_is_told_as_it_was_recorded(log: transit.Log) -> None:
    with trace.task(log, "a"), trace.task(log, "a/b"):
        pass
    log.hide("a")
    run = only(log, "a/b")
    assert run.parent == "a"
    log.create("c", {"task_id": "c", "parent_uid": "0" * 32, "parent_run": "gone"})
    log.create("d", {"task_id": "d", "parent_uid": "no uid"})
    assert (only(log, "c").parent, only(log, "d").parent) == ("gone", None)


def test_runs_that_are_their_own_parents_end(log: transit.Log) -> None:
    uids = [f"{number:032x}" for number in range(1, 6)]
    # One is its own parent; three are a ring; one is below the ring.
    parents = [uids[0], uids[2], uids[3], uids[1], uids[2]]
    for number, (uid, parent) in enumerate(zip(uids, parents, strict=True)):
        metadata: dict[str, transit.Scalar] = {"task_id": str(number), "parent_uid": parent}
        stream = log.create(str(number), metadata, uid=uid)
        for _ in range(10**number):
            stream.append(encode_json(trace.ToolRequest(tool_call_id="c", tool_name="bash")))
            if number > 2:
                break
    found = {run.name: run for run in trace.runs(log)}
    own = {name: run.own.events for name, run in found.items()}
    assert own == {"0": 1, "1": 10, "2": 100, "3": 1, "4": 1}
    assert {name: run.totals.events for name, run in found.items()} == {
        "0": 1, "1": 112, "2": 112, "3": 112, "4": 1,
    }  # fmt: skip
    assert found["0"].parent == "0"
    assert trace.read(log, "1").totals.events == 10


def test_a_chain_of_children_may_be_of_any_length() -> None:
    count = 100_000
    names = [str(number) for number in range(count)]
    parents = {names[number]: names[number - 1] for number in range(1, count)}
    children = {parent: [child] for child, parent in parents.items()}
    one = trace.Totals(events=1, tokens={"m": (1, -1)})
    found = rolled_up([names[0], names[-1]], children, parents, lambda name: one)
    assert (found[names[0]].events, found[names[-1]].events) == (count, 1)
    assert found[names[0]].tokens == {"m": (count, -1)}
    # And closed to a ring, of which each has all the others below it.
    last = names[count // 10]
    parents[names[0]], children[last] = last, [names[0]]
    found = rolled_up(names[:1], children, parents, lambda name: trace.Totals(events=1))
    assert found[names[0]].events == count // 10 + 1


@pytest.mark.parametrize("seed", range(20))
def test_each_run_counts_once_whatever_the_family(seed: int) -> None:
    rng = random.Random(seed)
    names = [str(number) for number in range(30)]
    parents = {name: rng.choice(names) for name in names if rng.random() < 0.8}
    children: dict[str, list[str]] = {}
    for child, parent in parents.items():
        children.setdefault(parent, []).append(child)
    own = {name: trace.Totals(events=1 << int(name)) for name in names}
    wanted = rng.sample(names, 10)
    found = rolled_up(wanted, children, parents, own.__getitem__)
    for name in wanted:
        members = families.below([name], children)
        assert found[name].events == sum(1 << int(each) for each in members)


def test_of_very_many_tools_the_others_stand_together(log: transit.Log) -> None:
    with trace.task(log, "t") as task:
        for number in range(150):
            task.tool(f"tool-{number}", {}).failure("no")
    own = only(log, "t").own
    assert len(own.tools) == sums.NAMES_MAX + 1
    assert own.tools[sums.OTHERS] == (50, 50)
    assert own.tool_calls == 150
    for tool, count in [("tool-0", 1), ("tool-149", 1), ("tool-150", 0)]:
        assert len(trace.runs(log, tool=tool)) == count


# Tables


def test_summaries_are_a_sequence(log: transit.Log) -> None:
    situations(log)
    found = trace.runs(log)
    assert isinstance(found, Sequence)
    assert found[0] == next(iter(found))
    assert found[-2:] == list(found)[-2:]
    assert repr(found) == f"<transit.trace.Runs of {len(found)}>"


def test_summaries_become_an_arrow_table_with_types(log: transit.Log) -> None:
    pa = pytest.importorskip("pyarrow")
    situations(log)
    log.create("odd", {"task_id": "odd", "number": 3, "big": "x"})
    log.stream("odd").append(b'{"event":"run_end","status":"failed","error":{"type":"E","message":'
                             b'"\\ud800"}}')  # fmt: skip
    trace.annotate(log, "ended", "good", score=True, author="ada")
    found = trace.runs(log)
    table = found.to_arrow()
    assert table.num_rows == len(found)
    assert table.schema == trace.runs(log, "none").to_arrow().schema
    assert table.schema.field("created_at").type == pa.timestamp("ns", tz="UTC")
    rows = {row["name"]: row for row in table.drop(["created_at", "ended_at"]).to_pylist()}
    ended = next(run for run in found if run.name == "ended")
    assert rows["ended"]["events"] == ended.totals.events
    assert rows["ended"]["scores"] == [
        {"name": "good", "author": "ada", "score": 1.0, "label": None, "at": None}
    ]
    assert rows["odd"]["error_message"] == "\\ud800"
    assert dict(rows["odd"]["metadata"])["number"] == "3"
    assert rows["odd"]["cost"] is None


def test_without_pandas_it_is_said_what_to_install(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(transit.InvalidInputError, match="pip install pandas"):
        trace.runs(log).to_pandas()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(transit.InvalidInputError, match="pip install 'transit"):
        trace.runs(log).to_arrow()


def test_numbers_that_no_column_holds_are_not_known() -> None:
    assert tabulating._fitting(1 << 63) is None
    assert tabulating._fitting((1 << 63) - 1) == (1 << 63) - 1


def test_a_resumed_run_goes_on_from_its_end_without_reading_it_all(log: transit.Log) -> None:
    with trace.task(log, "t") as task:
        work(task, 3)
    before = standing_of(log.stream("t")).totals
    resumed = trace.resume(log, "t")
    resumed.end()
    ended = trace.read(log, "t").ended
    assert ended is not None
    assert ended.totals.events == before.events + 2
    assert ended.totals.tools == before.tools


# Ends that are noted beside each other


ENDS = "$trace/ends"


def listed(log: transit.Log) -> list[tuple[str, str, int]]:
    return [(run.name, run.status, run.own.events) for run in trace.runs(log, sort="name")]


def test_ended_runs_are_listed_without_their_records(
    log: transit.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        with trace.task(log, name) as task:
            task.message("user", "x")
    with monkeypatch.context() as patch:
        patch.setattr(summaries, "standing_of", lambda stream: pytest.fail(stream.name))
        assert listed(log) == [("a", "completed", 2), ("b", "completed", 2)]


def test_a_note_of_an_end_counts_only_while_the_run_ends_there(log: transit.Log) -> None:
    with trace.task(log, "a") as task:
        task.message("user", "x")
    task.evaluate("judge", decision="good")
    with trace.task(log, "b"):
        pass
    resumed = trace.resume(log, "b")
    assert listed(log) == [("a", "completed", 3), ("b", "unfinished", 2)]
    resumed.end()
    assert listed(log)[1] == ("b", "completed", 3)


def test_a_store_without_notes_of_ends_is_listed_all_the_same(log: transit.Log) -> None:
    with trace.task(log, "a"):
        pass
    log.hide(log.stream(ENDS))
    assert listed(log) == [("a", "completed", 1)]


@pytest.mark.parametrize(
    "payload",
    [
        b"no json",
        b"{}",
        b'{"uid":"x"}',
        b"\xff",
        b'{"uid":1,"offset":0,"at":0,"status":"completed"}',
    ],
)
def test_what_is_no_note_of_an_end_is_passed_over(log: transit.Log, payload: bytes) -> None:
    with trace.task(log, "a"):
        pass
    log.stream(ENDS).append(payload)
    assert listed(log) == [("a", "completed", 1)]


def test_an_end_that_cannot_be_noted_is_an_end(log: transit.Log) -> None:
    log.layer("trace").create("ends")
    log.stream(ENDS).finish()
    with trace.task(log, "a", strict=True):
        pass
    assert listed(log) == [("a", "completed", 1)]
    assert trace.dropped.count == 0


def test_an_end_that_was_made_elsewhere_says_what_was_recorded(log: transit.Log) -> None:
    task = trace.task(log, "a")
    task.tool("bash").result("x")
    task.record(trace.RunEnd(status="completed"))
    assert listed(log) == [("a", "completed", 3)]
    assert trace.read(log, "a").totals.tools == {"bash": (1, 0)}


def test_an_end_that_counts_nothing_is_counted_up(log: transit.Log) -> None:
    task = trace.task(log, "a")
    task.tool("bash").result("x")
    task.stream.append(encode_json(trace.RunEnd(status="completed")))
    assert listed(log) == [("a", "completed", 3)]


def test_imported_runs_are_listed_with_what_they_did(tmp_path: Path) -> None:
    (file,) = (each for each in shared_files("mini-swe-agent") if each.name == "toolcall.traj.json")
    with transit.open(tmp_path / "store", durability="os") as log:
        trace.import_file(log, file)
        (run,) = trace.runs(log)
        assert run.status == "completed"
        assert run.own.events == len(log.stream(run.name))
        assert (run.own.model_calls, run.own.tool_calls) == (5, 5)
        assert run.own == _counted(log, run.name)


def _counted(log: transit.Log, name: str) -> trace.Totals:
    found = sums.Sums(name)
    for record in trace.read(log, name):
        found.add(record.event)
    return found.totals()
