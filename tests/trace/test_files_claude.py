"""Claude Code's sessions: forks, sub-agents, answers of several lines, and odd lines."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace

from .shared_files import events_of, kinds, totals

Line = dict[str, Any]


def line(kind: str, uuid: str, parent: str | None, **more: object) -> Line:
    return {
        "type": kind, "uuid": uuid, "parentUuid": parent, "sessionId": "s-1", "isSidechain": False,
        "timestamp": "2026-01-02T03:04:05Z", **more,
    }  # fmt: skip


def user(uuid: str, parent: str | None, text: object, **more: object) -> Line:
    return line("user", uuid, parent, message={"role": "user", "content": text}, **more)


def result(uuid: str, parent: str | None, call: str, **more: object) -> Line:
    block = {"type": "tool_result", "tool_use_id": call, "content": f"result of {call}"}
    return user(uuid, parent, [block], **more)


def answer(uuid: str, parent: str | None, message_id: str, *blocks: object, **more: object) -> Line:
    usage = more.pop("usage", {"input_tokens": 10, "output_tokens": 3})
    message = {
        "id": message_id, "role": "assistant", "type": "message", "model": "claude-x",
        "content": list(blocks), "usage": usage, "stop_reason": None,
    }  # fmt: skip
    return line("assistant", uuid, parent, message=message, **more)


def said(text: str) -> Line:
    return {"type": "text", "text": text}


def used(call: str, name: str = "Bash", **arguments: object) -> Line:
    return {"type": "tool_use", "id": call, "name": name, "input": arguments}


def write(folder: Path, lines: Sequence[object], name: str = "s-1.jsonl") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(each) + "\n" for each in lines), encoding="utf-8")
    return file


def spoken(log: transit.Log, run: str) -> list[str]:
    """The texts of users and the ids of answers, inherited ones too."""
    found = []
    for record in trace.read(log, run):
        if isinstance(record.event, trace.Message):
            found.append(str(record.event.content))
        elif isinstance(record.event, trace.ModelCall):
            found.append(record.event.response_id)
    return found


def test_a_session_that_was_taken_back_has_a_branch(log: transit.Log, tmp_path: Path) -> None:
    lines = [
        user("1", None, "begin"), answer("2", "1", "m1", said("ok")),
        user("3", "2", "first try"), answer("4", "3", "m2", said("no")),
        user("5", "2", "second try"), answer("6", "5", "m3", said("yes")),
        user("7", "4", "more of the first"),
    ]  # fmt: skip
    done = trace.import_file(log, write(tmp_path, lines))
    assert done.runs == ("s-1", "s-1/branch")
    assert spoken(log, "s-1") == ["begin", "m1", "first try", "m2", "more of the first"]
    assert spoken(log, "s-1/branch") == ["begin", "m1", "second try", "m3"]
    branch = trace.read(log, "s-1/branch")
    assert (branch.trace_kind, branch.task_id) == ("retry", "s-1")
    assert totals(log, done.runs) == (3, 0, 30, 9), "each answer once"


def test_branches_of_branches(log: transit.Log, tmp_path: Path) -> None:
    lines = [
        user("1", None, "a"), user("2", "1", "b"), user("3", "1", "c"), user("4", "3", "d"),
        user("5", "3", "e"), user("6", "5", "f"), user("7", "1", "g"),
    ]  # fmt: skip
    done = trace.import_file(log, write(tmp_path, lines))
    assert [spoken(log, run) for run in done.runs] == [
        ["a", "b"], ["a", "c", "d"], ["a", "g"], ["a", "c", "e", "f"],
    ]  # fmt: skip
    assert trace.import_file(log, write(tmp_path, lines)).added == 0


def test_calls_at_once_and_their_results_are_no_fork(log: transit.Log, tmp_path: Path) -> None:
    lines = [
        user("1", None, "go"),
        answer("2", "1", "m1", said("both"), usage={"input_tokens": 1, "output_tokens": 1}),
        answer("3", "2", "m1", used("c1")), answer("4", "3", "m1", used("c2")),
        result("5", "3", "c1"), line("progress", "6", "4", data={"type": "bash_progress"}),
        result("7", "4", "c2"), answer("8", "7", "m2", said("done")),
    ]  # fmt: skip
    done = trace.import_file(log, write(tmp_path, lines))
    assert done.runs == ("s-1",)
    assert kinds(events_of(log, "s-1")) == [
        "Custom", "Message", "ModelCall", "ToolRequest", "ToolRequest", "ToolResult", "Custom",
        "ToolResult", "ModelCall",
    ]  # fmt: skip
    first = events_of(log, "s-1")[2]
    assert [block["type"] for block in first.response["content"]] == [
        "text",
        "tool_use",
        "tool_use",
    ]
    assert (first.input_tokens, first.output_tokens) == (10, 3), "as the last line tells them"
    assert trace.read(log, "s-1").open_calls == ()
    assert done.raw == 1, "the line of progress"


def test_sub_agents_in_the_file_are_child_runs_of_their_calls(
    log: transit.Log, tmp_path: Path
) -> None:
    side = {"isSidechain": True}
    lines = [
        user("1", None, "go"),
        answer("2", "1", "m1",
               used("c1", "Task", prompt="look"), used("c2", "Task", prompt="seek")),
        user("a", None, "seek", **side), user("b", None, "look", **side),
        answer("a2", "a", "n1", said("found"), **side),
        answer("b2", "b", "n2", said("seen"), **side),
        result("3", "2", "c1"), result("4", "2", "c2"), answer("5", "4", "m2", said("done")),
        user("x", None, "nobody asked", **side),
    ]  # fmt: skip
    done = trace.import_file(log, write(tmp_path, lines))
    assert done.runs == ("s-1", "s-1/agent", "s-1/agent-2", "s-1/agent-3")
    events = events_of(log, "s-1")
    order = [e.run if isinstance(e, trace.ChildRun) else getattr(e, "tool_call_id", "")
             for e in events]  # fmt: skip
    assert order[3:7] == ["c1", "s-1/agent-2", "c2", "s-1/agent"]
    assert isinstance(events[-1], trace.ChildRun), "begun where nothing says: at the end"
    assert spoken(log, "s-1/agent") == ["seek", "n1"]
    assert spoken(log, "s-1/agent-2") == ["look", "n2"]
    for run in done.runs[1:]:
        assert log.stream(run).metadata["parent_run"] == "s-1"
    assert totals(log, done.runs).answers == 4


@pytest.mark.parametrize("place", ["s-1/subagents/agent-7.jsonl", "agent-7.jsonl"])
def test_sub_agents_with_files_of_their_own_come_along(
    place: str, log: transit.Log, tmp_path: Path
) -> None:
    told = {"toolUseResult": {"agentId": "7", "status": "completed"}}
    main = [
        user("1", None, "go"), answer("2", "1", "m1", used("c1", "Task", prompt="other words")),
        result("3", "2", "c1", **told), answer("4", "3", "m2", said("done")),
    ]  # fmt: skip
    agent = [
        user("a", None, "look", isSidechain=True, agentId="7"),
        answer("b", "a", "n1", said("seen"), isSidechain=True, agentId="7"),
    ]
    other = [user("z", None, "of another session", isSidechain=True, agentId="8", sessionId="s-2")]
    file, beside = write(tmp_path, main), write(tmp_path, agent, place)
    write(tmp_path, other, "agent-8.jsonl")
    write(tmp_path, [], "s-1/subagents/agent-0.jsonl")
    done = trace.import_file(log, file)
    assert done.runs == ("s-1", "s-1/agent-7")
    events = events_of(log, "s-1")
    called = next(n for n, e in enumerate(events) if isinstance(e, trace.ToolRequest))
    assert events[called + 1] == trace.ChildRun(
        run="s-1/agent-7", uid=log.stream("s-1/agent-7").uid
    )
    assert spoken(log, "s-1/agent-7") == ["look", "n1"]
    again = trace.import_file(log, beside)
    assert (again.runs, again.added) == (done.runs, 0), "an agent's file stands for its session"
    alone = trace.import_file(log, tmp_path / "agent-8.jsonl")
    assert alone.runs == ("agent-8",)


def test_lines_of_the_session_and_of_its_sub_agents_never_follow_one_another(
    log: transit.Log, tmp_path: Path
) -> None:
    lines = [
        user("1", None, "a"), user("2", "1", "of the agent", isSidechain=True),
        user("3", "2", "b"), user("4", "3", "of another agent", isSidechain=True, agentId="9"),
    ]  # fmt: skip
    done = trace.import_file(log, write(tmp_path, lines))
    assert [spoken(log, run) for run in done.runs] == [
        ["a", "b"], ["of the agent"], ["of another agent"],
    ]  # fmt: skip


def test_a_block_that_several_lines_repeat_counts_once(log: transit.Log, tmp_path: Path) -> None:
    lines = [
        user("1", None, "go"), answer("2", "1", "m1", said("hi"), used("c1")),
        answer("3", "2", "m1", said("hi"), used("c1"), said("more")),
    ]  # fmt: skip
    done = trace.import_file(log, write(tmp_path, lines))
    (call,) = (e for e in events_of(log, "s-1") if isinstance(e, trace.ModelCall))
    assert call.response["content"] == [said("hi"), used("c1"), said("more")]
    assert totals(log, done.runs).calls == 1


def test_what_cannot_be_stored_of_a_sub_agents_file_is_named_with_that_file(
    path: Path, tmp_path: Path
) -> None:
    write(tmp_path, [user("a", None, "x" * 5000, isSidechain=True)], "s-1/subagents/agent-7.jsonl")
    settings = transit.Settings(record_bytes_max=4096)
    with (
        transit.open(path, settings=settings) as log,
        pytest.raises(transit.InvalidInputError, match=r"agent-7\.jsonl, line 1: "),
    ):
        trace.import_file(log, write(tmp_path, [user("1", None, "go")]))


def test_parents_that_are_missing_later_or_in_a_circle_lose_nothing(
    log: transit.Log, tmp_path: Path
) -> None:
    lines = [
        user("1", "nowhere", "a"), user("2", "3", "b"), user("3", "2", "c"), user("4", "4", "d"),
        user("5", None, "e"), user("", "5", "f"), user("5", "4", "not the same line"),
        user("6", "5", "g"),
    ]  # fmt: skip
    done = trace.import_file(log, write(tmp_path, lines))
    texts = {text for run in done.runs for text in spoken(log, run)}
    assert texts == {"a", "b", "c", "d", "e", "f", "not the same line", "g"}


def test_lines_that_a_session_repeats_count_once(log: transit.Log, tmp_path: Path) -> None:
    lines = [user("1", None, "a"), answer("2", "1", "m1", said("b"))]
    done = trace.import_file(log, write(tmp_path, [*lines, *lines, user("3", "2", "c")]))
    assert spoken(log, "s-1") == ["a", "m1", "c"]
    assert done.records == 5


def test_a_compacted_session_goes_on_in_the_same_run(log: transit.Log, tmp_path: Path) -> None:
    lines = [
        {"type": "summary", "summary": "What it was about", "leafUuid": "1"},
        {"type": "file-history-snapshot", "messageId": "1", "snapshot": {"files": {}}},
        user("1", None, "a"),
        line("system", "2", None, subtype="compact_boundary", content="Compacted",
             logicalParentUuid="1", compactMetadata={"trigger": "auto"}),
        user("3", "2", "This session is continued", isCompactSummary=True),
        {"type": "custom-title", "customTitle": "A title", "sessionId": "s-1"},
        line("system", "4", "3", subtype="turn_duration", durationMs=5),
    ]  # fmt: skip
    done = trace.import_file(log, write(tmp_path, lines))
    assert done.runs == ("s-1",)
    assert done.raw == 0
    reasons = [e.reason for e in events_of(log, "s-1") if isinstance(e, trace.Checkpoint)]
    assert reasons == ["What it was about", "file-history-snapshot", "Compacted"]


def test_what_the_program_says_in_a_models_place_is_no_model_call(
    log: transit.Log, tmp_path: Path
) -> None:
    failed = answer("2", "1", "x", said("API Error"))
    failed["message"]["model"] = "<synthetic>"
    done = trace.import_file(log, write(tmp_path, [user("1", None, "a"), failed]))
    assert totals(log, done.runs).answers == 0
    assert events_of(log, "s-1")[-1].role == "assistant"


def test_a_failed_call_is_seen_and_the_programs_detail_is_kept(
    log: transit.Log, tmp_path: Path
) -> None:
    block = {"type": "tool_result", "tool_use_id": "c1", "content": "no", "is_error": True}
    detail = {"toolUseResult": {"filePath": "/x", "structuredPatch": [1]}}
    lines = [
        user("1", None, "a"), answer("2", "1", "m", used("c1")), user("3", "2", [block], **detail),
    ]  # fmt: skip
    trace.import_file(log, write(tmp_path, lines))
    *_, outcome, rest = events_of(log, "s-1")
    assert (outcome.tool_status, outcome.tool_name, outcome.result) == ("failure", "Bash", "no")
    assert rest.data == detail


def test_a_session_imported_while_it_grows_is_as_one_imported_at_once(tmp_path: Path) -> None:
    side = {"isSidechain": True, "agentId": "7"}
    lines = [
        user("1", None, "go"), answer("2", "1", "m1", used("c1", "Task", prompt="look")),
        result("5", "2", "c1"), answer("6", "5", "m2", said("a")), user("7", "6", "b"),
        user("8", "2", "not so"), answer("9", "8", "m3", said("c")),
        user("a", None, "look", **side), answer("b", "a", "n1", said("d"), **side),
    ]  # fmt: skip
    with transit.open(tmp_path / "whole", durability="os") as log:
        whole = trace.import_file(log, write(tmp_path / "1", lines[:7])).runs
        expected = [[r.payload for r in log.stream(run)] for run in whole]
    with transit.open(tmp_path / "grown", durability="os") as log:
        for count in range(1, 8):
            done = trace.import_file(log, write(tmp_path / "2", lines[:count]))
        assert [[r.payload for r in log.stream(run)] for run in done.runs] == expected


def test_every_way_a_session_may_be_wired_is_imported_without_loss(
    log: transit.Log, tmp_path: Path
) -> None:
    """All parents of four lines, among them later ones, themselves and none."""
    for number, parents in enumerate(itertools.product([None, "0", "1", "2", "3", "?"], repeat=4)):
        if number % 29:
            continue
        lines = [user(str(n), parent, f"t{n}") for n, parent in enumerate(parents)]
        file = write(tmp_path, lines, f"w{number}.jsonl")
        done = trace.import_file(log, file)
        texts = [
            event.content for event in events_of(log, done.runs) if isinstance(event, trace.Message)
        ]
        assert sorted(texts) == ["t0", "t1", "t2", "t3"], parents
        assert trace.import_file(log, file).added == 0
