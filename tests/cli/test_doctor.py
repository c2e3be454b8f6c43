"""`transit doctor` says what is wrong, names what mends it, and changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import transit as engine
from transit.cli.remote_health import remote_findings

from .conftest import Command
from .shell import Done, at_terminal

Found = dict[str, dict[str, Any]]

WRITER = """
import sys, transit
log = transit.open(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def store(command: Command, tmp_path: Path) -> Path:
    assert command("append", "s", "--create", "1").code == 0
    return tmp_path / "store"


def found(done: Done) -> Found:
    """The worst finding about each thing."""
    order = ["ok", "unknown", "warn", "fail"]
    rows = sorted(done.rows, key=lambda row: order.index(row["state"]))
    return {row["about"]: row for row in rows}


def files(path: Path) -> dict[Path, tuple[int, int, int]]:
    facts = {each: each.stat() for each in path.rglob("*")}
    return {each: (fact.st_ino, fact.st_mtime_ns, fact.st_size) for each, fact in facts.items()}


def test_a_sound_store_has_nothing_to_mend_and_is_left_as_it_is(
    command: Command, store: Path, tmp_path: Path
) -> None:
    bucket = tmp_path / "bucket"
    assert command("--remote", bucket, "publish").code == 0
    before = files(tmp_path)
    done = command("doctor", store, "--remote", bucket)
    assert done.code == 0
    assert files(tmp_path) == before
    states = {about: row["state"] for about, row in found(done).items()}
    assert set(states.values()) <= {"ok", "unknown", "warn"}
    assert states["published"] == states["store"] == states["lock"] == states["leftovers"] == "ok"
    assert states["sync"] == states["exclusion"] == "unknown"
    assert all(row["mend"] for row in done.rows if row["state"] in ("warn", "fail"))


def test_with_write_syncs_and_rights_are_tried_and_nothing_stays(
    command: Command, store: Path, tmp_path: Path
) -> None:
    bucket = tmp_path / "bucket"
    assert command("--remote", bucket, "publish").code == 0
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    rows = found(command("doctor", store, "--remote", bucket, "--write"))
    assert rows["sync"]["said"].endswith("ms a sync")
    assert [rows[f"right to {each}"]["state"] for each in ("get", "list", "put", "delete")] == [
        "ok", "ok", "ok", "ok",
    ]  # fmt: skip
    assert rows["exclusion"]["state"] == "ok"
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs Linux's /proc/locks")
def test_the_process_that_holds_the_store_is_named_and_one_that_lost_its_lock(
    command: Command, store: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        assert f"process {writer.pid}" in found(command("doctor"))["lock"]["said"]
        # Removed by a user who took it for stale.
        (store / "LOCK").unlink()
        (store / "LOCK").touch()
        done = command("doctor")
        assert done.code == 1
        row = found(done)["lock"]
        assert (row["state"], row["mend"]) == ("fail", f"end it first: kill {writer.pid}")
        writer.kill()


def test_what_is_not_published_is_told_with_its_age(
    command: Command, store: Path, tmp_path: Path
) -> None:
    bucket = tmp_path / "bucket"
    row = found(command("doctor", "--remote", bucket))["published"]
    assert (row["state"], row["mend"]) == ("warn", "transit publish")
    assert command("--remote", bucket, "publish").code == 0
    assert command("append", "s", "2").code == 0
    hour_ago = time.time() - 3600
    for wal in (store / "wal").iterdir():
        os.utime(wal, (hour_ago, hour_ago))
    assert "for 3,6" in found(command("doctor", "--remote", bucket))["published"]["said"]
    assert command("seal").code == 0
    assert "1 commits" in found(command("doctor", "--remote", bucket))["published"]["said"]


def test_another_store_at_the_remote_is_a_failure(
    command: Command, store: Path, tmp_path: Path
) -> None:
    other, bucket = tmp_path / "other", tmp_path / "bucket"
    assert command("append", "--store", other, "s", "--create", "1").code == 0
    assert command("publish", other, "--remote", bucket).code == 0
    done = command("doctor", "--remote", bucket)
    assert done.code == 1
    assert found(done)["store"]["state"] == "fail"


def test_replicas_are_looked_at_as_the_remote_is(
    command: Command, store: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    assert command("append", "--store", other, "s", "--create", "1").code == 0
    assert command("publish", other, "--remote", tmp_path / "third").code == 0
    (tmp_path / "transit.toml").write_text('store = "store"\nreplicas = ["second", "third"]\n')
    assert command("--remote", tmp_path / "bucket", "publish").code == 1
    done = command("doctor", "--remote", tmp_path / "bucket", "--write")
    rows = found(done)
    assert done.code == 1
    assert rows["store"]["state"] == rows["replica 1: store"]["state"] == "ok"
    assert rows["replica 2: store"]["state"] == "fail"
    assert rows["replica 1: right to put"]["state"] == "ok"
    assert rows["published"]["state"] == rows["replica 1: published"]["state"] == "ok"
    assert command("append", "s", "2").code == 0
    rows = found(command("doctor", "--remote", tmp_path / "bucket"))
    assert rows["published"]["state"] == rows["replica 1: published"]["state"] == "warn"
    assert "transit publish" in rows["replica 1: published"]["mend"]
    # Without a remote there is nothing for them to follow.
    assert not any(each.startswith("replica") for each in found(command("doctor")))


def test_leftovers_and_a_half_restore_are_told(command: Command, store: Path) -> None:
    (store / "wal" / "0123.temporary").touch()
    (store / "rebase").mkdir()
    (store / "rebase" / "READY").touch()
    said = [row["said"] for row in command("doctor").rows if row["about"] == "leftovers"]
    assert ["temporary" in each for each in said] == [False, True]
    (store / "FORMAT").unlink()
    done = command("doctor")
    assert done.code == 1
    assert "transit restore" in found(done)["leftovers"]["mend"]


def test_a_record_of_the_future_is_told(command: Command, store: Path) -> None:
    with engine.open(store) as log:
        log.stream("s").append(b"x", timestamp=time.time_ns() + 3600 * 10**9)
    row = found(command("doctor"))["clock"]
    assert row["state"] == "warn"
    assert "ahead of this clock" in row["said"]


def test_what_is_not_there_is_a_finding_and_no_traceback(
    command: Command, store: Path, tmp_path: Path
) -> None:
    assert found(command("doctor", tmp_path / "nothing"))["folder"]["state"] == "fail"
    shutil.rmtree(store)
    store.mkdir()
    assert found(command("doctor"))["folder"]["state"] == "warn"
    assert command("doctor", "--store", f"file://{tmp_path}/bucket").code in (0, 1)


def test_at_a_terminal_each_finding_has_a_line_and_its_mend_below(store: Path) -> None:
    done = at_terminal(store, "doctor")
    assert done.code == 0
    lines = done.out.decode().splitlines()
    assert any(line.startswith("lock") for line in lines)
    assert any(line.strip().startswith("→ transit doctor --write") for line in lines)


@pytest.fixture
def facts(moto_remote: tuple[str, dict[str, object]]) -> Callable[..., dict[str, Any]]:
    """A function that says what is found out about a new bucket of moto: each thing's finding.

    made: arguments of its creation. versioning: statuses it is then given, in turn. ahead_s: of
    this machine's clock.
    """
    # Only a test with a bucket needs it, and it takes longer to import than all of transit.
    from s3fs import S3FileSystem

    def ask(versioning: tuple[str, ...] = (), ahead_s: float = 0.0, **made: object) -> Any:
        name, options = f"transit-{uuid4().hex}", moto_remote[1]
        client: Any = S3FileSystem(**options, skip_instance_cache=True)
        try:
            client.call_s3("create_bucket", Bucket=name, **made)
            for status in versioning:
                kept = {"Status": status}
                client.call_s3("put_bucket_versioning", Bucket=name, VersioningConfiguration=kept)
        finally:
            client.close_session(client.loop, client._s3creator)
        store = engine.open_store(f"s3://{name}/runs", options)
        try:
            rows = remote_findings(store, "", False, lambda: time.time() + ahead_s)
            return {row.about: row for row in rows}
        finally:
            store.close()

    return ask


@pytest.mark.slow
@pytest.mark.parametrize(
    ("versioning", "said"),
    [((), "never enabled"), (("Enabled",), "enabled"), (("Enabled", "Suspended"), "suspended")],
)
def test_whether_a_bucket_keeps_versions_is_told(
    facts: Callable[..., dict[str, Any]], versioning: tuple[str, ...], said: str
) -> None:
    row = facts(versioning)["versioning"]
    assert (row.state, row.said) == ("ok", said)


@pytest.mark.parametrize(("locked", "said"), [(False, "not enabled"), (True, "enabled")])
def test_whether_a_bucket_locks_objects_is_told(
    facts: Callable[..., dict[str, Any]], locked: bool, said: str
) -> None:
    row = facts(ObjectLockEnabledForBucket=locked)["object lock"]
    assert (row.state, row.said) == ("ok", said)


@pytest.mark.parametrize(("ahead_s", "state"), [(0.0, "ok"), (3600.0, "warn"), (-3600.0, "warn")])
def test_a_clock_that_differs_from_the_bucket_s_is_told(
    facts: Callable[..., dict[str, Any]], ahead_s: float, state: str
) -> None:
    row = facts(ahead_s=ahead_s)["clock of the remote"]
    assert row.state == state
    if state == "warn":
        # Some seconds may pass between the two looks.
        assert 3500 < float(row.said.split(" s ")[0].replace(",", "")) < 3700
        assert "set-ntp" in row.mend


@pytest.mark.parametrize("told", [{}, {"time": "yesterday"}])
def test_what_a_bucket_does_not_tell_is_unknown(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, str]
) -> None:
    store = engine.open_store(f"memory://{uuid4().hex}")
    monkeypatch.setattr(store, "bucket_facts", lambda: told, raising=False)
    states = {row.about: row.state for row in remote_findings(store, "", False)}
    about = ("versioning", "object lock", "clock of the remote")
    assert [states[each] for each in about] == ["unknown"] * 3
