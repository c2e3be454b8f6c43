"""System calls of savepoints that kill the process, or find the disk full: each of them, by strace.

The session is a process that opens a store, folds, and saves: a stream that has savepoints, and one
that has none yet. Between two marks, which are folders that it makes, all calls that touch files
are counted; then the session is run again for each of them, on a copy of the store. A call that
says that the disk is full does so once, or from there on for good.

    after a kill    whatever savepoints are there are what their records come to, applied once, and
                    every node is there; the records are; and the view goes on
    a full disk     is told as `StorageFullError`, and then there is no savepoint; the same view
                    answers at older places and at the head, and so does one that is opened later
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final, NamedTuple

import transit
from rigs.faults.syscalls import CALLS
from rigs.views.programs import event, everything, folded, rows_of
from rigs.views.roots import judge
from rigs.views.states_planted import plant
from transit import views
from transit.views import savepoints

KINDS: Final = ("logged", "stateful", "several frames")
STREAMS: Final = ("old", "new")
RECORDS: Final = 60
FIRST: Final = 40
SMALL: Final = transit.Settings(
    seal_bytes=96 * 1024, block_bytes=8 * 1024, flush_interval_ms=60_000
)
_FRAME_BYTES: Final = 4 * 1024
_TIMEOUT_S: Final = 120
_CALL: Final = re.compile(r"(\d+) +(<\.\.\. )?(\w+)")


class Fault(NamedTuple):
    """Call number `when` of each thread, and what becomes of it, as strace writes both."""

    call: str
    fate: str
    when: str

    def __str__(self) -> str:
        return f"{self.call}:{self.fate}:when={self.when}"


def make(path: str, kind: str) -> None:
    """The store that a session begins with: a savepoint of one of its streams."""
    chance = random.Random(17)
    with transit.open(path, durability="os", settings=SMALL) as log:
        view = _view(log, kind)
        for name in STREAMS:
            stream = log.create(name)
            stream.append_many([event(chance) for _ in range(FIRST)])
            if name == "old":
                view.save(stream)
            stream.append_many([event(chance) for _ in range(RECORDS - FIRST)])


def session(root: Path, kind: str) -> None:
    """Fold, and save between the marks; say what came of it."""
    if kind == "several frames":
        savepoints.FRAME_BYTES_MAX = _FRAME_BYTES  # type: ignore[misc]
    with transit.open(root / "store", durability="os", settings=SMALL) as log:
        view = _view(log, kind)
        for name in STREAMS:
            view.of(name)
        (root / "begin").mkdir()
        told = {}
        for name in STREAMS:
            try:
                view.save(name)
                told[name] = "saved"
            except transit.TransitError as error:
                told[name] = type(error).__name__
        (root / "end").mkdir()
        for name in STREAMS:
            problem = _here(log, view, name, told[name])
            if problem:
                sys.stdout.write(f"{name}: {problem}\n")
        sys.stdout.write(f"told {' '.join(told.values())}\n")
        sys.stdout.flush()


def _view(log: transit.Log, kind: str) -> views.View:
    persist = "stateful" if kind == "stateful" else "logged"
    return views.open(log, everything, persist=persist)


def _here(log: transit.Log, view: views.View, name: str, told: str) -> str:
    """What is wrong in the process that was told something."""
    stream = log.stream(name)
    is_there = view.savepoints(stream)[-1:] == (RECORDS,)
    if is_there != (told == "saved"):
        return f"told {told}, and savepoints are at {view.savepoints(stream)}"
    for at in (FIRST - 1, FIRST, RECORDS - 1, RECORDS):
        if rows_of(view.of(stream, at)) != folded(stream, at).rows():
            return f"[:{at}] is not what its records come to"
    return ""


class Rig:
    """Runs sessions of one kind under faults, each on a copy of one store."""

    def __init__(self, folder: Path, kind: str, planted: str = "") -> None:
        self._folder, self._kind, self._planted = folder, kind, planted
        # How many faults came to be: a process may make a few calls more or less.
        self.came = 0
        self._made = folder / "made"
        make(str(self._made), kind)
        with transit.open(self._made, mode="read", settings=SMALL) as log:
            self._payloads = {name: [each.payload for each in log.stream(name)] for name in STREAMS}

        self._numbers = self._counted()

    def _counted(self) -> dict[str, list[int]]:
        """The calls of a session between its marks that touch files, by name."""
        lines: list[str] = []
        for _ in range(2):
            # The first may compile modules, and open more files for that.
            with tempfile.TemporaryDirectory(dir=self._folder) as place:
                said, lines, status = self._run(Path(place), ["-e", f"trace={','.join(CALLS)}"])
            if status or said != ["told saved saved"]:
                raise RuntimeError(f"the session fails without a fault: {status} {said}")
        return _between(lines)

    def kills(self) -> list[Fault]:
        """A kill at every call."""
        found = self._numbers.items()
        return [Fault(call, "signal=KILL", str(at)) for call, numbers in found for at in numbers]

    def fulls(self) -> list[Fault]:
        """A full disk at every call that takes space, once and for good."""
        return [
            Fault(call, "error=ENOSPC", f"{at}{more}")
            for call, numbers in self._numbers.items()
            if call in ("pwrite64", "fallocate", "openat", "link", "mkdir", "rename", "ftruncate")
            for at in numbers
            for more in ("", "+")
        ]

    def run(self, fault: Fault) -> str:
        """What is wrong after one run with a fault; "" for nothing."""
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            options = ["-e", f"trace={fault.call}", "-e", f"inject={fault}"]
            said, lines, status = self._run(Path(place), options)
            if status != -signal.SIGKILL and not any("(INJECTED)" in line for line in lines):
                return ""
            self.came += 1
            problem = self._while_it_ran(fault, said, status)
            return problem or self._afterwards(Path(place) / "store")

    def _while_it_ran(self, fault: Fault, said: list[str], status: int) -> str:
        if "KILL" in fault.fate:
            return "" if status == -signal.SIGKILL else f"it was not killed: {said}"
        if not said:
            return f"it ended with {status}"
        told = said[-1].split()[1:]
        if len(said) > 1 or not {*told} <= {"saved", "StorageFullError"}:
            return f"{said}"
        return ""

    def _afterwards(self, store: Path) -> str:
        with transit.open(store, settings=SMALL) as log:
            for name, payloads in self._payloads.items():
                if [each.payload for each in log.stream(name)] != payloads:
                    return f"{name}: records are gone, or others are there"
            view = _view(log, self._kind)
            for name in STREAMS:
                for point in view.points(log.stream(name)):
                    if point.applied != point.next:
                        return f"{name}[:{point.next}] came of {point.applied} records"
            if self._kind == "stateful":
                return _as_records(log, view)
            problem = judge(log)
            return problem or ("" if log.verify().ok else f"verify: {log.verify().findings}")

    def _run(self, root: Path, options: list[str]) -> tuple[list[str], list[str], int]:
        """What a session said, its traced calls, and how it ended."""
        shutil.copytree(self._made, root / "store")
        trace = root / "trace"
        # Without --seccomp-bpf, with which strace 6.1 sends no signals.
        command = ["strace", "-f", "-y", "-qq", "-s", "0", "-o", str(trace)]
        done = subprocess.run(
            [*command, *options, sys.executable, "-m", __name__, str(root), self._kind,
             self._planted],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
        said = done.stdout.splitlines()
        if done.returncode not in (0, -signal.SIGKILL):
            said.append(f"ended {done.stderr[-500:]}")
        return said, trace.read_text().splitlines(), done.returncode


def _as_records(log: transit.Log, view: views.View) -> str:
    """Files may be there or not: the states are right, and the same where they were kept."""
    fresh = views.open(log, everything, persist="ephemeral")
    for stream in list(log.streams()):
        for point in view.points(stream):
            if fresh.of(stream, point.next).root != point.root:
                return f"{stream.name}[:{point.next}] is not the root that was kept"
        stream.append(event(random.Random(1)))
        if rows_of(view.save(stream)) != folded(stream).rows():
            return f"{stream.name}: the view is not what its records come to"
    return ""


def _between(lines: list[str]) -> dict[str, list[int]]:
    """For each call the numbers, in its thread, of those between the marks that touch files."""
    seen: Counter[tuple[str, str]] = Counter()
    found: dict[str, set[int]] = {}
    is_between = False
    for line in lines:
        match = _CALL.match(line)
        if match is None:
            continue
        thread, resumed, call = match.groups()
        seen[thread, call] += not resumed
        if "mkdir" in call and ('/begin"' in line or '/end"' in line):
            is_between = '/begin"' in line
        elif is_between and call in CALLS:
            found.setdefault(call, set()).add(seen[thread, call])
    return {call: sorted(numbers) for call, numbers in found.items()}


if __name__ == "__main__":
    plant(sys.argv[3])
    session(Path(sys.argv[1]), sys.argv[2])
