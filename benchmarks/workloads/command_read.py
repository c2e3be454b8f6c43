"""`transit read` to a pipe: how fast the command prints records, once it has started."""

from __future__ import annotations

import os
import subprocess
import sys
from time import perf_counter

import transit
from benchmarks.payloads import event_blocks
from benchmarks.places import STREAM
from benchmarks.processes import ROOT, SECONDS_MAX
from benchmarks.workload import Aim, Facts

_SHORT = "short"


class CommandRead:
    """The time of a command that prints one record is taken off: start-up, opening the store."""

    facts = Facts(
        name="command-read",
        work="transit read STREAM to a pipe, JSON lines; less the time of a command for one record",
        raw="cat of the same lines to a pipe, less the time of cat of one line",
        unit="records/s",
        better="more",
        aim=Aim("value", 150_000),
        records=100_000,
        payload_bytes=640,
    )
    remark = ""

    def setup(self, folder: str, records: int) -> None:
        self._records = records
        self._store = os.path.join(folder, "store")
        with transit.open(self._store, durability="os") as log:
            stream = log.create(STREAM)
            for block in event_blocks(records):
                stream.append_many(block)
            log.create(_SHORT).append_many(next(event_blocks(1)))
            log.seal()
        self._files = {}
        for name, count in ((STREAM, records), (_SHORT, 1)):
            self._files[name] = os.path.join(folder, f"{name}.jsonl")
            lines = _output(self._read(name))
            printed = lines.count(b"\n")
            if printed != count:
                raise RuntimeError(f"transit read printed {printed} of {count} lines")
            with open(self._files[name], "wb") as file:
                file.write(lines)

    def _read(self, name: str) -> list[str]:
        return [sys.executable, "-m", "transit", "--store", self._store, "read", name]

    def raw(self) -> float:
        long = _seconds(["cat", self._files[STREAM]])
        return self._records / max(long - _seconds(["cat", self._files[_SHORT]]), 1e-6)

    def ours(self) -> float:
        short = _seconds(self._read(_SHORT))
        long = _seconds(self._read(STREAM))
        self.remark = f"start-up, opening and one record: {1_000 * short:.0f} ms"
        return self._records / (long - short)

    def close(self) -> None:
        pass


def _output(command: list[str]) -> bytes:
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=SECONDS_MAX
    )
    return done.stdout


def _seconds(command: list[str]) -> float:
    start = perf_counter()
    _output(command)
    return perf_counter() - start
