"""`transit log`: the list, and the drawings on a real store."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import transit as engine

from .conftest import Command
from .shell import at_terminal, transit
from .test_graph import ODD_NAMES

DRAWN = """\
○ alone  root · 0 records
◆ final  merge by append of task@1, task/retry@2 · 4 records
├─╮
│ ● task/retry  branch of task@0 · 3 records · retry: timed out
├─╯
○ task  root · 2 records
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with engine.open(tmp_path / "store") as log:
        task = log.create("task", {"kind": "root"})
        task.append_many([b"a", b"b"])
        said = {"branch_kind": "retry", "reason": "timed out", "actor": "x"}
        retry = task.branch("task/retry", at=0, metadata=said)
        retry.append_many([b"c", b"d"])
        log.merge("final", [task, retry], policy="append")
        log.create("alone")
    return tmp_path / "store"


def test_the_list_has_the_newest_stream_first(command: Command, store: Path) -> None:
    rows = command("log").rows
    assert [row["stream"] for row in rows] == ["alone", "final", "task/retry", "task"]
    assert rows[1] == {
        "stream": "final",
        "kind": "merge",
        "records": 4,
        "parents": [{"stream": "task", "offset": 1}, {"stream": "task/retry", "offset": 2}],
        "policy": "append",
        "detail": None,
    }
    assert rows[2]["detail"] == "retry: timed out"


@pytest.mark.slow
def test_the_graph_is_drawn_in_a_pipe_too(store: Path) -> None:
    done = transit(store, "log", "--graph")
    assert done.out.decode() == DRAWN
    assert transit(store, "log", "--as", "text").out == done.out


def test_where_output_is_no_unicode_the_drawing_is_ascii(store: Path) -> None:
    done = transit(store, "log", "--graph", env={"PYTHONIOENCODING": "ascii"})
    assert done.out.isascii()
    assert b"M final  merge by append of task@1, task/retry@2 - 4 records\n+-.\n" in done.out


@pytest.mark.slow
def test_at_a_terminal_names_are_bold_and_without_colour_plain(store: Path) -> None:
    assert b"\x1b[1mfinal\x1b[0m" in at_terminal(store, "log", "--graph").out
    plain = at_terminal(store, "log", "--graph", env={"NO_COLOR": "1"})
    assert plain.out.decode() == DRAWN


def test_the_list_at_a_terminal_is_a_table_with_readable_parents(store: Path) -> None:
    shown = at_terminal(store, "--no-color", "log").out.decode()
    assert shown.startswith("stream")
    assert "task@1, task/retry@2" in shown


@pytest.mark.parametrize("words", [["--as", "json"], ["--graph", "--format", "json"]])
def test_the_json_form_is_one_object(command: Command, store: Path, words: list[str]) -> None:
    (graph,) = command("log", *words).rows
    assert len(graph["streams"]) == 4
    assert {"parent": "task", "offset": 0, "child": "task/retry"} in graph["edges"]


def test_mermaid_and_dot_are_printed_as_they_are(command: Command, store: Path) -> None:
    chart = command("log", "--as", "mermaid").out.decode().splitlines()
    assert chart[0] == "flowchart TD"
    assert '    s0 -->|"@0"| s1' in chart
    digraph = command("log", "--as", "dot").out.decode().splitlines()
    assert digraph[0] == "digraph lineage {"
    assert digraph[-1] == "}"


def test_named_streams_bring_their_ancestors_and_descendants_only(
    command: Command, store: Path
) -> None:
    with engine.open(store) as log:
        log.stream("task").branch("task/other")
    assert [row["stream"] for row in command("log", "task/retry").rows] == [
        "final",
        "task/retry",
        "task",
    ]
    assert [row["stream"] for row in command("log", "alone").rows] == ["alone"]


def test_a_limit_keeps_the_newest_and_names_what_is_cut(command: Command, store: Path) -> None:
    assert [row["stream"] for row in command("log", "--limit", "2").rows] == ["alone", "final"]
    done = transit(store, "log", "--graph", "--limit", "2")
    assert done.out.decode() == "".join(DRAWN.splitlines(keepends=True)[:2])


def test_a_stream_that_is_not_there_is_not_found(command: Command, store: Path) -> None:
    done = command("log", "nothing")
    assert (done.code, done.error["kind"], done.out) == (3, "not_found", b"")


def test_a_store_without_streams_prints_nothing(command: Command, tmp_path: Path) -> None:
    with engine.open(tmp_path / "store"):
        pass
    assert command("log") == (0, b"", b"")
    assert command("log", "--graph") == (0, b"", b"")
    assert json.loads(command("log", "--as", "json").out) == {"streams": [], "edges": []}


@pytest.mark.parametrize("form", ["text", "mermaid", "dot"])
def test_odd_names_keep_to_their_lines(command: Command, tmp_path: Path, form: str) -> None:
    with engine.open(tmp_path / "store") as log:
        for name in ODD_NAMES:
            log.create(name)
    lines = command("log", "--as", form).out.decode().splitlines()
    assert len(lines) == len(ODD_NAMES) + {"text": 0, "mermaid": 1, "dot": 2}[form]
    assert [row["stream"] for row in command("log").rows] == ODD_NAMES[::-1]


def test_thousands_of_streams_are_listed(command: Command, tmp_path: Path) -> None:
    with engine.open(tmp_path / "store", durability="memory") as log:
        with log.batch() as batch:
            for number in range(5_000):
                batch.create(f"task-{number}")
        tasks = list(log.streams())[:1_000]
        for task in tasks:
            task.branch(f"{task.name}/retry")
    done = command("log", "--graph")
    assert len(done.out.splitlines()) == 6_000


def test_a_stream_with_the_name_of_a_hidden_one_is_not_the_parent(
    command: Command, tmp_path: Path
) -> None:
    with engine.open(tmp_path / "store") as log:
        old = log.create("task")
        old.append(b"a")
        old.branch("retry").append(b"b")
        log.hide(old)
        log.create("task")
        old.branch("later")
    drawn = command("log", "--graph").out.decode()
    assert drawn == (
        "● later  branch of task@0 · 1 record\n"
        "○ task  root · 0 records\n"
        "● retry  branch of task@0 · 2 records\n"
    )
    assert [row["stream"] for row in command("log", "task").rows] == ["task"]
    assert [row["stream"] for row in command("log", "retry").rows] == ["retry"]
