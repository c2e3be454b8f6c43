"""Replicas in the configuration, and what the verbs say of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import transit as engine

from .conftest import Command


def write(folder: Path, text: str) -> None:
    (folder / "transit.toml").write_text(f'store = "store"\nremote = "first"\n{text}\n')


def test_a_list_in_the_file_is_followed(command: Command, tmp_path: Path) -> None:
    write(tmp_path, f'replicas = ["second", "{tmp_path / "third"}"]')
    command("append", "task", "x", "--create")
    (row,) = command("publish").rows
    assert [(each["url"], each["behind"], each["error"]) for each in row["replicas"]] == [
        ((tmp_path / name).as_uri(), 0, "") for name in ("second", "third")
    ]
    for name in ("second", "third"):
        assert engine.audit(tmp_path / name, "bodies").ok


def test_the_environment_names_them_too(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSIT_REMOTE", str(tmp_path / "first"))
    monkeypatch.setenv("TRANSIT_REPLICAS", f"{tmp_path / 'second'}  {tmp_path / 'third'}")
    done = command("append", "task", "x", "--create", "--durability", "replicated")
    assert done.rows[0]["durability"] == "replicated"
    assert engine.audit(tmp_path / "third").counts["commits"] == 1
    (row,) = [row for row in command("config").rows if row["key"] == "replicas"]
    assert row["value"] == [str(tmp_path / "second"), str(tmp_path / "third")]
    assert row["source"] == "TRANSIT_REPLICAS"


def test_a_replica_that_cannot_follow_ends_publish_with_one(
    command: Command, tmp_path: Path
) -> None:
    with engine.open(tmp_path / "another", remote=tmp_path / "second") as log:
        log.create("x")
        log.publish()
    write(tmp_path, 'replicas = ["second", "third"]')
    command("append", "task", "x", "--create")
    done = command("publish")
    assert (done.code, done.error["kind"]) == (1, "partly_failed")
    assert "holds store" in done.error["message"]
    # What was done is told all the same.
    (row,) = done.rows
    assert row["commits"] == 1
    assert row["replicas"][1]["behind"] == 0
    assert engine.audit(tmp_path / "third").ok
    # A verb that waits for all of them has the replica's own error.
    done = command("append", "task", "y", "--durability", "replicated")
    assert done.code == 2


def test_status_asks_the_replicas_when_it_is_told_to(command: Command, tmp_path: Path) -> None:
    write(tmp_path, 'replicas = ["second", "third"]')
    command("append", "task", "x", "--create")
    command("publish")
    command("append", "task", "y")
    command("seal")
    assert command("status").rows[0]["replicas"] == []
    (row,) = command("status", "--replicas").rows
    assert [(each["published"], each["behind"]) for each in row["replicas"]] == [(1, 1), (1, 1)]
    shutil.rmtree(tmp_path / "second")
    (tmp_path / "third" / "FORMAT").write_bytes(b"damaged")
    (row,) = command("status", "--replicas").rows
    gone, damaged = row["replicas"]
    assert (gone["published"], gone["behind"], gone["error"]) == (0, 2, "")
    assert damaged["published"] is None
    assert "FORMAT" in damaged["error"]


def test_replicas_without_a_remote_are_not_there(command: Command, tmp_path: Path) -> None:
    (tmp_path / "transit.toml").write_text('store = "store"\nreplicas = ["second"]\n')
    assert command("append", "task", "x", "--create").code == 0
    assert command("publish").code == 2
    assert not (tmp_path / "second").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('replicas = "second"', "must be a list"),
        ("replicas = [1]", "must be a list"),
        ("replicas = [{ options = {} }]", "no address"),
        ('replicas = [{ url = "x", more = 1 }]', "no address"),
        ('replicas = [{ url = "x", options = 1 }]', "must be a table"),
        ('replicas = [{ url = "s3://b/x", options = { secret = "x" } }]', "secrets do not belong"),
        ('replicas = ["s3:/b"]', "s3://"),
        ('replicas = ["first"]', "is where"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    command: Command, tmp_path: Path, text: str, message: str
) -> None:
    write(tmp_path, text)
    command("append", "task", "x", "--create", "--remote", tmp_path / "other")
    done = command("publish")
    assert done.code == 2
    assert message in done.error["message"]
