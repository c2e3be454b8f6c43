"""`transit standby`, `takeover`, `takeovers`: what they print, how they end, what they refuse."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

import transit as engine

from .conftest import Command
from .shell import at_terminal, running, transit


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    with engine.open(tmp_path / "store", remote=tmp_path / "remote") as log:
        log.create("task").append_many([b"a" * 100] * 100)
        log.publish()
    return tmp_path / "remote"


def test_once_it_brings_what_there_is_and_says_what_may_be_missed(
    command: Command, remote: Path, tmp_path: Path
) -> None:
    (row,) = command("standby", "there", "--remote", "remote", "--once").rows
    assert (row["commits"], row["behind"], row["segments"]) == (1, 0, 1)
    assert row["path"] == str(tmp_path / "there")
    assert row["may_miss"].startswith(f"records written after {row['written']}, acknowledged as")
    assert row["may_miss"].endswith("none acknowledged as tiered")
    assert len(command("read", "task", "--store", "there").rows) == 100


def test_a_dry_run_changes_nothing_and_a_takeover_fences_off(
    command: Command, remote: Path, tmp_path: Path
) -> None:
    words = ("takeover", "there", "--remote", "remote")
    (said,) = command(*words, "--dry-run").rows
    assert (said["dry_run"], said["commits"], said["behind"]) == (True, 1, 1)
    assert not (tmp_path / "there").exists()
    with engine.open(tmp_path / "store", remote=remote) as old:
        old.stream("task").append(b"missed")
        (row,) = command(*words, "--reason", "it hangs", "--by", "ada").rows
        assert (row["commit"], row["root"], row["fenced_epoch"]) == (1, said["root"], 0)
        assert (row["by"], row["reason"], row["missed_records"]) == ("ada", "it hangs", None)
        assert said["written"] in row["may_miss"]
        with pytest.raises(engine.FencedError):
            old.publish()
        old.rebase_onto_remote()
    (listed,) = command("takeovers", "there").rows
    assert (listed["takeover_id"], listed["missed"]) == (row["takeover_id"], [])
    (counted,) = command("takeovers", "store", "--remote", "remote").rows
    assert (counted["missed_records"], counted["missed"][0]["streams"]) == (1, 1)
    # The folder is a store to write to.
    there = ("--store", "there", "--remote", "remote")
    assert command("append", "task", "x", *there).code == 0
    assert command("publish", *there).code == 0


def test_what_was_taken_over_from_is_refused_when_it_is_opened(
    command: Command, remote: Path
) -> None:
    command("takeover", "there", "--remote", "remote")
    done = command("publish", "--remote", "remote")
    assert (done.code, done.error["kind"]) == (11, "fenced")
    assert "standby" in done.error["message"]


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (["takeover", "there"], 2, "usage"),
        (["standby", "there", "--once"], 2, "usage"),
        (["takeover", "there", "--remote", "nothing"], 3, "not_found"),
        (["standby", "there", "--remote", "nothing", "--once"], 3, "not_found"),
        (["standby", "remote", "--remote", "remote", "--once"], 2, "unsuitable_remote"),
        (["standby", "t", "--remote", "remote", "--once", "--every", "1s"], 2, "usage"),
        (["standby", "t", "--remote", "remote", "--once", "--check", "true"], 2, "usage"),
        (["standby", "t", "--remote", "remote", "--then", "true"], 2, "usage"),
        (["standby", "t", "--remote", "remote", "--healthz", "ftp://x"], 2, "invalid_input"),
        (
            ["standby", "t", "--remote", "remote", "--healthz", "http://x", "--check", "x"],
            2,
            "usage",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    command: Command, remote: Path, words: list[str], code: int, kind: str
) -> None:
    done = command(*words)
    assert (done.code, done.error["kind"], done.out) == (code, kind, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_follows_until_it_is_told_to_end(remote: Path, tmp_path: Path, number: int) -> None:
    words = ("standby", "there", "--remote", "remote", "--every", "0.1s")
    with running(tmp_path / "store", *words) as process:
        assert process.stdout is not None
        assert b'"commits":1' in process.stdout.readline()
        with engine.open(tmp_path / "store", remote=remote) as log:
            log.stream("task").append(b"more", durability="tiered")
        assert b'"commits":2' in process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")


def test_a_command_that_fails_makes_it_take_over_and_become_another(
    remote: Path, tmp_path: Path
) -> None:
    check = f"{sys.executable} -c 'raise SystemExit(1)'"
    then = f"{sys.executable} -m transit takeovers there --format json"
    done = transit(
        tmp_path / "store", "standby", "there", "--remote", "remote", "--every", "0.01s",
        "--check", check, "--failures", 2, "--then", then,
    )  # fmt: skip
    assert (done.code, done.err) == (0, b"")
    first, *counted, taken, listed = done.rows
    assert first["commits"] == 1
    assert [(row["failures"], row["of"]) for row in counted] == [(1, 2), (2, 2)]
    assert (taken["commit"], taken["reason"]) == (1, "not healthy 2 times")
    assert listed["takeover_id"] == taken["takeover_id"]


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(next(self.server.codes))  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as found:
        Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def test_an_address_that_does_not_answer_well_so_often_in_a_row_makes_it_take_over(
    command: Command, remote: Path, server: HTTPServer
) -> None:
    server.codes = iter([200, 503, 503, 200, 503, 503, 503])  # type: ignore[attr-defined]
    url = f"http://127.0.0.1:{server.server_port}/healthz"
    done = command(
        "standby", "there", "--remote", "remote", "--every", "0.01s", "--healthz", url,
    )  # fmt: skip
    assert done.code == 0
    failures = [row["failures"] for row in done.rows if "failures" in row]
    assert failures == [1, 2, 0, 1, 2, 3]
    assert done.rows[-1]["reason"] == "not healthy 3 times"


def test_a_remote_that_does_not_answer_is_told_once_and_waited_for(tmp_path: Path) -> None:
    (tmp_path / "transit.toml").write_text(
        'remote = "s3://bucket"\n[limits]\nremote_timeout_s = 0.01\n'
        '[remote_options]\nendpoint_url = "http://127.0.0.1:9"\nanon = true\n'
    )
    with running(tmp_path / "store", "standby", "there", "--every", "0.1s") as process:
        assert process.stdout is not None
        assert b'"error"' in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (0, b"", b"")


def test_at_a_terminal_facts_are_listed(remote: Path, tmp_path: Path) -> None:
    done = at_terminal(
        tmp_path / "store", "--no-color", "standby", "there", "--remote", "remote", "--once"
    )
    assert done.code == 0
    assert b"may_miss" in done.out
