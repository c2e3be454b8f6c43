"""Runs recorded over a connection, by several processes on one run, read back and replayed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import transit
from rigs.server.serving import Serving
from transit import trace

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 120
PARTS = 3
CALLS = 5

PART = """
import sys, transit
from transit import trace
url, number, calls = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with transit.connect(url) as log:
    with trace.task(log, f"run/part-{number}", metadata={"of": "run"}) as task:
        for call in range(calls):
            with task.tool("bash", {"part": number, "call": call}) as made:
                made.result(f"{number}.{call}")
    log.stream("shared").append(f"part {number} is done".encode())
    trace.annotate(log, "run", "done", label="yes", comment=f"part {number}")
"""
reached: list[int] = []


@trace.recorded("square")
def square(number: int) -> int:
    reached.append(number)
    return number**2


def agent() -> list[int]:
    """A program of calls, recorded the first time."""
    task = trace.current()
    assert task is not None
    task.message("user", "go")
    with task.tool("bash", {"cmd": "ls"}) as call:
        call.result("setup.py " * 20_000)
    return [square(number) for number in range(4)]


def test_a_run_is_recorded_read_and_replayed(log: transit.Log, opened: transit.Log) -> None:
    reached.clear()
    with trace.task(log, "run", actor="agent", reason="asked"):
        first = agent()
    for store in (log, opened):
        found = trace.read(store, "run")
        assert found.ended is not None
        assert "setup.py " * 20_000 in [step.output for step in found.steps()]
        assert [each.name for each in trace.runs(store)] == ["run"]
    # What is long is kept in a stream of layer trace.
    assert list(opened.streams("$trace/"))
    with trace.replay(log, "run"):
        assert agent() == first
    assert reached == [0, 1, 2, 3]


def test_artifacts_are_kept_once_for_all_who_record(serving: Serving) -> None:
    data = b"x" * 100_000
    with transit.connect(serving.url) as one, transit.connect(serving.url) as other:
        for number, log in enumerate((one, other)):
            with trace.task(log, f"run-{number}") as task:
                artifact = task.artifact(data, kind="file")
            assert trace.read_artifact(log, artifact) == data
        kept = [
            sum(map(len, stream))
            for stream in ([r.payload for r in s] for s in one.streams("$trace/"))
        ]
    assert sum(kept) < 2 * len(data)


def test_several_processes_record_parts_of_one_run(serving: Serving, log: transit.Log) -> None:
    log.create("shared")
    with trace.task(log, "run") as task:
        task.message("user", "share this out")
        children = [
            subprocess.Popen(
                [sys.executable, "-c", PART, serving.url, str(number), str(CALLS)], cwd=ROOT
            )
            for number in range(PARTS)
        ]
        assert [child.wait(DEADLINE_S) for child in children] == [0] * PARTS
    for number in range(PARTS):
        found = trace.read(log, f"run/part-{number}")
        outputs = [step.output for step in found.steps() if step.kind == "tool"]
        assert outputs == [f"{number}.{call}" for call in range(CALLS)]
        assert found.ended is not None
    done = sorted(record.payload for record in log.stream("shared"))
    assert done == [f"part {number} is done".encode() for number in range(PARTS)]
    assert len(trace.notes(log, "run")) == PARTS


def test_a_retry_and_a_merge_are_made_over_a_connection(log: transit.Log) -> None:
    with trace.task(log, "a") as task:
        task.message("user", "try")
        with task.retry(at=task.last, reason="timeout") as again:
            again.message("assistant", "once more")
    merged = trace.merge(log, ["a", again.name], policy="append", name="m")
    assert log.stream(merged.name).kind == "merge"
    assert log.lineage.is_ancestor("a", "m")
