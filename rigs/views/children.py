"""Processes that a rig starts, waits for and kills."""

from __future__ import annotations

import os
import subprocess
import sys

from rigs.views.states_planted import plant


def start(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Run a module as a program; it says a line once it has begun (`begin`)."""
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def begin(planted: str) -> None:
    """In such a process: plant a mistake, "" for none, and say that it has begun."""
    plant(planted)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
