"""TransitHooks: every event of an evaluation is in the store, and a log file can be made of it."""

from __future__ import annotations

import gc
import json
import math
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import transit
from tests.adapters.conftest import EncryptedPlace
from transit import trace

pytest.importorskip("inspect_ai.hooks")

from inspect_ai import Task, eval_retry
from inspect_ai import eval as run_eval
from inspect_ai.dataset import Sample
from inspect_ai.hooks._hooks import get_all_hooks
from inspect_ai.log import read_eval_log, read_eval_log_sample_summaries
from inspect_ai.model import ModelOutput, ModelUsage, get_model
from inspect_ai.scorer import Score, includes, mean, scorer
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import tool

from transit.adapters.evaluations import all_events, evaluations, sample_streams
from transit.adapters.inspect_ai import TransitHooks, write_eval
from transit.adapters.opening import PROCESS

# Inspect AI leaves streams of its own unclosed, and uses what its packages deprecate.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


CANARY = "canary-51c0"


@tool
def add() -> Any:
    async def execute(x: int, y: int) -> str:
        """Adds two numbers.

        Args:
            x: One number.
            y: The other.
        """
        if x < 0:
            raise ValueError("negative")
        return str(x + y)

    return execute


def counted(output: Any) -> Any:
    """With counts of tokens: without them, `mockllm` fetches a tokenizer from the network."""
    output.usage = ModelUsage(input_tokens=100, output_tokens=10, total_tokens=110)
    return output


def answers(turns: int, x: int | None = None) -> Any:
    def output(messages: Any, *_: Any) -> Any:
        asked = sum(each.role == "tool" for each in messages)
        if asked < turns:
            given = {"x": asked if x is None else x, "y": 1}
            return counted(ModelOutput.for_tool_call("mockllm/model", "add", given))
        return counted(ModelOutput.from_content("mockllm/model", "sunny " + "and warm " * 50))

    return get_model("mockllm/model", custom_outputs=output, memoize=False)


def loop(count: int = 2, words: str = "question") -> Any:
    samples = [
        Sample(id=f"s{n}", input=f"{words} {n} " + "of many words " * 40, target="sunny")
        for n in range(count)
    ]
    return Task(
        dataset=samples, solver=[use_tools(add()), generate()], scorer=includes(), name="loop"
    )


@pytest.fixture(autouse=True)
def store(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The store that the environment names."""
    monkeypatch.setenv("TRANSIT_STORE", str(path))
    trace.dropped.reset()
    yield path
    PROCESS.close()
    for each in get_all_hooks():
        if isinstance(each, TransitHooks):
            # Another test may have another folder of the same name.
            each._place = None
    # While their warnings are ignored, and not at the end of all tests.
    gc.collect()


def logs_of(tmp_path: Path) -> str:
    return str(tmp_path / "logs")


def in_file(file: str | Path) -> dict[str, list[Any]]:
    samples = read_eval_log(str(file), resolve_attachments=True).samples or []
    return {
        str(sample.uuid): [event.model_dump(mode="json") for event in sample.events]
        for sample in samples
    }


def told(event: Any) -> Any:
    """An event without what the file keeps in another form."""
    return {key: each for key, each in event.items() if key != "call"}


def recorded(path: Path) -> dict[str, list[Any]]:
    found = defaultdict(list)
    for uuid, event in all_events(path):
        found[uuid].append(event)
    return dict(found)


def test_every_event_of_the_file_is_there(path: Path, tmp_path: Path) -> None:
    (log,) = run_eval(loop(), model=answers(3), epochs=2, log_dir=logs_of(tmp_path), display="none")
    assert log.status == "success", log.error
    wanted, found = in_file(log.location), recorded(path)
    assert wanted.keys() == found.keys()
    for uuid, events in wanted.items():
        mine = {event["uuid"]: told(event) for event in found[uuid]}
        assert [mine[event["uuid"]] for event in events] == list(map(told, events))
        assert len(found[uuid]) == len(mine) == len(events)
    assert not trace.dropped
    with transit.open(path, mode="read") as opened:
        (evaluation,) = evaluations(opened)
        assert evaluation.metadata["task"] == "loop"
        assert evaluation.metadata["eval_id"] == log.eval.eval_id
        assert len(sample_streams(opened, evaluation)) == 4
        assert len(list(opened.streams("inspect-run/"))) == 1


def test_a_file_is_made_of_what_was_recorded(path: Path, tmp_path: Path) -> None:
    (log,) = run_eval(loop(), model=answers(2), log_dir=logs_of(tmp_path), display="none")
    write_eval(path, tmp_path / "made.eval")
    made = read_eval_log(str(tmp_path / "made.eval"), resolve_attachments=True)
    own = read_eval_log(log.location, resolve_attachments=True)
    assert made.status == "success"
    assert made.eval == own.eval
    assert made.plan == own.plan
    assert made.results == own.results
    assert made.stats == own.stats
    for mine, theirs in zip(made.samples or [], own.samples or [], strict=True):
        left = {"events", "attachments", "events_data", "timelines"}
        assert mine.model_dump(mode="json", exclude=left) == theirs.model_dump(
            mode="json", exclude=left
        )
    mine = {k: list(map(told, v)) for k, v in in_file(tmp_path / "made.eval").items()}
    assert mine == {k: list(map(told, v)) for k, v in in_file(log.location).items()}
    assert len(read_eval_log_sample_summaries(str(tmp_path / "made.eval"))) == 2
    with pytest.raises(FileExistsError):
        write_eval(path, tmp_path / "made.eval")


def test_evaluations_that_fail_are_there_too(path: Path, tmp_path: Path) -> None:
    (log,) = run_eval(loop(1), model=answers(1, x=-1), log_dir=logs_of(tmp_path), display="none")
    assert log.status == "error"
    wanted, found = in_file(log.location), recorded(path)
    assert {u: len(e) for u, e in wanted.items()} == {u: len(e) for u, e in found.items()}
    write_eval(path, tmp_path / "made.eval")
    made = read_eval_log(str(tmp_path / "made.eval"))
    assert made.samples
    assert made.samples[0].error is not None
    assert "negative" in made.samples[0].error.message


def test_a_further_attempt_is_a_stream_that_descends_from_the_first(
    path: Path, tmp_path: Path
) -> None:
    tries = []

    def output(messages: Any, *_: Any) -> Any:
        if len(messages) == 1:
            tries.append(1)
        x = -1 if len(tries) == 1 else 1
        if messages[-1].role != "tool":
            given = {"x": x, "y": 1}
            return counted(ModelOutput.for_tool_call("mockllm/model", "add", given))
        return counted(ModelOutput.from_content("mockllm/model", "sunny"))

    model = get_model("mockllm/model", custom_outputs=output, memoize=False)
    (log,) = run_eval(
        loop(1), model=model, retry_on_error=1, log_dir=logs_of(tmp_path), display="none"
    )
    assert log.status == "success", log.error
    assert len(tries) == 2
    wanted, found = in_file(log.location), recorded(path)
    for uuid, events in wanted.items():
        assert [each["uuid"] for each in found[uuid]] == [each["uuid"] for each in events]
    with transit.open(path, mode="read") as opened:
        first, second = (s for s in opened.streams("inspect/") if "sample_uuid" in s.metadata)
        assert second.name == f"{first.name}/attempt-2"
        assert second.parents[0].stream == first.name
        assert second.metadata["attempt"] == 2
        assert any(record.headers["kind"] == "event" for record in first)


def test_nothing_is_written_where_no_store_is_named(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRANSIT_STORE")
    run_eval(loop(1), model=answers(1), log_dir=logs_of(tmp_path), display="none")
    assert not path.exists()
    assert not any(h.enabled() for h in get_all_hooks() if isinstance(h, TransitHooks))


def test_another_store_for_another_evaluation(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_eval(loop(1), model=answers(1), log_dir=logs_of(tmp_path), display="none")
    monkeypatch.setenv("TRANSIT_STORE", str(tmp_path / "other"))
    run_eval(loop(2), model=answers(1), log_dir=logs_of(tmp_path), display="none")
    PROCESS.close()
    assert len(recorded(path)) == 1
    assert len(recorded(tmp_path / "other")) == 2


def test_a_store_that_cannot_be_opened_is_not_the_evaluations_affair(
    path: Path, tmp_path: Path
) -> None:
    path.mkdir()
    (path / "something").write_text("else")
    with pytest.warns(trace.TraceWarning, match="not a store"):
        (log,) = run_eval(loop(1), model=answers(1), log_dir=logs_of(tmp_path), display="none")
    assert log.status == "success", log.error
    assert trace.dropped.count > 10


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, str(Path(sys.argv[1]).parent))
import test_hooks as t
from inspect_ai import Task, eval as run_eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, get_model
from inspect_ai.scorer import Score, includes, mean, scorer
from inspect_ai.solver import generate, use_tools
from inspect_ai.tool import tool

@tool
def dies():
    async def execute() -> str:
        '''A tool in which the machine stops.'''
        from transit.adapters.opening import PROCESS
        if os.environ.get("TRANSIT_REMOTE"):
            PROCESS.log.publish()
        os.kill(os.getpid(), signal.SIGKILL)

    return execute

def output(messages, *_):
    asked = sum(m.role == "tool" for m in messages)
    first = messages[0].content.startswith("first")
    if asked < (2 if first else 10):
        return t.counted(ModelOutput.for_tool_call("mockllm/model", "add", {"x": asked, "y": 1}))
    if not first:
        return t.counted(ModelOutput.for_tool_call("mockllm/model", "dies", {}))
    return t.counted(ModelOutput.from_content("mockllm/model", "sunny"))

samples = [Sample(id=w, input=w + " question", target="sunny") for w in ("first", "second")]
task = Task(dataset=samples, solver=[use_tools(t.add(), dies()), generate()], scorer=includes(), name="k")
run_eval(task, model=get_model("mockllm/model", custom_outputs=output, memoize=False),
         log_dir=sys.argv[2], display="none", max_samples=1)
"""  # noqa: E501


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_a_file_is_made_elsewhere_of_an_evaluation_that_was_killed(
    path: Path, tmp_path: Path, start: Any, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = tmp_path / "bucket"
    if place == "bucket":
        monkeypatch.setenv("TRANSIT_REMOTE", str(bucket))
    child = start(KILLED, __file__, logs_of(tmp_path))
    _, error = child.communicate()
    assert child.returncode == -signal.SIGKILL, error
    if place == "bucket":
        # The machine is gone.
        path.rename(tmp_path / "gone")
    where = str(path) if place == "folder" else f"file://{bucket}"
    write_eval(where, tmp_path / "made.eval")
    made = read_eval_log(str(tmp_path / "made.eval"), resolve_attachments=True)
    assert made.status == "cancelled"
    assert made.eval.task == "k"
    first, second = made.samples or []
    assert (first.id, first.error, first.scores is not None) == ("first", None, True)
    assert (second.id, second.error is not None) == ("second", True)
    kinds = [event.event for event in second.events]
    # The queue of Inspect AI, and what was being written, may hold the last ones.
    assert kinds.count("model") >= 9
    assert kinds.count("tool") >= 8
    assert [m.role for m in second.messages[:3]] == ["user", "assistant", "tool"]
    assert second.input == "second question"
    assert second.uuid
    assert second.target == "sunny"


def test_an_evaluation_that_was_killed_can_be_gone_on_with(
    path: Path, tmp_path: Path, start: Any
) -> None:
    child = start(KILLED, __file__, logs_of(tmp_path))
    child.communicate()
    write_eval(path, tmp_path / "made.eval")
    text = read_eval_log(str(tmp_path / "made.eval"))
    assert text.status == "cancelled"
    with pytest.raises(Exception, match=r"k|task"):
        # It is only the task that is not found: it was no file's.
        eval_retry(str(tmp_path / "made.eval"), log_dir=logs_of(tmp_path), display="none")


def test_what_must_not_be_recorded_is_nowhere(
    path: Path, tmp_path: Path, everything: Callable[[], str]
) -> None:
    trace.set_redaction(trace.Redaction([r"CANARY\w*"], fields=["password"]))
    task = loop(1, words="CANARY1")
    task.metadata = {"CANARY2": "CANARY3", "password": "hunter2"}
    try:
        (log,) = run_eval(
            task, model=answers(1, x=-1), log_dir=logs_of(tmp_path), display="none",
            metadata={"about": "CANARY4"}, tags=["CANARY5"],
        )  # fmt: skip
    finally:
        trace.set_redaction(None)
    assert log.status == "error"
    PROCESS.close()
    kept = everything()
    assert "CANARY" not in kept
    assert "hunter2" not in kept
    (events,) = recorded(path).values()
    assert "[redacted]" in json.dumps(events)


def test_the_entry_point_names_the_module() -> None:
    from importlib.metadata import entry_points

    found = [each for each in entry_points(group="inspect_ai") if each.name == "transit"]
    assert [each.value for each in found] == ["transit.adapters.inspect_ai"]


def test_a_sample_is_read_as_a_run(path: Path, tmp_path: Path) -> None:
    run_eval(loop(1), model=answers(3), log_dir=logs_of(tmp_path), display="none")
    with transit.open(path, mode="read") as log:
        (evaluation,) = evaluations(log)
        (sample,) = sample_streams(log, evaluation)
        run = trace.read(log, sample.name)
        events = [each.event for each in run]
        calls = [each for each in events if isinstance(each, trace.ModelCall)]
        assert len(calls) == 4
        assert run.totals.tokens == {"mockllm/model": (400, 40)}
        assert isinstance(calls[-1].request, dict)
        assert len(calls[-1].request["messages"]) == 7
        results = [each for each in events if isinstance(each, trace.ToolResult)]
        assert [each.result for each in results] == [
            {"arguments": {"x": n, "y": 1}, "result": str(n + 1)} for n in range(3)
        ]
        (score,) = (each for each in events if isinstance(each, trace.Evaluation))
        assert (score.evaluator_id, score.decision) == ("includes", "C")
        assert isinstance(events[-1], trace.RunEnd)
        whole = [each.event for each in trace.read(log, evaluation.name)]
        assert isinstance(whole[0], trace.Manifest)
        assert any(isinstance(each, trace.RunEnd) for each in whole)


@scorer(metrics=[mean()])
def odd() -> Any:
    async def score(state: Any, target: Any) -> Score:
        return Score(value=float("nan"), explanation="\ud800")

    return score


def test_numbers_that_are_none_and_halves_of_characters_are_kept(
    path: Path, tmp_path: Path
) -> None:
    task = loop(1)
    task.scorer = [odd()]
    (log,) = run_eval(task, model=answers(1), log_dir=logs_of(tmp_path), display="none")
    (events,) = recorded(path).values()
    (score,) = (each["score"] for each in events if each["event"] == "score")
    assert math.isnan(score["value"])
    assert score["explanation"] == "\ud800"
    write_eval(path, tmp_path / "made.eval")
    made = read_eval_log(str(tmp_path / "made.eval"))
    (sample,) = made.samples or []
    assert sample.scores is not None
    value: Any = sample.scores["odd"].value
    assert math.isnan(value)
    assert log.status == made.status


def test_a_file_that_could_not_be_finished_is_not_there(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_eval(loop(1), model=answers(1), log_dir=logs_of(tmp_path), display="none")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transit.adapters.evaluations._summary", full)
    with pytest.raises(OSError, match="No space left"):
        write_eval(path, tmp_path / "made.eval")
    assert [each.name for each in tmp_path.glob("*.eval")] == []
    assert [each.name for each in tmp_path.glob(".*")] == []


def test_in_an_encrypted_store_a_canary_is_in_no_file(
    encrypted: EncryptedPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSIT_STORE", str(encrypted.store))
    monkeypatch.setenv("TRANSIT_REMOTE", str(encrypted.remote))
    monkeypatch.setenv("TRANSIT_KEYRING", encrypted.keyring.path)
    monkeypatch.setenv("TRANSIT_KEY_FILE", str(encrypted.store.parent / "key"))
    monkeypatch.setenv("TRANSIT_ENCRYPT", "all")
    run_eval(loop(words=CANARY), model=answers(1), log_dir=logs_of(tmp_path), display="none")
    assert not trace.dropped
    assert not encrypted.clear(CANARY)
    PROCESS.close()
    assert not encrypted.clear(CANARY)
    assert encrypted.says(CANARY)
