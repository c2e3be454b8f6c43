"""`transit inspect`: files of a store told apart, listed, and their damage found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import transit as engine

from .conftest import Command
from .shell import at_terminal


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with engine.open(tmp_path / "store") as log:
        task = log.create("task")
        task.append_many([b"a", b"\xff"], headers={"kind": "x"})
        log.seal()
        task.append(b"not sealed")
    return tmp_path / "store"


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize(
    ("place", "kind"), [("wal", "wal"), ("segments", "segment"), ("commits", "commit")]
)
def test_a_file_is_a_line_and_so_is_each_part(
    command: Command, store: Path, tmp_path: Path, place: str, kind: str
) -> None:
    copy = tmp_path / "copy"
    copy.write_bytes(only(store / place).read_bytes())
    done = command("inspect", copy)
    assert done.code == 0
    first, *parts = done.rows
    assert (first["type"], first["kind"], first["ok"]) == ("file", kind, True)
    assert first["size"] == copy.stat().st_size
    assert re.fullmatch(r"[0-9a-f]{64}", first["digest"])
    assert parts
    assert {part["type"] for part in parts} == {"part"}
    assert all({"place", "size", "kind", "fields"} <= part.keys() for part in parts)


def test_records_are_listed_when_asked_for(command: Command, store: Path) -> None:
    path = only(store / "segments")
    parts = command("inspect", path, "--records").rows
    records = [part["fields"] for part in parts if part.get("kind") == "record"]
    found = [(r["payload"], r["encoding"], r["headers"]) for r in records if r["stream"] == 1]
    assert found == [("a", "utf-8", {"kind": "x"}), ("/w==", "base64", {"kind": "x"})]
    assert not any(p.get("kind") == "record" for p in command("inspect", path).rows)


def test_damage_is_told_and_ends_with_7(command: Command, store: Path) -> None:
    path = only(store / "segments")
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    done = command("inspect", path)
    assert done.code == 7
    assert done.rows[0]["ok"] is False
    findings = [row for row in done.rows if row["type"] == "finding"]
    assert findings
    assert all(row["expected"] and row["found"] and row["place"] for row in findings)
    shown = at_terminal(store, "--no-color", "inspect", path)
    assert shown.code == 7
    assert "findings" in shown.out.decode()


def test_at_a_terminal_a_file_is_facts_and_a_table(store: Path) -> None:
    shown = at_terminal(store, "--no-color", "inspect", only(store / "wal")).out.decode()
    assert re.search(r"^kind +wal$", shown, re.M)
    assert re.search(r"^place +size +kind +fields", shown, re.M)


def test_what_is_no_file_of_a_store_fails(command: Command, store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("nothing of ours")
    assert command("inspect", other).code == 2
    assert command("inspect", tmp_path / "missing").code == 3
    assert command("inspect", store).code == 2
    assert command("inspect").code == 2


def test_no_store_need_be_configured(
    command: Command, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRANSIT_STORE")
    assert command("inspect", store / "FORMAT").rows[0]["kind"] == "format"
