"""`transit why` and `transit diff`: where records come from, and what histories share."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import transit as engine
from transit.cli.values import moment_text

from .conftest import Command
from .shell import at_terminal


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with engine.open(tmp_path / "store") as log:
        task = log.create("task")
        task.append_many([b"a", b"b", b"c"])
        retry = task.branch("retry", at=1, metadata={"reason": "again"})
        retry.append(b"d")
        final = log.merge("final", [task, retry], policy="append")
        final.append(b"e")
        log.seal()
        task.append(b"not sealed")
        log.create("apart").append(b"x")
    return tmp_path / "store"


def test_why_names_every_step_from_the_stream_down_to_the_origin(
    command: Command, store: Path
) -> None:
    (row,) = command("why", "final@3").rows
    assert row["position"] == {"stream": "final", "offset": 3}
    assert row["origin"] == {"stream": "retry", "offset": 2}
    with engine.open(store, mode="read") as log:
        assert row["timestamp"] == moment_text(log.stream("retry")[2].timestamp)
    first, last = row["path"]
    assert (first["stream"], first["offset"], first["kind"]) == ("final", 3, "merge")
    assert first["merge"]["policy"] == "append"
    assert first["merge"]["parents"] == [
        {"stream": "task", "offset": 2},
        {"stream": "retry", "offset": 2},
    ]
    assert (last["stream"], last["offset"], last["fork_offset"]) == ("retry", 2, 1)
    assert last["metadata"] == {"reason": "again"}


def test_why_names_file_and_commit_of_a_sealed_record_and_none_of_another(
    command: Command, store: Path
) -> None:
    (sealed,) = command("why", "retry@0").rows
    (commit,) = sorted((store / "commits").iterdir())
    (segment,) = (store / "segments").iterdir()
    assert sealed["place"]["file"] == f"segments/{segment.name}"
    assert sealed["commit"]["number"] == 0
    assert sealed["commit"]["root"] in command("status").out.decode()
    assert commit.name.endswith("0.json")
    (fresh,) = command("why", "task@-1").rows
    assert fresh["position"] == {"stream": "task", "offset": 3}
    assert fresh["place"]["kind"] == "wal"
    assert fresh["commit"] is None


@pytest.mark.slow
def test_why_reads_like_sentences_at_a_terminal(store: Path) -> None:
    shown = at_terminal(store, "--no-color", "why", "final@0").out.decode()
    assert re.search(r"^record +final@0$", shown, re.M)
    assert re.search(r"^appended +task@0$", shown, re.M)
    assert re.search(r"^commit +0 [0-9a-f]{64}$", shown, re.M)
    assert re.search(r"^final +0 +merge +append version 1 of task@2, retry@2", shown, re.M)
    assert re.search(r"^task +0 +root +appended here", shown, re.M)
    inherited = at_terminal(store, "--no-color", "why", "retry@1").out.decode()
    assert re.search(r"^retry +1 +branch +inherited, forked at 1", inherited, re.M)


@pytest.mark.parametrize(
    ("place", "code"),
    [("final@5", 2), ("final@-6", 2), ("nothing@0", 3), ("final", 2), ("final@0:2", 2)],
)
def test_why_of_what_is_no_record_fails(
    command: Command, store: Path, place: str, code: int
) -> None:
    done = command("why", place)
    assert (done.code, done.out) == (code, b"")


def test_why_of_an_evicted_record_without_the_remote_is_a_retention_gap(
    command: Command, store: Path, tmp_path: Path
) -> None:
    with engine.open(store, remote=tmp_path / "remote") as log:
        log.publish()
        log.evict(bytes_max=0)
    done = command("read", "retry")
    assert (done.code, done.error["kind"]) == (9, "retention_gap")
    (row,) = command("why", "retry@0", "--remote", tmp_path / "remote").rows
    assert row["place"]["local"] is False
    assert row["published"] is True
    shown = at_terminal(
        store, "--no-color", "why", "retry@0", "--remote", tmp_path / "remote"
    ).out.decode()
    assert "only in the remote" in shown


def test_diff_counts_what_is_shared_and_lists_what_is_not(command: Command, store: Path) -> None:
    (row,) = command("diff", "task", "retry").rows
    with engine.open(store, mode="read") as log:
        task, retry = log.stream("task").uid, log.stream("retry").uid
    left = {"first": 2, "count": 2, "origin": {"stream": "task", "offset": 2}, "uid": task}
    right = {"first": 2, "count": 1, "origin": {"stream": "retry", "offset": 2}, "uid": retry}
    assert row == {
        "bases": [{"stream": "task", "offset": 1}], "left": [left], "right": [right], "common": 2,
    }  # fmt: skip


def test_diff_takes_positions_and_stops_there(command: Command, store: Path) -> None:
    (row,) = command("diff", "task@0", "task@-2").rows
    assert (row["common"], row["left"]) == (1, [])
    (right,) = row["right"]
    assert (right["first"], right["count"]) == (1, 2)
    assert right["origin"] == {"stream": "task", "offset": 1}


def test_diff_of_unrelated_streams_shares_nothing(command: Command, store: Path) -> None:
    (row,) = command("diff", "task", "apart").rows
    assert (row["bases"], row["common"]) == ([], 0)


def test_diff_with_records_prints_those_of_each_side_after_it(
    command: Command, store: Path
) -> None:
    _, *records = command("diff", "task", "final", "--records").rows
    assert [(r["stream"], r["offset"], r["payload"]) for r in records] == [
        ("task", 3, "not sealed"),
        ("final", 3, "d"),
        ("final", 4, "e"),
    ]
    assert records[1]["origin"] == {"stream": "retry", "offset": 2}


def test_diff_at_a_terminal_is_a_summary_and_a_table(store: Path) -> None:
    shown = at_terminal(store, "--no-color", "diff", "task", "retry", "--records").out.decode()
    assert re.search(r"^common records +2$", shown, re.M)
    assert re.search(r"^nearest common +task@1$", shown, re.M)
    assert re.search(r"^only in task +2$", shown, re.M)
    assert re.search(r"^retry +2 +1 +retry@2", shown, re.M)
    assert "task@3" in shown
    alike = at_terminal(store, "--no-color", "diff", "task", "task").out.decode()
    assert "origin" not in alike


@pytest.mark.parametrize(
    ("left", "right", "code"),
    [("task", "nothing", 3), ("task@9", "retry", 2), ("task@0:1", "retry", 2)],
)
def test_diff_of_what_is_no_history_fails(
    command: Command, store: Path, left: str, right: str, code: int
) -> None:
    done = command("diff", left, right)
    assert (done.code, done.out) == (code, b"")
