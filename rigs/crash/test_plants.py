"""The rig finds every planted bug: a rig that has caught none proves nothing.

Three ways of finding: states after a crash, system calls that fail, answers of a remote that get
lost. What each finds of the right engine, which is nothing, is held by `test_states.py`,
`rigs/faults` and, for the remote, here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import transit
from rigs.crash.explore import explore
from rigs.crash.histories import HISTORIES
from rigs.faults import syscalls as syscall_faults
from rigs.faults.syscalls import Fault, Rig
from rigs.plants import PLANTS
from rigs.plants.ending import BY_RECOVERIES

SOURCE = str(Path(transit.__file__).parents[1])

BY_STATES = {
    "no_wal_sync": "modes",
    "acknowledge_before_sync": "modes",
    "acknowledge_before_write": "modes",
    "no_folder_sync": "modes",
    "wal_name_not_synced": "modes",
    "segment_not_synced": "everything",
    "commit_not_synced": "everything",
    "commit_before_segment_sync": "everything",
    "wal_dropped_before_commit": "everything",
    "one_wal_too_many_dropped": "modes",
    "rotation_without_sync": "unended",
    "newest_synced_alone": "unended",
    "header_overstated": "unended",
    "durable_at_birth": "unended",
    "later_file_taken_for_damage": "unended",
    "durable_overstated": "modes",
    "checksum_without_position": "echo",
    "checksum_ignored": "modes",
    "recovery_cuts_good_frames": "modes",
    "torn_taken_for_rotten": "modes",
    "recovery_leaves_the_tail": "modes",
    "batch_in_two_frames": "lineage",
    "cursor_after_its_batch": "lineage",
    "merge_before_its_records": "lineage",
    "merge_after_its_records": "lineage",
    "commit_name_not_synced": "sealing",
    "format_before_folders": "modes",
    "scan_skips_damage": "modes",
    "append_lock_not_taken": "shared",
    "others_not_read": "shared",
    "tiered_without_publishing": "everything",
    "evict_before_publish": "tiered",
    "checkpoint_before_tiles": "checkpoints",
    "remote_commit_before_segments": "everything",
    "remote_folder_not_synced": "everything",
    "restore_begins_with_format": "everything",
}
BY_SYSCALLS = {
    "retry_after_failed_sync": ("modes", "fdatasync", "error=EIO"),
    "failed_sync_forgotten": ("sealing", "fdatasync", "error=EIO"),
    "doubt_not_named": ("modes", "fdatasync", "error=EIO"),
    "failed_write_believed": ("modes", "pwrite64", "error=ENOSPC"),
    "failed_link_believed": ("everything", "link", "error=EIO"),
}

# By `rigs/kills/test_rounds.py`.
BY_KILLS = {"fates_not_written", "goes_on_by_the_path"}

SHORT_WRITES = "short_write_believed"

START = """
import pathlib, shutil, sys, transit
from transit.testing.doors import FaultDoor
from rigs.plants import plant
from transit.store.folder import FolderStore
root = pathlib.Path(sys.argv[1])
if sys.argv[2]:
    plant(sys.argv[2])
remote = str(root / "remote")
"""
# Each raises when the store does what it must not.
BY_ANSWERS = {
    "lost_answer_taken_for_conflict": """
def rule(number, kind, key):
    return "exists_after" if kind == "create" and key.startswith("commits/") else None
with transit.open(root / "store", remote=FaultDoor(FolderStore(remote), rule)) as log:
    log.create("a").append(b"1")
    log.publish()
""",
    "conflict_taken_for_success": """
with transit.open(root / "store", remote=remote) as log:
    log.create("a").append(b"1", durability="tiered")
shutil.copytree(root / "store", root / "other")
one, two = (transit.open(root / name, remote=remote) for name in ("store", "other"))
one.stream("a").append(b"2")
one.publish()
two.stream("a").append(b"3")
try:
    two.publish()
except transit.FencedError:
    pass
else:
    raise AssertionError("two writers published one commit number")
""",
    "head_believed": """
with transit.open(root / "store", remote=remote) as log:
    log.create("a").append(b"1")
    log.publish()
    head = (root / "remote" / "HEAD").read_bytes()
    log.stream("a").append(b"2")
    log.seal()
(root / "remote" / "HEAD").write_bytes(head.replace(b'"number":0', b'"number":1'))
with transit.open(root / "store", remote=remote) as log:
    log.publish()
transit.restore(remote, root / "copy")
with transit.open(root / "copy") as log:
    assert len(log.stream("a")) == 2, "what was published is not there"
""",
}


def test_every_plant_has_a_way_to_be_found() -> None:
    found = {*BY_STATES, *BY_SYSCALLS, *BY_ANSWERS, *BY_KILLS, *BY_RECOVERIES, SHORT_WRITES}
    assert found == {*PLANTS}
    assert len(PLANTS) >= 20


@pytest.mark.parametrize("name", BY_STATES)
def test_states_after_a_crash_show_the_bug(name: str, tmp_path: Path) -> None:
    # Which of two processes comes first is not the history's to say, so a race gets more tries.
    tries = 6 if BY_STATES[name] == "shared" else 1
    assert any(shown(name, seed, tmp_path / str(seed)) for seed in range(tries))


MISFITS = ("AttributeError:", "TypeError:", "NameError:", "ImportError:")


def shown(name: str, seed: int, folder: Path) -> bool:
    """Whether one run with the bug ends in an error, or in states that break a promise."""
    folder.mkdir()
    history = HISTORIES[BY_STATES[name]](seed)
    try:
        outcome = explore(history, folder, states_max=500, planted=name, violations_max=1)
    except RuntimeError as error:
        # A bug that no longer fits the code it is planted in ends a run too, and shows nothing.
        if any(misfit in str(error) for misfit in MISFITS):
            raise
        print(error)
        return True
    print(outcome.violations)
    return bool(outcome.violations)


def test_a_file_system_that_takes_writes_in_parts_shows_the_bug(tmp_path: Path) -> None:
    history = HISTORIES["modes"](0)
    outcome = explore(
        history, tmp_path, planted=SHORT_WRITES, violations_max=1, write_bytes_max=100
    )
    assert outcome.violations


@pytest.mark.parametrize("name", BY_SYSCALLS)
def test_a_system_call_that_fails_shows_the_bug(name: str, tmp_path: Path) -> None:
    reason = syscall_faults.why_unavailable()
    if reason:
        pytest.skip(reason)
    history, call, fate = BY_SYSCALLS[name]
    rig = Rig(tmp_path, history, name)
    assert any(rig.run(Fault(call, fate, when)) for when in rig.count()[call])


def scenario(name: str, planted: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START + BY_ANSWERS[name], str(folder), planted],
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", BY_ANSWERS)
def test_answers_of_a_remote_show_the_bug_and_nothing_without_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "right").mkdir()
    right = scenario(name, "", tmp_path / "right")
    assert right.returncode == 0, right.stderr
    (tmp_path / "wrong").mkdir()
    assert scenario(name, name, tmp_path / "wrong").returncode
