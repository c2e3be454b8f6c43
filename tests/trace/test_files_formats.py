"""What files of each format may hold besides what the usual ones do."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace

from .shared_files import events_of, kinds, totals

Log = transit.Log


def put(folder: Path, name: str, content: object) -> Path:
    """A file with a JSON document, or with lines for a tuple."""
    file = folder / name
    if isinstance(content, tuple):
        file.write_text("".join(json.dumps(each) + "\n" for each in content), encoding="utf-8")
    else:
        file.write_text(json.dumps(content), encoding="utf-8")
    return file


# SWE-agent


def step(n: int, **more: object) -> dict[str, Any]:
    return {"action": f"ls {n}", "observation": "x" * 30, "response": f"look {n}", **more}


def test_attempts_of_one_document_are_branches_after_the_statement(
    log: Log, tmp_path: Path
) -> None:
    history = [{"role": "user", "content": "Fix it. " * 9}]
    one = {"trajectory": [step(0)], "history": history, "info": {"exit_status": "exit_cost"}}
    two = {"trajectory": [step(1), step(2)], "history": history, "info": {}}
    file = put(tmp_path, "a.traj", {"attempts": [one, two], "info": {"best_attempt_idx": 0}})
    done = trace.import_file(log, file)
    assert done.runs == ("a", "a/attempt-2")
    assert log.stream("a/attempt-2").fork_offset == 0
    assert totals(log, done.runs).calls == 3


def test_messages_under_their_later_name_are_the_request(log: Log, tmp_path: Path) -> None:
    query = [{"role": "user", "content": "Fix it, now. " * 9}]
    whole = {"trajectory": [step(0, query=query)], "history": query, "info": {}}
    trace.import_file(log, put(tmp_path, "q.traj", whole))
    call = next(e for e in events_of(log, "q") if isinstance(e, trace.ModelCall))
    assert call.request == query
    assert json.dumps(trace.export_trajectory(log, "q")) == json.dumps(whole)


def test_a_step_that_is_none_is_named(log: Log, tmp_path: Path) -> None:
    whole = {"trajectory": [step(0), "text"], "history": [], "info": {}}
    file = put(tmp_path, "b.traj", whole)
    with pytest.raises(transit.InvalidInputError, match=r"b\.traj, step 1: "):
        trace.import_file(log, file)
    assert trace.import_file(log, file, skip_bad=True).skipped == 1


# mini-swe-agent


def test_commands_that_failed_or_took_too_long_are_failed_calls(log: Log, tmp_path: Path) -> None:
    def turn(n: int) -> dict[str, Any]:
        return {"role": "assistant", "content": f"```bash\ncmd {n}\n```"}

    messages = [
        {"role": "user", "content": "go"}, turn(0),
        {"role": "user", "content": "<returncode>2</returncode>\n<output></output>"}, turn(1),
        {"role": "user", "content": "", "extra": {"returncode": -1, "exception_info": "timed out"}},
        {"role": "assistant", "content": "no block"}, {"role": "user", "content": "format error"},
    ]  # fmt: skip
    whole = {"trajectory_format": "mini-swe-agent-1", "messages": messages, "info": {}}
    trace.import_file(log, put(tmp_path, "m.traj.json", whole))
    results = [e for e in events_of(log, "m") if isinstance(e, trace.ToolResult)]
    assert [(e.tool_status, e.error and e.error.message) for e in results] == [
        ("failure", "exit code 2"), ("failure", "timed out"),
    ]  # fmt: skip
    assert trace.read(log, "m").open_calls == ()


def test_results_belong_to_the_calls_they_name_and_two_blocks_are_none(
    log: Log, tmp_path: Path
) -> None:
    calls = [{"id": f"c{n}", "function": {"name": "bash", "arguments": "{}"}} for n in (1, 2)]
    whole = {"trajectory_format": "mini-swe-agent-1.1", "info": {}, "messages": [
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
        {"role": "assistant", "content": "```bash\na\n```\n```bash\nb\n```"},
        {"role": "user", "content": "one block, please"},
    ]}  # fmt: skip
    done = trace.import_file(log, put(tmp_path, "m.json", whole))
    results = [e for e in events_of(log, "m") if isinstance(e, trace.ToolResult)]
    assert [(e.tool_call_id, e.result) for e in results] == [("c1", "one"), ("c2", "two")]
    assert totals(log, done.runs).calls == 2


def test_messages_of_openais_responses_are_read(log: Log, tmp_path: Path) -> None:
    answer = {
        "object": "response", "id": "r", "model": "gpt", "created_at": 1795836278,
        "usage": {"input_tokens": 8, "output_tokens": 2}, "extra": {"cost": 1.0},
        "output": [
            {"type": "message", "content": [{"type": "output_text", "text": "look"}]},
            {"type": "function_call", "call_id": "c", "name": "bash",
             "arguments": '{"command": "ls"}'},
        ],
    }  # fmt: skip
    output = {"type": "function_call_output", "call_id": "c", "output": "x",
              "extra": {"returncode": 0}}  # fmt: skip
    whole = {"trajectory_format": "mini-swe-agent-1.1", "info": {},
             "messages": [{"role": "user", "content": "go"}, answer, output]}  # fmt: skip
    done = trace.import_file(log, put(tmp_path, "m.json", whole))
    assert totals(log, done.runs) == (1, 1, 8, 2)
    (result,) = (e for e in events_of(log, "m") if isinstance(e, trace.ToolResult))
    assert (result.tool_call_id, result.tool_name, result.result) == ("c", "bash", "x")


# Inspect


def sample(*events: object, **more: object) -> dict[str, Any]:
    return {"id": 1, "epoch": 1, "input": "go", "target": "", "messages": [],
            "events": list(events), **more}  # fmt: skip


def model_event(**more: object) -> dict[str, Any]:
    return {
        "event": "model", "timestamp": "2026-01-02T03:04:05+00:00", "model": "m/x", "input": [],
        "output": {
            "model": "x", "usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7},
            "choices": [{"message": {"role": "assistant", "content": "hi"}, "stop_reason": "stop"}],
        },
        **more,
    }  # fmt: skip


def eval_log(*samples: object, **more: object) -> dict[str, Any]:
    return {"version": 2, "status": "success", "eval": {"task": "t", "model": "m/x"},
            "samples": list(samples), **more}  # fmt: skip


def zip_of(file: Path, whole: dict[str, Any], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", method) as opened:
        for each in whole["samples"]:
            opened.writestr(f"samples/{each['id']}_epoch_{each['epoch']}.json", json.dumps(each))
        header = {key: value for key, value in whole.items() if key != "samples"}
        opened.writestr("header.json", json.dumps(header))
    return file


def test_messages_that_events_refer_to_are_put_in_their_place(log: Log, tmp_path: Path) -> None:
    pool = [{"role": "user", "content": f"attachment://{n}"} for n in range(3)]
    whole = eval_log(
        sample(
            model_event(input_refs=[[0, 2]]), model_event(input_refs=[[0, 1], [2, 3]]),
            attachments={"0": "zero", "1": "one", "2": "two"},
            events_data={"messages": pool, "calls": []},
        )
    )  # fmt: skip
    trace.import_file(log, put(tmp_path, "log.json", whole))
    calls = [e for e in events_of(log, "log/1_epoch_1") if isinstance(e, trace.ModelCall)]
    assert [[m["content"] for m in call.request["messages"]] for call in calls] == [
        ["zero", "one"], ["zero", "two"],
    ]  # fmt: skip


def test_what_events_refer_to_is_bounded(log: Log, tmp_path: Path) -> None:
    huge = "x" * (1024 * 1024)
    inputs = [{"role": "user", "content": "attachment://a"}] * 200
    whole = eval_log(sample(model_event(input=inputs), attachments={"a": huge}))
    file = put(tmp_path, "bomb.json", whole)
    with pytest.raises(transit.InvalidInputError, match=r"bomb\.json, sample 0, event 0: refers"):
        trace.import_file(log, file)
    many = eval_log(sample(model_event(input_refs=[[0, 1000]] * 2000),
                           events_data={"messages": ["m"] * 1000, "calls": []}))  # fmt: skip
    with pytest.raises(transit.InvalidInputError, match="refers to more than"):
        trace.import_file(log, put(tmp_path, "many.json", many))


def test_tools_within_spans_fail_and_time_out(log: Log, tmp_path: Path) -> None:
    def tool(n: int, **more: object) -> dict[str, Any]:
        return {"event": "tool", "timestamp": f"2026-01-02T03:04:1{n}Z", "id": f"c{n}",
                "completed": f"2026-01-02T03:04:2{n}Z", "function": "bash",
                "arguments": {"cmd": "ls"}, "result": "", **more}  # fmt: skip

    whole = eval_log(
        sample(
            {"event": "span_begin", "timestamp": "2026-01-02T03:04:09Z", "id": "s", "type": "agent",
             "name": "react"},
            tool(0, result="ok"), tool(1, error={"type": "timeout", "message": "slow"}),
            tool(2, failed=True),
            {"event": "store", "timestamp": "2026-01-02T03:04:30Z", "changes": [1], "span_id": "s"},
            {"event": "span_end", "timestamp": "2026-01-02T03:04:31Z", "id": "s"},
            {"event": "error", "timestamp": "2026-01-02T03:04:32Z", "error": {"message": "broken"}},
            {"event": "of_tomorrow", "timestamp": "2026-01-02T03:04:33Z"},
            error={"message": "broken", "traceback": ""},
        )
    )  # fmt: skip
    done = trace.import_file(log, put(tmp_path, "log.json", whole))
    events = events_of(log, done.runs[1])
    results = [e for e in events if isinstance(e, trace.ToolResult)]
    assert [e.tool_status for e in results] == ["success", "timeout", "failure"]
    assert {e.duration_ns for e in results} == {10_000_000_000}
    span = next(e for e in events if isinstance(e, trace.CallResult))
    assert (span.call_name, span.call_status) == ("agent:react", "success")
    assert isinstance(span.result, dict)
    assert [each["event"] for each in span.result["state"]] == ["store"]
    ended = trace.read(log, done.runs[1]).ended
    assert ended is not None
    assert (ended.status, ended.error) == ("failed", trace.ErrorInfo(type="", message="broken"))
    assert done.raw == 1


def test_a_tool_that_others_ran_within_ends_after_them(log: Log, tmp_path: Path) -> None:
    outer = {"event": "tool", "timestamp": "2026-01-02T03:04:01Z", "function": "agent", "id": "c",
             "completed": "2026-01-02T03:04:09Z", "arguments": {}, "result": "x"}  # fmt: skip
    done = trace.import_file(log, put(tmp_path, "log.json", eval_log(sample(outer, model_event()))))
    assert kinds(events_of(log, done.runs[1]))[:3] == ["ToolRequest", "ModelCall", "ToolResult"]


def test_a_sample_without_events_has_its_conversation(log: Log, tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "c", "function": "bash", "arguments": {"cmd": "ls"}, "type": "function"}]},
        {"role": "tool", "content": "x", "tool_call_id": "c", "function": "bash"},
    ]  # fmt: skip
    whole = eval_log(sample(messages=messages, scores={"match": {"value": "C"}}))
    done = trace.import_file(log, put(tmp_path, "log.json", whole))
    assert kinds(events_of(log, done.runs[1]))[:5] == [
        "Message", "Message", "ToolRequest", "ToolResult", "Evaluation",
    ]  # fmt: skip


def test_the_logs_of_2024_are_read(log: Log, tmp_path: Path) -> None:
    old = {
        "id": 1, "epoch": 1, "input": "go", "score": {"value": 1.0},
        "transcript": {
            "content": {"a": "asked"},
            "events": [
                {"event": "subtask", "name": "sub", "input": {"x": 1}, "result": "y",
                 "timestamp": "2024-08-01T00:00:00", "events": [
                     {"timestamp": "2024-08-01T00:00:01",
                      **model_event(input=[{"role": "user", "content": "tc://a"}])}]},
            ],
        },
    }  # fmt: skip
    done = trace.import_file(log, put(tmp_path, "old.json", eval_log(old)))
    events = events_of(log, done.runs[1])
    call = next(e for e in events if isinstance(e, trace.ModelCall))
    assert call.request["messages"][0]["content"] == "asked"
    (scored,) = (e for e in events if isinstance(e, trace.Evaluation))
    assert scored.score == 1.0


def test_a_log_that_was_cut_short_has_the_samples_it_has(log: Log, tmp_path: Path) -> None:
    file = tmp_path / "cut.eval"
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("_journal/start.json", json.dumps({"version": 2, "eval": {"task": "t"}}))
        opened.writestr("samples/1_epoch_1.json", json.dumps(sample(model_event())))
    assert trace.import_file(log, file).runs == ("cut", "cut/1_epoch_1")


def test_members_compressed_with_zstandard_are_read(log: Log, tmp_path: Path) -> None:
    from backports.zstd import compress  # of the standard library from Python 3.14 on

    plain = zip_of(tmp_path / "plain.eval", eval_log(sample(model_event())), zipfile.ZIP_STORED)
    packed = with_packed_members(plain.read_bytes(), compress)
    (tmp_path / "zstd.eval").write_bytes(packed)
    done = trace.import_file(log, tmp_path / "zstd.eval")
    assert totals(log, done.runs).tokens_in == 5
    checksum = packed.index(b"PK\x01\x02") + 16
    for place in (60, checksum):
        broken = bytearray(packed)
        broken[place] ^= 1
        (tmp_path / "rotten.eval").write_bytes(bytes(broken))
        with pytest.raises(transit.InvalidInputError, match=r"rotten\.eval, member samples/1_e"):
            trace.import_file(log, tmp_path / "rotten.eval")


def with_packed_members(plain: bytes, compress: Any) -> bytes:
    """A zip of stored members, with these compressed by method 93, as other programs write it."""
    out = io.BytesIO()
    central = []
    with zipfile.ZipFile(io.BytesIO(plain)) as opened:
        for info in opened.infolist():
            data = opened.read(info)
            packed, name = compress(data), info.filename.encode()
            fields = b"".join(
                n.to_bytes(size, "little")
                for n, size in ((63, 2), (0, 2), (93, 2), (0, 4), (info.CRC, 4), (len(packed), 4),
                                (len(data), 4), (len(name), 2), (0, 2))
            )  # fmt: skip
            central.append(b"PK\x01\x02" + b"\x3f\x00" + fields + bytes(10)
                           + out.tell().to_bytes(4, "little") + name)  # fmt: skip
            out.write(b"PK\x03\x04" + fields + name + packed)
    start = out.tell()
    size = sum(map(out.write, central))
    count = len(central).to_bytes(2, "little")
    out.write(b"PK\x05\x06" + bytes(4) + count * 2 + size.to_bytes(4, "little")
              + start.to_bytes(4, "little") + bytes(2))  # fmt: skip
    return out.getvalue()


# ATIF


def trajectory(*steps: object, **more: object) -> dict[str, Any]:
    return {"schema_version": "ATIF-v1.7", "session_id": "s", "steps": list(steps),
            "agent": {"name": "a", "version": "1", "model_name": "m"}, **more}  # fmt: skip


def atif_step(n: int, **more: object) -> dict[str, Any]:
    return {"step_id": n, "source": "agent", "message": f"step {n}", **more}


def test_trajectories_of_sub_agents_are_child_runs(log: Log, tmp_path: Path) -> None:
    inner = trajectory(atif_step(1), trajectory_id="inner")
    beside = trajectory(atif_step(1, observation={"results": [
        {"subagent_trajectory_ref": [{"trajectory_path": "main.json"}]}]}))  # fmt: skip
    put(tmp_path, "beside.json", beside)
    refs = [
        {"trajectory_id": "inner"}, {"trajectory_path": "beside.json"},
        {"trajectory_path": "../elsewhere.json"}, {"trajectory_path": "nowhere.json"},
    ]  # fmt: skip
    main = trajectory(
        atif_step(1, observation={"results": [{"content": "x", "subagent_trajectory_ref": refs}]}),
        atif_step(2, metrics={"prompt_tokens": 4, "completion_tokens": None}),
        subagent_trajectories=[inner, trajectory(atif_step(1), trajectory_id="unnamed")],
    )
    (tmp_path.parent / "elsewhere.json").write_text(json.dumps(trajectory(atif_step(1))))
    done = trace.import_file(log, put(tmp_path, "main.json", main))
    assert done.runs == ("main", "main/inner", "main/beside", "main/unnamed")
    assert all(log.stream(run).metadata["parent_run"] == "main" for run in done.runs[1:])
    assert totals(log, done.runs)[:3] == (5, 0, 4)


def test_one_observation_of_several_calls_is_the_result_of_the_last(
    log: Log, tmp_path: Path
) -> None:
    calls = [{"tool_call_id": f"c{n}", "function_name": "bash", "arguments": {}} for n in (1, 2)]
    whole = trajectory(
        atif_step(1, tool_calls=calls, observation={"results": [{"content": "both"}]})
    )
    trace.import_file(log, put(tmp_path, "t.json", whole))
    (result,) = (e for e in events_of(log, "t") if isinstance(e, trace.ToolResult))
    assert (result.tool_call_id, result.result) == ("c2", "both")


# Codex


def rollout(kind: str, second: int, **payload: object) -> dict[str, Any]:
    return {"timestamp": f"2026-01-02T03:04:{second:02}Z", "type": kind, "payload": payload}


def counts(second: int, total: int, last: int) -> dict[str, Any]:
    return rollout("event_msg", second, type="token_count", info={
        "total_token_usage": {"input_tokens": total, "output_tokens": total},
        "last_token_usage": {"input_tokens": last, "output_tokens": last},
    }, rate_limits={"primary": None})  # fmt: skip


def codex_call(second: int, call: str) -> dict[str, Any]:
    return rollout("response_item", second, type="function_call", name="shell",
                   arguments='{"command": ["ls"]}', call_id=call)  # fmt: skip


def codex_output(second: int, call: str, output: object) -> dict[str, Any]:
    return rollout("response_item", second, type="function_call_output", call_id=call,
                   output=output)  # fmt: skip


def test_counts_belong_to_the_answer_before_them_and_count_once(log: Log, tmp_path: Path) -> None:
    lines = (
        rollout("session_meta", 0, id="x", cwd="/w"), rollout("turn_context", 1, model="gpt"),
        codex_call(2, "a"), counts(3, 10, 10), codex_output(4, "a", "ok"), counts(4, 10, 10),
        codex_call(5, "b"), codex_output(6, "b", '{"output":"","metadata":{"exit_code":3}}'),
        counts(7, 30, 20), codex_call(8, "c"),
        codex_output(9, "c", "Process exited with code 1\nOutput:\n"),
        rollout("event_msg", 10, type="turn_aborted", reason="interrupted"),
        rollout("compacted", 11, message="summary"), counts(12, 35, 5),
    )  # fmt: skip
    done = trace.import_file(log, put(tmp_path, "r.jsonl", lines))
    events = events_of(log, "r")
    calls = [e for e in events if isinstance(e, trace.ModelCall)]
    assert [call.input_tokens for call in calls] == [10, 20, -1, 5]
    assert {call.request_model for call in calls} == {"gpt"}
    results = [e for e in events if isinstance(e, trace.ToolResult)]
    assert [e.tool_status for e in results] == ["success", "failure", "failure"]
    assert [e.reason for e in events if isinstance(e, trace.Checkpoint)] == [
        "interrupted", "summary",
    ]  # fmt: skip
    assert done.raw == 0


def test_what_is_only_shown_is_kept_and_what_repeats_is_not(log: Log, tmp_path: Path) -> None:
    said = [{"type": "output_text", "text": "said"}]
    lines = (
        rollout("event_msg", 0, type="agent_message", message="said"),
        rollout("response_item", 1, type="message", role="assistant", content=said),
        rollout("event_msg", 2, type="user_message", message="only shown"),
    )
    trace.import_file(log, put(tmp_path, "r.jsonl", lines))
    assert kinds(events_of(log, "r")) == ["ModelCall", "Message"]


def test_the_first_versions_of_rollouts_are_read(log: Log, tmp_path: Path) -> None:
    lines = (
        {"id": "x", "timestamp": "2025-05-01T00:00:00Z", "instructions": None},
        {"record_type": "state"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "go"}]},
        {"type": "local_shell_call", "call_id": "a", "action": {"command": ["ls"]}},
        {"type": "function_call_output", "call_id": "a", "output": "x"},
    )
    done = trace.import_file(log, put(tmp_path, "old.jsonl", lines))
    assert done.format == "codex"
    assert kinds(events_of(log, "old"))[-4:] == [
        "Message", "ModelCall", "ToolRequest", "ToolResult",
    ]  # fmt: skip


# OpenHands


def hands(n: int, **more: object) -> dict[str, Any]:
    return {"id": n, "timestamp": f"2025-01-02T03:04:{n:02}", "source": "agent", **more}


def action(n: int, kind: str, **args: object) -> dict[str, Any]:
    return hands(n, action=kind, args=args, message="")


def observation(n: int, kind: str, cause: int, **more: object) -> dict[str, Any]:
    return hands(n, observation=kind, cause=cause, content="seen", extras={}, **more)


def test_delegates_are_child_runs_and_failed_actions_failed_calls(log: Log, tmp_path: Path) -> None:
    whole = [
        action(1, "run", command="ls"), observation(2, "run", 1, success=False),
        action(3, "delegate", agent="Browser"), action(4, "run", command="pwd"),
        observation(5, "run", 4), action(6, "delegate", agent="Browser"),
        action(7, "think", thought="x"), observation(8, "delegate", 6),
        observation(9, "delegate", 3), action(10, "run", command="id"),
        observation(11, "error", 10), observation(12, "agent_state_changed", 0),
        action(13, "finish"),
    ]  # fmt: skip
    done = trace.import_file(log, put(tmp_path, "h.json", whole))
    assert done.runs == ("h", "h/Browser", "h/Browser/Browser")
    results = [e for e in events_of(log, "h") if isinstance(e, trace.ToolResult)]
    assert [e.tool_status for e in results] == ["failure", "success", "failure", "success"]
    assert trace.read(log, "h").open_calls == ()
    ended = trace.read(log, "h/Browser").ended
    assert (ended.status, ended.error) == ("completed", None)
    assert log.stream("h/Browser/Browser").metadata["parent_run"] == "h/Browser"


def test_an_answer_with_several_actions_is_one_model_call(log: Log, tmp_path: Path) -> None:
    response = {"id": "r", "model": "m", "usage": {"prompt_tokens": 9, "completion_tokens": 2},
                "choices": [{"message": {"content": "both"}}]}  # fmt: skip
    whole = [
        {**action(n, "run"), "tool_call_metadata": {
            "tool_call_id": f"c{n}", "function_name": "bash", "model_response": response}}
        for n in (1, 2)
    ]  # fmt: skip
    done = trace.import_file(log, put(tmp_path, "h.json", whole))
    assert totals(log, done.runs) == (1, 2, 9, 2)


def test_lines_of_an_evaluation_are_a_run_each(log: Log, tmp_path: Path) -> None:
    history = [action(1, "run", command="ls"), observation(2, "run", 1)]
    lines = (
        {"instance_id": "one", "history": history,
         "test_result": {"report": {"resolved": True}}},
        {"instance_id": "two", "history": [[history[0], history[1]]], "error": "broke"},
    )  # fmt: skip
    done = trace.import_file(log, put(tmp_path, "output.jsonl", lines))
    assert done.runs == ("output/one", "output/two")
    assert totals(log, done.runs).calls == 2
    (scored,) = (e for e in events_of(log, "output/one") if isinstance(e, trace.Evaluation))
    assert (scored.decision, scored.score) == ("resolved", 1.0)


def test_events_of_the_sdk_are_read(log: Log, tmp_path: Path) -> None:
    def event(n: int, kind: str, **more: object) -> dict[str, Any]:
        return {"id": f"e{n}", "timestamp": f"2026-01-02T03:04:{n:02}", "source": "agent",
                "kind": kind, **more}  # fmt: skip

    text = [{"type": "text", "text": "hi"}]
    call = {"id": "c", "name": "terminal", "arguments": '{"command": "ls"}'}
    whole = [
        event(0, "SystemPromptEvent", system_prompt={"type": "text", "text": "be good"}),
        event(1, "MessageEvent", source="user", llm_message={"role": "user", "content": text}),
        event(2, "ActionEvent", thought=text, tool_call=call, tool_call_id="c",
              tool_name="terminal", llm_response_id="r"),
        event(3, "ObservationEvent", tool_call_id="c", tool_name="terminal",
              observation={"content": text, "exit_code": 1}),
        event(4, "ConversationStateUpdateEvent", key="execution_status", value="finished"),
        event(5, "OfTomorrowEvent"),
    ]  # fmt: skip
    whole[1]["source"] = "user"
    done = trace.import_file(log, put(tmp_path, "sdk.json", whole))
    assert done.format == "openhands"
    assert kinds(events_of(log, "sdk")) == [
        "Message", "Message", "ModelCall", "ToolRequest", "ToolResult", *["Custom"] * 3,
    ]  # fmt: skip
    assert done.raw == 1
    (result,) = (e for e in events_of(log, "sdk") if isinstance(e, trace.ToolResult))
    assert (result.tool_status, result.result) == ("failure", "hi")


# Messages


def test_lists_of_messages_in_either_shape(log: Log, tmp_path: Path) -> None:
    openai = [
        {"role": "system", "content": "be good"}, {"role": "user", "content": "go"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "ls", "arguments": '{"a": 1}'}}]},
        {"role": "tool", "tool_call_id": "c", "content": "x"},
    ]  # fmt: skip
    anthropic = {"model": "claude", "system": "be good", "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "ok"},
            {"type": "tool_use", "id": "c", "name": "ls", "input": {"a": 1}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "c", "content": "x"},
            {"type": "text", "text": "and?"}]},
    ]}  # fmt: skip
    trace.import_file(log, put(tmp_path, "o.json", openai))
    trace.import_file(log, put(tmp_path, "a.json", anthropic))
    assert kinds(events_of(log, "o")) == [*["Message"] * 3, "ToolRequest", "ToolResult"]
    assert kinds(events_of(log, "a")) == [
        "Message", "Custom", "Message", "Message", "ToolRequest", "ToolResult", "Message",
    ]  # fmt: skip
    for name in ("o", "a"):
        request, result = (
            e for e in events_of(log, name) if isinstance(e, trace.ToolRequest | trace.ToolResult)
        )
        assert (request.arguments, result.tool_name, result.result) == ({"a": 1}, "ls", "x")


def test_lines_of_lists_are_runs_and_lines_of_messages_are_one(log: Log, tmp_path: Path) -> None:
    message = {"role": "user", "content": "x"}
    many = put(tmp_path, "many.jsonl", ({"messages": [message]}, {"messages": [message] * 2}))
    one = put(tmp_path, "one.jsonl", (message, {"from": "gpt", "value": "y"}, message))
    assert trace.import_file(log, many).runs == ("many/line-1", "many/line-2")
    assert trace.import_file(log, one).records == 3
    assert [e.role for e in events_of(log, "one")] == ["user", "assistant", "user"]
