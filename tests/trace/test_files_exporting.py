"""Runs written for other tools: read by these tools' own readers, and imported again here.

Those readers are in an environment of their own, which `just readers` makes; the last test needs
none of them.
"""

from __future__ import annotations

import base64
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace
from transit.cli.verbs.export import RUN_FORMS

from .shared_files import SHARED, Totals, events_of, shared_files, totals

FOLDERS = ("agent-trajectories", "mini-swe-agent", "inspect", "atif", "claude-code", "codex",
           "openhands", "otlp", "swe-agent-history")  # fmt: skip
ELSEWHERE = "`just readers` runs it, where this package is"
OF_TOOLS = ("otlp", "openinference", "atif", "inspect")
ASKED = [{"role": "system", "content": "be good"}, {"role": "user", "content": "fix \u20ac it"}]


@pytest.fixture
def run(log: transit.Log) -> str:
    """A run with every kind of event: calls that fail, a child run, a branch's beginning."""
    with trace.task(log, "fix/1", actor="helper") as task:
        call = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
        task.model_call(
            model="gpt", provider="openai", response_id="r-1", finish_reasons=("tool_calls",),
            request={"messages": ASKED, "temperature": 0.5},
            response={"role": "assistant", "content": None, "tool_calls": [call], "model": "gpt-1"},
            usage={"input_tokens": 10, "output_tokens": 3, "cached_tokens": 4},
        )  # fmt: skip
        with task.tool("bash", {"cmd": "ls"}, tool_call_id="c1") as tool:
            tool.failure("no such file")
        result = {"role": "tool", "tool_call_id": "c1", "content": "null"}
        blocks = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "done"},
                  {"type": "tool_use", "id": "c2", "name": "look", "input": {"at": 1}}]  # fmt: skip
        task.model_call(
            model="gpt", request={"messages": [*ASKED, result]},
            response={"role": "assistant", "content": blocks},
            usage={"input_tokens": 20, "output_tokens": 5},
        )  # fmt: skip
        task.tool("look", {"at": 1}, tool_call_id="c2").result({"seen": [1, None, "half \ud800"]})
        task.call("lookup", {"key": "a"}, lambda key: key * 2)
        with trace.task(log, "fix/1/helper") as child:
            child.message("user", "help")
            child.model_call(model="small", request=None, response="helped",
                             usage={"input_tokens": 1, "output_tokens": 1})  # fmt: skip
        task.evaluate("judge", decision="good", score=0.5, reason="it works")
        task.checkpoint("final", status="success")
        task.custom("note", {"a": [1, 2]})
        task.artifact(b"bytes", kind="patch")
        task.tool("open", "plain text", tool_call_id="c3")
    return "fix/1"


def written(log: transit.Log, run: str, folder: Path, form: str) -> Path:
    ending = {"inspect": ".eval", "parquet": ".parquet"}.get(form, ".json")
    name = run.replace("/", "-")
    return trace.export_file(log, run, folder / f"{name}.{form}{ending}", format=form)


def imported(folder: Path) -> list[tuple[str, Path]]:
    """Real files, each with the name of its folder."""
    return [(name, file) for name in FOLDERS for file in sorted((SHARED / name).glob("*"))
            if file.suffix != ".md"]  # fmt: skip


@pytest.fixture
def real(log: transit.Log, tmp_path: Path) -> list[str]:
    """The names of runs that were imported from real files."""
    found = imported(tmp_path)
    if not found:
        pytest.skip(f"no real files in {SHARED}")
    return [
        trace.import_file(log, file, prefix=f"{name}/", skip_bad=True).runs[0]
        for name, file in found
    ]


def all_runs(run: str, real: list[str]) -> list[str]:
    return [run, *real]


def with_children(log: transit.Log, run: str) -> list[str]:
    children = [e.run for e in events_of(log, run) if isinstance(e, trace.ChildRun)]
    return [run, *(each for child in children for each in with_children(log, child))]


@pytest.mark.parametrize("form", OF_TOOLS)
def test_what_is_exported_comes_to_the_same_when_it_is_imported(
    form: str, run: str, log: transit.Log, tmp_path: Path
) -> None:
    file = written(log, run, tmp_path, form)
    done = trace.import_file(log, file, prefix="again/")
    expected = totals(log, with_children(log, run))
    assert totals(log, done.runs) == expected
    assert expected == Totals(3, 3, 31, 9)
    found = events_of(log, done.runs)
    outcomes = [e for e in found if isinstance(e, trace.ToolResult)]
    called = [n for n, e in enumerate(found) if getattr(e, "call_name", "").endswith("lookup")]
    # ATIF knows no calls but those of tools; else it ends where it began.
    assert called == ([] if form == "atif" else [called[0], called[0] + 1])
    assert [(e.tool_call_id, e.tool_status) for e in outcomes][1:2] == [("c2", "success")]


def test_messages_are_those_that_were_sent_and_answered_each_once(
    run: str, log: transit.Log, tmp_path: Path
) -> None:
    messages = json.loads(written(log, run, tmp_path, "messages").read_bytes())
    assert [message["role"] for message in messages] == [
        "system", "user", "assistant", "tool", "assistant", "tool",
    ]  # fmt: skip
    assert messages[:2] == ASKED
    assert messages[3] == {"role": "tool", "tool_call_id": "c1", "content": "no such file"}
    assert (messages[4]["content"], messages[4]["reasoning_content"]) == ("done", "hm")
    called = messages[4]["tool_calls"]
    assert [(each["id"], each["function"]["name"]) for each in called] == [
        ("c2", "look"), ("c3", "open"),
    ]  # fmt: skip
    assert json.loads(called[0]["function"]["arguments"]) == {"at": 1}


def test_real_messages_come_out_as_they_were(log: transit.Log, tmp_path: Path) -> None:
    file = next(f for f in shared_files("mini-swe-agent") if f.name == "toolcall.traj.json")
    done = trace.import_file(log, file)
    messages = json.loads(written(log, done.runs[0], tmp_path, "messages").read_bytes())
    given = json.loads(file.read_bytes())["messages"]
    assert [(m["role"], m["content"]) for m in messages[:-1]] == [
        (m["role"], m["content"]) for m in given[:-1]
    ]
    sent = [m["tool_calls"] for m in messages if "tool_calls" in m]
    for ours, theirs in zip(
        sent, (m["tool_calls"] for m in given if "tool_calls" in m), strict=True
    ):
        for one, other in zip(ours, theirs, strict=True):
            assert one["id"] == other["id"]
            assert json.loads(one["function"]["arguments"]) == json.loads(
                other["function"]["arguments"]
            )


def test_a_branch_is_exported_with_what_it_inherits(log: transit.Log, tmp_path: Path) -> None:
    task = trace.task(log, "t")
    task.message("user", "go")
    task.model_call(model="m", response="first", usage={"input_tokens": 5})
    retry = task.retry(at=0)
    retry.model_call(model="m", response="second", usage={"input_tokens": 7})
    whole = json.loads(written(log, retry.name, tmp_path, "atif").read_bytes())
    assert [step["message"] for step in whole["steps"]] == ["go", "second"]
    assert [step.get("is_copied_context", False) for step in whole["steps"]] == [True, False]
    assert whole["final_metrics"]["total_prompt_tokens"] == 7


def test_runs_that_name_each_other_in_a_circle_are_exported(
    log: transit.Log, tmp_path: Path
) -> None:
    one, two = trace.task(log, "one"), trace.task(log, "two")
    for task, other in ((one, "two"), (two, "one"), (one, "one"), (one, "nowhere"), (two, "one")):
        task.message("user", "x")
        task.record(trace.ChildRun(run=other))
    for form in trace.files.EXPORTS:
        assert written(log, "one", tmp_path, form).stat().st_size > 0


@pytest.mark.parametrize("form", trace.files.EXPORTS)
def test_a_run_with_nothing_in_it_is_exported(form: str, log: transit.Log, tmp_path: Path) -> None:
    trace.task(log, "empty")
    assert written(log, "empty", tmp_path, form).stat().st_size > 0


def test_parquet_has_a_row_an_event_of_the_run_and_its_child_runs(
    run: str, log: transit.Log, tmp_path: Path
) -> None:
    parquet: Any = pytest.importorskip("pyarrow.parquet")
    file = trace.export_file(log, run, tmp_path / "run.parquet")
    table = parquet.read_table(file)
    times = table["time"].cast("int64").to_pylist()
    rows = table.drop_columns(["time"]).to_pylist()
    runs = with_children(log, run)
    records = [(name, record) for name in runs for record in trace.read(log, name)]
    assert [(row["run"], row["offset"]) for row in rows] == [(n, r.offset) for n, r in records]
    assert times == [record.timestamp for _, record in records]
    call = next(row for row in rows if row["event"] == "model_call")
    assert (call["model"], call["input_tokens"], call["output_tokens"]) == ("gpt", 10, 3)
    failed = next(row for row in rows if row["event"] == "tool_result")
    assert (failed["name"], failed["call_id"], failed["status"]) == ("bash", "c1", "failure")
    assert json.loads(call["data"])["request"]["messages"] == ASKED


def test_otlp_is_read_by_opentelemetrys_own_models(
    run: str, real: list[str], log: transit.Log, tmp_path: Path
) -> None:
    models: Any = pytest.importorskip("opentelemetry.proto_json.trace.v1.trace", reason=ELSEWHERE)
    for name in all_runs(run, real):
        for form in ("otlp", "openinference"):
            whole = json.loads(written(log, name, tmp_path, form).read_bytes())
            found = models.TracesData.from_dict(whole)
            spans = found.resource_spans[0].scope_spans[0].spans
            assert len({span.span_id for span in spans}) == len(spans)
            ids = {span.span_id for span in spans}
            roots = [span for span in spans if not span.parent_span_id]
            assert len(roots) == 1
            assert all(span.parent_span_id in ids for span in spans if span is not roots[0])


def test_otlp_is_read_by_protobuf(
    run: str, real: list[str], log: transit.Log, tmp_path: Path
) -> None:
    json_format: Any = pytest.importorskip("google.protobuf.json_format", reason=ELSEWHERE)
    proto: Any = pytest.importorskip("opentelemetry.proto.trace.v1.trace_pb2", reason=ELSEWHERE)
    for name in all_runs(run, real):
        whole = json.loads(written(log, name, tmp_path, "otlp").read_bytes())
        for span in whole["resourceSpans"][0]["scopeSpans"][0]["spans"]:
            # Protobuf's JSON has bytes in base64, OTLP's has ids in hexadecimal.
            for key in ("traceId", "spanId", "parentSpanId"):
                if key in span:
                    span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
        parsed = json_format.ParseDict(whole, proto.TracesData())
        spans = parsed.resource_spans[0].scope_spans[0].spans
        assert all(len(span.trace_id) == 16 and len(span.span_id) == 8 for span in spans)


def test_openinference_has_attributes_that_the_convention_knows(
    run: str, log: transit.Log, tmp_path: Path
) -> None:
    semconv: Any = pytest.importorskip("openinference.semconv.trace", reason=ELSEWHERE)
    whole = json.loads(written(log, run, tmp_path, "openinference").read_bytes())
    known = {
        value
        for kind in ("SpanAttributes", "MessageAttributes", "ToolCallAttributes", "ToolAttributes")
        for name, value in vars(getattr(semconv, kind)).items()
        if not name.startswith("_")
    }
    spans = whole["resourceSpans"][0]["scopeSpans"][0]["spans"]
    kinds = set()
    for span in spans:
        given = {each["key"]: each["value"] for each in span["attributes"]}
        for key in given:
            if key.startswith(("transit.", "key")):
                continue
            parts = [part for part in key.split(".") if not part.isdecimal()]
            assert any(
                ".".join(parts) == each or ".".join(parts).endswith(each) for each in known
            ), key
        if "openinference.span.kind" in given:
            kinds.add(given["openinference.span.kind"]["stringValue"])
    assert kinds <= {kind.value for kind in semconv.OpenInferenceSpanKindValues}
    assert kinds == {"AGENT", "LLM", "TOOL"}


def test_atif_is_valid_by_harbors_own_models(
    run: str, real: list[str], log: transit.Log, tmp_path: Path
) -> None:
    harbor: Any = pytest.importorskip(
        "harbor.models.trajectories", reason=f"{ELSEWHERE}; harbor needs Python 3.12"
    )
    for name in all_runs(run, real):
        harbor.Trajectory.model_validate_json(written(log, name, tmp_path, "atif").read_text())


def test_an_inspect_log_opens_in_inspects_own_reader(
    run: str, real: list[str], log: transit.Log, tmp_path: Path
) -> None:
    inspect: Any = pytest.importorskip("inspect_ai.log", reason=ELSEWHERE)
    for name in all_runs(run, real):
        file = written(log, name, tmp_path, "inspect")
        found = inspect.read_eval_log(str(file), resolve_attachments=True)
        assert inspect.read_eval_log(str(file), header_only=True).status == found.status
        runs = with_children(log, name)
        events = [event.event for sample in found.samples for event in sample.events]
        expected = totals(log, runs)
        assert events.count("model") == expected.answers
        assert events.count("tool") >= expected.calls
        usage = found.stats.model_usage.values()
        assert sum(each.input_tokens for each in usage) == expected.tokens_in


def test_what_cannot_be_exported_is_refused_and_leaves_what_was_there(
    log: transit.Log, tmp_path: Path
) -> None:
    trace.task(log, "t").message("user", "x")
    file = tmp_path / "t.json"
    file.write_text("mine")
    with pytest.raises(transit.InvalidInputError, match="say the format"):
        trace.export_file(log, "t", file)
    with pytest.raises(transit.InvalidInputError, match="format must be one of"):
        trace.export_file(log, "t", file, format="nobody")
    with pytest.raises(transit.NotFoundError):
        trace.export_file(log, "nobody", file, format="atif")
    with pytest.raises(transit.InvalidInputError, match="path"):
        trace.export_file(log, "t", 3, format="atif")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        trace.export_file(log, "t", tmp_path / "no" / "t.json", format="atif")
    assert file.read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["store", "t.json"]
    with pytest.raises(IsADirectoryError):
        trace.export_file(log, "t", tmp_path / "store", format="atif")
    assert sorted(os.listdir(tmp_path)) == ["store", "t.json"], "nothing half written stays"
    trace.export_file(log, "t", file, format="messages")
    assert json.loads(file.read_bytes()) == [{"role": "user", "content": "x"}]


def test_the_same_run_gives_the_same_bytes(run: str, log: transit.Log, tmp_path: Path) -> None:
    for form in OF_TOOLS:
        first = written(log, run, tmp_path, form).read_bytes()
        assert written(log, run, tmp_path, form).read_bytes() == first


def test_every_format_is_there_by_the_same_name_for_the_command() -> None:
    assert tuple(trace.files.EXPORTS) == RUN_FORMS


def test_a_log_without_its_reader_has_the_members_that_readers_look_for(
    run: str, log: transit.Log, tmp_path: Path
) -> None:
    with zipfile.ZipFile(written(log, run, tmp_path, "inspect")) as opened:
        assert set(opened.namelist()) == {
            "_journal/start.json", "samples/1_epoch_1.json", "summaries.json", "header.json",
        }  # fmt: skip
        header = json.loads(opened.read("header.json"))
    assert header["status"] == "success"
    assert header["stats"]["model_usage"]["gpt"]["input_tokens"] == 30


@pytest.mark.parametrize("form", ["otlp", "openinference", "atif", "messages", "inspect"])
def test_a_model_call_told_in_parts_is_exported_as_one_told_whole(
    log: transit.Log, tmp_path: Path, form: str
) -> None:
    answer = {"role": "assistant", "content": "done"}
    with trace.task(log, "whole") as task:
        task.model_call(
            model="m", request={"messages": ASKED}, response=answer, usage={"input_tokens": 3}
        )
    with trace.task(log, "parts") as task, task.model("m", {"messages": ASKED}) as call:
        call.chunk("do")
        call.response(answer, usage={"input_tokens": 3})
    found = []
    for name in ("whole", "parts"):
        path = tmp_path / f"{name}.{form}"
        trace.export_file(log, name, path, format=form)
        runs = trace.import_file(log, path, prefix=f"again/{name}/").runs
        events = [event for run in runs for event in events_of(log, run)]
        calls = [e for e in events if isinstance(e, trace.ModelCall)]
        said = [e.content for e in events if isinstance(e, trace.Message)]
        found.append([*said, *((c.request_model, c.response, c.input_tokens) for c in calls)])
    assert found[0] == found[1] != []
