"""The verbs on the store as a whole and its remote: status, seal, publish, evict, restore."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

import transit as engine

from .conftest import Command
from .shell import at_terminal, transit


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with engine.open(tmp_path / "store") as log:
        log.create("task").append_many([b"a" * 100] * 100)
        log.create("other").append(b"b")
    return tmp_path / "store"


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    return tmp_path / "remote"


def head(store: Path) -> str:
    with engine.open(store, mode="read") as log:
        return log.status().head


def test_status_is_the_stores(command: Command, store: Path) -> None:
    (row,) = command("status").rows
    assert (row["path"], row["mode"]) == (str(store), "read")
    assert (row["streams"], row["commits"], row["remote"]) == (2, 0, "")
    shown = at_terminal(store, "--no-color", "status").out.decode()
    assert re.search(r"^streams +2$", shown, re.M)


def test_seal_makes_a_commit_and_a_second_time_none(command: Command, store: Path) -> None:
    (first,) = command("seal").rows
    assert (first["commits"], first["commits_total"], first["segments_total"]) == (1, 1, 1)
    assert first["head"] == head(store)
    (second,) = command("seal").rows
    assert (second["commits"], second["commits_total"]) == (0, 1)


def test_publish_brings_everything_and_a_second_time_nothing(
    command: Command, store: Path, remote: Path
) -> None:
    (first,) = command("publish", "--remote", remote).rows
    assert first["commits"] == 1
    assert first["bytes"] > 0
    assert first["head"] == head(store)
    (second,) = command("publish", "--remote", remote).rows
    assert (second["commits"], second["bytes"]) == (0, 0)
    (row,) = command("status", "--remote", remote).rows
    assert row["published"] == 1


@pytest.mark.parametrize("verb", [["publish"], ["evict", "--bytes-max", "0"]])
def test_without_a_remote_it_says_how_to_give_one(
    command: Command, store: Path, verb: list[str]
) -> None:
    done = command(*verb)
    assert (done.code, done.out) == (2, b"")
    assert "--remote" in done.error["hint"]


@pytest.mark.parametrize("verb", [["seal"], ["publish"], ["evict", "--bytes-max", "0"]])
def test_a_store_that_is_not_there_is_not_made(
    command: Command, tmp_path: Path, remote: Path, verb: list[str]
) -> None:
    done = command(*verb, "--remote", remote)
    assert (done.code, done.error["kind"]) == (3, "not_found")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["publish"], ["seal"], ["evict", "--bytes-max", "0"], ["branch", "task@1", "new"],
        ["finish", "task"], ["hide", "task"], ["append", "task", "x"], ["read", "task"],
    ],
)  # fmt: skip
def test_where_a_restore_was_cut_short_it_says_to_run_it_again(
    command: Command, store: Path, remote: Path, tmp_path: Path, words: list[str]
) -> None:
    assert command("publish", "--remote", remote).code == 0
    half = tmp_path / "half"
    assert command("restore", remote, half).code == 0
    (half / "FORMAT").unlink()
    done = command(*words, "--store", half, "--remote", remote)
    assert (done.code, done.error["kind"]) == (2, "invalid_input")
    assert "a restore was cut short here; run it again" in done.error["message"]


def test_while_another_process_holds_the_store_it_is_locked(command: Command, store: Path) -> None:
    with engine.open(store):
        done = transit(store, "seal")
    assert (done.code, done.error["kind"]) == (5, "locked")
    assert done.error["pid"] == os.getpid()


def test_the_second_of_two_writers_is_fenced_off(
    command: Command, store: Path, remote: Path, tmp_path: Path
) -> None:
    assert command("publish", "--remote", remote).code == 0
    shutil.copytree(store, tmp_path / "twin")
    for place in (store, tmp_path / "twin"):
        with engine.open(place) as log:
            log.stream("task").append(str(place).encode())
    assert command("publish", "--remote", remote).code == 0
    done = command("publish", "--remote", remote, "--store", tmp_path / "twin")
    assert (done.code, done.error["kind"]) == (11, "fenced")
    assert done.error["number"] == 1


@pytest.mark.slow
def test_a_remote_that_does_not_answer_is_unavailable(store: Path) -> None:
    env = {
        "TRANSIT_ENDPOINT_URL": "http://127.0.0.1:9",
        "TRANSIT_LIMITS_REMOTE_TIMEOUT_S": "1",
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "y",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    done = transit(store, "audit", "s3://bucket/runs", env=env)
    assert (done.code, done.error["kind"]) == (12, "remote_unavailable")


def test_evicted_segments_are_read_from_the_remote(
    command: Command, store: Path, remote: Path
) -> None:
    command("publish", "--remote", remote)
    (row,) = command("evict", "--bytes-max", "1MiB", "--remote", remote).rows
    assert row == {"segments": 0, "bytes": 0}
    (row,) = command("evict", "--older-than", "0s", "--remote", remote).rows
    assert row["segments"] == 1
    assert list((store / "segments").iterdir()) == []
    assert command("read", "task@0:1").code == 9
    assert len(command("read", "task@0:1", "--remote", remote).rows) == 1


def test_evict_without_a_measure_is_a_usage_error(
    command: Command, store: Path, remote: Path
) -> None:
    assert command("evict", "--remote", remote).code == 2


def test_restore_makes_the_store_again(
    command: Command, store: Path, remote: Path, tmp_path: Path
) -> None:
    command("publish", "--remote", remote)
    before = command("read", "task", "other").out
    shutil.rmtree(store)
    (row,) = command("restore", remote, store).rows
    assert (row["commits"], row["segments"], row["segments_remote"]) == (1, 1, 0)
    assert row["root"] == head(store)
    assert command("read", "task", "other").out == before
    again = command("restore", remote, store)
    assert (again.code, again.error["kind"]) == (4, "already_exists")


def test_restore_can_be_lazy_of_one_stream_and_of_a_commit(
    command: Command, store: Path, remote: Path, tmp_path: Path
) -> None:
    command("publish", "--remote", remote)
    first = head(store)
    with engine.open(store) as log:
        log.create("late").append(b"c")
    command("publish", "--remote", remote)
    (lazy,) = command("restore", remote, "lazy", "--lazy").rows
    assert (lazy["segments"], lazy["segments_remote"]) == (0, 2)
    (part,) = command("restore", remote, "part", "--stream", "late").rows
    assert part["segments"] >= 1
    for at in ("0", first):
        shutil.rmtree(tmp_path / "then", ignore_errors=True)
        (then,) = command("restore", remote, "then", "--at", at).rows
        assert (then["root"], then["commits"]) == (first, 1)
    assert command("restore", remote, "never", "--at", "7").code == 3
    assert command("restore", remote, "never", "--stream", "nothing").code == 3
    assert command("restore", tmp_path / "empty", "never").code == 3


def test_progress_is_shown_at_a_terminal_only(store: Path, remote: Path, tmp_path: Path) -> None:
    shown = at_terminal(store, "publish", "--remote", remote)
    assert shown.code == 0
    assert b"publish: " in shown.out
    piped = transit(store, "restore", remote, tmp_path / "there")
    assert piped.err == b""
    assert len(piped.rows) == 1
