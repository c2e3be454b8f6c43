"""Servers that are measured: found on the PATH, started for one workload, and stopped again."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Final

_START_S: Final = 20.0
_STOP_S: Final = 30.0
# Where Debian puts servers; an ordinary user's PATH leaves it out.
_MORE_PATH: Final = "/usr/sbin:/usr/local/sbin"


def binary(name: str) -> str:
    """The path of a server's program; ImportError, like any peer that is missing, without one."""
    path = f"{os.environ.get('PATH', '')}:{_MORE_PATH}"
    found = shutil.which(name, path=path)
    if found is None:
        raise ImportError(f"{name} is not installed")
    return found


def version_of(name: str) -> str:
    """What the program says its version is."""
    said = subprocess.run(
        [binary(name), "--version"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    words = said.replace("v=", "").split()
    return next(word.lstrip("v") for word in words if word.lstrip("v")[:1].isdigit())


class Server:
    """One running server; RuntimeError when it does not answer in time."""

    def __init__(self, command: list[str], folder: str, ready: Callable[[], bool]) -> None:
        with open(os.path.join(folder, "server.log"), "wb") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_S
        while not ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"{command[0]} did not start")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask it to end, and wait; after half a minute it is ended."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
