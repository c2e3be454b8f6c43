"""What a system says of its durability is what strace sees."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.syscalls import LEVELS, counted, traced
from benchmarks.systems import SYSTEMS, load
from benchmarks.systems.system import Level
from benchmarks.watched import APPENDS, BEGIN, END

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not here")
SYNCS = {"fdatasync", "fsync", "msync", "sync_file_range"}


@pytest.mark.slow
@needs_strace
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", SYSTEMS)
def test_durable_append_syncs_and_a_buffered_one_only_writes(
    name: str, level: Level, tmp_path: Path
) -> None:
    try:
        system = load(name)
    except ImportError as error:
        pytest.skip(f"{name}: {error}")
    if level not in system.durability:
        pytest.skip(f"{name} has no level {level}")
    calls = traced(name, level, str(tmp_path))
    synced = sum(count for call, count in calls.items() if call in SYNCS)
    assert sum(calls.values()) - synced >= 1, "it writes"
    assert synced >= 1 if level == "durable" else synced == 0


@needs_strace
def test_durable_append_of_transit_is_one_write_and_one_sync(tmp_path: Path) -> None:
    assert traced("transit", "durable", str(tmp_path)) == {"fdatasync": 1.0, "pwrite64": 1.0}


def test_only_calls_between_the_marks_count_and_reads_do_not() -> None:
    lines = [
        '7 write(1, "before", 6) = 6',
        f'7 access("{BEGIN}", F_OK) = -1 ENOENT',
        *(["8 fdatasync(3 <unfinished ...>", "8 <... fdatasync resumed>) = 0"] * APPENDS),
        *(['7 pwrite64(3, "fdatasync(3)", 12, 0) = 12'] * 2 * APPENDS),
        '7 read(3, "", 1) = 0',
        f'7 access("{END}", F_OK) = -1 ENOENT',
        '7 write(1, "after", 5) = 5',
    ]
    assert counted(lines) == {"fdatasync": 1.0, "pwrite64": 2.0}
