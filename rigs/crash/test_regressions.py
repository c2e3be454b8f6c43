"""What the runs of this folder and of `rigs/faults` once found wrong with the engine."""

from __future__ import annotations

import os
from pathlib import Path

import transit
from rigs.crash.recorded import read_trace
from rigs.crash.recording_fs import recorded
from rigs.crash.states import Disk
from rigs.crash.steps import COPY


def test_a_restore_that_loses_power_leaves_nothing_or_a_folder_with_a_lock(tmp_path: Path) -> None:
    """By that name the next restore knows what it found: without it, it refused the folder."""
    remote = str(tmp_path / "remote")
    with transit.open(tmp_path / "store", remote=remote) as log:
        log.create("a").append(b"1")
        log.publish()
    with recorded(tmp_path / "recording") as recording:
        transit.restore(remote, recording.root / COPY)
    disk = Disk()
    for change in read_trace(recording.trace):
        disk.apply(change)
        for state in disk.states():
            names = [path for path in state.image if path.startswith(f"{COPY}/") and path[5:]]
            assert not names or f"{COPY}/LOCK" in names, state.label


def test_a_store_can_be_opened_again_while_another_thread_starts_a_process(tmp_path: Path) -> None:
    """Between its fork and its exec the new process has a copy of every open file, locks too."""
    log = transit.open(tmp_path / "store")
    files = Path("/proc/self/fd")
    found = [fd for fd in files.iterdir() if fd.exists() and fd.resolve().name == "LOCK"]
    copies = [os.dup(int(fd.name)) for fd in found]
    log.close()
    assert copies
    try:
        transit.open(tmp_path / "store").close()
    finally:
        for copy in copies:
            os.close(copy)
