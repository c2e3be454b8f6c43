"""Calls in processes of their own, and what each of them cost.

A hostile input may take all memory or all time of the program that meets it. So one small process
imports what is to be tried, once, and forks a child for each call: the child counts its own
processor time and how much it grew, the system ends it when it takes far too much, and the caller
is told how it ended. What is called is a step that prepares and returns the step that is measured.

Processor time is told in laps, not in seconds: one lap is `LAP_STEPS` turns of an empty loop of
Python, measured in the child before and after the step. A slow or busy machine has long laps, so a
limit in laps means the same on all of them.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

import msgspec

MIB: Final = 1024 * 1024
LAP_STEPS: Final = 1_000_000
_ADDRESSES_BYTES: Final = 4096 * MIB
# A lap is worked out from shares of one, for this long, so many times.
_LAP_SHARE: Final = 10
_LAP_MIN_S: Final = 0.01
_LAP_TRIES: Final = 3
# What a child may take before the system ends it, beside its limit: the caller judges.
_ROOM: Final = 2
_PREPARING_S: Final = 60
_WAITING_S: Final = 300.0

Step = Callable[[], object]


class Spent(msgspec.Struct, frozen=True):
    """What came of a call: what it returned, as JSON has it, and its costs.

    problem: how it ended when it did not return; "" when it did. laps: processor time, see above.
    memory_bytes: by how much the process grew at most while it ran, 0 where the system does not
    say.
    """

    value: object
    problem: str
    laps: float
    memory_bytes: int


class Apart:
    """A process that has `module` imported and runs its functions in children; a context.

    A function takes texts, prepares, and returns what is to be measured. laps_max: a child that
    takes more than twice as much is ended.
    """

    def __init__(self, module: str, laps_max: float = 1000.0) -> None:
        command = [sys.executable, "-m", "rigs.apart", module, str(laps_max)]
        # Where the caller's modules come from is known to it, and not to a fresh process.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )
        self._lock = threading.Lock()

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: str, *texts: str) -> Spent:
        """Run `function` of the module with these texts in a child."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps([function, *texts]).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            return Spent(None, "the process that makes children ended", 0.0, 0)
        return msgspec.json.decode(line, type=Spent)

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._process.communicate(timeout=_WAITING_S)


def _serve(module_name: str, laps_max: float) -> None:
    module = import_module(module_name)
    gc.collect()
    gc.freeze()
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    # What is tried may print; only answers go to the process that asked.
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        function, *texts = json.loads(line)
        answers.write(_in_a_child(getattr(module, function), texts, laps_max) + b"\n")


def _in_a_child(prepare: Callable[..., Step], texts: Sequence[str], laps_max: float) -> bytes:
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        try:
            _answer(writing, prepare, texts, laps_max)
        finally:
            # Nothing of the parent's may be flushed or closed twice.
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    if data:
        return data
    ended = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"status {status}"
    return msgspec.json.encode(Spent(None, f"ended without an answer: {ended}", laps_max, 0))


def _answer(
    writing: int, prepare: Callable[..., Step], texts: Sequence[str], laps_max: float
) -> None:
    # Hanging without using the processor ends too.
    signal.alarm(int(_WAITING_S))
    try:
        step = prepare(*texts)
        limit_costs(laps_max * _ROOM * lap_s())
        spent = measured(step)
    except BaseException:
        spent = Spent(None, traceback.format_exc(limit=-12), 0.0, 0)
    os.write(writing, msgspec.json.encode(spent))


def limit_costs(cpu_s: float) -> None:
    """From now on this process has `cpu_s` more processor seconds, and 4 GiB more addresses."""
    used = time.process_time()
    soon = int(used + cpu_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soon, soon + _PREPARING_S))
    addresses = _status("VmSize:")
    if addresses:
        limit = addresses + _ADDRESSES_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def lap_s() -> float:
    """Processor seconds of one lap in this process, now: the middle one of a few."""
    return sorted(_lap() for _ in range(_LAP_TRIES))[_LAP_TRIES // 2]


def _lap() -> float:
    """As many steps as it takes for the clock to move on: some clocks tick slowly."""
    steps, begun = 0, time.process_time()
    while (used := time.process_time() - begun) < _LAP_MIN_S:
        for _ in range(LAP_STEPS // _LAP_SHARE):
            pass
        steps += LAP_STEPS // _LAP_SHARE
    return used * LAP_STEPS / steps


def measured(step: Step) -> Spent:
    """Run `step` here; its value, laps and growth. What it raises is told as its problem."""
    gc.collect()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    lap, before, begun = lap_s(), _status("VmHWM:"), time.process_time()
    value, problem = None, ""
    try:
        value = step()
    except Exception:
        problem = traceback.format_exc(limit=-12)
    used, grown = time.process_time() - begun, _status("VmHWM:") - before
    # The machine may have become slower meanwhile, or faster: the longer lap counts.
    return Spent(value, problem, used / max(lap, lap_s()), grown)


def _status(name: str) -> int:
    """A size of this process as the system has it, bytes; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    _serve(sys.argv[1], float(sys.argv[2]))
