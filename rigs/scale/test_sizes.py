"""Stores of many streams, branches, levels and parents, and histories larger than their disk.

CI's sizes are a share of the full ones, which TRANSIT_SCALE=full runs. Times are printed and not
judged.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rigs.scale import stores as scale

MIB = 1024 * 1024
FULL = os.environ.get("TRANSIT_SCALE") == "full"


def size(small: int, full: int) -> int:
    return full if FULL else small


def test_a_store_of_many_streams_finds_each_and_takes_little_memory_for_them(
    tmp_path: Path,
) -> None:
    figures = scale.many_streams(tmp_path / "store", size(20_000, 1_000_000))
    print(figures)
    # Beside what is there once: caches, and the names in WAL files that wait to be sealed.
    assert figures.rss < 150 * MIB + 1_200 * figures.size


def test_a_stream_has_many_branches_and_each_its_own_history(tmp_path: Path) -> None:
    figures = scale.many_branches(tmp_path / "store", size(1_000, 10_000))
    print(figures)
    assert figures.rss < 64 * MIB + 4_000 * figures.size


def test_a_branch_of_a_thousand_branches_reads_as_one_history(tmp_path: Path) -> None:
    # Full size in CI too: recursion, if there were any, would show here.
    print(scale.deep_chain(tmp_path / "store", 1_000))


def test_a_hundred_parents_merge_into_one(tmp_path: Path) -> None:
    print(scale.wide_merge(tmp_path / "store", 100))


def test_a_history_many_times_its_disk_is_written_and_read(tmp_path: Path) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is looked up in /proc")
    disk = size(8 * MIB, 64 * MIB)
    figures = scale.beyond_disk(tmp_path, disk, size(6, 16) * disk)
    print(figures)
    assert figures.disk <= disk
