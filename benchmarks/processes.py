"""Fresh interpreters: what a program costs from its start, and how much memory it took at most."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SECONDS_MAX = 600


def start(*arguments: str, compiled: str | None = None, tree: Path = ROOT) -> subprocess.Popen[str]:
    """A Python process that finds transit and this package in `tree`; all it says is in pipes.

    compiled: a folder for bytecode, as an installed program has it; None: as the environment says.
    """
    environment = dict(os.environ)
    if compiled is not None:
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        environment["PYTHONPYCACHEPREFIX"] = compiled
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it wrote to stdout and stderr; RuntimeError when it failed."""
    output, errors = process.communicate(timeout=SECONDS_MAX)
    if process.returncode:
        raise RuntimeError(f"a benchmark's process failed:\n{errors}")
    return output, errors


def measured(program: str, *arguments: str) -> dict[str, float]:
    """The JSON object of numbers that `program` prints."""
    found: dict[str, float] = json.loads(finish(start("-c", program, *arguments))[0])
    return found


def peak_bytes() -> int:
    """The most memory this process has had in use."""
    # On Linux getrusage() also counts what the process was before exec(): its parent, that is.
    if os.path.exists("/proc/self/status"):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def forget_peak() -> None:
    """Let peak_bytes() start again from what is in use now, where the system can do that."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
