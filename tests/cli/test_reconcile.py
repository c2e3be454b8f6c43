"""`transit reconcile`: look at reconcilers and schedules, switch them, run them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

import transit
from transit.views.loops.reconcile import Reconcilers, reconciler
from transit.views.loops.running import runner
from transit.views.loops.scheduling import schedule
from transit.views.loops.ticks import Tick

from .conftest import Command
from .shell import environment, running
from .shell import transit as shell

CODE = """
from transit.views.loops.reconcile import reconciler

@reconciler(every=0.1, labels={"host": "a"})
def greet(tick):
    tick.info("hello")
    tick.emit("greet", n=tick.n)

@reconciler(every=0.1, labels={"host": "b"})
def fails(tick):
    raise ValueError("no")
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.py"
    path.write_text(CODE)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    @reconciler(every=3_600.0)
    def idle(tick: Tick) -> None:
        tick.emit("looked", at=1)

    path = tmp_path / "store"
    with transit.open(path, durability="os") as log:
        log.create("task")
        schedule(log, "s", every=3_600, append=("task", b"x"))
        with runner(log, [idle]) as made:
            made.run_due()
    return path


def test_reconcilers_and_their_ticks_are_listed(command: Command, store: Path) -> None:
    (row,) = command("reconcile", "list").rows
    assert {key: row[key] for key in ("name", "due", "enabled", "ticks", "last", "error")} == {
        "name": "idle", "due": "every 3600 s", "enabled": True, "ticks": 1, "last": "ok",
        "error": "",
    }  # fmt: skip
    (tick,) = command("reconcile", "ticks", "idle").rows
    assert (tick["n"], tick["result"], tick["actions"]) == (
        0,
        "ok",
        [{"action": "looked", "at": 1}],
    )
    (made,) = command("reconcile", "schedules").rows
    assert (made["name"], made["stream"], made["last"]) == ("s", "task", "fired")
    assert b"idle" in command("reconcile", "list", "--format", "table").out
    assert command("reconcile", "ticks", "none").code == 3


def test_they_are_switched_asked_and_deleted(command: Command, store: Path) -> None:
    assert command("reconcile", "disable", "idle").rows == [{"name": "idle", "op": "disabled"}]
    assert command("reconcile", "list").rows[0]["enabled"] is False
    assert command("reconcile", "enable", "idle").code == 0
    assert command("reconcile", "tick", "idle").rows == [{"name": "idle", "asked": 3}]
    assert command("reconcile", "delete", "idle").code == 0
    assert command("reconcile", "list").rows == []
    assert command("reconcile", "delete", "idle").code == 3
    assert command("reconcile", "disable", "s", "--schedule").code == 0
    assert command("reconcile", "schedules").rows[0]["enabled"] is False
    assert command("reconcile", "enable", "s", "--schedule").code == 0
    assert command("reconcile", "unschedule", "s").code == 0
    assert command("reconcile", "schedules").rows == []


def test_schedules_are_made(command: Command, store: Path) -> None:
    made = command("reconcile", "schedule", "t", "task", "x", "--at", "2020-01-01T00:00Z")
    assert made.rows[0]["due"].startswith("at 2020-01-01T00:00:00")
    made = command("reconcile", "schedule", "u", "task", "x", "--every", "5m", "--catch-up", "all")
    assert made.rows[0]["due"] == "every 300 s"
    for words in (["--every", "5m", "--at", "2020-01-01T00:00Z"], [], ["--at", "soon"]):
        assert command("reconcile", "schedule", "v", "task", "x", *words).code == 2
    assert command("reconcile", "schedule", "v", "none", "x", "--every", "5m").code == 3
    pytest.importorskip("cronsim")
    made = command(
        "reconcile", "schedule", "w", "task", "x", "--cron", "0 2 * * *", "--zone", "Europe/Berlin"
    )
    assert made.rows[0]["due"] == "0 2 * * * Europe/Berlin"


def test_what_is_due_is_done_once(command: Command, store: Path, code: Path) -> None:
    rows = command("reconcile", "run", code, "--once").rows
    assert sorted(row["result"] for row in rows) == ["failed", "ok"]
    # Perhaps it is not due again yet: it is asked for.
    assert command("reconcile", "tick", "greet").code == 0
    rows = command("reconcile", "run", code, "--once", "--select", "host=a").rows
    assert [row["actions"] for row in rows] == [[{"action": "greet", "n": 1}]]
    assert rows[0]["lines"] == ["info: hello"]
    assert command("reconcile", "tick", "greet").code == 0
    rows = command("reconcile", "run", "jobs", "--once", "--select", "host=a").rows
    assert [row["n"] for row in rows] == [2]


def test_ready_made_ones_are_run(command: Command, store: Path, tmp_path: Path) -> None:
    remote = tmp_path / "remote"
    done = command(
        "reconcile", "run", "--once", "--publish", "1m", "--verify", "1d", "--evict", "1MiB",
        "--remote", remote,
    )  # fmt: skip
    assert sorted(row["result"] for row in done.rows) == ["noop", "ok", "ok"], done.err
    assert (remote / "commits").is_dir()


def test_those_of_a_fleet_are_run(
    command: Command, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    words = ["reconcile", "run", "--once", "--snapshot", "1h", "--export", tmp_path / "tables"]
    assert command(*words).code == 2
    monkeypatch.setenv("TRANSIT_FLEET", str(tmp_path / "fleet"))
    assert command("publish").code == 0
    assert [row["result"] for row in command(*words).rows] == ["ok", "ok"]
    assert (tmp_path / "fleet" / "snapshots" / f"{0:020}.bin").is_file()
    assert (tmp_path / "tables" / "exports" / f"{0:020}.json").is_file()


def test_what_cannot_be_loaded_is_told(command: Command, store: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.py"
    empty.write_text("x = 1\n")
    for place in (empty, tmp_path / "none.py", "no_such_module_here"):
        assert command("reconcile", "run", place, "--once").code == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_runner_runs_until_it_is_told_to_end(
    store: Path, code: Path, number: signal.Signals
) -> None:
    with running(store, "reconcile", "run", code, "--select", "host=a") as process:
        with transit.open(store, mode="read") as log:
            while Reconcilers(log).status("greet") is None:
                pass
            for record in log.stream("$views/ticks/greet").tail(start=0, timeout=60):
                if record.offset == 3:
                    break
        process.send_signal(number)
        assert process.wait(60) == (0 if number == signal.SIGTERM else 130)


def test_names_are_completed(store: Path) -> None:
    asked = {
        "_TRANSIT_COMPLETE": "bash_complete", "COMP_WORDS": "transit reconcile ticks i",
        "COMP_CWORD": "3",
    }  # fmt: skip
    done = shell(store, env=asked)
    assert done.out.split() == [b"plain,idle"]
    assert environment(store)["TRANSIT_STORE"] == os.fspath(store)
