"""Tests that failed are run again, alone, where `TRANSIT_REPEATS` says how often.

Among many thousand tests of threads, processes and sockets a few depend on how a busy machine gives
turns. A test that failed counts as passed only when each of its repeats passes, one after another,
with no other test beside them; see docs/decisions/0062-failures-are-repeated-alone.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import pytest

_VARIABLE: Final = "TRANSIT_REPEATS"
_MOST: Final = 5
"""More failures than these are never those of a busy machine."""


def pytest_configure(config: pytest.Config) -> None:
    """Repeat in the process that reports, not in its workers, nor in runs that tests start."""
    repeats = int(os.environ.pop(_VARIABLE, "0"))
    if repeats and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Repeats(repeats))


class Repeats:
    """Remembers what failed, and runs it again at the end."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._failed: dict[str, None] = {}
        self._is_certain = False
        self._said: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test, or what comes before or after it, has ended."""
        if report.failed:
            self._failed[report.nodeid] = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Tests were looked for in a file."""
        if report.failed:
            self._is_certain = True

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """All tests have ended."""
        if exitstatus != pytest.ExitCode.TESTS_FAILED or self._is_certain:
            return
        if not 0 < len(self._failed) <= _MOST:
            return
        command = [sys.executable, "-m", "pytest", "-m", "", "-p", "no:cacheprovider", "-q"]
        for number in range(1, self._count + 1):
            again = [*command, *self._failed]
            if subprocess.run(again, cwd=session.config.rootpath, check=False).returncode:
                self._said.append(f"repeat {number} of {self._count} failed, too")
                return
        session.exitstatus = pytest.ExitCode.OK
        for name in self._failed:
            self._said.append(f"{name} passed {self._count} times alone")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what was repeated."""
        if self._said:
            terminalreporter.section("failed, and repeated alone")
            for line in self._said:
                terminalreporter.line(line)
