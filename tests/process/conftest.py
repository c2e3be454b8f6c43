"""Child processes for tests of clocks, forks, signals and exits; a pause of the collector."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import transit

# Children run with the transit under test, wherever it was imported from.
SOURCE = str(Path(transit.__file__).parents[1])
# Against hanging only.
DEADLINE_S = 120

Run = Callable[..., str]


@pytest.fixture
def run() -> Iterator[Run]:
    """A function that runs a script to its end and returns what it printed.

    `code`: how it must end. With `complaint=True` what it wrote to standard error comes along.
    """
    children: list[subprocess.Popen[str]] = []

    def run_script(script: str, *arguments: object, code: int = 0, complaint: bool = False) -> str:
        child = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-c", script, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": SOURCE},
        )
        children.append(child)
        printed, complained = child.communicate(timeout=DEADLINE_S)
        assert child.returncode == code, f"{child.returncode}: {complained}"
        return printed + complained if complaint else printed

    yield run_script
    for child in children:
        # Whatever a child left running; and the child, where it did not end in time.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        with child:
            child.wait()


@pytest.fixture
def nothing_is_collected() -> Iterator[None]:
    """No garbage is collected in a test, but where it does so itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
