"""`transit verify` and `transit audit`: reports, and the exit code when something is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import transit as engine

from .conftest import Command
from .shell import at_terminal


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with engine.open(tmp_path / "store", remote=tmp_path / "remote") as log:
        log.create("task").append_many([bytes([n]) * 100 for n in range(100)])
        log.publish()
    return tmp_path / "store"


def damage(folder: Path) -> None:
    (path,) = (folder / "segments").iterdir()
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)


def test_a_sound_store_verifies(command: Command, store: Path) -> None:
    done = command("verify")
    (row,) = done.rows
    assert done.code == 0
    assert (row["ok"], row["findings"]) == (True, [])
    assert row["counts"]["segments"] == 1


def test_damage_is_reported_and_ends_with_7(command: Command, store: Path) -> None:
    damage(store)
    done = command("verify")
    assert done.code == 7
    (row,) = done.rows
    assert row["ok"] is False
    assert row["findings"]
    assert {"place", "expected", "found"} == row["findings"][0].keys()
    shown = at_terminal(store, "--no-color", "verify")
    assert shown.code == 7
    text = shown.out.decode()
    assert re.search(r"^ok +no$", text, re.M)
    assert re.search(r"^place +expected +found", text, re.M)


def test_audit_takes_an_address_or_the_remote_or_the_store(
    command: Command, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (remote,) = command("audit", tmp_path / "remote").rows
    assert (remote["ok"], remote["place"]) == (True, str(tmp_path / "remote"))
    (local,) = command("audit").rows
    assert local["place"] == str(store)
    monkeypatch.setenv("TRANSIT_REMOTE", str(tmp_path / "remote"))
    (configured,) = command("audit").rows
    assert configured["place"] == str(tmp_path / "remote")
    assert remote["head"] == local["head"] == configured["head"]


def test_audit_finds_damage_by_its_level(command: Command, store: Path, tmp_path: Path) -> None:
    damage(tmp_path / "remote")
    assert command("audit", tmp_path / "remote", "--level", "roots").code == 0
    done = command("audit", tmp_path / "remote")
    assert done.code == 7
    assert done.rows[0]["findings"]
    assert command("audit", tmp_path / "remote", "--level", "sample:1").code == 7


def test_audit_holds_the_remote_to_a_root_written_down_earlier(
    command: Command, store: Path, tmp_path: Path
) -> None:
    head = command("audit", tmp_path / "remote").rows[0]["head"]
    assert command("audit", tmp_path / "remote", "--trusted-root", head).code == 0
    assert command("audit", tmp_path / "remote", "--trusted-root", "0" * 64).code == 7
    assert command("audit", tmp_path / "remote", "--trusted-root", "abc").code == 2


def test_a_sample_can_be_repeated_with_its_seed(
    command: Command, store: Path, tmp_path: Path
) -> None:
    row = command("audit", tmp_path / "remote", "--level", "sample:0.5", "--seed", "7").rows[0]
    assert (row["level"], row["counts"]["sample_seed"]) == ("sample:0.5", 7)


def test_where_there_is_no_store_nothing_is_audited(command: Command, tmp_path: Path) -> None:
    assert command("audit", tmp_path / "nothing").code == 3
    assert command("verify").code == 3
    assert command("audit", tmp_path, "--level", "all").code == 2
