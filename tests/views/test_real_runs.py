"""Tables of tokens, tools and failures over real runs, equal to what the source files say."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

import transit
from tests.trace.shared_files import SHARED, Totals, shared_files
from tests.trace.test_files_real import COUNTED, FOLDERS
from transit import trace, views

FILES = [
    pytest.param(folder, file.name, id=f"{folder}/{file.name}")
    for folder in FOLDERS
    for file in sorted((SHARED / folder).glob("*"))
    if file.suffix != ".md"
] or [pytest.param("agent-trajectories", "", id="none")]


class Event(msgspec.Struct):
    """What is read of an event of a run."""

    event: str
    tool_name: str = ""
    tool_status: str = ""
    arguments: Any = None
    model: str = msgspec.field(name="gen_ai.request.model", default="")
    tokens_in: int = msgspec.field(name="gen_ai.usage.input_tokens", default=-1)
    tokens_out: int = msgspec.field(name="gen_ai.usage.output_tokens", default=-1)


class Model(msgspec.Struct, frozen=True):
    """A model's answers, and tokens in and out."""

    name: str
    answers: int = 0
    tokens_in: int = 0
    tokens_out: int = 0


class Tool(msgspec.Struct, frozen=True):
    """A tool's calls, by how they ended."""

    name: str
    calls: int = 0
    failures: int = 0


class Action(msgspec.Struct, frozen=True):
    """What a tool was asked to do, by the offset of the request."""

    offset: int
    first: str


models = views.table("models", Model, key="name")
tools = views.table("tools", Tool, key="name", index=["calls"])
actions = views.table("actions", Action, key="offset", index=["first"])


@views.reducer(models, tools, actions, reads=Event)
def usage(models: Any, tools: Any, actions: Any, event: Event, at: views.At) -> None:
    """Count."""
    if event.event == "model_call":
        row = models.get(event.model) or Model(event.model)
        tokens = max(0, event.tokens_in), max(0, event.tokens_out)
        models.put(
            Model(row.name, row.answers + 1, row.tokens_in + tokens[0], row.tokens_out + tokens[1])
        )
    elif event.event == "tool_request":
        tool = tools.get(event.tool_name) or Tool(event.tool_name)
        tools.put(Tool(tool.name, tool.calls + 1, tool.failures))
        words = event.arguments.split() if isinstance(event.arguments, str) else []
        actions.put(Action(at.offset, words[0][:60] if words else ""))
    elif event.event == "tool_result" and event.tool_status != "success":
        tool = tools.get(event.tool_name) or Tool(event.tool_name)
        tools.put(Tool(tool.name, tool.calls, tool.failures + 1))


def totals_of(states: list[views.State]) -> Totals:
    """What several runs come to."""
    rows = [row for state in states for row in state.models]
    return Totals(
        sum(row.answers for row in rows),
        sum(row.calls for state in states for row in state.tools),
        sum(row.tokens_in for row in rows),
        sum(row.tokens_out for row in rows),
    )


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_what_a_real_file_says_is_what_the_tables_hold(
    folder: str, name: str, persist: str, log: transit.Log
) -> None:
    file = next(each for each in shared_files(folder) if each.name == name)
    done = trace.import_file(log, file, skip_bad=name == "edge.jsonl")
    view = views.open(log, usage, persist=persist, savepoint_records=20)
    # A run whose parent is among them inherits nothing of it.
    assert totals_of([view.of(run) for run in done.runs]) == COUNTED[done.format](file)
    for run in done.runs:
        assert view.of(run).applied == len(log.stream(run))
        view.save(run)
        cold = views.open(log, usage, persist="ephemeral")
        assert cold.of(run).root == view.of(run).root


def said(file: Path) -> Counter[str]:
    """The first words of the commands of an attempt."""
    steps = json.loads(file.read_bytes())["trajectory"]
    return Counter((step["action"].split() or [""])[0][:60] for step in steps)


def test_five_attempts_at_one_task_as_branches(log: transit.Log) -> None:
    files = [
        file for file in shared_files("agent-trajectories") if file.name.startswith("marshmallow")
    ]
    assert len(files) == 5
    attempts = [json.loads(file.read_bytes()) for file in files]
    runs = [task.name for task in trace.import_trajectories(log, "marshmallow-1867", attempts)]
    view = views.open(log, usage, savepoint_records=10)
    for run, file in zip(runs, files, strict=True):
        state, expected = view.of(run), said(file)
        assert Counter(row.first for row in state.actions) == expected
        assert sum(row.calls for row in state.tools) == sum(expected.values())
        for word in expected:
            assert len(list(state.actions.where(first=word))) == expected[word]
    for run in runs[1:]:
        branch = log.stream(run)
        fork = view.of(branch, branch.own_start)
        assert fork.root == view.of(runs[0], branch.own_start).root
        assert branch.own_start
    heads = [log.stream(run) for run in runs]
    both = log.merge("both", heads[1:3], policy="append")
    merged = Counter(row.first for row in view.of(both).actions)
    inherited = Counter(row.first for row in view.of(heads[1], heads[1].own_start).actions)
    assert merged == said(files[1]) + said(files[2]) - inherited
    assert view.verify(both).checked
    assert view.verify(heads[4]).ok
