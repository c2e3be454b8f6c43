"""Recording across processes: killed ones, several at once, and what waits for a disk."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import transit
from transit import trace

Start = Callable[..., "subprocess.Popen[str]"]

RECORD_AND_STOP = """
import os, signal, sys, transit
from transit import trace
log = transit.open(sys.argv[1])
with trace.task(log, "t") as task:
    for n in range(199):
        task.message("user", f"message {n} " + "x" * 100)
        task.model_call(model="m", request=[{"role": "user", "content": f"{n}" * 50}])
        with task.tool("bash", {"n": n}) as call:
            call.result("done")
        task.checkpoint("intermediate", status="incomplete")
    task.call("sum", [[1, 2]], sum)
    task.custom("note", {"n": 1})
    open_tool = task.tool("bash", {"n": "open"}, tool_call_id="open")
    assert task.call("last", [], lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_writer_killed_after_its_thousandth_event_leaves_a_thousand(
    start: Start, path: Path
) -> None:
    child = start(RECORD_AND_STOP, path)
    _, complaint = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, complaint
    with transit.open(path) as log:
        found = trace.read(log, "t")
        events = [record.event for record in found]
        assert len(events) == 1000
        assert not any(isinstance(event, trace.Unknown) for event in events)
        tool, call = found.open_calls
        assert isinstance(tool.event, trace.ToolRequest)
        assert tool.event.tool_call_id == "open"
        assert isinstance(call.event, trace.CallRequest)
        assert (call.event.call_name, call.offset) == ("last", 999)
        assert found.ended is None
        # And the next one goes on.
        resumed = trace.resume(log, "t", reason="killed")
        request = [{"role": "user", "content": "198" * 50}]
        resumed.model_call(model="m", request=request)
        *_, last = trace.read(log, "t")
        assert isinstance(last.event, trace.ModelCall)
        assert last.event.request == request
        assert b'"parts":[]' in last.payload


CONVERSE = """
import sys, time, transit
from transit import trace
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with transit.open(path, mode="shared", durability="os") as log:
    task = trace.resume(log, "t", reason="here")
    while len(task.stream) < 2:
        time.sleep(0.001)
    said = [{"role": "user", "content": "the same for all " * 5}]
    began = len(task.stream)
    for n in range(count):
        while n in (count // 3, count // 2) and len(task.stream) <= began + 2 * n:
            # However the two are given turns, each goes on in the middle of the other's.
            time.sleep(0.001)
        said.append({"role": "user", "content": f"{name} asks {n} " + "." * 40})
        task.model_call(model=name, request={"messages": list(said)})
        task.message("user", f"{name} says {n}")
"""


def test_two_processes_interleave_model_calls_on_one_stream(start: Start, path: Path) -> None:
    with transit.open(path, mode="shared", durability="os") as log:
        trace.task(log, "t")
    children = [start(CONVERSE, path, name, 150) for name in ("one", "other")]
    for child in children:
        _, complaint = child.communicate(timeout=120)
        assert child.returncode == 0, complaint
    asked: dict[str, list[Any]] = {"one": [], "other": []}
    order = []
    with transit.open(path, mode="read") as log:
        for record in trace.read(log, "t"):
            if isinstance(record.event, trace.ModelCall):
                order.append(record.event.request_model)
                asked[record.event.request_model].append(record.event.request)
        payloads = sum(len(record.payload) for record in log.stream("t"))
    for name, requests in asked.items():
        said = [{"role": "user", "content": "the same for all " * 5}]
        for n, request in enumerate(requests):
            said.append({"role": "user", "content": f"{name} asks {n} " + "." * 40})
            assert request == {"messages": said}
        assert len(requests) == 150
    turns = sum(a != b for a, b in pairwise(order))
    assert turns > 1, "they did not meet"
    assert payloads < 300 * 600


SYNCS = """
import os, sys, threading, transit
from transit import trace
recorder = threading.get_ident()
synced = []
def count(sync):
    def counted(fd):
        synced.append(threading.get_ident())
        return sync(fd)
    return counted
os.fsync, os.fdatasync = count(os.fsync), count(os.fdatasync)
with transit.open(sys.argv[1], durability=sys.argv[2]) as log:
    before = len(synced)
    with trace.task(log, "t", durability=sys.argv[3]) as task:
        for n in range(100):
            task.message("user", f"{n}" * 100)
            task.model_call(model="m", request=[{"role": "user", "content": f"{n}"}])
            with task.tool("bash") as call:
                call.result("x")
            task.call("f", [n], abs)
            retry = task.retry()
            retry.evaluate("judge", decision="selected")
        trace.merge(log, [task, retry], policy="select")
        task.artifact(b"x" * 3_000_000, kind="k")
    print(sum(who == recorder for who in synced[before:]))
"""


@pytest.mark.parametrize(
    ("store", "task", "waits"),
    [("os", "os", False), ("local", "os", False), ("local", "local", True)],
)
def test_recording_waits_for_no_sync_unless_it_is_told_to(
    start: Start, path: Path, store: str, task: str, waits: bool
) -> None:
    """What is counted are the system's calls, those of the thread that records."""
    child = start(SYNCS, path, store, task)
    printed, complaint = child.communicate(timeout=120)
    assert child.returncode == 0, complaint
    assert (int(printed) > 0) == waits


def test_a_task_that_asks_for_more_waits_for_it(log: transit.Log) -> None:
    task = trace.task(log, "t", durability="local")
    task.message("user", "x" * 1000)
    assert log.status().unsynced_bytes == 0
    branch = task.retry()
    branch.checkpoint("final", status="success")
    trace.merge(log, [task, branch], policy="append").custom("c", 1)
    assert log.status().unsynced_bytes == 0
    with pytest.raises(transit.InvalidInputError):
        trace.task(log, "u", durability="soon")


STORE_AND_DIE = """
import os, signal, sys, threading, transit
from transit import trace
settings = transit.Settings(record_bytes_max=4096)
log = transit.open(sys.argv[1], durability="os", settings=settings)
def watch():
    while True:
        for stream in log.streams("$trace/artifact/"):
            if len(stream) >= 3:
                os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=watch, daemon=True).start()
trace.task(log, "t").artifact(bytes(100_000_000), kind="k")
"""


def test_a_writer_killed_in_an_artifact_leaves_a_beginning_that_is_gone_on_with(
    start: Start, path: Path
) -> None:
    child = start(STORE_AND_DIE, path)
    _, complaint = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, complaint
    with transit.open(path, durability="os") as log:
        (begun,) = log.streams("$trace/artifact/")
        held = sum(len(record.payload) for record in begun)
        assert 3 * 4096 <= held < 100_000_000
        artifact = trace.resume(log, "t").artifact(bytes(100_000_000), kind="k")
        assert artifact.ref == begun.name
        assert trace.read_artifact(log, artifact) == bytes(100_000_000)
        assert sum(len(record.payload) for record in begun) == 100_000_000
