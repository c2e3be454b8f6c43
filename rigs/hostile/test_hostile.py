"""Whatever is in a bucket, its reader is told soon, in little memory, and never misled.

Each case is a bucket made by hand (`hostile.py`), in which checksums and digests are right unless
they are what is wrong. It says which text must be in the place of a finding of an audit, or "ok".
Each is audited, restored, and read by its address, in processes of their own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import transit
from rigs.apart import Apart, Spent
from transit.auditor import reruns
from transit.format.segment import FOOTER_BYTES_MAX, Extent

from .hostile import (
    CASES,
    MIB,
    TIME,
    Bucket,
    Parts,
    Shelf,
    branch,
    chunk_of,
    merge,
)
from .hostile_chain import the_same_segment_many_times
from .hostile_lineage import a_hundred_thousand_strange_keys, one_snapshot_for_many_commits
from .hostile_runs import FILLED_BY

# Of `rigs.apart`, which says what a lap is. The dearest bucket takes 180 on a busy machine.
LAPS_MAX = 500.0
# A footer has 64 MiB at most; a restore that notes it in a snapshot holds four for a moment.
MEMORY_MAX = 5 * FOOTER_BYTES_MAX
# Large in themselves: to make and to download them takes longer than what is tried.
SLOW = {
    "a_hundred_thousand_strange_keys", "chunks_of_billions_of_empty_records",
    "footer_of_a_million_blocks", "footer_of_empty_blocks", "header_table_nested",
    "header_table_of_millions_for_all", "header_table_of_millions_of_nothings",
    "header_tables_of_junk", "header_tables_of_two", "interleaving_of_records_that_take_no_bytes",
    "merge_of_a_million_parents", "merges_of_merges_that_take_long", "plans_in_the_worst_order",
}  # fmt: skip
READ = list(CASES) if "TRANSIT_HOSTILE_ALL" in os.environ else sorted(CASES.keys() - SLOW)


@pytest.fixture(scope="module")
def apart() -> Iterator[Apart]:
    with Apart("rigs.hostile.hostile_runs", LAPS_MAX) as process:
        yield process


def cheap(spent: Spent) -> Spent:
    assert spent.problem == ""
    assert spent.laps < LAPS_MAX
    assert spent.memory_bytes < MEMORY_MAX
    return spent


def test_there_are_many_hostile_buckets() -> None:
    assert len(FILLED_BY) == 4
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_an_audit_of_a_hostile_bucket_costs_little_and_finds_it_out(
    apart: Apart, name: str
) -> None:
    place = CASES[name][0]
    report = cheap(apart.call("audit", name)).value
    assert isinstance(report, dict)
    assert report["ok"] == (place == "ok"), report["places"][:5]
    assert place == "ok" or any(place in found for found in report["places"]), report["places"]
    assert report["writes"] == 0
    assert not report["traceback"]
    cheap(apart.call("audit_less", name))


@pytest.mark.parametrize("name", READ)
def test_reading_or_restoring_a_hostile_bucket_costs_little_and_raises_typed_errors(
    apart: Apart, name: str
) -> None:
    cheap(apart.call("read", name))
    cheap(apart.call("restore", name))


def test_the_honest_bucket_of_the_same_making_is_ok() -> None:
    bucket = Bucket().begin(branch("b", 1, 0), merge("m", [(1, 2), (2, 0)], [1, 0, 3])).grow(9)
    bucket.add([(1, 30, [b"x"])], index=bucket.snapshot(0))
    bucket.head(10, 10)
    report = transit.audit(bucket.shelf)
    assert report.ok, report.findings
    assert report.counts["head_hint_stale"] == 0
    assert report.head == bucket.root


def test_a_bucket_without_anything_holds_no_store() -> None:
    with pytest.raises(transit.NotFoundError):
        transit.audit(Shelf())


def test_a_bucket_with_other_things_only_holds_no_store() -> None:
    with pytest.raises(transit.NotFoundError):
        transit.audit(Shelf({"HEAD": b"{}", "segments/x": b"", "readme.txt": b""}))


def test_strange_keys_are_counted_and_nothing_more() -> None:
    report = transit.audit(a_hundred_thousand_strange_keys().shelf)
    assert report.counts["unnamed_objects"] == 99_000


def test_a_segment_that_is_named_often_is_read_once() -> None:
    store = the_same_segment_many_times().shelf
    gets = store.traffic.get
    transit.audit(store)
    assert store.traffic.get - gets < 10


def test_a_snapshot_that_is_named_often_is_read_once() -> None:
    class Counting(Shelf):
        snapshots = 0

        def get(self, key: str, bytes_max: int) -> bytes | None:
            self.snapshots += key.startswith("index/")
            return super().get(key, bytes_max)

    store = Counting(one_snapshot_for_many_commits().objects)
    transit.audit(store)
    assert store.snapshots == 1


def test_steps_in_the_worst_order_cost_more_than_those_that_go_on() -> None:
    from transit.lineage.spans import lay

    forth = lay((1, n, 1) for n in range(0, 100_000, 2))
    back = lay((1, n, 1) for n in range(100_000, 0, -2))
    assert reruns.cost_of(forth) == len(forth)
    assert reruns.cost_of(back) > 5 * len(back)


def test_larger_settings_allow_larger_records() -> None:
    bucket = Bucket().begin()

    def change(parts: Parts) -> None:
        parts.raws = [chunk_of(1, 3, [bytes(30 * MIB)])]
        parts.extents = [Extent(1, 3, TIME, 1, 0, 0)]
        parts.records = 1

    bucket.add([(1, 3, [b""])], change=change)
    assert not transit.audit(bucket.shelf).ok
    settings = transit.Settings(record_bytes_max=32 * MIB)
    report = transit.audit(bucket.shelf, settings=settings)
    assert report.ok, report.findings
