"""Real files of other tools: what is imported comes to what the files themselves say.

What a file comes to is counted here from its JSON, by code that shares nothing with the importers.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace

from .shared_files import SHARED, Totals, events_of, shared_files, totals

FOLDERS = {
    "agent-trajectories": "swe-agent", "swe-agent-history": "swe-agent",
    "mini-swe-agent": "mini-swe-agent", "inspect": "inspect", "atif": "atif",
    "claude-code": "claude-code", "codex": "codex", "openhands": "openhands", "otlp": "otlp",
}  # fmt: skip
FILES = [
    pytest.param(folder, file.name, id=f"{folder}/{file.name}")
    for folder in FOLDERS
    for file in sorted((SHARED / folder).glob("*"))
    if file.suffix != ".md"
] or [pytest.param("agent-trajectories", "", id="none")]
# The part of a file's records that no type of event says anything of.
RAW_MAX = 0.05


def lines(file: Path) -> Iterator[dict[str, Any]]:
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            yield value


def of_swe_agent(file: Path) -> Totals:
    whole = json.loads(file.read_bytes())
    if "trajectory" in whole:
        stats = whole["info"]["model_stats"]
        assert not stats["tokens_sent"], "a file that says how many tokens there were"
        return Totals(len(whole["trajectory"]), len(whole["trajectory"]), 0, 0)
    answers = [each for each in whole["history"] if each["role"] == "assistant"]
    return Totals(len(answers), sum(len(each["tool_calls"]) for each in answers), 0, 0)


def of_mini(file: Path) -> Totals:
    whole = json.loads(file.read_bytes())
    messages = whole if isinstance(whole, list) else whole["messages"]
    answers = [each for each in messages if each["role"] == "assistant"]
    calls = sum(
        len(each["tool_calls"]) if each.get("tool_calls")
        else len(re.findall(r"```(?:bash|mswea_bash_command)\n", each["content"]))
        for each in answers
    )  # fmt: skip
    usages = [each.get("extra", {}).get("response", {}).get("usage", {}) for each in answers]
    return Totals(
        len(answers), calls,
        sum(each.get("prompt_tokens", 0) for each in usages),
        sum(each.get("completion_tokens", 0) for each in usages),
    )  # fmt: skip


def of_inspect(file: Path) -> Totals:
    if file.suffix == ".eval":
        with zipfile.ZipFile(file) as opened:
            header = json.loads(opened.read("header.json"))
            names = [name for name in opened.namelist() if name.startswith("samples/")]
            samples = [json.loads(opened.read(name)) for name in names]
    else:
        header = json.loads(file.read_bytes())
        samples = header["samples"]
    events = [event["event"] for sample in samples for event in sample["events"]]
    usage = header["stats"]["model_usage"].values()
    return Totals(
        events.count("model"), events.count("tool"),
        sum(each["input_tokens"] for each in usage), sum(each["output_tokens"] for each in usage),
    )  # fmt: skip


def of_atif(file: Path) -> Totals:
    steps = json.loads(file.read_bytes())["steps"]
    metrics = [step.get("metrics", {}) for step in steps]
    return Totals(
        sum(step["source"] == "agent" for step in steps),
        sum(len(step.get("tool_calls") or ()) for step in steps),
        sum(each.get("prompt_tokens", 0) for each in metrics),
        sum(each.get("completion_tokens", 0) for each in metrics),
    )


def of_claude(file: Path) -> Totals:
    answers = {each["message"]["id"]: each["message"] for each in lines(file)
               if each.get("type") == "assistant"}  # fmt: skip
    blocks = [block for each in answers.values() for block in each["content"]]
    return Totals(
        len(answers),
        sum(block["type"] == "tool_use" for block in blocks),
        sum(each["usage"]["input_tokens"] for each in answers.values()),
        sum(each["usage"]["output_tokens"] for each in answers.values()),
    )


def of_codex(file: Path) -> Totals:
    items = [each["payload"] for each in lines(file) if each["type"] == "response_item"]
    kinds = "".join(
        "o" if each["type"].endswith("_output") or each.get("role") == "user" else "a"
        for each in items
    )
    calls = sum(each["type"].endswith("_call") for each in items)
    return Totals(len(re.findall("a+", kinds)), calls, 0, 0)


def of_openhands(file: Path) -> Totals:
    events = json.loads(file.read_bytes())
    responses = {
        each["tool_call_metadata"]["model_response"]["id"]: each["tool_call_metadata"]
        for each in events if "tool_call_metadata" in each
    }  # fmt: skip
    usages = [each["model_response"]["usage"] for each in responses.values()]
    calls = {each["tool_call_metadata"]["tool_call_id"] for each in events
             if "action" in each and "tool_call_metadata" in each}  # fmt: skip
    return Totals(
        len(responses), len(calls),
        sum(each["prompt_tokens"] for each in usages),
        sum(each["completion_tokens"] for each in usages),
    )  # fmt: skip


def of_otlp(file: Path) -> Totals:
    return Totals(0, 0, 0, 0)


COUNTED: dict[str, Callable[[Path], Totals]] = {
    "swe-agent": of_swe_agent, "mini-swe-agent": of_mini, "inspect": of_inspect, "atif": of_atif,
    "claude-code": of_claude, "codex": of_codex, "openhands": of_openhands, "otlp": of_otlp,
}  # fmt: skip


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_a_real_file_is_recognised_and_comes_to_what_it_says(
    folder: str, name: str, log: transit.Log
) -> None:
    file = next(each for each in shared_files(folder) if each.name == name)
    skip_bad = name == "edge.jsonl"
    done = trace.import_file(log, file, skip_bad=skip_bad)
    assert done.format == FOLDERS[folder]
    assert totals(log, done.runs) == COUNTED[done.format](file)
    assert done.raw <= max(1, RAW_MAX * done.records), "kept raw"
    assert (done.skipped > 0) == skip_bad

    again = trace.import_file(log, file, skip_bad=skip_bad)
    assert (again.added, again.there) == (0, done.added)
    assert not any(isinstance(event, trace.Unknown) for event in events_of(log, done.runs))
    log.seal()
    assert log.verify().ok


def test_a_trajectory_that_was_imported_as_a_file_is_given_back(log: transit.Log) -> None:
    for file in shared_files("agent-trajectories"):
        trace.import_file(log, file)
        stem = file.name.removesuffix(".traj")
        assert json.dumps(trace.export_trajectory(log, stem)) == json.dumps(
            json.loads(file.read_bytes())
        )


def test_times_are_those_of_the_source(log: transit.Log) -> None:
    (file,) = shared_files("codex")
    trace.import_file(log, file)
    records = list(trace.read(log, "rollout"))
    assert records[0].timestamp == 1767323045_000_000_000
    assert records[2].timestamp == 1767323047_001_000_000
    assert trace.read(log, "rollout").created_at == records[0].timestamp


def test_samples_are_child_runs_of_their_evaluation(log: transit.Log) -> None:
    file = next(each for each in shared_files("inspect") if each.suffix == ".eval")
    done = trace.import_file(log, file)
    assert done.runs[0] == "popularity"
    begun = [e for e in events_of(log, "popularity") if isinstance(e, trace.ChildRun)]
    assert [event.run for event in begun] == list(done.runs[1:])
    for event in begun:
        child = log.stream(event.run)
        assert child.uid == event.uid
        assert child.metadata["parent_run"] == "popularity"
        ended = trace.read(log, child).ended
        assert (ended.status, ended.error) == ("completed", None)


def test_bad_lines_are_named_with_their_place_and_leave_nothing(log: transit.Log) -> None:
    file = next(each for each in shared_files("claude-code") if each.name == "edge.jsonl")
    with pytest.raises(transit.InvalidInputError, match=r"edge\.jsonl, line 10: "):
        trace.import_file(log, file)
    assert not list(log.streams())
    done = trace.import_file(log, file, skip_bad=True)
    places = [re.search(r"line (\d+)", each) for each in done.problems]
    assert [match and int(match[1]) for match in places] == [10, 11, 13, 14, 15, 16]
