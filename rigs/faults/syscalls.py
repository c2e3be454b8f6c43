"""The n-th system call of a real session fails, lies or kills: faults injected by strace(1).

`Rig.count` runs the session once without a fault and says how often each call is made on the
session's files; `Rig.run` runs it with one fault and returns what is wrong, which is nothing:

    while it runs     every error is one of transit's; nothing is acknowledged by a store whose WAL
                      failed to sync, and an append that is there all the same was named
    afterwards        with the fault gone the store opens; every record that was acknowledged as
                      "os" or more is there, at its offset; nothing is there twice, in part or
                      that was not tried; appending goes on, and `verify` finds nothing

A call that lies (says that it wrote what it did not) is a broken promise of the medium: what was
acknowledged may be gone then. But whatever is read must be right, and the loss must be found.

strace counts the calls of each thread apart, so that a fault may come once in each.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

import transit
from rigs.crash.histories import HISTORIES
from rigs.crash.steps import REMOTE, STORE, Step
from rigs.faults.session import Said
from transit.format.digest import digest

CALLS: Final = (
    "write", "pwrite64", "writev", "pwritev", "fsync", "fdatasync", "link", "linkat", "rename",
    "renameat", "renameat2", "openat", "ftruncate", "fallocate", "unlink", "unlinkat", "mkdir",
    "mkdirat", "rmdir",
)  # fmt: skip
ERRORS: Final = ("error=EIO", "error=ENOSPC", "error=EINTR", "signal=KILL")
LIES: Final = ("retval=0", "retval=10", "retval=100000")
_TIMEOUT_S: Final = 60
# A line of a trace: thread, whether it only tells the end of a call, and which.
_CALL: Final = re.compile(r"(\d+) +(<\.\.\. )?(\w+)")
_SYNCS: Final = ("fsync", "fdatasync")


class Fault(NamedTuple):
    """Call number `when` of each thread meets its fate, as strace writes it."""

    call: str
    fate: str
    when: int

    @property
    def lies(self) -> bool:
        """Whether the call says that it did what it did not."""
        return self.fate in LIES

    def __str__(self) -> str:
        return f"{self.call}:{self.fate}:when={self.when}"


class Ran(NamedTuple):
    """What a session said, how it ended, and its traced calls."""

    said: list[Said]
    returncode: int
    calls: list[str]


def why_unavailable() -> str:
    """Why no fault can be injected on this machine; empty when strace can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=fsync:error=EIO", "true"]
    done = subprocess.run(command, capture_output=True, check=False)
    return f"strace cannot trace here: {done.stderr.decode().strip()}" if done.returncode else ""


class Rig:
    """Runs the session of history `name` under faults, each time in a new folder of `scratch`."""

    def __init__(self, scratch: Path, name: str = "everything", planted: str = "") -> None:
        self._scratch = scratch
        self._history = HISTORIES[name](0)
        self._planted = planted
        # How many sessions were killed.
        self.killed = 0

    # Running

    def count(self) -> dict[str, list[int]]:
        """For each call the numbers, from 1, that touch the session's files in some thread."""
        with _Folder(self._scratch) as root:
            ran = self._trace(root, ["-e", f"trace={','.join(CALLS)}"])
            ours = str(root)
        if any(said.what in ("error", "wrong") for said in ran.said) or ran.returncode:
            raise RuntimeError(f"the session fails without a fault: {ran.said[-2:]}")
        return _touched(ran.calls, ours)

    def run(self, fault: Fault) -> str:
        """What is wrong after one run with `fault`; empty when nothing is."""
        with _Folder(self._scratch) as root:
            ran = self._trace(root, ["-e", f"trace={fault.call}", "-e", f"inject={fault}"])
            self.killed += ran.returncode == -signal.SIGKILL
            problem = self._while_it_ran(ran, str(root))
            return problem or self._afterwards(ran, root, fault)

    def _trace(self, root: Path, options: list[str]) -> Ran:
        trace = root.parent / f"{root.name}.trace"
        ears, mouth = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = ["strace", "-f", "-y", "-qq", "-s", "0"]
        if not any("signal=" in option for option in options):
            # Stops at the calls asked for alone; strace 6.1 sends no signals then.
            command += ["--seccomp-bpf"]
        command += ["-o", str(trace), *options]
        history = self._history
        session = [sys.executable, "-m", "rigs.faults.session", str(root), history.name,
                   str(history.seed), self._planted, str(mouth.fileno())]  # fmt: skip
        paths = os.pathsep.join(sys.path)
        environment = {**os.environ, "PYTHONPATH": paths}
        process = subprocess.Popen(
            [*command, *session], pass_fds=[mouth.fileno()], env=environment,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        mouth.close()
        said = list(_heard(ears))
        _, errors = process.communicate(timeout=_TIMEOUT_S)
        calls = trace.read_text().splitlines()
        trace.unlink()
        if process.returncode and process.returncode != -signal.SIGKILL:
            said.append(Said("wrong", text=errors.decode()))
        return Ran(said, process.returncode, calls)

    # Judging

    def _while_it_ran(self, ran: Ran, root: str) -> str:
        wrong = next((said for said in ran.said if said.what == "wrong"), None)
        injected = [line for line in ran.calls if "(INJECTED)" in line]
        if wrong is not None and any(root in line for line in injected):
            return f"an error that is none of transit's: {wrong.text}"
        killed = ran.returncode == -signal.SIGKILL
        if not killed and wrong is None and ran.said[-1].what != "end":
            return "the session ended early"
        if any(f"{root}/{STORE}/wal/" in line and _is_failed_sync(line) for line in injected):
            return self._after_failed_sync(ran.said)
        return ""

    def _after_failed_sync(self, said: list[Said]) -> str:
        """Nothing is appended any more once a sync of the WAL failed, and that is said."""
        steps = self._history.steps
        errors = [each for each in said if each.what == "error"]
        if not errors:
            return "a sync of the WAL failed, and no caller was told"
        after = said[said.index(errors[0]) :]
        for each in after:
            if each.what == "done" and (each.receipts or steps[each.step].adds.streams):
                return f"step {each.step} was acknowledged after a sync failed"
        return ""

    def _afterwards(self, ran: Ran, root: Path, fault: Fault) -> str:
        store = root / STORE
        remote = str(root / REMOTE) if self._history.remote else None
        settings = transit.Settings(flush_interval_ms=60_000)
        try:
            for turn in range(2):
                with transit.open(store, remote=remote, settings=settings) as log:
                    problem = self._check(log, ran.said)
                    if problem:
                        return problem
                    if not log.verify().ok:
                        return "" if fault.lies else f"verify: {log.verify().findings}"
                    log.create(f"after {turn}").append(b"goes on")
        except transit.FormatError as error:
            # Damage that is found is all that can be asked of a medium that lies.
            return "" if fault.lies else f"{type(error).__name__}: {error}"
        except transit.TransitError as error:
            return f"{type(error).__name__}: {error}"
        return ""

    def _check(self, log: transit.Log, said: list[Said]) -> str:
        """Hold what is there to what was tried and acknowledged."""
        there = {
            stream.name: [record.payload for record in stream.read()] for stream in log.streams()
        }
        own = {
            stream.name: [r.payload for r in stream.read() if r.origin.stream == stream.name]
            for stream in log.streams()
            if not stream.name.startswith("after ")
        }
        steps = self._history.steps
        tried = [steps[each.step] for each in said if each.what == "tried"]
        return (
            _lost(there, said, steps)
            or _unnamed(there, said, steps)
            or _invented(own, tried)
            or _halved(own, tried)
        )


class _Folder:
    """A folder for one run, gone afterwards."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch

    def __enter__(self) -> Path:
        self._path = Path(tempfile.mkdtemp(dir=self._scratch))
        return self._path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path)


def _heard(ears: socket.socket) -> Iterator[Said]:
    with ears:
        while data := ears.recv(1 << 20):
            yield msgspec.json.decode(data, type=Said)


def _touched(lines: list[str], ours: str) -> dict[str, list[int]]:
    """For each call its numbers in the threads that make it on files below `ours`.

    Not those by which the main thread opens something else: Python itself would not start.
    """
    seen: Counter[tuple[str, str]] = Counter()
    touched: dict[str, set[int]] = {}
    foreign: dict[str, set[int]] = {}
    main = lines[0].partition(" ")[0]
    for line in lines:
        match = _CALL.match(line)
        if match is None:
            continue
        thread, resumed, call = match.groups()
        seen[thread, call] += not resumed
        number = seen[thread, call]
        if ours in line:
            touched.setdefault(call, set()).add(number)
            if thread == main:
                foreign.setdefault(call, set()).discard(number)
        elif thread == main and not resumed:
            foreign.setdefault(call, set()).add(number)
    return {call: sorted(found - foreign.get(call, set())) for call, found in touched.items()}


def _is_failed_sync(line: str) -> bool:
    return any(f" {call}(" in line for call in _SYNCS) and "= -1 EIO" in line


def _lost(there: dict[str, list[bytes]], said: list[Said], steps: list[Step]) -> str:
    """What was acknowledged as "os" or more, and is not there."""
    for each in said:
        if each.what != "done" or each.level < 1:
            continue
        for name in steps[each.step].adds.streams:
            if name not in there:
                return f"stream {name} was acknowledged, and is not there"
        for name, offset, digests in each.receipts:
            found = there.get(name, [])[offset : offset + len(digests)]
            if tuple(digest(payload).hex() for payload in found) != digests:
                return f"{name}@{offset} was acknowledged, and is not there"
    return ""


def _unnamed(there: dict[str, list[bytes]], said: list[Said], steps: list[Step]) -> str:
    """What is there although its sync failed, and was not named as in doubt."""
    for each in said:
        step = steps[each.step]
        if each.error != "OutcomeUnknownError" or getattr(step, "durability", "") != "local":
            continue
        for name, payload in step.adds.records:
            if payload not in there.get(name, ()):
                continue
            at = there[name].index(payload)
            if not any(name == one and low <= at <= high for one, low, high in each.in_doubt):
                return f"{name}@{at} was in doubt, and not named"
    return ""


def _invented(own: dict[str, list[bytes]], tried: list[Step]) -> str:
    """What is there and was not appended there, or is there twice, or out of order."""
    wanted: dict[str, list[bytes]] = {}
    for step in tried:
        for name, payload in step.adds.records:
            wanted.setdefault(name, []).append(payload)
    for name, payloads in own.items():
        places = iter(wanted.get(name, []))
        if not all(payload in places for payload in payloads):
            return f"{name}: records that were not appended there in this order"
    return ""


def _halved(own: dict[str, list[bytes]], tried: list[Step]) -> str:
    """Steps of which a part is there."""
    for step in tried:
        streams, records = step.adds
        there = [name in own for name in streams]
        there += [payload in own.get(name, ()) for name, payload in records]
        if any(there) and not all(there):
            return f"{type(step).__name__} is there in part"
    return ""


def all_faults(counts: dict[str, list[int]]) -> list[Fault]:
    """Every fault at every call, in an order that mixes calls and fates."""
    faults = []
    for call, numbers in counts.items():
        fates = [*ERRORS, *(LIES if "write" in call else ())]
        faults += [Fault(call, fate, when) for when in numbers for fate in fates]
    return faults
