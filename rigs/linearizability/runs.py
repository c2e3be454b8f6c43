"""Histories of a real store: made by threads of one process, or by several processes, and judged.

What is promised, by mode of the handle that is asked, and held here:

    exclusive   every call of every thread, at every durability: linearizable
    shared      every call of every thread and process: linearizable
    read        a prefix of what there is, and never less than before

Linearizable says that a reader sees what any writer had acknowledged before the read began, and
never less than before. A handle in mode "read" follows the files and may be behind a little.

`python -m rigs.linearizability.runs FOLDER MODE WHO` is one of the processes: it takes
orders as JSON lines and answers each with the calls it made.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

import transit
from rigs.linearizability.calls import FORKS, LOOKS, WRITES, Caller, Noted, notes_of
from rigs.linearizability.checker import Call, Contents, check, check_prefixes
from rigs.machines.machine import MEMORY_DISK
from transit.errors import TransitError

# Small, so that WAL files end and are sealed while threads read and write.
_SETTINGS: Final = transit.Settings(
    seal_bytes=4096, block_bytes=4096, compression_level=1, flush_interval_ms=1
)
_CALLS: Final = 10
_HISTORIES: Final = 40
"""Histories in one store."""
_SOURCE: Final = str(Path(transit.__file__).parents[1])


class Judged(NamedTuple):
    """Histories and calls that were judged, and what was wrong, one text each."""

    histories: int
    calls: int
    violations: tuple[str, ...]

    def __add__(self, other: object) -> Judged:
        if not isinstance(other, Judged):
            return NotImplemented
        return Judged(
            self.histories + other.histories,
            self.calls + other.calls,
            self.violations + other.violations,
        )


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for one store, in memory where that is possible, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="transit-histories-", dir=MEMORY_DISK))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def judge(calls: Noted, said: str) -> list[str]:
    """What is wrong with the calls on each stream, which was empty at first."""
    wrong = []
    for name in sorted({name for name, _ in calls}):
        verdict = check(call for each, call in calls if each == name)
        if not verdict:
            done = "\n    ".join(map(str, verdict.order))
            stuck = "\n    ".join(map(str, verdict.stuck))
            wrong.append(
                f"{said}, {name}: after\n    {done}\n  none of\n    {stuck}\n  can be next"
            )
    return wrong


# Threads


def by_threads(histories: int, seed: int, durability: str, mode: str = "exclusive") -> Judged:
    """Histories of four threads of this process; in mode "shared" two of them on each handle."""
    interval = sys.getswitchinterval()
    # A thread is interrupted after a few steps, wherever it is.
    sys.setswitchinterval(1e-5)
    judged = Judged(0, 0, ())
    try:
        while judged.histories < histories and not judged.violations:
            count = min(_HISTORIES, histories - judged.histories)
            judged += _in_one_store(count, seed + judged.histories, durability, mode)
    finally:
        sys.setswitchinterval(interval)
    return judged


def _in_one_store(histories: int, seed: int, durability: str, mode: str) -> Judged:
    judged = Judged(0, 0, ())
    with scratch() as folder:
        handles = 2 if mode == "shared" else 1
        logs = [
            transit.open(folder / "store", durability="os", mode=mode, settings=_SETTINGS)
            for _ in range(handles)
        ]
        try:
            for number in range(seed, seed + histories):
                try:
                    judged += _one_history(logs, number, durability)
                except TransitError as failure:
                    judged += Judged(1, 0, (f"seed {number}: {failure!r}",))
        finally:
            for log in logs:
                log.close()
    return judged


def _one_history(logs: Sequence[transit.Log], seed: int, durability: str) -> Judged:
    names = [f"{seed}/a", f"{seed}/b"][: 1 + seed % 2]
    for name in names:
        logs[0].create(name)
        logs[0].create(notes_of(name))
    callers = [
        Caller(logs[who % len(logs)], names, who, seed * 1000 + who, durability) for who in range(4)
    ]
    barrier = threading.Barrier(len(callers))
    failures: list[BaseException] = []

    def run(caller: Caller) -> None:
        barrier.wait()
        try:
            caller.run(_CALLS, WRITES + LOOKS + FORKS)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(caller,)) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    calls = [call for caller in callers for call in caller.calls]
    wrong = [f"seed {seed}: {failure!r}" for failure in failures]
    wrong += judge(calls, f"threads, {durability}, seed {seed}")
    return Judged(1, len(calls), tuple(wrong))


# Processes


class Order(msgspec.Struct):
    """What a process is to do: calls on these streams, from a moment on."""

    names: list[str]
    seed: int
    start: int
    durability: str


_Answer = list[tuple[str, Call]]


class Fleet:
    """Processes that have one store open: writers in mode "shared", and readers."""

    def __init__(self, folder: Path, writers: int = 3, readers: int = 1) -> None:
        self._log = transit.open(folder, mode="shared", durability="os", settings=_SETTINGS)
        modes = ["shared"] * writers + ["read"] * readers
        self._writers = writers
        self._runs = [
            subprocess.Popen(
                [sys.executable, "-m", __name__, str(folder), mode, str(who)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=_SOURCE,
            )
            for who, mode in enumerate(modes)
        ]

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for run in self._runs:
            if run.stdin is not None:
                run.stdin.close()
        for run in self._runs:
            run.wait(timeout=60)
            if run.stdout is not None:
                run.stdout.close()
        self._log.close()

    def history(self, seed: int, durability: str) -> Judged:
        """One history of all processes, judged."""
        names = [f"{seed}/a", f"{seed}/b"][: 1 + seed % 2]
        for name in names:
            self._log.create(name)
            self._log.create(notes_of(name))
        start = time.monotonic_ns() + 2_000_000
        for who, run in enumerate(self._runs):
            order = Order(names, seed * 1000 + who, start, durability)
            assert run.stdin is not None
            run.stdin.write(msgspec.json.encode(order) + b"\n")
            run.stdin.flush()
        answers = [self._answer(run) for run in self._runs]
        written = [call for answer in answers[: self._writers] for call in answer]
        shown = [call for answer in answers[self._writers :] for call in answer]
        wrong = judge(written, f"processes, {durability}, seed {seed}")
        for name in names:
            final = tuple(r.payload.decode() for r in self._log.stream(name).read())
            wrong += _of_readers(shown, name, final)
        return Judged(1, len(written) + len(shown), tuple(wrong))

    def _answer(self, run: subprocess.Popen[bytes]) -> _Answer:
        assert run.stdout is not None
        line = run.stdout.readline()
        if not line:
            raise RuntimeError(f"a process ended with code {run.wait()}")
        return msgspec.json.decode(line, type=_Answer)


def _of_readers(shown: Noted, name: str, final: Contents) -> list[str]:
    return check_prefixes((call for each, call in shown if each == name), final)


def by_processes(histories: int, seed: int) -> Judged:
    """Histories of three processes in mode "shared" and one that reads; each durability in turn."""
    judged = Judged(0, 0, ())
    with scratch() as folder, Fleet(folder / "store") as fleet:
        for number in range(seed, seed + histories):
            judged += fleet.history(number, ("os", "memory", "local")[number % 3])
    return judged


def serve(folder: str, mode: str, who: int) -> None:
    """What one of the processes does, until its input ends."""
    with transit.open(folder, mode=mode, durability="os", settings=_SETTINGS) as log:
        for line in sys.stdin.buffer:
            order = msgspec.json.decode(line, type=Order)
            verbs = LOOKS if mode == "read" else WRITES + LOOKS + FORKS
            caller = Caller(log, order.names, who, order.seed, order.durability)
            while time.monotonic_ns() < order.start:
                pass
            caller.run(_CALLS, verbs)
            sys.stdout.buffer.write(msgspec.json.encode(caller.calls) + b"\n")
            sys.stdout.buffer.flush()


# For a long time


def soak(seconds: float, seed: int, say: Callable[[str], object]) -> int:
    """Make and judge histories until the time is over; the count of violations."""
    deadline = time.monotonic() + seconds
    judged = Judged(0, 0, ())
    for make, number in _turns(seed):
        judged += make(_HISTORIES, number)
        if judged.violations or time.monotonic() >= deadline:
            break
    for violation in judged.violations[:3]:
        say(violation)
    say(f"{judged.histories} histories, {judged.calls} calls, {len(judged.violations)} violations")
    return len(judged.violations)


def _turns(seed: int) -> Iterator[tuple[Callable[[int, int], Judged], int]]:
    chance = random.Random(seed)
    while True:
        number = chance.randrange(10**9)
        yield partial(by_threads, durability="memory"), number
        yield partial(by_threads, durability="os"), number
        yield partial(by_threads, durability="os", mode="shared"), number
        yield by_processes, number


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
