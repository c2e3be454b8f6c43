"""What became of many runs, each told by the last of its records."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from time import perf_counter
from typing import Literal

import msgspec

import transit
from benchmarks.payloads import payloads
from benchmarks.workload import Aim, Facts

EVENTS = 100
_FRAME = 10
_FAMILY = 10
MILLISECONDS = 1e3
Against = Literal["last records", "all records"]
_RAW = {
    "last records": "a handle for each stream and its last record, nothing done with them",
    "all records": "the payloads of all records of all streams, nothing done with them",
}
_AIMS = {"last records": 2.0, "all records": 1.0}


class RunList:
    """A list of ended runs of a hundred events, ten of them a family, in a sealed store."""

    def __init__(self, against: Against) -> None:
        self._against = against
        self.facts = Facts(
            name=f"run-list-to-{against.replace(' ', '-')}",
            work=f"trace.runs of ended, sealed runs of {EVENTS} events each; the store just opened",
            raw=_RAW[against],
            unit="ms",
            better="less",
            aim=Aim("ratio", _AIMS[against]),
            records=1_000_000,
            payload_bytes=150,
            runs_max=3,
        )
        self.remark = ""

    def setup(self, folder: str, records: int) -> None:
        self._path = os.path.join(folder, "store")
        self._count = max(1, records // EVENTS)
        fill(self._path, self._count)

    def raw(self) -> float:
        with transit.open(self._path, mode="read") as log:
            start = perf_counter()
            streams = list(log.streams())
            if self._against == "last records":
                found = sum(len(stream[-1].payload) > 0 for stream in streams)
            else:
                found = sum(len(batch.payloads) for stream in streams for batch in stream.batches())
            taken = perf_counter() - start
        assert found >= self._count
        return MILLISECONDS * taken

    def ours(self) -> float:
        # Loaded here: the other workloads must run with revisions that have no trace.
        from transit import trace

        with transit.open(self._path, mode="read") as log:
            start = perf_counter()
            found = trace.runs(log)
            taken = perf_counter() - start
        assert len(found) == self._count
        assert sum(run.own.events for run in found) == self._count * EVENTS
        self.remark = f"{1e6 * taken / self._count:.0f} µs a run"
        return MILLISECONDS * taken

    def close(self) -> None:
        shutil.rmtree(self._path, ignore_errors=True)


def fill(path: str, count: int) -> None:
    """A sealed store with so many runs, as `transit.trace` writes them, in larger frames."""
    # Loaded here: the other workloads must run with revisions that have no trace.
    from transit.trace.ends import note_end

    results = payloads(EVENTS - 1, 100)
    with transit.open(path, durability="os") as log:
        parent = ""
        for number in range(count):
            uid = f"{number + 1:032x}"
            parent = uid if number % _FAMILY == 0 else parent
            said: dict[str, transit.Scalar] = {
                "task_id": f"run-{number:06d}", "created_at": number, "trace_kind": "task",
                "actor_id": "agent", "reason": "",
            }  # fmt: skip
            if parent != uid:
                said |= {"parent_uid": parent, "parent_run": "", "parent_offset": 0}
            stream = log.create(f"run-{number:06d}", said, codec="json", uid=uid)
            events = list(_events(results, number))
            for start in range(0, EVENTS, _FRAME):
                stream.append_many(events[start : start + _FRAME])
            note_end(log, stream, EVENTS - 1)
        log.seal()


def _events(results: list[bytes], number: int) -> Iterator[bytes]:
    for result in results:
        yield msgspec.json.encode(
            {"event": "tool_result", "tool_call_id": f"call-{number}", "tool_name": "bash",
             "tool_status": "success", "result": result.decode("utf-8", "replace")}
        )  # fmt: skip
    totals = {
        "events": EVENTS, "tool_calls": 33, "model_calls": 33, "failures": number % 7,
        "tokens": {"model-1": [1000, 200]}, "tools": {"bash": [20, 3], "edit": [13, number % 7]},
    }  # fmt: skip
    yield msgspec.json.encode(
        {"event": "run_end", "status": "completed", "duration_ns": 10**9, "totals": totals}
    )
