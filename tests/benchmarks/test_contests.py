"""Contests run, report, and leave out with a reason whatever cannot take part."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from benchmarks import systems
from benchmarks.agents import EVENTS, as_json, plans, steps, work_in_trace
from benchmarks.contests import contests
from benchmarks.contests.agents import AgentWork
from benchmarks.contests.append import AppendOne
from benchmarks.contests.contest import within
from benchmarks.contests.rounds import Table, run_contests
from benchmarks.systems.embedded import Transit
from benchmarks.systems.jsonl import JsonLines
from benchmarks.systems.system import Level, NotSupported, System

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.contests", "--quick", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip


class Lists(System):
    """Lists in memory."""

    name = "lists"
    title = "lists"
    version = "1"
    durability: ClassVar = {"buffered": "nothing"}
    lacks: ClassVar = {
        "durable": "memory forgets",
        "tail": "one process",
        "batches": "rows only",
        "fork": "one history",
    }
    fails_at: ClassVar[int] = sys.maxsize
    closed: ClassVar[list[str]] = []

    def _open(self, folder: str, level: Level) -> None:
        self._streams: dict[str, list[bytes]] = {}

    def append_one(self, stream: str, payload: bytes) -> None:
        self.append_many(stream, [payload])

    def append_many(self, stream: str, payloads: Sequence[bytes]) -> None:
        records = self._streams.setdefault(stream, [])
        records.extend(payloads)
        if len(records) > self.fails_at:
            raise OSError("the disk is full")

    def replay(self, stream: str) -> Iterator[object]:
        return iter(self._streams[stream])

    def get(self, stream: str, offset: int) -> bytes:
        return self._streams[stream][offset]

    def close(self) -> None:
        self.closed.append(self.name)


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> type[Lists]:
    made = type("Made", (Lists,), {"fails_at": sys.maxsize, "closed": []})
    monkeypatch.setitem(sys.modules, "benchmarks.systems.made", SimpleNamespace(Lists=made))
    monkeypatch.setitem(systems.SYSTEMS, "lists", "made:Lists")
    assert issubclass(made, Lists)
    return made


def tables(folder: Path, names: Sequence[str], *chosen: str) -> dict[str, Table]:
    found = run_contests(contests(chosen), names, str(folder), 2, quick=True)
    return {table.facts.name: table for table in found}


@pytest.mark.slow
def test_quick_run_prints_tables_and_writes_json(tmp_path: Path) -> None:
    target = tmp_path / "peers.json"
    done = run(
        "--runs", "2", "--systems", "jsonl,transit", "--json", str(target), "--path", str(tmp_path),
        "append-one-buffered", "random-read",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.iterdir()) == [target], "working folders are left behind"
    report = json.loads(target.read_bytes())
    assert [table["facts"]["name"] for table in report["tables"]] == [
        "append-one-buffered", "random-read",
    ]  # fmt: skip
    appends, reads = report["tables"]
    assert [row["system"] for row in appends["standings"]] == ["transit", "jsonl"]
    for row in appends["standings"]:
        assert len(row["figures"]["runs"]) == len(row["ratio"]["runs"]) == 2
        assert row["figures"]["low"] <= row["figures"]["median"] <= row["figures"]["high"]
        assert row["records"] == 10_000
        assert row["version"]
    assert [row["system"] for row in reads["standings"]] == ["transit"]
    assert "no index" in reads["left_out"]["JSON lines (msgspec)"]
    assert "JSON lines (msgspec): –: no index" in done.stdout


@pytest.mark.slow
def test_every_contest_of_transit_alone_runs(tmp_path: Path) -> None:
    done = run("--runs", "1", "--systems", "transit", "--path", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert ": –:" not in done.stdout
    assert done.stdout.count("\ntransit ") == len(contests())


def test_unknown_system_and_contest_are_refused() -> None:
    refused = run("--systems", "transit,flatfile")
    assert refused.returncode == 2
    assert "systems" in refused.stderr
    listed = run("no-such-contest")
    assert listed.returncode == 2
    assert listed.stdout.split() == [make().facts.name for make in contests()]


def test_names_of_contests_are_unique() -> None:
    names = [make().facts.name for make in contests()]
    assert len(set(names)) == len(names)


def test_package_that_is_missing_leaves_its_system_out_and_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(systems.SYSTEMS, "absent", "no_such_module:Absent")
    found = tables(tmp_path, ["absent", "jsonl"], "append-one-buffered")["append-one-buffered"]
    assert "no_such_module" in found.left_out["absent"]
    assert found.failed == []
    assert [row.system for row in found.standings] == ["jsonl"]


@pytest.mark.slow
def test_system_that_lacks_what_a_contest_needs_is_left_out_with_its_reason(
    tmp_path: Path, lists: type[Lists]
) -> None:
    found = tables(tmp_path, ["lists"], "append-one-durable", "tail", "replay-columns", "fork-10k")
    reasons = {name: table.left_out["lists"] for name, table in found.items()}
    assert reasons == {
        "append-one-durable": "memory forgets",
        "append-one-durable-8-threads": "memory forgets",
        "tail-p50": "one process",
        "tail-p99": "one process",
        "replay-columns": "rows only",
        "fork-10k": "one history",
    }
    assert not any(table.failed for table in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("contest", ["append-one-buffered", "replay-objects"])
def test_system_that_breaks_is_left_out_closed_and_counted_as_failed(
    contest: str, tmp_path: Path, lists: type[Lists]
) -> None:
    lists.fails_at = 500
    table = tables(tmp_path, ["lists", "jsonl"], contest)[contest]
    assert "the disk is full" in table.left_out["lists"]
    assert table.failed == ["lists"]
    assert [row.system for row in table.standings] == ["jsonl"]
    assert lists.closed == ["lists"]


def test_system_that_loses_a_record_cannot_stand(tmp_path: Path, lists: type[Lists]) -> None:
    lists.replay = lambda self, stream: iter(self._streams[stream][1:])  # type: ignore[method-assign]
    found = tables(tmp_path, ["lists"], "replay-objects")["replay-objects"]
    assert "replayed 99999 of 100000 records" in found.left_out["lists"]


def test_system_that_gives_another_record_cannot_stand(tmp_path: Path, lists: type[Lists]) -> None:
    lists.get = lambda self, stream, offset: b"another"  # type: ignore[method-assign]
    found = tables(tmp_path, ["lists"], "random-read")["random-read"]
    assert "another record at offset 0" in found.left_out["lists"]


def test_slow_system_is_stopped_when_its_time_is_up(tmp_path: Path) -> None:
    done: list[int] = []
    count, seconds = within(0.0, range(1_000), done.append)
    assert count == len(done) == 8
    assert seconds > 0
    assert within(60.0, range(20), done.append)[0] == 20


def test_level_that_a_contest_wants_is_the_one_that_is_opened(tmp_path: Path) -> None:
    opened: list[Level] = []

    class Watched(JsonLines):
        def _open(self, folder: str, level: Level) -> None:
            opened.append(level)
            super()._open(folder, level)

    for level in ("buffered", "durable"):
        contest = AppendOne("durable" if level == "durable" else "buffered", 1, 10)
        contest.setup(str(tmp_path), 10)
        contest.run(Watched(), str(tmp_path))
    assert opened == ["buffered", "durable"]


def recorded(folder: Path, system: System, runs: int) -> None:
    os.mkdir(folder)
    system.open(str(folder), "buffered")
    contest = AgentWork()
    contest.setup(str(folder), runs * len(EVENTS))
    for plan in plans(runs):
        contest.record(system, plan)


def test_agent_work_forks_and_merges_what_its_plan_says(tmp_path: Path) -> None:
    system = Transit()
    recorded(tmp_path / "store", system, 21)
    names = {stream.name: len(stream) for stream in system.log.streams()}
    assert len(names) == 21 + 5 + 2
    given = [as_json(step) for step in steps(20)]
    task, retry, merge = (
        [record.payload for record in system.log.stream(f"run-20{end}").read()]
        for end in ("", "/retry-1", "/merge-1")
    )
    assert task == given[:31]
    assert retry == given[:19] + given[31:39]
    assert merge == given[:19] + given[31:]
    assert [record.payload for record in system.log.stream("run-19").read()] == [
        as_json(step) for step in steps(19)
    ]
    system.close()


def test_agent_work_through_the_trace_makes_the_same_streams(tmp_path: Path) -> None:
    plain, traced = Transit(), Transit()
    recorded(tmp_path / "plain", plain, 21)
    os.mkdir(tmp_path / "traced")
    traced.open(str(tmp_path / "traced"), "buffered")
    for plan in plans(21):
        work_in_trace(traced.log, plan, steps(plan.run))
    counts = [
        {stream.name: len(stream) for stream in each.log.streams()} for each in (plain, traced)
    ]
    assert counts[0] == counts[1]
    plain.close()
    traced.close()


def test_fork_that_does_not_end_an_append_is_refused_by_those_that_need_it() -> None:
    with pytest.raises(NotSupported, match="one history"):
        Lists().fork("a", "b", 0)
