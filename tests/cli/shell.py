"""The command as a shell runs it: real processes with pipes, and at a terminal."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 60


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: bytes
    err: bytes

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        """The failure on standard error: its last line."""
        found: dict[str, Any] = json.loads(self.err.splitlines()[-1])["error"]
        return found


def environment(store: Path | None, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command on `store`, without what this machine happens to set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRANSIT_")}
    kept["PYTHONPATH"] = str(ROOT)
    kept["PYTHONWARNINGS"] = "ignore"
    if store is not None:
        kept["TRANSIT_STORE"] = str(store)
    return {**kept, **(extra or {})}


def argv(*words: object) -> list[str]:
    """The words of a command line that runs `transit`."""
    return [sys.executable, "-m", "transit", *map(str, words)]


def transit(
    store: Path | None,
    *words: object,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Done:
    """Run `transit` with pipes to its end."""
    done = subprocess.run(
        argv(*words),
        input=stdin,
        capture_output=True,
        env=environment(store, env),
        cwd=cwd or (store.parent if store is not None else None),
        timeout=DEADLINE_S,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@contextmanager
def running(store: Path, *words: object) -> Iterator[subprocess.Popen[bytes]]:
    """`transit` with pipes while it runs; killed when it does not end in time."""
    with subprocess.Popen(
        argv(*words),
        env=environment(store),
        cwd=store.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        # With all it started: what holds its output open would keep us waiting.
        watchdog = threading.Timer(DEADLINE_S, os.killpg, (process.pid, signal.SIGKILL))
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()


def at_terminal(
    store: Path | None,
    *words: object,
    env: Mapping[str, str] | None = None,
    when: Mapping[bytes, Callable[[int, int], object]] | None = None,
) -> Done:
    """Run `transit` at a terminal of its own; what it prints, errors too, is in `out`.

    when: once these bytes were printed, call with the command's pid and the terminal's descriptor.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(store.parent if store is not None else "/")
        os.execve(sys.executable, argv(*words), {**environment(store, env), "TERM": "xterm"})
    waiting = dict(when or {})
    out = b""
    deadline = time.monotonic() + DEADLINE_S
    # Not select(2): it knows no descriptor above 1,023, and a test process may hold more.
    ready = select.poll()
    ready.register(terminal, select.POLLIN)
    while time.monotonic() < deadline:
        if not ready.poll(100):
            continue
        try:
            data = os.read(terminal, 65536)
        except OSError:
            # Linux says so when the last process has closed its side.
            break
        if not data:
            break
        out += data
        for said in [said for said in waiting if said in out]:
            waiting.pop(said)(pid, terminal)
    else:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    return Done(os.waitstatus_to_exitcode(status), out.replace(b"\r\n", b"\n"), b"")
