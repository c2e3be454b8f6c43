"""`transit import` of other tools' files, beside exports of its own."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import Command

LINE = '{"type":"user","uuid":"%s","parentUuid":null,"message":{"role":"user","content":"x"}}\n'


def session(folder: Path, count: int = 2, more: str = "") -> Path:
    file = folder / "session.jsonl"
    file.write_text("".join(LINE % n for n in range(count)) + more)
    return file


def test_a_file_is_recognised_and_imported_once(command: Command, tmp_path: Path) -> None:
    file = session(tmp_path)
    done = command("import", file)
    assert done.code == 0
    row = json.loads(done.out)
    assert (row["format"], row["streams"], row["added"]) == ("claude-code", ["session"], 2)
    assert json.loads(command("import", file).out)["added"] == 0
    grown = session(tmp_path, 5)
    assert json.loads(command("import", grown).out)["added"] == 3
    assert json.loads(command("import", file, "--into", "b/").out)["streams"] == ["b/session"]


def test_a_bad_line_is_refused_with_its_place_and_left_out_when_asked(
    command: Command, tmp_path: Path
) -> None:
    file = session(tmp_path, more="42\n")
    done = command("import", file)
    assert done.code == 2
    told = json.loads(done.err)["error"]
    assert told["message"].endswith("session.jsonl, line 3: not an object but int")
    assert "--skip-bad" in told["hint"]
    row = json.loads(command("import", file, "--skip-bad").out)
    assert (row["skipped"], row["added"]) == (1, 2)
    assert len(row["problems"]) == 1


def test_exports_and_other_files_are_imported_in_one_go(command: Command, tmp_path: Path) -> None:
    command("append", "mine", "x", "--create")
    export = tmp_path / "export.jsonl"
    export.write_bytes(command("export", "mine").out)
    copied = command("import", export, "--into", "copy/", "--new-uids")
    assert (copied.code, json.loads(copied.out)["stream"]) == (0, "copy/mine")
    both = command("import", session(tmp_path), export, "--into", "third/", "--from", "transit")
    assert both.code == 2, "a session is no export"
    assert command("import", session(tmp_path), "--new-uids").code == 2
    assert command("import", export, "--skip-bad").code == 2
    assert command("import", "--from", "codex", stdin=b"{}").code == 2


def test_a_run_is_written_for_other_tools(command: Command, tmp_path: Path) -> None:
    command("import", session(tmp_path))
    done = command("export", "session", "--as", "messages")
    assert json.loads(done.out) == [{"role": "user", "content": "x"}] * 2
    (tmp_path / "out.eval").write_bytes(command("export", "session", "--as", "inspect").out)
    row = json.loads(command("import", tmp_path / "out.eval").out)
    assert (row["format"], row["runs"]) == ("inspect", 2)
    for words in (("--all",), ("session", "session"), ("session", "--lineage"), ()):
        assert command("export", *words, "--as", "atif").code == 2
    missing = command("export", "nobody", "--as", "parquet")
    assert (missing.code, missing.out) == (3, b"")


def test_a_format_that_the_file_is_not_of_is_refused(command: Command, tmp_path: Path) -> None:
    done = command("import", session(tmp_path), "--from", "atif")
    assert done.code == 2
    assert "session.jsonl" in json.loads(done.err)["error"]["message"]
    assert command("import", tmp_path / "nowhere.jsonl", "--from", "atif").code == 3
    assert command("import", tmp_path / "nowhere.jsonl").code == 3
