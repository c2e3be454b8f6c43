"""The verbs that let records go, or keep them: delete, trim, hold, retain, erase, gc."""

from __future__ import annotations

from pathlib import Path

import pytest

import transit as engine
from transit.cli.values import moment_text

from .conftest import Command
from .shell import at_terminal


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with engine.open(tmp_path / "store") as log:
        log.create("task").append_many([b"%d" % number for number in range(10)])
        log.stream("task").branch("child", at=3)
        log.create("other").append(b"b")
    return tmp_path / "store"


@pytest.mark.usefixtures("store")
def test_a_stream_is_deleted_and_erased_and_audited(command: Command, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    command("publish", "--remote", remote)
    (row,) = command("delete", "other", "--reason", "asked", "--basis", "gdpr-17").rows
    assert (row["streams"], row["records"], row["done"]) == (["other"], 1, True)
    assert command("read", "other").code == 3
    (erased,) = command("erase", "--remote", remote).rows
    assert (erased["streams"], erased["records"], erased["versions"]) == (["other"], 1, 1)
    for done in (command("verify"), command("audit", remote)):
        (report,) = done.rows
        assert done.code == 0
        (entry,) = report["erased"]
        assert (entry["stream"], entry["basis"], entry["reason"]) == ("other", "gdpr-17", "asked")
        assert report["counts"]["erased_records"] == 1


@pytest.mark.usefixtures("store")
def test_what_others_need_is_refused_with_a_code_of_its_own(command: Command) -> None:
    for words in (["delete", "task", "--reason", "r"], ["trim", "task", "--before", "2"]):
        refused = command(*words)
        assert refused.code == 17
        assert refused.error["type"] == "DependentsError"
        assert refused.error["dependents"] == [["child", 0, 3]]
        tried = command(*words, "--dry-run")
        assert tried.code == 17
        (row,) = tried.rows
        assert "child needs 0 to 3" in row["in_the_way"]
        assert row["done"] is False
    (row,) = command("delete", "task", "--reason", "r", "--cascade").rows
    assert row["streams"] == ["child", "task"]


@pytest.mark.usefixtures("store")
def test_a_hold_is_placed_listed_and_released(command: Command) -> None:
    assert command("hold", "other", "--reason", "case").rows == [
        {"stream": "other", "holds": ["case"]}
    ]
    assert command("hold", "other").rows == [{"stream": "other", "holds": ["case"]}]
    refused = command("delete", "other", "--reason", "r", "--basis", "court")
    assert (refused.code, refused.error["holds"]) == (16, ["case"])
    assert command("delete", "other", "--reason", "r", "--dry-run").code == 16
    assert command("hold", "other", "--release", "another").code == 3
    assert command("hold", "other", "--release", "case").rows[0]["holds"] == []
    assert command("delete", "other", "--reason", "r").code == 0


@pytest.mark.usefixtures("store")
def test_a_trimmed_record_has_a_code_of_its_own(command: Command) -> None:
    command("delete", "child", "--reason", "r")
    assert command("trim", "task", "--before", "4", "--reason", "old").code == 0
    assert len(command("read", "task").rows) == 6
    gone = command("read", "task@2")
    assert gone.code == 15
    assert (gone.error["first_offset"], gone.error["reason"]) == (4, "old")
    assert command("trim", "task").code == 2
    assert command("trim", "task", "--older-than", "1d").rows[0]["records"] == 0


@pytest.mark.usefixtures("store")
def test_limits_are_set_shown_and_applied(command: Command) -> None:
    command("delete", "child", "--reason", "r")
    (row,) = command("retain", "task", "--count-max", "4", "--keep-for", "1d").rows
    assert row["retention"]["count_max"] == 4
    assert row["retention"]["keep_for"] == 86_400
    assert command("retain").rows == []
    command("retain", "task", "--count-max", "4")
    (due,) = command("retain").rows
    assert (due["stream"], due["before"], due["limit"]) == ("task", 6, "count_max")
    assert command("retain", "task").rows[0]["first_offset"] == 0
    assert command("retain", "--apply").rows == [due]
    assert command("retain", "task").rows[0]["first_offset"] == 6
    command("retain", "task", "--no-limits")
    assert command("retain", "task").rows[0]["retention"]["count_max"] is None
    assert command("retain", "--count-max", "4").code == 2


def test_what_is_not_needed_is_listed_and_removed(command: Command, store: Path) -> None:
    stray = store / "segments" / f"{'0' * 64}.seg"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"stray")
    for words, there in (([], True), (["--dry-run"], True), (["--apply"], False)):
        (row,) = command("gc", *words).rows
        assert (row["kind"], row["place"], row["bytes"]) == ("segment", str(stray), 5)
        assert stray.exists() is there
    assert command("gc").rows == []


def test_people_see_what_was_erased(command: Command, store: Path) -> None:
    command("delete", "other", "--reason", "asked")
    command("erase")
    shown = at_terminal(store, "--no-color", "verify").out.decode()
    assert "erased" in shown
    assert "asked" in shown
    with engine.open(store, mode="read") as log:
        (entry,) = log.verify().erased
    # When it was deleted, as a person reads times.
    assert moment_text(entry.when) in shown
