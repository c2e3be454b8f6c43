"""Notes on runs in files of other tools: where each format has them, and that they come back."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace
from transit.trace.events import Note

from .shared_files import events_of

ELSEWHERE = "`just readers` runs it, where this package is"
FRAME_BYTES = 16 * 1024
FORMS = ("otlp", "openinference", "inspect", "atif")
# What a note is about, by what is there in the run that was imported.
Noted = tuple[str, object, str | None, str, str, str]


@pytest.fixture
def run(log: transit.Log) -> str:
    """A run with a note on all of it, one on each kind of step, and one that was superseded."""
    with trace.task(log, "fix") as task:
        task.message("user", "go")
        call = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
        with task.model("m", {"messages": [{"role": "user", "content": "go"}]}) as asked:
            asked.chunk("I")
            asked.response({"role": "assistant", "content": "I look", "tool_calls": [call]})
        with task.tool("bash", {"cmd": "ls"}, tool_call_id="c1") as tool:
            tool.result("file")
        task.call("lookup", {"key": "a"}, lambda key: key * 2)
        with trace.task(log, "fix/inner") as child:
            child.message("user", "help")
            with child.tool("look", {}) as looked:
                looked.result("seen")
        task.evaluate("judge", decision="good", score=0.5, reason="it works")
    trace.annotate(log, "fix", "correct", score=False, author="ada", comment="at first")
    trace.annotate(log, "fix", "correct", score=True, author="ada", comment="after all",
                   metadata={"rubric": 2, "of": [1, None]})  # fmt: skip
    trace.annotate(log, "fix", "correct", score=0.25, label="low", author="judge-1")
    trace.annotate(log, "fix", "judge", label="agrees")
    trace.annotate(log, "fix", "seen", comment="read by eve", author="eve")
    for at, event in enumerate(events_of(log, "fix")):
        kind = type(event).__name__
        trace.annotate(log, "fix", kind, score=at, label="step", author=str(at), at=at)
    trace.annotate(log, "fix/inner", "inner", score=1, author="ada")
    trace.annotate(log, "fix/inner", "looked", label="well", author="ada", at=1)
    return "fix"


def written(log: transit.Log, run: str, folder: Path, form: str) -> Path:
    ending = ".eval" if form == "inspect" else ".json"
    return trace.export_file(log, run, folder / f"{form}{ending}", format=form)


def standing(log: transit.Log, run: str) -> list[Note]:
    return list({(n.name, n.author, n.at): n for n in trace.notes(log, run)}.values())


def all_notes(log: transit.Log, runs: tuple[str, ...]) -> Iterator[tuple[str, Note]]:
    for name in runs:
        for note in trace.notes(log, name):
            yield name, note


def spans_in(file: Path) -> list[dict[str, Any]]:
    spans: list[dict[str, Any]] = json.loads(file.read_bytes())["resourceSpans"][0]["scopeSpans"][
        0
    ]["spans"]
    return spans


def plain(given: list[dict[str, Any]]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values())) for each in given}


def said_of(note: Note) -> Noted:
    return note.name, note.score, note.label, note.comment, note.author, str(note.noted_at)


@pytest.mark.parametrize("form", FORMS)
def test_notes_come_back_as_they_were(
    form: str, run: str, log: transit.Log, tmp_path: Path
) -> None:
    done = trace.import_file(log, written(log, run, tmp_path, form), prefix="again/")
    found = [said_of(note) for _, note in all_notes(log, done.runs)]
    there = [said_of(note) for name in (run, "fix/inner") for note in standing(log, name)]
    assert sorted(map(repr, found)) == sorted(map(repr, there))
    (back,) = [n for _, n in all_notes(log, done.runs) if n.comment == "after all"]
    assert (back.at, back.metadata) == (None, {"rubric": 2, "of": [1, None]})
    assert type(back.score) is bool


@pytest.mark.parametrize("form", FORMS)
def test_a_note_on_a_step_comes_back_on_that_step(
    form: str, run: str, log: transit.Log, tmp_path: Path
) -> None:
    done = trace.import_file(log, written(log, run, tmp_path, form), prefix="again/")
    wanted: dict[str, type] = {
        "ModelRequest": trace.ModelCall, "ModelChunk": trace.ModelCall,
        "ModelResponse": trace.ModelCall,
    }  # fmt: skip
    if form == "atif":
        # A step of its is what a model said with the calls it made.
        wanted |= dict.fromkeys(("ToolRequest", "ToolResult", "looked"), trace.ModelCall)
        wanted["Message"] = trace.Message
    else:
        wanted |= dict.fromkeys(("ToolRequest", "ToolResult", "looked"), trace.ToolRequest)
        wanted |= dict.fromkeys(("CallRequest", "CallResult"), trace.CallRequest)
        wanted["ChildRun"] = trace.CallRequest if form == "inspect" else trace.ChildRun
    if form == "inspect":
        wanted["Evaluation"] = trace.Evaluation
    noted = {note.name: (name, note) for name, note in all_notes(log, done.runs)}
    for name, kind in wanted.items():
        run_name, note = noted[name]
        assert note.at is not None, name
        assert type(list(events_of(log, run_name))[note.at]) is kind, name
        assert "source_at" not in note.metadata
    # What the file does not hold is said of all of the run, and where it was is kept.
    for name, (_, note) in noted.items():
        first = {n.name: n for each in (run, "fix/inner") for n in standing(log, each)}[name]
        if first.at is not None and name not in wanted:
            assert (note.at, note.metadata) == (None, {"source_at": first.at}), name


@pytest.mark.parametrize("form", FORMS)
def test_a_second_time_only_notes_that_are_new_are_added(
    form: str, run: str, log: transit.Log, tmp_path: Path
) -> None:
    count = len(standing(log, run)) + len(standing(log, "fix/inner"))
    first = trace.import_file(log, written(log, run, tmp_path, form), prefix="again/")
    again = trace.import_file(log, written(log, run, tmp_path, form), prefix="again/")
    assert (again.added, again.there) == (0, first.added)
    trace.annotate(log, run, "late", score=3, author="bob")
    later = trace.import_file(log, written(log, run, tmp_path, form), prefix="again/")
    assert (later.added, later.there) == (1, first.added)
    assert len(list(all_notes(log, later.runs))) == count + 1


def test_a_note_on_an_evaluation_is_one_of_its_results(log: transit.Log, tmp_path: Path) -> None:
    with trace.task(log, "suite"):
        with trace.task(log, "suite/1") as one:
            one.message("user", "go")
        with trace.task(log, "suite/2") as two:
            two.message("user", "go")
    trace.annotate(log, "suite", "accuracy", score=0.5, author="counted")
    trace.annotate(log, "suite", "fair", comment="two is hard")
    trace.annotate(log, "suite/2", "correct", score=False)
    file = written(log, "suite", tmp_path, "inspect")
    with zipfile.ZipFile(file) as opened:
        scores = json.loads(opened.read("header.json"))["results"]["scores"]
        summaries = json.loads(opened.read("summaries.json"))
    assert [(each["name"], each["scorer"]) for each in scores] == [
        ("accuracy", "counted"), ("fair", "fair"),
    ]  # fmt: skip
    assert scores[0]["metrics"] == {"accuracy": {"name": "accuracy", "value": 0.5}}
    assert [list(each["scores"]) for each in summaries] == [[], ["correct"]]
    done = trace.import_file(log, file, prefix="again/")
    found = [(len(name.split("/")), note.name) for name, note in all_notes(log, done.runs)]
    assert found == [(2, "accuracy"), (2, "fair"), (3, "correct")]


def test_inspects_own_reader_sees_notes_on_an_evaluation_as_results(
    log: transit.Log, tmp_path: Path
) -> None:
    inspect: Any = pytest.importorskip("inspect_ai.log", reason=ELSEWHERE)
    with trace.task(log, "suite"), trace.task(log, "suite/1") as one:
        one.message("user", "go")
    trace.annotate(log, "suite", "accepted", score=True, author="ada")
    trace.annotate(log, "suite", "fair", label="yes")
    found = inspect.read_eval_log(str(written(log, "suite", tmp_path, "inspect")))
    scores = found.results.scores
    assert [(each.name, each.scorer) for each in scores] == [("accepted", "ada"), ("fair", "fair")]
    assert scores[0].metrics["accepted"].value == 1
    assert scores[1].metadata["transit_note"]["label"] == "yes"


def test_otlp_has_an_event_of_the_conventions_on_the_span_of_the_step(
    run: str, log: transit.Log, tmp_path: Path
) -> None:
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for span in spans_in(written(log, run, tmp_path, "otlp")):
        for event in span.get("events", ()):
            if event["name"] == "gen_ai.evaluation.result":
                said = plain(event["attributes"])
                name = str(said["gen_ai.evaluation.name"])
                found.setdefault(name, []).append((span["name"], said))
    assert [(span, said.get("gen_ai.evaluation.score.value")) for span, said in found["correct"]] \
        == [("invoke_agent fix", 1.0), ("invoke_agent fix", 0.25)]  # fmt: skip
    said = found["correct"][1][1]
    assert said["gen_ai.evaluation.score.label"] == "low"
    assert found["seen"][0][1]["gen_ai.evaluation.explanation"] == "read by eve"
    assert "gen_ai.evaluation.score.value" not in found["seen"][0][1]
    places = {name: span for name, ((span, _), *_) in found.items()}
    assert places["ModelChunk"] == places["ModelResponse"] == "chat m"
    assert places["ToolRequest"] == places["ToolResult"] == "execute_tool bash"
    assert places["CallResult"].endswith("lookup")
    assert places["ChildRun"] == places["inner"] == "invoke_agent fix/inner"
    assert places["Message"] == places["RunEnd"] == "invoke_agent fix"
    assert places["looked"] == "execute_tool look"


def test_openinference_has_annotations_as_its_specification_says(
    run: str, log: transit.Log, tmp_path: Path
) -> None:
    spans = spans_in(written(log, run, tmp_path, "openinference"))
    root = plain(spans[0]["attributes"])
    prefix = "annotations.0.annotation"
    kept = {key.removeprefix(f"{prefix}."): v for key, v in root.items() if key.startswith(prefix)}
    metadata = json.loads(kept.pop("metadata"))
    assert kept == {
        "name": "correct", "score": "1", "explanation": "after all", "identifier": "ada",
    }  # fmt: skip
    assert (metadata["rubric"], metadata["transit_note"]["score"]) == (2, True)
    for span in spans:
        keys = [each["key"] for each in span["attributes"] if each["key"].endswith("tion.name")]
        assert [int(key.split(".")[1]) for key in keys if key.startswith("annotations")] == list(
            range(sum(key.startswith("annotations") for key in keys))
        )
    model = plain(next(s["attributes"] for s in spans if s["name"] == "chat m"))
    assert model["annotations.0.annotation.name"] == "ModelRequest"


def test_annotations_have_the_names_that_the_convention_knows(
    run: str, log: transit.Log, tmp_path: Path
) -> None:
    semconv: Any = pytest.importorskip("openinference.semconv.trace", reason=ELSEWHERE)
    kinds = semconv.SpanAttributes, semconv.AnnotationAttributes
    known = {value for kind in kinds for value in vars(kind).values() if isinstance(value, str)}
    keys = {
        each["key"]
        for span in spans_in(written(log, run, tmp_path, "openinference"))
        for each in span["attributes"]
        if each["key"].startswith("annotations.")
    }
    assert keys
    for key in keys:
        first, number, rest = key.split(".", 2)
        assert first in known
        assert number.isdecimal()
        assert rest in known


def test_inspects_own_reader_sees_notes_as_scores_and_as_infos(
    run: str, log: transit.Log, tmp_path: Path
) -> None:
    inspect: Any = pytest.importorskip("inspect_ai.log", reason=ELSEWHERE)
    file = written(log, run, tmp_path, "inspect")
    found = inspect.read_eval_log(str(file), resolve_attachments=True)
    (sample,) = found.samples
    assert sample.scores["correct"].value is True
    assert sample.scores["correct"].explanation == "after all"
    assert sample.scores["correct"].metadata["rubric"] == 2
    assert sample.scores["correct (judge-1)"].value == 0.25
    assert (sample.scores["judge"].value, sample.scores["judge 2"].value) == (0.5, "agrees")
    infos = [event for event in sample.events if getattr(event, "source", "") == "transit.note"]
    by_uuid = {event.uuid: event for event in sample.events if event.uuid}
    about = {e.data["transit_note"]["name"]: by_uuid.get(e.data.get("about")) for e in infos}
    assert about["ToolResult"].event == "tool"
    assert about["ModelChunk"].event == "model"
    assert about["inner"].event == about["ChildRun"].event == "span_begin"
    assert about["seen"] is None
    (summary,) = inspect.read_eval_log_sample_summaries(str(file))
    assert set(summary.scores) == set(sample.scores)


def test_harbors_own_models_take_a_trajectory_with_notes(
    run: str, log: transit.Log, tmp_path: Path
) -> None:
    harbor: Any = pytest.importorskip(
        "harbor.models.trajectories", reason=f"{ELSEWHERE}; harbor needs Python 3.12"
    )
    whole = harbor.Trajectory.model_validate_json(written(log, run, tmp_path, "atif").read_text())
    assert [each["name"] for each in whole.extra["transit_note"]][:2] == ["correct", "correct"]
    assert any(step.extra for step in whole.steps)


def test_judgements_that_were_no_notes_are_evaluations_in_the_run(
    log: transit.Log, tmp_path: Path
) -> None:
    def span(number: int, name: str, attributes: dict[str, Any], events: Any = ()) -> Any:
        return {
            "traceId": "a" * 32, "spanId": f"{number:016x}", "name": name,
            "parentSpanId": "" if number == 1 else f"{1:016x}",
            "startTimeUnixNano": str(number * 1000), "endTimeUnixNano": str(90_000 - number),
            "attributes": [{"key": k, "value": {"stringValue": v} if isinstance(v, str) else
                            {"doubleValue": v}} for k, v in attributes.items()],
            "events": [{"name": "gen_ai.evaluation.result", "attributes": [
                {"key": f"gen_ai.evaluation.{k}", "value": {"stringValue": v} if
                 isinstance(v, str) else {"doubleValue": v}} for k, v in event.items()]}
                for event in events],
        }  # fmt: skip

    judged = {"name": "relevance", "score.value": 0.75, "score.label": "pass", "explanation": "ok"}
    flat = {
        "evaluations.0.evaluation.name": "toxic",
        "evaluations.0.evaluation.score": 0.0,
        "annotations.0.annotation.name": "mood",
        "annotations.0.annotation.label": "calm",
    }
    spans = [
        span(1, "invoke_agent a", {"gen_ai.operation.name": "invoke_agent"}, [judged]),
        span(2, "chat m", {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}, [judged]),
        span(3, "t", {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t"}, [judged]),
        span(4, "step", flat, [judged, {"score.value": 1.0}]),
    ]
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}))
    (name,) = trace.import_file(log, file).runs
    found = [e for e in events_of(log, name) if isinstance(e, trace.Evaluation)]
    relevance = [e for e in found if e.evaluator_id == "relevance"]
    assert len(relevance) == 4
    assert {(e.decision, e.score, e.reason) for e in relevance} == {("pass", 0.75, "ok")}
    others = {(e.evaluator_id, e.decision, e.score) for e in found} - {("relevance", "pass", 0.75)}
    assert others == {("toxic", "0.0", 0.0), ("mood", "calm", None)}
    assert trace.notes(log, name) == ()
    records = list(trace.read(log, name))
    for record in records:
        if isinstance(record.event, trace.Evaluation):
            # What is judged is what comes before it.
            assert record.event.subject_ref == f"{name}@{record.offset - 1}"


@pytest.mark.parametrize(
    "told",
    [
        {"event": "note"}, {"event": "note", "name": ""}, {"event": "note", "name": "n"},
        {"event": "note", "name": "n", "score": 1e999}, {"event": "message", "message": {}},
        {"event": "note", "name": "n", "score": 2**70}, {"event": "note", "name": 3, "score": 1},
        {"event": "note", "name": "n", "score": 1, "noted_at": 2**70}, "x", None, [1],
        {"event": "note", "name": "n", "score": 1, "large": {"comment": "elsewhere"}},
    ],
)  # fmt: skip
def test_what_says_it_was_a_note_and_is_none_that_may_be_is_an_evaluation(
    told: object, log: transit.Log, tmp_path: Path
) -> None:
    score = {"value": 1, "explanation": "why", "metadata": {"transit_note": told}}
    sample = {"id": 1, "epoch": 1, "input": "go", "events": [], "scores": {"s": score},
              "messages": [{"role": "user", "content": "go"}]}  # fmt: skip
    file = tmp_path / "e.json"
    file.write_text(json.dumps({"version": 2, "status": "success", "eval": {"task": "t"},
                                "samples": [sample]}))  # fmt: skip
    done = trace.import_file(log, file)
    (found,) = [e for n in done.runs for e in events_of(log, n) if isinstance(e, trace.Evaluation)]
    assert (found.evaluator_id, found.score, found.reason) == ("s", 1, "why")
    assert not list(all_notes(log, done.runs))


def test_a_note_too_large_for_a_record_is_named_with_its_place_or_left_out(
    path: Path, tmp_path: Path
) -> None:
    with transit.open(tmp_path / "from", durability="os") as log:
        with trace.task(log, "t") as task:
            task.message("user", "go")
        trace.annotate(log, "t", "long", comment="x" * FRAME_BYTES)
        file = written(log, "t", tmp_path, "otlp")
    settings = transit.Settings(frame_bytes_max=FRAME_BYTES, record_bytes_max=FRAME_BYTES)
    with transit.open(path, settings=settings) as log:
        with pytest.raises(transit.InvalidInputError, match=r"span 0.*record_bytes_max"):
            trace.import_file(log, file)
        assert not list(log.streams())
        done = trace.import_file(log, file, skip_bad=True)
        assert (done.skipped, trace.notes(log, done.runs[0])) == (1, ())
