"""`transit runs`, `transit find`, `transit note`: looking at recorded runs."""

from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import transit as engine
from transit import trace
from transit.cli.verbs import runs
from transit.trace.summaries import Listing

from .conftest import Command
from .shell import at_terminal


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with engine.open(tmp_path / "store", durability="os") as log:
        with trace.task(log, "a/1", actor="planner", metadata={"number": 3, "mark": True}) as task:
            task.message("user", "look for the \x1b[31mNeedle")
            task.model_call(model="m-1", usage={"input_tokens": 1000, "output_tokens": 10})
            with trace.task(log, "a/1/sub") as sub, sub.tool("bash", {"cmd": "ls"}) as call:
                call.result("needle")
        broken = trace.task(log, "a/2")
        broken.tool("bash", {}).failure(ValueError("no needle"))
        broken.end(ValueError("boom"))
        trace.task(log, "b").message("user", "x")
        log.create("plain").append(b"x")
    return tmp_path / "store"


def names(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["run"] for row in rows]


def test_runs_are_listed_with_everything_in_a_pipe(command: Command, store: Path) -> None:
    rows = command("runs").rows
    assert names(rows) == ["b", "a/2", "a/1/sub", "a/1"]
    first = rows[3]
    assert (first["status"], first["children"], first["parent"]) == ("completed", ["a/1/sub"], None)
    assert (first["tokens_in"], first["tokens_out"], first["cost"]) == (1000, 10, None)
    assert first["totals"]["tools"] == {"bash": [1, 0]}
    assert "tools" not in first["own"]
    assert first["created_at"].endswith("Z")
    assert rows[1]["error"] == {"type": "ValueError", "message": "boom"}
    assert rows[0]["ended_at"] is None
    with engine.open(store, mode="read") as log:
        assert [row["uid"] for row in rows] == [run.uid for run in trace.runs(log)]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["a/"], ["a/2", "a/1/sub", "a/1"]),
        (["--failed"], ["a/2"]),
        (["--status", "unfinished"], ["b"]),
        (["--tool", "bash"], ["a/2", "a/1/sub"]),
        (["--since", "1h"], ["b", "a/2", "a/1/sub", "a/1"]),
        (["--until", "1h"], []),
        (["--where", "actor_id=planner"], ["a/1"]),
        (["--where", "number=3", "--where", "mark=true"], ["a/1"]),
        (["--where", "number=4"], []),
        (["--parent", "a/1"], ["a/1/sub"]),
        (["--sort", "name", "--limit", "2"], ["a/1", "a/1/sub"]),
        (["--sort", "failures", "--limit", "1"], ["a/2"]),
        (["--where", "number=3", "--limit", "1"], ["a/1"]),
    ],
)
def test_runs_are_selected_and_sorted(
    command: Command, store: Path, words: list[str], wanted: list[str]
) -> None:
    assert names(command("runs", *words).rows) == wanted


@pytest.mark.parametrize(
    "words",
    [["--status", "odd"], ["--sort", "odd"], ["--where", "x"], ["--since", "odd"],
     ["--where", "a=1", "--where", "a=2"], ["--limit", "0"]],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_a_usage_error(
    command: Command, store: Path, words: list[str]
) -> None:
    assert command("runs", *words).code == 2


def test_a_parent_that_is_not_there_is_not_found(command: Command, store: Path) -> None:
    assert command("runs", "--parent", "nobody").code == 3


def test_runs_are_a_table_for_people_with_colours(command: Command, store: Path) -> None:
    command("note", "a/1", "correct", "--score", "true", "--author", "ada")
    shown = at_terminal(store, "runs").out.decode().splitlines()
    assert shown[0].split("\x1b[0m")[0].endswith("children  scores")
    by_name = {line.split(" ", 1)[0]: line for line in shown}
    assert "\x1b[32mcompleted " in by_name["a/1"]
    assert "\x1b[31mfailed " in by_name["a/2"]
    assert by_name["a/1"].endswith("correct=true")
    assert shown[-1] == "4 runs"
    plain = command("runs", "--format", "table").out.decode().splitlines()
    assert "\x1b" not in "".join(plain)
    header = plain[0]
    line = next(line for line in plain if line.startswith("a/2"))
    assert line[header.index("status") :].startswith("failed")
    assert line[header.index("failures") :].startswith("1 ")


def test_costs_are_as_the_configuration_says(command: Command, store: Path, tmp_path: Path) -> None:
    config = tmp_path / "transit.toml"
    config.write_text('[prices."m-*"]\ninput = 2.5\noutput = 10\n')
    costs = {row["run"]: row["cost"] for row in command("runs").rows}
    assert costs == {"a/1": 0.0026, "a/1/sub": 0, "a/2": 0, "b": 0}
    (shown,) = [row for row in command("config").rows if row["key"] == "prices.m-*"]
    assert shown["value"] == {"input": 2.5, "output": 10}
    assert shown["source"] == str(config)
    config.write_text('[prices."m-1"]\ninput = 2.5\n')
    assert {row["run"]: row["cost"] for row in command("runs").rows}["a/1"] is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('[prices."m"]\ninptu = 1\n', "prices: m: inptu"),
        ('[prices."m"]\ninput = "1"\n', "prices: m: input"),
        ('[prices."m"]\ninput = -1\n', "prices: m: input"),
        ('[prices."m"]\ninput = nan\n', "prices: m: input"),
        ("[prices]\nm = 3\n", "prices: m"),
        ("prices = 3\n", "prices"),
        ("[prices.m-1.5]\ninput = 1\n", "prices: m-1: 5"),
    ],
)
def test_bad_prices_are_refused_with_their_place(
    command: Command, store: Path, tmp_path: Path, text: str, named: str
) -> None:
    (tmp_path / "transit.toml").write_text(text)
    for words in (["runs"], ["config"]):
        done = command(*words)
        assert done.code == 2
        assert named in done.error["message"]
        assert "transit.toml" in done.error["message"]


def test_rows_say_what_python_says_of_times_and_lengths() -> None:
    assert [runs._span(each) for each in (None, -1.0, 0.0021, 1.25, 90.0, 7200.0, 200_000.0)] == [
        None, None, "2ms", "1.2s", "2m", "2h", "2d",
    ]  # fmt: skip


def test_found_records_are_told_with_place_and_match(command: Command, store: Path) -> None:
    rows = command("find", "--text", "NEEDLE").rows
    assert [(row["run"], row["offset"], row["kind"]) for row in rows] == [
        ("a/1", 0, "message"), ("a/1/sub", 1, "tool_result"), ("a/2", 1, "tool_result"),
    ]  # fmt: skip
    assert rows[1]["where"] == "result"
    assert rows[2]["excerpt"][rows[2]["start"] : rows[2]["stop"]] == "needle"
    assert names(command("find", "a/1", "--text", "needle", "--limit", "1").rows) == ["a/1"]
    assert names(command("find", "--error", "no needle").rows) == ["a/2"]
    assert names(command("find", "--failed").rows) == ["a/2", "a/2"]
    assert names(command("find", "--tool", "bash", "--kind", "tool_result").rows) == [
        "a/1/sub", "a/2",
    ]  # fmt: skip
    assert names(command("find", "--model", "m-1").rows) == ["a/1"]
    assert names(command("find", "--role", "user").rows) == ["a/1", "b"]
    assert names(command("find", "--text", "n..dle$", "--regex", "--since", "1h").rows) == [
        "a/1", "a/1/sub", "a/2",
    ]  # fmt: skip
    assert command("find", "--until", "1h").rows == []
    assert command("find", "--text", "(", "--regex").code == 2
    assert command("find", "--text", "").code == 2
    assert command("find", "--kind", "odd").code == 2


def test_found_records_are_lines_for_people_and_steer_no_terminal(
    command: Command, store: Path
) -> None:
    done = command("find", "--text", "needle", "--format", "table", "--color")
    first, second, _ = done.out.decode().splitlines()
    assert "\x1b[31m\x1b[1mneedle\x1b[0m" in second
    assert "\\x1b[31m" in first
    plain = command("find", "a/2", "--text", "needle", "--format", "table", "--no-color")
    assert plain.out.decode() == "a/2@1  tool_result  no needle\n"


def test_a_note_is_written_and_told(command: Command, store: Path) -> None:
    (row,) = command("note", "a/1@-1", "quality", "--score", "0.5", "--label", "fair",
                     "--comment", "see", "--author", "ada").rows  # fmt: skip
    assert row["noted_at"].endswith("Z")
    wanted = {"run": "a/1", "name": "quality", "score": 0.5, "label": "fair", "comment": "see"}
    with engine.open(store, mode="read") as log:
        (note,) = trace.notes(log, "a/1")
        assert row.items() >= {**wanted, "author": "ada", "at": len(log.stream("a/1")) - 1}.items()
        assert (note.name, note.score, note.label, note.author) == ("quality", 0.5, "fair", "ada")
        assert row["stream"] == f"$trace/notes/{log.stream('a/1').uid}"
    assert len(command("read", row["stream"]).rows) == 1
    (row,) = command("note", "b", "ok", "--score", "yes").rows
    assert (row["score"], row["author"]) == (True, getpass.getuser())
    found = {row["run"]: row["scores"] for row in command("runs").rows}
    assert found["b"][0]["score"] is True
    assert found["a/2"] == []


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["a/1", "n"], 2),
        (["a/1", "n", "--score", "high"], 2),
        (["a/1", "n", "--score", "nan"], 2),
        (["a/1", "", "--score", "1"], 2),
        (["a/1@0:2", "n", "--score", "1"], 2),
        (["a/1@99", "n", "--score", "1"], 2),
        (["a/1@-99", "n", "--score", "1"], 2),
        (["nobody", "n", "--score", "1"], 3),
    ],
)
def test_what_is_no_note_is_refused(
    command: Command, store: Path, words: list[str], code: int
) -> None:
    assert command("note", *words).code == code
    assert command("streams", "$trace/notes/").rows == []


def test_a_note_makes_no_store(command: Command, tmp_path: Path) -> None:
    assert command("note", "a", "n", "--score", "1").code == 3
    assert not (tmp_path / "store").exists()


def test_notes_go_where_their_runs_go(command: Command, store: Path, tmp_path: Path) -> None:
    for run in ("a/1", "a/2", "b"):
        command("note", run, "n", "--label", run)
    alone = command("export", "a/2", "--lineage").out
    assert command("import", "--store", tmp_path / "alone", stdin=alone).code == 0
    assert [row["scores"][0]["label"] for row in command(
        "runs", "--store", tmp_path / "alone").rows] == ["a/2"]  # fmt: skip
    whole = command("export", "--all").out
    assert command("import", "--store", tmp_path / "whole", stdin=whole).code == 0
    before = {row["run"]: row["scores"] for row in command("runs").rows}
    after = {
        row["run"]: row["scores"] for row in command("runs", "--store", tmp_path / "whole").rows
    }
    assert after == before
    without = command("export", "a/2").out
    assert b"$trace/" not in without


def test_copies_have_notes_of_their_own(command: Command, store: Path) -> None:
    command("note", "a/1", "n", "--score", "1")
    exported = command("export", "--all").out
    command("note", "a/1", "n", "--score", "2")
    done = command("import", "--into", "copy/", "--new-uids", stdin=exported)
    assert done.code == 0, done.err
    scores = {row["run"]: [each["score"] for each in row["scores"]] for row in command("runs").rows}
    assert (scores["a/1"], scores["copy/a/1"]) == ([2], [1])
    rows = {row["run"]: row for row in command("runs").rows}
    assert rows["a/1"]["children"] == ["a/1/sub"]
    assert rows["copy/a/1"]["children"] == ["copy/a/1/sub"]
    assert rows["copy/a/1"]["totals"] == rows["a/1"]["totals"]


def test_notes_about_nothing_in_the_export_are_left_as_they_are(
    command: Command, store: Path, tmp_path: Path
) -> None:
    with engine.open(store, durability="os") as log:
        log.layer("trace").create("notes/odd", {"about_uid": 3})
        log.create("user", {"about_uid": log.stream("b").uid})
    exported = command("export", "--all").out
    assert b"notes/odd" in exported
    assert command("import", "--new-uids", "--store", tmp_path / "copy", stdin=exported).code == 0
    assert b'"user"' not in command("export", "b", "--lineage").out


def test_a_listing_is_of_one_moment(store: Path) -> None:
    with engine.open(store, mode="read") as log:
        listing = Listing(log)
        assert [listing.runs[uid].name for uid in listing.runs] == ["a/1", "a/1/sub", "a/2", "b"]
        assert json.dumps(listing.parents) == json.dumps(
            {log.stream("a/1/sub").uid: log.stream("a/1").uid}
        )


def test_half_a_character_in_a_run_is_shown_as_its_escape(command: Command, store: Path) -> None:
    with engine.open(store, durability="os") as log:
        broken = trace.task(log, "half")
        broken.stream.append(
            b'{"event":"tool_request","tool_call_id":"c","tool_name":"t\\ud800",'
            b'"arguments":"\\ud801 x"}'
        )
        broken.stream.append(
            b'{"event":"run_end","status":"failed","error":{"type":"E","message":"\\ud802"}}'
        )
    (row,) = command("runs", "half").rows
    assert row["error"] == {"type": "E", "message": "\\ud802"}
    assert command("runs", "half", "--format", "table").code == 0
    (row,) = command("find", "half", "--text", "x").rows
    assert row["excerpt"] == "\\ud801 x"
    assert b"\\ud801 x" in command("find", "half", "--text", "x", "--format", "table").out
