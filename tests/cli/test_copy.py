"""`transit copy`: what it prints, how it ends, and what it takes from the configuration."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import transit as engine

from .conftest import Command
from .shell import at_terminal


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    with engine.open(tmp_path / "store", remote=tmp_path / "remote") as log:
        log.create("task").append_many([b"a" * 100] * 100)
        log.seal()
        log.create("other").append(b"b")
        log.publish()
    return tmp_path / "remote"


def test_copy_brings_everything_and_a_second_time_nothing(
    command: Command, remote: Path, tmp_path: Path
) -> None:
    first, audit = command("copy", remote, tmp_path / "there").rows
    assert (first["commits"], first["commits_there"], first["segments"]) == (2, 0, 2)
    assert first["bytes"] == sum(path.stat().st_size for path in remote.glob("segments/*"))
    assert (audit["ok"], audit["level"], audit["head"]) == (True, "roots", first["root"])
    assert audit["place"] == first["target"] == (tmp_path / "there").as_uri()
    second, _ = command("copy", "remote", "there").rows
    assert (second["commits"], second["commits_there"], second["bytes"]) == (0, 2, 0)
    assert second["root"] == first["root"]
    # What was copied is a remote as any other.
    assert command("restore", "there", "back").code == 0
    assert len(command("read", "task", "--store", "back").rows) == 100


def test_the_level_of_the_audit_is_said_or_none_is_made(command: Command, remote: Path) -> None:
    _, audit = command("copy", "remote", "there", "--level", "bodies").rows
    assert (audit["level"], audit["counts"]["records"]) == ("bodies", 104)
    (row,) = command("copy", "remote", "there", "--no-audit").rows
    assert "report" not in row
    done = command("copy", "remote", "there", "--no-audit", "--level", "roots")
    assert (done.code, done.error["kind"]) == (2, "usage")
    assert command("copy", "remote", "there", "--level", "deep").code == 2


def test_damage_in_the_copy_ends_with_seven_and_verify_mends_it(
    command: Command, remote: Path, tmp_path: Path
) -> None:
    command("copy", "remote", "there")
    segment = min((tmp_path / "there" / "segments").iterdir())
    segment.write_bytes(segment.read_bytes()[:-1])
    done = command("copy", "remote", "there")
    assert done.code == 7
    row, audit = done.rows
    assert row["commits"] == 0
    assert [finding["place"].rpartition("/")[2] for finding in audit["findings"]] == [segment.name]
    done = command("copy", "remote", "there", "--verify")
    assert (done.code, done.rows[0]["segments"]) == (0, 1)


def test_what_was_erased_goes_from_the_copy(command: Command, remote: Path, tmp_path: Path) -> None:
    command("copy", "remote", "there")
    with engine.open(tmp_path / "store", remote=remote) as log:
        log.delete("task", reason="asked")
        log.erase()
    row, audit = command("copy", "remote", "there", "--bypass-governance").rows
    assert (row["erased"], row["versions"], row["kept"], row["until"]) == (1, 1, 0, 0)
    assert audit["counts"]["redacted_segments"] == 1
    names = {path.name for path in (tmp_path / "there").glob("segments/*")}
    assert names == {path.name for path in remote.glob("segments/*")}


def test_damage_in_the_source_leads_to_its_audit(
    command: Command, remote: Path, tmp_path: Path
) -> None:
    segment = min((remote / "segments").iterdir())
    segment.write_bytes(segment.read_bytes()[:-1])
    done = command("copy", "remote", "there")
    assert (done.code, done.error["kind"], done.out) == (7, "corrupt", b"")
    assert segment.name in done.error["message"]
    assert "transit audit remote" in done.error["hint"]


def test_another_history_is_a_conflict_with_a_hint(
    command: Command, remote: Path, tmp_path: Path
) -> None:
    command("copy", "remote", "there")
    with engine.open(tmp_path / "store", remote=remote) as log:
        log.create("late").append(b"x", durability="tiered")
    done = command("copy", "there", "remote")
    assert (done.code, done.error["kind"], done.out) == (10, "conflict", b"")
    assert "beyond the last" in done.error["message"]
    assert "transit audit remote" in done.error["hint"]


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (["nothing", "there"], 3, "not_found"),
        (["remote", "remote"], 2, "invalid_input"),
        (["store", "there"], 2, "invalid_input"),
        (["remote"], 2, "usage"),
        (["s3//bucket", "there"], 2, "invalid_input"),
    ],
)
def test_places_that_cannot_be_are_refused(
    command: Command, remote: Path, tmp_path: Path, words: list[str], code: int, kind: str
) -> None:
    done = command("copy", *words)
    assert (done.code, done.error["kind"], done.out) == (code, kind, b"")
    assert not (tmp_path / "there").exists()


def test_the_configured_store_and_remote_have_no_part_in_it(
    command: Command, remote: Path, tmp_path: Path
) -> None:
    words = ("--store", "nowhere", "--remote", "nowhere-else")
    assert command("copy", "remote", "there", *words).code == 0
    assert not (tmp_path / "nowhere").exists()
    assert not (tmp_path / "nowhere-else").exists()


def test_at_a_terminal_facts_are_listed(remote: Path, tmp_path: Path) -> None:
    done = at_terminal(tmp_path / "store", "--no-color", "copy", str(remote), str(tmp_path / "t"))
    assert done.code == 0
    shown = done.out.decode()
    assert re.search(r"^commits +2\r?$", shown, re.M)
    assert re.search(r"^ok +yes\r?$", shown, re.M)
