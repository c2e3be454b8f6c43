"""`runs_columns`: what a person asks of recorded and imported runs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace

pytest.importorskip("duckdb")
from transit.views.scans.querying import sql
from transit.views.scans.runs import runs_columns
from transit.views.scans.scanning import scan

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def log(path: Path) -> Iterator[transit.Log]:
    with transit.open(path, durability="os") as opened:
        yield opened


def files(folder: str) -> list[Path]:
    found = [file for file in sorted((SHARED / folder).glob("*")) if file.suffix != ".md"]
    if not found:
        pytest.skip(f"no real files in {SHARED / folder}")
    return found


def asked(log: transit.Log, query: str) -> list[tuple[Any, ...]]:
    """The answer, of decoded records, of columns files and of both: always the same."""
    first = list(sql(log, query, columns=runs_columns()))
    log.seal()
    scan(log, runs_columns()).to_parquet_paths()
    assert list(sql(log, query, columns=runs_columns())) == first
    return first


def record_some(log: transit.Log) -> None:
    for number in range(3):
        with trace.task(log, f"run-{number}", actor="agent") as task:
            task.message("user", "go")
            for turn in range(number + 1):
                task.model_call(
                    model="m-1", request={"messages": []}, response={"content": "x"},
                    usage={"input_tokens": 10 * turn, "output_tokens": turn},
                )  # fmt: skip
                with task.tool("bash", {"cmd": "ls"}) as call:
                    if turn == 2:
                        call.failure(ValueError("bad \ud800 half"))
                    else:
                        call.result("fine")


def test_recorded_runs_are_asked_at_once(log: transit.Log) -> None:
    record_some(log)
    query = (
        "SELECT name, count(*), count(*) FILTER (WHERE status <> 'success') FROM events"
        " WHERE event = 'tool_result' GROUP BY name"
    )
    assert asked(log, query) == [("bash", 6, 1)]
    query = "SELECT _stream, sum(tokens_in), sum(tokens_out) FROM events GROUP BY 1 ORDER BY 1"
    assert asked(log, query) == [("run-0", 0, 0), ("run-1", 10, 1), ("run-2", 30, 3)]
    query = (
        "SELECT error_type, status, duration_ns >= 0 FROM events"
        " WHERE error_type IS NOT NULL ORDER BY _stream, _offset"
    )
    assert asked(log, query) == [("ValueError", "failure", True)]
    query = "SELECT event, LAST(status) FROM events GROUP BY 1 HAVING event = 'run_end'"
    assert asked(log, query) == [("run_end", "completed")]
    query = "SELECT arguments->>'$.cmd' FROM events WHERE event = 'tool_request' LIMIT 1"
    assert asked(log, query) == [("ls",)]


def test_every_field_of_an_event_is_where_it_belongs(log: transit.Log) -> None:
    """Names that trace gives its fields, and columns that read them, must not part."""
    with trace.task(log, "all", actor="agent") as task:
        with trace.task(log, "inner"):
            pass
        task.evaluate("judge", decision="selected", score=0.5, subject="all@0")
        task.checkpoint("final", status="success", reason="done")
        task.custom("mine", {"a": 1})
        artifact = task.artifact(b"patch", kind="patch")
        with task.model("m-2", {"messages": []}) as call:
            call.response({"model": "m-2-b", "content": "x"}, usage={"prompt_tokens": 3})
    found = {row["event"]: row for row in sql(log, "FROM events", columns=runs_columns()).dicts()}
    assert all(row["_error"] is None for row in found.values())
    assert found["child_run"]["child"] == "inner"
    judged = found["evaluation"]
    assert (judged["name"], judged["decision"], judged["score"]) == ("judge", "selected", 0.5)
    ended = found["checkpoint"]
    assert (ended["kind"], ended["status"], ended["reason"]) == ("final", "success", "done")
    assert found["custom"]["name"] == "mine"
    kept = found["artifact"]
    assert (kept["kind"], kept["artifact_id"]) == ("patch", artifact.artifact_id)
    asked_for, answered = found["model_request"], found["model_response"]
    assert asked_for["call_id"] == answered["call_id"]
    assert (asked_for["model"], answered["model"]) == ("m-2", "m-2-b")
    assert (answered["tokens_in"], answered["status"]) == (3, "success")


def test_tokens_by_run_are_those_of_the_files(log: transit.Log) -> None:
    expected = {}
    for file in files("atif"):
        done = trace.import_file(log, file)
        metrics = [step.get("metrics") or {} for step in json.loads(file.read_bytes())["steps"]]
        expected[done.runs[0]] = (
            sum(each.get("prompt_tokens", 0) for each in metrics),
            sum(each.get("completion_tokens", 0) for each in metrics),
        )
    query = (
        "SELECT _stream, coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0) FROM events"
        " WHERE event = 'model_call' GROUP BY 1 ORDER BY 1"
    )
    assert {name: tuple(rest) for name, *rest in asked(log, query)} == expected
    assert sum(value[0] for value in expected.values()) > 1000


def codes_of(file: Path) -> list[int]:
    """The exit codes that a trajectory of mini-swe-agent tells, in order."""
    whole = json.loads(file.read_bytes())
    messages = whole if isinstance(whole, list) else whole["messages"]
    texts = [
        each["content"] if isinstance(each["content"], str) else json.dumps(each["content"])
        for each in messages if each["role"] in ("user", "tool")
    ]  # fmt: skip
    found = re.findall(r"<returncode>(-?\d+)</returncode>", "\n".join(texts))
    return [int(code) for code in found]


def test_what_failed_first_and_how_often_is_what_the_files_say(log: transit.Log) -> None:
    expected = {}
    for file in files("mini-swe-agent"):
        done = trace.import_file(log, file)
        codes = codes_of(file)
        bad = [code for code in codes if code]
        expected[done.runs[0]] = (len(bad), f"exit code {bad[0]}" if bad else None)
    query = (
        "SELECT _stream, count(*) FILTER (WHERE status <> 'success'),"
        " first(error_message ORDER BY _offset) FILTER (WHERE error_message IS NOT NULL)"
        " FROM events WHERE event = 'tool_result' GROUP BY 1 ORDER BY 1"
    )
    assert {name: (bad, first) for name, bad, first in asked(log, query)} == expected
    assert sum(bad for bad, _ in expected.values()) > 2


def test_which_tool_is_used_most_is_what_the_files_say(log: transit.Log) -> None:
    expected: Counter[str] = Counter()
    for file in files("claude-code"):
        if file.name == "edge.jsonl":
            continue
        trace.import_file(log, file)
        for line in file.read_text().splitlines():
            message = json.loads(line).get("message") or {}
            for block in message.get("content") or ():
                if isinstance(block, dict) and block.get("type") == "tool_use":
                    expected[block["name"]] += 1
    for file in files("codex"):
        trace.import_file(log, file)
        for line in file.read_text().splitlines():
            item = json.loads(line)["payload"]
            if str(item.get("type")).endswith("_call"):
                expected[item["name"]] += 1
    query = "SELECT name, count(*) FROM events WHERE event = 'tool_request' GROUP BY 1 ORDER BY 1"
    assert dict(asked(log, query)) == expected
    assert len(expected) > 3


def test_no_record_of_any_file_has_an_error(log: transit.Log) -> None:
    for folder in ("agent-trajectories", "inspect", "openhands", "otlp"):
        for file in files(folder):
            trace.import_file(log, file)
    records = sum(map(len, log.streams()))
    query = "SELECT count(*), count(event), count(_error), count(DISTINCT _stream) FROM events"
    assert asked(log, query) == [(records, records, 0, len(list(log.streams())))]
