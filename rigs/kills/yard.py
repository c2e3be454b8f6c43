"""A process that has everything imported, and makes others from itself by fork(): in milliseconds.

`Yard` is the side of the test, `main` that of the process, which has no thread and no open store
when it forks. A child does the role of its job and ends; it is not collected before `reap`, so that
its number stays its own, and the test can still kill it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from types import TracebackType
from typing import Final

import msgspec

import transit
from rigs.kills.roles import ROLES, Flag, Job
from rigs.plants import plant

_MESSAGE_BYTES_MAX: Final = 1 << 20
# How long a process that was told to stop may take; the machine may be busy.
_DEADLINE_S: Final = 60.0


class Reap(msgspec.Struct, frozen=True, tag=True):
    """Wait until these processes have ended."""

    pids: list[int]


class Start(msgspec.Struct, frozen=True, tag=True):
    """Make a process that does this job."""

    job: Job


class Yard:
    """Makes processes, kills them and waits for them; its block ends them all."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "rigs.kills.yard", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        theirs.close()

    def __enter__(self) -> Yard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()
        self._process.wait(timeout=_DEADLINE_S)

    def start(self, job: Job) -> int:
        """Make a process that does this job; its number."""
        self._socket.send(msgspec.json.encode(Start(job)))
        return msgspec.json.decode(self._receive(), type=int)

    def kill(self, pid: int) -> None:
        """End a process now, whatever it does."""
        os.kill(pid, signal.SIGKILL)

    def reap(self, pids: list[int]) -> list[int | None]:
        """How each of them ended: 0, an exit code, minus a signal, or None when it does not end."""
        self._socket.send(msgspec.json.encode(Reap(pids)))
        return msgspec.json.decode(self._receive(), type=list[int | None])

    def _receive(self) -> bytes:
        data = self._socket.recv(_MESSAGE_BYTES_MAX)
        if not data:
            raise RuntimeError("the process that makes processes is gone")
        return data


def _become(job: Job) -> None:
    """Be the process of `job`, to its end."""
    code = 1
    try:
        # A line for each process that fails, where the test looks for it.
        errors = Path(job.folder) / f"{job.name}.{job.life}.failed"
        try:
            if job.plant:
                plant(job.plant)
            ROLES[job.role](job, Flag(job.folder))
            code = 0
        except BaseException:
            errors.write_text(traceback.format_exc())
    finally:
        os._exit(code)


def _reap(pids: list[int]) -> list[int | None]:
    deadline = time.monotonic() + _DEADLINE_S
    statuses: dict[int, int | None] = dict.fromkeys(pids)
    waiting = set(pids)
    while waiting and time.monotonic() < deadline:
        for pid in list(waiting):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                statuses[pid] = os.waitstatus_to_exitcode(status)
                waiting.discard(pid)
        if waiting:
            time.sleep(0.001)
    return [statuses[pid] for pid in pids]


def _warm_up() -> None:
    """Have everything imported that is imported late."""
    with tempfile.TemporaryDirectory() as folder:
        with transit.open(f"{folder}/store", remote=f"{folder}/remote") as log:
            log.create("s").append(b"x", durability="tiered")
            log.evict(bytes_max=0)
        with transit.open(f"{folder}/store", mode="read", remote=f"{folder}/remote") as log:
            list(log.stream("s").tail(start=1, timeout=0.001))
    gc.collect()
    gc.freeze()


def main(fd: int) -> None:
    """Make processes as asked, until the requests end; then end those that are left."""
    _warm_up()
    ears = socket.socket(fileno=fd)
    children: set[int] = set()
    while data := ears.recv(_MESSAGE_BYTES_MAX):
        message = msgspec.json.decode(data, type=Start | Reap)
        if isinstance(message, Reap):
            ears.send(msgspec.json.encode(_reap(message.pids)))
            children -= set(message.pids)
            continue
        pid = os.fork()
        if pid == 0:
            ears.close()
            _become(message.job)
        children.add(pid)
        ears.send(msgspec.json.encode(pid))
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
