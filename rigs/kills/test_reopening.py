"""What opening a store after a kill reads: its WAL and its commits, however large the history is.

`rigs/kills/reopen.py` measures how long that takes with 1 GiB.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import transit

WAL_RECORDS = 200
SETTINGS = transit.Settings(seal_bytes=512 * 1024, compression="none", flush_interval_ms=60_000)
# A slab of the WAL read ahead, what recovery reads of it again, and the small files.
SLACK_BYTES = 2 << 20


def read_so_far() -> int:
    """Bytes that this process has read from files and pipes, by any call."""
    counts = Path("/proc/self/io").read_text().split()
    return int(counts[counts.index("rchar:") + 1])


def left_by_a_killed_writer(path: Path, segments: int) -> None:
    """A store with so many segments, and a WAL of some records that was not closed."""
    pid = os.fork()
    if pid == 0:
        with transit.open(path, settings=SETTINGS, durability="os") as log:
            stream = log.create("s")
            for _ in range(segments):
                stream.append_many([os.urandom(1000)] * 400)
                log.seal()
            for _ in range(WAL_RECORDS):
                stream.append(os.urandom(1000))
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux's /proc")
def test_opening_after_a_kill_reads_the_wal_and_not_the_history(tmp_path: Path) -> None:
    read = []
    for segments in (2, 40):
        path = tmp_path / str(segments)
        left_by_a_killed_writer(path, segments)
        before = read_so_far()
        with transit.open(path, settings=SETTINGS) as log:
            read.append(read_so_far() - before)
            assert len(log.stream("s")) == segments * 400 + WAL_RECORDS
    # 40 segments are 16 MB; their commits, which are read, a few hundred bytes each.
    assert read[1] < WAL_RECORDS * 1000 + SLACK_BYTES
    assert read[1] - read[0] < 100_000
