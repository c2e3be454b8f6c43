"""Which store, remote or file is meant, and what is said when there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .conftest import Command


@pytest.fixture
def published(command: Command, tmp_path: Path) -> Path:
    """A folder that holds a `store` and its remote `bucket`."""
    assert command("append", "s", "--create", "1").code == 0
    assert command("--remote", tmp_path / "bucket", "publish").code == 0
    return tmp_path


@pytest.fixture
def nowhere(tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is gone; the store is where it was."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(FileNotFoundError):
        os.getcwd()
    return published


def test_absolute_places_work_where_the_working_directory_was_removed(
    command: Command, nowhere: Path
) -> None:
    bucket = nowhere / "bucket"
    assert command("append", "s", "2").code == 0
    assert command("read", "s", "--raw").out == b"1\n2\n"
    assert command("--remote", bucket, "publish").code == 0
    assert command("restore", bucket, nowhere / "again").code == 0
    assert command("audit", bucket).code == 0
    assert command("verify", nowhere / "again").code == 0
    assert command("demo", "--keep", nowhere / "demo").code == 0
    (nowhere / "transit.toml").write_text(f'store = "{nowhere / "again"}"\n')
    assert command("--config", nowhere / "transit.toml", "config").code == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--store", "st", "streams"], "st: starts"),
        (["status", "st"], "st: starts"),
        (["--remote", "bk", "publish"], "bk: starts"),
        (["restore", "bk", "/nowhere/x"], "bk: starts"),
        (["restore", "/bucket", "x"], "x: starts"),
        (["audit", "bk"], "bk: starts"),
        (["--config", "my.toml", "streams"], "my.toml: starts"),
        (["append", "s", "--file", "lines"], "lines: No such file"),
        (["inspect", "FORMAT"], "FORMAT: No such file"),
        (["demo", "--keep", "kept"], "kept: No such file"),
    ],
)
def test_a_path_that_starts_from_a_removed_directory_is_named(
    command: Command, nowhere: Path, words: list[str], named: str
) -> None:
    done = command(*words)
    assert done.code == 3
    assert done.error["message"].startswith(named)


@pytest.mark.parametrize("verb", ["verify", "status", "seal"])
def test_a_verb_on_a_whole_store_takes_its_place_as_an_argument(
    command: Command, published: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.delenv("TRANSIT_STORE")
    assert command(verb).code == 2
    assert command(verb, published / "store").code == 0
    assert command("--store", published / "store", verb, published / "store").code == 0
    done = command(verb, "--store", "another", published / "store")
    assert done.code == 2
    assert "two stores" in done.error["message"]


def test_verify_and_status_take_the_address_of_a_remote(command: Command, published: Path) -> None:
    address = f"file://{published / 'bucket'}"
    assert command("verify", address).code == 0
    assert command("status", address).rows[0]["streams"] == 1
    assert command("publish", published / "store", "--remote", published / "bucket").code == 0
    done = command("evict", published / "store", "--remote", published / "bucket", "--bytes-max=0")
    assert done.rows[0]["segments"] == 1


@pytest.mark.parametrize("whole", [False, True])
def test_a_folder_whose_path_has_the_mark_of_a_url_in_it_is_a_folder(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    (tmp_path / "x:").mkdir()
    place = f"{tmp_path}/x://y" if whole else "./x://y"
    monkeypatch.setenv("TRANSIT_ENDPOINT_URL", "http://127.0.0.1:1")
    assert command("--store", place, "append", "s", "--create", "1").code == 0
    assert command("--store", place, "read", "s", "--raw").out == b"1\n"
    assert command("doctor", place).rows[0]["said"].endswith(f" in {place}")
    assert (tmp_path / "x:" / "y" / "FORMAT").exists()
    assert command("publish", place, "--remote", f"{tmp_path}/x://bucket").code == 0
    assert command("restore", f"{tmp_path}/x://bucket", "./x://again").code == 0
    assert command("audit", f"{tmp_path}/x://bucket").code == 0


@pytest.mark.parametrize("verb", ["publish", "seal"])
def test_an_address_cannot_be_written_to_and_it_is_told_so(
    command: Command, published: Path, verb: str
) -> None:
    bucket = f"file://{published / 'bucket'}"
    done = command(verb, "--store", bucket, "--remote", bucket)
    assert (done.code, done.error["kind"]) == (2, "invalid_input")
    assert "is a remote" in done.error["message"]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["restore", "bucket", "x"], "`transit audit bucket`"),
        (["audit", "bucket"], "FORMAT"),
        (["inspect", "nothing"], "wal/"),
        (["read", "nothing"], "transit streams"),
    ],
)
def test_the_hint_for_what_is_not_there_fits_the_verb(
    command: Command, words: list[str], hint: str
) -> None:
    assert command("append", "s", "--create", "1").code == 0
    done = command(*words)
    assert done.code == 3
    assert hint in done.error["hint"]


def test_a_read_past_the_head_says_how_many_records_there_are(command: Command) -> None:
    assert command("append", "s", "--create", "1").code == 0
    assert command("read", "s@5").error["message"] == "s has no offset 5; it has one record, 0"
    assert command("read", "s@-2").error["message"] == "s has no offset -2; it has one record, 0"
    assert command("append", "s", "2").code == 0
    assert "it has 2 records, 0 to 1" in command("read", "s@5").error["message"]
    assert command("read", "s@2").out == b""
    done = command("read", "s@1:0")
    assert (done.code, done.error["message"]) == (2, "a range ends before it begins: 1:0")
    assert command("create", "e").code == 0
    assert command("read", "e@1").error["message"] == "e has no offset 1; it has no records"


def test_status_does_not_say_what_it_did_not_ask(command: Command, published: Path) -> None:
    assert command("status").rows[0]["published"] is None
    assert command("--remote", published / "bucket", "status").rows[0]["published"] == 1


def test_a_store_whose_records_are_away_says_where(command: Command, published: Path) -> None:
    evict = command("--remote", published / "bucket", "evict", "--bytes-max", "0")
    assert evict.code == 0
    done = command("read", "s")
    assert done.code == 9
    assert done.error["hint"] == (
        f"give --remote file://{published / 'bucket'}: the folder's REMOTE names it"
    )
