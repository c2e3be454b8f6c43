"""`transit show` of runs: transcripts, events as JSON Lines, two runs beside each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import transit
from transit import trace
from transit.trace.events import encode_json

from .conftest import Command
from .shell import at_terminal, running

TABLE = ("--format", "table")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[transit.Log]:
    with transit.open(tmp_path / "store", durability="os", mode="shared") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def small_run(log: transit.Log, name: str, listed: str = "setup.py") -> None:
    with trace.task(log, name, actor="agent", reason="a bug report") as task:
        task.message("user", "Fix it.\nPlease.")
        with task.tool("bash", {"cmd": "ls"}) as call:
            call.result(listed)
        messages = [{"role": "user", "content": "Fix it.\nPlease."}]
        task.model_call(
            model="m", request={"messages": messages}, response={"content": "It is fixed."},
            usage={"input_tokens": 1_200, "output_tokens": 9}, duration_ns=1_500_000_000,
        )  # fmt: skip
        with trace.task(log, f"{name}/kid") as kid:
            kid.tool("pytest").failure("2 failed")
        task.checkpoint("final", status="success", reason="the tests pass")


def body(out: bytes) -> list[str]:
    """The lines of a transcript without offsets and times."""
    lines = out.decode().splitlines()
    return [line[17:] for line in lines[lines.index("") + 1 :]]


def test_a_run_is_shown_as_a_transcript_with_what_is_inside_indented(
    log: transit.Log, command: Command
) -> None:
    small_run(log, "fix")
    done = command("show", "fix", *TABLE)
    assert done.code == 0
    lines = done.out.decode().splitlines()
    assert lines[0].startswith("fix  completed, 8 steps, 1 failure, 1,200 in, 9 out, ")
    assert lines[1].startswith("  task · actor agent · a bug report · begun ")
    shown = [line for line in body(done.out) if "└" not in line]
    came = [line.strip() for line in body(done.out) if "└" in line]
    assert shown[:5] == [
        "user  Fix it.",
        "    Please.",
        'bash  {"cmd":"ls"}',
        "model  m, 1 message",
        "run  fix/kid",
    ]
    assert came[0].endswith("setup.py")
    assert came[1] == "└ success, 1.5 s, 1,200 in, 9 out  It is fixed."
    assert came[2].startswith("└ failure, ")
    assert came[2].endswith("  2 failed")
    assert came[3].startswith("└ fix/kid (4), completed")
    assert "  pytest" in shown
    assert "checkpoint  final, success: the tests pass" in shown


def test_a_run_without_its_children_names_them(log: transit.Log, command: Command) -> None:
    small_run(log, "fix")
    out = command("show", "fix", "--no-children", *TABLE).out
    assert b"run  fix/kid" in out
    assert b"pytest" not in out


def test_in_a_pipe_the_events_of_a_run_are_whole_json(log: transit.Log, command: Command) -> None:
    small_run(log, "fix")
    retry = trace.read(log, "fix")
    trace.task(log, "other").retry()
    rows = command("show", "fix").rows
    assert [row["offset"] for row in rows] == list(range(len(retry)))
    events = [json.loads(encode_json(record.event)) for record in retry]
    assert [row["event"] for row in rows] == events
    assert rows[3]["event"]["request"]["messages"][0]["content"] == "Fix it.\nPlease."


def test_records_that_are_no_events_are_shown(log: transit.Log, command: Command) -> None:
    task = trace.task(log, "odd")
    task.stream.append(b'{"event":"reflection","depth":2}')
    task.stream.append(b"\xff\x00")
    assert [row.get("payload", row["event"]) for row in command("show", "odd").rows] == [
        {"event": "reflection", "depth": 2}, "/wA=",
    ]  # fmt: skip
    out = command("show", "odd", *TABLE).out.decode()
    assert 'reflection  {"event":"reflection","depth":2}' in out


def test_long_values_are_folded_unless_they_are_asked_for(
    log: transit.Log, command: Command
) -> None:
    with trace.task(log, "long") as task:
        task.message("user", "\n".join(f"line {n} {'x' * 200}" for n in range(30)))
    folded = command("show", "long", *TABLE).out.decode()
    assert "line 7" in folded
    assert "line 8" not in folded
    assert "22 more lines (--full)" in folded
    assert max(map(len, folded.splitlines())) <= 100
    whole = command("show", "long", "--full", *TABLE).out.decode()
    assert f"line 29 {'x' * 200}" in whole


def test_no_payload_steers_the_terminal(log: transit.Log, command: Command) -> None:
    evil = "\x1b[2J\x07\u202e evil"
    with trace.task(log, "evil", actor=evil, reason=evil) as task:
        task.message(evil, evil)
        task.tool(evil, {evil: evil}).failure(evil)
        task.model_call(model=evil, request=[evil], response={evil: evil})
        task.evaluate(evil, decision=evil, reason=evil)
        task.checkpoint("final", status="success", reason=evil)
        task.custom(evil, evil)
        task.artifact(b"x", kind=evil, content_type=evil)
        task.record(trace.ChildRun(run=evil, uid=""))
    for words in (
        ("show", "evil"),
        ("show", "evil", "--full"),
        ("show", "evil", "--beside", "evil"),
    ):
        out = command(*words, *TABLE, "--no-color").out.decode()
        assert "evil" in out
        assert not any(mark in out for mark in "\x1b\x07\u202e")


def test_a_run_that_was_killed_is_unfinished_and_its_call_open(
    log: transit.Log, command: Command
) -> None:
    trace.task(log, "dead").tool("bash", {"cmd": "sleep"})
    lines = command("show", "dead", *TABLE).out.decode().splitlines()
    assert lines[0].startswith("dead  unfinished, 1 step")
    assert lines[-1].strip() == "└ open"


def test_a_branch_says_where_it_began_and_what_it_inherits(
    log: transit.Log, command: Command
) -> None:
    task = trace.task(log, "t")
    task.message("user", "one")
    with task.retry(reason="again") as retry:
        retry.message("user", "two")
    out = command("show", retry.name, *TABLE).out.decode()
    assert "  branch of t@0" in out.splitlines()
    assert [line.split("  ")[-1] for line in body(out.encode())] == [
        "one", "── the run itself begins here ──", "two", "completed",
    ]  # fmt: skip
    assert "went on in t/retry-1" in command("show", "t", *TABLE).out.decode()


def test_a_stream_that_is_no_run_is_described(log: transit.Log, command: Command) -> None:
    log.create("plain").append(b"x")
    assert command("show", "plain").rows[0]["records"] == 1
    small_run(log, "fix")
    assert command("show", "fix", "--facts").rows[0]["metadata"]["actor_id"] == "agent"
    for option in (("--beside", "fix"), ("--html", "x.html"), ("--follow",)):
        done = command("show", "plain", *option)
        assert done.code == 2
        assert "'plain' is no run" in done.error["message"]


@pytest.mark.parametrize(
    "options",
    [("--follow", "--beside", "b"), ("--follow", "--html", "x"), ("--facts", "--html", "x"),
     ("--facts", "--beside", "b"), ("--facts", "--follow"), ("--max-page", "1MiB"),
     ("--html", "x.html", "--max-page", "0"), ("--html", "x.html", "--max-page", "much")],
)  # fmt: skip
def test_options_that_exclude_each_other_are_refused(
    log: transit.Log, command: Command, options: tuple[str, ...]
) -> None:
    small_run(log, "fix")
    assert command("show", "fix", *options).code == 2


# Two runs


def test_two_runs_are_shown_beside_each_other(log: transit.Log, command: Command) -> None:
    small_run(log, "a")
    small_run(log, "b", listed="setup.cfg")
    lines = command("show", "a", "--beside", "b", *TABLE).out.decode().splitlines()
    assert lines[0].split() == ["a", "b"]
    assert lines[1].split() == [*["0", "user", "Fix", "it.", "Please."]] * 2
    assert lines[2].startswith("─── first difference ─")
    assert lines[3].split("|")[0].split() == ["1", "bash", '{"cmd":"ls"}', "→", "setup.py"]
    assert lines[3].split("|")[1].split() == ["1", "bash", '{"cmd":"ls"}', "→", "setup.cfg"]
    assert lines[-2].split() == ["…", "4", "equal", "steps", "(--full)"]
    assert lines[-1] == "7 equal steps of 8, first difference: a@1 and b@1"
    assert max(map(len, lines)) <= 100
    full = command("show", "a", "--beside", "b", "--full", *TABLE).out.decode().splitlines()
    assert len(full) == 8 + 3


def test_two_runs_in_a_pipe_are_pairs_of_steps(log: transit.Log, command: Command) -> None:
    small_run(log, "a")
    small_run(log, "b")
    rows = command("show", "a", "--beside", "b").rows
    assert all(row["same"] for row in rows)
    assert rows[1]["left"]["input"] == {"cmd": "ls"}
    assert (rows[1]["left"]["run"], rows[1]["right"]["run"]) == ("a", "b")
    assert command("show", "a", "--beside", "none").code == 3


# While it goes on


def test_following_a_run_prints_what_comes_until_it_ends(log: transit.Log) -> None:
    task = trace.task(log, "live")
    task.message("user", "go")
    store = Path(log.path)
    with running(store, "show", "live", "--follow", *TABLE) as process:
        assert process.stdout is not None
        assert b"user  go" in process.stdout.readline()
        with task.tool("agent") as call:
            assert b"agent" in process.stdout.readline()
            task.message("system", "inside")
            assert b"  system  inside" in process.stdout.readline()
            call.result("done")
        assert b"agent (1), success" in process.stdout.readline()
        with task.tool("bash") as call:
            call.result("ok")
        assert b"bash" in process.stdout.readline()
        assert b"  ok" in process.stdout.readline()
        task.end()
        assert b"end  completed" in process.stdout.readline()
        assert process.wait(60) == 0


def test_following_in_a_pipe_gives_json_lines_of_what_is_there_and_comes(
    log: transit.Log,
) -> None:
    task = trace.task(log, "live")
    task.message("user", "one")
    task.end()
    task = trace.resume(log, "live")
    # It ended once, and goes on.
    with running(Path(log.path), "show", "live", "--follow") as process:
        assert process.stdout is not None
        rows = [json.loads(process.stdout.readline()) for _ in range(3)]
        task.message("user", "two")
        assert json.loads(process.stdout.readline())["event"]["message"]["content"] == "two"
        task.end()
        process.stdout.readline()
        assert process.wait(60) == 0
    assert [row["event"]["event"] for row in rows] == ["message", "run_end", "checkpoint"]


def test_at_a_terminal_failures_are_in_colour(log: transit.Log) -> None:
    small_run(log, "fix")
    log.close()
    out = at_terminal(Path(log.path), "show", "fix/kid").out.decode()
    assert "\x1b[31mfailure" in out
    assert "\x1b[32mcompleted" in out


# A page


def test_a_page_is_written_to_a_file_or_a_pipe(
    log: transit.Log, command: Command, tmp_path: Path
) -> None:
    small_run(log, "a")
    small_run(log, "b", listed="setup.cfg")
    trace.annotate(log, "a", "correct", score=True, comment="said afterwards")
    (tmp_path / "transit.toml").write_text('[prices."m"]\ninput = 1\noutput = 2\n')
    assert command("show", "a", "--html", "a.html").code == 0
    page = (tmp_path / "a.html").read_bytes()
    assert b"said afterwards" in page
    assert b'"cost":0.001218' in page
    assert command("show", "a", "--html", "-").out == page
    both = command("show", "a", "--beside", "b", "--html", "-").out
    assert both.startswith(b"<!doctype html>") or both.startswith(b"<!DOCTYPE html>")
    assert b"setup.cfg" in both


def test_a_page_is_as_large_as_it_may_be_at_most(
    log: transit.Log, command: Command, tmp_path: Path
) -> None:
    with trace.task(log, "large") as task:
        for n in range(40):
            task.message("user", f"{n} " * 6000)
    assert command("show", "large", "--html", "a.html", "--max-page", "256KiB").code == 0
    assert (tmp_path / "a.html").stat().st_size <= 256 * 1024
    assert command("show", "large", "--html", "b.html").code == 0
    assert (tmp_path / "b.html").stat().st_size > 512 * 1024
    assert "64MiB" in command("show", "--help").out.decode()


def test_a_page_that_cannot_be_written_is_told(log: transit.Log, command: Command) -> None:
    small_run(log, "a")
    done = command("show", "a", "--html", "none/a.html")
    assert done.code == 2
    assert "none/a.html" in done.error["message"]


def test_what_a_run_cost_is_in_its_head(log: transit.Log, command: Command, tmp_path: Path) -> None:
    small_run(log, "a")
    assert b"cost" not in command("show", "a", *TABLE).out
    (tmp_path / "transit.toml").write_text('[prices."m"]\ninput = 1000\noutput = 2000\n')
    assert b", cost 1.218, " in command("show", "a", *TABLE).out
